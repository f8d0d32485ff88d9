"""Execute the committed notebooks in place, with their defaults, and keep what a reader needs.

    python tools/execute_notebooks.py

`make notebooks` calls this. Ids, tags, counts and outputs stay; papermill's metadata goes, and so
does the path of the repository. The figure of the cell tagged `picture` becomes the picture of the
first screen, which a reader sees before anything has run.
"""

import os
import sys
from pathlib import Path

import nbformat
import papermill

from golf_nb_utils.runs import NOTEBOOKS

REPOSITORY = Path(__file__).resolve().parent.parent
SHOWN_PATH = "~/golf-feedback-llm"
PICTURE = "picture"
"""The tag of the cell that draws the first cell's picture, and the name of that attachment."""
KEPT = ("cellView", "jupyter", "tags")
"""Metadata of a cell: folded on Colab, folded in JupyterLab, tags."""


def normalise(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Drop what differs between two runs or machines and tells a reader nothing."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        cell.metadata = {name: cell.metadata[name] for name in KEPT if cell.metadata.get(name)}
        for output in cell.get("outputs", []):
            if "text" in output:
                output.text = output.text.replace(str(REPOSITORY), SHOWN_PATH)
            for kind, value in output.get("data", {}).items():
                if isinstance(value, str) and kind.startswith("text/"):
                    output.data[kind] = value.replace(str(REPOSITORY), SHOWN_PATH)
            if "metadata" in output:
                shown = output.metadata.get("image/png", {})
                output.metadata = {"image/png": {"alt": shown.alt}} if "alt" in shown else {}
    notebook.cells[0].attachments = {f"{PICTURE}.png": {"image/png": _picture(notebook)}}
    return notebook


def _picture(notebook: nbformat.NotebookNode) -> str:
    """Return the figure of the cell tagged `picture`, a PNG in base64."""
    (cell,) = (cell for cell in notebook.cells if PICTURE in cell.metadata.get("tags", []))
    (png,) = (
        output.data["image/png"] for output in cell.outputs if "image/png" in output.get("data", {})
    )
    return png.strip()


def main() -> int:
    """Execute, normalise and write back each notebook; return 0.

    Raises:
        papermill.PapermillExecutionError: a cell failed; this notebook and those after it stay.
    """
    os.environ["GOLF_HEADLESS"] = "1"
    folder = REPOSITORY / "experimental" / "runs" / "committed"
    folder.mkdir(parents=True, exist_ok=True)
    for path in NOTEBOOKS.values():
        print(f"=== {path.name}", flush=True)
        papermill.execute_notebook(
            path,
            folder / path.name,
            kernel_name="python3",
            cwd=str(path.parent),
            progress_bar=False,
            stdout_file=sys.stdout,
        )
        notebook = normalise(nbformat.read(folder / path.name, as_version=4))
        nbformat.validate(notebook)
        nbformat.write(notebook, path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
