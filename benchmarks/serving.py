"""`serve` under load: many clients beside one after the other, memory over minutes, a restart after kill -9, idle connections.

    python benchmarks/serving.py                                # after `make run`; seven minutes
    python benchmarks/serving.py --minutes 0.5 --connections 500

The prompts are the inputs of the test records, to /api/generate, in a stream. Server and clients share the machine. What comes back is
held against the verifier, once for each pair of prompt and answer. Both ways of asking take turns, so that what else runs on the machine
slows down both.
"""

import argparse
import contextlib
import http.client
import json
import re
import resource
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median, quantiles

import psutil

from golf_nb_utils.files import Paths
from golf_nb_utils.golf.checks import Verifier
from golf_nb_utils.golf.knowledge import load_knowledge
from golf_nb_utils.host import knowledge_folder, output_root

CLIENTS = 16


def start(root: Path, port: int) -> tuple[subprocess.Popen, int]:
    """A server that takes connections, and its port."""
    command = [sys.executable, "-m", "golf_nb_utils", "serve", "--port", str(port), "--name", "app"]
    process = subprocess.Popen(
        [*command, "--model-size", "tiny", "--output-root", str(root)],
        stdout=subprocess.PIPE,
        text=True,
    )
    return process, int(re.search(r":([0-9]+), the page", process.stdout.readline())[1])


class Client:
    """A connection that stays open; `ask` gives the answer, and the seconds to its first piece and its end."""

    def __init__(self, port: int):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def ask(self, prompt: str) -> tuple[str, float, float]:
        began, first, text, piece = time.perf_counter(), 0.0, "", {}
        self.connection.request(
            "POST", "/api/generate", json.dumps({"model": "app", "prompt": prompt})
        )
        reply = self.connection.getresponse()
        if reply.status != 200:
            raise RuntimeError(f"{reply.status}: {reply.read()!r}")
        for line in reply:
            first = first or time.perf_counter() - began
            piece = json.loads(line)
            if "error" in piece:
                raise RuntimeError(piece["error"])
            text += piece["response"]
        if not piece.get("done"):
            raise RuntimeError("the stream has no end")
        return text, first, time.perf_counter() - began


def ask_all(
    port: int, prompts: list[str], n_clients: int
) -> tuple[float, list[tuple[str, float, float]]]:
    """Seconds for all prompts, and what each one got."""
    local = threading.local()

    def ask(prompt: str):
        if not hasattr(local, "client"):
            local.client = Client(port)
        return local.client.ask(prompt)

    began = time.perf_counter()
    with ThreadPoolExecutor(n_clients) as threads:
        answers = list(threads.map(ask, prompts))
    return time.perf_counter() - began, answers


def compare(port: int, pid: int, prompts: list[str], n_rounds: int) -> None:
    print(
        "| clients | answers a second | s on a core an answer | first piece, median | whole, median | whole, p99 | p99 / median |"
    )
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    process, cores = psutil.Process(pid), {1: 0.0, CLIENTS: 0.0}
    seconds, answers = {1: 0.0, CLIENTS: 0.0}, {1: [], CLIENTS: []}
    for _ in range(n_rounds):
        for n_clients in seconds:
            used = sum(process.cpu_times()[:2])
            took, got = ask_all(port, prompts[: 32 if n_clients == 1 else None], n_clients)
            seconds[n_clients] += took
            answers[n_clients] += got
            cores[n_clients] += sum(process.cpu_times()[:2]) - used
    rate = {n: len(answers[n]) / seconds[n] for n in seconds}
    for n, got in answers.items():
        whole = [each[2] for each in got]
        p99, middle = quantiles(whole, n=100)[98], median(whole)
        print(
            f"| {n} | {rate[n]:.1f} | {cores[n] / len(got):.3f} | {median(each[1] for each in got):.3f} s | {middle:.3f} s | {p99:.3f} s | {p99 / middle:.1f} |"
        )
    print(
        f"\n{CLIENTS} clients at once: {rate[CLIENTS] / rate[1]:.1f} times the throughput of one after the other, "
        f"{cores[1] / len(answers[1]) / cores[CLIENTS] * len(answers[CLIENTS]):.1f} times the answers for a second on a core.\n"
    )


def endure(port: int, pid: int, prompts: list[str], minutes: float, verifier: Verifier) -> None:
    """Memory over a load, and whether every answer came and passes."""
    process, until = psutil.Process(pid), time.monotonic() + 60 * minutes
    sizes, seen, n_answers = [], set(), 0
    while time.monotonic() < until:
        _, answers = ask_all(port, prompts, CLIENTS)
        n_answers += len(answers)
        seen.update(zip(prompts, (text for text, _, _ in answers), strict=True))
        sizes.append(process.memory_info().rss / 2**20)
    # Of a fault on which there is nothing for this golfer the coach asserts nothing, as if nobody had named it.
    n_wrong = sum(
        not any(
            verifier.verify(text, asked).passed
            for asked in (prompt, re.sub("\nMeaning: .*", "", prompt))
        )
        for prompt, text in seen
    )
    half = sizes[len(sizes) // 2 :]
    print(
        f"{minutes:g} minutes of {CLIENTS} clients: {n_answers:,} answers, none lost, {n_wrong} of {len(seen)} different ones unverified.\n"
        f"Memory (RSS): {sizes[0]:.0f} MiB after the first round of {len(prompts)}, {half[0]:.0f} MiB half-way, {sizes[-1]:.0f} MiB at the end "
        f"({sizes[-1] / half[0] - 1:+.1%} over the second half).\n"
    )


def connect(port: int, prompt: str, n: int) -> None:
    """Open idle connections, and ask for an answer beside them; the server closes what is too much."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    client = Client(port)
    client.ask(prompt)
    with contextlib.ExitStack() as stack:
        for _ in range(n):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
        _, _, whole = client.ask(prompt)
    print(
        f"{n:,} connections that ask nothing: an answer on a kept connection still came, in {whole:.2f} s."
    )
    print(f"Afterwards a new client is answered in {ask_all(port, [prompt], 1)[0]:.2f} s.\n")


def restart(root: Path, process: subprocess.Popen, port: int, prompts: list[str]) -> None:
    """kill -9 while all clients wait; what they see, and when the next server answers."""

    def ask(prompt: str) -> str:
        try:
            Client(port).ask(prompt)
            return "an answer"
        except Exception as error:
            return type(error).__name__

    with ThreadPoolExecutor(CLIENTS) as threads:
        asked = [threads.submit(ask, prompt) for prompt in prompts[:CLIENTS]]
        time.sleep(0.1)
        process.kill()
        process.wait()
        outcomes = [each.result() for each in asked]
    began = time.perf_counter()
    process, _ = start(root, port)
    ask_all(port, prompts[:1], 1)
    took, used = time.perf_counter() - began, psutil.Process(process.pid).cpu_times()
    print(
        f"kill -9: {CLIENTS} clients saw {', '.join(f'{outcomes.count(each)} {each}' for each in sorted(set(outcomes)))}."
    )
    print(
        f"The next server answered after {took:.1f} s, of which {used.user + used.system:.1f} s on a core."
    )
    process.terminate()
    print(f"SIGTERM: exit code {process.wait(90)}.")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--output-root", default="")
    options = parser.parse_args()
    root = output_root(options.output_root)
    prompts = [
        record["input"]
        for record in json.loads((Paths(root).data / "golf_feedback_test.json").read_text())
    ]
    process, port = start(root, 0)
    try:
        ask_all(port, prompts, CLIENTS)
        compare(port, process.pid, prompts, options.rounds)
        endure(
            port,
            process.pid,
            prompts,
            options.minutes,
            Verifier(load_knowledge(knowledge_folder())),
        )
        connect(port, prompts[0], options.connections)
        restart(root, process, port, prompts)
    finally:
        process.kill()


if __name__ == "__main__":
    main()
