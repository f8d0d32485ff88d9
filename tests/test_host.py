"""Where the code runs: hosts are faked by their variables, GPUs and disks by what torch and shutil would answer."""

import platform
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections import namedtuple
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

from golf_nb_utils import host as host_module
from golf_nb_utils.host import (
    Devices,
    cpu_has_bf16,
    detect_devices,
    environment_report,
    input_roots,
    is_headless,
    knowledge_folder,
    output_root,
    require_disk,
    seed_everything,
    timed,
    versions,
)

VARIABLES = (
    "KAGGLE_KERNEL_RUN_TYPE",
    "COLAB_RELEASE_TAG",
    "GOLF_HEADLESS",
    "CI",
    "PYTEST_CURRENT_TEST",
    "GOLF_OUTPUT_ROOT",
)
MEGABYTE = 10**6


@pytest.fixture
def surroundings(monkeypatch):
    """A function that sets the given variables and clears all others that the module reads.

    It is called inside the test, because pytest sets PYTEST_CURRENT_TEST anew after the fixtures have run.
    """

    def be(**variables):
        for name in VARIABLES:
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return be


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture
def two_t4s(monkeypatch):
    """What torch answers on Kaggle, is_bf16_supported's misleading yes included."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "Tesla T4")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (7, 5))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_, **__: True)


def fake_cpu(monkeypatch, **instructions):
    capabilities = {
        "architecture": "x86_64",
        "avx2": True,
        "avx512_bf16": False,
        "amx_bf16": False,
    } | instructions
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "local"),
        ({"KAGGLE_KERNEL_RUN_TYPE": "Interactive"}, "kaggle"),
        ({"KAGGLE_KERNEL_RUN_TYPE": "Batch"}, "kaggle"),
        ({"COLAB_RELEASE_TAG": "release-colab_20260801"}, "colab"),
        (
            {"KAGGLE_KERNEL_RUN_TYPE": "Batch", "COLAB_RELEASE_TAG": "release-colab_20260801"},
            "kaggle",
        ),
    ],
)
def test_the_host_is_told_by_its_variables(surroundings, variables, expected):
    surroundings(**variables)
    assert host_module.name() == expected


def test_a_mounted_kaggle_input_folder_alone_does_not_make_kaggle(
    surroundings, monkeypatch, tmp_path
):
    monkeypatch.setattr(host_module, "KAGGLE_INPUT", tmp_path)
    surroundings()
    assert (host_module.name(), input_roots()) == ("local", [])
    surroundings(COLAB_RELEASE_TAG="x")
    assert (host_module.name(), input_roots()) == ("colab", [])
    surroundings(KAGGLE_KERNEL_RUN_TYPE="Interactive")
    assert input_roots() == [tmp_path]


def test_kaggle_without_any_attached_input_has_no_input_folder(surroundings, monkeypatch, tmp_path):
    monkeypatch.setattr(host_module, "KAGGLE_INPUT", tmp_path / "absent")
    surroundings(KAGGLE_KERNEL_RUN_TYPE="Batch")
    assert input_roots() == []


@pytest.mark.parametrize(
    "variables",
    [
        {"GOLF_HEADLESS": "1"},
        {"KAGGLE_KERNEL_RUN_TYPE": "Batch"},
        {"CI": "true"},
        {"PYTEST_CURRENT_TEST": "tests/test_notebooks.py::test_01 (call)"},
    ],
)
def test_each_sign_of_an_unwatched_kernel_makes_it_headless(surroundings, variables):
    surroundings(**variables)
    assert is_headless()


@pytest.mark.parametrize(
    "variables", [{}, {"KAGGLE_KERNEL_RUN_TYPE": "Interactive"}, {"COLAB_RELEASE_TAG": "x"}]
)
def test_somebody_at_a_notebook_is_not_headless(surroundings, variables):
    surroundings(**variables)
    assert not is_headless()


def test_a_given_output_root_beats_the_variable_and_the_variable_beats_the_host(
    surroundings, tmp_path
):
    surroundings(GOLF_OUTPUT_ROOT=str(tmp_path / "variable"), KAGGLE_KERNEL_RUN_TYPE="Batch")
    assert output_root(str(tmp_path / "given")) == tmp_path / "given"
    assert output_root() == tmp_path / "variable"
    surroundings(KAGGLE_KERNEL_RUN_TYPE="Batch")
    assert output_root() == Path("/kaggle/working")


def test_each_host_has_an_output_root_of_its_own(surroundings):
    surroundings(COLAB_RELEASE_TAG="x")
    assert output_root() == Path("/content")
    surroundings()
    assert output_root() == Path(__file__).resolve().parent.parent


def test_the_results_of_a_package_that_was_cloned_are_not_written_into_the_temporary_folder(
    surroundings, monkeypatch, tmp_path
):
    surroundings()
    clone, working = tmp_path / "golf-x1y2z3" / "golf-feedback-llm", tmp_path / "working"
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(host_module, "REPOSITORY_ROOT", clone)
    monkeypatch.setattr(host_module, "STARTED_IN", working)
    assert output_root() == working
    surroundings(GOLF_OUTPUT_ROOT=str(tmp_path / "mine"))
    assert output_root() == tmp_path / "mine"
    # Whoever works in that very clone has said so.
    surroundings()
    monkeypatch.setattr(host_module, "STARTED_IN", clone / "notebooks")
    assert output_root() == clone


@pytest.fixture
def drive(monkeypatch, tmp_path):
    """Google Drive's place, not mounted, and the calls of a google.colab.drive.mount that makes MyDrive there."""
    place, calls = tmp_path / "drive", []

    def mount(path):
        calls.append(path)
        (Path(path) / "MyDrive").mkdir(parents=True)

    colab = ModuleType("google.colab")
    colab.drive = SimpleNamespace(mount=mount)
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    monkeypatch.setattr(host_module, "COLAB_DRIVE", place)
    return SimpleNamespace(place=place, calls=calls)


def test_an_output_root_on_google_drive_mounts_it_once(surroundings, drive):
    surroundings(COLAB_RELEASE_TAG="release-colab_20260801")
    folder = drive.place / "MyDrive" / "golf"
    assert (output_root(str(folder)), output_root(str(folder))) == (folder, folder)
    assert drive.calls == [str(drive.place)]


def test_drive_is_not_asked_for_elsewhere_or_on_another_host(surroundings, drive, tmp_path):
    surroundings(COLAB_RELEASE_TAG="release-colab_20260801")
    output_root(str(tmp_path / "golf"))
    output_root()
    surroundings()
    output_root(str(drive.place / "MyDrive"))
    assert drive.calls == []


def test_a_headless_run_does_not_wait_for_somebody_to_consent_to_drive(surroundings, drive):
    surroundings(COLAB_RELEASE_TAG="release-colab_20260801", GOLF_HEADLESS="1")
    with pytest.raises(
        OSError,
        match="is not mounted, and in a headless run nobody can consent; use Runtime > Run all",
    ):
        output_root(str(drive.place / "MyDrive" / "golf"))
    assert drive.calls == []


def test_a_relative_or_home_output_root_becomes_absolute(surroundings, monkeypatch, tmp_path):
    surroundings(HOME=str(tmp_path), USERPROFILE=str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert output_root("~/golf") == tmp_path.resolve() / "golf"
    assert output_root("here") == tmp_path.resolve() / "here"


def test_the_knowledge_beside_the_package_is_taken_first_and_an_attached_one_next(
    surroundings, monkeypatch, tmp_path
):
    repository, attached = tmp_path / "repository", tmp_path / "input"
    monkeypatch.setattr(host_module, "REPOSITORY_ROOT", repository)
    monkeypatch.setattr(host_module, "KAGGLE_INPUT", attached)
    deep = attached / "datasets" / "somebody" / "golf" / "knowledge" / "golf_instruction"
    deep.mkdir(parents=True)
    (deep / "sources.yaml").touch()
    surroundings(KAGGLE_KERNEL_RUN_TYPE="Batch")
    assert knowledge_folder() == deep
    beside = repository / "knowledge" / "golf_instruction"
    beside.mkdir(parents=True)
    assert knowledge_folder() == beside


def test_knowledge_that_is_nowhere_is_an_error_that_says_where_it_was_sought(
    surroundings, monkeypatch, tmp_path
):
    monkeypatch.setattr(host_module, "REPOSITORY_ROOT", tmp_path)
    surroundings()
    with pytest.raises(FileNotFoundError, match="knowledge/golf_instruction") as caught:
        knowledge_folder()
    assert str(tmp_path) in str(caught.value)


def test_two_t4s_compute_in_fp16_with_loss_scaling(two_t4s):
    devices = detect_devices()
    assert (devices.device, devices.device_ids, devices.n_gpus) == (
        torch.device("cuda", 0),
        (0, 1),
        2,
    )
    assert devices.names == ("Tesla T4", "Tesla T4")
    assert devices.dtype is torch.float16
    assert devices.needs_loss_scaling
    assert "FP16" in devices.reason


def test_a_gpu_without_mixed_precision_computes_in_fp32_and_says_why(two_t4s):
    devices = detect_devices(mixed_precision=False)
    assert (devices.dtype, devices.n_gpus) == (torch.float32, 2)
    assert not devices.needs_loss_scaling
    assert "mixed_precision" in devices.reason


@pytest.mark.parametrize("instruction", ["avx512_bf16", "amx_bf16", "bf16"])
def test_a_cpu_with_bfloat16_instructions_uses_them(no_gpu, monkeypatch, instruction):
    fake_cpu(monkeypatch, **{instruction: True})
    devices = detect_devices()
    assert (devices.device, devices.device_ids, devices.n_gpus) == (torch.device("cpu"), (), 0)
    assert devices.dtype is torch.bfloat16
    assert not devices.needs_loss_scaling
    assert detect_devices(mixed_precision=False).dtype is torch.float32


def test_a_cpu_without_bfloat16_instructions_computes_in_fp32_and_says_why(no_gpu, monkeypatch):
    fake_cpu(monkeypatch)
    devices = detect_devices()
    assert devices.dtype is torch.float32
    assert not devices.needs_loss_scaling
    assert "bfloat16" in devices.reason


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fpu avx2 avx512_bf16", True),
        ("fpu amx_bf16 avx2", True),
        ("asimd bf16", True),
        ("fpu avx2 nobf16", False),
    ],
)
def test_an_older_torch_has_the_processors_flags_read_instead(
    monkeypatch, tmp_path, flags, expected
):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"flags\t\t: {flags}\n")
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(host_module, "Path", lambda name: {"/proc/cpuinfo": cpuinfo}[name])
    assert cpu_has_bf16() is expected


def test_an_older_torch_on_a_machine_without_cpuinfo_means_no_bfloat16(monkeypatch, tmp_path):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(host_module, "Path", lambda name: tmp_path / "absent")
    assert cpu_has_bf16() is False


def test_the_same_seed_gives_the_same_draws_from_python_and_torch_and_another_seed_others():
    def draws(seed):
        seed_everything(seed)
        return random.random(), float(torch.rand(1))

    first = draws(123)
    assert draws(123) == first
    assert all(a != b for a, b in zip(draws(124), first, strict=True))


def test_a_package_that_is_not_installed_has_a_dash_for_a_version():
    found = versions(("pytest", "no-such-package-anywhere"))
    assert found["pytest"] == pytest.__version__
    assert found["no-such-package-anywhere"] == "-"


@pytest.fixture
def disk(monkeypatch):
    """A function that sets the free bytes; its list says which folders were asked about."""
    Usage = namedtuple("Usage", "total used free")
    asked = []

    def free(n_bytes):
        monkeypatch.setattr(
            shutil,
            "disk_usage",
            lambda folder: asked.append(Path(folder)) or Usage(10**12, 0, n_bytes),
        )
        return asked

    return free


def test_too_small_a_disk_is_an_error_that_names_both_sizes_the_purpose_and_the_folder(
    disk, tmp_path
):
    disk(300 * MEGABYTE)
    with pytest.raises(OSError, match="GPT-2 124M") as caught:
        require_disk(tmp_path, 1500 * MEGABYTE, "GPT-2 124M")
    assert "needs 1,500 MB" in str(caught.value)
    assert "300 MB are free" in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_a_disk_with_exactly_enough_space_will_do(disk, tmp_path):
    disk(MEGABYTE)
    require_disk(tmp_path, MEGABYTE, "a file")
    with pytest.raises(OSError, match="a file"):
        require_disk(tmp_path, MEGABYTE + 1, "a file")


def test_the_space_for_a_folder_that_is_yet_to_be_made_is_that_of_its_nearest_parent(
    disk, tmp_path
):
    asked = disk(MEGABYTE)
    require_disk(tmp_path / "to" / "be" / "made", 1, "a file")
    assert asked == [tmp_path]


def test_the_report_names_the_host_the_number_format_its_reason_and_the_folder(
    surroundings, disk, two_t4s, tmp_path
):
    surroundings(KAGGLE_KERNEL_RUN_TYPE="Batch")
    disk(57 * 10**9)
    devices = detect_devices()
    first, second = environment_report(devices, tmp_path / "not yet").splitlines()
    assert re.fullmatch(r"kaggle \(\w+, headless: True\): 2 x Tesla T4, float16 \(.+\)", first)
    assert devices.reason in first
    assert second.startswith(f"output root {tmp_path / 'not yet'}, 57 GB free")
    assert (
        f"; python {platform.python_version()}, torch {torch.__version__.split('+')[0]}" in second
    )


CPU_ALONE = Devices(torch.device("cpu"), (), (), torch.float32, "no GPU")


def test_results_in_a_temporary_folder_are_announced_as_such(surroundings, tmp_path, monkeypatch):
    surroundings()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    said = "GB free, in a folder that the system may empty: to keep the results, set output_root;"
    assert said in environment_report(CPU_ALONE, tmp_path / "tmp" / "golf")
    assert said not in environment_report(CPU_ALONE, tmp_path / "home")


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"KAGGLE_KERNEL_RUN_TYPE": "Interactive"}, "Settings > Accelerator > GPU T4 x2"),
        ({"KAGGLE_KERNEL_RUN_TYPE": "Batch"}, "Settings > Accelerator > GPU T4 x2"),
        ({"COLAB_RELEASE_TAG": "release"}, "Runtime > Change runtime type > T4 GPU"),
    ],
    ids=["kaggle", "kaggle-batch", "colab"],
)
def test_a_session_without_a_gpu_says_what_that_means_and_what_to_click(
    surroundings, variables, words, tmp_path
):
    surroundings(**variables)
    report = environment_report(CPU_ALONE, tmp_path)
    assert "; no GPU, so model_size auto is tiny: for GPT-2 take" in report
    assert words in report
    assert len(report.splitlines()) == 2


def test_a_machine_of_ones_own_is_told_nothing_about_gpus(surroundings, tmp_path):
    surroundings()
    assert "no GPU, so" not in environment_report(CPU_ALONE, tmp_path)


def test_a_session_with_a_gpu_is_told_nothing(surroundings, two_t4s, tmp_path):
    surroundings(KAGGLE_KERNEL_RUN_TYPE="Interactive")
    assert "no GPU, so" not in environment_report(detect_devices(), tmp_path)


@pytest.fixture
def machine(monkeypatch):
    """A function that sets what the system says of memory: `self` and `child` in its own unit, and which system it is."""

    def be(platform, **peaks):
        def getrusage(who):
            return SimpleNamespace(ru_maxrss=peaks[who])

        monkeypatch.setattr(
            host_module,
            "resource",
            SimpleNamespace(RUSAGE_SELF="self", RUSAGE_CHILDREN="child", getrusage=getrusage),
        )
        monkeypatch.setattr(sys, "platform", platform)

    return be


@pytest.mark.parametrize(("platform", "unit"), [("linux", 1024), ("darwin", 1)])
def test_a_step_is_recorded_with_its_seconds_and_both_peaks_in_bytes(
    machine, monkeypatch, platform, unit
):
    machine(platform, self=5000, child=70)
    clock = iter([100.0, 102.5])
    monkeypatch.setattr(host_module.time, "perf_counter", lambda: next(clock))
    steps = {"before": {"seconds": 1.0}}
    with timed(steps, "load"):
        assert "load" not in steps
    assert steps == {
        "before": {"seconds": 1.0},
        "load": {"seconds": 2.5, "process_bytes": 5000 * unit, "child_bytes": 70 * unit},
    }


def test_a_step_on_windows_has_its_seconds_and_no_peaks(monkeypatch):
    monkeypatch.setattr(host_module, "resource", None)
    steps = {}
    with timed(steps, "load"):
        pass
    assert steps["load"].pop("seconds") >= 0
    assert steps == {"load": {"process_bytes": 0, "child_bytes": 0}}


def test_a_step_that_fails_is_not_recorded_and_its_error_comes_through():
    steps = {}
    with pytest.raises(ZeroDivisionError), timed(steps, "load"):
        _ = 1 / 0
    assert steps == {}


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="only Linux tells the same by another way"
)
def test_the_peaks_are_those_of_this_process_and_of_its_largest_child():
    # The child says its own peak, so that neither number is taken from the code under test.
    child = "block = bytearray(300_000_000); print(open('/proc/self/status').read())"
    steps = {}
    with timed(steps, "children"):
        said = subprocess.run(
            [sys.executable, "-c", child], capture_output=True, text=True, check=True
        ).stdout

    def peak(status):
        return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])

    assert peak(said) > 300_000_000
    assert steps["children"]["process_bytes"] == pytest.approx(
        peak(Path("/proc/self/status").read_text()), rel=0.02
    )
    assert steps["children"]["child_bytes"] >= 0.98 * peak(said)


FAULTS = """
import resource, sys
import torch
from golf_nb_utils.host import keep_freed_memory
took_effect = len(sys.argv) > 1 and keep_freed_memory()
def use():
    for _ in range(5):
        torch.ones(12_000_000)
for _ in range(5):
    use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
use()
print(int(took_effect), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a C library without mallopt")
def test_freed_memory_that_is_kept_is_not_paged_in_anew():
    runs = [
        subprocess.run(
            [sys.executable, "-c", FAULTS, *given], capture_output=True, text=True, check=True
        ).stdout.split()
        for given in ([], ["keep"])
    ]
    (_, usual), (took_effect, kept) = ([int(word) for word in run] for run in runs)
    assert took_effect
    # Five tensors of 48 MB, more than glibc ever keeps by itself, are 59,000 pages of 4 kB.
    assert kept < 1000 < usual


@pytest.mark.parametrize("error", [OSError, AttributeError, TypeError])
def test_where_there_is_no_mallopt_nothing_happens(monkeypatch, error):
    def missing(name):
        raise error

    monkeypatch.setattr(host_module.ctypes, "CDLL", missing)
    assert host_module.keep_freed_memory() is False
