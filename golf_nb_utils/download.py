"""The seven files of a GPT-2 size, from OpenAI's host or a backup, each verified before it takes its name.

A file is streamed to `name.part`, checked (status, content type, bytes, sha256 where one is known) and only then renamed.
Published hashes exist for 124M and for the two tokenizer files of every size; elsewhere the bytes are counted here, and
TensorFlow compares every tensor with its CRC in model.ckpt.index when the checkpoint is read.
"""

import hashlib
import os
import shutil
import warnings
from pathlib import Path

import requests
from requests.adapters import HTTPAdapter
from tqdm.auto import tqdm
from urllib3.util.retry import Retry

from golf_nb_utils.config import CheckpointConfig, ConfigError, nearest

OFFICIAL_URL = "https://openaipublic.blob.core.windows.net/gpt-2/models"
BACKUP_URL = CheckpointConfig.backup_url
FILES = (
    "checkpoint", "encoder.json", "hparams.json", "model.ckpt.data-00000-of-00001",
    "model.ckpt.index", "model.ckpt.meta", "vocab.bpe",
)  # fmt: skip

# Bytes in the order of FILES; two or more independent sources agree on each, so another size is refused.
KNOWN_SIZES = {
    "124M": dict(zip(FILES, (77, 1042301, 90, 497759232, 5215, 471155, 456318), strict=True)),
    "355M": dict(zip(FILES, (77, 1042301, 91, 1419292672, 10399, 926519, 456318), strict=True)),
}
# Computed from the architecture, not confirmed: a download of another size is kept, with a warning. Nobody has published
# the size of model.ckpt.meta, which TensorFlow does not need in order to read the weights.
DERIVED_SIZES = {
    "774M": {
        "checkpoint": 77, "encoder.json": 1042301, "hparams.json": 91, "model.ckpt.data-00000-of-00001": 3096120320,
        "model.ckpt.index": 15535, "vocab.bpe": 456318,
    },
    "1558M": {
        "checkpoint": 77, "encoder.json": 1042301, "hparams.json": 91, "model.ckpt.data-00000-of-00001": 6230444800,
        "model.ckpt.index": 20724, "vocab.bpe": 456318,
    },
}  # fmt: skip
# Hashes that rest on one source alone (those of 124M's index and meta) are left out.
KNOWN_SHA256 = {
    ("124M", "checkpoint"): "dd1b025d2e155283f5e300ce95bf6d5b6bc0f7fe010db73daa6975eb896ab9cb",
    ("124M", "hparams.json"): "d9d56e4121c427164e0c55c6f03c08e1daf9002b9b672825112d19097b680318",
    ("124M", "model.ckpt.data-00000-of-00001"): "2060c885360cc0cf41d7a6dbc4d24b5127aae20260c8b5ae521b5a6578407118",
}
TOKENIZER_SHA256 = {
    "encoder.json": "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
    "vocab.bpe": "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
}
KNOWN_SHA256 |= {(size, name): value for size in (*KNOWN_SIZES, *DERIVED_SIZES) for name, value in TOKENIZER_SHA256.items()}

TIMEOUT = (10, 60)
"""Seconds to connect, and between two bytes."""
RETRIES = 3
BACKOFF_SECONDS = 1.0
"""The waits between retries are 0, 2 and 4 times this."""
CHUNK_BYTES = 1 << 20


class DownloadError(RuntimeError):
    """A file of the checkpoint could not be fetched, or did not pass its checks."""


def download_checkpoint(
    model_size: str, folder: str | Path, urls: tuple[str, ...] = (OFFICIAL_URL, BACKUP_URL), progress: bool = True
) -> dict[str, dict]:
    """Fetch what `folder` lacks of a GPT-2 size, and return for each of the seven files its bytes, sha256, verified and url.

    `verified` says how far the check went: `sha256` (the published hash), `size` (the known or derived size), `length` (as many
    bytes as the server announced) or `unchecked` (found in the folder, and no size of it is known). `url` is None for a file that
    was there already; such a file is checked too, without network. The host that served a file is asked first for the next one.

    Raises:
        ConfigError: the size has no checkpoint to download (`tiny` is made, not downloaded).
        DownloadError: the disk is too small, or no url delivered a file that passed its checks.
        OSError: the folder cannot be written.
    """
    sizes = KNOWN_SIZES | DERIVED_SIZES
    if model_size not in sizes:
        close = nearest(str(model_size), sizes)
        raise ConfigError(f"no download for model_size {model_size!r}{close}; expected one of {', '.join(sizes)}.")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    results = {name: _kept(model_size, folder / name) for name in FILES}
    wanted = [name for name in FILES if results[name] is None]
    needed = sum(sizes[model_size].get(name, 0) for name in wanted)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DownloadError(
            f"GPT-2 {model_size} needs {needed:,} bytes in {folder}, where {free:,} are free: delete something or choose a smaller size."
        )
    order = list(urls)
    with _session() as session, tqdm(total=needed, unit="B", unit_scale=True, disable=not (progress and wanted)) as bar:
        for name in wanted:
            bar.set_description(f"{model_size} {name}")
            results[name], served = _fetch_from_any(session, order, model_size, folder / name, bar)
            order.sort(key=lambda url: url != served)
    return results


def _session() -> requests.Session:
    # Retry-After is not followed: it may ask for an hour, and there is a second host.
    retry = Retry(
        total=RETRIES, read=1, backoff_factor=BACKOFF_SECONDS, status_forcelist=(429, 500, 502, 503, 504),
        raise_on_status=False, respect_retry_after_header=False,
    )  # fmt: skip
    session = requests.Session()
    session.mount("https://", HTTPAdapter(max_retries=retry))
    session.mount("http://", HTTPAdapter(max_retries=retry))
    session.headers["Accept-Encoding"] = "identity"
    return session


def _expected(model_size: str, name: str) -> tuple[int | None, int | None, str | None]:
    """The known bytes, the derived bytes and the known sha256 of a file; None for what nobody knows."""
    known, derived = (table.get(model_size, {}).get(name) for table in (KNOWN_SIZES, DERIVED_SIZES))
    return known, derived, KNOWN_SHA256.get((model_size, name))


def _kept(model_size: str, path: Path) -> dict | None:
    """The result for a file that is there and passes its checks; None for one to fetch."""
    known, derived, expected_sha256 = _expected(model_size, path.name)
    found = path.stat().st_size if path.is_file() else 0
    if not found or (known or derived or found) != found:
        return None
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if expected_sha256 not in (None, sha256):
        return None
    return _result(model_size, path.name, found, sha256, "unchecked", None)


def _result(model_size: str, name: str, n_bytes: int, sha256: str, otherwise: str, url: str | None) -> dict:
    """The result for a file that passed; `otherwise` names the check where neither hash nor size is known."""
    known, derived, expected_sha256 = _expected(model_size, name)
    verified = "sha256" if expected_sha256 else "size" if n_bytes in (known, derived) else otherwise
    return {"bytes": n_bytes, "sha256": sha256, "verified": verified, "url": url}


def _fetch_from_any(session: requests.Session, urls: list[str], model_size: str, target: Path, bar: tqdm) -> tuple[dict, str]:
    """Fetch one file from the first url that delivers it; return its result and that url."""
    reasons = []
    for base in urls:
        url = "/".join((base.rstrip("/"), model_size, target.name))
        done, total = bar.n, bar.total
        try:
            return _fetch(session, url, model_size, target, bar), base
        except (DownloadError, requests.RequestException) as error:
            reasons.append(f"{url} ({_reason(error)})")
            bar.update(done - bar.n)
            bar.total = total
    raise DownloadError(
        f"cannot download {target.name} of GPT-2 {model_size}: {', '.join(reasons) or 'no url given'}; check the internet access "
        f"(on Kaggle: Settings, Internet on), or put the seven files into {target.parent} by hand."
    )


def _fetch(session: requests.Session, url: str, model_size: str, target: Path, bar: tqdm) -> dict:
    """Stream one url to `target` by way of a .part file, which is gone afterwards whatever happens."""
    known, derived, expected_sha256 = _expected(model_size, target.name)
    part = target.with_name(f"{target.name}.part")
    digest = hashlib.sha256()
    try:
        with session.get(url, stream=True, timeout=TIMEOUT) as response:
            if response.status_code != 200:
                raise DownloadError(f"HTTP {response.status_code} {response.reason}")
            content_type = response.headers.get("Content-Type", "")
            if "html" in content_type.lower() or "xml" in content_type.lower():
                raise DownloadError(f"a page of type {content_type} instead of the file")
            length = response.headers.get("Content-Length", "")
            # The length of an encoded body is not that of the file.
            length = int(length) if length.isdigit() and "Content-Encoding" not in response.headers else None
            if known is not None and length not in (None, known):
                raise DownloadError(f"{length:,} bytes announced, {known:,} expected")
            if known is length is expected_sha256 is None:
                raise DownloadError("no Content-Length, so nothing tells whether the file is complete")
            if known is derived is None:
                bar.total += length or 0
            with part.open("wb") as file:
                for chunk in response.iter_content(CHUNK_BYTES):
                    file.write(chunk)
                    digest.update(chunk)
                    bar.update(len(chunk))
                received = file.tell()
                file.flush()
                os.fsync(file.fileno())
        expected = known if known is not None else length
        if expected is not None and received != expected:
            raise DownloadError(f"{received:,} bytes received, {expected:,} expected")
        if expected_sha256 not in (None, digest.hexdigest()):
            raise DownloadError(f"sha256 {digest.hexdigest()[:12]}..., {expected_sha256[:12]}... expected")
        if derived not in (None, received):
            warnings.warn(f"{target.name} of GPT-2 {model_size} has {received:,} bytes, {derived:,} were derived.", stacklevel=4)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    return _result(model_size, target.name, received, digest.hexdigest(), "length", url)


def _reason(error: BaseException) -> str:
    """The innermost cause: `[Errno 111] Connection refused` rather than the three layers that requests and urllib3 put around it."""
    while True:
        inner = error.__cause__ or next((arg for arg in getattr(error, "args", ()) if isinstance(arg, BaseException)), None)
        if inner is None:
            return str(error) or type(error).__name__
        error = inner
