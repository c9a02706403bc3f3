"""`watch --split-packets`: parts of packets once each, uncertain ones whole, whatever happens meanwhile."""

import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_process import CliProcess, Outcome
from packet_cases import CLASSES, with_boundaries, write_packet
from page_cases import write_checkpoint, write_images, write_tiff

from docclf_cli.files import sha256_of
from docclf_cli.tasks.watch.watch import STATE

pytest.importorskip("pypdfium2", reason="extra pdf")
pikepdf = pytest.importorskip("pikepdf", reason="extra packets")
PACKET = [("contract", 50), ("contract", 51), ("invoice", 52), ("invoice", 50), ("contract", 53), ("invoice", 54)]
SETTLED = ("--every", 0.05, "--settle", 0.05, "--packet-text", "layer")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint that knows nothing of packets, one that is sure of every cut, and one that is sure of none."""
    folder = tmp_path_factory.mktemp("models")
    plain = write_checkpoint(folder / "plain.ckpt", CLASSES)
    sure = {name: with_boundaries(plain, folder / f"{name}.ckpt", name == "sure") for name in ("sure", "unsure")}
    return {"plain": plain, **sure}


@pytest.fixture
def watch(start: Callable[..., CliProcess], models: dict[str, Path]) -> Callable[..., CliProcess]:
    def watch_(model: str, *args: object) -> CliProcess:
        checkpoint = models[model]
        return start("watch", "in", "--out", "out", "--checkpoint", checkpoint, "--split-packets", *SETTLED, *args)

    return watch_


def sorted_files(out: Path) -> list[Path]:
    return sorted(path for path in out.rglob("*") if path.is_file() and STATE not in path.parts)


def pages_of(path: Path) -> int:
    with pikepdf.open(path) as pdf:
        return len(pdf.pages)


def teller(folder: Path) -> tuple[str, Callable[[], list[Any]]]:
    """A command for `--exec` that writes down what it is told, and what it was told so far."""
    log, script = folder / "told.jsonl", folder / "tell.py"
    script.write_text(f"import sys; open({str(log)!r}, 'a').write(sys.stdin.read() + '\\n')")
    return f"{sys.executable} {script}", lambda: [json.loads(line) for line in log.read_text().splitlines()]


def test_parts_are_sorted_like_files_of_their_own(
    watch: Callable[..., CliProcess],
    docclf: Callable[..., Outcome],
    models: dict[str, Path],
    tmp_path: Path,
) -> None:
    inbox, out = tmp_path / "in", tmp_path / "out"
    (inbox / "deep").mkdir(parents=True)
    ranges = write_packet(inbox / "deep" / "packet.pdf", PACKET)
    write_packet(inbox / "one.pdf", [("invoice", 2)])  # three pages, one document
    write_images(inbox, 1)
    names = [f"packet_p{first}-{last}.pdf" for first, last in ranges]
    taken = out / CLASSES[0] / "deep" / names[0]
    taken.parent.mkdir(parents=True)
    taken.write_bytes(b"of somebody else")
    command, told = teller(tmp_path)
    outcome = watch("sure", "--once", "--json", "--min-confidence", 0, "--exec", command).wait()
    assert outcome.code == 0, outcome.stderr
    assert (outcome.json["handled"], outcome.json["packets"], outcome.json["parts"]) == (3, 1, len(ranges))
    assert sum(outcome.json["classes"].values()) == 2 + len(ranges)
    assert taken.read_bytes() == b"of somebody else"
    found = {one["id"]: one for one in told()}
    key = sha256_of(inbox / "deep" / "packet.pdf")
    parts = [found[f"{key}-p{first}-{last}"] for first, last in ranges]
    assert len(found) == 2 + len(ranges)
    assert [pages_of(tmp_path / part["destination"]) for part in parts] == [last - first + 1 for first, last in ranges]
    assert {Path(part["destination"]).name.replace("-2.pdf", ".pdf") for part in parts} <= {*names, names[-1]}
    assert all(
        part["packet"] == key and part["pages"] == list(pages) for part, pages in zip(parts, ranges, strict=True)
    )
    assert (tmp_path / found[sha256_of(inbox / "one.pdf")]["destination"]).read_bytes() == (
        inbox / "one.pdf"
    ).read_bytes()
    rows = docclf("predict", *(part["destination"] for part in parts), "--checkpoint", models["sure"], "--json").json
    expected = {row["path"]: row["predicted"] for row in rows["documents"]}
    assert {part["destination"]: part["document"]["predicted"] for part in parts} == expected
    assert [Path(part["destination"]).parts[1] for part in parts] == list(expected.values())
    assert not list((out / STATE / "parts").iterdir())
    before = sorted_files(out)
    shutil.copy(inbox / "deep" / "packet.pdf", inbox / "again.pdf")
    assert watch("sure", "--once", "--json").wait().json["duplicates"] == 4
    assert sorted_files(out) == before


def test_what_is_uncertain_goes_to_review_whole(watch: Callable[..., CliProcess], tmp_path: Path) -> None:
    inbox, out = tmp_path / "in", tmp_path / "out"
    inbox.mkdir()
    ranges = write_packet(inbox / "packet.pdf", PACKET)
    write_packet(inbox / "one.pdf", [("invoice", 0)])
    (inbox / "broken.pdf").write_bytes(b"%PDF-1.7 nothing else")
    write_tiff(inbox / "scan.tif", range(3))
    command, told = teller(tmp_path)
    outcome = watch("unsure", "--once", "--json", "--exec", command).wait()
    assert outcome.code == 0, outcome.stderr
    assert (outcome.json["packets"], outcome.json["unreadable"]) == (0, 1)
    assert (out / "_review" / "packet.pdf").read_bytes() == (inbox / "packet.pdf").read_bytes()
    assert (out / "_unreadable" / "broken.pdf").is_file()
    assert not (out / "_review" / "one.pdf").exists()
    (about,) = (one for one in told() if one["source"].endswith("packet.pdf"))
    assert about["uncertain"] == [first for first, _ in ranges[1:]]
    assert about["document"]["needs_review"] is True
    assert about["document"]["decision"] == "review"
    assert "page 4, 5, 7" in about["document"]["status"]


def test_a_tiff_is_split_into_tiffs(watch: Callable[..., CliProcess], tmp_path: Path) -> None:
    """Without text nothing tells these pages apart, so the model is told that every page is sure to be a document."""
    inbox = tmp_path / "in"
    inbox.mkdir()
    write_tiff(inbox / "scan.tif", range(4))
    outcome = watch("sure", "--once", "--json").wait()
    assert outcome.code == 0, outcome.stderr
    files = sorted_files(tmp_path / "out")
    assert len(files) == max(1, outcome.json["parts"])
    assert {path.suffix for path in files} == {".tif"}


def test_a_model_without_packets_is_refused_at_the_start(watch: Callable[..., CliProcess], tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    outcome = watch("plain", "--once").wait()
    assert outcome.code == 4
    assert "was not trained to split packets" in outcome.stderr
    assert "docclf train FOLDER --packets" in outcome.stderr
    assert not (tmp_path / "out").exists()
    wrong = watch("sure", "--once", "--cut-precision", 1).wait()
    assert (wrong.code, "--cut-precision: 1 is not between" in wrong.stderr) == (2, True)


def test_a_watcher_that_is_killed_between_parts_goes_on_there(watch: Callable[..., CliProcess], tmp_path: Path) -> None:
    inbox, out = tmp_path / "in", tmp_path / "out"
    inbox.mkdir()
    packet = [(label, number) for number in range(40, 54) for label in CLASSES]
    ranges = write_packet(inbox / "packet.pdf", packet)
    command, told = teller(tmp_path)
    args = ("--min-confidence", 0, "--exec", command)
    running = watch("sure", *args)
    end = time.monotonic() + 60
    while len(sorted_files(out)) < 3 and time.monotonic() < end:
        time.sleep(0.001)
    running.kill_group()
    running.wait()
    before = {path: path.stat().st_ino for path in sorted_files(out)}
    assert 3 <= len(before) < len(ranges), "it was not killed between parts"
    (gone,) = (path for path in before if path.name == f"packet_p{ranges[0][0]}-{ranges[0][1]}.pdf")
    gone.unlink()  # somebody has taken it away: it was placed once, and is not placed again
    outcome = watch("sure", "--once", "--json", *args).wait()
    assert outcome.code == 0, outcome.stderr
    after = {path: path.stat().st_ino for path in sorted_files(out)}
    assert {path: after[path] for path in before if path != gone} == {
        path: inode for path, inode in before.items() if path != gone
    }
    assert sum(pages_of(path) for path in after) < ranges[-1][1]
    names = {f"packet_p{first}-{last}.pdf" for first, last in ranges}
    assert {path.name for path in after} | {gone.name} == names
    assert len(after) == len(ranges) - 1
    assert watch("sure", "--once", "--json", "--move", *args).wait().code == 0
    assert list(inbox.iterdir()) == []
    assert {one["id"].rpartition("-p")[2] for one in told()} == {f"{first}-{last}" for first, last in ranges}
