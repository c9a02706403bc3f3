"""Load on `docclf serve` over loopback: pages per second against `predict`, waiting times, memory, refusals, reload.

    python benchmarks/serve_load.py RUN PAGES [--requests 400] [--flat 5000] [--stages load,malformed,…]

PAGES is a folder of image files, of one page each. The stages:

    load       pages per second and waiting times with 1, 8 and 64 clients
    malformed  200 requests that no reader can read
    reload     SIGHUP three times while 8 clients ask
    flat       memory over so many requests
    slow       the same load beside 32 clients that send a byte a second
    pdf        PDF files of 20 pages
    limit      64 clients at a server that takes 8 requests at once
    restart    SIGKILL and a new server on the same port, three times while 8 clients ask
    workers    the load of 8 and 64 clients on one process and on two, in turns
    litserve   the same model behind LitServe, where it is installed; it is no dependency

Each stage sends a bounded number of requests from as many clients
(threads with a connection that is kept open) and prints a line. `predict` runs on the same files right before and after
the stages, because the speed of a shared machine changes. Seconds of processor time for each page change less, so they
are printed as well: of the server with its decoders, and of `predict` beyond what a call with one page takes.
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
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

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
            forms = {False: bodies, True: [_form(body) for body in bodies]}
            headers = {"Content-Type": "multipart/form-data; boundary=edge"}
            with server(run) as (_, port):
                for clients in (1, 8, 64, 1, 8, 64):  # in turns, for the speed of a shared machine changes
                    for theirs in (False, True):
                        path, place = ("/predict", 18901) if theirs else ("/classify", port)
                        load(place, forms[theirs], clients, 64, path, headers if theirs else None)
                        found = load(place, forms[theirs], clients, requests, path, headers if theirs else None)
                        print(found.line(f"{'LitServe' if theirs else 'serve'}, {clients} clients"), flush=True)
        finally:
            process.terminate()
            process.wait(30)


def _form(body: bytes) -> bytes:
    head = b'--edge\r\nContent-Disposition: form-data; name="content"; filename="p"\r\n\r\n'
    return head + body + b"\r\n--edge--\r\n"


def slow_clients(
    port: int, count: int, stop: threading.Event, seen: collections.Counter[str]
) -> list[threading.Thread]:
    """Clients that announce a file and send a byte of it each second, and begin anew when they are sent away."""

    def client() -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
                head = f"POST /classify HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 100000\r\n\r\n"
                connection.sendall(head.encode())
                connection.settimeout(1.0)
                while not stop.is_set():
                    connection.sendall(b"x")
                    try:
                        answer = connection.recv(1000)
                    except TimeoutError:
                        continue
                    seen[answer.split(b" ")[1].decode() if answer else "closed"] += 1
                    break

    threads = [threading.Thread(target=client) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads


def write_pdfs(files: list[Path], folder: Path, count: int) -> list[Path]:
    """PDF files of 20 pages."""
    paths = []
    for number in range(count):
        pages = [Image.open(files[(20 * number + page) % len(files)]).convert("RGB") for page in range(20)]
        paths.append(folder / f"{number}.pdf")
        pages[0].save(paths[-1], save_all=True, append_images=pages[1:])
    return paths


def restarts(run: str, bodies: list[bytes], requests: int) -> None:
    """Kill the server while 8 clients ask, and start it again on the same port; clients ask again until they are answered."""
    command = [*DOCCLF, "serve", run, "--quiet", "--port"]
    process = subprocess.Popen([*command, "0"], stderr=subprocess.PIPE, text=True)
    port = _port_of(process)
    answered, lost, lock, numbers = 0, 0, threading.Lock(), iter(range(requests))

    def client() -> None:
        nonlocal answered, lost
        while (number := next(numbers, None)) is not None:
            while True:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
                try:
                    connection.request("POST", "/classify", bodies[number % len(bodies)])
                    good = connection.getresponse().status == 200
                except (OSError, http.client.HTTPException):
                    good = False
                connection.close()
                with lock:
                    answered, lost = answered + good, lost + (not good)
                if good:
                    break
                time.sleep(0.1)

    threads = [threading.Thread(target=client) for _ in range(8)]
    for thread in threads:
        thread.start()
    away = []
    for turn in range(1, 4):
        while answered < turn * requests // 4:
            time.sleep(0.01)
        decoders = tree(process)[1:]
        process.kill()
        process.wait()
        began = time.monotonic()
        left = sum(_alive(pid) for pid in decoders)
        process = subprocess.Popen([*command, str(port)], stderr=subprocess.PIPE, text=True)
        _port_of(process)
        away.append(time.monotonic() - began)
        still = sum(_alive(pid) for pid in decoders)
        print(
            f"killed after {answered} answers: {left} decoders were left, {still} when the next server was ready",
            flush=True,
        )
    for thread in threads:
        thread.join()
    process.terminate()
    code = process.wait(60)
    print(
        f"killed three times: {answered} of {requests} answered with 200, {lost} attempts failed, ready again after "
        f"{', '.join(f'{one:.0f}' for one in away)} s, exit code {code}"
    )


def _alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("pages", type=Path)
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--flat", type=int, default=5000, help="requests of the stage flat")
    parser.add_argument("--stages", default=",".join(STAGES))
    args = parser.parse_args()
    stages = args.stages.split(",")
    files = sorted(path for path in args.pages.iterdir() if path.is_file())
    bodies = [path.read_bytes() for path in files]
    cores = len(os.sched_getaffinity(0))
    print(f"{len(files)} files, {cores} cores, load average {os.getloadavg()[0]:.1f}", flush=True)
    if "load" in stages:
        compare(args.run, args.pages, files, bodies, args.requests, cores)
    if set(stages) & {"malformed", "reload", "flat", "slow"}:
        with server(args.run) as (process, port):
            load(port, bodies, 64, 128)
            for name in ("malformed", "reload", "flat", "slow"):
                if name in stages:
                    globals()[name](process, port, bodies, args.requests if name != "flat" else args.flat)
    if "pdf" in stages:
        pdf(args.run, files, args.requests, cores)
    if "limit" in stages:
        with server(args.run, "--max-requests", "8") as (_, port):
            print(load(port, bodies, 64, args.requests, retry=False).line("limit of 8, 64 clients"), flush=True)
    if "restart" in stages:
        restarts(args.run, bodies, args.requests)
    if "workers" in stages:
        workers(args.run, bodies, args.requests)
    if "litserve" in stages:
        litserve(args.run, bodies, args.requests)


STAGES = ("load", "malformed", "reload", "flat", "slow", "pdf", "limit", "restart", "workers", "litserve")


def compare(run: str, pages: Path, files: list[Path], bodies: list[bytes], requests: int, cores: int) -> None:
    """Pages per second with 1, 8 and 64 clients, with `predict` before, between and after."""
    rates, predicted = {}, [predict_line(run, pages, files, cores)]
    for clients in (1, 8, 64):
        with server(run) as (process, port):
            load(port, bodies, clients, 64)
            used = processor(process)
            found = load(port, bodies, clients, requests)
            each = (processor(process) - used) / found.statuses[200] * 1000
            rates[clients] = found.statuses[200] / found.seconds
            print(f"{found.line(f'serve, {clients} clients')}   {each:5.0f} ms of processor a page", flush=True)
        predicted.append(predict_line(run, pages, files, cores))
    shares = [2 * rate / (predicted[turn] + predicted[turn + 1]) for turn, rate in enumerate(rates.values())]
    print(
        "share of predict before and after: "
        + ", ".join(f"{n} clients {s:.2f}" for n, s in zip(rates, shares, strict=True))
    )


def workers(run: str, bodies: list[bytes], requests: int) -> None:
    """Pages per second and memory of one process and of two, in turns."""
    for count, _ in itertools.product((1, 2), range(2)):
        with server(run, "--workers", str(count)) as (process, port):
            for clients in (8, 64):
                load(port, bodies, clients, 128)
                found = load(port, bodies, clients, requests)
                print(f"{found.line(f'{count} workers, {clients} clients')}   {memory(process):6.0f} MB", flush=True)


def malformed(process: subprocess.Popen[str], port: int, bodies: list[bytes], requests: int) -> None:
    odd = load(port, list(itertools.islice(itertools.cycle(ODD), 200)), 8, 200)
    print(f"200 malformed requests: {dict(odd.statuses)}, slowest {max(odd.waits):.2f} s", flush=True)


def reload(process: subprocess.Popen[str], port: int, bodies: list[bytes], requests: int) -> None:
    print(f"memory before the reloads: {memory(process):.0f} MB", flush=True)
    hups = threading.Thread(target=lambda: [(time.sleep(2), process.send_signal(signal.SIGHUP)) for _ in range(3)])
    hups.start()
    found = load(port, bodies, 8, requests)
    hups.join()
    print(found.line("reloaded three times"), flush=True)


def flat(process: subprocess.Popen[str], port: int, bodies: list[bytes], requests: int) -> None:
    for _ in range(5):
        print(f"memory: {memory(process):.0f} MB; then {requests // 5} more requests", flush=True)
        found = load(port, bodies, 8, requests // 5)
        print(found.line("8 clients"), flush=True)
    print(f"memory at the end: {memory(process):.0f} MB", flush=True)


def slow(process: subprocess.Popen[str], port: int, bodies: list[bytes], requests: int) -> None:
    for count in (0, 32):
        stop, seen = threading.Event(), collections.Counter[str]()
        threads = slow_clients(port, count, stop, seen)
        print(load(port, bodies, 8, requests).line(f"beside {count} slow clients"), flush=True)
        stop.set()
        for thread in threads:
            thread.join()
        print(f"what slow clients were told: {dict(seen)}", flush=True)


def pdf(run: str, files: list[Path], requests: int, cores: int) -> None:
    with tempfile.TemporaryDirectory() as temp:
        paths = write_pdfs(files, Path(temp), 16)
        bodies = [path.read_bytes() for path in paths]
        before, _ = predict(run, Path(temp), cores)
        with server(run) as (_, port):
            load(port, bodies, 8, 16)
            found = load(port, bodies, 8, max(16, requests // 10))
        after, _ = predict(run, Path(temp), cores)
        rate = 20 * found.statuses[200] / found.seconds
        print(found.line("PDFs of 20 pages, 8 clients") + f": {rate:.1f} pages of these a second")
        print(f"predict on these files: {before:.1f} and {after:.1f} pages/s; share {2 * rate / (before + after):.2f}")


if __name__ == "__main__":
    main()
