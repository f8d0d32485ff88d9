"""The lint of the notebooks: the committed ones have no fault, and each fault that is planted is found."""

import copy
import re
import shutil
import subprocess
import sys

import nbformat
import pytest

from golf_nb_utils import settings
from tools import lint_notebooks
from tools.lint_notebooks import (
    BOOTSTRAP_LINES,
    BYTES,
    CELLS,
    CHECKED,
    CODE_LINES,
    FUNCTION_LINES,
    RULES,
    badges,
    cells_of,
    links,
    metadata,
    names_are_defined_above,
    no_absolute_paths,
    no_secrets,
    no_widget_state,
    one_bootstrap,
    one_title,
    outputs_are_clean,
    outputs_are_complete,
    parameters,
    plain_python,
    previous_and_next,
    read,
    runs_headless,
    settings_of,
    settings_stay,
    sizes,
    spine,
    valid_format,
)

NOTEBOOKS = sorted(lint_notebooks.NOTEBOOKS.glob("*.ipynb"))


def test_the_series_has_four_notebooks():
    assert [path.name[:3] for path in NOTEBOOKS] == ["01_", "02_", "03_", "04_"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_committed_notebook_keeps_the_rule(rule, path):
    assert rule(read(path), path) == []


# Spoilings: each is a function that changes a notebook in place. They are tried on the third notebook, which has both neighbours.


def in_cell(number, old, new=""):
    """Replace a pattern once in the source of a cell; `number` counts all cells."""

    def spoil(notebook):
        cell = notebook.cells[number]
        cell.source, n_replaced = re.subn(old, lambda _: new, cell.source, count=1)
        assert n_replaced == 1, f"{old!r} is not in cell {number}"

    return spoil


def in_code(number, old, new=""):
    """Replace a pattern once in the source of a code cell; `number` counts code cells, 0 is the bootstrap, 1 the parameters."""
    return lambda notebook: in_cell(cells_of(notebook, "code")[number][0], old, new)(notebook)


def adding(source):
    """Add lines at the end of the last code cell."""
    return in_code(-1, r"\Z", "\n" + source)


def output(text, name="stdout"):
    """Add a stored stream to the third code cell."""
    return lambda notebook: cells_of(notebook, "code")[2][1].outputs.append(
        nbformat.v4.new_output("stream", name=name, text=text)
    )


def of_outputs(change):
    """Change the list of stored outputs of every code cell."""

    def spoil(notebook):
        for _, cell in cells_of(notebook, "code"):
            cell.outputs = change(cell.outputs)

    return spoil


def without_cell(number):
    return lambda notebook: notebook.cells.pop(number)


def swap_bootstrap_and_parameters(notebook):
    (one, _), (other, _) = cells_of(notebook, "code")[:2]
    notebook.cells[one], notebook.cells[other] = notebook.cells[other], notebook.cells[one]


def move_parameters_to_the_end(notebook):
    notebook.cells.insert(-1, notebook.cells.pop(cells_of(notebook, "code")[1][0]))


def set_tags(number, *new):
    def spoil(notebook):
        cells_of(notebook, "code")[number][1].metadata["tags"] = list(new)

    return spoil


def error_output(notebook):
    cells_of(notebook, "code")[3][1].outputs.append(
        nbformat.v4.new_output("error", ename="ValueError", evalue="no", traceback=["no"])
    )


def widget_output(notebook):
    data = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}}
    cells_of(notebook, "code")[3][1].outputs.append(
        nbformat.v4.new_output("display_data", data=data)
    )


def html_output(html):
    data = {"text/html": html}
    return lambda notebook: cells_of(notebook, "code")[3][1].outputs.append(
        nbformat.v4.new_output("display_data", data=data)
    )


def same_ids(notebook):
    notebook.cells[2].id = notebook.cells[1].id


def count_of(number, count):
    def spoil(notebook):
        cells_of(notebook, "code")[number][1].execution_count = count

    return spoil


def checked_without_output(notebook):
    cell = cells_of(notebook, "code")[-1][1]
    cell.metadata["tags"] = [CHECKED]
    cell.source, cell.outputs = "for word in 'ab':\n    print(word)", []


def unmark(notebook):
    for _, cell in cells_of(notebook, "code"):
        cell.metadata.pop("tags", None)


def in_metadata(key, value):
    return lambda notebook: notebook.metadata.__setitem__(key, value)


SPOILINGS = {
    valid_format: {
        "a cell of an unknown type": lambda notebook: notebook.cells[4].__setitem__("cell_type", "sql"),
        "a code cell without outputs": lambda notebook: cells_of(notebook, "code")[0][1].pop("outputs"),
        "two cells with one id": same_ids,
    },
    metadata: {
        "no kernel": lambda notebook: notebook.metadata.pop("kernelspec"),
        "somebody's own kernel": in_metadata("kernelspec", {"name": "golf", "display_name": "golf", "language": "python"}),
        "no language of the kernel": in_metadata("kernelspec", {"name": "python3", "display_name": "Python 3"}),
        "no language": lambda notebook: notebook.metadata.pop("language_info"),
    },
    no_widget_state: {"state": in_metadata("widgets", {"application/vnd.jupyter.widget-state+json": {}}), "view": widget_output},
    one_title: {
        "a second H1": in_cell(-1, r"\Z", "\n\n# The end"),
        "no H1": in_cell(0, "# ", "## "),
        "another number": in_cell(0, "# 03", "# 04"),
    },
    spine: {
        "no promise": in_cell(0, r"\n\n.*?(?=\n\n)"),
        "a promise of two sentences": in_cell(0, r"(?<=learns), ", ". "),
        "a sixth paragraph": in_cell(0, r"\Z", "\n\nMore."),
        "no picture": in_cell(0, r"!\[[^\]]*\]\(attachment.*\n\n"),
        "a picture without alt text": in_cell(0, r"!\[[^\]]{20,}\]", "![]"),
        "a picture of another run": lambda notebook: notebook.cells[0].attachments["picture.png"].update({"image/png": "iVBO"}),
        "no badges": in_cell(0, r"\[!\[.*", "Open it in Colab or Kaggle."),
        "no previous and next": in_cell(0, r"\n\nPrevious.*"),
        "a contract without memory": in_cell(1, r"\n\| memory.*"),
        "no contract": without_cell(1),
        "no bootstrap": in_code(0, "find_spec", "find_loader"),
        "parameters not tagged": set_tags(1),
        "parameters before the bootstrap": swap_bootstrap_and_parameters,
        "parameters at the end": move_parameters_to_the_end,
        "no environment report": in_code(2, r"environment_report\(", "detect_devices("),
        "no validated configuration": in_code(2, r"settings\.read\(", "as_given("),
        "a bootstrap in full view": lambda notebook: cells_of(notebook, "code")[0][1].metadata.pop("cellView"),
        "a bootstrap without a tag": set_tags(0),
        "a bootstrap without a title": in_code(0, r"# @title.*\n"),
        "artifacts not shown": lambda notebook: cells_of(notebook, "code")[-1][1].outputs.clear(),
        "manifest not last": lambda notebook: cells_of(notebook, "code")[-1][1].outputs.append(
            nbformat.v4.new_output("stream", text="1 bytes  report.html\n")
        ),
        "no next": without_cell(-1),
        "no code": lambda notebook: notebook.__setitem__("cells", [cell for cell in notebook.cells if cell.cell_type == "markdown"]),
    },
    one_bootstrap: {"another order of places": in_code(0, r"cwd, \*data", "*data, cwd")},
    parameters: {
        "no tag": set_tags(1),
        "two cells": set_tags(2, "parameters"),
        "no comment": in_code(1, "  # .*"),
        "an empty comment": in_code(1, "  # .*", "  # "),
        "a derived value": in_code(1, "= None", "= 2 * epochs"),
        "a call": in_code(1, "= None", "= int(3)"),
        "an import": in_code(1, r"\A", "import os  # for paths\n"),
        "an annotation": in_code(1, "epochs =", "epochs: int ="),
        "a name twice": in_code(1, r"\Z", "\nseed = 124  # the other"),
        "none at all": in_code(1, r"(?s).+"),
        "no more": in_code(1, r"\nmore = .*"),
        "more is not the last": in_code(1, r"\A", "more = {}  # others\n"),
        "a line too many": in_code(1, r"\A", "resume = None  # go on\nbeta2 = None  # AdamW's\n"),
    },
    settings_stay: {
        "assigned": adding("epochs = 5"),
        "imported": adding("from golf_nb_utils import settings as more"),
        "a loop's": adding("for seed in range(3):\n    pass"),
        "a function's name": adding("def method():\n    pass"),
        "in the cell that reads them": in_code(2, r"\Z", "\nmodel_size = config.model_size"),
    },
    sizes: {
        "a long cell": adding("\n".join("pass" for _ in range(CODE_LINES))),
        "a long bootstrap": in_code(0, r"\Z", "\npass" * BOOTSTRAP_LINES),
        "a class": adding("class Coach:\n    pass"),
        "a method's class": adding("if True:\n    class Coach:\n        pass"),
        "a long function": in_code(-1, "(?s).+", "def long():\n" + "\n".join("    pass" for _ in range(FUNCTION_LINES))),
        "too few cells": lambda notebook: notebook.cells.__delitem__(slice(CELLS[0] - 1, None)),
        "too many cells": lambda notebook: notebook.cells.extend([nbformat.v4.new_markdown_cell("More.")] * CELLS[-1]),
        "too many bytes": output("golf" * (BYTES // 4)),
    },
    plain_python: {
        "!pip": adding("!pip install torch"),
        "%pip": adding("%pip install torch"),
        "a cell magic": in_code(3, r"\A", "%%time\n"),
        "half a line": adding("print("),
    },
    runs_headless: {
        "input": adding("name = input('Who? ')"),
        "sys.exit": adding("sys.exit(0)"),
        "exit in a branch": adding("if size == 'tiny':\n    exit()"),
        "SystemExit": adding("raise SystemExit"),
        "raises-exception": set_tags(3, "raises-exception"),
        "raises-exception as nbval's comment": in_code(3, r"\A", "# NBVAL_RAISES_EXCEPTION\n"),
    },
    no_absolute_paths: {
        "in code": adding("folder = '/home/ann/golf'"),
        "in prose": in_cell(2, r"\Z", " See /usr/share/golf."),
        "printed": output("kept in /srv/golf/experimental\n"),
        "the first of a line": output("/tmp/x\n"),
        "in a page": html_output("<td>/Users/ann/golf/report.html</td>"),
        "of Windows": adding(r"folder = 'C:\\golf'"),
        "as a URL": in_cell(2, r"\Z", " See [it](file:///golf)."),
        "in metadata": in_metadata("papermill", {"input_path": "/srv/01.ipynb"}),
        "beside Kaggle's": adding("folder = '/kaggle2/input'"),
        "like Colab's": adding("folder = '/contents'"),
    },
    no_secrets: {
        # Written in two parts, or a scanner of this file would find them.
        "GitHub": adding(f"login = 'ghp_{'a1B2' * 9}'"),
        "Hugging Face": output("logged in as hf_" + "aB3d" * 9),
        "AWS": adding(f"user = 'AKIA{'ABCD' * 4}'"),
        "Google": adding(f"maps = 'AIza{'abcde' * 7}'"),
        "an API key": adding(f"openai = 'sk-{'a1B2' * 6}'"),
        "a private key": output("-----BEGIN RSA PRIVATE " + "KEY-----"),
        "a JSON web token": html_output("eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxMjM0"),
        "a password": adding("pass" + "word = 'correct-horse-battery'"),
        "Kaggle's file": output('{"username":"ann","' + 'api_key":"0123456789abcdef"}'),
    },
    links: {
        "a file that is not there": in_cell(-1, r"\Z", " [more](05_more.ipynb)"),
        "a folder elsewhere": in_cell(2, r"\Z", " [docs](docs/parts.md)"),
        "a picture": in_cell(2, r"\Z", '<img src="images/none.png">'),
        "an unsafe address": in_cell(2, r"\Z", " [a page](http://example.org)"),
    },
    previous_and_next: {
        "previous is the one before": in_cell(0, r"Previous: \[.*?\]\(\S+\)", "Previous: [Generate the data](01_generate_data.ipynb)"),
        "another title": in_cell(0, r"Previous: \[", "Previous: [How to "),
        "next is missing": in_cell(0, r" \| Next.*"),
        "the last cell leads elsewhere": in_cell(-1, r"\]\(\S+\)", "](01_generate_data.ipynb)"),
    },
    badges: {
        "Colab opens another": in_cell(0, r"(?<=main/notebooks/)\S+?ipynb", "01_generate_data.ipynb"),
        "Kaggle opens another": in_cell(0, r"(?<=welcome\?src=)[^)]+ipynb", "https://github.com/a/b/blob/main/notebooks/01_generate_data.ipynb"),
        "another repository than the bootstrap's": in_cell(0, r"github/[\w-]+", "github/somebody"),
        "another repository than the project's": in_code(0, r"github[.]com/[\w-]+", "github.com/somebody"),
        "another tag than the version's": in_code(0, r"--branch v[\d.]+", "--branch main"),
        "no repository": in_code(0, r"https://github[.]com", "https://example.org"),
        "no badge of Kaggle": in_cell(0, r" \[!\[Open in Kaggle.*"),
    },
    names_are_defined_above: {
        "a name of nothing": adding("print(nothing)"),
        "no imports": in_code(2, r"from golf_nb_utils import host, settings\n"),
        "a cell that defines what others use is gone": lambda notebook: notebook.cells.pop(cells_of(notebook, "code")[3][0]),
        "a cell that defines what others use comes after them": lambda notebook: notebook.cells.append(
            notebook.cells.pop(cells_of(notebook, "code")[3][0])
        ),
        "a name that its cell deletes": in_code(2, r"\Z", "\ndel size"),
    },
    outputs_are_complete: {
        "a cell that was not run": count_of(4, None),
        "cells out of order": lambda notebook: (count_of(4, 6)(notebook), count_of(5, 5)(notebook)),
        "no counts": lambda notebook: [cell.__setitem__("execution_count", None) for _, cell in cells_of(notebook, "code")],
        "no outputs": of_outputs(lambda outputs: []),
        "one output cleared": lambda notebook: cells_of(notebook, "code")[2][1].outputs.clear(),
        "what nbval compares cleared": checked_without_output,
        "nothing for nbval to compare": unmark,
        "no picture": of_outputs(lambda outputs: [one for one in outputs if "image/png" not in one.get("data", {})]),
    },
    outputs_are_clean: {
        "an error": error_output,
        "stderr": output("Loading\n", name="stderr"),
        "a warning printed": output("UserWarning: The given NumPy array is not writable\n"),
        "a warning logged": output("WARNING:root:slow\n"),
        "a warning in a page": html_output("<pre>TqdmWarning: IProgress not found</pre>"),
    },
}  # fmt: skip
CASES = [
    (rule, name, spoil)
    for rule, spoilings in SPOILINGS.items()
    for name, spoil in spoilings.items()
]


@pytest.mark.parametrize(
    ("rule", "spoil"),
    [case[::2] for case in CASES],
    ids=[f"{case[0].__name__}-{case[1]}" for case in CASES],
)
def test_a_spoilt_notebook_is_caught(rule, spoil):
    path = NOTEBOOKS[2]
    good = read(path)
    spoilt = copy.deepcopy(good)
    spoil(spoilt)
    assert spoilt != good
    assert len(rule(spoilt, path)) > len(rule(good, path))


def test_every_rule_has_been_seen_to_catch_something():
    assert set(SPOILINGS) == set(RULES)


@pytest.mark.parametrize(
    "text",
    [
        "~/golf-feedback-llm/experimental", "knowledge/golf_instruction", "and/or 1/2", "https://example.org/a/b", "<td>a</td><br/>",
        "/kaggle/working", "/content", "/dev", "experimental/gpt2_models/{size}/{file}", "data:image/png;base64,/9j/4AA+/Qk",
    ],
)  # fmt: skip
def test_what_only_looks_like_an_absolute_path_is_let_through(text):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell()])
    notebook.cells[0].outputs = [nbformat.v4.new_output("display_data", data={"text/html": text})]
    assert no_absolute_paths(notebook, NOTEBOOKS[0]) == []


def test_the_script_says_which_cell_of_which_notebook_and_ends_with_exit_code_1(tmp_path, capsys):
    folder = shutil.copytree(lint_notebooks.NOTEBOOKS, tmp_path / "notebooks")
    # What the notebooks link to, or every link would be a fault of the copy.
    for name in ("docs", "benchmarks", "knowledge", "README.md"):
        (tmp_path / name).symlink_to(lint_notebooks.NOTEBOOKS.parent / name)
    assert lint_notebooks.main(folder) == 0
    assert capsys.readouterr().out == ""
    path = folder / NOTEBOOKS[2].name
    notebook = read(path)
    adding("name = input('Who? ')\nprint(nothing)")(notebook)
    nbformat.write(notebook, path)
    number, cell = cells_of(notebook, "code")[-1]
    line = len(cell.source.splitlines())
    assert lint_notebooks.main(folder) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"{path.name}: cell {number}, line {line - 1}: input",
        f"{path.name}: cell {number}, line {line}: F821 Undefined name `nothing`",
    ]


def test_names_of_comprehensions_and_functions_are_no_settings():
    notebook = read(NOTEBOOKS[0])
    before = settings_stay(notebook, NOTEBOOKS[0])
    adding("sizes = [seed for seed in range(3)]\ndef draw(seed):\n    jsonl = seed")(notebook)
    assert settings_stay(notebook, NOTEBOOKS[0]) == before


def test_the_settings_that_the_lint_reads_are_those_of_the_package():
    for number in settings.CONFIGS:
        assert settings_of(number) == {*settings.declared(number), settings.MORE}


def test_a_folder_without_notebooks_is_a_fault(tmp_path, capsys):
    assert lint_notebooks.main(tmp_path) == 1
    assert str(tmp_path) in capsys.readouterr().out


def test_the_lint_loads_neither_torch_nor_the_package():
    code = "import sys; from tools import lint_notebooks as l; assert l.main() == 0; print({'torch', 'golf_nb_utils'} & set(sys.modules))"
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=lint_notebooks.NOTEBOOKS.parent,
        capture_output=True,
        text=True,
    )
    assert (run.stdout, run.stderr) == ("set()\n", "")
