"""Where am I: the host, its devices and number format with the reason, folders, seeds, versions.

torch is imported by the functions that ask it something: the command line, the knowledge base and
the tools need this module, too, and answer at once without it.
"""

import ctypes
import io
import os
import platform
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

try:
    import resource
except ImportError:  # Windows
    resource = None

if TYPE_CHECKING:
    import torch

REPOSITORY_ROOT = Path(__file__).resolve().parent.parent
STARTED_IN = Path.cwd()
"""The working folder when the package was imported."""
KAGGLE_INPUT = Path("/kaggle/input")
COLAB_DRIVE = Path("/content/drive")
PACKAGES = ("torch", "tiktoken", "tensorflow", "numpy", "matplotlib", "ipywidgets")
"""What manifests and sidecars hold the versions of."""


def name() -> str:
    """Return the host's name: `kaggle`, `colab` or `local`."""
    # The folders tell nothing: Kaggle's image is built from Colab's, and Colab can mount
    # /kaggle/input. Nor does any variable KAGGLE_*: whoever pushes notebooks from a laptop has
    # KAGGLE_USERNAME and KAGGLE_KEY there. Only a session on Kaggle has a run type.
    if os.environ.get("KAGGLE_KERNEL_RUN_TYPE"):
        return "kaggle"
    if os.environ.get("COLAB_RELEASE_TAG"):
        return "colab"
    return "local"


def replace_what_cannot_be_shown() -> None:
    """Let stdout and stderr show `?` for what their encoding lacks; otherwise a print ends the run.

    Not every output is UTF-8: a file or pipe on Windows is not, nor a terminal of an old locale.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def is_headless() -> bool:
    """Say whether nobody watches this kernel: our runner, Kaggle's batch, CI or pytest."""
    return bool(
        os.environ.get("GOLF_HEADLESS", "0") not in ("", "0")
        or os.environ.get("KAGGLE_KERNEL_RUN_TYPE") == "Batch"
        or os.environ.get("CI")
        or os.environ.get("PYTEST_CURRENT_TEST")
    )


def output_root(given: str = "") -> Path:
    """Return the folder that holds experimental/: `given`, GOLF_OUTPUT_ROOT, or the host's own.

    A folder on Google Drive makes Colab mount it, which asks whoever sits there for consent.

    Raises:
        OSError: Drive is not mounted and nobody is there to consent.
    """
    folder = given or os.environ.get("GOLF_OUTPUT_ROOT")
    if folder:
        path = Path(os.path.expanduser(folder)).resolve()
        if name() == "colab" and path.is_relative_to(COLAB_DRIVE):
            _mount_drive()
        return path
    # A notebook without a clone fetches one into a temporary folder, which the system may empty.
    is_temporary = REPOSITORY_ROOT.is_relative_to(Path(tempfile.gettempdir()).resolve())
    is_fetched = is_temporary and not STARTED_IN.is_relative_to(REPOSITORY_ROOT)
    local = STARTED_IN if is_fetched else REPOSITORY_ROOT
    return {"kaggle": Path("/kaggle/working"), "colab": Path("/content"), "local": local}[name()]


def _mount_drive() -> None:
    if (COLAB_DRIVE / "MyDrive").is_dir():
        return
    if is_headless():
        # drive.mount would wait for an answer for ever.
        raise OSError(
            f"{COLAB_DRIVE} is not mounted, and in a headless run nobody can consent; "
            "use Runtime > Run all in an open session."
        )
    from google.colab import drive

    drive.mount(str(COLAB_DRIVE))


def input_roots() -> list[Path]:
    """Return the folders in which outputs of earlier notebooks may be attached, read-only."""
    return [KAGGLE_INPUT] if name() == "kaggle" and KAGGLE_INPUT.is_dir() else []


def knowledge_folder() -> Path:
    """Return knowledge/golf_instruction next to the package, or attached on Kaggle.

    Raises:
        FileNotFoundError: neither exists.
    """
    beside = REPOSITORY_ROOT / "knowledge" / "golf_instruction"
    if beside.is_dir():
        return beside
    for root in input_roots():
        for found in sorted(root.rglob("knowledge/golf_instruction/sources.yaml")):
            return found.parent
    raise FileNotFoundError(
        f"no knowledge/golf_instruction in {REPOSITORY_ROOT} or among the attached inputs; "
        "clone the repository or attach its dataset."
    )


@dataclass(frozen=True)
class Devices:
    """The devices that training uses, the number format of its matrix products, and the reason."""

    device: "torch.device"
    device_ids: tuple[int, ...]
    names: tuple[str, ...]
    dtype: "torch.dtype"
    reason: str

    @property
    def n_gpus(self) -> int:
        """Number of GPUs; 0 on a CPU."""
        return len(self.device_ids)

    @property
    def needs_loss_scaling(self) -> bool:
        """Whether gradients are computed from a scaled loss."""
        # FP16 has nothing below 6e-8: small gradients would become 0. Multiplied with the loss,
        # they are in range, and are divided again before the step. bfloat16 has float32's range.
        import torch

        return self.dtype is torch.float16


def detect_devices(mixed_precision: bool = True) -> Devices:
    """Find the GPUs and choose the number format of the matrix products.

    FP16 on every GPU; on a CPU bfloat16 if it has the instructions for it, else float32.
    """
    import torch

    ids = tuple(range(torch.cuda.device_count())) if torch.cuda.is_available() else ()
    names = tuple(torch.cuda.get_device_name(i) for i in ids)
    # FP16 is what a T4 computes fast. torch.cuda.is_bf16_supported() is not asked: it says yes on
    # a T4, where bfloat16 is emulated and four times slower; only a compute capability of (8, 0)
    # or more has it in hardware. One format for all GPUs gives one result to compare.
    if not mixed_precision:
        dtype, reason = torch.float32, "mixed_precision is off"
    elif ids:
        dtype, reason = torch.float16, "a GPU: FP16 with loss scaling"
    elif cpu_has_bf16():
        dtype, reason = torch.bfloat16, "a CPU with bfloat16 instructions"
    else:
        dtype = torch.float32
        reason = "a CPU without bfloat16 instructions: about three times slower"
    if ids:
        return Devices(torch.device("cuda", 0), ids, names, dtype, reason)
    return Devices(
        torch.device("cpu"), (), (platform.processor() or platform.machine(),), dtype, reason
    )


def cpu_has_bf16() -> bool:
    """Say whether this CPU multiplies bfloat16 in hardware.

    That is AVX512_BF16 or AMX on x86, BF16 on Arm.
    """
    import torch

    instructions = ("avx512_bf16", "amx_bf16", "bf16")
    # Older releases of torch do not know; Linux does.
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    if capabilities:
        return any(capabilities.get(one) for one in instructions)
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        return False
    return any(one in flags for one in instructions)


def python_child(module: str, *arguments: str, **environment: str) -> dict:
    """Return `args` and `env` for subprocess: `python -m module arguments` with this package.

    The package need not be installed: the child finds it where this process did. Python's safe path
    (PYTHONSAFEPATH) keeps a file of the working folder from standing in for a library's module, in
    the child and in those that it starts. `environment` goes before what this process has.
    """
    places = [str(REPOSITORY_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    found = {"PYTHONPATH": os.pathsep.join(places), "PYTHONSAFEPATH": "1"}
    return {
        "args": [sys.executable, "-m", module, *arguments],
        "env": os.environ | found | environment,
    }


def seed_everything(seed: int) -> None:
    """Seed Python and torch; nothing here draws from numpy."""
    import torch

    random.seed(seed)
    torch.manual_seed(seed)


def keep_freed_memory() -> bool:
    """Let the C library keep freed memory, for training on a CPU; return whether it does.

    glibc returns every large tensor to the system when it is freed, and the next one is paged in
    anew, page by page (measured: benchmarks/results). Afterwards the process holds the most that
    it ever needed. Only glibc has this; parameters: mallopt(3).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # macOS, musl, Windows
        return False
    M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, -1))


def memory_peak(device_ids: tuple[int, ...]) -> int:
    """Return the most bytes that this process has had on its fullest GPU.

    Without a GPU it is main memory; on Windows, which does not tell, 0.
    """
    if device_ids:
        import torch

        return max(torch.cuda.max_memory_allocated(index) for index in device_ids)
    return _resident_peaks()["process_bytes"]


def _resident_peaks() -> dict[str, int]:
    """The most bytes of main memory so far: of this process, of its largest child; 0 on Windows."""
    peaks = dict.fromkeys(("process_bytes", "child_bytes"), 0)
    if resource:
        # getrusage counts kibibytes on Linux, bytes on macOS.
        unit = 1 if sys.platform == "darwin" else 1024
        for key, who in zip(peaks, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN), strict=True):
            peaks[key] = resource.getrusage(who).ru_maxrss * unit
    return peaks


def versions(packages: tuple[str, ...] = PACKAGES) -> dict[str, str]:
    """Return the installed versions, Python's own among them; `-` for what is not installed."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "-"
    return found


def require_disk(folder: Path, n_bytes: int, purpose: str) -> None:
    """Check the free space before work starts, not when it is lost.

    Raises:
        OSError: less than `n_bytes` are free where `folder` is or will be.
    """
    free = _free_bytes(folder)
    if free < n_bytes:
        raise OSError(
            f"{purpose} needs {n_bytes / 1e6:,.0f} MB in {folder}, {free / 1e6:,.0f} MB are free; "
            "make room or set output_root to another disk."
        )


def _free_bytes(folder: Path) -> int:
    # A folder that does not exist yet will be on the disk of its nearest parent.
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return shutil.disk_usage(existing).free


@contextmanager
def timed(steps: dict[str, dict[str, float]], step: str) -> Iterator[None]:
    """Record in `steps[step]` how long a `with` block took, and the peaks of memory so far.

    `seconds`; `process_bytes` and `child_bytes`, of this process and of its largest child, which
    are 0 on Windows.
    """
    started = time.perf_counter()
    yield
    steps[step] = {"seconds": time.perf_counter() - started, **_resident_peaks()}


_WHERE_GPUS_ARE = {
    "kaggle": "Settings > Accelerator > GPU T4 x2",
    "colab": "Runtime > Change runtime type > T4 GPU",
}


def environment_report(devices: Devices, root: Path) -> str:
    """Return the two lines that each notebook prints about its surroundings.

    Where a host has GPUs to give and this session has none, the first says what to click; where the
    results would lie in a temporary folder, the second says it.
    """
    where = f"{os.cpu_count()} CPU cores"
    if devices.device_ids:
        where = f"{devices.n_gpus} x {devices.names[0]}"
    dtype = str(devices.dtype).removeprefix("torch.")
    machine = f"{name()} ({platform.system()}, headless: {is_headless()})"
    first = f"{machine}: {where}, {dtype} ({devices.reason})"
    if name() in _WHERE_GPUS_ARE and not devices.n_gpus:
        click = _WHERE_GPUS_ARE[name()]
        first += (
            "; no GPU, so model_size auto is tiny: for GPT-2 take "
            f"{click} in all four notebooks, or set model_size"
        )
    second = f"output root {root}, {_free_bytes(root) / 1e9:.0f} GB free"
    if root.is_relative_to(Path(tempfile.gettempdir()).resolve()):
        second += ", in a folder that the system may empty: to keep the results, set output_root"
    installed = ", ".join(f"{package} {found}" for package, found in versions(("torch",)).items())
    return f"{first}\n{second}; {installed}"
