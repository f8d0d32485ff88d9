"""The series as its users run it: through the command line and through papermill, on few records and steps."""

import json
import shutil
from pathlib import Path

import nbformat
import pytest
from processes import REPOSITORY, run

from golf_nb_utils.files import Paths, read_manifest

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))

# Imports aside, this is the snippet that the README promises.
SNIPPET = """
import json
import torch
from golf_nb_utils.settings import GPT_CONFIGS
from golf_nb_utils.gpt2.model import GPTModel
from golf_nb_utils.prompt import format_input
from golf_nb_utils.gpt2.sampling import generate
from golf_nb_utils.gpt2.tokenizer import load_tokenizer, text_to_token_ids, token_ids_to_text
BASE_CONFIG = GPT_CONFIGS["tiny"]
tokenizer = load_tokenizer("experimental/gpt2_models/tiny")
entry = json.load(open("experimental/golf_feedback_finetuning/golf_feedback_test.json", encoding="utf-8"))[0]

model = GPTModel(BASE_CONFIG)
model.load_state_dict(torch.load("experimental/golf_feedback_models/gpt2-tiny-golf-feedback.pth"))
model.eval()
input_text = format_input(entry)
encoded = text_to_token_ids(input_text, tokenizer)
token_ids = generate(model, encoded, max_new_tokens=200, context_size=1024, temperature=0.7)
response = token_ids_to_text(token_ids, tokenizer)
print(response)
"""


@pytest.fixture(scope="module")
def small_run(tmp_path_factory):
    """The series on few records and steps, by the command line."""
    root = tmp_path_factory.mktemp("small")
    options = [
        "--model-size",
        "tiny",
        "--epochs",
        "1",
        "--batch-size",
        "16",
        "--eval-freq",
        "5",
        "--output-root",
        str(root),
    ]
    extra = ["-p", "n_examples", "120", "-p", "max_new_tokens", "40", "-p", "learning_rate", "1e-3"]
    return root, run("-m", "golf_nb_utils", "run", *options, *extra, root=root)


def test_the_command_line_runs_the_series_and_writes_every_promised_file(small_run):
    root, result = small_run
    expected = {
        "golf_feedback_finetuning": {
            "golf_feedback_train.json", "golf_feedback_val.json", "golf_feedback_test.json", "golf_feedback_unseen.json",
            "golf_feedback_reader.npz", "dataset_report.json", "dataset_report.html", "README.md", "manifest.json",
        },
        "gpt2_models/tiny": {
            "checkpoint", "encoder.json", "hparams.json", "model.ckpt.data-00000-of-00001", "model.ckpt.index", "model.ckpt.meta",
            "vocab.bpe", "model.safetensors", "model.safetensors.json", "manifest.json",
        },
        "golf_feedback_models": {
            "gpt2-tiny-golf-feedback.pth", "gpt2-tiny-golf-feedback.json", "loss_plot_tiny.pdf", "training_log_tiny.jsonl", "manifest.json",
        },
        "golf_feedback_evaluation/tiny": {"metrics.json", "predictions.jsonl", "report.html", "manifest.json"},
    }  # fmt: skip
    for folder, names in expected.items():
        assert {path.name for path in (root / "experimental" / folder).iterdir()} == names
    executed = sorted(path.name for path in (root / "experimental" / "runs").glob("*/*.ipynb"))
    assert executed == [path.name for path in NOTEBOOKS]
    for name in ("gpt2-tiny-golf-feedback.pth", "report.html", "loss_plot_tiny.pdf"):
        assert any(name in line for line in result.stdout.splitlines()[-5:]), name


def test_the_command_lines_parameters_reach_the_notebooks(small_run):
    root, _ = small_run
    sidecar = json.loads(
        (root / "experimental/golf_feedback_models/gpt2-tiny-golf-feedback.json").read_text(
            encoding="utf-8"
        )
    )
    assert (
        sidecar["training"]["epochs"],
        sidecar["training"]["batch_size"],
        sidecar["training"]["learning_rate"],
    ) == (1, 16, 1e-3)
    records = json.loads(
        (root / "experimental/golf_feedback_finetuning/golf_feedback_train.json").read_text(
            encoding="utf-8"
        )
    )
    assert len(records) == 111  # 120 less 4 % and 3 %


def test_every_cell_of_notebook_03_may_be_run_twice_and_the_model_is_the_same(small_run, tmp_path):
    values = {"epochs": 1, "batch_size": 16, "eval_freq": 5, "learning_rate": 1e-3}
    root = shutil.copytree(
        small_run[0], tmp_path / "root", ignore=shutil.ignore_patterns("golf_feedback_models")
    )
    notebook = nbformat.read(NOTEBOOKS[2], as_version=4)
    twice = []
    for cell in (cell for cell in notebook.cells if cell.cell_type == "code"):
        if "parameters" in cell.metadata.get("tags", []):
            cell.source += "".join(f"\n{name} = {value!r}" for name, value in values.items())
        twice += [cell, nbformat.v4.new_code_cell(cell.source)]
    notebook.cells = twice
    nbformat.write(notebook, tmp_path / "03.ipynb")
    command = ["-m", "papermill", str(tmp_path / "03.ipynb"), str(tmp_path / "out.ipynb")]
    options = ["-k", "python3", "--no-progress-bar", "--cwd", str(NOTEBOOKS[2].parent)]
    run(*command, *options, root=root)
    read_manifest(root / "experimental" / "golf_feedback_models")
    sidecars = [
        json.loads(Paths(one).weights("tiny").with_suffix(".json").read_text(encoding="utf-8"))
        for one in (small_run[0], root)
    ]
    for name in ("weights_sha256", "base_sha256", "data", "seed"):
        assert sidecars[0][name] == sidecars[1][name], name


def test_the_design_snippet_runs_as_it_stands(small_run):
    root, _ = small_run
    assert run("-c", SNIPPET, root=root, cwd=root).stdout.strip()


def test_plain_papermill_runs_a_notebook_with_parameters(small_run, tmp_path):
    root, _ = small_run
    source, target = str(NOTEBOOKS[2]), str(tmp_path / "03.ipynb")
    run(
        "-m",
        "papermill",
        source,
        target,
        "-p",
        "epochs",
        "1",
        "-p",
        "mixed_precision",
        "False",
        "--no-progress-bar",
        root=root,
    )
    text = Path(target).read_text(encoding="utf-8")
    assert "mixed_precision is off" in text


def test_a_notebook_without_its_input_stops_the_run_with_name_cell_and_reason(tmp_path):
    result = run(
        "-m",
        "golf_nb_utils",
        "run",
        "3",
        "4",
        "--model-size",
        "tiny",
        "--output-root",
        str(tmp_path),
        root=tmp_path,
        check=False,
    )
    assert result.returncode == 1
    assert "FAILED: 03_finetune_dataparallel_fp16.ipynb, cell " in result.stderr
    assert "MissingArtifactError" in result.stderr
    assert "run notebook 01 first" in result.stderr
    assert "04_sample_and_evaluate" not in result.stdout
