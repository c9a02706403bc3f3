"""`serve`: the same answers as `predict`, refusals, limits, and a server that lasts."""

import contextlib
import io
import json
import logging
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_process import CliProcess
from hostile_pages import BAD
from page_cases import write_checkpoint, write_images, write_pdf
from PIL import Image
from serve_client import Answer, ask, serving

from docclf_cli.engine.inference.ensemble_spec import EnsembleSpec
from docclf_cli.errors import InputError
from docclf_cli.profile.schema import RuntimeConfig
from docclf_cli.services.web.server import listen
from docclf_cli.tasks.predict.page_predictions import PageScores
from docclf_cli.tasks.predict.predict import PredictOptions, predict
from docclf_cli.tasks.serve import server
from docclf_cli.tasks.serve.batching import Batcher
from docclf_cli.tasks.serve.decoding import DecodeLimits, DecodePool
from docclf_cli.tasks.serve.served_model import ModelSource, ServedModel, of_all_pages
from docclf_cli.tasks.serve.server import ServerLog
from docclf_cli.tasks.serve.service import ServeLimits, Service
from docclf_cli.tasks.unknown import UnknownRule

CLASSES = ("form", "letter", "영수증", "bill")
HERE = RuntimeConfig(workers=0, precision="fp32")
TOKEN = "a long random text"


def load(checkpoint: Path, name: str = "default", threshold: float | None = 0.9) -> ServedModel:
    return ModelSource(name, checkpoint, HERE, min_confidence=threshold).load()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("run") / "best.ckpt", CLASSES)


@pytest.fixture(scope="module")
def models(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, ServedModel]:
    other = write_checkpoint(tmp_path_factory.mktemp("other") / "best.ckpt", CLASSES, seed=5)
    return {"default": load(checkpoint), "other": load(other, "other", threshold=None)}


LIMITS = ServeLimits(bytes=300_000, waiting=4, decode=DecodeLimits(pages=3, pixels=10**6, seconds=10))


def a_service(models: dict[str, ServedModel], **changes: Any) -> Service:
    limits = changes.pop("limits", LIMITS)
    return Service(dict(models), limits, Batcher(0.01), DecodePool(1, limits.decode), 1, **changes)


@pytest.fixture(scope="module")
def port(models: dict[str, ServedModel]) -> Iterator[int]:
    with serving(a_service(models)) as port:
        yield port


def test_answers_are_those_of_predict(
    port: int, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "in", 5)
    write_pdf(tmp_path / "in" / "z.pdf", range(3))
    question = PredictOptions(inputs=("in",), min_confidence=0.9)
    spec = EnsembleSpec.of_checkpoint(checkpoint)
    expected = predict(spec, question, stdin=io.BytesIO(), runtime_config=HERE).predictions
    for path in sorted((tmp_path / "in").iterdir()):
        pages = [row for row in expected if row.path == f"in/{path.name}"]
        answer = ask(port, "POST", f"/classify?name={path.name}", path.read_bytes())
        assert answer.status == 200
        assert (answer.json["model"], answer.json["threshold"]) == ("default", 0.9)
        for row, found in zip(pages, answer.json["predictions"], strict=True):
            assert (found["path"], found["page"], found["status"]) == (path.name, row.page, "")
            assert (found["predicted"], found["needs_review"]) == (row.predicted, row.needs_review)
            assert found["confidence"] == pytest.approx(row.confidence, abs=1e-5)


def test_a_document_is_pooled_over_its_pages(port: int, models: dict[str, ServedModel], tmp_path: Path) -> None:
    write_pdf(tmp_path / "a.pdf", range(3))
    answer = ask(port, "POST", "/classify?top_k=4&model=other", (tmp_path / "a.pdf").read_bytes()).json
    pages = np.array([[page[name] for name in CLASSES] for page in answer["probabilities"]])
    assert pages.sum(axis=1) == pytest.approx(1)
    mean = np.exp(np.log(pages).mean(axis=0))
    mean /= mean.sum()
    assert answer["document"]["pages"] == 3
    assert answer["document"]["predicted"] == CLASSES[int(mean.argmax())]
    assert answer["document"]["confidence"] == pytest.approx(mean.max(), abs=1e-5)
    assert answer["document"]["needs_review"] is None  # no threshold


def test_a_form_upload_is_the_same(port: int, tmp_path: Path) -> None:
    (path,) = write_images(tmp_path / "in", 1)
    content = path.read_bytes()
    plain = ask(port, "POST", "/classify?name=p.png", content)
    assert ask(port, "POST", "/classify", _form("file", content), **FORM).json == plain.json


FORM = {"content_type": "multipart/form-data; boundary=edge"}


def _form(field: str, content: bytes) -> bytes:
    head = f'--edge\r\nContent-Disposition: form-data; name="{field}"; filename="p.png"\r\n\r\n'
    return head.encode() + content + b"\r\n--edge--\r\n"


@pytest.mark.parametrize(
    ("body", "headers", "query", "status", "says"),
    [
        (b"", {}, "", 422, "the body is empty (0 bytes)"),
        (b"page", {}, "?top_k=abc", 422, "top_k: 'abc' is not a whole number"),
        (b"page", {}, "?topk=3", 422, "no parameter 'topk', did you mean 'top_k'?"),
        (_form("upload", b"page"), FORM, "", 422, "there is no form field 'upload'; send the file as the form field 'file'"),
        (_form("file", b""), FORM, "", 422, "the file is empty (0 bytes)"),
        (b"page", {"sec-fetch-site": "cross-site"}, "", 403, "other sites"),
        (b"hello", {}, "", 422, "cannot be read"),
        (b"%PDF-1.7 broken", {}, "", 422, "cannot be read"),
        (b"x" * 300_001, {}, "", 413, "larger than 300,000 bytes"),
        (b"page", {}, "?model=none", 404, "no model 'none'; there are default, other"),
        (b"page", {}, "?top_k=9", 422, "top_k: 9 is not between 1 and 4"),
        (b"page", {"host": "evil.example"}, "", 403, "only requests to localhost"),
        (b"page", {"origin": "http://evil.example"}, "", 403, "other sites"),
        (b"--x--", {"content_type": "multipart/form-data; boundary=x"}, "", 422, "no file"),
        (b"", {"content_type": "multipart/form-data"}, "", 400, "cannot be read"),
    ],
)  # fmt: skip
def test_refusals(port: int, body: bytes, headers: dict[str, str], query: str, status: int, says: str) -> None:
    answer = ask(port, "POST", f"/classify{query}", body, **headers)
    assert (answer.status, says in str(answer.json["detail"])) == (status, True), answer.body


def test_a_document_with_too_many_pages_is_refused(port: int, tmp_path: Path) -> None:
    write_pdf(tmp_path / "a.pdf", range(4))
    answer = ask(port, "POST", "/classify", (tmp_path / "a.pdf").read_bytes())
    assert answer.status == 413
    assert answer.json["detail"] == "the file has 4 pages; at most 3 are taken"


def test_hostile_files_are_answered_and_the_server_goes_on(port: int, tmp_path: Path) -> None:
    write_images(tmp_path / "in", 1)
    for name, (write, _) in BAD.items():
        path = tmp_path / name
        write(path)
        if path.is_file() and not path.is_symlink():
            assert ask(port, "POST", "/classify", path.read_bytes()).status in (413, 422), name
    assert ask(port, "POST", "/classify", (tmp_path / "in" / "p0000.png").read_bytes()).status == 200


def test_addresses_and_methods_that_there_are_not(port: int) -> None:
    lost, wrong = ask(port, "GET", "/classfy"), ask(port, "GET", "/classify")
    assert (lost.status, wrong.status, wrong.headers["allow"]) == (404, 405, "POST")
    assert lost.json["detail"].startswith("there is nothing at this address; POST /classify classifies a file")
    assert wrong.json["detail"] == "/classify takes POST, not GET"


def test_the_server_logs_lines_without_content(caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("test.uvicorn")
    log.handlers, log.propagate = [ServerLog(logging.WARNING)], False
    try:
        raise ValueError("secret content")
    except ValueError as error:
        log.error("Exception in ASGI application\n", exc_info=error)
    log.warning("Invalid HTTP request received.")
    log.info("nobody needs this")
    first, second = (json.loads(record.getMessage()) for record in caplog.records)
    assert (first["message"], first["error"], first["at"][:13]) == (
        "Exception in ASGI application", "ValueError", "test_serve.py",
    )  # fmt: skip
    assert "secret" not in caplog.text
    assert second == {"event": "server", "level": "warning", "message": "Invalid HTTP request received."}


def test_unknown_pages_and_costs_are_decided_as_predict_decides(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "in", 8)
    write_pdf(tmp_path / "in" / "z.pdf", range(3))
    prices = "\n".join(
        f"{name}," + ",".join("0" if other == name else "9" for other in CLASSES) + ",2" for name in CLASSES
    )
    (tmp_path / "costs.csv").write_text(f"true,{','.join(CLASSES)},review\n{prices}\n", encoding="utf-8")
    spec = EnsembleSpec.of_checkpoint(checkpoint)
    question = PredictOptions(inputs=("in",), costs=Path("costs.csv"))
    expected = predict(spec, question, stdin=io.BytesIO(), runtime_config=HERE)
    served = ModelSource("default", checkpoint, HERE, costs=Path("costs.csv")).load()
    pool = DecodePool(1, DecodeLimits())
    try:
        for path in sorted((tmp_path / "in").iterdir()):
            pages = pool.decode(path.read_bytes(), served.preprocesses)
            answer = served.answer(f"in/{path.name}", of_all_pages(pages, served.outputs(pages)), 3)
            rows = [row for row in expected.predictions if row.path == f"in/{path.name}"]
            assert [row.decision for row in answer.predictions] == [row.decision for row in rows]
            assert [row.needs_review for row in answer.predictions] == [row.needs_review for row in rows]
    finally:
        pool.close()
    decisions = {row.decision for row in expected.predictions}
    assert "review" in decisions and decisions & set(CLASSES)
    unknown = replace(served.rule, unknown=UnknownRule(threshold=1.0), costs=None)
    found = [PageScores(np.log(np.full(4, 0.25)), odds) for odds in (2.0, 0.0)]
    answer = replace(served, rule=unknown).answer("a", found, 2)
    assert [row.decision for row in answer.predictions] == ["unknown", "form"]
    assert (answer.document.decision, answer.document.needs_review) == ("form", False)
    assert answer.predictions[0].unknown is not None


def test_other_pages(port: int) -> None:
    assert ask(port, "GET", "/health").json == {"status": "ok"}
    assert ask(port, "GET", "/ready").json == {"status": "ready"}
    facts = ask(port, "GET", "/model").json
    assert [(one["name"], one["classes"]) for one in facts] == [("default", list(CLASSES)), ("other", list(CLASSES))]
    metrics = ask(port, "GET", "/metrics").body.decode()
    assert 'docclf_requests_total{path="/health",status="200"}' in metrics
    page = ask(port, "GET", "/docs").body.decode()
    assert "/classify" in page
    assert "src=" not in page  # nothing is loaded from elsewhere
    assert ask(port, "GET", "/openapi.json").json["paths"]["/classify"]["post"]["requestBody"]["required"]
    assert ask(port, "GET", "/docs").headers["x-content-type-options"] == "nosniff"


def test_a_token_is_asked_for(models: dict[str, ServedModel]) -> None:
    with serving(a_service(models, token=TOKEN, loopback_only=False)) as port:
        assert ask(port, "GET", "/model").status == 401
        assert ask(port, "GET", "/model", authorization="Bearer wrong").status == 401
        assert ask(port, "GET", "/model", authorization=f"Bearer {TOKEN}", host="docs.example").status == 200
        assert ask(port, "GET", "/health").status == 200


@contextmanager
def a_slow_model(models: dict[str, ServedModel], limits: ServeLimits) -> Iterator[tuple[int, threading.Event]]:
    """A server whose model answers when the event is set."""
    go = threading.Event()

    class Slow(type(models["default"].predictor)):  # type: ignore[misc]
        def outputs(self, batch: Any) -> Any:
            go.wait(30)
            return super().outputs(batch)

    predictor = models["default"].predictor
    slow = replace(models["default"], predictor=Slow(**vars(predictor)))
    with serving(a_service({"default": slow}, limits=limits)) as port:
        try:
            yield port, go
        finally:
            go.set()


def test_more_requests_than_may_wait_are_sent_away(models: dict[str, ServedModel], tmp_path: Path) -> None:
    write_images(tmp_path, 1)
    content, answers = (tmp_path / "p0000.png").read_bytes(), list[Answer]()
    with a_slow_model(models, replace(LIMITS, waiting=2)) as (port, go):
        threads = [
            threading.Thread(target=lambda: answers.append(ask(port, "POST", "/classify", content))) for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        _until(lambda: ask(port, "GET", "/metrics"), lambda answer: b"docclf_active_requests 2.0" in answer.body)
        full = ask(port, "POST", "/classify", b"page")
        assert full.status == 429
        assert full.headers["retry-after"] == "1"
        assert ask(port, "GET", "/health").status == 200
        go.set()
        for thread in threads:
            thread.join()
    assert [answer.status for answer in answers] == [200, 200]


def test_many_clients_at_the_limit_while_the_model_is_replaced(models: dict[str, ServedModel], tmp_path: Path) -> None:
    """The short version of benchmarks/serve_load.py: each request is answered, by a model or with 429."""
    pages = [path.read_bytes() for path in write_images(tmp_path, 4)]
    service = a_service({"default": models["default"]}, limits=replace(LIMITS, waiting=8))
    answers = list[Answer]()

    def client(number: int) -> None:
        for turn in range(4):
            answers.append(ask(port, "POST", "/classify", pages[(number + turn) % 4]))
            if number == 0:
                service.models["default"] = replace(models["other" if turn % 2 else "default"], name="default")

    with serving(service) as port:
        threads = [threading.Thread(target=client, args=(number,)) for number in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        end = time.monotonic() + 10
        while service.active and time.monotonic() < end:  # a request counts until its answer is sent
            time.sleep(0.01)
        assert service.active == 0
    assert len(answers) == 32 * 4
    assert {answer.status for answer in answers} == {200, 429}
    assert len({answer.json["checkpoint"] for answer in answers if answer.status == 200}) == 2


def test_a_request_that_takes_too_long_is_answered(models: dict[str, ServedModel], tmp_path: Path) -> None:
    write_images(tmp_path, 1)
    with a_slow_model(models, replace(LIMITS, seconds=0.3)) as (port, go):
        late = ask(port, "POST", "/classify", (tmp_path / "p0000.png").read_bytes())
        assert (late.status, late.headers["retry-after"]) == (503, "1")
        assert late.json["detail"] == "took longer than 0.3 seconds"
        go.set()


@pytest.mark.parametrize(
    "head", [b"", b"POST /classify HTTP/1.1\r\nHost: ", b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET /he"]
)
def test_a_client_that_never_ends_its_headers_is_cut_off(models: dict[str, ServedModel], head: bytes) -> None:
    with (
        serving(a_service(models, limits=replace(LIMITS, seconds=0.3))) as port,
        socket.create_connection(("127.0.0.1", port), timeout=30) as slow,
    ):
        assert _said_while_dripping(slow, head).count(b"200 OK") == head.count(b"\r\n\r\n")


def test_a_client_that_goes_on_to_send_what_was_answered_is_cut_off(models: dict[str, ServedModel]) -> None:
    head = b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n"
    with (
        serving(a_service(models, limits=replace(LIMITS, seconds=0.3))) as port,
        socket.create_connection(("127.0.0.1", port), timeout=30) as slow,
    ):
        assert b"503 Service Unavailable" in _said_while_dripping(slow, head)


def _said_while_dripping(client: socket.socket, head: bytes, seconds: float = 30) -> bytes:
    """What a server answers to a head and then a byte every tenth of a second, until it closes the connection."""
    client.sendall(head)
    answer, end = b"", time.monotonic() + seconds
    client.settimeout(0.1)
    while time.monotonic() < end:
        try:
            if not (more := client.recv(4096)):
                return answer
            answer += more
        except TimeoutError:
            pass
        except ConnectionError:
            return answer
        if head:
            with contextlib.suppress(OSError):
                client.send(b"x")
    raise AssertionError(f"the connection is still open after {seconds} s")


def test_a_decoder_that_is_killed_is_replaced(checkpoint: Path) -> None:
    served = load(checkpoint)
    pool = DecodePool(1, DecodeLimits(seconds=10))
    page = io.BytesIO()
    Image.new("RGB", (40, 30), "white").save(page, "PNG")
    try:
        (first,) = pool.decode(page.getvalue(), served.preprocesses)
        os.kill(pool._decoders[0]._process.pid or 0, signal.SIGKILL)
        pool._decoders[0]._process.join()
        (again,) = pool.decode(page.getvalue(), served.preprocesses)
        assert np.array_equal(first.images[0], again.images[0])
        pool._decoders[0]._limits = DecodeLimits(seconds=0.1)
        os.kill(pool._decoders[0]._process.pid or 0, signal.SIGSTOP)  # as a file that takes for ever
        (late,) = pool.decode(page.getvalue(), served.preprocesses)
        assert (late.images, late.error) == ((), "takes longer than 0.1 seconds to decode")
    finally:
        pool.close()


def test_decoding_has_a_limit_on_memory(checkpoint: Path) -> None:
    served = load(checkpoint)
    pool = DecodePool(1, DecodeLimits(seconds=30, memory=60 * 2**20))
    page = io.BytesIO()
    Image.new("RGB", (9_000, 9_000), "white").save(page, "PNG")  # 243 MB of pixels
    try:
        (answer,) = pool.decode(page.getvalue(), served.preprocesses)
        assert not answer.images
        assert "memory" in answer.error
    finally:
        pool.close()


def test_a_port_that_is_taken(models: dict[str, ServedModel]) -> None:
    with listen("127.0.0.1", 0) as taken, pytest.raises(Exception, match="in use") as raised:
        listen("127.0.0.1", taken.getsockname()[1])
    assert raised.value.hint == "choose another --port"  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=r"--host no\.such\.host\.invalid"):
        listen("no.such.host.invalid", 0)


@pytest.mark.slow
def test_whatever_ends_the_server_ends_its_decoders(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Decoders ignore signals: those that are left make Python wait for them for ever at its end."""

    async def interrupted(*_: object) -> None:
        assert "listening" not in caplog.text  # said before the signals are handled, it would invite one
        raise KeyboardInterrupt

    caplog.set_level(logging.INFO, "docclf")
    before = set(multiprocessing.active_children())
    monkeypatch.setattr(server, "_run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        server.serve(
            {"default": ModelSource("default", checkpoint, HERE)}, server.ServeOptions(port=0, decoders=1), LIMITS
        )
    assert set(multiprocessing.active_children()) <= before


def test_the_command_reloads_and_stops_with_grace(
    start: Callable[..., CliProcess], checkpoint: Path, tmp_path: Path
) -> None:
    run = tmp_path / "best.ckpt"
    run.write_bytes(checkpoint.read_bytes())
    server = start("serve", run, "--port", 0, "--min-confidence", 0.5, env={"DOCCLF_SERVE_TOKEN": None})
    server.wait_for("listening on http://127.0.0.1:")
    port = int(server.stderr.partition("listening on http://127.0.0.1:")[2].partition(";")[0])
    before = _until(lambda: ask(port, "GET", "/model"), lambda answer: answer.status == 200).json[0]["checkpoint"]
    new = write_checkpoint(tmp_path / "new.ckpt", CLASSES, seed=9)
    new.replace(run)
    server.send(signal.SIGHUP)
    _until(lambda: ask(port, "GET", "/model"), lambda answer: answer.json[0]["checkpoint"] != before)
    run.write_bytes(b"damaged")
    server.send(signal.SIGHUP)
    server.wait_for("cannot be loaded again, so the model of before stays")
    write_images(tmp_path / "in", 1)
    assert ask(port, "POST", "/classify", (tmp_path / "in" / "p0000.png").read_bytes()).status == 200
    server.send(signal.SIGTERM)
    outcome = server.wait(60)
    assert outcome.code == 0, outcome.stderr
    assert outcome.stdout == ""
    assert "Traceback" not in outcome.stderr


def test_other_hosts_need_a_token(docclf: Callable[..., Any], checkpoint: Path) -> None:
    outcome = docclf("serve", checkpoint, "--host", "0.0.0.0", env={"DOCCLF_SERVE_TOKEN": None})
    assert outcome.code == 2
    assert "set DOCCLF_SERVE_TOKEN to a long random text" in outcome.stderr
    outcome = docclf("serve", checkpoint, env={"DOCCLF_SERVE_TOKEN": "short"})
    assert outcome.code == 2
    assert "has fewer than 16 characters" in outcome.stderr


def _until(get: Callable[[], Any], good: Callable[[Any], bool], seconds: float = 60) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            answer = get()
        except OSError:
            time.sleep(0.05)
            continue
        if good(answer):
            return answer
        time.sleep(0.02)
    raise AssertionError("it never happened")
