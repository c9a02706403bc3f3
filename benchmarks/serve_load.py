"""Load on `docclf serve` over loopback: pages per second against `predict`, waiting times, memory, refusals, reload.

    python benchmarks/serve_load.py RUN PAGES [--requests 400] [--flat 5000] [--litserve]

PAGES is a folder of image files, of one page each. Each stage sends a bounded number of requests from as many clients
(threads with a connection that is kept open) and prints a line. `predict` runs on the same files right before and after
the stages, because the speed of a shared machine changes. With `--litserve`, the same model behind LitServe (if it is
installed; it is no dependency) is asked in the same run.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import http.client
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

DOCCLF = [sys.executable, "-m", "docclf_cli"]
ODD = (b"", b"x", b"%PDF-1.7", b"GIF89a", b"\x89PNG\r\n\x1a\n" + bytes(40), b"<html>", b"PK\x03\x04", bytes(5000))


@dataclass
class Load:
    """Answers of a stage."""

    seconds: float = 0.0
    waits: list[float] = field(default_factory=list)
    statuses: collections.Counter[int] = field(default_factory=collections.Counter)

    def line(self, name: str) -> str:
        p50, p99 = np.percentile(self.waits, [50, 99]) * 1000
        rate = self.statuses[200] / self.seconds
        return f"{name:28} {rate:6.1f} pages/s   p50 {p50:7.0f} ms   p99 {p99:7.0f} ms   {dict(self.statuses)}"


def load(
    port: int,
    bodies: list[bytes],
    clients: int,
    requests: int,
    path: str = "/classify",
    headers: dict[str, str] | None = None,
    retry: bool = True,
) -> Load:
    """Send so many requests from so many clients; with `retry`, a request that is sent away comes again."""
    found, lock, numbers = Load(), threading.Lock(), iter(range(requests))

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                break
            began = time.monotonic()
            while True:
                try:
                    connection.request("POST", path, bodies[number % len(bodies)], headers or {})
                    answer = connection.getresponse()
                    answer.read()
                    status = answer.status
                except (OSError, http.client.HTTPException):
                    connection.close()
                    status = -1
                with lock:
                    found.statuses[status] += 1
                if status != 429 or not retry:
                    break
                time.sleep(0.05)
            with lock:
                found.waits.append(time.monotonic() - began)
        connection.close()

    threads = [threading.Thread(target=client) for _ in range(clients)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found.seconds = time.monotonic() - began
    return found


@contextlib.contextmanager
def server(run: str, *options: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A running `docclf serve`, and its port."""
    process = subprocess.Popen(
        [*DOCCLF, "serve", run, "--port", "0", "--quiet", *options], stderr=subprocess.PIPE, text=True
    )
    with tempfile.TemporaryFile("w+") as log:
        port = _port_of(process)
        threading.Thread(target=lambda: [log.write(line) for line in process.stderr or ()], daemon=True).start()
        try:
            yield process, port
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def _port_of(process: subprocess.Popen[str]) -> int:
    """The port that a process listens on, from the system: with --quiet the server does not say it."""
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        links = [str(link.readlink()) for link in Path(f"/proc/{process.pid}/fd").iterdir() if link.is_symlink()]
        inodes = {link[len("socket:[") : -1] for link in links if link.startswith("socket:[")}
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            cells = line.split()
            if cells[3] == "0A" and cells[9] in inodes:
                port = int(cells[1].partition(":")[2], 16)
                with contextlib.suppress(OSError, http.client.HTTPException):
                    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                    connection.request("GET", "/ready")
                    if connection.getresponse().status == 200:
                        return port
        time.sleep(0.2)
    raise SystemExit("the server did not start")


def predict(run: str, pages: Path, workers: int) -> float:
    """Pages per second of `predict`, without the start of Python and the loading of the model."""
    with tempfile.TemporaryDirectory() as out:
        command = [*DOCCLF, "predict", run, str(pages), "-o", f"{out}/a.csv", "--json", "-q", "--max-unreadable", "1"]
        shown = subprocess.run(
            [*command, "--set", f"runtime.workers={workers}"], capture_output=True, text=True, check=True
        )
        result = json.loads(shown.stdout)
        return float(result["pages"] / result["seconds"])


def memory(process: subprocess.Popen[str]) -> float:
    """Resident megabytes of a process and its children."""
    pids, total = [process.pid], 0
    for pid in pids:
        with contextlib.suppress(OSError):
            pids += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return total / 2**20


def litserve(run: str, bodies: list[bytes], requests: int) -> None:
    """The same model behind LitServe: it batches as many requests as `serve` waits for."""
    script = f"""
import io, litserve, numpy as np, docclf_cli
from PIL import Image
class Api(litserve.LitAPI):
    def setup(self, device):
        self.model = docclf_cli.load({run!r}, device="cpu")
    def decode_request(self, request):
        return Image.open(io.BytesIO(request["content"].file.read())).convert("RGB")
    def batch(self, inputs):
        return inputs
    def predict(self, images):
        return [one.label for one in self.model.predict(images)]
    def unbatch(self, output):
        return output
    def encode_response(self, label):
        return {{"label": label}}
if __name__ == "__main__":
    litserve.LitServer(Api(max_batch_size=64, batch_timeout=0.005), accelerator="cpu").run(port=18901, host="127.0.0.1")
"""
    with tempfile.NamedTemporaryFile("w", suffix=".py") as file:
        file.write(script)
        file.flush()
        process = subprocess.Popen([sys.executable, file.name], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            for _ in range(240):
                with contextlib.suppress(OSError):
                    http.client.HTTPConnection("127.0.0.1", 18901, timeout=5).request("GET", "/health")
                    break
                time.sleep(0.5)
            time.sleep(10)
            forms = [_form(body) for body in bodies]
            for clients in (1, 8, 64):
                found = load(
                    18901, forms, clients, requests, "/predict", {"Content-Type": "multipart/form-data; boundary=edge"}
                )
                print(found.line(f"LitServe, {clients} clients"), flush=True)
        finally:
            process.terminate()
            process.wait(30)


def _form(body: bytes) -> bytes:
    head = b'--edge\r\nContent-Disposition: form-data; name="content"; filename="p"\r\n\r\n'
    return head + body + b"\r\n--edge--\r\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("pages", type=Path)
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--flat", type=int, default=0, help="requests of the memory stage")
    parser.add_argument("--litserve", action="store_true")
    args = parser.parse_args()
    files = sorted(path for path in args.pages.iterdir() if path.is_file())
    bodies = [path.read_bytes() for path in files]
    cores = len(os.sched_getaffinity(0))
    print(f"{len(files)} files, {cores} cores, load average {os.getloadavg()[0]:.1f}", flush=True)
    before = predict(args.run, args.pages, cores)
    print(f"{'predict':28} {before:6.1f} pages/s", flush=True)
    rates = {}
    with server(args.run) as (process, port):
        load(port, bodies, 8, 32)  # warm
        start = memory(process)
        for clients in (1, 8, 64):
            found = load(port, bodies, clients, args.requests)
            rates[clients] = found.statuses[200] / found.seconds
            print(found.line(f"serve, {clients} clients"), flush=True)
        odd = load(port, list(itertools.islice(itertools.cycle(ODD), 200)), 8, 200)
        print(f"200 malformed requests: {dict(odd.statuses)}, slowest {max(odd.waits):.2f} s", flush=True)
        reloading = threading.Thread(
            target=lambda: [(time.sleep(2), process.send_signal(signal.SIGHUP)) for _ in range(3)]
        )
        reloading.start()
        found = load(port, bodies, 8, args.requests)
        reloading.join()
        print(found.line("serve, reloaded three times"), flush=True)
        load(port, bodies, 8, args.flat)
        print(f"memory: {start:.0f} MB after 32 requests, {memory(process):.0f} MB at the end", flush=True)
    with server(args.run, "--max-requests", "8") as (_, port):
        found = load(port, bodies, 64, args.requests, retry=False)
        print(found.line("limit of 8, 64 clients"), flush=True)
    after = predict(args.run, args.pages, cores)
    print(f"{'predict':28} {after:6.1f} pages/s", flush=True)
    mean = (before + after) / 2
    print("share of predict: " + ", ".join(f"{clients} clients {rate / mean:.2f}" for clients, rate in rates.items()))
    if args.litserve:
        litserve(args.run, bodies, args.requests)


if __name__ == "__main__":
    main()
