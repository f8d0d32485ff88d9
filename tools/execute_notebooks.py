"""Execute the committed notebooks in place, with their defaults, and keep what a reader needs.

    python tools/execute_notebooks.py

`make notebooks` calls this. Ids, tags, counts and outputs stay; papermill's metadata goes, and so
does the path of the repository.
"""

import os
import sys
from pathlib import Path

import nbformat
import papermill

from golf_nb_utils.runs import NOTEBOOKS

REPOSITORY = Path(__file__).resolve().parent.parent
SHOWN_PATH = "~/golf-feedback-llm"


def normalise(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Drop what differs between two runs or machines and tells a reader nothing."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        kept = ("cellView", "jupyter", "tags")  # what folds a cell on Colab, in JupyterLab
        cell.metadata = {name: cell.metadata[name] for name in kept if cell.metadata.get(name)}
        for output in cell.get("outputs", []):
            if "text" in output:
                output.text = output.text.replace(str(REPOSITORY), SHOWN_PATH)
            for kind, value in output.get("data", {}).items():
                if isinstance(value, str) and kind.startswith("text/"):
                    output.data[kind] = value.replace(str(REPOSITORY), SHOWN_PATH)
            output.get("metadata", {}).clear()
    return notebook


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
