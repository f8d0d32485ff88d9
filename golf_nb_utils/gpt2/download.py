"""The seven files of a GPT-2 size: from a folder, OpenAI's host, a mirror or one's own hosts.

Published hashes exist for 124M and for the two tokenizer files of every size; elsewhere the size is
compared, and the digest that the host's headers offer. TensorFlow then compares every tensor with
its CRC32C in model.ckpt.index (tensorflow_io.py).
"""

import os
import re
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import requests
from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from golf_nb_utils.addresses import below, without_secrets
from golf_nb_utils.files import (
    CHECKPOINT_FILES,
    DAMAGED,
    DATA_FILE,
    INDEX_FILE,
    MANIFEST,
    META_FILE,
    NO_ROOM,
    NOT_WRITABLE,
    MissingArtifactError,
    clear_leftovers,
    explained_if_read_only,
    read_json,
    sha256_file,
    write_with,
)
from golf_nb_utils.gpt2 import checkpoints, huggingface, transfer
from golf_nb_utils.gpt2.transfer import DownloadError
from golf_nb_utils.host import input_roots
from golf_nb_utils.settings import GPT_CONFIGS, CheckpointConfig, ConfigError, nearest

OFFICIAL_URL = "https://openaipublic.blob.core.windows.net/gpt-2/models"
BACKUP_URL = CheckpointConfig.backup_url

# Bytes in the order of CHECKPOINT_FILES; two or more independent sources agree on each, so another
# size is refused.
KNOWN_SIZES = {
    "124M": dict(
        zip(CHECKPOINT_FILES, (77, 1042301, 90, 497759232, 5215, 471155, 456318), strict=True)
    ),
    "355M": dict(
        zip(CHECKPOINT_FILES, (77, 1042301, 91, 1419292672, 10399, 926519, 456318), strict=True)
    ),
}
# Computed from the architecture, not confirmed: a download of another size is kept, with a warning.
# Nobody has published the size of model.ckpt.meta, which no weight is read from.
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
UNREAD = ("checkpoint", META_FILE)
"""The files of a checkpoint that no weight is read from."""
# Where nothing else is known: meta of 355M has 0.9 MB, that of 1558M may have twice as many.
LARGEST_BYTES = 1 << 24
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


def bring_checkpoint(
    config: CheckpointConfig, folder: Path, texts: Sequence[str] = ()
) -> dict[str, dict]:
    """Bring the GPT-2 that notebook 02's settings ask for into `folder`, wherever it comes from.

    `tiny` is made, with a vocabulary learnt from `texts`. A `checkpoint_folder` has to hold all
    that is read; without one the attached inputs are searched, and then the hosts are asked.
    Returns what is known of each file (see download_checkpoint). Those of TensorFlow are not among
    them where transformers saved the model: then model.safetensors is there at once.

    Raises:
        ConfigError, MissingArtifactError, DownloadError, PermissionError: see given_folder,
            take_checkpoint and download_checkpoint.
        CheckpointError: the folder's model is no such GPT-2.
    """
    size = config.model_size
    given = given_folder(size, config.checkpoint_folder)
    if size == "tiny":
        checkpoints.make_tiny_checkpoint(folder, texts, config.seed)
        return {name: {"verified": "made here", "source": None} for name in CHECKPOINT_FILES}
    if given and huggingface.is_pretrained(given):
        huggingface.import_pretrained(given, folder, GPT_CONFIGS.get(size))
        names = ("encoder.json", "hparams.json", "vocab.bpe")
        return {name: {"verified": "unchecked", "source": str(given)} for name in names}
    if given and size == "own":
        return take_checkpoint(given, folder)
    if given:
        return download_checkpoint(size, folder, (), [given])
    urls = (OFFICIAL_URL, config.backup_url, *config.more_urls.split())
    return download_checkpoint(size, folder, urls, find_folders(size, input_roots()))


def download_checkpoint(
    model_size: str,
    folder: str | Path,
    urls: Sequence[str] = (OFFICIAL_URL, BACKUP_URL),
    given: Sequence[Path] = (),
    progress: bool = True,
) -> dict[str, dict]:
    """Bring the seven files of a GPT-2 size into `folder`; return what is known of each one.

    What is in `folder` and passes its checks stays; what one of the folders `given` has is linked
    or copied; the rest is fetched, from the first of the `urls` that delivers it. With nothing to
    fetch the network is not touched, and without `urls` the folders given have to hold all (but
    `checkpoint` and model.ckpt.meta, which no weight is read from). One run at a time works in a
    folder; a second one waits, and finds the files.

    Each file's `bytes`, `sha256`, `verified` and `source` are returned. `verified` is the strongest
    check: `sha256` (the published hash), `md5 of the host` or `sha1 of the host` (its headers),
    `size` (the known or derived size), `length` (as many bytes as announced) or `unchecked` (found
    in a folder, and nothing is known of it); a manifest in the folder whose hash agrees lends its
    word. `source` is the url (without its secrets) or folder it came from, or None where only the
    file is known.

    Raises:
        ConfigError: the size has no checkpoint to download (`tiny` is made, not downloaded).
        DownloadError: the disk is too small, or no url delivered a file that passed its checks; the
            next run goes on from what has arrived.
        MissingArtifactError: without `urls`, the folders given lack a file.
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
        return _complete(model_size, folder, urls, given, progress)


@contextmanager
def _room_for(path: Path, model_size: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise DownloadError(
            f"the disk of {path.parent} is full before GPT-2 {model_size} is complete: make room "
            f"for {path.name} and run again; it goes on from what has arrived."
        ) from error


def _complete(
    model_size: str, folder: Path, urls: Sequence[str], given: Sequence[Path], progress: bool
) -> dict[str, dict]:
    clear_leftovers(folder)
    results = {}
    for name in CHECKPOINT_FILES:
        with _room_for(folder / name, model_size):
            results[name] = _kept(model_size, folder / name) or _brought(
                model_size, folder / name, given
            )
    wanted = [name for name in CHECKPOINT_FILES if results[name] is None]
    if given and not urls:
        if lacking := [name for name in wanted if name not in UNREAD]:
            raise MissingArtifactError(
                f"{given[0]} lacks {', '.join(lacking)} as GPT-2 {model_size} has them; "
                "name a folder with all files, or leave checkpoint_folder empty to download them."
            )
        return {name: result for name, result in results.items() if result}
    needed = sum((KNOWN_SIZES | DERIVED_SIZES)[model_size].get(name, 0) for name in wanted)
    free = shutil.disk_usage(folder).free
    if needed - sum(transfer.part_bytes(folder / name) for name in wanted) > free:
        raise DownloadError(
            f"GPT-2 {model_size} needs {needed:,} bytes in {folder}, where {free:,} are free: "
            "delete something or choose a smaller size."
        )
    order = list(urls)
    with tqdm(total=needed, unit="B", unit_scale=True, disable=not (progress and wanted)) as bar:
        for name in wanted:
            bar.set_description(f"{model_size} {name}")
            with _room_for(folder / name, model_size):
                result, host = _fetch_from_any(order, model_size, folder / name, bar)
            results[name] = result
            (folder / f"{name}{DAMAGED}").unlink(missing_ok=True)
            # The host that served a file is asked first for the next one.
            order.remove(host)
            order.insert(0, host)
    return results


def find_folders(model_size: str, roots: Sequence[Path]) -> list[Path]:
    """Return the folders below `roots` that hold a checkpoint of the size.

    The bytes of the data file tell the size. An attached Kaggle dataset lies several folders deep,
    under a name that its author chose.
    """
    size = (KNOWN_SIZES | DERIVED_SIZES)[model_size][DATA_FILE]
    found = (path for root in roots for path in sorted(root.rglob(DATA_FILE)))
    return [path.parent for path in found if path.stat().st_size == size]


def given_folder(model_size: str, folder: str) -> Path | None:
    """Return the folder of the parameter `checkpoint_folder` as a path, or None where it is empty.

    Raises:
        ConfigError: a folder is named for `tiny`, which is made.
        MissingArtifactError: it is not there.
    """
    if not folder:
        return None
    path = Path(folder).resolve()
    if model_size == "tiny":
        raise ConfigError(
            f"tiny is made here and takes nothing from {path}; choose the model_size of the "
            "checkpoint there, or leave checkpoint_folder empty."
        )
    if not path.is_dir():
        raise MissingArtifactError(
            f"{path} is no folder; correct checkpoint_folder, or leave it empty to download."
        )
    return path


def take_checkpoint(given: Path, folder: Path) -> dict[str, dict]:
    """Link or copy a TensorFlow checkpoint of any shape from `given` into `folder`.

    The files of the weights may have another name there than model.ckpt: TensorFlow's Saver numbers
    them (model-1000.index), and `checkpoint` names the newest. Returns what download_checkpoint
    returns. Nothing is known of the files, so `verified` is
    `unchecked`; the conversion compares their tensors with their index.

    Raises:
        MissingArtifactError: files are missing (`checkpoint` and model.ckpt.meta may be: no weight
            is read from them), or there are several checkpoints and none is named.
    """
    prefix = _prefix(given)
    sources = {name: given / name.replace(_PREFIX, prefix) for name in CHECKPOINT_FILES}
    if prefix != _PREFIX:
        del sources["checkpoint"]  # which names the files as they are called there
    there = [name for name, source in sources.items() if source.is_file()]
    lacking = [source.name for name, source in sources.items() if name not in (*there, *UNREAD)]
    if lacking:
        deeper = [path.parent for form in _FORMS for path in sorted(given.glob(form))]
        raise MissingArtifactError(
            f"{given} lacks {', '.join(lacking)}; expected a GPT-2 as OpenAI or transformers saves "
            f"it{f', as in {deeper[0]}' if deeper else ''}."
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name in there:
        _link_or_copy(sources[name], folder / name)
    return {
        name: _result(
            (folder / name).stat().st_size, sha256_file(folder / name), "unchecked", str(given)
        )
        for name in there
    }


_PREFIX = INDEX_FILE.removesuffix(".index")
# Where runs of gpt-2-simple, a Trainer and the hub's cache have their models, seen from above.
_FORMS = tuple(f"{depth}{name}" for depth in ("*/", "*/*/") for name in ("*.index", "config.json"))


def _prefix(given: Path) -> str:
    """What the files of the weights are called before `.index`."""
    prefixes = sorted(path.name.removesuffix(".index") for path in given.glob("*.index"))
    if (given / "checkpoint").is_file():
        text = (given / "checkpoint").read_text(encoding="utf-8", errors="replace")
        if named := re.search(r'^model_checkpoint_path: "(?:.*[/\\])?([^"/\\]+)"', text):
            return named[1]
    if _PREFIX in prefixes or not prefixes:
        return _PREFIX
    if len(prefixes) > 1:
        raise MissingArtifactError(
            f"{given} holds the checkpoints {', '.join(prefixes)}, and no file `checkpoint` that "
            "names the one to take; leave one of them."
        )
    return prefixes[0]


def _result(n_bytes: int, sha256: str, verified: str, source: str | None) -> dict:
    return {"bytes": n_bytes, "sha256": sha256, "verified": verified, "source": source}


def _link_or_copy(source: Path, target: Path) -> None:
    if target.exists() and target.samefile(source):
        return
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another disk, or one that knows no links
        write_with(target, lambda temporary: shutil.copyfile(source, temporary))


def _only_run(folder: Path, progress: bool) -> AbstractContextManager:
    """The folder's lock, once no other run holds it; a killed run's is given back by the system."""
    lock = FileLock(folder / ".lock")
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        waiting = f"another run works in {folder}; waiting"
        with tqdm(bar_format="{desc} {elapsed}", desc=waiting, disable=not progress):
            return lock.acquire()
    except (OSError, NotImplementedError) as error:
        if getattr(error, "errno", None) in (*NO_ROOM, *NOT_WRITABLE):
            raise
        # A file system without locks: two runs would waste their work, but the hashes decide.
        return nullcontext()


def _expected(model_size: str, name: str) -> tuple[int | None, int | None, str | None]:
    """The known bytes, the derived bytes and the known sha256 of a file; None where unknown."""
    known, derived = (table.get(model_size, {}).get(name) for table in (KNOWN_SIZES, DERIVED_SIZES))
    return known, derived, KNOWN_SHA256.get((model_size, name))


def _kept(model_size: str, path: Path) -> dict | None:
    """The result for a file that is there and passes its checks; None for one to fetch."""
    known, derived, published = _expected(model_size, path.name)
    found = path.stat().st_size if path.is_file() else 0
    if not found or known not in (None, found):
        return None
    sha256 = sha256_file(path)
    told_sha256, verified, source = _manifest_entry(path) or (None, "", None)
    if published not in (None, sha256) or told_sha256 not in (None, sha256):
        return None
    # A derived size may be wrong; then the manifest of the run that fetched the file has the word.
    if told_sha256 is None and derived not in (None, found):
        return None
    if published:
        verified = "sha256"
    return _result(found, sha256, verified or ("size" if known or derived else "unchecked"), source)


def _manifest_entry(path: Path) -> tuple[str, str, str | None] | None:
    """What the manifest beside a file says of it: its sha256, how it was verified, its source."""
    try:
        manifest = read_json(path.parent / MANIFEST)
        sha256, verified = manifest["files"][path.name]["sha256"], manifest["verified"][path.name]
        return sha256, verified, manifest.get("sources", {}).get(path.name)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _brought(model_size: str, target: Path, given: Sequence[Path]) -> dict | None:
    """Link or copy a file from the first given folder that has a good one.

    None if there is no such folder. What has proved damaged before is not a good one.
    """
    damaged = target.with_name(f"{target.name}{DAMAGED}")
    refused = sha256_file(damaged) if damaged.is_file() else ""
    for folder in given:
        result = _kept(model_size, folder / target.name)
        if result and result["sha256"] != refused:
            _link_or_copy(folder / target.name, target)
            damaged.unlink(missing_ok=True)
            return result | {"source": str(folder)}
    return None


def _fetch_from_any(
    urls: Sequence[str], model_size: str, target: Path, bar: tqdm
) -> tuple[dict, str]:
    """Fetch one file from the first url that delivers it; return its result and that url."""
    known, derived, published = _expected(model_size, target.name)
    # A derived size may be wrong, but not by so much.
    at_most = known or (2 * derived + (1 << 20) if derived else LARGEST_BYTES)
    reasons = []

    def advance(n_bytes: int) -> None:
        if known is derived is None:
            bar.total += n_bytes
        bar.update(n_bytes)

    for base in urls:
        shown = "/".join((without_secrets(base).rstrip("/"), model_size, target.name))
        try:
            url = below(base, model_size, target.name)
            fetched = transfer.fetch(url, target, known, published, advance, at_most)
        except DownloadError as error:
            reasons.append(f"{shown} ({error})")
        except requests.RequestException as error:
            reasons.append(f"{shown} ({transfer.innermost(error)})")
        except ValueError:
            reasons.append(f"{shown} (it cannot be read as an address)")
        else:
            break
    else:
        raise DownloadError(
            f"cannot download {target.name} of GPT-2 {model_size}: "
            f"{', '.join(reasons) or 'no url given'}; check the internet access "
            "(on Kaggle: Settings, Internet on), or put the seven files into "
            f"{target.parent} by hand."
        )
    verified = fetched.checked_by
    if verified in ("md5", "sha1"):
        verified += " of the host"
    elif verified == "length" and fetched.bytes == derived:
        verified = "size"
    if derived not in (None, fetched.bytes):
        warnings.warn(
            f"{target.name} of GPT-2 {model_size} has {fetched.bytes:,} bytes, "
            f"{derived:,} were derived.",
            stacklevel=3,
        )
    return _result(fetched.bytes, fetched.sha256, verified, without_secrets(base)), base
