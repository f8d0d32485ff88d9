"""How fast and in how much memory notebook 01's records are made, beside the usual way: a list in memory and one json.dump.

    python benchmarks/data_generation.py                 # 1,000 to 1,000,000 records; a few minutes, 3 GB of disk
    python benchmarks/data_generation.py --largest 100000

Each row runs in a process of its own, so that peaks of memory do not mix. The seconds of "streamed" include loading the
knowledge base, drawing every record, measuring leakage and diversity (over the first 10,000 answers at most), and writing and
hashing the files; the peer makes the same records. "records alone" leaves out what does not grow with the set, so
that it shows the cost of one record: drawn and turned into JSON, neither written nor measured.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from golf_nb_utils.golf.dataset import finish, write_dataset
from golf_nb_utils.golf.knowledge import load_knowledge
from golf_nb_utils.golf.records import generate_records, make_deck, make_record
from golf_nb_utils.settings import DataConfig

KNOWLEDGE = Path(__file__).resolve().parent.parent / "knowledge" / "golf_instruction"
SIZES = (1_000, 10_000, 100_000, 1_000_000)
LARGEST_IN_MEMORY = 100_000


def measure(way: str, n_examples: int, workers: int) -> dict:
    """Make a set in a temporary folder; return seconds and the peak memory in MiB of this process and its largest child."""
    with tempfile.TemporaryDirectory() as name:
        folder, config = Path(name), DataConfig(n_examples=n_examples)
        started = time.perf_counter()
        knowledge = load_knowledge(KNOWLEDGE)
        if way == "records alone":
            deck = make_deck(knowledge, config)
            started = time.perf_counter()
            for number in range(n_examples):
                json.dumps(vars(make_record(deck, "train", number)), ensure_ascii=False)
        elif way == "streamed":
            finish(folder, write_dataset(folder, knowledge, config, workers=workers), config)
        else:
            for split, records in generate_records(knowledge, config).items():
                with open(folder / f"{split}.json", "w", encoding="utf-8") as file:
                    json.dump([vars(one) for one in records], file, indent=2, ensure_ascii=False)
        seconds = time.perf_counter() - started
        size = sum(path.stat().st_size for path in folder.iterdir())
    peak = [
        resource.getrusage(who).ru_maxrss / 1024
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    ]
    return {"seconds": seconds, "self": peak[0], "child": peak[1], "bytes": size}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--largest", type=int, default=SIZES[-1], help="leave out larger sets")
    parser.add_argument("--one", nargs=3, metavar=("WAY", "N", "WORKERS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        way, n_examples, workers = options.one
        print(json.dumps(measure(way, int(n_examples), int(workers))))
        return
    cores = len(os.sched_getaffinity(0))
    print(f"{cores} cores, Python {sys.version.split()[0]}\n")
    print(
        "| records | way | processes | seconds | records/s | µs a record | peak MiB, main | peak MiB, largest worker | MB written |"
    )
    print("| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for n_examples in (size for size in SIZES if size <= options.largest):
        ways = [("streamed", 0), ("streamed", cores)] if n_examples >= 10_000 else [("streamed", 0)]
        ways += [("records alone", 0)]
        ways += [("json.dump of a list", 0)] if n_examples <= LARGEST_IN_MEMORY else []
        for way, workers in ways:
            command = [sys.executable, __file__, "--one", way, str(n_examples), str(workers)]
            row = json.loads(
                subprocess.run(command, check=True, capture_output=True, text=True).stdout
            )
            print(
                f"| {n_examples:,} | {way} | {max(1, workers)} | {row['seconds']:.1f} | {n_examples / row['seconds']:,.0f} "
                f"| {row['seconds'] / n_examples * 1e6:,.0f} | {row['self']:,.0f} | {row['child'] if workers else 0:,.0f} "
                f"| {row['bytes'] / 1e6:,.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
