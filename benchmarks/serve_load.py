"""Load on `docclf serve` over loopback: pages per second against `predict`, waiting times, memory, refusals, reload.

    python benchmarks/serve_load.py RUN PAGES [--requests 400] [--flat 5000] [--litserve]

PAGES is a folder of image files, of one page each. Each stage sends a bounded number of requests from as many clients
(threads with a connection that is kept open) and prints a line. `predict` runs on the same files right before and after
the stages, because the speed of a shared machine changes. Seconds of processor time for each page change less, so they
are printed as well: of the server with its decoders, and of `predict` beyond what a call with one page takes. With `--litserve`, the same model behind LitServe (if it is
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
import resource
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
    process.kill()
    raise SystemExit(f"the server did not start: {process.stderr.read() if process.stderr else ''}")


def predict(run: str, pages: Path, workers: int) -> tuple[float, float]:
    """Pages per second of `predict` without the start of Python and the loading of the model, and its processor seconds."""
    with tempfile.TemporaryDirectory() as out:
        command = [*DOCCLF, "predict", run, str(pages), "-o", f"{out}/a.csv", "--json", "-q", "--max-unreadable", "1"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        shown = subprocess.run(
            [*command, "--set", f"runtime.workers={workers}"], capture_output=True, text=True, check=True
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        result = json.loads(shown.stdout)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return float(result["pages"] / result["seconds"]), used


def predict_line(run: str, pages: Path, files: list[Path], workers: int) -> float:
    """Measure `predict`, print a line, and return its pages per second."""
    rate, used = predict(run, pages, workers)
    _, start = predict(run, files[0], workers)
    each = (used - start) / (len(files) - 1) * 1000
    print(f"{'predict':28} {rate:6.1f} pages/s   {each:5.0f} ms of processor a page", flush=True)
    return rate


def processor(process: subprocess.Popen[str]) -> float:
    """Processor seconds of a process and its children so far."""
    total, ticks = 0.0, os.sysconf("SC_CLK_TCK")
    for pid in tree(process):
        with contextlib.suppress(OSError):
            cells = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += (int(cells[11]) + int(cells[12])) / ticks
    return total


def tree(process: subprocess.Popen[str]) -> list[int]:
    """A process and its children."""
    pids = [process.pid]
    for pid in pids:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                pids += map(int, (task / "children").read_text().split())
    return pids


def memory(process: subprocess.Popen[str]) -> float:
    """Resident megabytes of a process and its children."""
    total = 0
    for pid in tree(process):
        with contextlib.suppress(OSError):
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return total / 2**20


def litserve(run: str, bodies: list[bytes], requests: int) -> None:
    """The same model and the same decoding behind LitServe with its defaults, and batches as large as those of `serve`."""
    script = f"""
import contextlib, io, pathlib
from docclf_cli.hardware import limit_thread_spinning
limit_thread_spinning()
import litserve
from docclf_cli.data.images.decode import decoding, fitted
from docclf_cli.data.images.page_files import open_document
from docclf_cli.tasks.serve.decoding import DecodedPage
from docclf_cli.tasks.serve.served_model import ModelSource

class Api(litserve.LitAPI):
    def setup(self, device):
        self.served = ModelSource("default", pathlib.Path({str(Path(run).absolute())!r})).load()
    def decode_request(self, request):
        content = io.BytesIO(request["content"].file.read())
        with decoding(10**8), contextlib.closing(open_document(content, 10**8)) as document:
            return DecodedPage(tuple(document.page(0, one, fitted) for one in self.served.preprocesses))
    def batch(self, inputs):
        return inputs
    def predict(self, pages):
        return [int(one.log_probs.argmax()) for one in self.served.outputs(pages)]
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
    before = predict_line(args.run, args.pages, files, cores)
    rates = {}
    with server(args.run) as (process, port):
        load(port, bodies, 64, 128)  # warm: batches of all sizes
        print(f"memory after 128 requests: {memory(process):.0f} MB", flush=True)
        for clients in (1, 8, 64):
            used = processor(process)
            found = load(port, bodies, clients, args.requests)
            each = (processor(process) - used) / found.statuses[200] * 1000
            rates[clients] = found.statuses[200] / found.seconds
            print(f"{found.line(f'serve, {clients} clients')}   {each:5.0f} ms of processor a page", flush=True)
        odd = load(port, list(itertools.islice(itertools.cycle(ODD), 200)), 8, 200)
        print(f"200 malformed requests: {dict(odd.statuses)}, slowest {max(odd.waits):.2f} s", flush=True)
        print(f"memory before the reloads: {memory(process):.0f} MB", flush=True)
        reloading = threading.Thread(
            target=lambda: [(time.sleep(2), process.send_signal(signal.SIGHUP)) for _ in range(3)]
        )
        reloading.start()
        found = load(port, bodies, 8, args.requests)
        reloading.join()
        print(found.line("serve, reloaded three times"), flush=True)
        for _ in range(4):
            print(f"memory: {memory(process):.0f} MB; then {args.flat // 4} more requests", flush=True)
            load(port, bodies, 8, args.flat // 4)
        print(f"memory at the end: {memory(process):.0f} MB", flush=True)
    with server(args.run, "--max-requests", "8") as (_, port):
        found = load(port, bodies, 64, args.requests, retry=False)
        print(found.line("limit of 8, 64 clients"), flush=True)
    after = predict_line(args.run, args.pages, files, cores)
    mean = (before + after) / 2
    print("share of predict: " + ", ".join(f"{clients} clients {rate / mean:.2f}" for clients, rate in rates.items()))
    if args.litserve:
        litserve(args.run, bodies, args.requests)


if __name__ == "__main__":
    main()
