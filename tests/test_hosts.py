"""Kaggle, Colab and a bare machine, made of folders and variables: what the first cells of the notebooks find there, and what they say.

The bootstrap cell runs as it stands in each notebook, in a Python without site-packages: no package, and nothing beyond the
standard library. Only the places of the hosts' own folders are put elsewhere.
"""

import contextlib
import dataclasses
import io
import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import torch

from golf_nb_utils import host, settings
from golf_nb_utils.files import (
    ArtifactMismatchError,
    MissingArtifactError,
    Paths,
    read_manifest,
    write_json,
    write_manifest,
)
from golf_nb_utils.golf import dataset
from golf_nb_utils.golf import reader as reading
from golf_nb_utils.gpt2 import checkpoints
from golf_nb_utils.gpt2.checkpoints import save_model, state_dict_to_tf
from golf_nb_utils.gpt2.tokenizer import learn_bpe
from tools import links

REPOSITORY = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
ADDRESS, TAG = links.published()
URL = "https://github.com/somebody/golf-feedback-llm"
"""Where the machines' notebooks are published."""
KAGGLE, KAGGLE_BATCH = (
    {"KAGGLE_KERNEL_RUN_TYPE": "Interactive"},
    {"KAGGLE_KERNEL_RUN_TYPE": "Batch"},
)
# Kaggle's image is made of Colab's, and may keep its variables.
KAGGLE_OF_COLAB = {"KAGGLE_KERNEL_RUN_TYPE": "Batch", "COLAB_RELEASE_TAG": "release-colab_20260801"}
COLAB, LOCAL = {"COLAB_RELEASE_TAG": "release-colab_20260801"}, {}
HOSTS = {
    "kaggle": KAGGLE,
    "kaggle-batch": KAGGLE_BATCH,
    "kaggle-of-colab": KAGGLE_OF_COLAB,
    "colab": COLAB,
    "local": LOCAL,
}
LAYOUTS = {
    "flat": "golf-feedback-llm",
    "by owner": "datasets/somebody/golf-feedback-llm",
    "deep": "datasets/somebody/golf-feedback-llm/versions/3/golf-feedback-llm-main",
}
OFFLINE = "echo \"fatal: unable to access '$7/': Could not resolve host: github.com\" >&2; exit 128"

pytestmark = pytest.mark.skipif(
    os.name != "posix", reason="the machines are made of POSIX permissions and a shell"
)
on_each_host = pytest.mark.parametrize("variables", HOSTS.values(), ids=HOSTS)
in_each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
in_each_layout = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)


def code_cells(path: Path) -> list[str]:
    return [
        cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"
    ]


def package_in(folder: Path) -> Path:
    """Make `folder` a place where the package lies, and return the folder."""
    (folder / "golf_nb_utils").mkdir(parents=True)
    (folder / "golf_nb_utils" / "__init__.py").write_text("")
    return folder


def contents(folder: Path) -> dict[str, tuple]:
    """What a folder holds, so that whatever is written below it shows."""
    return {
        path.relative_to(folder).as_posix(): (
            path.stat().st_mtime_ns,
            path.stat().st_size if path.is_file() else 0,
        )
        for path in folder.rglob("*")
    }


@contextlib.contextmanager
def read_only(folder: Path):
    """Take the right to write away, as a mounted input does; and see that nobody wrote, since root needs no right."""
    paths = [folder, *folder.rglob("*")]
    modes = {path: path.stat().st_mode for path in paths}
    before = contents(folder)
    for path in paths:
        path.chmod(modes[path] & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    try:
        yield
        assert contents(folder) == before
    finally:
        for path in paths:
            path.chmod(modes[path])


class Machine:
    """The folders of a host below `root`; `run` executes a notebook's bootstrap cell there and says where the package is from."""

    def __init__(self, root: Path):
        self.root = root
        self.input, self.working, self.tmp, self.bin = (
            root / name for name in ("input", "working", "tmp", "bin")
        )
        for folder in (self.input, self.working, self.tmp, self.bin):
            folder.mkdir(parents=True)
        self.git(OFFLINE)

    def git(self, script: str) -> None:
        """Put a git into the PATH that writes down how it was called and then does what `script` says."""
        log = shlex.quote(str(self.root / "git.log"))
        git = self.bin / "git"
        git.write_text(f'#!/bin/sh\necho "$GIT_TERMINAL_PROMPT $@" >> {log}\n{script}\n')
        git.chmod(0o755)

    def git_calls(self) -> list[str]:
        log = self.root / "git.log"
        return log.read_text().splitlines() if log.exists() else []

    def run(
        self,
        notebook: Path,
        variables: dict[str, str],
        cwd: Path | None = None,
        papermill: tuple[str, ...] = (),
        **replaced: str,
    ) -> subprocess.CompletedProcess:
        """`papermill` are the arguments of the process that starts the kernel, where there is one.

        `address` is where the repository is published, `proc` where the system tells of processes.
        """
        cell = code_cells(notebook)[0]
        for old, new in {
            '"/kaggle/input"': repr(str(self.input)),
            f'{ADDRESS}"': f'{replaced.get("address", URL)}"',
            '"/proc"': repr(replaced.get("proc", "/proc")),
        }.items():
            assert cell.count(old) == 1
            cell = cell.replace(old, new)
        # Twice, as people run cells.
        script = f"{cell}\n{cell}\nimport golf_nb_utils\nprint('from', golf_nb_utils.__path__[0])\nassert 'torch' not in sys.modules"
        # -S: without site-packages. -B: no __pycache__ in the clone.
        command = [sys.executable, "-S", "-B", "-c", script]
        if papermill:
            start = (
                "import json, subprocess, sys; sys.exit(subprocess.call(json.loads(sys.argv[1])))"
            )
            command = [sys.executable, "-c", start, json.dumps(command), *papermill]
        return subprocess.run(
            command, cwd=cwd or self.working, capture_output=True, text=True, check=False,
            env={"PATH": f"{self.bin}:/usr/bin:/bin", "TMPDIR": str(self.tmp), **variables},
        )  # fmt: skip


@pytest.fixture
def machine(tmp_path) -> Machine:
    return Machine(tmp_path / "a machine")


def found(result: subprocess.CompletedProcess) -> Path:
    """The folder that the package came from."""
    assert result.returncode == 0, result.stderr
    return Path(re.search("^from (.*)$", result.stdout, re.MULTILINE)[1]).parent


def refusal(result: subprocess.CompletedProcess) -> str:
    """The last line of a failure: what a user reads."""
    assert result.returncode == 1
    last = result.stderr.rstrip("\n").splitlines()[-1]
    assert last.startswith("RuntimeError: golf_nb_utils is missing (")
    assert last.endswith(".")
    return last


@in_each_notebook
@in_each_layout
def test_on_kaggle_an_attached_dataset_is_found_without_a_network(machine, path, layout):
    home = package_in(machine.input / layout)
    (machine.input / "somebody-elses-data" / "train").mkdir(parents=True)
    with read_only(machine.input):
        assert found(machine.run(path, KAGGLE_BATCH)) == home
    assert machine.git_calls() == []


@on_each_host
@pytest.mark.parametrize("place", ["notebooks", ""], ids=["its notebooks", "its root"])
def test_the_clone_that_the_notebook_lies_in_is_found_and_not_cloned_again(
    machine, variables, place
):
    home = package_in(machine.root / "my clone")
    (home / "notebooks").mkdir()
    assert found(machine.run(NOTEBOOKS[0], variables, cwd=home / place)) == home
    assert machine.git_calls() == []


def test_what_somebody_left_above_or_in_the_temporary_folder_is_not_run(machine):
    for folder in (machine.root, machine.tmp, machine.tmp / "golf-feedback-llm"):
        package_in(folder)
    assert "Could not resolve host" in refusal(machine.run(NOTEBOOKS[0], LOCAL))
    # In the folder `notebooks` of what is no clone it is one folder up that counts, and no further.
    (machine.working / "notebooks").mkdir()
    assert refusal(machine.run(NOTEBOOKS[0], LOCAL, cwd=machine.working / "notebooks"))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how a kernel was started")
@pytest.mark.parametrize("form", ["absolute", "relative"])
def test_papermill_started_elsewhere_runs_the_notebook_with_the_clone_that_it_lies_in(
    machine, form
):
    home = package_in(machine.root / "somewhere" / "my clone")
    (home / "notebooks").mkdir()
    notebook = home / "notebooks" / NOTEBOOKS[0].name
    notebook.touch()
    if form == "relative":
        notebook = Path(os.path.relpath(notebook, machine.working))
    # A clone in which only the output lies is none of the notebook's.
    other = package_in(machine.root / "other")
    (other / "runs").mkdir()
    given = (str(notebook), str(other / "runs" / "out.ipynb"), "-p", "n_examples", "20")
    result = machine.run(NOTEBOOKS[0], LOCAL, papermill=given)
    assert found(result) == home
    assert machine.git_calls() == []
    shutil.rmtree(home / "golf_nb_utils")
    assert refusal(machine.run(NOTEBOOKS[0], LOCAL, papermill=given))


def test_where_the_system_does_not_tell_of_papermill_the_sentence_says_what_to_give_it(machine):
    home = package_in(machine.root / "my clone")
    (home / "notebooks").mkdir()
    given = (str(home / "notebooks" / NOTEBOOKS[0].name), "out.ipynb")
    mac = {"papermill": given, "proc": "/no/such/folder"}
    said = refusal(machine.run(NOTEBOOKS[0], LOCAL, **mac))
    assert "give papermill --cwd CLONE/notebooks" in said
    assert found(machine.run(NOTEBOOKS[0], LOCAL, cwd=home / "notebooks", **mac)) == home


@on_each_host
def test_with_internet_the_tag_is_cloned_once_into_a_folder_of_its_own(machine, variables):
    source = package_in(machine.root / "github")
    machine.git(f'cp -R {shlex.quote(str(source))}/. "$8"')
    homes = [found(machine.run(path, variables)) for path in NOTEBOOKS[:2]]
    assert homes[0] != homes[1]
    assert {home.parent for home in homes} == {machine.tmp}
    assert all(stat.S_IMODE(home.stat().st_mode) == 0o700 for home in homes)
    # GIT_TERMINAL_PROMPT=0: a repository that is gone makes git ask for a password, and nobody is there to answer.
    assert machine.git_calls() == [
        f"0 clone --quiet --depth 1 --branch {TAG} {URL} {home}" for home in homes
    ]


def test_an_address_is_an_argument_and_no_shells_business(machine):
    found_out = machine.root / "found out"
    address = f"https://github.com/a/b;touch${{IFS}}{found_out}"
    assert refusal(machine.run(NOTEBOOKS[0], LOCAL, address=address))
    assert not found_out.exists()
    assert address.split()[0] in machine.git_calls()[0]


@on_each_host
def test_as_long_as_nobody_has_published_it_nothing_is_cloned_and_what_to_set_is_said(
    machine, variables
):
    said = refusal(machine.run(NOTEBOOKS[0], variables, address="https://github.com/OWNER/golf"))
    assert "(it has no address: make links REPOSITORY=https://...)" in said
    assert any(all(word in said for word in words) for words in MENU.values())
    assert machine.git_calls() == []


MENU = {
    "kaggle": ("Settings > Internet on", "Add Input"),
    "colab": ("Runtime > Restart session and run all",),
    "local": ("open this notebook in a clone of it",),
}


@in_each_notebook
@on_each_host
def test_without_package_and_network_one_sentence_says_what_to_click_on_this_host(
    machine, path, variables
):
    said = refusal(machine.run(path, variables))
    assert "Could not resolve host: github.com" in said
    host = "kaggle" if "KAGGLE_KERNEL_RUN_TYPE" in variables else "colab" if variables else "local"
    for other, words in MENU.items():
        assert all((word in said) == (other == host) for word in words), said


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("", r"No such file or directory: 'git'"),
        (
            "printf 'remote: Not found.\\nfatal: repository not found\\n' >&2; exit 128",
            "remote: Not found. fatal: repository not found",
        ),
    ],
    ids=["no git", "no repository"],
)
def test_whatever_keeps_git_from_cloning_is_said_in_the_same_sentence(machine, script, reason):
    if script:
        machine.git(script)
    else:
        (machine.bin / "git").unlink()
    variables = KAGGLE if script else KAGGLE | {"PATH": str(machine.bin)}
    assert re.search(reason, refusal(machine.run(NOTEBOOKS[0], variables)))


def test_half_a_clone_is_not_taken_for_the_package(machine):
    half = "mkdir $8/golf_nb_utils && touch $8/golf_nb_utils/__init__.py"
    machine.git(
        f'{half.replace("$8", chr(34) + "$8" + chr(34))}; echo "fatal: early EOF" >&2; exit 128'
    )
    assert "early EOF" in refusal(machine.run(NOTEBOOKS[0], COLAB))


def test_a_folder_of_the_packages_name_without_its_code_is_passed_over(machine):
    (machine.input / "golf" / "golf_nb_utils").mkdir(parents=True)
    (machine.root / "golf_nb_utils").mkdir()
    (machine.root / "notebooks").mkdir()
    home = package_in(machine.input / LAYOUTS["deep"])
    assert found(machine.run(NOTEBOOKS[0], KAGGLE, cwd=machine.root / "notebooks")) == home


def test_the_clone_of_the_notebook_goes_before_a_dataset_and_that_before_the_output_of_a_notebook(
    machine,
):
    (machine.root / "notebooks").mkdir()
    homes = [
        package_in(machine.root),
        package_in(machine.input / "datasets" / "somebody" / "golf"),
        package_in(machine.input / "notebooks" / "somebody" / "golf-01"),
    ]
    for home in homes:
        assert found(machine.run(NOTEBOOKS[0], KAGGLE, cwd=machine.root / "notebooks")) == home
        (home / "golf_nb_utils" / "__init__.py").unlink()
        (home / "golf_nb_utils").rmdir()


def test_a_package_that_python_finds_by_itself_stays_where_it_is(machine):
    package_in(machine.input / "golf")
    home = package_in(machine.root / "site")
    assert found(machine.run(NOTEBOOKS[0], KAGGLE | {"PYTHONPATH": str(home)})) == home
    assert machine.git_calls() == []


# The chain: what a notebook reads of the ones before, attached as inputs.


SHAPE = {"n_ctx": 1024, "n_embd": 8, "n_head": 2, "n_layer": 1}
ATTACHED = {
    "flat": "golf-{number}",
    "by owner": "notebooks/somebody/golf-{number}",
    "deep": "datasets/somebody/golf/versions/2/output-{number}",
}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory, knowledge, tiny_records, random_model):
    """The working folders of notebooks 01, 02 and 03 for `tiny` and `124M`, as their last cells leave them: {(size, number): folder}.

    Both sizes are small models here; nothing but their names is asked of them.
    """
    folders = {}
    for size in ("tiny", "124M"):
        roots = {
            number: tmp_path_factory.mktemp(f"{size}-{number}") for number in ("01", "02", "03")
        }
        data, checkpoint, models = (
            Paths(roots["01"]).data,
            Paths(roots["02"]).checkpoint(size),
            Paths(roots["03"]).models,
        )
        config = settings.DataConfig(model_size=size, n_examples=60)
        manifest = read_manifest(
            dataset.finish(data, dataset.write_dataset(data, knowledge, config), config).parent
        )

        learn_bpe([record.example for record in tiny_records["train"]], 1000, checkpoint)
        shape = settings.GPTConfig(n_vocab=1000, **SHAPE)
        tensors = state_dict_to_tf(random_model(shape).state_dict(), shape)
        write_json(checkpoint / "hparams.json", dataclasses.asdict(shape))
        checkpoints.write_converted(
            checkpoint, shape, tensors.__getitem__, checkpoints.conversion_table(shape), {}
        )
        write_manifest(checkpoint, "notebook 02", sorted(checkpoint.iterdir()), model_size=size)

        weights = save_model(
            Paths(roots["03"]).weights(size),
            random_model(shape, seed=1),
            checkpoint,
            seed=7,
            data=manifest["files"],
            base_sha256=checkpoints.weights_hash(checkpoints.load_base_model(checkpoint)),
            metrics={},
        )
        write_manifest(models, "notebook 03", [weights, weights.with_suffix(".json")])
        folders |= {(size, number): root for number, root in roots.items()}
    return folders


@pytest.fixture
def attach(tmp_path, monkeypatch, outputs):
    """A function that makes a session on Kaggle with the outputs of earlier notebooks as its inputs, and returns the input folder.

    GPUs are what torch says of them; none is ever used.
    """
    attached, working = tmp_path / "input", tmp_path / "working"
    attached.mkdir()
    monkeypatch.setattr(host, "KAGGLE_INPUT", attached)
    for name in ("COLAB_RELEASE_TAG", "GOLF_HEADLESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GOLF_OUTPUT_ROOT", str(working))

    def make(size: str, numbers: tuple[str, ...], layout: str, n_gpus: int, run_type: str) -> Path:
        monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", run_type)
        for number in numbers:
            target = attached / layout.format(number=number)
            target.parent.mkdir(parents=True, exist_ok=True)
            # A copy: hard links would share their modes.
            shutil.copytree(outputs[size, number], target)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: n_gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: n_gpus)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "Tesla T4")
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda *_: (14 * 2**30, 15 * 2**30))
        return attached

    return make


def run_cells(notebook: Path, last: str, **parameters) -> tuple[dict, str]:
    """Run a notebook's code cells after the bootstrap up to the one with the text `last`; return its variables and what it prints.

    `parameters` go in after the cell of the parameters, as papermill's do.
    """
    cells, names = code_cells(notebook), {}
    (end,) = (number for number, cell in enumerate(cells) if last in cell)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        # The bootstrap has imported these.
        exec("import os\nimport sys\nfrom pathlib import Path", names)
        exec(compile(cells[1], notebook.name, "exec"), names)
        names |= parameters
        for cell in cells[2 : end + 1]:
            exec(compile(cell, notebook.name, "exec"), names)
    return names, printed.getvalue()


@pytest.mark.parametrize("layout", ATTACHED.values(), ids=ATTACHED)
@pytest.mark.parametrize(
    ("n_gpus", "size", "n_records"),
    [(2, "124M", 16), (1, "124M", 8), (0, "tiny", 4)],
    ids=["T4 x2", "T4", "none"],
)
def test_notebook_03_takes_the_attached_outputs_of_01_and_02_and_plans_for_the_gpus_there_are(
    attach, layout, n_gpus, size, n_records
):
    attached = attach(size, ("01", "02"), layout, n_gpus, "Batch")
    with read_only(attached):
        names, printed = run_cells(NOTEBOOKS[2], last="memory.describe(")
    assert names["size"] == size
    assert names["data_folder"] == Paths(attached / layout.format(number="01")).data
    assert names["checkpoint_folder"] == Paths(attached / layout.format(number="02")).checkpoint(
        size
    )
    # 8 records per GPU for the GPT-2 sizes, 4 for tiny.
    assert f"steps of {n_records} records an epoch" in printed
    assert names["n_devices"] == max(n_gpus, 1)
    assert ("2 x Tesla T4" in printed, "1 x Tesla T4" in printed) == (n_gpus == 2, n_gpus == 1)
    assert re.search(r"^kaggle \(.*headless: True\)", printed, re.MULTILINE)


@pytest.mark.parametrize("layout", ATTACHED.values(), ids=ATTACHED)
def test_notebook_04_takes_the_attached_outputs_of_all_three(attach, layout):
    attached = attach("tiny", ("01", "02", "03"), layout, 0, "Interactive")
    with read_only(attached):
        names, printed = run_cells(NOTEBOOKS[3], last="strata =")
    assert names["models_folder"] == Paths(attached / layout.format(number="03")).models
    assert "fine-tuned with seed 7" in printed
    # Sixty records: 51, 6 and 3.
    assert len(names["strata"]["test"]) == 3


@pytest.mark.parametrize(("missing", "others"), [("01", ("02",)), ("02", ("01",))])
def test_notebook_03_names_the_notebook_whose_output_is_not_attached(attach, missing, others):
    attach("tiny", others, ATTACHED["by owner"], 0, "Interactive")
    with pytest.raises(
        MissingArtifactError, match=f"run notebook {missing} first, or attach its output"
    ):
        run_cells(NOTEBOOKS[2], last="find_folder(")


def test_tiny_made_without_a_gpu_is_not_taken_for_the_size_that_a_gpu_asks_for(attach):
    attach("tiny", ("01", "02"), ATTACHED["flat"], 2, "Batch")
    with pytest.raises(
        MissingArtifactError,
        match=r"gpt2_models/124M holds no manifest\.json: run notebook 02 first, or attach its output",
    ):
        run_cells(NOTEBOOKS[2], last="find_folder(")


def test_records_made_for_tiny_are_not_taken_for_a_gpt_2(attach, tmp_path, outputs):
    attached = attach("124M", ("02",), ATTACHED["flat"], 2, "Batch")
    shutil.copytree(outputs["tiny", "01"], attached / "golf-01")
    with pytest.raises(
        ArtifactMismatchError,
        match=r"holds 60 records that were made for model_size 'tiny', expected those for '124M'; run",
    ):
        run_cells(NOTEBOOKS[2], last="require_made_for(")


def test_a_model_is_not_tested_on_other_records_than_those_of_its_fine_tuning(
    attach, outputs, knowledge
):
    attached = attach("tiny", ("02", "03"), ATTACHED["flat"], 0, "Batch")
    config = settings.DataConfig(model_size="tiny", n_examples=60, seed=124)
    data = Paths(attached / "golf-01").data
    dataset.finish(data, dataset.write_dataset(data, knowledge, config), config)
    with pytest.raises(
        ArtifactMismatchError,
        match=r"golf_feedback_train\.json is not the file that belonged to the data when",
    ):
        run_cells(NOTEBOOKS[3], last="strata =")


def test_a_model_is_not_compared_with_another_base_than_its_own(attach, random_model):
    attached = attach("tiny", ("01", "02", "03"), ATTACHED["flat"], 0, "Batch")
    checkpoint = Paths(attached / "golf-02").checkpoint("tiny")
    shape = checkpoints.read_hparams(checkpoint)
    other = state_dict_to_tf(random_model(shape, seed=9).state_dict(), shape)
    table = checkpoints.conversion_table(shape)
    checkpoints.write_converted(checkpoint, shape, other.__getitem__, table, {})
    files = [path for path in checkpoint.iterdir() if path.name != "manifest.json"]
    write_manifest(checkpoint, "notebook 02", files, model_size="tiny")
    with pytest.raises(ArtifactMismatchError, match="was fine-tuned from other base weights"):
        run_cells(NOTEBOOKS[3], last="strata =")


def test_feedback_is_found_in_an_attached_output(attach, reader, monkeypatch):
    monkeypatch.setattr(reading, "train", lambda *_: reader)  # which takes twenty seconds
    attached = attach("tiny", ("03",), ATTACHED["deep"], 0, "Batch")
    file = Paths(attached / ATTACHED["deep"].format(number="03")).user_feedback()
    file.parent.mkdir(parents=True)
    file.write_text("no line of the panel\n", encoding="utf-8")
    _, printed = run_cells(NOTEBOOKS[0], last="feedback = ", n_examples=60)
    assert "user feedback: {" in printed


def test_what_this_session_has_made_goes_before_what_is_attached(attach, tmp_path, outputs):
    attach("tiny", ("01", "02"), ATTACHED["flat"], 0, "Interactive")
    shutil.copytree(outputs["tiny", "01"], tmp_path / "working", dirs_exist_ok=True)
    names, _ = run_cells(NOTEBOOKS[2], last="find_folder(")
    assert names["data_folder"] == Paths(tmp_path / "working").data
