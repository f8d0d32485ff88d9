"""Write docs/parameters.md: every setting of every notebook, from golf_nb_utils/settings.py.

python tools/write_parameters.py
"""

import sys
from pathlib import Path

from golf_nb_utils.settings import CONFIGS, declared

REPOSITORY = Path(__file__).resolve().parent.parent
PAGE = REPOSITORY / "docs" / "parameters.md"
TITLES = {1: "01 Generate the data", 2: "02 Download and convert GPT-2", 3: "03 Fine-tune",
          4: "04 Sample and evaluate"}  # fmt: skip
WIDEST = 24
"""Characters of a default that a narrow column holds; a longer one stands below the table."""

HEAD = """# All parameters

The parameters cell of each notebook has the few settings that people turn most; all others go
into its last line, by name:

```python
more = {"val_fraction": 0.2, "unseen_topics_per_area": 0}
```

Every setting, with a line in the cell or without one, can also be given

- on the command line: `python -m golf_nb_utils run 3 -p max_grad_norm 1.0`;
- in a file: `python -m golf_nb_utils run -f notebooks/params/tiny_smoke.yaml`; `notebooks/params/`
  has more of them, for the common runs;
- to papermill: `papermill notebooks/03_finetune_dataparallel_fp16.ipynb out.ipynb -p seed 7`.
  It warns of every name that has no line in the cell; what is unknown, the notebook refuses.

`None` takes the default of the model size: the first one below, or that of `tiny`. A name that
several notebooks have, such as `seed` and `batch_size`, is set in all of those that run. A setting
that stands in `more` and has a value of its own, too, is refused, and so are an unknown name, a
wrong type and a value out of range, before anything runs.
[Troubleshooting](troubleshooting.md) says what to change when.
"""
FOOT = """
This page is written by `python tools/write_parameters.py` from `golf_nb_utils/settings.py`.
"""


def defaults(number: int, name: str) -> list:
    """Return the default of a setting for GPT-2, and that of `tiny` where it is another."""
    if name == "model_size":
        return ["auto"]
    found = [CONFIGS[number].defaults(size)[name] for size in ("124M", "tiny")]
    return found if found[0] != found[1] else found[:1]


def meaning(number: int, name: str) -> str:
    """Return what a setting means, with its unit."""
    return CONFIGS[number].__dataclass_fields__[name].metadata["meaning"]


def comment(number: int, name: str, literal) -> str:
    """Return what stands behind the value of a setting in a parameters cell.

    That is its meaning, and behind None what that takes.
    """
    if literal is not None:
        return meaning(number, name)
    return f"{meaning(number, name)}; None: {', tiny '.join(map(str, defaults(number, name)))}"


def page() -> str:
    """Return the text of docs/parameters.md."""
    parts = [HEAD]
    for number, title in TITLES.items():
        parts.append(f"\n## {title}\n\n| setting | default | meaning |\n| --- | --- | --- |\n")
        long = []
        for name in declared(number):
            shown = [f"`{value}`" if value != "" else '`""`' for value in defaults(number, name)]
            if len(shown[0]) > WIDEST:
                long.append(f"\nThe default of `{name}` is {shown[0]}.\n")
                shown = ["below"]
            what = meaning(number, name).replace("|", "\\|")
            parts.append(f"| `{name}` | {', tiny '.join(shown)} | {what} |\n")
        parts += long
    return "".join(parts) + FOOT


def main() -> int:
    """Write the page and print where it is; return 0."""
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
