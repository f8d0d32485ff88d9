"""The documentation: what it names exists, what it quotes is said, its snippets and commands run, its generated page is the newest."""

import ast
import json
import re
import runpy
import shlex
import subprocess
import sys
from importlib import import_module
from itertools import takewhile
from pathlib import Path
from urllib.parse import urlsplit

import nbformat
import pytest
import torch
import yaml

from golf_nb_utils.__main__ import main
from golf_nb_utils.coach.generators import (
    FineTunedGolfFeedbackGenerator,
    TemplateFeedbackGenerator,
)
from golf_nb_utils.coach.ollama import OllamaFeedbackGenerator
from golf_nb_utils.coach.server import make_app
from golf_nb_utils.files import Paths, write_manifest
from golf_nb_utils.golf.app_request import ARGUMENTS
from golf_nb_utils.gpt2.checkpoints import save_model
from golf_nb_utils.gpt2.tokenizer import learn_bpe
from golf_nb_utils.settings import CONFIGS, MORE, GPTConfig, declared, resolve_model_size
from tools import kaggle, write_parameters

REPOSITORY = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
OURS = [
    *(REPOSITORY / "docs").glob("*.md"),
    *(
        REPOSITORY / name
        for name in (
            "CONTRIBUTING.md",
            "CHANGELOG.md",
            "LICENSE-DATA.md",
            "LICENSE-MODEL.md",
            "THIRD_PARTY_NOTICES.md",
        )
    ),
]
LINKED = [
    *OURS,
    *(REPOSITORY / name for name in ("README.md", "knowledge/README.md", "benchmarks/README.md")),
]
SUFFIXES = (
    ".cff",
    ".html",
    ".ipynb",
    ".json",
    ".jsonl",
    ".md",
    ".pdf",
    ".pth",
    ".py",
    ".safetensors",
    ".toml",
    ".txt",
    ".yaml",
)


def name_of(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def fences(path: Path, language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )


def prose(path: Path) -> str:
    return re.sub(
        r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
    )


def spans(path: Path) -> list[str]:
    return re.findall(r"`([^`\n]+)`", prose(path))


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them: lower case, punctuation away, a hyphen for each blank."""
    headings = re.findall(r"^#+ (.*)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


PARAMETERS = {f"{number:02}": declared(number) for number in CONFIGS}


@pytest.fixture(scope="module")
def messages() -> list[str]:
    """Every text of the package and of the notebooks' cells, `...` for what is filled in."""
    sources = [
        path.read_text(encoding="utf-8")
        for path in sorted((REPOSITORY / "golf_nb_utils").rglob("*.py"))
    ]
    for path in NOTEBOOKS:
        sources += [
            cell.source
            for cell in nbformat.read(path, as_version=4).cells
            if cell.cell_type == "code"
        ]
    found = []
    for source in sources:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.JoinedStr):
                found.append(
                    "".join(
                        part.value if isinstance(part, ast.Constant) else "..."
                        for part in node.values
                    )
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return [dotted(text) for text in found]


def dotted(text: str) -> str:
    return re.sub(r"\.{3,}", "...", text)


@pytest.mark.parametrize("path", LINKED, ids=name_of)
def test_every_relative_link_leads_to_a_file_and_a_heading_of_it(path):
    links = [
        link
        for link in re.findall(r"\]\(([^)\s]+)\)", prose(path))
        if not re.match(r"https?://", link)
    ]
    for link in links:
        target, _, anchor = link.partition("#")
        file = (path.parent / target).resolve() if target else path
        assert file.exists(), link
        assert file.is_relative_to(REPOSITORY), link
        if anchor:
            assert anchor in anchors(file), link


@pytest.mark.parametrize("path", OURS, ids=name_of)
def test_every_file_named_is_in_the_repository_or_is_one_that_the_code_names(path, messages):
    for span in spans(path):
        is_path = re.fullmatch(r"/?[\w.{}-]+(/[\w.{}-]+)*/?", span) and (
            "/" in span or Path(span).suffix in SUFFIXES
        )
        if (
            not is_path
            or Path(span).name.startswith("{")
            or any(
                (folder / span).exists()
                for folder in (REPOSITORY, path.parent, REPOSITORY / "golf_nb_utils")
            )
        ):
            continue
        name = dotted(re.sub(r"\{\w+\}", "...", Path(span).name))
        assert any(name in text for text in messages), span


@pytest.mark.parametrize("path", OURS, ids=name_of)
def test_every_module_class_and_function_named_is_in_the_package(path):
    package = REPOSITORY / "golf_nb_utils"
    modules = {
        file.stem: ".".join(file.relative_to(package.parent).with_suffix("").parts)
        for file in package.rglob("[a-z]*.py")
    }
    for span in spans(path):
        module, _, name = span.removeprefix("golf_nb_utils.").partition(".")
        if module in modules and re.fullmatch(r"\w+", name) and f".{name}" not in SUFFIXES:
            assert hasattr(import_module(modules[module]), name), span
    for name in re.findall(r"\b\w+FeedbackGenerator\b", path.read_text(encoding="utf-8")):
        home = "ollama" if name == "OllamaFeedbackGenerator" else "generators"
        assert hasattr(import_module(f"golf_nb_utils.coach.{home}"), name), name


@pytest.mark.parametrize("path", OURS, ids=name_of)
def test_every_setting_named_with_a_value_is_a_parameter_that_takes_it(path):
    for span in spans(path):
        assignment = re.fullmatch(r"(\w+) ?= ?(.+)", span)
        if not assignment:
            continue
        given = {assignment[1]: ast.literal_eval(assignment[2])}
        for name, value in given.get(MORE, given).items():
            takers = [taker for taker in CONFIGS.values() if name in taker.__dataclass_fields__]
            assert takers, span
            for taker in takers:
                if name == "model_size":
                    resolve_model_size(value, has_gpu=True)
                else:
                    taker.for_size("124M", **{name: value})


@pytest.mark.parametrize(
    "path",
    [REPOSITORY / "docs" / name for name in ("troubleshooting.md", "workflow.md", "app.md")],
    ids=name_of,
)
def test_every_name_with_an_underscore_stands_in_the_code(path):
    code = "".join(
        file.read_text(encoding="utf-8") for file in (REPOSITORY / "golf_nb_utils").rglob("*.py")
    )
    for span in spans(path):
        if re.fullmatch(r"[a-z]+(_[a-z]+)+", span):
            assert re.search(rf"\b{span}\b", code), span


@pytest.mark.parametrize("path", [*OURS, REPOSITORY / "README.md"], ids=name_of)
def test_every_environment_variable_of_ours_is_read_by_the_code(path):
    code = "".join(
        file.read_text(encoding="utf-8") for file in (REPOSITORY / "golf_nb_utils").rglob("*.py")
    )
    for variable in re.findall(r"\b(?:GOLF|OLLAMA)_[A-Z_]+\b", path.read_text(encoding="utf-8")):
        assert f'"{variable}"' in code, variable


OTHERS = {
    "python",
    "jupyter",
    "kaggle",
    "cp",
    "source",
    "git",
    "cd",
    "curl",
    "ollama",
    "llama-server",
}


def commands(path: Path) -> list[list[str]]:
    lines = [
        line for fence in fences(path, "bash") for line in fence.replace("\\\n", " ").splitlines()
    ]
    lines += [
        span
        for span in spans(path)
        if re.match(r"(python|papermill|make|\.venv/bin/python) ", span)
    ]
    return [
        shlex.split(line, comments=True) for line in lines if line.strip() and line[0] not in "#%"
    ]


@pytest.mark.parametrize("path", [*OURS, REPOSITORY / "README.md"], ids=name_of)
def test_every_command_has_options_files_targets_and_parameters_that_exist(path, capsys):
    for words in commands(path):
        words[0] = words[0].removeprefix(".venv/bin/")
        if words[:3] == ["python", "-m", "golf_nb_utils"] or words[1] == "tools/kaggle.py":
            with pytest.raises(SystemExit) as caught:
                main([*words[3:4], "--help"]) if words[1] == "-m" else kaggle.main(["--help"])
            assert not caught.value.code, words
            text = capsys.readouterr().out
            for option in (word for word in words[2:] if word.startswith("-") and word != "-m"):
                assert re.search(rf"(?<![\w-]){re.escape(option)}\b", text), words
            for place in (place for place, word in enumerate(words) if word == "-f"):
                assert (REPOSITORY / words[place + 1]).is_file(), words
            if words[3] == "run":
                numbers = [f"0{word}" for word in takewhile(str.isdigit, words[4:])] or list(
                    PARAMETERS
                )
                check_parameters(words, {name for number in numbers for name in PARAMETERS[number]})
        elif words[0] == "papermill":
            assert (REPOSITORY / words[1]).is_file(), words
            check_parameters(words, set(PARAMETERS[Path(words[1]).name[:2]]))
        elif words[0] == "make":
            targets = re.findall(
                r"^(\w+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
            )
            variables = re.findall(
                r"\$\((\w+)\)", (REPOSITORY / "Makefile").read_text(encoding="utf-8")
            )
            assert words[1] in targets, words
            assert {word.partition("=")[0] for word in words[2:]} <= set(variables), words
        elif words[0] in OTHERS:
            given = [word for word in words[1:] if re.search(r"\.(py|ipynb|txt)$", word)]
            assert all((REPOSITORY / word).is_file() for word in given), words
        elif words[0] == "curl":
            assert urlsplit(words[1]).path in [route.path for route in make_app(None).routes]
            assert json.loads(words[-1]).keys() <= {*ARGUMENTS, "stream"}
        else:
            pytest.fail(f"{name_of(path)} has a command that no test knows: {words}")


def check_parameters(words: list[str], known: set[str]) -> None:
    for place, word in enumerate(words):
        if word == "-p":
            assert words[place + 1] in known, words


def test_every_message_quoted_in_troubleshooting_is_one_that_the_project_says(messages):
    quoted = [
        line
        for fence in fences(REPOSITORY / "docs" / "troubleshooting.md", "text")
        for line in fence.splitlines()
    ]
    assert len(quoted) > 15
    for line in quoted:
        assert len(line.replace("...", "").strip()) >= 9, line
        parts = dotted(line).removesuffix(" ...")
        assert any(parts in text for text in messages), line


def test_the_phrases_quoted_beside_a_remedy_are_said_by_the_project(messages):
    page = REPOSITORY / "docs" / "troubleshooting.md"
    for phrase in (
        "a CPU without bfloat16 instructions: about three times slower",
        "steps left out",
        "Not kept:",
        "headless: ",
    ):
        assert phrase.strip() in prose(page), phrase
        assert any(phrase in text for text in messages), phrase


# Own knowledge: the errors shown are those that a broken example gives.


@pytest.fixture
def my_topics(tmp_path, monkeypatch):
    """A function that writes the example of knowledge/README.md, with one line changed, as a folder of one's own."""
    example = re.search(
        r"```markdown\n(.*?)```",
        (REPOSITORY / "knowledge" / "README.md").read_text(encoding="utf-8"),
        re.DOTALL,
    )[1]
    example = re.sub(r" +# [^\n]+", "", example)
    changes = {
        "hanging_back": "my_topic", "WF3": "ZF1", "WD5": "ZD1", ": Hanging back": ": Mine", ": Step drill": ": Own drill", "[WF4]": "[]",
    }  # fmt: skip
    for old, new in changes.items():
        assert old in example
        example = example.replace(old, new)
    monkeypatch.chdir(tmp_path)
    path = Path("my_topics") / "weight_shift" / "my_topic.md"
    path.parent.mkdir(parents=True)

    def write(old: str = "", new: str = "") -> None:
        assert example.count(old) == 1 or not old
        path.write_text(example.replace(old, new) if old else example, encoding="utf-8")

    return write


BREAKS = {
    "source": ("lead foot. [OKUDA10]\n  or: Your", "lead foot.\n  or: Your"),
    "rule": ("- The loft lifts it.", "- Keep your head down."),
    "half": (
        "- Staying back often starts with the wish to help the ball up. The club then comes down too early.",
        "- The wish to help the ball up",
    ),
    "taken": ("## Fault ZF1: Mine", "## Fault ZF1: Hanging back"),
    "nobody": ("- Levels: beginner, intermediate, advanced\n", "- Not for: junior\n"),
}


def test_each_error_shown_for_own_knowledge_is_what_a_broken_file_gives(my_topics, capsys):
    shown = [
        fence.rstrip("\n") for fence in fences(REPOSITORY / "docs" / "own_knowledge.md", "text")
    ]
    assert len(shown) == len(BREAKS)
    for expected, (old, new) in zip(shown, BREAKS.values(), strict=True):
        my_topics(old, new)
        assert main(["check-knowledge", "--extra", "my_topics"]) == 1
        said = capsys.readouterr().err.rstrip("\n").replace(f"{REPOSITORY}/", "")
        assert re.fullmatch(re.escape(expected).replace(r":\.\.\.", r":\d+"), said), said


def test_the_snippet_for_own_knowledge_makes_a_coach_that_knows_it(my_topics):
    my_topics()
    (snippet,) = fences(REPOSITORY / "docs" / "own_knowledge.md", "python")
    names: dict = {}
    exec(snippet, names)
    assert "my_topic" in {topic.id for topic in names["coach"].knowledge.topics}


def test_the_plan_for_t4s_is_what_is_planned_now():
    t4 = runpy.run_path(str(REPOSITORY / "benchmarks" / "t4.py"))
    page = (REPOSITORY / "docs" / "training.md").read_text(encoding="utf-8").splitlines()
    assert [row for row in map(t4["row"], t4["SIZES"]) if row not in page] == []


def test_the_readme_stays_short():
    assert len((REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


def test_the_table_of_versions_has_the_lower_bounds_and_the_pins():
    def found(pattern, name):
        return dict(
            re.findall(pattern, (REPOSITORY / name).read_text(encoding="utf-8"), re.MULTILINE)
        )

    pins = {
        name.lower(): pin for name, pin in found(r"^([\w-]+)==([\d.]+)$", "constraints.txt").items()
    }
    if "torch" not in pins:
        pytest.skip(
            "constraints.txt pins no torch, as where the lower bounds or the newest releases are tested"
        )
    rows = re.findall(
        r"^\| ([\w-]+) \| (\d\S*) \| (\S+) \| (\S+) \|$",
        (REPOSITORY / "docs" / "versions.md").read_text(),
        re.MULTILINE,
    )
    bounds = found(r"^([\w-]+)>=([\d.]+)", "requirements.txt")
    assert [row[0] for row in rows] == list(bounds)
    for name, oldest, pinned, newest in rows:
        assert f"{oldest}.".startswith(f"{bounds[name]}.")
        assert pinned == pins[name]
        assert [int(part) for part in oldest.split(".")] <= [
            int(part) for part in newest.split(".")
        ]


def test_the_page_about_the_parts_lists_every_module_once():
    page = (REPOSITORY / "docs" / "parts.md").read_text(encoding="utf-8")
    listed = re.findall(r"(?m)^\| `([\w.]+)` \| ", page)
    package = REPOSITORY / "golf_nb_utils"
    modules = [
        ".".join(path.relative_to(package).with_suffix("").parts)
        for path in package.rglob("*.py")
        if path.name != "__init__.py"
    ]
    assert sorted(listed) == sorted(modules)


# The app: every snippet runs, in the order of the page.


@pytest.fixture
def trained(tmp_path, monkeypatch, random_model, tiny_records):
    """An output root with what the page says that the app needs, of a model whose weights nobody trained."""
    monkeypatch.setenv("GOLF_OUTPUT_ROOT", str(tmp_path))
    # Nothing listens on this port, so that no server of the tester's own is asked.
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")
    paths = Paths(tmp_path)
    learn_bpe([record.output for record in tiny_records["train"]], 400, paths.checkpoint("tiny"))
    write_manifest(paths.checkpoint("tiny"), "notebook 02", [])
    model = random_model(GPTConfig(n_vocab=400, n_ctx=1024, n_embd=8, n_head=2, n_layer=1))
    with torch.no_grad():
        # It ends each answer at once: 400 random tokens would say nothing more, and take seconds.
        model.wte.weight[-1] = 1.0
        model.ln_f.weight.zero_()
        model.ln_f.bias.fill_(100.0)
    training = {"epochs": 1, "batch_size": 4, "learning_rate": 1e-3, "loss_on": "all"}
    facts = {
        "model_size": "tiny",
        "seed": 1,
        "metrics": {},
        "data": {"golf_feedback_train.json": {"sha256": "a" * 64}},
        "training": training,
    }
    save_model(paths.weights("tiny"), model, paths.checkpoint("tiny"), **facts)
    write_manifest(paths.models, "notebook 03", [])
    assert {path.name for path in paths.checkpoint("tiny").iterdir()} == {
        "manifest.json",
        "encoder.json",
        "vocab.bpe",
    }
    return paths


def test_the_snippets_of_the_page_for_apps_run_one_after_the_other(trained, capsys):
    snippets = fences(REPOSITORY / "docs" / "app.md", "python")
    names: dict = {}
    generators = set()
    for snippet in snippets:
        if "from transformers" in snippet:
            assert main(["export", "--model-size", "tiny"]) == 0
        exec(compile(snippet, f"docs/app.md: {snippet.splitlines()[0]}", "exec"), names)
        generators.add(type(names["coach"]))
    assert generators == {
        TemplateFeedbackGenerator,
        FineTunedGolfFeedbackGenerator,
        OllamaFeedbackGenerator,
    }
    assert "current_score is 45, outside 0 to 1" in capsys.readouterr().out
    assert len(trained.user_feedback().read_text(encoding="utf-8").splitlines()) == 1


def test_the_tables_of_the_page_for_apps_name_every_argument_and_every_key(knowledge):
    page = (REPOSITORY / "docs" / "app.md").read_text(encoding="utf-8")
    tables = {heading: set(re.findall(r"`(\w+)`", "\n".join(re.findall(r"^\| (`.*?) \|", part, re.MULTILINE)))) for heading, part in
              ((part.split("\n")[0], part) for part in re.split(r"^## ", page, flags=re.MULTILINE)[1:])}  # fmt: skip
    feedback = TemplateFeedbackGenerator(knowledge).generate_feedback(
        "balance", None, 0.5, 0.8, 0.3, None
    )
    assert tables["What goes in"] == set(ARGUMENTS)
    assert tables["What comes out"] == set(feedback) | set(feedback["verification"])


@pytest.mark.parametrize("path", OURS, ids=name_of)
def test_every_python_snippet_compiles_and_imports_what_exists(path):
    for snippet in fences(path, "python"):
        for node in ast.walk(ast.parse(snippet)):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("golf_nb_utils"):
                for alias in node.names:
                    assert hasattr(import_module(node.module), alias.name), snippet


# All parameters.


def test_the_page_of_all_parameters_is_what_would_be_written_now():
    assert write_parameters.PAGE.read_text(encoding="utf-8") == write_parameters.page(), (
        "run `python tools/write_parameters.py`"
    )


def rows_of_parameters() -> dict[str, dict[str, list[str]]]:
    """{notebook's number: {name: [default, meaning]}} of the page."""
    found: dict[str, dict[str, list[str]]] = {}
    for part in write_parameters.page().split("\n## ")[1:]:
        rows = [line.strip("| ").split(" | ") for line in part.splitlines() if line[:3] == "| `"]
        found[part[:2]] = {row[0].strip("`"): row[1:] for row in rows}
        assert len(rows) == len(found[part[:2]])
    return found


def test_every_setting_of_every_notebook_stands_once_on_the_page_with_its_meaning():
    found = rows_of_parameters()
    for number, names in PARAMETERS.items():
        fields = CONFIGS[int(number)].__dataclass_fields__
        assert {name: row[1] for name, row in found[number].items()} == {
            name: fields[name].metadata["meaning"] for name in names
        }


def test_no_column_of_the_page_takes_the_place_of_the_meaning():
    # At 800 pixels a table has room for some ninety characters of 16 pixels, of which names and defaults are not broken.
    for names in rows_of_parameters().values():
        for name, (default, _) in names.items():
            assert len(name) + len(default.replace("`", "")) <= 50, name


@pytest.mark.parametrize(
    ("number", "name", "expected"),
    # As the design of the project has them, and what tiny's preset was found to be (benchmarks/results/2026-11-22_tiny_preset.md).
    [
        ("03", "epochs", "`2`, tiny `1`"),
        ("03", "batch_size", "`8`, tiny `4`"),
        ("03", "learning_rate", "`5e-05`, tiny `0.0025`"),
        ("03", "mixed_precision", "`True`"),
        ("03", "loss_on", "`all`, tiny `response`"),
        ("01", "n_examples", "`400`, tiny `3000`"),
        ("01", "extra_knowledge", '`""`'),
        ("01", "model_size", "`auto`"),
        ("04", "top_k", "`50`"),
    ],
)
def test_the_page_has_the_defaults_of_gpt_2_and_of_tiny(number, name, expected):
    assert rows_of_parameters()[number][name][0] == expected


def test_writing_the_page_loads_neither_torch_nor_tensorflow():
    code = "import sys; from tools import write_parameters as w; w.page(); print({'torch', 'tensorflow'} & set(sys.modules))"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
        ).stdout
        == "set()\n"
    )


# Citation, changelog, notices.


def test_the_citation_has_the_packages_version_licence_and_address():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    project = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    # What schema 1.2.0 requires.
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert f'version = "{citation["version"]}"' in project
    assert f'license = "{citation["license"]}"' in project
    assert f'repository = "{citation["repository-code"]}"' in project


def test_the_changelog_begins_with_what_is_unreleased_under_known_headings():
    text = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE)[0] == "[Unreleased]"
    headings = set(re.findall(r"^### (.*)$", text, re.MULTILINE))
    # keepachangelog.com, 1.1.0
    assert headings
    assert headings <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_every_package_that_is_installed_has_its_notice():
    notices = (REPOSITORY / "THIRD_PARTY_NOTICES.md").read_text(encoding="utf-8")
    for name in ("requirements.txt", "requirements-dev.txt"):
        lines = (REPOSITORY / name).read_text(encoding="utf-8").splitlines()
        for package in (
            re.match(r"[\w-]+", line)[0] for line in lines if line and not line.startswith("#")
        ):
            found = (
                rf"^\| {package} \| [^|]+ \|" if name == "requirements.txt" else rf"\b{package}\b"
            )
            assert re.search(found, notices, re.MULTILINE), package
