"""The built-in sample documents."""

import csv
import hashlib
import random
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from docclf_cli.data.samples import samples
from docclf_cli.data.samples import sheet as sample_sheet
from docclf_cli.data.samples.pages import KINDS, LAYOUTS, render_page
from docclf_cli.data.samples.samples import render_samples, samples_root
from docclf_cli.errors import Interrupted, ResourceError
from docclf_cli.events import Event, Progress
from docclf_cli.stop import StopFlag


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _content(root: Path) -> dict[str, str]:
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_samples(tmp_path_factory.mktemp("samples") / "data", pages_per_class=3, test_pages_per_class=2)


@pytest.mark.parametrize(("split", "pages"), [("train", 3), ("test", 2)])
def test_each_class_has_its_pages(root: Path, split: str, pages: int) -> None:
    rows = _rows(root / f"{split}.csv")
    assert Counter(row["target"] for row in rows) == {str(target): pages for target in range(len(KINDS))}
    assert {row["ID"] for row in rows} == {path.name for path in (root / split).iterdir()}


def test_the_classes_are_named(root: Path) -> None:
    rows = _rows(root / "meta.csv")
    assert [int(row["target"]) for row in rows] == list(range(len(rows)))
    assert len(rows) >= 10
    assert {"receipt", "invoice", "resume", "passport", "licence_plate"} <= {row["class_name"] for row in rows}


def test_the_submission_has_placeholders_in_the_order_of_the_test_pages(root: Path) -> None:
    rows = _rows(root / "sample_submission.csv")
    assert [row["ID"] for row in rows] == [row["ID"] for row in _rows(root / "test.csv")]
    assert {row["target"] for row in rows} == {"0"}


def test_names_and_order_do_not_give_the_class_away(root: Path) -> None:
    rows = _rows(root / "train.csv")
    assert all(len(row["ID"]) == len(rows[0]["ID"]) for row in rows)
    assert not any(kind in row["ID"] for row in rows for kind in KINDS)
    targets = [row["target"] for row in rows]
    assert sum(a == b for a, b in pairwise(targets)) < len(rows) / 3


def test_the_same_seed_writes_the_same_bytes(root: Path, tmp_path: Path) -> None:
    again = render_samples(tmp_path / "again", pages_per_class=3, test_pages_per_class=2)
    assert _content(again) == _content(root)


def test_another_seed_or_more_pages(root: Path, tmp_path: Path) -> None:
    """A page depends on its seed, class and number: more pages leave the earlier ones as they are."""
    more = _content(render_samples(tmp_path / "more", pages_per_class=4, test_pages_per_class=0))
    other = _content(render_samples(tmp_path / "other", pages_per_class=1, test_pages_per_class=0, seed=1))
    pages = {name: digest for name, digest in _content(root).items() if name.startswith("train/")}
    assert pages.items() <= more.items()
    assert not set(pages.values()) & set(other.values())


@pytest.mark.parametrize("kind", KINDS)
def test_pages_are_of_a_usual_size_and_never_blank(kind: str) -> None:
    for number in range(12):
        page = render_page(kind, 3, number)
        assert page.mode == "RGB"
        assert min(page.size) >= 190
        assert max(page.size) <= 900
        assert np.asarray(page.convert("L")).std() > 5


@pytest.mark.parametrize("kind", KINDS)
def test_layouts_differ_when_chance_does_not(kind: str) -> None:
    drawn = [np.asarray(KINDS[kind](random.Random(5), layout).image.resize((64, 64))) for layout in range(LAYOUTS)]
    assert LAYOUTS >= 3
    assert all((drawn[a] != drawn[b]).mean() > 0.02 for a in range(LAYOUTS) for b in range(a))


def test_one_template_does_not_give_the_class_away() -> None:
    """The nearest of ten thumbnails a class is often one of another class, though far less than chance has it."""
    pages = [(kind, number) for kind in KINDS for number in range(15)]
    thumbnails = [render_page(kind, 0, number).convert("L").resize((16, 16)) for kind, number in pages]
    flat = np.array([np.asarray(page, dtype=float).ravel() for page in thumbnails])
    known = np.array([number < 10 for _, number in pages])
    kinds = np.array([kind for kind, _ in pages])
    nearest = ((flat[~known][:, None] - flat[known][None]) ** 2).sum(axis=2).argmin(axis=1)
    assert 0.3 < (kinds[known][nearest] == kinds[~known]).mean() < 0.9


def test_without_a_hangul_font_korean_is_said_in_english(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    monkeypatch.setattr(sample_sheet, "hangul", lambda size: None)
    sheet = sample_sheet.Sheet(random.Random(0), 200, 200)
    monkeypatch.setattr(sheet.draw, "text", lambda at, text, **options: written.append(text))
    for text in ("여권 PASSPORT", "12가 3456", "receipt"):
        sheet.put(text)
    assert written == ["REPUBLIC PASSPORT", "12K 3456", "receipt"]


def test_a_folder_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    (root / "mine.txt").write_text("x")
    assert render_samples(root, pages_per_class=1, test_pages_per_class=1) == root
    assert [path.name for path in root.iterdir()] == ["mine.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def _interrupted(*args: object) -> None:
    raise KeyboardInterrupt


def _full(*args: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(("fault", "seen"), [(_interrupted, KeyboardInterrupt), (_full, ResourceError)])
def test_whole_or_absent(
    fault: Callable[..., None], seen: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tables are written last: by then there are pages, and all of them are removed again."""
    monkeypatch.setattr(samples, "_write_csv", fault)
    with pytest.raises(seen):
        render_samples(tmp_path / "data", pages_per_class=1, test_pages_per_class=0)
    assert list(tmp_path.iterdir()) == []


def test_drawing_reports_each_page_and_can_be_stopped(tmp_path: Path) -> None:
    events: list[Event] = []
    render_samples(tmp_path / "data", pages_per_class=1, test_pages_per_class=0, emit=events.append)
    progress = [event for event in events if isinstance(event, Progress)]
    assert [event.done for event in progress] == list(range(1, progress[0].total + 1))
    stop = StopFlag()
    stop.signal_number = 15
    with pytest.raises(Interrupted):
        render_samples(tmp_path / "other", pages_per_class=1, test_pages_per_class=0, stop=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_two_processes_may_render_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one is first, while this one still draws."""
    root, write = tmp_path / "data", samples._write

    def overtaken(*args: object) -> None:
        write(*args)  # type: ignore[arg-type]
        root.mkdir()
        (root / "first.txt").write_text("x")

    monkeypatch.setattr(samples, "_write", overtaken)
    assert render_samples(root, pages_per_class=1, test_pages_per_class=0) == root
    assert [path.name for path in tmp_path.rglob("*")] == ["data", "first.txt"]


def test_the_users_cache_keeps_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "_write", lambda root, *args: root.mkdir())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert samples_root() == tmp_path / "cache" / "docclf" / f"samples-v{samples.VERSION}"
    assert samples_root().is_dir()
