"""benchmarks/gpu.py: a part that hangs or dies costs itself alone; all run on a bare machine."""

import importlib.metadata
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from packaging.requirements import Requirement

REPOSITORY = Path(__file__).resolve().parent.parent
SCRIPT = REPOSITORY / "benchmarks" / "gpu.py"
# What the script asks for, and with it all that these bring themselves.
ASKED_FOR = (
    "torch", "transformers", "tiktoken", "safetensors", "numpy", "requests", "pyyaml", "tqdm",
    "psutil", "pytest",
)  # fmt: skip
PARTS = ("machine", "tests", "kaggle", "peaks", "context", "sampling", "cards")


def loaded(path: Path):
    specification = importlib.util.spec_from_file_location(f"benchmark_{path.stem}", path)
    module = importlib.util.module_from_spec(specification)
    # Dataclasses look their module up.
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def gpu():
    return loaded(SCRIPT)


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def rows_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


MEASURE = f"""
import sys
sys.path.insert(0, {str(SCRIPT.parent)!r})
from pathlib import Path
from gpu import record
record(Path(FOLDER), PART, name="a measurement", tokens_a_second=12345.6)
"""
HANG = """
import faulthandler, signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
faulthandler.register(signal.SIGUSR1, chain=True)
# In a session of its own, as torchrun's workers are.
sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
child = subprocess.Popen(sleep, start_new_session=True)
print("child", child.pid, flush=True)
child.wait()
"""


def measuring(folder: Path, part: str, then: str = "") -> list[str]:
    code = MEASURE.replace("FOLDER", repr(str(folder))).replace("PART", repr(part))
    return python(code + then)


@pytest.fixture(scope="module")
def rehearsal(gpu, tmp_path_factory):
    """(folder, parts returned) of a run of five, three of which go wrong after a measurement."""
    folder = tmp_path_factory.mktemp("rehearsal")
    parts = {
        "first": (10, measuring(folder, "first")),
        "hanging": (1, measuring(folder, "hanging", HANG)),
        "raising": (3, measuring(folder, "raising", "raise LookupError('no such card')")),
        "killed": (3, measuring(folder, "killed", "import os; os.kill(os.getpid(), 9)")),
        "last": (3, measuring(folder, "last")),
    }
    return folder, gpu.run_parts(folder, parts, seconds=40)


def test_each_part_keeps_what_it_measured_before_it_went_wrong(rehearsal):
    folder, failed = rehearsal
    assert failed == ["hanging", "raising", "killed"]
    measured = [row["part"] for row in rows_of(folder) if row.get("name") == "a measurement"]
    assert measured == ["first", "hanging", "raising", "killed", "last"]


def test_what_went_wrong_is_said(rehearsal):
    ended = {row["part"]: row for row in rows_of(rehearsal[0]) if "ended" in row}
    assert ended["first"]["ended"] == ended["last"]["ended"] == "well"
    assert ended["hanging"]["ended"].startswith("stopped: its time of")
    # Where it hung, though it had time for nothing.
    assert "in wait" in ended["hanging"]["traceback"]
    assert "LookupError: no such card" in ended["raising"]["traceback"]
    assert ended["killed"]["ended"] == "killed by SIGKILL"


def test_what_a_part_started_ends_with_it(rehearsal):
    printed = (rehearsal[0] / "logs" / "hanging.txt").read_text()
    number = int(re.search(r"child (\d+)", printed)[1])
    assert not psutil.pid_exists(number) or psutil.Process(number).status() == psutil.STATUS_ZOMBIE


def test_time_that_a_part_leaves_goes_to_the_next(rehearsal):
    # Ten of twenty shares were the first part's. It hardly used them, so the second one has a tenth
    # of 40 s, less the second that its end may take.
    ended = {row["part"]: row for row in rows_of(rehearsal[0]) if "ended" in row}
    assert ended["hanging"]["ended"] == "stopped: its time of 3 s was over"
    assert 2.5 < ended["hanging"]["seconds"] < 6


def test_the_tables_have_what_was_measured_and_how_parts_ended(rehearsal):
    text = (rehearsal[0] / "results.md").read_text()
    assert text.count("| a measurement | 12,346 |") == 5
    assert "This part did not end well: killed by SIGKILL" in text


def test_a_run_that_is_stopped_ends_its_part_and_keeps_the_results(tmp_path):
    command = [sys.executable, SCRIPT, "--out", tmp_path, "--toy", "--parts", "machine", "kaggle"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline().startswith("[machine]")
    assert process.stdout.readline().startswith("[machine] ended well")
    # The second part is about to start.
    while not (children := psutil.Process(process.pid).children(recursive=True)):
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive
    assert "torch" in (tmp_path / "results.md").read_text()


T4 = {"part": "machine", "card": "Tesla T4", "cards": 1}
MEASURED = {
    "part": "peaks", "name": "774M", "peak_GiB": 11.93, "minutes": 13.2,
    "given": {"size": "774M", "cards": ["1xT4"], "levers": ["activation_checkpointing"]},
}  # fmt: skip


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        ("Tesla T4", ["| 774M | 11.9 GiB, 14 min: `activation_checkpointing` |"]),
        ("NVIDIA T400", []),
    ],
)
def test_a_t4_gives_the_cells_of_the_readmes_table(gpu, tmp_path, card, expected):
    of_two = MEASURED | {"given": {"size": "774M", "cards": ["2xT4"], "levers": []}}
    for row in (T4 | {"card": card}, MEASURED, of_two):
        gpu.record(tmp_path, **row)
    gpu.write_tables(tmp_path)
    lines = (tmp_path / "results.md").read_text().splitlines()
    assert [line for line in lines if line.startswith("| 774M | ") and " min" in line] == expected
    assert any("They replace" in line for line in lines) == bool(expected)


@pytest.mark.parametrize(
    ("card", "rate"),
    [
        ("NVIDIA H100 80GB HBM3", 989.4e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA A100-SXM4-40GB", 312e12),
        ("Tesla T4", 65e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA L40", None),
    ],
)
def test_a_cards_rate_is_that_of_its_own_data_sheet(card, rate):
    module = loaded(SCRIPT.with_name("training.py"))
    assert module.published_rate(card) == rate


# --- every part, at toy size ---


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def asked_for() -> set[str]:
    """The distributions that the script asks for, with all that they require."""
    known, waiting = set(), list(ASKED_FOR)
    while waiting:
        name = plain(waiting.pop())
        if name in known:
            continue
        known.add(name)
        for line in importlib.metadata.requires(name) or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)
    return known


# As if they were not installed: torch and transformers look at metadata, too.
BARE = """
import importlib.metadata
from importlib.machinery import PathFinder

modules, distributions = set(MODULES), set(DISTRIBUTIONS)
find_spec, from_name = PathFinder.find_spec, importlib.metadata.Distribution.from_name

def find_known_spec(cls, name, path=None, target=None):
    known = path is not None or name not in modules
    return find_spec(name, path, target) if known else None

def known_from_name(cls, name):
    if name.lower().replace("_", "-") in distributions:
        raise importlib.metadata.PackageNotFoundError(name)
    return from_name(name)

PathFinder.find_spec = classmethod(find_known_spec)
importlib.metadata.Distribution.from_name = classmethod(known_from_name)
"""


@pytest.fixture(scope="module")
def bare_environment(tmp_path_factory):
    """An environment in whose processes nothing is installed that the script does not ask for."""
    folder, known = tmp_path_factory.mktemp("bare"), asked_for()
    owners = importlib.metadata.packages_distributions()
    modules = {name for name, of in owners.items() if not {*map(plain, of)} & known}
    # The package itself is found in the checkout.
    modules -= {"golf_nb_utils", *sys.stdlib_module_names}
    assert {"tensorflow", "peft", "papermill", "matplotlib", "accelerate"} <= modules
    distributions = {plain(name) for of in owners.values() for name in of} - known
    code = BARE.replace("MODULES", repr(modules)).replace("DISTRIBUTIONS", repr(distributions))
    (folder / "sitecustomize.py").write_text(code)
    return {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}


def toy(folder: Path, environment: dict, *parts: str) -> subprocess.CompletedProcess:
    command = [sys.executable, SCRIPT, "--out", folder, "--toy", "--minutes", "8"]
    command += ["--parts", *parts] if parts else []
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def files_of_the_checkout() -> set[Path]:
    folders = ("benchmarks", "golf_nb_utils", "tests", "knowledge", "notebooks")
    return {path for folder in folders for path in (REPOSITORY / folder).rglob("*")}


@pytest.fixture(scope="module")
def bare_run(bare_environment, tmp_path_factory):
    """A run of all parts: (what was printed, folder, files that came into the checkout)."""
    folder, before = tmp_path_factory.mktemp("toy"), files_of_the_checkout()
    done = toy(folder, bare_environment)
    return done, folder, files_of_the_checkout() - before


def test_all_parts_run_with_what_the_script_asks_for_alone(bare_run):
    done, folder, _ = bare_run
    assert done.returncode == 0, done.stdout + done.stderr
    ended = {row["part"]: row["ended"] for row in rows_of(folder) if "ended" in row}
    assert ended == dict.fromkeys(PARTS, "well")


def test_what_is_missing_is_named(bare_run):
    rows = rows_of(bare_run[1])
    skipped = {row["name"]: row["skipped"] for row in rows if "skipped" in row}
    assert list(skipped.values()) == ["peft is not installed"]
    assert all("lora" in name for name in skipped)
    peers = [row["name"] for row in rows if "transformers in a" in row.get("name", "")]
    assert all("the Trainer needs accelerate" in name for name in peers)
    assert {name.partition(",")[0] for name in peers} == {"124M", "355M"}


def test_nothing_is_written_outside_its_folder(bare_run):
    _, folder, written = bare_run
    assert written == set()
    kept = {"logs", "results.jsonl", "results.md", "results.txt"}
    assert {path.name for path in folder.iterdir()} == kept


def test_losses_of_all_formats_and_of_two_replicas_agree(bare_run):
    apart = {row["name"]: row["most_apart"] for row in rows_of(bare_run[1]) if "most_apart" in row}
    assert len(apart) == 3
    assert max(apart.values()) < 0.01


def test_every_setting_of_the_parameter_files_and_the_readme_is_measured_once(bare_run):
    rows = [row for row in rows_of(bare_run[1]) if row["part"] == "peaks" and "given" in row]
    wanted = {
        (cards, size) for cards in ("1xT4", "2xT4") for size in ("124M", "355M", "774M", "1558M")
    }
    files = (REPOSITORY / "notebooks" / "params").glob("kaggle*.yaml")
    wanted |= {(path.stem, path.stem.rpartition("_")[2]) for path in files}
    found = [(source, row["given"]["size"]) for row in rows for source in row["given"]["cards"]]
    assert sorted(found) == sorted(wanted)
    assert len({row["name"] + row["set_by"] for row in rows}) == len(rows)


def test_with_peft_and_accelerate_lora_and_the_trainer_are_measured(tmp_path):
    done = toy(tmp_path, {**os.environ, "OMP_NUM_THREADS": "1"}, "peaks", "context")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = rows_of(tmp_path)
    assert not [row for row in rows if "skipped" in row]
    speeds = [row["name"] for row in rows if "tokens_a_second" in row]
    assert "124M, transformers' Trainer" in speeds
    assert any('method="lora"' in name for name in speeds)
