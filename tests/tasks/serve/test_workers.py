"""`serve --workers`: several processes on one port, that are replaced, reloaded and stopped as one."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_process import CliProcess
from page_cases import write_checkpoint, write_images
from serve_client import Answer, ask

CLASSES = ("form", "letter")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "best.ckpt", CLASSES)


@pytest.fixture
def page(tmp_path: Path) -> bytes:
    write_images(tmp_path / "in", 1)
    return (tmp_path / "in" / "p0000.png").read_bytes()


@pytest.fixture
def server(start: Callable[..., CliProcess], checkpoint: Path) -> Iterator[tuple[CliProcess, int]]:
    process = start("serve", checkpoint, "--workers", 2, "--port", 0, env={"DOCCLF_SERVE_TOKEN": None})
    process.wait_for("listening on http://127.0.0.1:")
    yield process, int(process.stderr.partition("listening on http://127.0.0.1:")[2].partition(";")[0])
    process.kill_group()


def workers_of(pid: int) -> list[int]:
    """The processes of a server that answer; its other child only keeps count of what they share."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(one) for one in children if "spawn_main" in Path(f"/proc/{one}/cmdline").read_text()]


def until(good: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not good():
        assert time.monotonic() < end, "it did not come to be"
        time.sleep(0.05)


def patient(port: int, method: str, path: str, body: Any = None) -> Answer:
    """Ask again where the process that took the request was killed."""
    while True:
        try:
            return ask(port, method, path, body)
        except OSError:
            time.sleep(0.05)


@pytest.mark.slow
def test_one_that_is_killed_is_replaced_while_others_answer(server: tuple[CliProcess, int], page: bytes) -> None:
    process, port = server
    before = workers_of(process.pid)
    assert len(before) == 2
    answers: list[Answer] = []

    def client() -> None:
        answers.extend(patient(port, "POST", "/classify", page) for _ in range(10))

    threads = [threading.Thread(target=client) for _ in range(4)]
    for thread in threads:
        thread.start()
    os.kill(before[0], signal.SIGKILL)
    for thread in threads:
        thread.join()
    assert [answer.status for answer in answers] == [200] * 40
    assert {answer.json["document"]["predicted"] for answer in answers} == {"form"}
    confidences = [answer.json["document"]["confidence"] for answer in answers]
    assert max(confidences) - min(confidences) < 1e-5  # pages of one batch differ in the last digits
    process.wait_for("a worker has ended (exit code -9); another one takes its place")
    until(lambda: len(set(workers_of(process.pid)) - set(before)) == 1)
    figures = ask(port, "GET", "/metrics").body.decode().splitlines()
    counted = next(line for line in figures if line.startswith('docclf_requests_total{path="/classify",status="200"}'))
    assert 40 <= float(counted.split()[-1]) <= 44  # whichever process counted; an answer may have died on its way
    assert "docclf_active_requests 0.0" in figures
    process.send(signal.SIGTERM)
    outcome = process.wait(60)
    assert outcome.code == 0, outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert outcome.stderr.count("stopping after") == 1


@pytest.mark.slow
def test_all_load_a_new_checkpoint_and_keep_theirs_where_it_is_damaged(
    server: tuple[CliProcess, int], checkpoint: Path, page: bytes, tmp_path: Path
) -> None:
    process, port = server
    write_checkpoint(tmp_path / "new.ckpt", CLASSES, seed=9).replace(checkpoint)
    process.send(signal.SIGHUP)
    until(lambda: process.stderr.count("loaded again: default") == 2)
    checkpoint.write_bytes(b"damaged")
    process.send(signal.SIGHUP)
    until(lambda: process.stderr.count("cannot be loaded again, so the model of before stays") == 2)
    assert {ask(port, "POST", "/classify", page).status for _ in range(6)} == {200}


@pytest.mark.slow
def test_a_reload_that_is_asked_for_while_they_start_comes_when_they_are_ready(
    start: Callable[..., CliProcess], checkpoint: Path
) -> None:
    process = start("serve", checkpoint, "--workers", 2, "--port", 0, env={"DOCCLF_SERVE_TOKEN": None})
    until(lambda: len(workers_of(process.pid)) == 2)
    process.send(signal.SIGHUP)
    process.wait_for("listening on http://127.0.0.1:")
    until(lambda: process.stderr.count("loaded again: default") == 2)
    process.send(signal.SIGTERM)
    assert process.wait(60).code == 0


@pytest.mark.slow
def test_they_end_with_the_first_process(server: tuple[CliProcess, int]) -> None:
    process, port = server
    workers = workers_of(process.pid)
    process.send(signal.SIGKILL)
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
    with pytest.raises(OSError, match="refused"):
        ask(port, "GET", "/health")


@pytest.mark.slow
def test_why_they_cannot_start_is_one_line(docclf: Callable[..., Any], checkpoint: Path) -> None:
    content = bytearray(checkpoint.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    checkpoint.write_bytes(bytes(content))
    outcome = docclf("serve", checkpoint, "--workers", 2, "--port", 0, env={"DOCCLF_SERVE_TOKEN": None})
    assert outcome.code == 4, outcome.stderr
    assert outcome.stderr.count("error:") == 1
    assert "best.ckpt" in outcome.stderr
    assert "Traceback" not in outcome.stderr
