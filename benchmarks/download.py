"""A download from a local host: ours with one and several connections, `requests` alone, and urllib as most scripts have it.

    python benchmarks/download.py            # two hosts: one that limits each connection, one that does not

All ways end with the file on the disk; ours alone can go on after a cut, and compares the hash. One run, one machine.
"""

import argparse
import hashlib
import os
import tempfile
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import requests

from golf_nb_utils.gpt2 import transfer


class Host(BaseHTTPRequestHandler):
    """Serves `server.body` with ranges, at most `server.rate` bytes a second and connection."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body, asked = self.server.body, self.headers.get("Range", "").removeprefix("bytes=")
        first, last = (int(place) for place in asked.split("-")) if asked else (0, len(body) - 1)
        last = min(last, len(body) - 1)
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(last + 1 - first))
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(body)}")
        self.end_headers()
        started, step = time.perf_counter(), 1 << 16
        for place in range(first, last + 1, step):
            self.wfile.write(body[place : min(place + step, last + 1)])
            if self.server.rate:
                ahead = (place + step - first) / self.server.rate - (time.perf_counter() - started)
                time.sleep(max(0.0, ahead))

    def log_message(self, *args):
        pass


def with_requests(url: str, path: Path) -> None:
    with requests.get(url, stream=True, timeout=60) as response, open(path, "wb") as file:
        for chunk in response.iter_content(1 << 20):
            file.write(chunk)


def with_urllib(url: str, path: Path) -> None:
    # In blocks of 1,024 bytes, as the llms-from-scratch package's download_file reads.
    with urllib.request.urlopen(url) as response, open(path, "wb") as file:
        while chunk := response.read(1024):
            file.write(chunk)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mb", type=int, default=128, help="size of the file")
    parser.add_argument(
        "--rate", type=float, default=8, help="MB a second and connection, where the host limits"
    )
    options = parser.parse_args()
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            del os.environ[name]
    body = os.urandom(options.mb * 10**6)
    sha256 = hashlib.sha256(body).hexdigest()

    def ours(connections: int):
        return lambda url, path: transfer.fetch(
            url, path, len(body), sha256, connections=connections
        )

    ways = {"requests": with_requests, "urllib": with_urllib}
    ways |= {f"ours, {n} connection{'s' if n > 1 else ''}": ours(n) for n in (1, 2, 4, 8, 16)}
    print(
        "| way | host without a limit, MB/s | "
        + f"{options.rate:g} MB/s a connection, MB/s | x requests |"
    )
    print("| --- | ---: | ---: | ---: |")
    first = None
    with (
        tempfile.TemporaryDirectory() as folder,
        ThreadingHTTPServer(("127.0.0.1", 0), Host) as server,
    ):
        server.body, server.daemon_threads = body, True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for way, fetch in ways.items():
            speeds = []
            for server.rate in (0, options.rate * 1e6):
                path = Path(folder) / "file"
                started = time.perf_counter()
                fetch(f"http://127.0.0.1:{server.server_port}/file", path)
                speeds.append(len(body) / 1e6 / (time.perf_counter() - started))
                path.unlink()
            first = first or speeds[1]
            print(
                f"| {way} | {speeds[0]:,.0f} | {speeds[1]:,.1f} | {speeds[1] / first:.1f} |",
                flush=True,
            )
        server.shutdown()


if __name__ == "__main__":
    main()
