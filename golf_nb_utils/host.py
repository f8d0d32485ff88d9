"""Where am I: the host, its devices and number format with the reason, its folders, seeds and versions."""

import ctypes
import os
import platform
import random
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

try:
    import resource
except ImportError:  # Windows
    resource = None

REPOSITORY_ROOT = Path(__file__).resolve().parent.parent
KAGGLE_INPUT = Path("/kaggle/input")
COLAB_DRIVE = Path("/content/drive")


def host() -> str:
    """Return `kaggle`, `colab` or `local`.

    Kaggle's image is built from Colab's, and Colab can mount /kaggle/input, so only the variables tell them apart.
    """
    if os.environ.get("KAGGLE_KERNEL_RUN_TYPE"):
        return "kaggle"
    if os.environ.get("COLAB_RELEASE_TAG"):
        return "colab"
    return "local"


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
        path = Path(folder).expanduser().resolve()
        if host() == "colab" and path.is_relative_to(COLAB_DRIVE):
            _mount_drive()
        return path
    return {"kaggle": Path("/kaggle/working"), "colab": Path("/content"), "local": REPOSITORY_ROOT}[
        host()
    ]


def _mount_drive() -> None:
    if (COLAB_DRIVE / "MyDrive").is_dir():
        return
    if is_headless():
        # drive.mount would wait for an answer for ever.
        raise OSError(
            f"{COLAB_DRIVE} is not mounted, and in a headless run nobody can consent; use Runtime > Run all in an open session."
        )
    from google.colab import drive

    drive.mount(str(COLAB_DRIVE))


def input_roots() -> list[Path]:
    """Return the folders in which outputs of earlier notebooks may be attached, read-only."""
    return [KAGGLE_INPUT] if host() == "kaggle" and KAGGLE_INPUT.is_dir() else []


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
        f"no knowledge/golf_instruction in {REPOSITORY_ROOT} or among the attached inputs; clone the repository or attach its dataset."
    )


@dataclass(frozen=True)
class Devices:
    """The devices that training uses, the number format of its matrix products, and why that one."""

    device: torch.device
    device_ids: tuple[int, ...]
    names: tuple[str, ...]
    dtype: torch.dtype
    reason: str

    @property
    def n_gpus(self) -> int:
        return len(self.device_ids)

    @property
    def needs_loss_scaling(self) -> bool:
        return self.dtype is torch.float16


def detect_devices(mixed_precision: bool = True) -> Devices:
    """Find the GPUs and choose the number format of the matrix products.

    FP16 on every GPU: it is what a T4 (sm_75) computes fast, where bfloat16 is emulated and four times slower.
    bfloat16 on a CPU that has the instructions for it; float32 otherwise.
    """
    ids = tuple(range(torch.cuda.device_count())) if torch.cuda.is_available() else ()
    device = torch.device("cuda", 0) if ids else torch.device("cpu")
    names = tuple(torch.cuda.get_device_name(i) for i in ids) or (
        platform.processor() or platform.machine(),
    )
    if not mixed_precision:
        return Devices(device, ids, names, torch.float32, "mixed_precision is off")
    if ids:
        return Devices(device, ids, names, torch.float16, "a GPU: FP16 with loss scaling")
    if cpu_has_bf16():
        return Devices(device, ids, names, torch.bfloat16, "a CPU with bfloat16 instructions")
    return Devices(
        device,
        ids,
        names,
        torch.float32,
        "a CPU without bfloat16 instructions: about three times slower",
    )


def cpu_has_bf16() -> bool:
    """Say whether this CPU multiplies bfloat16 in hardware (AVX512_BF16 or AMX on x86, BF16 on Arm)."""
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    if capabilities:
        return bool(
            capabilities.get("avx512_bf16")
            or capabilities.get("amx_bf16")
            or capabilities.get("bf16")
        )
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags or "bf16" in flags


def python_child(module: str, *arguments: str, **environment: str) -> dict:
    """Return `args` and `env` for subprocess: `python -m module arguments`, which imports this package.

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
    random.seed(seed)
    torch.manual_seed(seed)


def keep_freed_memory() -> bool:
    """Let the C library keep what is freed instead of returning every large tensor to the system, which pages it in anew.

    For training on a CPU (measured: benchmarks/results); the process then holds the most that it ever needed. Returns whether
    this took effect: only with glibc. Parameters: mallopt(3).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # macOS, musl, Windows
        return False
    M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, -1))


def memory_peak(device_ids: tuple[int, ...]) -> int:
    """Return the most bytes that this process has had: on the fullest of its GPUs, or without one in main memory (0 on Windows)."""
    if device_ids:
        return max(torch.cuda.max_memory_allocated(index) for index in device_ids)
    return _resident_peaks()["process_bytes"]


def _resident_peaks() -> dict[str, int]:
    """The most bytes of main memory so far: of this process and of its largest child; 0 on Windows, which does not tell."""
    peaks = dict.fromkeys(("process_bytes", "child_bytes"), 0)
    if resource:
        # Kibibytes on Linux, bytes on macOS.
        unit = 1 if sys.platform == "darwin" else 1024
        for key, who in zip(peaks, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN), strict=True):
            peaks[key] = resource.getrusage(who).ru_maxrss * unit
    return peaks


def versions(
    packages: tuple[str, ...] = (
        "torch",
        "tiktoken",
        "tensorflow",
        "numpy",
        "matplotlib",
        "ipywidgets",
    ),
) -> dict[str, str]:
    """Return the installed versions, Python's own among them; `-` for a package that is not installed."""
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
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if free < n_bytes:
        raise OSError(
            f"{purpose} needs {n_bytes / 1e6:,.0f} MB in {folder}, {free / 1e6:,.0f} MB are free; "
            "make room or set output_root to another disk."
        )


@contextmanager
def timed(steps: dict[str, dict[str, float]], name: str) -> Iterator[None]:
    """Record in `steps[name]` the seconds of a `with` block, and the peaks of memory so far, in bytes: of this process and of
    its largest child. Windows tells no peaks; there they are 0."""
    started = time.perf_counter()
    yield
    steps[name] = {"seconds": time.perf_counter() - started, **_resident_peaks()}


def environment_report(devices: Devices, root: Path) -> str:
    """Return the lines that each notebook prints about its surroundings."""
    existing = next(parent for parent in (root, *root.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    installed = ", ".join(f"{name} {number}" for name, number in versions().items())
    where = (
        f"{len(devices.names)} x {devices.names[0]}"
        if devices.device_ids
        else f"{os.cpu_count()} CPU cores"
    )
    return "\n".join(
        (
            f"host          {host()} ({platform.system()}, headless: {is_headless()})",
            f"devices       {where}",
            f"number format {str(devices.dtype).removeprefix('torch.')} ({devices.reason})",
            f"output root   {root}",
            f"free disk     {free / 1e9:.0f} GB",
            f"versions      {installed}",
        )
    )
