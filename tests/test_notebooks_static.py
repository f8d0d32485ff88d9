"""The committed notebooks as they lie there: form, links, names and stored outputs. Nothing is run, nothing imports torch:

    python -m pytest --noconftest tests/test_notebooks_static.py

A rule is a function from a notebook and its path to complaints. Cells are counted from 0, as the file lists them.
"""

import ast
import copy
import json
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))

CELLS = range(25, 41)
CODE_LINES = 25
FUNCTION_LINES = 10
BYTES = 1_000_000

STOPPING = {"input", "exit", "quit", "sys.exit", "os._exit"}
# The slash of an absolute path follows no word (and/or, a URL), no < (</td>), no ~ and no bracket of a template.
# Kaggle's and Colab's folders are the same for everybody, and so is /dev.
ABSOLUTE_PATH = re.compile(
    r"(?<![\w.~:/<)}\]*-])/(?!kaggle/|content\b|dev\b)[A-Za-z_][\w.-]*|\bfile://|\b[A-Za-z]:\\+\w"
)
EMBEDDED = re.compile(r"data:[\w/+.-]+;base64,[A-Za-z0-9+/=\s]+")
SECRET = re.compile(
    r"gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{30,}|hf_[A-Za-z0-9]{30,}|sk-[\w-]{20,}|AKIA[0-9A-Z]{16}|AIza[\w-]{35}|xox[abprs]-[\w-]{10,}"
    r"|eyJ[\w-]{10,}\.eyJ[\w-]{10,}|-----BEGIN [A-Z ]*PRIVATE KEY"
    r"|(?i:password|passwd|secret|token|api_?key)['\"]?\s*[=:]\s*['\"][\w+/=-]{12,}['\"]"
)
WARNING = re.compile(r"\w*Warning\b|\bWARN(ING)?\b")
LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"")


def cells_of(notebook, kind) -> list[tuple[int, nbformat.NotebookNode]]:
    return [(number, cell) for number, cell in enumerate(notebook.cells) if cell.cell_type == kind]


def tags(cell) -> list[str]:
    return cell.metadata.get("tags", [])


def parse(cell) -> ast.Module:
    """The cell's syntax tree; an empty one of what is no Python, which `plain_python` complains about."""
    try:
        return ast.parse(cell.source)
    except SyntaxError:
        return ast.Module([], [])


def output_texts(cell) -> list[str]:
    """All that a reader of the stored outputs reads, pictures left out."""
    texts = []
    for output in cell.get("outputs", []):
        texts += [output["text"]] if "text" in output else []
        texts += output.get("traceback", [])
        for kind, value in output.get("data", {}).items():
            if kind not in ("image/png", "image/jpeg"):
                texts.append(
                    EMBEDDED.sub("", value if isinstance(value, str) else json.dumps(value))
                )
    return texts


def all_texts(notebook) -> list[tuple[str, str]]:
    texts = [("metadata", json.dumps(notebook.metadata))]
    for number, cell in enumerate(notebook.cells):
        texts += [
            (f"cell {number}", cell.source),
            (f"metadata of cell {number}", json.dumps(cell.metadata)),
        ]
        texts += [(f"output of cell {number}", text) for text in output_texts(cell)]
    return texts


def found_in_texts(notebook, pattern, what) -> list[str]:
    return [
        f"{place}: {what} {found[0]!r}"
        for place, text in all_texts(notebook)
        for found in pattern.finditer(text)
    ]


def titles(notebook) -> list[str]:
    text = "\n".join(
        re.sub(r"(?ms)^```.*?^```", "", cell.source) for _, cell in cells_of(notebook, "markdown")
    )
    return re.findall(r"(?m)^# (.+)$", text)


def valid_format(notebook, path) -> list[str]:
    ids = [cell.get("id") for cell in notebook.cells]
    repeated = {one for one in ids if ids.count(one) > 1}
    if repeated:
        # nbformat would rename them and only warn.
        return [f"cells share the ids {repeated}"]
    try:
        nbformat.validate(notebook)
    except nbformat.ValidationError as error:
        return [f"not valid nbformat: {error}"]
    return []


def metadata(notebook, path) -> list[str]:
    kernel, language = (
        notebook.metadata.get("kernelspec", {}),
        notebook.metadata.get("language_info", {}),
    )
    found = (kernel.get("name"), kernel.get("language"), language.get("name"))
    # Without the kernel's name papermill refuses the notebook, and Kaggle runs notebooks by papermill.
    return (
        []
        if found == ("python3", "python", "python")
        else [f"kernelspec name, its language, language_info: {found}"]
    )


def no_widget_state(notebook, path) -> list[str]:
    complaints = (
        ["widget state in the notebook's metadata"] if "widgets" in notebook.metadata else []
    )
    for number, cell in enumerate(notebook.cells):
        views = [
            kind
            for output in cell.get("outputs", [])
            for kind in output.get("data", {})
            if "jupyter.widget" in kind
        ]
        # A stored view is an empty place without the kernel's state, and with an incomplete state GitHub shows no notebook at all.
        complaints += [f"cell {number}: stored widget, {kind}" for kind in views]
    return complaints


def one_title(notebook, path) -> list[str]:
    found = titles(notebook)
    complaints = [] if len(found) == 1 else [f"one H1 expected, found {found}"]
    if not notebook.cells[0].source.startswith(f"# {path.stem[:2]} "):
        complaints.append(f"cell 0 does not begin with the H1 '# {path.stem[:2]} ...'")
    return complaints


def spine(notebook, path) -> list[str]:
    code = [cell for _, cell in cells_of(notebook, "code")]
    if len(code) < 3:
        return [
            f"{len(code)} code cells, expected at least bootstrap, parameters and resolved configuration"
        ]
    opening = notebook.cells[0].source.split("\n\n")
    opening += [""] * (4 - len(opening))
    resolved = {
        ast.unparse(node.func).split(".")[-1]
        for node in ast.walk(parse(code[2]))
        if isinstance(node, ast.Call)
    }
    written = "".join(output_texts(code[-1])).strip()
    parts = {
        "title, promise, badges, and previous and next as the four paragraphs of cell 0": len(
            opening
        )
        == 4,
        "a promise of one sentence": re.fullmatch(r"[A-Z](?:(?![.!?] )[^\n])*[.]", opening[1]),
        "badges": opening[2].startswith("[!["),
        "previous and next": re.match("Previous: |Next: ", opening[3]),
        "contract table in cell 1, of reads, writes, time, memory": re.findall(
            r"(?m)^\| (\w+) \|", notebook.cells[1].source
        )
        == ["reads", "writes", "time", "memory"],
        "bootstrap as first code cell": 'find_spec("golf_nb_utils")' in code[0].source,
        "parameters as second code cell": "parameters" in tags(code[1]),
        "resolved configuration, printed, as third code cell": {
            "for_size",
            "environment_report",
            "print",
        }
        <= resolved,
        "artifacts written, printed by the last code cell, the manifest last": written.endswith(
            "manifest.json"
        ),
        "'**Next:**' in the last cell": notebook.cells[-1].source.startswith("**Next:** "),
    }
    return [f"the spine lacks {what}" for what, holds in parts.items() if not holds]


def one_bootstrap(notebook, path) -> list[str]:
    """Each notebook can be the first that is opened; what finds the package there is to be repaired once."""
    own = cells_of(notebook, "code")[0][1].source
    others = {
        other.name: cells_of(read(other), "code")[0][1].source
        for other in NOTEBOOKS
        if other.name != path.name
    }
    return [
        f"bootstrap cell differs from that of {name}"
        for name, source in others.items()
        if source != own
    ]


def parameters(notebook, path) -> list[str]:
    tagged = [
        (number, cell) for number, cell in enumerate(notebook.cells) if "parameters" in tags(cell)
    ]
    if len(tagged) != 1:
        return [f"one cell tagged 'parameters' expected, found {[number for number, _ in tagged]}"]
    ((number, cell),) = tagged
    complaints, names = [], set()
    for line, text in enumerate(cell.source.splitlines(), 1):
        place = f"cell {number}, line {line}"
        match = re.fullmatch(r"([a-z][a-z0-9_]*) = (\S.*?)  # \S.*", text)
        if match is None:
            complaints.append(f"{place}: expected 'name = literal  # comment', found {text!r}")
            continue
        try:
            ast.literal_eval(match[2])
        except (ValueError, SyntaxError):
            # papermill adds its values below this cell, so what is derived here keeps the old ones.
            complaints.append(f"{place}: {match[2]!r} is no literal")
        complaints += [f"{place}: {match[1]} is there twice"] if match[1] in names else []
        names.add(match[1])
    return complaints if names else [*complaints, f"cell {number}: no parameter"]


def sizes(notebook, path) -> list[str]:
    complaints = (
        []
        if len(notebook.cells) in CELLS
        else [f"{len(notebook.cells)} cells, expected {CELLS[0]} to {CELLS[-1]}"]
    )
    n_bytes = len(json.dumps(notebook, ensure_ascii=False, indent=1).encode())
    complaints += [f"{n_bytes:,} bytes, expected less than {BYTES:,}"] if n_bytes >= BYTES else []
    for number, cell in cells_of(notebook, "code"):
        n_lines = len(cell.source.splitlines())
        # The parameters are one line each, and as many as the configuration has.
        if n_lines > CODE_LINES and "parameters" not in tags(cell):
            complaints.append(f"cell {number}: {n_lines} lines, expected at most {CODE_LINES}")
        for node in ast.walk(parse(cell)):
            if isinstance(node, ast.ClassDef):
                complaints.append(
                    f"cell {number}, line {node.lineno}: class {node.name} belongs into the package"
                )
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                n_lines = node.end_lineno - node.lineno + 1
                if n_lines > FUNCTION_LINES:
                    complaints.append(
                        f"cell {number}, line {node.lineno}: def {node.name} has {n_lines} lines, more than {FUNCTION_LINES}"
                    )
    return complaints


def plain_python(notebook, path) -> list[str]:
    """No magics and no shell lines such as %pip and !pip either: what installs moves the versions of a running kernel."""
    complaints = []
    for number, cell in cells_of(notebook, "code"):
        try:
            ast.parse(cell.source)
        except SyntaxError as error:
            complaints.append(
                f"cell {number}, line {error.lineno}: no plain Python, {(error.text or '').strip()!r}"
            )
    return complaints


def runs_headless(notebook, path) -> list[str]:
    """Nothing waits for somebody, ends the kernel early, or counts on an exception."""
    complaints = []
    for number, cell in cells_of(notebook, "code"):
        if "raises-exception" in tags(cell) or "NBVAL_RAISES_EXCEPTION" in cell.source:
            complaints.append(
                f"cell {number}: raises-exception; papermill ends with exit code 1 all the same"
            )
        for node in ast.walk(parse(cell)):
            name = ast.unparse(node.func) if isinstance(node, ast.Call) else getattr(node, "id", "")
            if (isinstance(node, ast.Call) and name in STOPPING) or name == "SystemExit":
                complaints.append(f"cell {number}, line {node.lineno}: {name}")
    return complaints


def no_absolute_paths(notebook, path) -> list[str]:
    return found_in_texts(notebook, ABSOLUTE_PATH, "absolute path")


def no_secrets(notebook, path) -> list[str]:
    # What was found is not repeated in a log.
    return [
        f"{place}: looks like a secret"
        for place, text in all_texts(notebook)
        if SECRET.search(text)
    ]


def links(notebook, path) -> list[str]:
    complaints = []
    for number, cell in cells_of(notebook, "markdown"):
        for found in LINK.finditer(cell.source):
            target = unquote((found[1] or found[2]).split("#")[0])
            if not target.startswith("https://") and not (path.parent / target).exists():
                complaints.append(f"cell {number}: link to {target}, which does not exist")
    return complaints


def previous_and_next(notebook, path) -> list[str]:
    place = [one.name for one in NOTEBOOKS].index(path.name)
    neighbours = {
        "Previous": NOTEBOOKS[place - 1 : place],
        "Next": NOTEBOOKS[place + 1 : place + 2],
    }
    expected = " | ".join(
        f"{word}: [{titles(read(one))[0][3:]}]({one.name})"
        for word, (*ones,) in neighbours.items()
        for one in ones
    )
    complaints = (
        []
        if notebook.cells[0].source.endswith(f"\n\n{expected}")
        else [f"cell 0: expected {expected!r} at its end"]
    )
    for one in neighbours["Next"]:
        if f"]({one.name})" not in notebook.cells[-1].source:
            complaints.append(f"cell {len(notebook.cells) - 1}: no link to {one.name}")
    return complaints


def badges(notebook, path) -> list[str]:
    found = re.search(
        r'"https://github[.]com/([\w-]+/[\w-]+)"', cells_of(notebook, "code")[0][1].source
    )
    if found is None:
        return ["the bootstrap cell names no repository"]
    file = f"{found[1]}/blob/main/notebooks/{path.name}"
    expected = [
        f"https://colab.research.google.com/github/{file}",
        f"https://kaggle.com/kernels/welcome?src=https://github.com/{file}",
    ]
    there = re.findall(r"\[!\[[^]]*\]\([^)]*\)\]\(([^)]*)\)", notebook.cells[0].source)
    return [] if there == expected else [f"cell 0: badges point at {there}, expected {expected}"]


def names_are_defined_above(notebook, path) -> list[str]:
    """ruff reads the cells in their order, and takes a function's body where it stands."""
    command = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--isolated",
        "--select",
        "F821",
        "--output-format",
        "concise",
        "--quiet",
    ]
    text = nbformat.writes(notebook)
    found = subprocess.run(
        [*command, "--stdin-filename", path.name, "-"],
        input=text,
        capture_output=True,
        encoding="utf-8",
    )
    return (found.stdout + found.stderr).splitlines()


def outputs_are_complete(notebook, path) -> list[str]:
    """Somebody who reads sees what somebody who runs sees, and nbval has something to compare."""
    code = cells_of(notebook, "code")
    counts = [cell.execution_count for _, cell in code]
    complaints = (
        []
        if counts == list(range(1, len(code) + 1))
        else [f"execution counts {counts}, expected 1 to {len(code)}"]
    )
    for number, cell in code:
        statements = parse(cell).body
        shows = any(
            isinstance(one, ast.Expr) and ast.unparse(one).startswith("print(")
            for one in statements
        )
        shows |= (
            bool(statements)
            and isinstance(statements[-1], ast.Expr)
            and isinstance(statements[-1].value, ast.Name)
        )
        if (shows or "NBVAL_CHECK_OUTPUT" in cell.source) and not cell.outputs:
            complaints.append(f"cell {number}: its output is not stored")
    if not any("NBVAL_CHECK_OUTPUT" in cell.source for _, cell in code):
        complaints.append("no cell is marked NBVAL_CHECK_OUTPUT, so nbval compares nothing")
    if not any(
        "image/png" in output.get("data", {}) for _, cell in code for output in cell.outputs
    ):
        complaints.append("no picture is stored")
    return complaints


def outputs_are_clean(notebook, path) -> list[str]:
    complaints = []
    for number, cell in cells_of(notebook, "code"):
        for output in cell.outputs:
            if output.output_type == "error" or output.get("name") == "stderr":
                complaints.append(f"cell {number}: stored {output.get('name', 'error')}")
        complaints += [
            f"cell {number}: stored {found[0]}"
            for text in output_texts(cell)
            if (found := WARNING.search(text))
        ]
    return complaints


RULES = (
    valid_format, metadata, no_widget_state, one_title, spine, one_bootstrap, parameters, sizes, plain_python, runs_headless,
    no_absolute_paths, no_secrets, links, previous_and_next, badges, names_are_defined_above, outputs_are_complete, outputs_are_clean,
)  # fmt: skip


def read(path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=nbformat.NO_CONVERT)


def test_the_series_has_four_notebooks():
    assert [path.name[:3] for path in NOTEBOOKS] == ["01_", "02_", "03_", "04_"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_committed_notebook_keeps_the_rule(rule, path):
    complaints = rule(read(path), path)
    assert not complaints, f"{path.name}:\n" + "\n".join(complaints)


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
    cell.source, cell.outputs = "# NBVAL_CHECK_OUTPUT\nfor word in 'ab':\n    print(word)", []


def unmark(notebook):
    for _, cell in cells_of(notebook, "code"):
        cell.source = cell.source.replace("NBVAL_CHECK_OUTPUT", "")


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
        "a promise of two sentences": in_cell(0, r"(?<=\w)[,:] ", ". "),
        "a fifth paragraph": in_cell(0, r"\Z", "\n\nMore."),
        "no badges": in_cell(0, r"\[!\[.*", "Open it in Colab or Kaggle."),
        "no previous and next": in_cell(0, r"\n\nPrevious.*"),
        "a contract without memory": in_cell(1, r"\n\| memory.*"),
        "no contract": without_cell(1),
        "no bootstrap": in_code(0, "find_spec", "find_loader"),
        "parameters not tagged": set_tags(1),
        "parameters before the bootstrap": swap_bootstrap_and_parameters,
        "parameters at the end": move_parameters_to_the_end,
        "no environment report": in_code(2, r"environment_report\(", "detect_devices("),
        "no validated configuration": in_code(2, r"for_size\(", "as_given("),
        "artifacts not shown": lambda notebook: cells_of(notebook, "code")[-1][1].outputs.clear(),
        "manifest not last": lambda notebook: cells_of(notebook, "code")[-1][1].outputs.append(
            nbformat.v4.new_output("stream", text="1 bytes  report.html\n")
        ),
        "no next": without_cell(-1),
        "no code": lambda notebook: notebook.__setitem__("cells", [cell for cell in notebook.cells if cell.cell_type == "markdown"]),
    },
    one_bootstrap: {"another order of places": in_code(0, r"\*Path\.cwd\(\)\.parents", "Path.home()")},
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
    },
    sizes: {
        "a long cell": adding("\n".join("pass" for _ in range(CODE_LINES))),
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
        "another repository than the bootstrap's": in_code(0, r"github[.]com/[\w-]+", "github.com/somebody"),
        "no repository": in_code(0, r"https://github[.]com", "https://example.org"),
        "no badge of Kaggle": in_cell(0, r" \[!\[Open in Kaggle.*"),
    },
    names_are_defined_above: {
        "a name of nothing": adding("print(nothing)"),
        "no imports": in_code(2, r"from golf_nb_utils import host, settings\n"),
        "no parameter": in_code(1, r"model_size = .*\n"),
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
