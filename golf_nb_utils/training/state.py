"""What a training run needs to go on after it was cut off: its last two states and its best weights, written whole and checked.

A folder holds `state-{step}.pt` with a JSON file beside it, and `best-{step}.pt`. The JSON file is written last: it holds the hash
of both and says which run they belong to.
"""

import json
import os
from pathlib import Path

import torch

from golf_nb_utils.files import sha256_file, write_json, write_with

N_KEPT = 2


class RunStateError(RuntimeError):
    """A state cannot be written, or belongs to another run."""


def save_state(
    folder: Path, step: int, state: dict, identity: dict, best: tuple[int, dict] | None = None
) -> Path:
    """Write the state after `step` and delete all but the last two; return the path of its JSON file.

    `state` and `best`, (step, weights), hold tensors and plain Python values; `identity` is JSON that tells this run from others.

    Raises:
        RunStateError: it could not be written, because the disk is full for example; the earlier states are as they were.
    """
    described = folder / f"state-{step:08}.json"
    files = {described.with_suffix(".pt").name: state}
    if best is not None:
        files[f"best-{best[0]:08}.pt"] = best[1]
    # The oldest goes first: the newest whole one stays, and no third has to fit on the disk.
    _keep(folder, [path for path in _described(folder) if path != described][: N_KEPT - 1])
    known = {
        name: sha256
        for path in _described(folder)
        for name, sha256 in (_read(path) or ({},))[0].items()
    }
    try:
        for name, content in files.items():
            # Best weights that an earlier state has, too, are not written again, if they still are what they were.
            if name not in known or not _is_whole(folder / name, known[name]):
                write_with(
                    folder / name, lambda temporary, content=content: _write(temporary, content)
                )
        hashes = {name: sha256_file(folder / name) for name in files}
        write_json(described, {"step": step, "identity": identity, "files": hashes})
    except (OSError, RuntimeError) as error:
        # torch reports a full disk as a RuntimeError.
        earlier = next(
            (f"the state of step {_step(path)} is as it was" for path in _described(folder)),
            "there is no earlier one",
        )
        raise RunStateError(
            f"the state after step {step} could not be written to {folder} ({error}); {earlier}. "
            "Make room or choose another output_root, and run again."
        ) from error
    return described


def load_state(folder: Path, identity: dict) -> tuple[dict | None, dict | None, list[str]]:
    """Return (state, best weights, remarks) of the newest state that is whole; None for what there is not.

    A state that is damaged is deleted, and the one before is taken; the remarks say so. Tensors are on the CPU.

    Raises:
        RunStateError: the states belong to a run with other settings, data or weights.
    """
    remarks = []
    for described in _described(folder):
        about = _read(described)
        hashes, found = about or ({}, identity)
        wrong = (name for name, sha256 in hashes.items() if not _is_whole(folder / name, sha256))
        damaged = next(wrong, "") if about else described.name
        differing = sorted(
            name for name in {*found, *identity} if found.get(name) != identity.get(name)
        )
        if differing:
            name = differing[0]
            raise RunStateError(
                f"{folder} holds the states of another run, with other {', '.join(differing)} ({name} is {found.get(name)!r} there, "
                f"{identity.get(name)!r} here); set them back to go on, or resume=False to delete those states and begin anew."
            )
        if damaged:
            # Were it kept, it would count as one of the last two.
            described.unlink()
            remarks.append(
                f"{damaged} is damaged or missing: the state after step {_step(described)} was deleted"
            )
            continue
        contents = {
            name.split("-")[0]: torch.load(folder / name, map_location="cpu", weights_only=True)
            for name in hashes
        }
        return contents["state"], contents.get("best"), remarks
    return None, None, remarks


def delete_states(folder: Path) -> None:
    """Delete every state and what an interrupted write left; the folder and the one around it go, too, once they are empty."""
    _keep(folder, [])
    for emptied in (folder, folder.parent):
        if emptied.is_dir() and not any(emptied.iterdir()):
            emptied.rmdir()


def _write(temporary: Path, content: dict) -> None:
    # Through an open file: given a path, torch writes its random temporary name into the archive.
    with open(temporary, "wb") as file:
        torch.save(content, file)


def _read(described: Path) -> tuple[dict, dict] | None:
    """The hashes by file name, and the identity, in the JSON file of a state; None if it is damaged."""
    try:
        about = json.loads(described.read_text(encoding="utf-8"))
        hashes, identity = dict(about["files"]), dict(about["identity"])
    except (ValueError, TypeError, KeyError):
        return None
    return (hashes, identity) if described.with_suffix(".pt").name in hashes else None


def _is_whole(path: Path, sha256: str) -> bool:
    return path.is_file() and sha256_file(path) == sha256


def _step(described: Path) -> int:
    return int(described.stem.removeprefix("state-"))


def _described(folder: Path) -> list[Path]:
    """The JSON files of the states, the newest first."""
    described = (
        path for path in folder.glob("state-*.json") if path.stem.removeprefix("state-").isdigit()
    )
    return sorted(described, key=_step, reverse=True)


def _keep(folder: Path, kept: list[Path]) -> None:
    names = set()
    for described in kept:
        about = _read(described)
        names |= {described.name, *about[0]} if about else set()
    # A state's JSON file goes before what it describes.
    for pattern in ("state-*.json", "state-*.pt", "best-*.pt", ".state-*", ".best-*"):
        for path in folder.glob(pattern):
            if path.name not in names:
                os.unlink(path)
