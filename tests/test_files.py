"""What the notebooks hand over: whole files or none, manifests that catch a change, folders found where they are attached."""

import errno
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor

import damaged
import numpy as np
import pytest
import torch
from matplotlib import figure
from safetensors import SafetensorError
from safetensors.torch import save_file

from golf_nb_utils import files
from golf_nb_utils.files import (
    ArtifactMismatchError,
    FolderInUseError,
    MissingArtifactError,
    NoRoomError,
    Paths,
    bring_back,
    clear_leftovers,
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
from golf_nb_utils.gpt2.convert import write_safetensors

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


def test_a_damaged_manifest_is_one_sentence_with_its_path(tmp_path):
    made_folder(tmp_path)
    path = tmp_path / "manifest.json"
    content = path.read_bytes()
    spoilt = [*damaged.texts(content), *(v.encode() for v in damaged.values(json.loads(content)))]
    n_refused = 0
    for found in spoilt:
        path.write_bytes(found)
        for verify in (True, False):
            said = damaged.refusal(ArtifactMismatchError, read_manifest, tmp_path, verify)
            assert not said or (str(tmp_path) in said and "again" in said), said
            assert "\n" not in said
            n_refused += bool(said)
    # Who made it and the seed are anything, and so are the bytes.
    assert n_refused > len(spoilt)


@pytest.mark.parametrize(
    "name",
    [
        "../a.json",
        "deeper/../../a.json",
        "/etc/hostname",
        "C:\\a.json",
        "C:a.json",
        "..\\a.json",
        "\\\\host\\a",
        "",
        ".",
        "..",
    ],
)
def test_a_name_that_leads_out_of_the_folder_is_refused_unread(tmp_path, name, monkeypatch):
    made_folder(tmp_path)
    content = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))
    content["files"][name] = content["files"].pop("a.json")
    write_json(tmp_path / "manifest.json", content)
    monkeypatch.setattr(files, "sha256_file", lambda path: "0" * 64)
    for verify in (True, False):
        with pytest.raises(ArtifactMismatchError, match="expected a file of its folder") as caught:
            read_manifest(tmp_path, verify)
        assert repr(name) in str(caught.value)


@pytest.mark.parametrize(
    "name", ["x" * 5000, "a\x00b", "half \ud800"], ids=["long", "null", "half"]
)
def test_a_name_that_no_system_allows_is_a_file_that_is_not_there(tmp_path, name):
    made_folder(tmp_path)
    content = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))
    content["files"] = {name: content["files"]["a.json"]}
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(ArtifactMismatchError, match=r"does not exist; run notebook 01 again"):
        read_manifest(tmp_path)


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
    def refused(*arguments, **options):
        raise OSError(code, os.strerror(code), "somewhere")

    monkeypatch.setattr(files.Path, "touch", refused)
    with pytest.raises(
        PermissionError, match=rf"{tmp_path} cannot be written \(.*\); choose an output_root"
    ) as caught:
        write_text(tmp_path / "file", "text")
    assert caught.value.errno == code


def test_another_error_of_the_disk_is_passed_on_as_it_is(tmp_path, monkeypatch):
    def broken(*arguments, **options):
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(files.Path, "touch", broken)
    with pytest.raises(OSError, match="broken") as caught:
        write_text(tmp_path / "file", "text")
    assert caught.value.errno == errno.EIO


# File systems that have less.


def refuse(monkeypatch, owner, name, code):
    def refused(*arguments, **options):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(owner, name, refused)


def test_a_file_system_without_permissions_gets_its_files(tmp_path, monkeypatch):
    for name in ("chmod", "fchmod", "chown", "utime", "link", "setxattr"):
        refuse(monkeypatch, os, name, errno.EPERM)
    made_folder(tmp_path)
    assert read_manifest(tmp_path)["seed"] == 123


@pytest.mark.parametrize(
    "code", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EPERM, errno.EROFS, errno.EBADF]
)
def test_a_file_system_without_fsync_gets_its_files(tmp_path, monkeypatch, code):
    refuse(monkeypatch, os, "fsync", code)
    made_folder(tmp_path)
    assert read_manifest(tmp_path)["seed"] == 123


def test_a_disk_that_fails_while_it_is_synced_is_an_error(tmp_path, monkeypatch):
    path = write_text(tmp_path / "a.txt", "old")
    refuse(monkeypatch, os, "fsync", errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_what_a_file_manager_or_jupyter_put_among_attached_states_is_left_there(tmp_path):
    root, attached = tmp_path / "working", tmp_path / "input"
    states = Paths(root).run_states("tiny")
    source = attached / states.relative_to(root)
    write_text(source / "step-8.pt", "state")
    (source / ".ipynb_checkpoints").mkdir()
    assert bring_back(states, root, [attached]) == source
    assert os.listdir(states) == ["step-8.pt"]


# Full disks.


def torch_save(path):
    with open(path, "wb") as file:
        torch.save({"a": torch.zeros(5000)}, file)


WRITERS = {
    "text": lambda path: path.write_text("a" * 5000), "bytes": lambda path: path.write_bytes(b"a" * 5000), "torch": torch_save,
    "safetensors": lambda path: save_file({"a": torch.zeros(5000)}, path),
    "converted": lambda path: write_safetensors(path, lambda name: np.zeros(5000), {"a": ["a", [5000], False]}, {}),
    "numpy": lambda path: np.savez(path, a=np.zeros(5000)), "figure": lambda path: figure.Figure().savefig(path),
}  # fmt: skip


@pytest.mark.skipif(os.name != "posix", reason="Windows limits no file's size")
@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_is_one_sentence_that_names_the_file_whoever_writes(tmp_path, name):
    """A limit on the size of files stands in for the disk: what writes is stopped by the system in the same way."""
    import resource

    write, suffix = WRITERS[name], {"figure": ".pdf", "numpy": ".npz"}.get(name, ".pth")
    path = write_with(tmp_path / f"model{suffix}", lambda part: part.write_text("old"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(NoRoomError) as caught:
            write_with(path, write)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    expected = rf"\[Errno \d+\] no room for {path} \(File too large\); make room [^\n]+"
    assert re.fullmatch(expected, str(caught.value))
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"), OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("[enforce fail at inline_container.cc:858] . PytorchStreamWriter failed writing file data/0: No space left on device"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
    ids=["full", "quota", "torch", "safetensors"],
)  # fmt: skip
@pytest.mark.parametrize("where", ["write", "sync", "begin"])
def test_a_full_disk_is_told_at_every_step(tmp_path, monkeypatch, error, where):
    def full(*arguments, **options):
        raise error

    path = tmp_path / "model.pth"
    if where != "write":
        owner, name = {"sync": (os, "fsync"), "begin": (files.Path, "touch")}[where]
        monkeypatch.setattr(owner, name, full)
    with pytest.raises(
        NoRoomError, match=rf"no room for {path} \(.+\); make room on the disk"
    ) as caught:
        write_with(path, full if where == "write" else lambda part: part.write_text("new"))
    assert caught.value.errno == errno.ENOSPC
    assert os.listdir(tmp_path) == []


def test_an_error_without_a_number_on_a_disk_without_room_is_told_too(tmp_path, monkeypatch):
    def write(part):
        raise OSError("262144 requested and 0 written")

    with pytest.raises(OSError, match="262144 requested"):
        write_with(tmp_path / "a", write)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 0))
    with pytest.raises(NoRoomError, match=rf"no room for {tmp_path / 'a'} \(0 bytes are free\)"):
        write_with(tmp_path / "a", write)


def test_an_error_of_another_kind_stays_what_it_is_on_a_disk_without_room(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 0))
    with pytest.raises(ZeroDivisionError):
        write_with(tmp_path / "a", lambda part: 1 / 0)
    with pytest.raises(TypeError):
        write_json(tmp_path / "a", {1, 2})


# What a killed process left.

WRITING = """
import sys, time
from pathlib import Path
from golf_nb_utils.files import write_with

def write(part):
    part.write_bytes(b"half")
    print(part.name, flush=True)
    sys.stdin.readline()
    part.write_bytes(b"whole")

write_with(Path(sys.argv[1]), write)
"""


@pytest.fixture
def writing():
    """A function that starts a process which writes a file, up to its middle; returns it and the temporary file."""
    processes = []

    def start(path):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITING, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        processes.append(process)
        return process, path.parent / process.stdout.readline().strip()

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_what_a_killed_process_left_is_cleared_by_the_next_write_into_the_folder(tmp_path, writing):
    path = tmp_path / "gpt2-tiny-golf-feedback.pth"
    process, left = writing(path)
    assert re.fullmatch(r"\.gpt2-tiny-golf-feedback\.pth\..+\.pth", left.name)
    process.kill()
    process.wait()
    assert left.is_file()
    write_text(tmp_path / "another.json", "{}")
    assert os.listdir(tmp_path) == ["another.json"]


def test_also_while_its_number_lives_on_in_the_table_of_processes(tmp_path, writing):
    process, left = writing(tmp_path / "a.pth")
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    clear_leftovers(tmp_path)
    assert not left.exists()


def test_what_another_process_is_writing_stays(tmp_path, writing):
    path = tmp_path / "a.pth"
    process, part = writing(path)
    write_text(path, "of another")
    assert part.read_text() == "half"
    process.communicate("go on\n")
    assert process.returncode == 0
    assert path.read_text() == "whole"
    assert os.listdir(tmp_path) == ["a.pth"]


def test_what_this_process_writes_stays(tmp_path):
    def write(part):
        part.write_text("half")
        write_text(tmp_path / "b.pth", "in between")
        clear_leftovers(tmp_path)
        assert part.read_text() == "half"
        part.write_text("whole")

    assert write_with(tmp_path / "a.pth", write).read_text() == "whole"


def test_threads_that_write_one_file_do_not_clear_each_others(tmp_path):
    path = tmp_path / "a.json"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: write_json(path, list(range(n))), range(400)))
    assert json.loads(path.read_text()) == list(range(len(json.loads(path.read_text()))))
    assert os.listdir(tmp_path) == ["a.json"]


def test_of_another_machine_only_what_is_old_is_cleared(tmp_path, writing):
    process, part = writing(tmp_path / "a.pth")
    process.kill()
    process.wait()
    machine = part.name.split(".")[3].split("-")[0]
    other = part.rename(
        tmp_path / part.name.replace(f".{machine}-", ".0000-" if machine != "0000" else ".0001-")
    )
    clear_leftovers(tmp_path)
    assert other.is_file()
    os.utime(other, (0, 0))
    clear_leftovers(tmp_path)
    assert not other.exists()


def test_what_earlier_versions_left_is_cleared_and_no_file_of_anybody_elses(tmp_path):
    ours = (".gpt2-124M-golf-feedback.pth.a1b2c3d4.pth", ".model.safetensors.k_3_x_9z.safetensors")
    theirs = (
        ".env", ".notes.txt", ".gitignore", "model.pth", "model.pth.a1b2c3d4.pth", ".model.pth", ".a.pth.long-name.pth", ".a.json.a1b2c3d4.pth",
        ".model.ckpt.index.part", "encoder.json.part", "encoder.json.part.json", ".lock",
    )  # fmt: skip
    for name in (*ours, *theirs):
        (tmp_path / name).write_text("x")
    (tmp_path / ".a.pth.folder_1.pth").mkdir()
    clear_leftovers(tmp_path)
    clear_leftovers(tmp_path / "nowhere")
    assert set(os.listdir(tmp_path)) == {*theirs, ".a.pth.folder_1.pth"}


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
