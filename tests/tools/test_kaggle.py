"""What is pushed to Kaggle: checked by the kaggle package itself where it is installed, unpacked as Kaggle would; no network."""

import contextlib
import errno
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import zipfile
from importlib.metadata import requires
from pathlib import Path
from types import SimpleNamespace

import nbformat
import papermill
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from golf_nb_utils.settings import ConfigError, declared
from tools import kaggle as kaggle_tool
from tools.kaggle import check_user, main, set_parameters, write_folders

REPOSITORY = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
USER = "jane-doe"
SLUGS = {
    "01": "golf-feedback-01-generate-data",
    "02": "golf-feedback-02-download-and-convert-gpt2",
    "03": "golf-feedback-03-finetune-dataparallel-fp16",
    "04": "golf-feedback-04-sample-and-evaluate",
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    """The folders for 124M, without wheels."""
    out = tmp_path_factory.mktemp("kaggle") / "a folder"
    write_folders(USER, out)
    return out


@pytest.fixture
def mine(folders, tmp_path) -> Path:
    """A copy of the folders that a test may change."""
    return shutil.copytree(folders, tmp_path / "mine")


@pytest.fixture(scope="module")
def cli(tmp_path_factory):
    """The kaggle package's command line, with a dummy key and a home without any: it authenticates while it is imported."""
    with pytest.MonkeyPatch.context() as patch:
        home = str(tmp_path_factory.mktemp("home"))
        for name, value in {
            "HOME": home,
            "KAGGLE_CONFIG_DIR": home,
            "KAGGLE_USERNAME": USER,
            "KAGGLE_KEY": "dummy",
        }.items():
            patch.setenv(name, value)
        patch.delenv("KAGGLE_API_TOKEN", raising=False)
        yield pytest.importorskip(
            "kaggle.cli",
            reason="the package kaggle is not installed: pip install -r requirements-dev.txt",
        )


@pytest.fixture
def service(cli, monkeypatch, tmp_path):
    """What Kaggle receives instead of the network: `kernels` and `datasets` as requests, the files of a dataset in `unpacked`."""
    received = SimpleNamespace(kernels=[], datasets=[], asked=[], unpacked=tmp_path / "unpacked")

    def save_kernel(request):
        received.kernels.append(request)
        return SimpleNamespace(error="", invalidTags=[], invalidDatasetSources=[], invalidCompetitionSources=[],
                               invalidKernelSources=[], versionNumber=1, url="")  # fmt: skip

    def create_dataset(request):
        received.datasets.append(request)
        return SimpleNamespace(error="", invalidTags=[], status="ok", url="")

    def unknown(ref, **_):
        raise requests.HTTPError(ref)

    def upload(path, *_):
        path = Path(path)
        if path.suffix == ".zip":
            zipfile.ZipFile(path).extractall(received.unpacked / path.stem)
        else:
            shutil.copy(path, received.unpacked)
        return "token"

    client = SimpleNamespace(
        kernels=SimpleNamespace(kernels_api_client=SimpleNamespace(save_kernel=save_kernel)),
        datasets=SimpleNamespace(dataset_api_client=SimpleNamespace(create_dataset=create_dataset)),
    )
    received.unpacked.mkdir()
    monkeypatch.setattr(cli.api, "build_kaggle_client", lambda: contextlib.nullcontext(client))
    monkeypatch.setattr(cli.api, "dataset_status", unknown)
    monkeypatch.setattr(cli.api, "_upload_blob", upload)
    return received


def kaggle(cli, command: str) -> None:
    """Run a command line of the kaggle package, as a shell would."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", shlex.split(command, comments=True))
        cli.main()


def metadata(folder: Path) -> dict:
    return json.loads((folder / "kernel-metadata.json").read_text(encoding="utf-8"))


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_there_is_a_folder_for_each_notebook_and_one_for_the_dataset(folders):
    assert {path.name for path in folders.iterdir()} == {
        "dataset",
        "manifest.json",
        *(path.stem for path in NOTEBOOKS),
    }
    for path in NOTEBOOKS:
        assert {file.name for file in (folders / path.stem).iterdir()} == {
            path.name,
            "kernel-metadata.json",
        }


@pytest.mark.parametrize(
    ("number", "gpu", "internet", "reads"),
    [
        ("01", False, False, []),
        ("02", False, True, []),
        ("03", True, False, ["01", "02"]),
        ("04", True, False, ["01", "02", "03"]),
    ],
)
def test_each_notebook_gets_its_gpus_its_internet_and_the_notebooks_before_it(
    folders, number, gpu, internet, reads
):
    (folder,) = folders.glob(f"{number}_*")
    found = metadata(folder)
    assert found["id"] == f"{USER}/{SLUGS[number]}"
    assert (
        found["enable_gpu"],
        found["enable_internet"],
        found["enable_tpu"],
        found["is_private"],
    ) == (gpu, internet, False, True)
    assert found.get("machine_shape") == ("NvidiaTeslaT4" if gpu else None)
    assert found["kernel_sources"] == [f"{USER}/{SLUGS[other]}" for other in reads]
    assert found["dataset_sources"] == [f"{USER}/golf-feedback-llm"]
    assert (found["language"], found["kernel_type"]) == ("python", "notebook")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_sources_of_a_notebook_are_those_that_its_cells_and_its_contract_name(folders, path):
    cells = nbformat.read(path, as_version=4).cells
    looked_for = {
        number
        for cell in cells
        if cell.cell_type == "code"
        for number in re.findall(r'find_folder\([^\n]*?"(\d\d)"', cell.source)
    }
    row = next(
        line for cell in cells for line in cell.source.splitlines() if line.startswith("| reads |")
    )
    assert set(re.findall(r"\((\d\d)\)", row)) == looked_for
    assert set(metadata(folders / path.stem)["kernel_sources"]) == {
        f"{USER}/{SLUGS[number]}" for number in looked_for
    }


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_differs_from_the_repositorys_in_the_model_size_alone(folders, path):
    ours, pushed = (
        nbformat.read(file, as_version=4) for file in (path, folders / path.stem / path.name)
    )
    nbformat.validate(pushed)
    for before, after in zip(ours.cells, pushed.cells, strict=True):
        if "parameters" in before.metadata.get("tags", ()):
            before.source = before.source.replace('model_size = "auto"', "model_size = '124M'", 1)
        assert before == after
    assert pushed.metadata == ours.metadata
    # Kaggle runs it with papermill, which refuses a notebook that names no kernel.
    assert (pushed.metadata.kernelspec.name, pushed.metadata.kernelspec.language) == (
        "python3",
        "python",
    )


def test_parameters_of_a_file_reach_the_notebooks_that_declare_them(tmp_path, capsys):
    file = tmp_path / "parameters.yaml"
    file.write_text(
        "model_size: 355M\nlearning_rate: 1.0e-4\nresume: false\nseed: 7\nmore_urls: it's here\n",
        encoding="utf-8",
    )
    assert main(["--user", USER, "--out", str(tmp_path / "out"), "-f", str(file)]) == 0
    given = {
        "model_size": "355M",
        "learning_rate": 1e-4,
        "resume": False,
        "seed": 7,
        "more_urls": "it's here",
    }
    for path in NOTEBOOKS:
        before, after = (
            papermill.inspect_notebook(str(file))
            for file in (path, tmp_path / "out" / path.stem / path.name)
        )
        names = declared(int(path.name[:2]))
        expected = {
            name: repr(given[name]) if name in given else parameter["default"]
            for name, parameter in before.items()
        }
        more = {name: given[name] for name in given if name in names and name not in before}
        expected["more"] = repr(more)
        assert {name: parameter["default"] for name, parameter in after.items()} == expected
        assert [parameter["help"] for parameter in after.values()] == [
            parameter["help"] for parameter in before.values()
        ]


@given(
    values=st.dictionaries(
        st.sampled_from("abcd"), st.none() | st.booleans() | st.integers() | st.text()
    )
)
def test_a_cell_with_other_parameters_computes_these_and_keeps_the_rest(values):
    source = 'a = 1  # \N{LATIN SMALL LETTER U WITH DIAERESIS} a = 2\nb = "\N{EURO SIGN} # a = 3"  # the second\nc = None\nmore = {"d": 4, "e": 5}  # others'
    before, after = {}, {}
    exec(source, before)
    exec(changed := set_parameters(source, values), after)
    assert [after[name] for name in "abc"] == [values.get(name, before[name]) for name in "abc"]
    assert after["more"] == {"d": values.get("d", 4), "e": 5}
    assert changed.split("\n")[0].endswith("  # \N{LATIN SMALL LETTER U WITH DIAERESIS} a = 2")


@pytest.mark.parametrize("kind", ["tiny: [", "learning_rate: fast", "epoch: 3", None])
def test_a_parameter_file_that_no_run_would_take_ends_with_exit_code_2_and_nothing_written(
    tmp_path, capsys, kind
):
    file = tmp_path / "parameters.yaml"
    if kind:
        file.write_text(kind, encoding="utf-8")
    assert main(["--user", USER, "--out", str(tmp_path / "out"), "-f", str(file)]) == 2
    assert re.fullmatch(r"error: [^\n]+\n", capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_kaggles_own_code_accepts_every_notebook_and_sends_what_the_metadata_says(
    folders, cli, service, capsys
):
    for path in NOTEBOOKS:
        kaggle(cli, f"kaggle kernels push -p {shlex.quote(str(folders / path.stem))}")
    said = capsys.readouterr()
    # A title that is not its slug, and whatever else it refuses, would be another line.
    assert (
        said.out.splitlines()
        == ["Kernel version 1 successfully pushed.  Please check progress at "] * 4
    )
    assert said.err == ""
    known = set()
    for request, path in zip(service.kernels, NOTEBOOKS, strict=True):
        expected = metadata(folders / path.stem)
        assert (request.slug, request.new_title) == (expected["id"], expected["title"])
        # Longer titles are refused by the server alone.
        assert len(request.new_title) <= 50
        assert (request.enable_gpu, request.enable_internet) == (
            expected["enable_gpu"],
            expected["enable_internet"],
        )
        assert request.machine_shape == expected.get("machine_shape", "")
        assert set(request.kernel_data_sources) <= known
        known.add(request.slug)
        assert [cell["source"] for cell in json.loads(request.text)["cells"]] == [
            cell.source
            for cell in nbformat.read(folders / path.stem / path.name, as_version=4).cells
        ]


@pytest.mark.parametrize("around", ["datasets/jane-doe/golf-feedback-llm", "golf-feedback-llm"])
@pytest.mark.parametrize("in_a_folder", [True, False])
def test_what_kaggles_own_code_uploads_is_found_by_the_bootstrap_cell_wherever_it_is_unpacked(
    folders, cli, service, tmp_path, capsys, around, in_a_folder
):
    kaggle(cli, f"kaggle datasets create -p {shlex.quote(str(folders / 'dataset'))} --dir-mode zip")
    assert "Your private Dataset is being created." in capsys.readouterr().out
    (request,) = service.datasets
    assert (request.owner_slug, request.slug, request.license_name) == (
        USER,
        "golf-feedback-llm",
        "other",
    )
    assert [file.token for file in request.files] == ["token"]
    attached = tmp_path / "input" / around
    attached.parent.mkdir(parents=True)
    shutil.move(service.unpacked if in_a_folder else next(service.unpacked.iterdir()), attached)
    (home,) = (path.parent.parent for path in attached.rglob("golf_nb_utils/__init__.py"))
    for part in ("golf_nb_utils", "knowledge"):
        tracked = {
            name: file
            for name, file in contents(REPOSITORY / part).items()
            if "__pycache__" not in name
        }
        assert contents(home / part) == tracked
    cell = next(
        cell
        for cell in nbformat.read(folders / "01_generate_data" / "01_generate_data.ipynb", 4).cells
        if 'find_spec("golf_nb_utils")' in cell.source
    )
    code = (
        cell.source.replace('"/kaggle/input"', repr(str(tmp_path / "input")))
        + "\nimport golf_nb_utils\nprint(golf_nb_utils.__file__)"
    )
    # No site-packages, where the package may be installed, and a working folder outside the repository.
    run = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == str(home / "golf_nb_utils" / "__init__.py")


def test_without_docstrings_the_command_line_is_as_it_is_with_them():
    command = [str(REPOSITORY / "tools" / "kaggle.py"), "--help"]
    said = [
        subprocess.run([sys.executable, *optimized, *command], capture_output=True, check=True)
        for optimized in ([], ["-OO"])
    ]
    assert said[0].stdout == said[1].stdout


def test_the_file_names_of_the_dataset_are_those_that_kaggle_takes(folders):
    # The server refuses a whole dataset for a character such as @, & or +.
    assert all(re.fullmatch(r"[A-Za-z0-9._/-]+", name) for name in contents(folders / "dataset"))


@pytest.fixture
def clone(tmp_path, monkeypatch) -> Path:
    """A copy of the repository, as far as it is pushed."""
    root = tmp_path / "clone"
    for part in ("golf_nb_utils", "knowledge", "notebooks"):
        shutil.copytree(
            REPOSITORY / part, root / part, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in ("LICENSE", "LICENSE-DATA.md", "THIRD_PARTY_NOTICES.md"):
        shutil.copy(REPOSITORY / name, root)
    monkeypatch.setattr(kaggle_tool, "REPOSITORY_ROOT", root)
    return root


def test_nothing_but_the_package_and_the_knowledge_base_reaches_the_dataset(clone, tmp_path):
    before = contents(clone)
    for name in (
        "golf_nb_utils/__pycache__/old.pyc", "golf_nb_utils/.hidden/old.py", "golf_nb_utils/kaggle.json", "golf_nb_utils/model.pth",
        "knowledge/.DS_Store", "knowledge/.idea/notes.md", "knowledge/golf_instruction/balance/._heels.md", "knowledge/id_rsa", ".env",
    ):  # fmt: skip
        (clone / name).parent.mkdir(exist_ok=True)
        (clone / name).write_text("s3cret")
    write_folders(USER, tmp_path / "out")
    assert contents(tmp_path / "out" / "dataset" / "golf_feedback") == {
        name: file for name, file in before.items() if not name.startswith("notebooks/")
    }


@pytest.mark.parametrize(
    "name",
    ["LICENSE", "knowledge", "knowledge/golf_instruction", "golf_nb_utils/own.py", "golf_nb_utils/a", "notebooks/01_generate_data.ipynb"],
)  # fmt: skip
def test_a_link_is_refused_and_not_followed(clone, tmp_path, name):
    elsewhere = tmp_path / "elsewhere"
    if (clone / name).exists():
        (clone / name).rename(elsewhere)
    else:
        elsewhere.mkdir()
    (clone / name).symlink_to(elsewhere)
    with pytest.raises(OSError, match=f"^{clone / name} is a link"):
        write_folders(USER, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    "value", ["https://me:s3cret@host/gpt2", "https://a/b https://host/gpt2?sv=1&sig=s3cret"]
)
def test_no_secret_of_an_address_is_uploaded(tmp_path, capsys, value):
    file = tmp_path / "own.yaml"
    file.write_text(f"more_urls: {value}")
    assert main(["--user", USER, "--out", str(tmp_path / "out"), "-f", str(file)]) == 2
    captured = capsys.readouterr()
    assert re.fullmatch(
        r"error: more_urls has an address with a password or a signature, [^\n]+\.\n", captured.err
    )
    assert not (tmp_path / "out").exists()


def test_the_dataset_names_its_licence_and_brings_its_text(folders):
    found = json.loads((folders / "dataset" / "dataset-metadata.json").read_text(encoding="utf-8"))
    assert "MIT licence, see golf_feedback/LICENSE" in found["description"]
    assert (folders / "dataset" / "golf_feedback" / "LICENSE").read_bytes() == (
        REPOSITORY / "LICENSE"
    ).read_bytes()


def test_the_printed_commands_are_ones_of_kaggles_command_line_and_push_each_notebook_once(
    cli, service, tmp_path, capsys, monkeypatch
):
    assert main(["--user", USER, "--out", str(tmp_path / "with a space")]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("kaggle ")]
    order = []
    monkeypatch.setattr(cli.api, "dataset_status_cli", lambda dataset, **_: order.append(dataset))
    monkeypatch.setattr(cli.api, "kernels_status_cli", lambda kernel, **_: order.append(kernel))
    monkeypatch.setattr(
        cli.api, "kernels_output_cli", lambda kernel, path, **_: order.append((kernel, path))
    )
    pushed = 0
    for line in lines:
        kaggle(cli, line)
        if len(service.kernels) > pushed:
            request = service.kernels[-1]
            # What a notebook reads is there: the dataset ready, the notebooks before it complete.
            assert set(request.dataset_data_sources) | set(request.kernel_data_sources) <= set(
                order
            )
            pushed += 1
    assert len(service.datasets) == 1
    assert (service.unpacked / "golf_feedback" / "golf_nb_utils").is_dir()
    assert [request.slug for request in service.kernels] == [
        f"{USER}/{slug}" for slug in SLUGS.values()
    ]
    kernel, path = order[-1]
    assert kernel == f"{USER}/{SLUGS['04']}"
    assert not Path(path).is_relative_to(tmp_path / "with a space")


def test_paths_below_the_working_folder_are_printed_relative_to_it(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["--user", USER, "--out", "."]) == 0
    out = capsys.readouterr().out
    assert "kaggle datasets create -p dataset --dir-mode zip  # " in out
    assert "kaggle kernels push -p 03_finetune_dataparallel_fp16\n" in out
    monkeypatch.setenv("GOLF_OUTPUT_ROOT", str(tmp_path / "root"))
    assert main(["--user", USER]) == 0
    assert (
        "kaggle kernels push -p root/experimental/kaggle/01_generate_data\n"
        in capsys.readouterr().out
    )


@pytest.mark.parametrize("user", ["jane", "jane-doe", "j4ne_doe2", "4"])
def test_a_kaggle_user_name_is_accepted(user):
    check_user(user)


@pytest.mark.parametrize(
    "user",
    [
        "",
        "Jane",
        "jane doe",
        "jane/doe",
        "-jane",
        "jane-",
        "jane--doe",
        "jané",
        "jane@doe.org",
        "jane\n",
    ],
)
def test_another_user_name_ends_with_exit_code_2_and_one_sentence(tmp_path, capsys, user):
    assert main([f"--user={user}", "--out", str(tmp_path / "out")]) == 2
    captured = capsys.readouterr()
    assert re.fullmatch(r"error: [^\n]+ is no Kaggle user name; expected [^\n]+\.\n", captured.err)
    assert repr(user) in captured.err
    assert captured.out == ""
    assert not (tmp_path / "out").exists()


@given(user=st.text(alphabet="aZ0-_ /é", max_size=6))
def test_a_user_name_is_refused_where_kaggles_own_code_refuses_an_owner(cli, user):
    def refused(check, error) -> bool:
        try:
            check()
        except error:
            return True
        return False

    assert refused(lambda: check_user(user), ConfigError) == refused(
        lambda: cli.api._validate_slug_syntax(user, allow_underscore=True), ValueError
    )


def test_folders_that_nobody_changed_are_replaced_as_a_whole(mine):
    (mine / "dataset" / "golf_feedback" / "LICENSE").unlink()
    (mine / "left over").mkdir()
    write_folders("other", mine, {"model_size": "tiny"})
    assert metadata(mine / "01_generate_data")["id"] == "other/golf-feedback-01-generate-data"
    assert (mine / "dataset" / "golf_feedback" / "LICENSE").is_file()
    assert {path.name for path in mine.iterdir()} == {
        "dataset",
        "manifest.json",
        *(path.stem for path in NOTEBOOKS),
    }
    listed = set(json.loads((mine / "manifest.json").read_text(encoding="utf-8"))["files"])
    assert listed == set(contents(mine)) - {"manifest.json"}


KILLED = """
import os, signal, sys
from pathlib import Path
from tools import kaggle
name, left = sys.argv[2], [int(sys.argv[3])]
owner = kaggle.shutil if name == "rmtree" else Path
step = getattr(owner, name)
def killed(*arguments):
    left[0] -= 1
    if left[0] < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(*arguments)
setattr(owner, name, killed)
kaggle.write_folders("other", Path(sys.argv[1]))
"""


@pytest.mark.parametrize(
    ("step", "n_done"), [("rmtree", 0), ("rmtree", 3), ("rename", 1), ("rename", 5)]
)
def test_a_run_that_is_killed_is_made_good_by_the_next(mine, step, n_done):
    command = [sys.executable, "-c", KILLED, str(mine), step, str(n_done)]
    killed = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(REPOSITORY)})
    assert killed.returncode == -signal.SIGKILL
    assert any(path.name.startswith(".new.") for path in mine.iterdir())
    write_folders(USER, mine)
    assert {path.name for path in mine.iterdir()} == {
        "dataset", "manifest.json", *(path.stem for path in NOTEBOOKS)
    }  # fmt: skip
    assert metadata(mine / "01_generate_data")["id"].startswith(USER)


def test_what_a_file_manager_leaves_does_not_stand_in_the_way(mine):
    for name in (".DS_Store", "dataset/.DS_Store", "dataset/._LICENSE", "Thumbs.db", "desktop.ini"):
        (mine / name).write_bytes(b"\0")
    write_folders(USER, mine)
    assert not (mine / ".DS_Store").exists()


def test_a_full_disk_is_one_sentence(tmp_path, capsys, monkeypatch):
    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shutil, "copyfile", full)
    out = tmp_path / "out"
    assert main(["--user", USER, "--out", str(out)]) == 2
    assert re.fullmatch(rf"error: [^\n]*no room for {out} [^\n]+\n", capsys.readouterr().err)
    assert list(out.iterdir()) == []


def spoil(folder: Path, how: str) -> Path:
    """Put something into a folder that would be lost, and return its path."""
    changed = folder / "03_finetune_dataparallel_fp16" / "03_finetune_dataparallel_fp16.ipynb"
    if how == "changed":
        changed.write_text(
            changed.read_text(encoding="utf-8").replace("epochs = None", "epochs = 9"),
            encoding="utf-8",
        )
        return changed
    path = {
        "added": folder / "dataset" / "notes.txt",
        "hidden": folder / ".notes",
        "linked": folder / "link",
    }.get(how, folder / "manifest.json")
    if how == "linked":
        path.symlink_to(folder.parent)
    elif how == "foreign":
        path.write_text(
            path.read_text(encoding="utf-8").replace("python tools/kaggle.py", "notebook 01"),
            encoding="utf-8",
        )
    else:
        path.write_text({"list": "[]", "damaged": '{"made'}.get(how, "mine"))
    return path


@pytest.mark.parametrize(
    "how", ["changed", "added", "hidden", "linked", "foreign", "list", "damaged"]
)
def test_a_folder_in_which_something_would_be_lost_is_refused_and_stays_as_it_is(mine, capsys, how):
    path = spoil(mine, how)
    before = contents(mine)
    assert main(["--user", USER, "--out", str(mine)]) == 2
    captured = capsys.readouterr()
    assert re.fullmatch(r"error: [^\n]+ --out\.\n", captured.err)
    assert str(path if how in ("changed", "added", "hidden", "linked") else mine) in captured.err
    assert captured.out == ""
    assert contents(mine) == before
    assert path.exists()


@pytest.mark.parametrize("is_file", [True, False])
def test_a_file_and_a_folder_of_somebody_else_are_refused_and_stay(tmp_path, capsys, is_file):
    out = tmp_path / "thesis"
    kept = out if is_file else out / "chapter.txt"
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("mine")
    assert main(["--user", USER, "--out", str(out)]) == 2
    assert re.fullmatch(
        rf"error: {re.escape(str(out))} is [^\n]+ --out\.\n", capsys.readouterr().err
    )
    assert kept.read_text() == "mine"
    assert len(list(tmp_path.rglob("*"))) == (1 if is_file else 2)


@pytest.fixture
def wheels(tmp_path, monkeypatch) -> Path:
    """A folder that pip takes for the package index: empty but valid wheels, of the constrained versions and of newer ones, that ask for a
    numpy which is nowhere."""
    index = tmp_path / "index"
    index.mkdir()
    pinned = dict(
        re.findall(
            r"(?m)^([\w-]+)==(\S+)$", (REPOSITORY / "constraints.txt").read_text(encoding="utf-8")
        )
    )
    names = ("textstat", "pyphen", "sacrebleu", "portalocker", "colorama")
    if missing := set(names) - pinned.keys():
        pytest.skip(
            f"constraints.txt pins no {min(missing)}, as where the lower bounds or the newest releases are tested"
        )
    for name in names:
        for version in (pinned[name], "999.0"):
            info = f"{name}-{version}.dist-info"
            with zipfile.ZipFile(index / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
                wheel.writestr(
                    f"{info}/METADATA",
                    f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Dist: numpy>=999\n",
                )
                wheel.writestr(
                    f"{info}/WHEEL",
                    "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
                )
                wheel.writestr(f"{info}/RECORD", "")
    for name, value in {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(index),
        "PIP_CONFIG_FILE": os.devnull,
    }.items():
        monkeypatch.setenv(name, value)
    return index


def test_the_wheelhouse_holds_the_constrained_wheels_and_notebook_04_installs_them_by_name(
    wheels, mine, tmp_path, monkeypatch
):
    write_folders(USER, mine, wheelhouse=True)
    (folder,) = mine.rglob("wheelhouse")
    held = {path.name for path in folder.iterdir()}
    assert held == {path.name for path in wheels.iterdir() if "999" not in path.name}
    assert folder.parent == mine / "dataset" / "golf_feedback"

    (mine / "dataset").rename(tmp_path / "input")
    codes = [
        cell.source
        for cell in nbformat.read(mine / NOTEBOOKS[3].stem / NOTEBOOKS[3].name, 4).cells
        if cell.cell_type == "code"
    ]
    assert "golf_nb_utils" in codes[1]
    assert not any(
        "wheelhouse" in cell.source
        for path in NOTEBOOKS[:3]
        for cell in nbformat.read(mine / path.stem / path.name, 4).cells
    )
    ran = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "run", ran.append)
        # Where the wheels are not attached, nothing is run and nothing fails.
        exec(codes[0].replace('"/kaggle/input"', repr(str(tmp_path / "nothing"))), {})
        exec(codes[0].replace('"/kaggle/input"', repr(str(tmp_path / "input"))), {})
    ((_, *arguments),) = ran
    # pip itself says what it would do, now without the index.
    monkeypatch.delenv("PIP_FIND_LINKS")
    report = subprocess.run(
        [sys.executable, *arguments, "--dry-run", "--ignore-installed", "--report", "-"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert {
        Path(item["download_info"]["url"]).name for item in json.loads(report.stdout)["install"]
    } == held


def test_every_requirement_is_in_kaggles_image_or_in_the_wheelhouse(wheels, mine):
    write_folders(USER, mine, wheelhouse=True)
    held = {path.name.split("-")[0] for path in mine.rglob("*.whl")}
    lines = (REPOSITORY / "requirements.txt").read_text(encoding="utf-8").splitlines()
    lines += [line for name in held for line in requires(name) or () if "extra ==" not in line]
    needed = {re.match(r"[\w.-]+", line)[0].lower() for line in lines if not line.startswith("#")}
    # Colab's list of June 2026, on which Kaggle's image is built, and Kaggle's own list, which adds papermill.
    image = "torch tensorflow numpy scipy scikit-learn safetensors tiktoken tokenizers matplotlib requests filelock tqdm peft tensorboard psutil ipywidgets"
    assert needed - held == set(image.split()) | {
        "pyyaml",
        "ipykernel",
        "starlette",
        "uvicorn",
        "papermill",
        "nltk",
        "setuptools",
        "regex",
        "tabulate",
        "lxml",
    }


def test_wheels_that_cannot_be_downloaded_end_with_exit_code_2_and_the_folder_as_it_was(
    wheels, mine, capsys
):
    before = contents(mine)
    for path in wheels.glob("pyphen*"):
        path.unlink()
    assert main(["--user", USER, "--out", str(mine), "--wheelhouse"]) == 2
    captured = capsys.readouterr()
    assert re.fullmatch(
        r"error: the wheels cannot be downloaded \([^\n]*pyphen[^\n]*\); turn the network on, [^\n]+\.\n",
        captured.err,
    )
    assert captured.out == ""
    assert contents(mine) == before
