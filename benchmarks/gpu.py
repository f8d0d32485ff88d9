"""All that needs a GPU, in one run of minutes on a machine that has little else.

    python benchmarks/gpu.py --out FOLDER --minutes 8
    python benchmarks/gpu.py --out FOLDER --parts peaks sampling   # some of the parts
    python benchmarks/gpu.py --out FOLDER --toy                    # on a CPU, with tiny models

It needs torch, transformers, tiktoken, safetensors, numpy, requests, pyyaml, tqdm, psutil and
pytest, but no network, and golf_nb_utils need not be installed. What a part needs beyond that, it
names and skips. Nothing is written outside FOLDER:

    results.jsonl   a line for each measurement as soon as it is made, and for each part as it ends
    results.txt     the same lines to read
    results.md      the tables for benchmarks/results/, written anew after each part
    logs/           what each part printed

Each part runs in a child process with a time limit, its share of the time that is left. So a part
that fails, hangs or is killed costs its own measurements alone, and a run that is cut keeps what it
had. gpu_parts.py has the parts.
"""

import argparse
import json
import math
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from datetime import date
from itertools import pairwise
from pathlib import Path

import psutil

REPOSITORY = Path(__file__).resolve().parent.parent
# What is most wanted comes first, as a run may be cut: (share of the time, title, how measured).
PARTS = {
    "machine": (0.10, "The machine", "what torch and nvidia-smi say of it"),
    "tests": (0.18, "Tests marked `gpu`", "`pytest -m gpu tests/test_gpu.py`"),
    "kaggle": (
        0.24,
        "Kaggle's default",
        "124M, 8 records a step: the loop of notebook 03 in at most 14.5 GiB; over [0, 0] each "
        "replica has four of them. The plan is of one card",
    ),
    "peaks": (
        0.17,
        "Peaks beside the memory plan",
        "the most bytes of tensors in steps of notebook 03's loop on one card, by the settings of "
        "notebooks/params and of docs/training.md's table; minutes are those of the default two epochs, "
        "without evaluations",
    ),
    "context": (
        0.20,
        "Full context",
        "rows of 1,024 random tokens. Utilisation is of the card's rate, with the operations of a "
        "token by PaLM's count (Chowdhery et al. 2022, appendix B): 6 for each parameter but the "
        "positions', and 12 n_layer n_embd 1,024 for attention",
    ),
    "sampling": (
        0.10,
        "Sampling",
        "greedy, prompts of 128 random tokens, 124M with random weights",
    ),
    "cards": (0.06, "Two cards", "124M, an epoch of 480 records by notebook 03's loop, 16 a step"),
}
T4_NOTE = (
    "**These are a T4's own figures.** They replace what is planned for one T4 in docs/training.md's "
    "table:"
)
CPU_NOTE = "**No GPU was here: toy sizes on a CPU, to see that every part runs. They say nothing.**"


def record(folder: Path, part: str, **found) -> None:
    """Add a line to results.jsonl and one to results.txt; at once, as a part may be killed."""
    # One write each, in append mode: lines of a part and of its parent cannot mix.
    with open(folder / "results.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps({"part": part, **found}) + "\n")
    with open(folder / "results.txt", "a", encoding="utf-8") as file:
        file.write(text_line(part, found) + "\n")


def read_rows(folder: Path) -> list[dict]:
    """Return the lines of results.jsonl; one that was cut off in the middle is left out."""
    rows, path = [], folder / "results.jsonl"
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        with suppress(ValueError):
            rows.append(json.loads(line))
    return rows


def text_line(part: str, found: dict) -> str:
    """Return a row as one line, its traceback indented below."""
    shown = [
        f"{key.replace('_', ' ')} {cell(value)}"
        for key, value in columns(found).items()
        if value is not None
    ]
    name = f"{found['name']}: " if "name" in found else ""
    below = [f"\n    {line}" for line in found.get("traceback", "").splitlines()]
    return f"[{part}] {name}{', '.join(shown)}{''.join(below)}"


def columns(found: dict) -> dict:
    """Return what of a row is for the eye; its name stands apart."""
    hidden = ("part", "name", "traceback")
    return {
        key: value
        for key, value in found.items()
        if key not in hidden and not isinstance(value, (list, dict))
    }


def cell(value) -> str:
    """Return a value as text: four digits where they tell something, thousands with commas."""
    if isinstance(value, bool):
        return "yes" if value else "**no**"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return "-" if value is None else " ".join(str(value).replace("|", "/").split())


def environment(folder: Path) -> dict[str, str]:
    """Return the parts' environment: caches below `folder`, no network, this checkout's package."""
    caches = {
        name: str(folder / "cache" / name.lower())
        for name in (
            "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "TRITON_HOME", "CUDA_CACHE_PATH",
            "HF_HOME", "TORCH_HOME", "TIKTOKEN_CACHE_DIR", "MPLCONFIGDIR", "XDG_CACHE_HOME",
            "XDG_CONFIG_HOME",
        )
    }  # fmt: skip
    paths = filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH")))
    fixed = {
        "TMPDIR": str(folder / "tmp"), "GOLF_OUTPUT_ROOT": str(folder / "work"),
        "GOLF_HEADLESS": "1", "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "USE_TF": "0",
    }  # fmt: skip
    return {**os.environ, **caches, **fixed}


def end(process: subprocess.Popen, grace: float) -> None:
    """End a child and all that it started, torchrun's workers in sessions of their own among them.

    SIGUSR1 first: the parts answer it with the place where each of their threads is, even in a call
    that hangs. SIGTERM would not do: it asks the training loop to save a state of gigabytes.
    """
    family = []
    with suppress(psutil.NoSuchProcess):
        family = psutil.Process(process.pid).children(recursive=True)
    if process.poll() is None:
        process.send_signal(signal.SIGUSR1)
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    # Never for ever: a process that waits for a driver which hangs cannot be killed.
    with suppress(subprocess.TimeoutExpired):
        process.wait(5)


def run_part(
    folder: Path, name: str, command: list[str], limit: float, grace: float = 1.0, environ=None
) -> dict:
    """Run a command for at most `limit` seconds; return how it ended (badly: with what it said)."""
    log, started = folder / "logs" / f"{name}.txt", time.monotonic()
    with open(log, "w", encoding="utf-8") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environ,
            start_new_session=True,
        )
        code = None
        try:
            with suppress(subprocess.TimeoutExpired):
                code = process.wait(limit)
        finally:
            end(process, grace)
    ended = {"ended": how_it_ended(code, limit), "seconds": round(time.monotonic() - started, 1)}
    if code == 0:
        return ended
    printed = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return {**ended, "traceback": "\n".join(printed[-15:])}


def how_it_ended(code: int | None, limit: float) -> str:
    if code is None:
        return f"stopped: its time of {limit:.0f} s was over"
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return "well" if code == 0 else f"failed with exit status {code}"


def run_parts(
    folder: Path,
    parts: dict[str, tuple[float, list[str]]],
    seconds: float,
    grace: float = 1.0,
    environ=None,
) -> list[str]:
    """Run parts, {name: (share, command)}, within `seconds`; return those that did not end well.

    A part may take its share of the time that is left: what one does not need goes to those after
    it. As each part ends, its results are printed and results.md is written.
    """
    for below in ("logs", "tmp", "work"):
        (folder / below).mkdir(parents=True, exist_ok=True)
    failed, deadline = [], time.monotonic() + seconds
    waiting = dict(parts)
    while waiting:
        name, n_before = next(iter(waiting)), len(read_rows(folder))
        total = sum(share for share, _ in waiting.values())
        share, command = waiting.pop(name)
        left = deadline - time.monotonic()
        limit = max(0.1, left * share / total - grace)
        ended = run_part(folder, name, command, limit, grace, environ)
        failed += [name] if ended["ended"] != "well" else []
        record(folder, name, **ended)
        write_tables(folder)
        for row in read_rows(folder)[n_before:]:
            print(text_line(row.pop("part"), row), flush=True)
    return failed


def write_tables(folder: Path) -> None:
    """Write results.md from the lines of results.jsonl."""
    rows = read_rows(folder)
    facts = next((row for row in rows if row["part"] == "machine" and "card" in row), {})
    arguments = ["FOLDER" if before == "--out" else word for before, word in pairwise(sys.argv)]
    lines = [
        f"# Measured on {facts.get('card', 'an unknown device')}, {date.today()}",
        "",
        *(f"- {key.replace('_', ' ')}: {cell(value)}" for key, value in columns(facts).items()),
        f"- command: `python benchmarks/gpu.py {shlex.join(arguments)}`",
        *(["", CPU_NOTE] if facts.get("cards") == 0 else []),
        *t4_table(facts, rows),
    ]
    for part in dict.fromkeys(row["part"] for row in rows):
        of_part = [row for row in rows if row["part"] == part and row is not facts]
        if part != "machine" or any(row.get("ended") != "well" for row in of_part):
            lines += chapter(part, of_part)
    temporary = folder / "results.md.part"
    temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    temporary.replace(folder / "results.md")


def chapter(part: str, rows: list[dict]) -> list[str]:
    """Return a part's heading, a table for each kind of row, and what was skipped or went wrong."""
    _, title, how = PARTS.get(part, (0, part, "no description"))
    lines = ["", f"## {title}", "", f"{how[:1].upper()}{how[1:]}."]
    kinds: dict[tuple, list[dict]] = {}
    for row in rows:
        if "name" in row and not {"skipped", "failed"} & row.keys():
            heads = tuple(columns(row))
            # A row that lacks a column of an earlier one stands in that one's table.
            kind = next((known for known in kinds if set(heads) <= set(known)), heads)
            kinds.setdefault(kind, []).append(row)
    for heads, of_kind in kinds.items():
        lines += ["", f"| | {' | '.join(head.replace('_', ' ') for head in heads)} |"]
        lines.append(f"| --- |{' ---: |' * len(heads)}")
        for row in of_kind:
            cells = [cell(row.get(head)) for head in heads]
            lines.append(f"| {cell(row['name'])} | {' | '.join(cells)} |")
    notes = [
        f"- {row['name']}: {kind}: {cell(row[kind])}"
        for row in rows
        for kind in ("skipped", "failed")
        if "name" in row and kind in row
    ]
    notes += [
        f"- This part did not end well: {row['ended']}, after {row['seconds']} s."
        for row in rows
        if row.get("ended", "well") != "well"
    ]
    return [*lines, "", *notes] if notes else lines


def t4_table(facts: dict, rows: list[dict]) -> list[str]:
    """Return, if the card is a T4, the cells of docs/training.md's table as they were measured."""
    if "T4" not in str(facts.get("card", "")).split():
        return []
    lines = ["", T4_NOTE, "", "| | one T4 |", "| --- | --- |"]
    for row in rows:
        given = row.get("given", {})
        if "1xT4" in given.get("cards", ()) and "peak_GiB" in row:
            levers = ", ".join(f"`{lever}`" for lever in given["levers"])
            need = f"{row['peak_GiB']:.1f} GiB, {math.ceil(row['minutes'])} min"
            lines.append(f"| {given['size']} | {need}{': ' if levers else ''}{levers} |")
    return lines


def command_of(part: str, folder: Path, toy: bool) -> list[str]:
    script = str(Path(__file__).with_name("gpu_parts.py"))
    return [sys.executable, script, part, str(folder), *(["--toy"] if toy else [])]


def stop(number, frame) -> None:
    """End the running part and this process; SIGTERM is what a host sends whose time is up."""
    # Here and not in run_part, which knows nothing of a part that is just being started.
    for member in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            member.kill()
    raise SystemExit(128 + number)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", required=True, type=Path, help="folder for all that is written")
    parser.add_argument("--minutes", type=float, default=8.0, help="for all parts together")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--toy", action="store_true", help="small models, few steps, also on a CPU")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, stop)
    folder = options.out.resolve()
    # The machine is asked in any case: the tables need its name.
    chosen = dict.fromkeys(("machine", *options.parts))
    parts = {
        name: (PARTS[name][0], command_of(name, folder, options.toy))
        for name in PARTS
        if name in chosen
    }
    for name in ("results.jsonl", "results.txt", "results.md"):
        (folder / name).unlink(missing_ok=True)
    try:
        failed = run_parts(folder, parts, 60 * options.minutes, environ=environment(folder))
    finally:
        for name in ("cache", "tmp", "work"):
            shutil.rmtree(folder / name, ignore_errors=True)
    print(f"\n{folder / 'results.md'}" + (f"; not well: {', '.join(failed)}" if failed else ""))
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
