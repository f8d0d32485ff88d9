"""The command line: what it refuses before anything runs, check-knowledge and export; tests/test_series.py runs the notebooks."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import papermill
import pytest
import torch

from golf_nb_utils import settings
from golf_nb_utils.__main__ import main
from golf_nb_utils.files import Paths
from golf_nb_utils.golf.answer import GrammarBook
from golf_nb_utils.golf.engines import json_schema, token_gbnf
from golf_nb_utils.golf.request import Request
from golf_nb_utils.gpt2.checkpoints import save_model
from golf_nb_utils.gpt2.tokenizer import learn_bpe, load_tokenizer
from golf_nb_utils.prompt import format_input

REPOSITORY = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
KNOWLEDGE = REPOSITORY / "knowledge" / "golf_instruction"
CONFIGS = (
    settings.DataConfig,
    settings.CheckpointConfig,
    settings.TrainConfig,
    settings.SampleConfig,
)


PRINTS = """
import sys
from pathlib import Path

import papermill

def execute(source, target, parameters, stdout_file, stderr_file, **options):
    for file in (stdout_file, stderr_file):
        file.write("begun \\ufffd 🏌️ — \\udcff done\\n")
    Path(target).write_text("{}")

papermill.execute_notebook = execute
from golf_nb_utils.__main__ import main
sys.exit(main(["run", "2", "--model-size", "tiny", "--output-root", sys.argv[1]]))
"""


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "iso-8859-1", "utf-8", "cp437"])
def test_an_output_that_is_not_utf8_shows_what_it_can_and_ends_no_run(tmp_path, encoding):
    """A notebook's own output, and the path of the results."""
    root = tmp_path / "Übung 重心"
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", PRINTS, str(root)]
    ended = subprocess.run(command, env=environment, capture_output=True)
    assert ended.returncode == 0
    shown = "begun \ufffd 🏌️ — \udcff done".encode(encoding, "replace")
    assert shown in ended.stdout
    assert shown in ended.stderr
    assert str(root).encode(encoding, "replace") in ended.stdout


def test_an_unknown_parameter_is_refused_with_the_nearest_right_one(tmp_path, capsys):
    assert main(["run", "--output-root", str(tmp_path), "-p", "epoch", "3"]) == 2
    assert (
        "no notebook of this run declares the parameter 'epoch'; did you mean 'epochs'?"
        in capsys.readouterr().err
    )
    assert not list(tmp_path.iterdir())


def test_a_parameter_of_a_notebook_that_is_not_run_is_refused(tmp_path, capsys):
    assert main(["run", "1", "--epochs", "3", "--output-root", str(tmp_path)]) == 2
    assert "'epochs'" in capsys.readouterr().err


def test_an_unknown_notebook_number_is_refused(tmp_path, capsys):
    assert main(["run", "5", "--output-root", str(tmp_path)]) == 2
    assert "there is no notebook 5; expected one of 1, 2, 3, 4." in capsys.readouterr().err


@pytest.fixture
def clone(tmp_path) -> Path:
    """A copy of the package and its notebooks, which a test may change."""
    for name in ("golf_nb_utils", "notebooks"):
        shutil.copytree(REPOSITORY / name, tmp_path / "clone" / name)
    return tmp_path / "clone"


def run_of(clone: Path, *arguments: str) -> subprocess.CompletedProcess:
    """The command `run` in a clone, with a papermill that only says which notebook it was given."""
    code = (
        "import sys, papermill; from golf_nb_utils.__main__ import main; "
        "papermill.execute_notebook = lambda path, *_, **__: print('given', path); "
        "sys.exit(main(['run', *sys.argv[1:]]))"
    )
    command = [sys.executable, "-c", code, *arguments, "--output-root", str(clone.parent / "root")]
    return subprocess.run(command, cwd=clone, capture_output=True, text=True, check=False)


def injected(notebook: Path, target: Path) -> None:
    """What papermill writes to `target` where it is given a notebook and n_examples=60."""
    papermill.execute_notebook(
        notebook, target, parameters={"n_examples": 60}, prepare_only=True, progress_bar=False
    )


def test_what_papermill_put_beside_the_notebooks_is_not_run(clone):
    notebooks = clone / "notebooks"
    for name in ("01_generate_data_out.ipynb", "01_generate_data (copy).ipynb", "05_mine.ipynb"):
        injected(notebooks / "01_generate_data.ipynb", notebooks / name)
    result = run_of(clone)
    given = [line for line in result.stdout.splitlines() if line.startswith("given")]
    assert given == [f"given {notebooks / path.name}" for path in NOTEBOOKS], result.stderr


def test_a_notebook_that_holds_the_parameters_of_an_earlier_run_is_refused(clone):
    notebook = clone / "notebooks" / "01_generate_data.ipynb"
    injected(notebook, notebook)
    result = run_of(clone, "1")
    assert result.returncode == 2
    assert "given" not in result.stdout
    assert f"{notebook}, cell 6: papermill has written" in result.stderr
    assert "(n_examples = 60)" in result.stderr


@pytest.fixture
def copy(tmp_path) -> Path:
    """A copy of the repository's knowledge folder that a test may change."""
    return shutil.copytree(KNOWLEDGE, tmp_path / "copy")


@pytest.fixture
def extra(tmp_path) -> Path:
    """A folder of one's own with the example of knowledge/README.md, under ids and names that the repository does not have."""
    example = re.search(
        r"```markdown\n(.*?)```",
        (KNOWLEDGE.parent / "README.md").read_text(encoding="utf-8"),
        re.DOTALL,
    )[1]
    # The comments belong to the page; and as this file's only drill, its drill has to be for everybody.
    example = re.sub(r"\n- Not for: [^\n]+", "", re.sub(r" +# [^\n]+", "", example))
    for old, new in {
        "hanging_back": "my_topic",
        "WF3": "ZF1",
        "WD5": "ZD1",
        ": Hanging back": ": Mine",
        ": Step drill": ": Own drill",
    }.items():
        assert old in example
        example = example.replace(old, new)
    path = tmp_path / "own" / "weight_shift" / "my_topic.md"
    path.parent.mkdir(parents=True)
    # A conflict is mutual, and the repository's files know nothing of this one.
    path.write_text(example.replace("conflicts: [WF4]", "conflicts: []"), encoding="utf-8")
    return tmp_path / "own"


def change(path: Path, old: str, new: str) -> int:
    """Replace the one line `old`, and return its number."""
    lines = path.read_text(encoding="utf-8").split("\n")
    assert lines.count(old) == 1
    path.write_text("\n".join(new if line == old else line for line in lines), encoding="utf-8")
    return lines.index(old) + 1


def table_row(text: str, label: str) -> list[str]:
    return (
        next(line for line in text.splitlines() if line.startswith(label))
        .removeprefix(label)
        .split()
    )


@pytest.mark.parametrize("arguments", [[], [str(KNOWLEDGE)]], ids=["default", "named"])
def test_valid_knowledge_is_reported_with_its_numbers_and_no_hole(knowledge, capsys, arguments):
    assert main(["check-knowledge", *arguments]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    n_chains = sum(len(topic.chains) for topic in knowledge.topics)
    counts = f"{len(knowledge.topics)} topics, {len(knowledge.faults)} faults, {n_chains} chains, {len(knowledge.drills)} drills"
    assert (
        f"{counts}, {len(knowledge.rules)} rules kept, {len(knowledge.sources)} sources."
        in captured.out
    )
    assert "Holes (no pair): none" in captured.out
    topics = [topic for topic in knowledge.topics if topic.area == "balance"]
    counts = [len(topics)]
    counts += [
        sum(len(getattr(topic, name)) for topic in topics)
        for name in ("faults", "chains", "drills")
    ]
    assert table_row(captured.out, "balance ")[:4] == list(map(str, counts))


def test_a_folder_of_ones_own_joins_the_count_and_its_thin_places_are_named(
    knowledge, extra, capsys
):
    assert main(["check-knowledge", "--extra", str(extra)]) == 0
    out = capsys.readouterr().out
    assert f"{len(knowledge.topics) + 1} topics, {len(knowledge.faults) + 1} faults" in out
    assert "ZF1 Mine: one chain for " in out.split("Thin (")[1]


@pytest.mark.parametrize("in_extra", [False, True])
def test_broken_knowledge_ends_with_exit_code_1_and_the_file_and_line(
    copy, extra, capsys, in_extra
):
    path = (
        extra / "weight_shift" / "my_topic.md"
        if in_extra
        else copy / "tempo_rhythm" / "even_rhythm.md"
    )
    old = "- The loft lifts it." if in_extra else "- Same swing, ball or not."
    line = change(path, old, "- Swing to the right")
    assert main(["check-knowledge", str(copy), "--extra", str(extra)]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith(f"error: {path}:{line}: ")
    assert captured.out == ""


@pytest.mark.parametrize("problem", ["folder", "rules.yaml", "extra"])
def test_a_missing_folder_or_a_broken_rule_ends_with_exit_code_1_and_its_path(
    copy, tmp_path, capsys, problem
):
    arguments = {
        "folder": [str(tmp_path / "missing")],
        "rules.yaml": [str(copy)],
        "extra": [str(copy), "--extra", str(tmp_path / "missing")],
    }[problem]
    (copy / "rules.yaml").write_text("- id: one" if problem == "rules.yaml" else "[]")
    assert main(["check-knowledge", *arguments]) == 1
    assert (
        str(copy / "rules.yaml") if problem == "rules.yaml" else str(tmp_path / "missing")
    ) in capsys.readouterr().err


def test_holes_are_named_and_leave_the_knowledge_valid(copy, capsys):
    for path in (copy / "followthrough").glob("*.md"):
        text = path.read_text(encoding="utf-8")
        path.write_text(
            re.sub("(?m)^severity: .*", "severity: [slight, large]", text).replace(
                "- Gaps: slight, clear\n", "- Gaps: slight\n"
            ),
            encoding="utf-8",
        )
    assert main(["check-knowledge", str(copy)]) == 0
    out = capsys.readouterr().out
    holes = out.split("Holes (no pair): ")[1].split("Thin (")[0].splitlines()
    # Three levels and five clubs at a clear gap.
    assert holes[0] == "15"
    assert len(holes) == 16
    assert all("followthrough" in line and "clear" in line for line in holes[1:])
    assert any("beginner" in line and "wedge" in line for line in holes)
    cells = table_row(out, "follow-through    beginner")
    assert [cell.split("/")[1] for cell in cells] == ["0"] * 5


def test_an_unknown_command_is_refused(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["check"])
    assert caught.value.code == 2
    assert "check-knowledge" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["--help"], ["run", "--help"], ["check-knowledge"]], ids=" ".join
)
def test_what_needs_no_model_answers_without_loading_torch(arguments):
    code = f"""
import sys
from golf_nb_utils.__main__ import main
try:
    main({arguments})
except SystemExit:
    pass
print({{"torch", "papermill", "matplotlib"}} & set(sys.modules))
"""
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert run.stdout.endswith("\nset()\n")


EXPORTED = {
    "model.safetensors", "config.json", "generation_config.json", "README.md",
    "vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json",
}  # fmt: skip


@pytest.fixture
def trained(tmp_path, random_model, monkeypatch):
    """A function that makes an output root with a fine-tuned model of a size, as notebooks 02 and 03 leave it."""
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "")

    def make(size):
        paths = Paths(tmp_path / "output root")
        learn_bpe(["swing easy and turn, swing easy and turn"], 262, paths.checkpoint(size))
        facts = {
            "seed": 1,
            "metrics": {"val_loss": 0.5},
            "data": {"golf_feedback_train.json": {"sha256": "a" * 64}},
        }
        training = {"epochs": 1, "batch_size": 4, "learning_rate": 1e-3, "loss_on": "all"}
        model = random_model(
            settings.GPTConfig(n_vocab=262, n_ctx=8, n_embd=8, n_head=2, n_layer=1)
        )
        save_model(
            paths.weights(size),
            model,
            paths.checkpoint(size),
            model_size=size,
            training=training,
            **facts,
        )
        return paths

    return make


@pytest.mark.parametrize("size", ["tiny", "own", "auto"])
def test_an_export_prints_the_files_that_it_writes_beside_the_model(
    trained, capsys, monkeypatch, size
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    paths = trained("tiny" if size == "auto" else size)
    assert main(["export", "--model-size", size, "--output-root", str(paths.root)]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    (folder,) = (path for path in paths.models.iterdir() if path.is_dir())
    assert {path.name for path in folder.iterdir()} == EXPORTED
    said = dict(reversed(line.strip().split(" bytes  ")) for line in captured.out.splitlines())
    assert said == {str(path): f"{path.stat().st_size:,}" for path in folder.iterdir()}


def gguf_command(paths, *more):
    root = str(paths.root)
    return ["export", "--format", "gguf", "--model-size", "tiny", "--output-root", root, *more]


REQUEST = "Area: balance\nCurrent Score: 0.45\nTarget Score: 0.80\nGap: 0.35\nClub: 7-iron\n"


def test_an_export_as_gguf_writes_the_file_a_modelfile_and_what_to_post_for_a_request(
    trained, tmp_path, capsys, knowledge
):
    paths, asked = trained("tiny"), tmp_path / "request.txt"
    asked.write_text(REQUEST, encoding="utf-8")
    assert main(gguf_command(paths, "--request", str(asked), "--outtype", "f32")) == 0
    (folder,) = (path for path in paths.models.iterdir() if path.is_dir())
    files = {path.name: path for path in folder.iterdir()}
    model = "gpt2-tiny-golf-feedback"
    assert folder.name == f"{model}-gguf"
    bodies = ("llama_cpp_request.json", "ollama_request.json")
    assert files.keys() == {f"{model}-F32.gguf", "Modelfile", *bodies}
    said = capsys.readouterr().out
    assert all(str(path) in said for path in files.values())
    llama_cpp, ollama = (json.loads(files[name].read_text(encoding="utf-8")) for name in bodies)
    request = Request("balance", 0.45, 0.8, "7-iron")
    assert llama_cpp["prompt"] == format_input(request.entry())
    assert (ollama["model"], ollama["messages"][0]["content"]) == (model, REQUEST.strip())
    grammar = GrammarBook(knowledge).grammar(request)
    encode = load_tokenizer(paths.checkpoint("tiny")).encode_ordinary
    assert llama_cpp["grammar"] == token_gbnf(grammar, encode)
    assert ollama["format"] == json_schema(grammar)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--outtype", "q8_0"], "n_embd is 8; Q8_0 needs a multiple of 32"),
        (["--request", "{wrong}"], "wrong.txt is not the `input` of a prompt: the input has an unknown line"),
        (["--request", "{missing}"], "No such file or directory"),
        (["--format", "transformers", "--outtype", "f16"], "--outtype and --request are for --format gguf"),
    ],
    ids=["shape", "wrong", "missing", "another format"],
)  # fmt: skip
def test_an_export_that_cannot_be_made_ends_with_one_sentence_and_writes_nothing(
    trained, tmp_path, capsys, more, said
):
    paths, wrong = trained("tiny"), tmp_path / "wrong.txt"
    wrong.write_text("Area: balance\nMy score is bad", encoding="utf-8")
    more = [each.format(wrong=wrong, missing=tmp_path / "missing.txt") for each in more]
    assert main(gguf_command(paths, *more)) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert re.fullmatch(r"error: [^\n]+\n", captured.err)
    assert captured.out == ""
    assert not any(path.is_dir() for path in paths.models.iterdir())


def test_an_export_goes_where_it_is_told_to(trained, tmp_path, capsys):
    paths, out = trained("tiny"), tmp_path / "für Golf" / "out"
    assert (
        main(
            ["export", "--model-size", "tiny", "--output-root", str(paths.root), "--out", str(out)]
        )
        == 0
    )
    assert {path.name for path in out.iterdir()} == EXPORTED
    assert str(out / "model.safetensors") in capsys.readouterr().out
    assert not any(path.is_dir() for path in paths.models.iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model-size", "7B"], "unknown model_size '7B'"),
        (
            ["--model-size", "own"],
            "gpt2-own-golf-feedback.pth does not exist: run notebook 03 first",
        ),
        (["--model-size", "tiny"], "weights_sha256"),
    ],
)
def test_an_export_of_an_unknown_missing_or_changed_model_ends_with_exit_code_2_and_one_sentence(
    trained, tmp_path, capsys, arguments, said
):
    paths = trained("tiny")
    with open(paths.weights("tiny"), "ab") as file:
        file.write(b"more")
    assert (
        main(
            ["export", *arguments, "--output-root", str(paths.root), "--out", str(tmp_path / "out")]
        )
        == 2
    )
    captured = capsys.readouterr()
    assert said in captured.err
    assert re.fullmatch(r"error: [^\n]+\.\n", captured.err)
    assert captured.out == ""
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["export", "--model-size=tiny", "--out=~/x"],
        ["check-knowledge", "--extra=~/x"],
        ["compare", "~/x", "~/x"],
    ],
)
def test_in_a_path_of_the_command_line_a_tilde_is_the_home_folder(
    trained, tmp_path, monkeypatch, capsys, arguments
):
    trained("tiny")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GOLF_OUTPUT_ROOT", str(tmp_path / "output root"))
    main(arguments)
    assert str(tmp_path / "x") in "".join(capsys.readouterr())
