"""`watch`: each file exactly once, whatever happens meanwhile."""

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_process import CliProcess
from page_cases import write_checkpoint, write_images, write_pdf

from docclf_cli.errors import InputError
from docclf_cli.files import sha256_of
from docclf_cli.profile.schema import RuntimeConfig
from docclf_cli.results.watching import WatchResult
from docclf_cli.stop import StopFlag
from docclf_cli.tasks.predict.page_predictions import DecisionRule, PageScores
from docclf_cli.tasks.serve.decoding import DecodeLimits, DecodePool
from docclf_cli.tasks.serve.served_model import ModelSource, ServedModel
from docclf_cli.tasks.unknown import UnknownRule
from docclf_cli.tasks.watch.watch import STATE, Watcher, WatchOptions

CLASSES = ("form", "=letter", "영수증", "a/b")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("run") / "best.ckpt", CLASSES)


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> ServedModel:
    return ModelSource("model", checkpoint, RuntimeConfig(workers=0, precision="fp32"), min_confidence=0.5).load()


@pytest.fixture(scope="module")
def pool() -> Iterator[DecodePool]:
    pool = DecodePool(1, DecodeLimits(pages=5))
    yield pool
    pool.close()


@pytest.fixture
def sort(model: ServedModel, pool: DecodePool, tmp_path: Path) -> Callable[..., WatchResult]:
    """Sort what is in `in` now."""

    def run(**changes: Any) -> WatchResult:
        options = WatchOptions(tmp_path / "in", tmp_path / "out", once=True, every=0.01, settle=0.02)
        options = replace(options, **changes)
        options.check()
        return Watcher(options, model, pool, StopFlag()).run()

    return run


def sorted_files(out: Path) -> dict[str, str]:
    """SHA-256 by place, without the watcher's own."""
    return {
        str(path.relative_to(out)): sha256_of(path)
        for path in sorted(out.rglob("*"))
        if path.is_file() and STATE not in path.parts
    }


def test_files_are_sorted_as_predict_decides(
    sort: Callable[..., WatchResult], model: ServedModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pages = write_images(tmp_path / "in" / "deep", 6)
    (tmp_path / "in" / "broken.png").write_bytes(b"no image")
    (tmp_path / "in" / "notes.docx").write_bytes(b"text")
    write_pdf(tmp_path / "in" / "long.pdf", range(6))  # more pages than the limit of the pool
    result = sort()
    assert (result.handled, result.unreadable, dict(result.left_out)) == (8, 2, {".docx": 1})
    assert "left out: 1 .docx" in caplog.text
    places = sorted_files(tmp_path / "out")
    assert set(places.values()) >= {sha256_of(path) for path in pages}
    assert {"_unreadable/broken.png", "_unreadable/long.pdf"} <= set(places)
    folders = {place.split("/deep/")[0].removeprefix("_review/") for place in places if "/deep/" in place}
    assert folders <= {"form", "=letter", "영수증", "a_b"}  # a class name never leads elsewhere
    assert sum(result.classes.values()) == 6
    assert all(path.exists() for path in pages)


def test_files_of_no_known_class_go_to_a_folder_of_their_own(
    model: ServedModel, pool: DecodePool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path / "in", 3)
    found = iter((2.0, 0.0, 2.0))  # log-odds; the checkpoint of these tests knows none
    scores = np.log([0.7, 0.1, 0.1, 0.1])
    monkeypatch.setattr(ServedModel, "outputs", lambda *_: [PageScores(scores, next(found))])
    rule = DecisionRule(threshold=0.5, unknown=UnknownRule(threshold=1.0))
    options = WatchOptions(tmp_path / "in", tmp_path / "out", once=True, every=0.01, settle=0.02)
    result = Watcher(options, replace(model, rule=rule), pool, StopFlag()).run()
    assert (result.handled, result.unknown, result.needs_review) == (3, 2, 2)
    assert sorted(sorted_files(tmp_path / "out")) == ["_unknown/p0000.png", "_unknown/p0002.png", "form/p0001.png"]


def test_nothing_is_sorted_twice(sort: Callable[..., WatchResult], tmp_path: Path) -> None:
    pages = write_images(tmp_path / "in", 3)
    sort()
    before = sorted_files(tmp_path / "out")
    pages[0].rename(tmp_path / "in" / "renamed.png")
    shutil.copy(pages[1], tmp_path / "in" / "copy.png")
    result = sort()
    assert (result.handled, result.duplicates) == (0, 4)
    assert sorted_files(tmp_path / "out") == before


def test_other_content_of_the_same_name_gets_a_number(sort: Callable[..., WatchResult], tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for content in (b"one", b"two"):
        (tmp_path / "in" / "a.png").write_bytes(content)
        sort(move=True)
    assert sorted(sorted_files(tmp_path / "out")) == ["_unreadable/a-2.png", "_unreadable/a.png"]
    assert list((tmp_path / "in").iterdir()) == []


def test_a_moved_file_is_removed_only_while_its_copy_is_there(sort: Callable[..., WatchResult], tmp_path: Path) -> None:
    (page,) = write_images(tmp_path / "in", 1)
    content = page.read_bytes()
    sort(move=True)
    (place,) = sorted_files(tmp_path / "out")
    (tmp_path / "out" / place).unlink()  # somebody took it away
    page.write_bytes(content)
    assert sort(move=True).handled == 1
    assert list(sorted_files(tmp_path / "out")) == [place]


def test_a_file_that_still_arrives_is_left_alone(model: ServedModel, pool: DecodePool, tmp_path: Path) -> None:
    (page,) = write_images(tmp_path / "in", 1)
    whole = page.read_bytes()
    page.write_bytes(whole[:50])
    options = WatchOptions(tmp_path / "in", tmp_path / "out", every=0.01, settle=0.3)
    watcher = Watcher(options, model, pool, StopFlag())
    with pytest.MonkeyPatch.context() as patch:
        rounds = iter(range(200))

        def grow() -> None:
            number = next(rounds)
            if number < 20:
                page.write_bytes(whole[: 60 + number])
            if number == 20:
                page.write_bytes(whole)
            if sorted_files(tmp_path / "out"):
                raise KeyboardInterrupt
            time.sleep(0.02)

        patch.setattr(watcher, "_pause", grow)
        with pytest.raises(KeyboardInterrupt):
            watcher.run()
    assert list(sorted_files(tmp_path / "out").values()) == [sha256_of(page)]


def test_a_command_gets_every_file_until_it_succeeds(sort: Callable[..., WatchResult], tmp_path: Path) -> None:
    write_images(tmp_path / "in", 2)
    log = tmp_path / "told.jsonl"
    script = tmp_path / "tell.py"
    script.write_text(f"import sys; open({str(log)!r}, 'a').write(sys.stdin.read() + '\\n')")
    assert sort(command=(sys.executable, "-c", "raise SystemExit(1)")).untold == 2
    assert sort(command=(sys.executable, str(script))).untold == 0
    sort(command=(sys.executable, str(script)))
    told = [json.loads(line) for line in log.read_text().splitlines()]
    assert sorted(one["id"] for one in told) == sorted(sorted_files(tmp_path / "out").values())
    assert {Path(one["destination"]).name for one in told} == {"p0000.png", "p0001.png"}
    assert all(one["document"]["predicted"] in CLASSES for one in told)


def test_a_full_disk_leaves_the_file_for_later(
    sort: Callable[..., WatchResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_images(tmp_path / "in", 1)
    real, failures = Watcher._put, iter((True, True, False))

    def put(self: Watcher, event: Any, content: bytes) -> None:
        if next(failures):
            (tmp_path / "out" / event["destination"]).parent.mkdir(parents=True, exist_ok=True)
            monkeypatch.setattr("os.fsync", _full)
            try:
                real(self, event, content)
            finally:
                monkeypatch.undo()
        else:
            real(self, event, content)

    patch = pytest.MonkeyPatch()
    patch.setattr(Watcher, "_put", put)
    try:
        result = sort()
    finally:
        patch.undo()
    assert result.handled == 1
    assert "stays in the inbox for now" in caplog.text
    assert len(sorted_files(tmp_path / "out")) == 1


def _full(_: int) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(("inbox", "out"), [("in", "in/out"), ("in", "in"), ("in/deep", "in"), ("gone", "out")])
def test_folders_that_overlap_are_refused(tmp_path: Path, inbox: str, out: str) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    with pytest.raises(InputError):
        WatchOptions(tmp_path / inbox, tmp_path / out).check()


def test_one_watcher_a_folder(
    start: Callable[..., CliProcess], sort: Callable[..., WatchResult], checkpoint: Path, tmp_path: Path
) -> None:
    write_images(tmp_path / "in", 1)
    running = start("watch", "in", "--out", "out", "--checkpoint", checkpoint, "--every", 0.05, "--settle", 0.05)
    end = time.monotonic() + 60
    while not sorted_files(tmp_path / "out") and time.monotonic() < end:
        time.sleep(0.05)
    with pytest.raises(InputError, match="is being written by process"):
        sort()
    running.send(15)
    outcome = running.wait()
    assert outcome.code == 143
    assert "each file is sorted once" in outcome.stderr


@pytest.mark.slow
def test_a_watcher_that_is_killed_loses_and_doubles_nothing(
    start: Callable[..., CliProcess], checkpoint: Path, tmp_path: Path
) -> None:
    inbox, out = tmp_path / "in", tmp_path / "out"
    pages = write_images(tmp_path / "later", 40)
    inbox.mkdir()
    log = tmp_path / "told.txt"
    script = tmp_path / "tell.py"
    script.write_text(f"import json, sys; open({str(log)!r}, 'a').write(json.load(sys.stdin)['id'] + '\\n')")
    args = ("watch", "in", "--out", "out", "--checkpoint", checkpoint, "--move", "--every", 0.05, "--settle", 0.05)
    expected = sorted(sha256_of(path) for path in pages)
    for number in range(6):
        for path in pages[number * 6 : number * 6 + 6]:
            shutil.copy(path, inbox / path.name)
        running = start(*args, "--exec", f"{sys.executable} {script}")
        seen, end = len(sorted_files(out)), time.monotonic() + 60
        while len(sorted_files(out)) < seen + 1 + number % 4 and time.monotonic() < end:
            time.sleep(0.01)
        running.kill_group()
        running.wait()
    for path in pages[36:]:
        shutil.copy(path, inbox / path.name)
    failing = start(*args, "--once", "--exec", f"{sys.executable} -c 1/0").wait()
    assert failing.code == 5, failing.stderr
    assert "they are sorted; the same command tells of them again" in failing.stderr
    assert start(*args, "--once", "--exec", f"{sys.executable} {script}").wait().code == 0
    assert sorted(sorted_files(out).values()) == expected
    assert list(inbox.iterdir()) == []
    assert sorted(set(log.read_text().split())) == expected  # at least once each
