"""What each notebook takes, time and most memory: python benchmarks/series.py [arguments of `python -m golf_nb_utils run`]

Memory is that of all processes of a notebook together, shared pages counted once (the proportional set size), looked at twice a
second; Linux alone tells it. A GPU's memory is in the summary that notebook 03 prints.
"""

import re
import subprocess
import sys
import threading
from collections import defaultdict

import psutil

from golf_nb_utils import host

SECONDS_BETWEEN_LOOKS = 0.5


def resident(process: psutil.Process) -> int:
    """Return the bytes of main memory of a process and all below it; one that has just ended has none."""
    total = 0
    for one in [process, *process.children(recursive=True)]:
        try:
            total += one.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
    return total


def main() -> int:
    command = [sys.executable, "-m", "golf_nb_utils", "run", *sys.argv[1:]]
    now, peaks, seconds = "", defaultdict(int), {}
    over = threading.Event()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:

        def look() -> None:
            while not over.wait(SECONDS_BETWEEN_LOOKS):
                peaks[now] = max(peaks[now], resident(psutil.Process(run.pid)))

        threading.Thread(target=look, daemon=True).start()
        for line in run.stdout:
            print(line, end="", flush=True)
            if begun := re.match(r"=== \d/\d (\S+) ===", line):
                now = begun[1]
            if done := re.match(r"=== (\S+) done in (\d+) s", line):
                seconds[done[1]] = int(done[2])
        over.set()
    print(f"\n{host.detect_devices().names}, {host.versions(('torch', 'tensorflow', 'numpy'))}\n")
    print("| notebook | s | GiB |\n| --- | ---: | ---: |")
    for name, duration in seconds.items():
        print(f"| {name} | {duration} | {peaks[name] / 2**30:.1f} |")
    return run.returncode


if __name__ == "__main__":
    sys.exit(main())
