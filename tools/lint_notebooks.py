"""Lint the committed notebooks: form, links, names and stored outputs.

    python tools/lint_notebooks.py

prints a line `notebook: cell N: what` for each fault and exits with 1 if there is one. Nothing is
executed and torch is not imported, so it takes two seconds. A rule is a function that takes a
notebook and its path and returns complaints. Cells are counted from 0, as the file lists them.
"""

import ast
import dis
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from urllib.parse import unquote

import nbformat

REPOSITORY = Path(__file__).resolve().parent.parent
NOTEBOOKS = REPOSITORY / "notebooks"
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
CLONED = (
    f"--branch v{PROJECT['project']['version']} {PROJECT['tool']['golf_nb_utils']['repository']}"
)

CELLS = range(25, 41)
CODE_LINES = 25
BOOTSTRAP_LINES = 30
PARAMETER_LINES = 7
BOOTSTRAP_METADATA = {
    "cellView": "form",
    "jupyter": {"source_hidden": True},
    "tags": ["bootstrap"],
}
FUNCTION_LINES = 10
BYTES = 1_000_000

CHECKED = "nbval-check-output"
"""The tag of a cell whose output nbval compares with the stored one."""
STOPPING = {"input", "exit", "quit", "sys.exit", "os._exit"}
# The slash of an absolute path follows no word (and/or, a URL), no < (</td>), no ~ and no bracket
# of a template. Kaggle's and Colab's folders are the same for everybody, and so is /dev. A heading
# of an answer has (Ideal/Expected).
ABSOLUTE_PATH = re.compile(
    r"(?<![\w.~:/<)}\]*-])/(?!kaggle/|content\b|dev\b|proc\b|Expected\))[A-Za-z_][\w.-]*|\bfile://"
    r"|\b[A-Za-z]:\\+\w"
)
EMBEDDED = re.compile(r"data:[\w/+.-]+;base64,[A-Za-z0-9+/=\s]+")
SECRET = re.compile(
    r"gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{30,}|hf_[A-Za-z0-9]{30,}|sk-[\w-]{20,}"
    r"|AKIA[0-9A-Z]{16}|AIza[\w-]{35}|xox[abprs]-[\w-]{10,}"
    r"|eyJ[\w-]{10,}\.eyJ[\w-]{10,}|-----BEGIN [A-Z ]*PRIVATE KEY"
    r"|(?i:password|passwd|secret|token|api_?key)['\"]?\s*[=:]\s*['\"][\w+/=-]{12,}['\"]"
)
WARNING = re.compile(r"\w*Warning\b|\bWARN(ING)?\b")
LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"")


def read(path: Path) -> nbformat.NotebookNode:
    """Read a notebook as it is, in whatever version of the format."""
    return nbformat.read(path, as_version=nbformat.NO_CONVERT)


def series(path: Path) -> list[Path]:
    """Return the notebooks of the folder in which `path` is, in their order."""
    return sorted(path.parent.glob("*.ipynb"))


def cells_of(notebook, kind) -> list[tuple[int, nbformat.NotebookNode]]:
    """Return the cells of a kind, each with its number."""
    return [(number, cell) for number, cell in enumerate(notebook.cells) if cell.cell_type == kind]


def tags(cell) -> list[str]:
    """Return a cell's tags."""
    return cell.metadata.get("tags", [])


def parse(cell) -> ast.Module:
    """Return the cell's syntax tree; an empty one where `plain_python` complains."""
    try:
        return ast.parse(cell.source)
    except SyntaxError:
        return ast.Module([], [])


def output_texts(cell) -> list[str]:
    """Return all that a reader of the stored outputs reads, without the pictures."""
    texts = []
    for output in cell.get("outputs", []):
        texts += [output["text"]] if "text" in output else []
        texts += output.get("traceback", [])
        for kind, value in output.get("data", {}).items():
            if kind not in ("image/png", "image/jpeg"):
                text = value if isinstance(value, str) else json.dumps(value)
                texts.append(EMBEDDED.sub("", text))
    return texts


def all_texts(notebook) -> list[tuple[str, str]]:
    """Return every text of a notebook with its place: sources, outputs and metadata."""
    texts = [("metadata", json.dumps(notebook.metadata))]
    for number, cell in enumerate(notebook.cells):
        place = f"cell {number}"
        texts += [(place, cell.source), (f"{place}, metadata", json.dumps(cell.metadata))]
        texts += [(f"{place}, output", text) for text in output_texts(cell)]
    return texts


def found_in_texts(notebook, pattern, what) -> list[str]:
    """Complain about each place at which the pattern is found."""
    return [
        f"{place}: {what} {found[0]!r}"
        for place, text in all_texts(notebook)
        for found in pattern.finditer(text)
    ]


def titles(notebook) -> list[str]:
    """Return the headings of the first level."""
    text = "\n".join(
        re.sub(r"(?ms)^```.*?^```", "", cell.source) for _, cell in cells_of(notebook, "markdown")
    )
    return re.findall(r"(?m)^# (.+)$", text)


def valid_format(notebook, path) -> list[str]:
    """nbformat reads it, and no two cells share an id."""
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
    """The kernel is named: papermill refuses a notebook without, and Kaggle runs papermill."""
    kernel = notebook.metadata.get("kernelspec", {})
    language = notebook.metadata.get("language_info", {})
    found = (kernel.get("name"), kernel.get("language"), language.get("name"))
    if found == ("python3", "python", "python"):
        return []
    return [f"kernelspec name, its language, language_info: {found}"]


def no_widget_state(notebook, path) -> list[str]:
    """No widget is stored: with an incomplete state GitHub shows no notebook at all."""
    there = "widgets" in notebook.metadata
    complaints = ["widget state in the notebook's metadata"] if there else []
    for number, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            views = [kind for kind in output.get("data", {}) if "jupyter.widget" in kind]
            complaints += [f"cell {number}: stored widget, {kind}" for kind in views]
    return complaints


def one_title(notebook, path) -> list[str]:
    """The first cell begins with the notebook's number and title, and there is no other H1."""
    found = titles(notebook)
    complaints = [] if len(found) == 1 else [f"one H1 expected, found {found}"]
    if not notebook.cells[0].source.startswith(f"# {path.stem[:2]} "):
        complaints.append(f"cell 0 does not begin with the H1 '# {path.stem[:2]} ...'")
    return complaints


def spine(notebook, path) -> list[str]:
    """All notebooks have the same parts in the same order."""
    code = [cell for _, cell in cells_of(notebook, "code")]
    if len(code) < 3:
        return [f"{len(code)} code cells, expected bootstrap, parameters, resolved configuration"]
    opening = notebook.cells[0].source.split("\n\n")
    _, promise, picture, shields, neighbours = (*opening, *[""] * 5)[:5]
    contract = re.findall(r"(?m)^\| (\w+) \|", notebook.cells[1].source)
    calls = [node.func for node in ast.walk(parse(code[2])) if isinstance(node, ast.Call)]
    called = {ast.unparse(function).split(".")[-1] for function in calls}
    written = "".join(output_texts(code[-1])).strip()
    drawn = [
        {"image/png": output["data"]["image/png"].strip()}
        for cell in code if "picture" in tags(cell)
        for output in cell.outputs if "image/png" in output.get("data", {})
    ]  # fmt: skip
    parts = {
        "title, promise, picture, badges, and previous and next as the five paragraphs of cell 0":
            len(opening) == 5,
        "a promise of one sentence": re.fullmatch(r"[A-Z](?:(?![.!?] )[^\n])*[.]", promise),
        "a picture, with its alt text, drawn by the cell tagged 'picture'":
            re.fullmatch(r"!\[[^\]]{20,}\]\(attachment:picture[.]png\)", picture)
            and drawn == [notebook.cells[0].get("attachments", {}).get("picture.png")],
        "badges": shields.startswith("[!["),
        "previous and next": re.match("Previous: |Next: ", neighbours),
        "contract table in cell 1, of reads, writes, time, memory":
            contract == ["reads", "writes", "time", "memory"],
        "bootstrap as first code cell, tagged and folded on Colab and in JupyterLab":
            'find_spec("golf_nb_utils")' in code[0].source
            and code[0].source.startswith("# @title Setup: ")
            and code[0].metadata == BOOTSTRAP_METADATA,
        "parameters as second code cell": "parameters" in tags(code[1]),
        "resolved configuration, printed, as third code cell, which watches those below it":
            called >= {"read", "environment_report", "print", "watch"},
        "artifacts written, printed by the last code cell, the manifest last":
            written.endswith("manifest.json"),
        "'**Next:**' in the last cell": notebook.cells[-1].source.startswith("**Next:** "),
    }  # fmt: skip
    return [f"the spine lacks {what}" for what, holds in parts.items() if not holds]


def one_bootstrap(notebook, path) -> list[str]:
    """The same code finds the package in each: any may be opened first, and it is repaired once."""
    own = cells_of(notebook, "code")[0][1].source
    others = [other for other in series(path) if other.name != path.name]
    return [
        f"cell {cells_of(notebook, 'code')[0][0]}: bootstrap differs from that of {other.name}"
        for other in others
        if cells_of(read(other), "code")[0][1].source != own
    ]


def parameters(notebook, path) -> list[str]:
    """One tagged cell of few lines, `name = literal  # comment`, the last of them `more`."""
    tagged = [number for number, cell in enumerate(notebook.cells) if "parameters" in tags(cell)]
    if len(tagged) != 1:
        return [f"one cell tagged 'parameters' expected, found {tagged}"]
    (number,) = tagged
    complaints, names = [], set()
    lines = notebook.cells[number].source.splitlines()
    if len(lines) > PARAMETER_LINES or not "".join(lines[-1:]).startswith("more = {}  # "):
        what = f"expected at most {PARAMETER_LINES} lines, the last of them `more = {{}}`"
        complaints.append(f"cell {number}: {len(lines)} lines, {what}")
    for line, text in enumerate(lines, 1):
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


def settings_of(number: int) -> set[str]:
    """Return the names of a notebook's settings, and `more`; the package is not imported."""
    tree = ast.parse((REPOSITORY / "golf_nb_utils" / "settings.py").read_text(encoding="utf-8"))
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    (configs,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "CONFIGS"
    )
    own = dict(zip((key.value for key in configs.keys), configs.values, strict=True))[number].id
    fields = [*classes["_Settings"].body, *classes[own].body]
    return {node.target.id for node in fields if isinstance(node, ast.AnnAssign)} | {"more"}


def settings_stay(notebook, path) -> list[str]:
    """Only the parameters cell assigns a setting: the cell below it reads them as variables.

    Run again, after another cell has used the name of one, it would take that for a setting.
    """
    names, complaints = settings_of(int(path.name[:2])), []
    for number, cell in cells_of(notebook, "code"):
        # By the compiled code, in which the names of comprehensions and functions are their own.
        for one in dis.get_instructions(compile(parse(cell), "cell", "exec")):
            if (
                one.opname == "STORE_NAME"
                and one.argval in names
                and "parameters" not in tags(cell)
            ):
                place = f"cell {number}, line {one.positions.lineno}"
                complaints.append(f"{place}: assigns {one.argval}, which is a setting; rename it")
    return complaints


def sizes(notebook, path) -> list[str]:
    """Short cells, and not too many; classes and long functions belong into the package."""
    complaints = []
    if len(notebook.cells) not in CELLS:
        complaints.append(f"{len(notebook.cells)} cells, expected {CELLS[0]} to {CELLS[-1]}")
    n_bytes = len(json.dumps(notebook, ensure_ascii=False, indent=1).encode())
    if n_bytes >= BYTES:
        complaints.append(f"{n_bytes:,} bytes, expected less than {BYTES:,}")
    for place, (number, cell) in enumerate(cells_of(notebook, "code")):
        n_lines = len(cell.source.splitlines())
        # The bootstrap is longer: it finds the package, so nothing of it can be in the package.
        most = CODE_LINES if place else BOOTSTRAP_LINES
        if n_lines > most:
            complaints.append(f"cell {number}: {n_lines} lines, expected at most {most}")
        for node in ast.walk(parse(cell)):
            if isinstance(node, ast.ClassDef):
                complaints.append(f"cell {number}: class {node.name} belongs into the package")
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                n_lines = node.end_lineno - node.lineno + 1
                if n_lines > FUNCTION_LINES:
                    what = f"def {node.name} has {n_lines} lines, more than {FUNCTION_LINES}"
                    complaints.append(f"cell {number}: {what}")
    return complaints


def plain_python(notebook, path) -> list[str]:
    """No magics and no shell lines: %pip and !pip would move the versions of a running kernel."""
    complaints = []
    for number, cell in cells_of(notebook, "code"):
        try:
            ast.parse(cell.source)
        except SyntaxError as error:
            place, text = f"cell {number}, line {error.lineno}", (error.text or "").strip()
            complaints.append(f"{place}: no plain Python, {text!r}")
    return complaints


def runs_headless(notebook, path) -> list[str]:
    """Nothing waits for somebody, ends the kernel early, or counts on an exception."""
    complaints = []
    for number, cell in cells_of(notebook, "code"):
        if "raises-exception" in tags(cell) or "NBVAL_RAISES_EXCEPTION" in cell.source:
            complaints.append(f"cell {number}: raises-exception; papermill fails all the same")
        for node in ast.walk(parse(cell)):
            name = ast.unparse(node.func) if isinstance(node, ast.Call) else getattr(node, "id", "")
            if (isinstance(node, ast.Call) and name in STOPPING) or name == "SystemExit":
                complaints.append(f"cell {number}, line {node.lineno}: {name}")
    return complaints


def no_absolute_paths(notebook, path) -> list[str]:
    """No path of the machine on which it was executed."""
    return found_in_texts(notebook, ABSOLUTE_PATH, "absolute path")


def no_secrets(notebook, path) -> list[str]:
    """Nothing that looks like a key or a password."""
    # What was found is not repeated in a log.
    return [
        f"{place}: looks like a secret"
        for place, text in all_texts(notebook)
        if SECRET.search(text)
    ]


def links(notebook, path) -> list[str]:
    """A relative link leads to a file, and another is https."""
    complaints = []
    for number, cell in cells_of(notebook, "markdown"):
        for found in LINK.finditer(cell.source):
            target = unquote((found[1] or found[2]).split("#")[0])
            if (
                not target.startswith(("https://", "attachment:"))
                and not (path.parent / target).exists()
            ):
                complaints.append(f"cell {number}: link to {target}, which does not exist")
    return complaints


def previous_and_next(notebook, path) -> list[str]:
    """The first cell links both neighbours by their titles, the last cell the next one."""
    notebooks = series(path)
    place = [one.name for one in notebooks].index(path.name)
    previous, following = notebooks[:place][-1:], notebooks[place + 1 :][:1]
    links = [
        f"{word}: [{titles(read(one))[0][3:]}]({one.name})"
        for word, ones in (("Previous", previous), ("Next", following))
        for one in ones
    ]
    expected, complaints = " | ".join(links), []
    if not notebook.cells[0].source.endswith(f"\n\n{expected}"):
        complaints.append(f"cell 0: expected {expected!r} at its end")
    if following and f"]({following[0].name})" not in notebook.cells[-1].source:
        complaints.append(f"cell {len(notebook.cells) - 1}: no link to {following[0].name}")
    return complaints


def badges(notebook, path) -> list[str]:
    """Both badges open this notebook, of the repository that the bootstrap cell clones."""
    bootstrap = cells_of(notebook, "code")[0][1].source
    found = re.search(r'https://github[.]com/([\w-]+/[\w.-]+)"', bootstrap)
    if found is None:
        return ["the bootstrap cell names no repository"]
    if f'{CLONED}"' not in bootstrap:
        return [f"the bootstrap cell lacks {CLONED!r}, of pyproject.toml: run `make links`"]
    file = f"{found[1]}/blob/main/notebooks/{path.name}"
    expected = [
        f"https://colab.research.google.com/github/{file}",
        f"https://kaggle.com/kernels/welcome?src=https://github.com/{file}",
    ]
    there = re.findall(r"\[!\[[^]]*\]\([^)]*\)\]\(([^)]*)\)", notebook.cells[0].source)
    return [] if there == expected else [f"cell 0: badges point at {there}, expected {expected}"]


def names_are_defined_above(notebook, path) -> list[str]:
    """ruff reads the cells in their order, and a function's body where it stands."""
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--quiet", "--select", "F821"]
    command += ["--output-format", "concise", "--stdin-filename", path.name, "-"]
    text = nbformat.writes(notebook)
    found = subprocess.run(command, input=text, capture_output=True, encoding="utf-8")
    lines = (found.stdout + found.stderr).splitlines()
    # ruff counts cells from 1.
    return [
        re.sub(r"^.*?:cell (\d+):(\d+):\d+", lambda m: f"cell {int(m[1]) - 1}, line {m[2]}", line)
        for line in lines
    ]


def outputs_are_complete(notebook, path) -> list[str]:
    """Somebody who reads sees what somebody who runs sees, and nbval has something to compare."""
    code = cells_of(notebook, "code")
    counts, complaints = [cell.execution_count for _, cell in code], []
    if counts != list(range(1, len(code) + 1)):
        complaints.append(f"execution counts {counts}, expected 1 to {len(code)}")
    for number, cell in code:
        values = [getattr(one, "value", None) for one in parse(cell).body]
        shows = any(
            isinstance(one, ast.Call) and ast.unparse(one.func) == "print" for one in values
        )
        shows |= (
            bool(values)
            and isinstance(parse(cell).body[-1], ast.Expr)
            and isinstance(values[-1], ast.Name)
        )
        if (shows or CHECKED in tags(cell)) and not cell.outputs:
            complaints.append(f"cell {number}: its output is not stored")
    if not any(CHECKED in tags(cell) for _, cell in code):
        complaints.append("no cell is tagged nbval-check-output, so nbval compares nothing")
    outputs = [output for _, cell in code for output in cell.outputs]
    if not any("image/png" in output.get("data", {}) for output in outputs):
        complaints.append("no picture is stored")
    return complaints


def outputs_are_clean(notebook, path) -> list[str]:
    """No error, no warning and nothing from stderr is stored."""
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
    valid_format, metadata, no_widget_state, one_title, spine, one_bootstrap, parameters,
    settings_stay, sizes, plain_python, runs_headless, no_absolute_paths, no_secrets, links,
    previous_and_next, badges, names_are_defined_above, outputs_are_complete, outputs_are_clean,
)  # fmt: skip


def main(folder: Path = NOTEBOOKS) -> int:
    """Print the faults of a folder's notebooks; return 1 if there is one or no notebook, else 0."""
    paths = sorted(folder.glob("*.ipynb"))
    faults = [
        f"{path.name}: {complaint}"
        for path in paths
        for notebook in [read(path)]
        for rule in RULES
        for complaint in rule(notebook, path)
    ]
    if not paths:
        faults = [f"{folder}: no notebook here"]
    print("".join(f"{fault}\n" for fault in faults), end="")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
