"""Write docs/parameters.md: every parameter, from the notebooks' parameters cells and settings.py.

python tools/write_parameters.py
"""

import ast
import sys
from pathlib import Path

import papermill

from golf_nb_utils.runs import NOTEBOOKS
from golf_nb_utils.settings import CONFIGS

REPOSITORY = Path(__file__).resolve().parent.parent
PAGE = REPOSITORY / "docs" / "parameters.md"

HEAD = """# All parameters

Each notebook has one cell of parameters; these are all of them, in its order. The column 124M
holds for every size but `tiny`. In the notebooks most values are `None`, which takes the default
of the model size. A value can be given

- in the cell itself, in JupyterLab, on Kaggle or on Colab;
- on the command line: `python -m golf_nb_utils run 3 -p max_grad_norm 1.0`;
- in a file: `python -m golf_nb_utils run -f notebooks/params/tiny_smoke.yaml`; `notebooks/params/`
  has more of them, for the common runs;
- to papermill: `papermill notebooks/03_finetune_dataparallel_fp16.ipynb out.ipynb -p epochs 3`.

A name that several notebooks have, as `seed` and `batch_size`, is set in all of those that run.
The command line refuses a value of the wrong type or out of range, and a name that no notebook has,
before anything runs. papermill only warns of such a name, and the cell after the parameters refuses
the value. [Troubleshooting](troubleshooting.md) says what to change when.

| parameter | notebook | type | tiny | 124M | meaning |
| --- | --- | --- | --- | --- | --- |
"""
FOOT = """

This page is written by `python tools/write_parameters.py`; edit the notebooks' cells instead.
"""


def page() -> str:
    """Return the text of docs/parameters.md.

    A parameter that several notebooks share, with one comment and one default, is one row.
    """
    rows: dict[tuple[str, ...], list[str]] = {}
    for number, path in NOTEBOOKS.items():
        settings = CONFIGS[number]
        presets = [settings.for_size(size) for size in ("tiny", "124M")]
        for name, parameter in papermill.inspect_notebook(path).items():
            literal = ast.literal_eval(parameter["default"])
            defaults = [getattr(preset, name) if literal is None else literal for preset in presets]
            shown = [f"`{default}`" if default != "" else "empty" for default in defaults]
            row = (name, type(defaults[1]).__name__, *shown, parameter["help"].replace("|", "\\|"))
            rows.setdefault(row, []).append(path.name[:2])
    lines = (
        f"| `{name}` | {', '.join(numbers)} | {kind} | {tiny} | {large} | {comment} |"
        for (name, kind, tiny, large, comment), numbers in rows.items()
    )
    return HEAD + "\n".join(lines) + FOOT


def main() -> int:
    """Write the page and print where it is; return 0."""
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
