"""The seven files of a GPT-2 size: from a folder that has them, or from OpenAI's host, a mirror or hosts of one's own.

Published hashes exist for 124M and for the two tokenizer files of every size; elsewhere the size is compared, and the digest
that the host's headers offer. TensorFlow then compares every tensor with its CRC32C in model.ckpt.index (tensorflow_io.py).
"""

import errno
import json
import os
import shutil
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import requests
from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from golf_nb_utils.files import (
    CHECKPOINT_FILES,
    DAMAGED,
    DATA_FILE,
    MANIFEST,
    META_FILE,
    MissingArtifactError,
    explained_if_read_only,
    sha256_file,
    write_with,
)
from golf_nb_utils.gpt2 import transfer
from golf_nb_utils.gpt2.transfer import DownloadError
from golf_nb_utils.settings import CheckpointConfig, ConfigError, nearest

OFFICIAL_URL = "https://openaipublic.blob.core.windows.net/gpt-2/models"
BACKUP_URL = CheckpointConfig.backup_url

# Bytes in the order of CHECKPOINT_FILES; two or more independent sources agree on each, so another size is refused.
KNOWN_SIZES = {
    "124M": dict(
        zip(CHECKPOINT_FILES, (77, 1042301, 90, 497759232, 5215, 471155, 456318), strict=True)
    ),
    "355M": dict(
        zip(CHECKPOINT_FILES, (77, 1042301, 91, 1419292672, 10399, 926519, 456318), strict=True)
    ),
}
# Computed from the architecture, not confirmed: a download of another size is kept, with a warning. Nobody has published
# the size of model.ckpt.meta, which TensorFlow does not need in order to read the weights.
DERIVED_SIZES = {
    "774M": {
        "checkpoint": 77, "encoder.json": 1042301, "hparams.json": 91, DATA_FILE: 3096120320,
        "model.ckpt.index": 15535, "vocab.bpe": 456318,
    },
    "1558M": {
        "checkpoint": 77, "encoder.json": 1042301, "hparams.json": 91, DATA_FILE: 6230444800,
        "model.ckpt.index": 20724, "vocab.bpe": 456318,
    },
}  # fmt: skip
# Hashes that rest on one source alone (those of 124M's index and meta) are left out.
KNOWN_SHA256 = {
    ("124M", "checkpoint"): "dd1b025d2e155283f5e300ce95bf6d5b6bc0f7fe010db73daa6975eb896ab9cb",
    ("124M", "hparams.json"): "d9d56e4121c427164e0c55c6f03c08e1daf9002b9b672825112d19097b680318",
    ("124M", DATA_FILE): "2060c885360cc0cf41d7a6dbc4d24b5127aae20260c8b5ae521b5a6578407118",
}
TOKENIZER_SHA256 = {
    "encoder.json": "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
    "vocab.bpe": "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
}
KNOWN_SHA256 |= {
    (size, name): value
    for size in (*KNOWN_SIZES, *DERIVED_SIZES)
    for name, value in TOKENIZER_SHA256.items()
}


def download_checkpoint(
    model_size: str,
    folder: str | Path,
    urls: Sequence[str] = (OFFICIAL_URL, BACKUP_URL),
    given: Sequence[Path] = (),
    progress: bool = True,
    connections: int = transfer.CONNECTIONS,
) -> dict[str, dict]:
    """Bring the seven files of a GPT-2 size into `folder`; return for each one its bytes, sha256, verified and source.

    What is in `folder` and passes its checks stays; what one of the folders `given` has is linked or copied; the rest is
    fetched, from the first of the `urls` that delivers it. `verified` says how far the check went: `sha256` (the published
    hash), `md5 of the host` or `sha1 of the host` (its headers), `size` (the known or derived size), `length` (as many bytes
    as announced) or `unchecked` (found in a folder, and nothing is known of it); a manifest in the folder whose hash agrees
    lends its word. `source` is the url or folder it came from, or None where only the file is known. Without anything to fetch the network
    is not touched. One run at a time works in a folder; a second one waits, and finds the files.

    Raises:
        ConfigError: the size has no checkpoint to download (`tiny` is made, not downloaded).
        DownloadError: the disk is too small, or no url delivered a file that passed its checks; the next run goes on from
            what has arrived.
        PermissionError: the folder cannot be written.
    """
    sizes = KNOWN_SIZES | DERIVED_SIZES
    if model_size not in sizes:
        close = nearest(str(model_size), sizes)
        raise ConfigError(
            f"no download for model_size {model_size!r}{close}; expected one of {', '.join(sizes)}."
        )
    folder = Path(folder)
    # Before the lock, which a folder that cannot be written (an attached input) does not grant.
    results = {name: _kept(model_size, folder / name) for name in CHECKPOINT_FILES}
    if all(results.values()):
        return results
    with explained_if_read_only(folder):
        folder.mkdir(parents=True, exist_ok=True)
        running = _only_run(folder, progress)
    with running:
        try:
            return _complete(model_size, folder, urls, given, progress, connections)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise DownloadError(
                f"the disk of {folder} is full before GPT-2 {model_size} is complete: make room and run again; "
                "it goes on from what has arrived."
            ) from error


def _complete(
    model_size: str,
    folder: Path,
    urls: Sequence[str],
    given: Sequence[Path],
    progress: bool,
    connections: int,
) -> dict[str, dict]:
    sizes = (KNOWN_SIZES | DERIVED_SIZES)[model_size]
    results = {
        name: _kept(model_size, folder / name) or _brought(model_size, folder / name, given)
        for name in CHECKPOINT_FILES
    }
    wanted = [name for name in CHECKPOINT_FILES if results[name] is None]
    needed = sum(sizes.get(name, 0) for name in wanted)
    _require_space(
        model_size, folder, needed - sum(transfer.part_bytes(folder / name) for name in wanted)
    )
    order = list(urls)
    with tqdm(total=needed, unit="B", unit_scale=True, disable=not (progress and wanted)) as bar:
        for name in wanted:
            bar.set_description(f"{model_size} {name}")
            results[name], served = _fetch_from_any(
                order, model_size, folder / name, bar, connections
            )
            (folder / f"{name}{DAMAGED}").unlink(missing_ok=True)
            # The host that served a file is asked first for the next one.
            order.sort(key=lambda url: url != served)
    return results


def find_folders(model_size: str, roots: Sequence[Path]) -> list[Path]:
    """Return the folders below `roots` that hold a checkpoint of the size, by their data file's bytes.

    An attached Kaggle dataset lies several folders deep, under a name that its author chose.
    """
    sizes = (KNOWN_SIZES | DERIVED_SIZES)[model_size]
    found = (path for root in roots for path in sorted(root.rglob(DATA_FILE)))
    return [path.parent for path in found if path.stat().st_size == sizes[DATA_FILE]]


def take_checkpoint(given: Path, folder: Path) -> dict[str, dict]:
    """Link or copy a TensorFlow checkpoint of any shape from `given` into `folder`; return what download_checkpoint returns.

    Nothing is known of its files, so `verified` is `unchecked`; the conversion compares its tensors with their index.

    Raises:
        MissingArtifactError: files are missing (`checkpoint` and model.ckpt.meta may be: no weight is read from them).
    """
    missing = [
        name
        for name in CHECKPOINT_FILES
        if name not in ("checkpoint", META_FILE) and not (given / name).is_file()
    ]
    if missing:
        raise MissingArtifactError(
            f"{given} lacks {', '.join(missing)}; expected a GPT-2 as OpenAI or transformers saves it."
        )
    folder.mkdir(parents=True, exist_ok=True)
    results = {}
    for name in (name for name in CHECKPOINT_FILES if (given / name).is_file()):
        _link_or_copy(given / name, folder / name)
        sha256 = sha256_file(folder / name)
        results[name] = {
            "bytes": (folder / name).stat().st_size,
            "sha256": sha256,
            "verified": "unchecked",
            "source": str(given),
        }
    return results


def _link_or_copy(source: Path, target: Path) -> None:
    if target.exists() and target.samefile(source):
        return
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another disk, or one that knows no links
        write_with(target, lambda temporary: shutil.copyfile(source, temporary))


def _only_run(folder: Path, progress: bool) -> AbstractContextManager:
    lock = FileLock(folder / ".lock")
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        with tqdm(
            bar_format="{desc} {elapsed}",
            desc=f"another run works in {folder}; waiting",
            disable=not progress,
        ):
            return lock.acquire()


def _require_space(model_size: str, folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DownloadError(
            f"GPT-2 {model_size} needs {needed:,} bytes in {folder}, where {free:,} are free: delete something or choose a smaller size."
        )


def _expected(model_size: str, name: str) -> tuple[int | None, int | None, str | None]:
    """The known bytes, the derived bytes and the known sha256 of a file; None for what nobody knows."""
    known, derived = (table.get(model_size, {}).get(name) for table in (KNOWN_SIZES, DERIVED_SIZES))
    return known, derived, KNOWN_SHA256.get((model_size, name))


def _kept(model_size: str, path: Path) -> dict | None:
    """The result for a file that is there and passes its checks; None for one to fetch."""
    known, derived, expected_sha256 = _expected(model_size, path.name)
    found = path.stat().st_size if path.is_file() else 0
    if not found or known not in (None, found):
        return None
    sha256 = sha256_file(path)
    if expected_sha256 not in (None, sha256):
        return None
    told = _manifest_entry(path)
    # A derived size may be wrong; then the manifest of the run that fetched the file has the word.
    if told["sha256"] != sha256 if told else derived not in (None, found):
        return None
    verified = (
        "sha256"
        if expected_sha256
        else told["verified"]
        if told
        else "size"
        if known or derived
        else "unchecked"
    )
    return {
        "bytes": found,
        "sha256": sha256,
        "verified": verified,
        "source": told["source"] if told else None,
    }


def _manifest_entry(path: Path) -> dict | None:
    """What the manifest beside a file says of its hash, how it was verified, and where it came from."""
    try:
        manifest = json.loads((path.parent / MANIFEST).read_text(encoding="utf-8"))
        sha256, source = (
            manifest["files"][path.name]["sha256"],
            manifest.get("sources", {}).get(path.name),
        )
        return {"sha256": sha256, "verified": manifest["verified"][path.name], "source": source}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _brought(model_size: str, target: Path, given: Sequence[Path]) -> dict | None:
    """Link or copy a file from the first given folder that has a good one, unless one of them has proved damaged."""
    if target.with_name(f"{target.name}{DAMAGED}").exists():
        return None
    for folder in given:
        result = _kept(model_size, folder / target.name)
        if result:
            _link_or_copy(folder / target.name, target)
            return result | {"source": str(folder)}
    return None


def _fetch_from_any(
    urls: Sequence[str], model_size: str, target: Path, bar: tqdm, connections: int
) -> tuple[dict, str]:
    """Fetch one file from the first url that delivers it; return its result and that url."""
    known, derived, expected_sha256 = _expected(model_size, target.name)
    reasons = []

    def advance(n_bytes: int) -> None:
        if known is derived is None:
            bar.total += n_bytes
        bar.update(n_bytes)

    for base in urls:
        url = "/".join((base.rstrip("/"), model_size, target.name))
        try:
            fetched = transfer.fetch(url, target, known, expected_sha256, advance, connections)
        except (DownloadError, requests.RequestException) as error:
            reasons.append(
                f"{url} ({transfer.innermost(error) if isinstance(error, requests.RequestException) else error})"
            )
            continue
        if derived not in (None, fetched.bytes):
            warnings.warn(
                f"{target.name} of GPT-2 {model_size} has {fetched.bytes:,} bytes, {derived:,} were derived.",
                stacklevel=3,
            )
        verified = (
            f"{fetched.checked_by} of the host"
            if fetched.checked_by in ("md5", "sha1")
            else fetched.checked_by
        )
        if verified == "length" and fetched.bytes == derived:
            verified = "size"
        return {
            "bytes": fetched.bytes,
            "sha256": fetched.sha256,
            "verified": verified,
            "source": base,
        }, base
    raise DownloadError(
        f"cannot download {target.name} of GPT-2 {model_size}: {', '.join(reasons) or 'no url given'}; check the internet access "
        f"(on Kaggle: Settings, Internet on), or put the seven files into {target.parent} by hand."
    )
