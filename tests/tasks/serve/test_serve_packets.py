"""`POST /split-packets`: the answer of `split-packets`, with the limits and refusals of the server."""

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from packet_cases import CLASSES, with_boundaries, write_packet
from page_cases import page, write_checkpoint, write_encrypted_pdf, write_tiff
from serve_client import ask, serving

from docclf_cli.engine.inference.trained_model import TrainedModel
from docclf_cli.profile.schema import RuntimeConfig
from docclf_cli.results.as_json import jsonable
from docclf_cli.tasks.serve.batching import Batcher
from docclf_cli.tasks.serve.decoding import DecodeLimits, DecodePool
from docclf_cli.tasks.serve.served_model import ModelSource, ServedModel
from docclf_cli.tasks.serve.service import ServeLimits, Service
from docclf_cli.tasks.split_packets.options import CutOptions
from docclf_cli.tasks.split_packets.split_packets import SplitOptions, split_packets

pytest.importorskip("pypdfium2", reason="extra pdf")
HERE = RuntimeConfig(workers=0, precision="fp32")
CUTS = CutOptions(text="layer")
LIMITS = ServeLimits(bytes=300_000, waiting=4, decode=DecodeLimits(pages=20, pixels=10**6, seconds=20))
PACKET = [("contract", 50), ("contract", 51), ("invoice", 52), ("invoice", 50), ("contract", 53), ("invoice", 54)]
TOKEN = "a long random text"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints that are sure of every cut (`default`), of none (`unsure`), and that know nothing of packets (`plain`)."""
    place = tmp_path_factory.mktemp("models")
    plain = write_checkpoint(place / "plain.ckpt", CLASSES)
    with_boundaries(plain, place / "default.ckpt", sure=True)
    with_boundaries(plain, place / "unsure.ckpt", sure=False)
    return place


@pytest.fixture(scope="module")
def models(folder: Path) -> dict[str, ServedModel]:
    names = ("default", "unsure", "plain")
    return {name: ModelSource(name, folder / f"{name}.ckpt", HERE, cuts=CUTS).load() for name in names}


def a_service(models: dict[str, ServedModel], limits: ServeLimits = LIMITS, **changes: Any) -> Service:
    return Service(dict(models), limits, Batcher(0.01), DecodePool(1, limits.decode), 1, **changes)


@pytest.fixture(scope="module")
def port(models: dict[str, ServedModel]) -> Iterator[int]:
    with serving(a_service(models)) as port:
        yield port


@pytest.mark.parametrize("name", ["default", "unsure"])
def test_the_answer_is_that_of_the_command(port: int, folder: Path, tmp_path: Path, name: str) -> None:
    write_packet(tmp_path / "packet.pdf", PACKET)
    write_tiff(tmp_path / "scan.tif", range(3))
    page(1).save(tmp_path / "one.png")
    member = TrainedModel.load(folder / f"{name}.ckpt")
    for path in (tmp_path / "packet.pdf", tmp_path / "scan.tif", tmp_path / "one.png"):
        answer = ask(port, "POST", f"/split-packets?model={name}&name={path.name}", path.read_bytes())
        assert answer.status == 200, answer.body
        options = SplitOptions((str(path),), text="layer")
        expected = split_packets(member, options, stdin=io.BytesIO(), runtime_config=HERE)
        assert answer.json["model"] == name
        for key in (
            "pages",
            "unreadable",
            "found",
            "review",
            "uncertain_cuts",
            "text_pages",
            "limits",
            "target_precision",
        ):
            assert answer.json[key] == jsonable(getattr(expected, key)), key
        for found, part in zip(answer.json["parts"], jsonable(expected.parts), strict=True):
            near = {
                "confidence": pytest.approx(part["confidence"], abs=1e-5),
                "boundaries": pytest.approx(part["boundaries"], abs=1e-5),
            }
            assert found == {**part, "packet": path.name, **near}
    assert ask(port, "GET", "/metrics").body.decode().count("docclf_packet_documents_total{") >= 1


def test_classes_are_those_of_before(port: int, models: dict[str, ServedModel], folder: Path, tmp_path: Path) -> None:
    """Splitting shares the networks with classifying, and changes nothing of it."""
    write_packet(tmp_path / "packet.pdf", PACKET)
    content = (tmp_path / "packet.pdf").read_bytes()
    assert models["default"].splitter is not None
    assert models["default"].splitter.model.networks[0].model is models["default"].predictor.member_predictors[0].predictor.networks[0].model  # fmt: skip
    answers = [ask(port, "POST", f"/classify?model={name}", content).json for name in ("default", "plain")]
    assert answers[0]["predictions"] == answers[1]["predictions"]


def test_what_is_refused(port: int, tmp_path: Path) -> None:
    write_packet(tmp_path / "packet.pdf", PACKET)
    content = (tmp_path / "packet.pdf").read_bytes()
    refused = ask(port, "POST", "/split-packets?model=plain", content)
    assert (refused.status, "docclf train FOLDER --packets" in refused.json["detail"]) == (409, True)
    assert ask(port, "POST", "/split-packets?model=nothing", content).status == 404
    assert ask(port, "POST", "/split-packets?top_k=2", content).status == 422
    assert ask(port, "POST", "/split-packets", b"").status == 422
    assert ask(port, "POST", "/split-packets", b"%PDF-1.7 nothing else").status == 422
    assert "password" in ask(port, "POST", "/split-packets", write_encrypted_pdf(tmp_path / "e.pdf").read_bytes()).json["detail"]  # fmt: skip
    assert ask(port, "POST", "/split-packets", b"x" * 300_001).status == 413
    long = write_tiff(tmp_path / "long.tif", range(21)).read_bytes()
    assert "21 pages" in ask(port, "POST", "/split-packets", long).json["detail"]
    assert ask(port, "GET", "/split-packets").status == 405
    assert ask(port, "POST", "/split-packets", content, Host="evil.example").status == 403
    assert ask(port, "POST", "/split-packets", content, Origin="http://evil.example").status == 403
    schema = ask(port, "GET", "/openapi.json").json["paths"]["/split-packets"]["post"]
    assert {"409", "413", "422", "429", "503"} <= set(schema["responses"])
    assert [one["splits_packets"] for one in ask(port, "GET", "/model").json] == [True, True, False]


def test_tokens_and_limits_hold_here_as_well(models: dict[str, ServedModel], tmp_path: Path) -> None:
    write_packet(tmp_path / "packet.pdf", PACKET)
    content = (tmp_path / "packet.pdf").read_bytes()
    with serving(a_service(models, replace(LIMITS, seconds=0.01), token=TOKEN)) as port:
        assert ask(port, "POST", "/split-packets", content).status == 401
        late = ask(port, "POST", "/split-packets", content, Authorization=f"Bearer {TOKEN}")
        assert (late.status, late.headers["retry-after"]) == (503, "1")
    with serving(a_service(models, replace(LIMITS, waiting=0))) as port:
        full = ask(port, "POST", "/split-packets", content)
        assert (full.status, full.headers["retry-after"]) == (429, "1")
