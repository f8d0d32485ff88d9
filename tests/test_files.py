"""What the notebooks hand over: whole files or none, manifests that catch a change, folders found where they are attached."""

import errno
import hashlib
import json
import os
import subprocess
import sys

import pytest

from golf_nb_utils import files
from golf_nb_utils.files import (
    ArtifactMismatchError,
    FolderInUseError,
    MissingArtifactError,
    Paths,
    bring_back,
    find_folder,
    hold,
    read_manifest,
    release,
    sha256_file,
    write_json,
    write_manifest,
    write_text,
    write_with,
)

GOLF = "Tempo 3 : 1, Rück­schwung, 重心移動, 🏌️\n"


def made_folder(folder):
    """A folder as a notebook leaves it: two files, then the manifest."""
    files = [write_text(folder / "a.json", GOLF), write_text(folder / "deeper" / "b.txt", "b")]
    write_manifest(folder, "notebook 01", files, seed=123)
    return folder


def test_every_path_is_the_one_the_design_promises(tmp_path):
    paths = Paths(tmp_path)
    relative = {
        paths.data: "golf_feedback_finetuning",
        paths.checkpoint("124M"): "gpt2_models/124M",
        paths.weights("tiny"): "golf_feedback_models/gpt2-tiny-golf-feedback.pth",
        paths.loss_plot("355M"): "golf_feedback_models/loss_plot_355M.pdf",
        paths.training_log("tiny"): "golf_feedback_models/training_log_tiny.jsonl",
        paths.evaluation("124M"): "golf_feedback_evaluation/124M",
    }
    for path, expected in relative.items():
        assert path == tmp_path / "experimental" / expected
    assert (
        paths.run_states("124M").parent
        == tmp_path / "experimental" / "golf_feedback_models" / "checkpoints"
    )


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, OSError("disk full")])
def test_an_interrupted_write_leaves_the_old_file_and_no_temporary(tmp_path, interruption):
    path = write_text(tmp_path / "model.pth", "old")

    def write(temporary):
        temporary.write_text("half of the n")
        raise interruption

    with pytest.raises((KeyboardInterrupt, OSError)):
        write_with(path, write)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["model.pth"]


def test_an_interrupted_first_write_leaves_nothing(tmp_path):
    def write(temporary):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_with(tmp_path / "model.pth", write)
    assert os.listdir(tmp_path) == []


def test_a_reader_sees_the_old_file_until_the_new_one_is_whole(tmp_path):
    path = write_text(tmp_path / "model.pth", "old")
    seen = []

    def write(temporary):
        temporary.write_text("new")
        seen.append(path.read_text())

    write_with(path, write)
    assert seen == ["old"]
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["model.pth"]


@pytest.mark.skipif(os.name != "posix", reason="Windows locks an open file")
def test_a_reader_that_has_the_old_file_open_reads_all_of_it(tmp_path):
    path = write_text(tmp_path / "model.pth", "old")
    with open(path, encoding="utf-8") as reader:
        write_text(path, "new and longer")
        assert reader.read() == "old"
    assert path.read_text() == "new and longer"


def test_the_temporary_file_keeps_the_ending_that_torch_and_matplotlib_go_by(tmp_path):
    suffixes = []
    write_with(tmp_path / "plot.pdf", lambda temporary: suffixes.append(temporary.suffix))
    assert suffixes == [".pdf"]


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_a_written_file_is_as_readable_as_the_umask_allows(tmp_path):
    before = os.umask(0o027)
    try:
        path = write_text(tmp_path / "a.txt", "a")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o640


def test_text_in_any_script_is_written_as_utf8_with_plain_line_ends(tmp_path):
    path = write_text(tmp_path / "neu" / "Übung 重心.txt", GOLF)
    assert path.read_bytes() == GOLF.encode("utf-8")


def test_json_keeps_any_script_readable_and_ends_with_a_line_end(tmp_path):
    path = write_json(tmp_path / "a.json", {"drill": GOLF, "dose": [1, 2.5, None, True]})
    written = path.read_bytes().decode("utf-8")
    assert json.loads(written) == {"drill": GOLF, "dose": [1, 2.5, None, True]}
    assert "重心移動" in written
    assert written.endswith("}\n")


def test_the_hash_of_a_file_is_its_sha256(tmp_path):
    # The test vector of FIPS 180-2.
    path = write_text(tmp_path / "abc", "abc")
    assert sha256_file(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_manifest_says_who_made_which_files_from_what(tmp_path):
    made_folder(tmp_path)
    content = GOLF.encode()
    assert json.loads((tmp_path / "manifest.json").read_bytes()) == {
        "made_by": "notebook 01",
        "seed": 123,
        "files": {
            "a.json": {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()},
            "deeper/b.txt": {"bytes": 1, "sha256": hashlib.sha256(b"b").hexdigest()},
        },
    }
    assert read_manifest(tmp_path)["seed"] == 123


@pytest.mark.parametrize("name", ["a.json", "deeper/b.txt"])
def test_a_file_that_differs_from_its_manifest_is_named_with_the_notebook_to_run(tmp_path, name):
    made_folder(tmp_path)
    content = bytearray((tmp_path / name).read_bytes())
    content[-1] ^= 1
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ArtifactMismatchError) as caught:
        read_manifest(tmp_path)
    assert str(tmp_path / name) in str(caught.value)
    assert "notebook 01" in str(caught.value)


def test_whoever_edited_the_records_is_told_that_they_go_and_where_own_ones_belong(tmp_path):
    made_folder(tmp_path)
    write_text(tmp_path / "a.json", GOLF + "and a record of my own\n")
    with pytest.raises(ArtifactMismatchError) as caught:
        read_manifest(tmp_path)
    for said in ("writes it anew: keep a copy", "extra_knowledge", "user_feedback/feedback.jsonl"):
        assert said in str(caught.value)


def test_a_listed_file_that_is_gone_is_named_with_the_notebook_to_run(tmp_path):
    made_folder(tmp_path)
    (tmp_path / "a.json").unlink()
    with pytest.raises(ArtifactMismatchError) as caught:
        read_manifest(tmp_path)
    assert str(tmp_path / "a.json") in str(caught.value)
    assert "notebook 01" in str(caught.value)


def test_a_manifest_can_be_read_without_hashing_what_it_lists(tmp_path):
    made_folder(tmp_path)
    (tmp_path / "a.json").write_text("changed")
    assert read_manifest(tmp_path, verify=False)["made_by"] == "notebook 01"


def test_a_folder_without_a_manifest_is_an_error_that_names_the_manifest(tmp_path):
    write_text(tmp_path / "a.json", "[]")
    with pytest.raises(MissingArtifactError) as caught:
        read_manifest(tmp_path)
    assert str(tmp_path / "manifest.json") in str(caught.value)


def test_the_folder_under_the_output_root_is_preferred_to_an_attached_one(tmp_path):
    root, attached = tmp_path / "working", tmp_path / "input"
    own = made_folder(Paths(root).data)
    made_folder(attached / "golf" / "experimental" / "golf_feedback_finetuning")
    assert find_folder(own, root, "01", [attached]) == own


@pytest.mark.parametrize(
    "layout",
    ["", "golf-01", "notebooks/somebody/golf-01", "datasets/somebody/golf/versions/3/output"],
)
def test_an_attached_folder_is_found_however_deep_it_is_mounted(tmp_path, layout):
    root, empty, attached = tmp_path / "working", tmp_path / "empty", tmp_path / "input"
    empty.mkdir()
    wanted = made_folder(attached / layout / "experimental" / "golf_feedback_finetuning")
    made_folder(attached / layout / "experimental" / "golf_feedback_models")
    assert find_folder(Paths(root).data, root, "01", [empty, attached]) == wanted


def test_a_checkpoint_of_another_size_is_not_taken_for_the_one_that_is_wanted(tmp_path):
    root, attached = tmp_path / "working", tmp_path / "input"
    made_folder(attached / "golf" / "experimental" / "gpt2_models" / "tiny")
    with pytest.raises(MissingArtifactError):
        find_folder(Paths(root).checkpoint("124M"), root, "02", [attached])


def test_of_two_attached_runs_the_one_that_holds_the_file_is_taken(tmp_path):
    root, attached = tmp_path / "working", tmp_path / "input"
    paths = Paths(root)
    made_folder(attached / "golf-00" / "experimental" / "golf_feedback_models")
    wanted = made_folder(attached / "golf-03" / "experimental" / "golf_feedback_models")
    write_text(wanted / paths.weights("tiny").name, "")
    assert find_folder(paths.models, root, "03", [attached], paths.weights("tiny").name) == wanted
    with pytest.raises(
        MissingArtifactError, match=r"gpt2-124M-golf-feedback.pth.*notebook 03.*Add Input"
    ):
        find_folder(paths.models, root, "03", [attached], paths.weights("124M").name)


def test_attached_states_are_copied_where_none_are_and_only_there(tmp_path):
    root, attached = tmp_path / "working", tmp_path / "input"
    states = Paths(root).run_states("tiny")
    assert bring_back(states, root, [attached]) is None
    source = attached / "notebooks" / "somebody" / "golf" / states.relative_to(root)
    write_text(source / "step-8.pt", "state")
    write_text(
        attached / "golf" / Paths(root).run_states("124M").relative_to(root) / "step-8.pt",
        "of another size",
    )
    source.chmod(0o555)
    assert bring_back(states, root, [attached]) == source
    write_text(states / "step-9.pt", "newer")
    assert bring_back(states, root, [attached]) is None
    assert {path.name: path.read_text() for path in states.iterdir()} == {
        "step-8.pt": "state",
        "step-9.pt": "newer",
    }
    assert [path.name for path in states.parent.iterdir()] == [states.name]


def test_a_folder_that_was_never_finished_is_missing_and_the_notebook_to_run_is_named(tmp_path):
    folder = Paths(tmp_path).data
    write_text(folder / "golf_feedback_train.json", "[]")
    with pytest.raises(MissingArtifactError) as caught:
        find_folder(folder, tmp_path, "01_generate_data", [tmp_path / "absent"])
    assert str(folder) in str(caught.value)
    assert "notebook 01_generate_data" in str(caught.value)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_folder_that_cannot_be_written_is_named_with_what_to_do(tmp_path, monkeypatch, code):
    def refused(**arguments):
        raise OSError(code, os.strerror(code), "somewhere")

    monkeypatch.setattr(files.tempfile, "mkstemp", refused)
    with pytest.raises(
        PermissionError, match=rf"{tmp_path} cannot be written \(.*\); choose an output_root"
    ) as caught:
        write_text(tmp_path / "file", "text")
    assert caught.value.errno == code


def test_another_error_of_the_disk_is_passed_on_as_it_is(tmp_path, monkeypatch):
    def broken(**arguments):
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(files.tempfile, "mkstemp", broken)
    with pytest.raises(OSError, match="broken") as caught:
        write_text(tmp_path / "file", "text")
    assert caught.value.errno == errno.EIO


# Who writes to a folder.

HOLDER = """
import sys
from pathlib import Path
from golf_nb_utils.files import hold
hold(Path(sys.argv[1]), "notebook 03, seed 7")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the folder data, until its stdin is closed or it is killed."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "data")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_folder_that_another_process_holds_is_refused_and_the_holder_is_named(tmp_path, holder):
    folder = tmp_path / "data"
    with pytest.raises(FolderInUseError) as caught:
        hold(folder, "notebook 03, seed 1")
    said = str(caught.value)
    assert said.startswith(f"{folder} is in use by process {holder.pid} on ")
    assert "(notebook 03, seed 7, since 20" in said
    assert "choose another output_root" in said
    hold(tmp_path / "other", "notebook 03, seed 1")
    release(tmp_path / "other")


def test_a_process_that_ends_gives_its_folders_back(tmp_path, holder):
    holder.communicate()
    assert list(tmp_path.iterdir()) == []


def test_a_killed_process_leaves_no_folder_locked(tmp_path, holder):
    holder.kill()
    holder.wait()
    hold(tmp_path / "data", "notebook 03, seed 1")
    release(tmp_path / "data")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_held_until_its_manifest_is_written(tmp_path):
    folder = tmp_path / "data"
    for _ in range(2):  # as a cell may be run twice
        hold(folder, "notebook 01, seed 1")
    assert [path.name for path in tmp_path.iterdir()] == ["data.lock"]
    made_folder(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    release(folder)


def test_where_the_file_system_has_no_locks_nobody_is_kept_out(tmp_path, holder, monkeypatch):
    def unsupported(*_):
        raise OSError(errno.ENOTSUP, "no locks here")

    monkeypatch.setattr(files.fcntl, "flock", unsupported)
    hold(tmp_path / "data", "notebook 03, seed 1")
    release(tmp_path / "data")
