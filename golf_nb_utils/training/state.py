"""What a run needs to go on after it was cut off: its last two states and its best weights, written
whole and checked.

A folder holds `state-{step}.pt` with a JSON file beside it, and `best-{step}.pt`. The JSON file is
written last: it holds the hash of both and says which run they belong to.

What it takes to end in the same bytes as a run that was never cut: the weights alone would not do.
Without AdamW's moments the next steps are too long, without the loss scale FP16 searches for it
anew, without the random states other numbers are drawn, and without the number of the step the
records come in another order, at another learning rate.
"""

import os
import random
import re
from dataclasses import dataclass
from pathlib import Path

import torch

from golf_nb_utils.files import read_json, sha256_file, write_json, write_with

N_KEPT = 2
# What a state may name: a path that leads out of its folder is none of its files.
_FILE = re.compile(r"(?:state|best)-[0-9]+\.pt")


class RunStateError(RuntimeError):
    """A state cannot be written, or it or the model in memory belongs to another run."""


@dataclass(frozen=True)
class _Saved:
    """What a state's JSON file says: the sha256 of its files (none if damaged), and their run."""

    path: Path
    files: dict[str, str]
    identity: dict

    @property
    def step(self) -> int:
        """The number of steps after which it was written."""
        return int(self.path.stem.removeprefix("state-"))

    def damaged(self) -> str:
        """Return the name of a file that is not what was written, or an empty text."""
        wrong = (name for name in self.files if not self.has_whole(name))
        return next(wrong, "") if self.files else self.path.name

    def has_whole(self, name: str) -> bool:
        """Say whether a file is there as it was written."""
        file = self.path.with_name(name)
        return name in self.files and file.is_file() and sha256_file(file) == self.files[name]


def save_state(
    folder: Path, step: int, state: dict, identity: dict, best: tuple[int, dict] | None = None
) -> Path:
    """Write the state after `step` and delete all but the last two; return the path of its JSON
    file.

    `state` and `best`, (step, weights), hold tensors and plain Python values; `identity` is JSON
    that tells this run from others.

    Raises:
        RunStateError: the disk is full, for example; the earlier states are as they were.
    """
    described = folder / f"state-{step:08}.json"
    contents = {described.with_suffix(".pt").name: state}
    if best is not None:
        contents[f"best-{best[0]:08}.pt"] = best[1]
    # The oldest goes first: the newest whole one stays, and no third has to fit on the disk.
    others = [saved for saved in _newest_first(folder) if saved.files and saved.step != step]
    earlier = others[: N_KEPT - 1]
    _keep(folder, earlier)
    try:
        for name, content in contents.items():
            # Best weights that an earlier state has, too, are not written again if they are whole.
            if not any(saved.has_whole(name) for saved in earlier):
                write_with(
                    folder / name, lambda temporary, content=content: _write(temporary, content)
                )
        hashes = {name: sha256_file(folder / name) for name in contents}
        write_json(described, {"step": step, "identity": identity, "files": hashes})
    except (OSError, RuntimeError) as error:
        # torch reports a full disk as a RuntimeError.
        kept = [f"the state of step {saved.step} is as it was" for saved in earlier]
        raise RunStateError(
            f"the state after step {step} could not be written to {folder} ({error}); "
            f"{''.join(kept) or 'there is no earlier one'}. "
            "Make room or choose another output_root, and run again."
        ) from error
    return described


def load_state(folder: Path, identity: dict) -> tuple[dict | None, dict | None, list[str]]:
    """Return (state, best weights, remarks) of the newest state that is whole; None for what there
    is not.

    A state that is damaged is deleted, and the one before is taken; the remarks say so. Tensors are
    on the CPU.

    Raises:
        RunStateError: the states belong to a run with other settings, data or weights.
    """
    remarks = []
    for saved in _newest_first(folder):
        found = saved.identity if saved.files else identity
        names = sorted({*found, *identity})
        differing = [name for name in names if found.get(name) != identity.get(name)]
        if differing:
            name = differing[0]
            raise RunStateError(
                f"{folder} holds the states of another run, with other {', '.join(differing)} "
                f"({name} is {found.get(name)!r} there, {identity.get(name)!r} here); set them "
                "back to go on, or resume=False to delete those states and begin anew."
            )
        if damaged := saved.damaged():
            # Were it kept, it would count as one of the last two.
            saved.path.unlink()
            remarks.append(
                f"{damaged} is damaged or missing: the state after step {saved.step} was deleted"
            )
            continue
        # weights_only: a state holds nothing but tensors and plain values, and runs no code.
        contents = {
            name.split("-")[0]: torch.load(folder / name, map_location="cpu", weights_only=True)
            for name in saved.files
        }
        return contents["state"], contents.get("best"), remarks
    return None, None, remarks


def delete_states(folder: Path) -> None:
    """Delete all states and what an interrupted write left, and both folders if they are empty."""
    _keep(folder, [])
    for emptied in (folder, folder.parent):
        if emptied.is_dir() and not any(emptied.iterdir()):
            emptied.rmdir()


def random_states() -> dict:
    """Return where the random numbers of Python and of torch on each device are."""
    return {
        "python": random.getstate(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_states(states: dict) -> None:
    """Go on with the random numbers where `random_states` was called; not on other GPUs."""
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal), gauss))
    torch.set_rng_state(states["torch"])
    if len(states["cuda"]) == (torch.cuda.device_count() if torch.cuda.is_available() else 0):
        torch.cuda.set_rng_state_all(states["cuda"])


def _write(temporary: Path, content: dict) -> None:
    # Through an open file: given a path, torch writes its random temporary name into the archive.
    with open(temporary, "wb") as file:
        torch.save(content, file)


def _newest_first(folder: Path) -> list[_Saved]:
    """Read the JSON files of the states."""
    found = (p for p in folder.glob("state-*.json") if p.is_file())
    paths = (p for p in found if p.stem.removeprefix("state-").isdecimal())
    return sorted(map(_read, paths), key=lambda saved: saved.step, reverse=True)


def _read(path: Path) -> _Saved:
    try:
        about = read_json(path)
        files, identity = dict(about["files"]), dict(about["identity"])
    except (ValueError, TypeError, KeyError):
        files, identity = {}, {}
    is_whole = path.with_suffix(".pt").name in files and all(map(_FILE.fullmatch, files))
    return _Saved(path, files if is_whole else {}, identity)


def _keep(folder: Path, kept: list[_Saved]) -> None:
    names = {name for saved in kept for name in (saved.path.name, *saved.files)}
    # A state's JSON file goes before what it describes.
    for pattern in ("state-*.json", "state-*.pt", "best-*.pt", ".state-*", ".best-*"):
        for path in folder.glob(pattern):
            if path.name not in names:
                os.unlink(path)
