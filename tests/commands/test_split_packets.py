"""`docclf train --packets` and `docclf split-packets`, end to end on tiny PDFs."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cli_process import CliProcess, Outcome
from packet_cases import write_documents, write_packet
from page_cases import page, write_encrypted_pdf, write_tiff

from docclf_cli.engine.checkpoints.checkpoint import Checkpoint

pytest.importorskip("pypdfium2", reason="extra pdf")
pikepdf = pytest.importorskip("pikepdf", reason="extra packets")
PACKET = [("contract", 50), ("contract", 51), ("invoice", 52), ("invoice", 50), ("contract", 53), ("invoice", 54)]
TRAIN = (
    "--profile", "config", "--model", "test_resnet", "--no-pretrained", "--image-size", "48", "--batch-size", "8",
    "--augmentation", "none", "--epochs", "1", "--set", "data.val_fraction=0.3", "--set", "data.degraded_validation=false",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, cache_home: Path) -> Path:
    """A working folder with a run that splits packets, and a packet."""
    place = tmp_path_factory.mktemp("packets")
    write_documents(place / "documents", 24)
    args = ("train", "documents", *TRAIN, "--packets", "--name", "mine", "--quiet")
    outcome = CliProcess(args, place, {"XDG_CACHE_HOME": str(cache_home)}).wait()
    assert outcome.code == 0, outcome.stderr
    write_packet(place / "packet.pdf", PACKET)
    return place


@pytest.fixture
def split(folder: Path, start: Callable[..., CliProcess]) -> Callable[..., Outcome]:
    """`docclf split-packets runs/mine …` by the text of PDFs."""

    def run(*args: object) -> Outcome:
        return start("split-packets", "runs/mine", *args, "--text", "layer", cwd=folder).wait()

    return run


def test_documents_are_found_and_written(folder: Path, split: Callable[..., Outcome], tmp_path: Path) -> None:
    parts, table = tmp_path / "parts", tmp_path / "parts.csv"
    outcome = split("packet.pdf", "--write", parts, "--output", table, "--target-precision", "0.6", "--json")
    assert outcome.code == 0, outcome.stderr
    ranges = write_packet(tmp_path / "again.pdf", PACKET)
    found = outcome.json["parts"]
    assert [(one["first_page"], one["last_page"]) for one in found] == ranges
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == [one["predicted"] for one in found]
    assert [int(row["last_page"]) for row in rows] == [last for _, last in ranges]
    written = sorted({Path(one["file"]) for one in found})
    assert outcome.json["written"] == len(written) == len([*parts.rglob("*.pdf")])
    counted = 0
    for path in written:
        with pikepdf.open(path) as part:
            counted += len(part.pages)
    assert counted == ranges[-1][1]
    again = split("packet.pdf", "--write", parts, "--target-precision", "0.6", "--json")
    assert again.json["written"] == 0
    assert len([*parts.rglob("*.pdf")]) == len(written)


def test_uncertain_ranges_are_written_uncut(folder: Path, start: Callable[..., CliProcess], tmp_path: Path) -> None:
    best = Checkpoint.load(folder / "runs" / "mine" / "best.ckpt")
    arrays = dict(best.boundaries)
    for kind in ("text", "image"):  # as if no cut on held-out documents had been right, so that no cut is sure
        arrays[f"{kind}.held_out.boundary"] = np.zeros_like(arrays[f"{kind}.held_out.boundary"])
    replace(best, boundaries=arrays).save(folder / "unsure.ckpt")
    args = ("unsure.ckpt", "packet.pdf", "--write", tmp_path, "--text", "layer", "--json")
    outcome = start("split-packets", *args, cwd=folder).wait()
    assert outcome.code == 0, outcome.stderr
    assert [limit["cut_from"] for limit in outcome.json["limits"]] == [None, None]
    assert outcome.json["found"] > 1
    assert outcome.json["review"] == outcome.json["found"]
    (whole,) = tmp_path.rglob("*.pdf")
    assert whole.parent == tmp_path / "_review"
    with pikepdf.open(whole) as part, pikepdf.open(folder / "packet.pdf") as packet:
        assert len(part.pages) == len(packet.pages)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_odd_packets(folder: Path, split: Callable[..., Outcome], tmp_path: Path, suffix: str) -> None:
    """One page, encrypted, damaged, TIFF and image: each has its rows, and none stops the others."""
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    write_packet(inbox / "1.pdf", [("contract", 0)])
    write_encrypted_pdf(inbox / "2.pdf")
    (inbox / "3.pdf").write_bytes(b"%PDF-1.7 nothing else")
    write_tiff(inbox / "4.tif", range(3))
    page(1).save(inbox / "5.png")
    table = tmp_path / f"parts{suffix}"
    outcome = split(inbox, "--output", table, "--write", tmp_path / "parts")
    assert outcome.code == 3
    assert "2 of 7 pages cannot be read" in outcome.stderr
    text = table.read_text(encoding="utf-8")
    rows = (
        [json.loads(line) for line in text.splitlines()]
        if suffix == ".jsonl"
        else list(csv.DictReader(text.splitlines()))
    )
    by_name = {}
    for row in rows:
        by_name.setdefault(Path(row["packet"]).name, []).append(row)
    assert [*by_name] == ["1.pdf", "2.pdf", "3.pdf", "4.tif", "5.png"]
    assert "password" in by_name["2.pdf"][0]["status"]
    assert "damaged" in by_name["3.pdf"][0]["status"]
    assert not by_name["2.pdf"][0]["file"]
    assert int(by_name["4.tif"][-1]["last_page"]) == 3
    assert all(Path(row["file"]).is_file() for name in ("1.pdf", "4.tif", "5.png") for row in by_name[name])
    assert split(inbox, "--max-unreadable", "1", "--json").code == 0


def test_what_is_refused(folder: Path, start: Callable[..., CliProcess]) -> None:
    def refused(*args: object) -> str:
        outcome = start(*args, cwd=folder).wait()
        assert outcome.code in (2, 4), outcome.stderr
        assert "Traceback" not in outcome.stderr
        return outcome.stderr

    assert "no packet is named" in refused("split-packets", "runs/mine")
    assert "--target-precision" in refused("split-packets", "runs/mine", "packet.pdf", "--target-precision", "1.5")
    assert "--text" in refused("split-packets", "runs/mine", "packet.pdf", "--text", "all")
    assert ".csv or .jsonl" in refused("split-packets", "runs/mine", "packet.pdf", "--output", "a.xlsx")
    inside = refused("split-packets", "runs/mine", "documents", "--write", "documents/parts")
    assert "would become packets of the next call" in inside
    plain = Checkpoint.load(folder / "runs" / "mine" / "best.ckpt")
    replace(plain, boundaries={}).save(folder / "plain.ckpt")
    message = refused("split-packets", "plain.ckpt", "packet.pdf")
    assert "--packets" in message


def test_a_model_that_only_reads_splits_packets(folder: Path, start: Callable[..., CliProcess], tmp_path: Path) -> None:
    args = ("documents", "--model", "text", "--packets", "--name", "reads", "--quiet", "--set", "data.val_fraction=0.3")
    trained = start("train", *args, cwd=folder).wait()
    assert trained.code == 0, trained.stderr
    outcome = start("split-packets", "runs/reads", "packet.pdf", "--text", "layer", "--json", cwd=folder).wait()
    assert outcome.code == 0, outcome.stderr
    found = [(one["first_page"], one["last_page"], one["predicted"]) for one in outcome.json["parts"]]
    ranges = write_packet(tmp_path / "again.pdf", PACKET)
    assert found == [(*pages, label) for pages, (label, _) in zip(ranges, PACKET, strict=True)]


def test_too_few_documents_are_said_before_training(
    folder: Path, docclf: Callable[..., Outcome], tmp_path: Path
) -> None:
    write_documents(tmp_path / "few", 6)
    outcome = docclf("train", "few", *TRAIN, "--packets", "--name", "few")
    assert outcome.code == 2
    assert "it takes 20" in outcome.stderr
    assert not (tmp_path / "runs" / "few" / "last.ckpt").exists()


def test_runs_without_packets_hold_nothing_of_it(folder: Path, docclf: Callable[..., Outcome], tmp_path: Path) -> None:
    write_documents(tmp_path / "few", 6)
    outcome = docclf("train", "few", *TRAIN, "--name", "plain", "--quiet")
    assert outcome.code == 0, outcome.stderr
    assert not Checkpoint.load(tmp_path / "runs" / "plain" / "best.ckpt").boundaries
