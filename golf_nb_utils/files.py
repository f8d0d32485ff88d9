"""What the notebooks hand to each other: where it lies, and that it is whole.

A file is written beside its place and renamed to it, and a folder's manifest is written last. So a
run may be cut off anywhere, and the next one sees the old files or the new ones, never half of one.
"""

import atexit
import errno
import hashlib
import json
import os
import platform
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PureWindowsPath
from typing import TextIO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
    import msvcrt

MANIFEST = "manifest.json"
DATA_FILE = "model.ckpt.data-00000-of-00001"
INDEX_FILE, META_FILE = "model.ckpt.index", "model.ckpt.meta"
CHECKPOINT_FILES = (
    "checkpoint", "encoder.json", "hparams.json", DATA_FILE, INDEX_FILE, META_FILE, "vocab.bpe",
)  # fmt: skip
"""The seven files of a GPT-2, as OpenAI named them."""
DAMAGED = ".damaged"
"""Ending of a checkpoint's file whose tensors failed their check: moved aside to be refetched."""


class MissingArtifactError(FileNotFoundError):
    """A notebook needs what an earlier one has not made yet."""


class ArtifactMismatchError(ValueError):
    """A file is not the one its manifest or sidecar describes."""


class FolderInUseError(OSError):
    """Another process writes to a folder; the message says which one."""


class NoRoomError(OSError):
    """A file does not fit on its disk."""

    def __init__(self, code: int, path: Path, reason: str):
        super().__init__(
            code,
            f"no room for {path} ({reason}); make room on the disk, or choose an output_root "
            "on another one, and run again",
        )


@dataclass(frozen=True)
class Paths:
    """Every path of the series under one output root."""

    root: Path

    @property
    def experimental(self) -> Path:
        """All that is produced."""
        return self.root / "experimental"

    @property
    def data(self) -> Path:
        """Notebook 01's records, and the report about them."""
        return self.experimental / "golf_feedback_finetuning"

    @property
    def models(self) -> Path:
        """Notebook 03's weights, plots and log."""
        return self.experimental / "golf_feedback_models"

    def checkpoint(self, model_size: str) -> Path:
        """Notebook 02's folder of a GPT-2: OpenAI's seven files and the converted weights."""
        return self.experimental / "gpt2_models" / model_size

    def weights(self, model_size: str) -> Path:
        """The fine-tuned weights; the sidecar has the same name and the ending .json."""
        return self.models / f"gpt2-{model_size}-golf-feedback.pth"

    def exported(self, model_size: str, library: str = "transformers") -> Path:
        """The fine-tuned model as a folder for another library: transformers, or gguf."""
        return self.models / f"gpt2-{model_size}-golf-feedback-{library}"

    def run_states(self, model_size: str) -> Path:
        """What an interrupted training goes on from."""
        return self.models / "checkpoints" / f"gpt2-{model_size}"

    def loss_plot(self, model_size: str) -> Path:
        """Train and validation loss over the run."""
        return self.models / f"loss_plot_{model_size}.pdf"

    def training_log(self, model_size: str) -> Path:
        """A line for each measurement of a run."""
        return self.models / f"training_log_{model_size}.jsonl"

    def evaluation(self, model_size: str) -> Path:
        """Notebook 04's metrics, predictions and report."""
        return self.experimental / "golf_feedback_evaluation" / model_size

    def user_feedback(self) -> Path:
        """What golfers said about answers; notebook 01 reads it back."""
        return self.experimental / "user_feedback" / "feedback.jsonl"


def write_text(path: Path, text: str) -> Path:
    """Write `text` as UTF-8, atomically."""
    return write_with(path, lambda part: part.write_text(text, encoding="utf-8", newline="\n"))


def write_json(path: Path, value) -> Path:
    """Write `value` as indented JSON, atomically."""
    return write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_with(path: Path, write) -> Path:
    """Write a file so that a reader sees the old one or the whole new one, never a part.

    `write` is called with the path of a temporary file beside `path`. Temporary files that a killed
    process left in the folder are deleted.

    Raises:
        PermissionError: the folder cannot be written.
        NoRoomError: the disk is full.
        Whatever else `write` raises; `path` then is as it was.
    """
    # In the same folder, because a rename is atomic only within one file system.
    writer = f"{_MACHINE}-{os.getpid()}-{secrets.token_hex(4)}"
    temporary = path.with_name(f".{path.name}.{writer}{path.suffix}")
    _being_written.add(temporary.name)
    try:
        with explained_if_full(path):
            with explained_if_read_only(path.parent):
                path.parent.mkdir(parents=True, exist_ok=True)
                clear_leftovers(path.parent)
                temporary.touch(exist_ok=False)
            write(temporary)
            # Without fsync a system that loses power may keep the rename and lose the content.
            with open(temporary, "rb+") as file:
                sync(file)
            os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink()
        _being_written.discard(temporary.name)
    return path


def sync(file) -> None:
    """Have the system write an open file to its disk now, where its file system can do that.

    Raises:
        OSError: the disk fails, or is full.
    """
    file.flush()
    try:
        os.fsync(file.fileno())
    except OSError as error:
        if error.errno in (errno.EIO, *NO_ROOM):
            raise


# What is left of a write that was cut off.

_MACHINE = hashlib.blake2b(platform.node().encode(), digest_size=2).hexdigest()
_being_written: set[str] = set()
"""The names of this process's temporary files."""
# As write_with names them, ".model.pth.9c0f-1234-a1b2c3d4.pth", and as tempfile would.
_LEFTOVER = re.compile(r"\..+\.([0-9a-f]{4})-([0-9]+)-[0-9a-f]{8}(?:\.[^.]+)?")
_NAMELESS = re.compile(r"\..+(\.[^.]+)\.[a-z0-9_]{8}\1")
_ABANDONED_SECONDS = 3600


def clear_leftovers(folder: Path) -> None:
    """Delete the temporary files in `folder` of processes that were killed in `write_with`.

    That of a process that still writes stays.
    """
    for path in folder.glob(".*"):
        with suppress(OSError):
            if _is_abandoned(path):
                path.unlink()


def _is_abandoned(path: Path) -> bool:
    writer = _LEFTOVER.fullmatch(path.name)
    if not writer:
        return bool(_NAMELESS.fullmatch(path.name))
    # No lock of the file itself: over SMB it would keep its own writer out.
    if path.name in _being_written:
        return False
    machine, process = writer[1], int(writer[2])
    if machine == _MACHINE and (process == os.getpid() or not _is_alive(process)):
        return True
    # Of another machine, or the number of the process was given to another one.
    return time.time() - path.stat().st_mtime > _ABANDONED_SECONDS


def _is_alive(process: int) -> bool:
    import psutil

    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return psutil.pid_exists(process)


# What a disk refuses, as a sentence.

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""The errors of a disk that is full, or whose files may not be so large."""
# torch, safetensors and TensorFlow's process say it in words of their own.
_SAID_OF_NO_ROOM = re.compile(
    r"No space left on device|[Qq]uota exceeded|File too large|os error 28\b", re.ASCII
)


@contextmanager
def explained_if_full(path: Path) -> Iterator[None]:
    """Say of a disk that is full, or too small for the file, which file it was and what to do.

    Raises:
        NoRoomError: `path` could not be written for lack of room.
    """
    try:
        yield
    except NoRoomError:
        raise
    except Exception as error:
        if reason := _lack_of_room(error, path.parent):
            raise NoRoomError(errno.ENOSPC, path, reason) from error
        raise


def _lack_of_room(error: Exception, folder: Path) -> str:
    """Why there is no room, or an empty text where that is not the reason of an error."""
    chain, each = [], error
    while each and each not in chain:
        chain.append(each)
        each = each.__cause__ or each.__context__
    for each in chain:
        if getattr(each, "errno", None) in NO_ROOM:
            return os.strerror(each.errno)
        if found := _SAID_OF_NO_ROOM.search(str(each)):
            return found[0]
    # NumPy says how much it wrote, and torch that it is in another place than it thought.
    if isinstance(error, OSError | RuntimeError) and folder.is_dir():
        free = shutil.disk_usage(folder).free
        return f"{free:,} bytes are free" if free < 1 << 20 else ""
    return ""


NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)
"""The errors of a folder that cannot be written."""


@contextmanager
def explained_if_read_only(folder: Path) -> Iterator[None]:
    """Say of a refusal to write which folder it is and what to do.

    Raises:
        PermissionError: the folder cannot be written; attached inputs never can.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in NOT_WRITABLE:
            raise
        reason = os.strerror(error.errno).lower()
        raise PermissionError(
            error.errno,
            f"{folder} cannot be written ({reason}); "
            "choose an output_root that can, or copy the folder there",
        ) from error


def sha256_file(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_ANEW = "run the notebook that made it again"


def read_json(path: Path, expected: type = dict, remedy: str = _ANEW):
    """Read JSON that an earlier run wrote; it has to be of the type `expected`.

    Raises:
        ArtifactMismatchError: the file is damaged, or holds something else; the message ends with
            the `remedy`.
        OSError: the file cannot be read.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        # What is not UTF-8 or no JSON, a number of thousands of digits, brackets of any depth.
        raise ArtifactMismatchError(f"{path} is not valid JSON ({error}); {remedy}.") from error
    if not isinstance(value, expected):
        found = type(value).__name__
        raise ArtifactMismatchError(
            f"{path} holds a {found}, expected a {expected.__name__}; {remedy}."
        )
    return value


def is_inside(name: str) -> bool:
    """Say whether a name stays in the folder that it is joined to, on any system."""
    path = PureWindowsPath(name)
    return bool(path.name) and not path.anchor and ".." not in path.parts


def write_manifest(folder: Path, made_by: str, files: list[Path], **facts) -> Path:
    """Write manifest.json, which lists `files` with their sizes and hashes; call it last.

    What looks for the folder looks for its manifest, so a folder counts only once all is there. If
    this process holds the folder (`hold`), it is released.
    """
    listed = {}
    for file in files:
        name = file.relative_to(folder).as_posix()
        listed[name] = {"bytes": file.stat().st_size, "sha256": sha256_file(file)}
    path = write_json(folder / MANIFEST, {"made_by": made_by, **facts, "files": listed})
    release(folder)
    return path


_OWN = {
    "notebook 01": " Records of your own come from topics (extra_knowledge) and from corrections "
    "(user_feedback/feedback.jsonl)."
}
"""Where what people write into a notebook's files has its place."""


def read_manifest(folder: Path, verify: bool = True, only: str = "") -> dict:
    """Read manifest.json and, with `verify`, compare the files beside it with their hashes.

    With `only`, this file alone is compared, if it is listed.

    Raises:
        MissingArtifactError: there is no manifest.
        ArtifactMismatchError: it is damaged or lists what is not in its folder, or a listed file is
            missing or differs.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise MissingArtifactError(f"{path} does not exist, so the folder is not whole; {_ANEW}.")
    manifest = read_json(path)
    made_by, files = manifest.get("made_by"), manifest.get("files")
    if not isinstance(made_by, str) or not isinstance(files, dict):
        raise ArtifactMismatchError(
            f"{path} is no manifest: expected `made_by` and `files`; {_ANEW}."
        )
    for name, about in files.items():
        sha256 = about.get("sha256") if isinstance(about, dict) else None
        if not is_inside(name) or not isinstance(sha256, str):
            raise ArtifactMismatchError(
                f"{path} lists {name!r:.80}, expected a file of its folder with its sha256; "
                f"run {made_by} again."
            )
    for name in files if verify else ():
        if only not in ("", name):
            continue
        file, wanted = folder / name, files[name]["sha256"]
        # Not Path.is_file, which a name that no system allows makes raise.
        if not os.path.isfile(file):
            raise ArtifactMismatchError(
                f"{file} is listed in {MANIFEST} but does not exist; run {made_by} again."
            )
        found = sha256_file(file)
        if found != wanted:
            raise ArtifactMismatchError(
                f"{file} differs from {MANIFEST} (sha256 {wanted[:12]}... expected, "
                f"{found[:12]}... found); run {made_by} again, which writes it anew: keep a copy "
                f"of what you changed.{_OWN.get(made_by, '')}"
            )
    return manifest


def attached(path: Path, root: Path, inputs: list[Path]) -> Iterator[Path]:
    """Yield what the attached outputs in the folders `inputs` have at the place of `path`.

    `path` is below `root`, the output root of this run.
    """
    # Kaggle mounts outputs several levels deep, in two layouts, so only the path's end is known.
    ending = path.relative_to(root).as_posix()
    return (found for place in inputs for found in sorted(place.rglob(ending)))


def find_folder(
    folder: Path, root: Path, made_by: str, inputs: list[Path] = (), holding: str = MANIFEST
) -> Path:
    """Return the folder with a manifest that an earlier notebook made: own, or attached as input.

    A folder without the file `holding` is passed over: two runs of a notebook may be attached.

    Raises:
        MissingArtifactError: it is nowhere; the message names the notebook to run.
    """
    for found in (folder, *attached(folder, root, inputs)):
        if (found / MANIFEST).is_file() and (found / holding).is_file():
            return found
    raise MissingArtifactError(
        f"{folder} holds no {holding}: run notebook {made_by} first, "
        "or attach its output (on Kaggle by Add Input)."
    )


def bring_back(folder: Path, root: Path, inputs: list[Path]) -> Path | None:
    """Copy the folder of the same place in an attached output to `folder`, unless that exists.

    Returns where it was found, or None.
    """
    if folder.exists():
        return None
    found = next((found for found in attached(folder, root, inputs) if found.is_dir()), None)
    if found:
        # It gets its name when it is whole. What is attached is read-only, so its permissions
        # stay behind (copyfile, not copy).
        part = folder.with_name(folder.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        with explained_if_read_only(folder.parent), explained_if_full(folder):
            part.mkdir(parents=True)
            for path in sorted(found.iterdir()):
                if path.is_file():  # not what a file manager or Jupyter puts beside
                    shutil.copyfile(path, part / path.name)
            part.rename(folder)
    return found


# Who writes to a folder.

_held: dict[Path, TextIO] = {}
"""The lock files of this process."""


def hold(folder: Path, purpose: str) -> None:
    """Keep other processes from writing to `folder` until this one releases it, or ends.

    A file beside the folder says which process holds it, since when, and for what `purpose`. The
    lock is the system's, which drops it with the process: a kill leaves none behind.

    Raises:
        FolderInUseError: another process holds it.
        PermissionError: the folder beside which the file lies cannot be written.
    """
    path = _lock_path(folder)
    if path in _held:
        return
    with explained_if_read_only(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = _locked(path, folder)
    since = datetime.now().strftime("%Y-%m-%d %H:%M:%S")
    file.truncate(0)
    file.write(f"process {os.getpid()} on {platform.node()} ({purpose}, since {since})")
    file.flush()
    _held[path] = file


def release(folder: Path) -> None:
    """Let other processes write to `folder` again, if this one holds it."""
    _unlock(_lock_path(folder))


def _unlock(path: Path) -> None:
    if file := _held.pop(path, None):
        # Before the lock goes, so that nobody can take that of a file which is then deleted.
        with suppress(OSError):
            path.unlink()
        file.close()


@atexit.register
def _unlock_all() -> None:
    for path in list(_held):
        _unlock(path)


@contextmanager
def held(folder: Path, purpose: str) -> Iterator[None]:
    """Hold a folder for a `with` block, see `hold`."""
    hold(folder, purpose)
    try:
        yield
    finally:
        release(folder)


def _lock_path(folder: Path) -> Path:
    folder = folder.resolve()
    return folder.with_name(f"{folder.name}.lock")


def _locked(path: Path, folder: Path) -> TextIO:
    """Open and lock the lock file of a folder."""
    while True:
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115  (`release` closes it)
        if not _lock(file):
            file.seek(0)
            holder = file.read() or "another process"
            file.close()
            raise FolderInUseError(
                f"{folder} is in use by {holder}; wait for its end, end it (of a notebook: shut "
                "down its kernel), or choose another output_root."
            )
        # Whoever held it may have deleted the file after it was opened here.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                return file
        file.close()


def _lock(file: TextIO) -> bool:
    """Lock an open file; say whether nobody else has locked it."""
    try:
        if fcntl:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            file.seek(1 << 30)  # Windows lets nobody read what is locked: not the text.
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    except OSError as error:
        # A file system that has no locks keeps nobody out.
        return error.errno not in (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
    return True
