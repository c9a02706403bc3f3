"""Copies of pages are found, whatever was done to them; pages that only look alike are not."""

import io
import signal
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.data.index.index import load_index
from docclf_cli.data.samples.samples import render_samples
from docclf_cli.errors import Interrupted
from docclf_cli.events import Event, Progress
from docclf_cli.profile.schema import DataConfig
from docclf_cli.stop import StopFlag
from docclf_cli.tasks.audit.near_duplicates import (
    RADIUS,
    SIMILARITY,
    candidates,
    find_near_duplicates,
    hash_pages,
    linked,
    whitened,
)
from docclf_cli.tasks.audit.registration import SIDE, registered_similarity

Change = Callable[[Image.Image], Image.Image]


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Image.Image]:
    """Thirty different pages of ten classes."""
    root = render_samples(tmp_path_factory.mktemp("copies") / "data", pages_per_class=3, test_pages_per_class=1)
    index = load_index(DataConfig(root=str(root)), "train")
    return [Image.open(index.path(row)).convert("RGB") for row in range(len(index))]


def small(page: Image.Image) -> np.ndarray:
    """As `audit` sees a page."""
    side = Preprocess(SIDE).size
    scale = side / max(page.size)
    page = page.convert("L").resize((round(page.width * scale), round(page.height * scale)), Image.Resampling.BILINEAR)
    square = Image.new("L", (side, side), 255)
    square.paste(page, ((side - page.width) // 2, (side - page.height) // 2))
    return np.asarray(square)


def recompressed(page: Image.Image) -> Image.Image:
    file = io.BytesIO()
    page.save(file, "JPEG", quality=25)
    return Image.open(file).convert("RGB")


def resized(page: Image.Image) -> Image.Image:
    return page.resize((page.width * 2 // 3, page.height * 2 // 3), Image.Resampling.BICUBIC)


def turned(degrees: float) -> Change:
    return lambda page: page.rotate(degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=(255, 255, 255))


def darker(page: Image.Image) -> Image.Image:
    return recompressed(page.point(lambda value: value * 0.8))


def paler(page: Image.Image) -> Image.Image:
    return page.point(lambda value: 60 + value * 0.6)


def darker_and_askew(page: Image.Image) -> Image.Image:
    return turned(-2)(darker(page))


CHANGES = {"recompressed": recompressed, "resized": resized, "turned": turned(1), "turned far": turned(-3),
           "darker": darker, "paler": paler, "darker and askew": darker_and_askew}  # fmt: skip


@pytest.mark.parametrize("corruption", CHANGES.values(), ids=CHANGES)
def test_planted_copies_are_found_and_nothing_else(samples: list[Image.Image], corruption: Change) -> None:
    copied = range(0, len(samples), 3)
    pages = np.stack([small(page) for page in samples] + [small(corruption(samples[row])) for row in copied])
    pairs = find_near_duplicates(np.arange(len(pages)), lambda rows: pages[rows])
    planted = {(row, len(samples) + number) for number, row in enumerate(copied)}
    found = set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    assert found <= planted
    assert len(found) >= len(planted) - 1


@pytest.mark.parametrize(("factor", "offset"), [(0.8, 0), (0.6, 80), (0.5, 0)])
def test_a_rescan_of_other_tones_is_the_same_page(samples: list[Image.Image], factor: float, offset: int) -> None:
    pages = np.stack([small(page) for page in samples[::5]])
    again = np.stack([small(page.point(lambda value: value * factor + offset)) for page in samples[::5]])
    assert ((hash_pages(pages)[:, 0, 0] != hash_pages(again)[:, 0, 0]).sum(axis=1) <= RADIUS // 2).all()
    assert (registered_similarity(whitened(pages), whitened(again)) > 0.95).all()


def test_a_copy_that_is_shaded_to_one_side_is_a_near_duplicate(samples: list[Image.Image]) -> None:
    pages = [small(page) for page in samples[::10]]
    shade = np.linspace(1, 0.6, SIDE)[None, :]
    copies = [(page * shade).astype(np.uint8) for page in pages]
    for copy, page in zip(copies, pages, strict=True):
        copy[:, (page == 255).all(axis=0)] = 255  # the padding of the square
    both = np.stack([*pages, *copies])
    pairs = find_near_duplicates(np.arange(len(both)), lambda rows: both[rows])
    found = set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    planted = {(row, row + len(pages)) for row in range(len(pages))}
    assert found <= planted
    assert len(found) >= len(planted) - 1


def test_whitened_paper_is_white_and_ink_keeps_its_distance() -> None:
    page = np.full((2, SIDE, SIDE), 255, dtype=np.uint8)
    page[1, :, 20:100] = 190
    page[1, 40:44, 30:90] = 20
    white = whitened(page)
    assert (white[0] == 255).all()
    assert (white[1, 0, 50], white[1, 41, 50], white[1, 41, 0]) == (255, 85, 255)


def test_rows_are_those_of_the_caller_and_blank_pages_have_no_near_duplicates(samples: list[Image.Image]) -> None:
    blank = np.full((SIDE, SIDE), 250, dtype=np.uint8)
    pages = {7: small(samples[0]), 3: small(recompressed(samples[0])), 11: blank, 12: blank}
    events: list[Event] = []
    pairs = find_near_duplicates(
        np.array([7, 11, 3, 12]), lambda rows: np.stack([pages[row] for row in rows.tolist()]),
        emit=events.append,
    )  # fmt: skip
    assert (pairs.first.tolist(), pairs.second.tolist()) == ([3], [7])
    assert events == [Progress("hashing pages", 4, 4), Progress("comparing pairs", 1, 1)]


@pytest.mark.parametrize("task", ["hashing pages", "comparing pairs"])
def test_a_stop_ends_the_search_at_its_next_block(samples: list[Image.Image], task: str) -> None:
    pages = np.stack([small(page) for page in samples])
    stop, events = StopFlag(), list[Progress]()

    def stop_in_task(event: Event) -> None:
        assert isinstance(event, Progress)
        events.append(event)
        if event.task == task:
            stop.signal_number = signal.SIGTERM

    with pytest.raises(Interrupted) as stopped:
        find_near_duplicates(
            np.arange(5 * len(pages)), lambda rows: pages[rows % len(pages)], emit=stop_in_task, stop=stop
        )
    assert stopped.value.exit_code == 143
    assert [event.task for event in events].count(task) == 1


def test_no_pages_no_pairs() -> None:
    pairs = find_near_duplicates(np.array([], dtype=np.int64), lambda rows: np.zeros((len(rows), SIDE, SIDE), np.uint8))
    assert len(pairs.first) == 0


def test_processes_change_nothing(samples: list[Image.Image]) -> None:
    pages = np.stack([small(page) for page in samples] * 3)
    one, two = (
        find_near_duplicates(np.arange(len(pages)), lambda rows: pages[rows], workers=workers) for workers in (0, 2)
    )
    assert len(one.first) == 3 * len(samples)  # three copies make three pairs
    assert (one.first == two.first).all()
    assert (one.similarity == two.similarity).all()


def test_a_shifted_and_stretched_page_is_the_same_page(samples: list[Image.Image]) -> None:
    page = samples[0]
    shear = (1.03, 0.02, -5, -0.02, 0.98, 4)
    moved = page.transform(
        page.size, Image.Transform.AFFINE, shear, Image.Resampling.BICUBIC, fillcolor=(255, 255, 255)
    )
    other = np.stack([small(moved), small(page), small(samples[15])])
    similarity = registered_similarity(np.stack([small(page)] * 3), other)
    assert similarity[0] > SIMILARITY
    assert similarity[1] == pytest.approx(1, abs=0.01)
    assert similarity[2] < 0.5


def test_other_text_on_the_same_form_is_another_page() -> None:
    rng = np.random.default_rng(0)
    form = np.full((SIDE, SIDE), 230, dtype=np.uint8)
    form[:, 14:16], form[:, -16:-14], form[20:22] = 20, 20, 20  # the frame of a book
    pages = []
    for _ in range(2):
        page = form.copy()
        for line in range(28, 112, 6):
            page[line : line + 2, 24:104] = np.where(rng.random(80) < 0.5, 120, 230)
        pages.append(page)
    assert registered_similarity(pages[0][None], pages[1][None])[0] < SIMILARITY


def test_candidates_differ_in_few_bits_of_any_turn() -> None:
    rng = np.random.default_rng(0)
    hashes = rng.random((4, 2, 144)) < 0.5
    hashes[1, 0] = hashes[0, 0]
    hashes[1, 0, :RADIUS] ^= True  # just near enough
    hashes[3, 1] = hashes[2, 0]  # only when turned
    one, other = candidates(hashes)
    assert list(zip(one.tolist(), other.tolist(), strict=True)) == [(0, 1), (2, 3)]
    hashes[1, 0, RADIUS] ^= True
    assert candidates(hashes)[0].tolist() == [2]


def test_a_hash_tells_pages_apart_and_is_empty_for_a_blank_one(samples: list[Image.Image]) -> None:
    bits = hash_pages(np.stack([small(samples[0]), small(samples[20]), np.full((SIDE, SIDE), 255, np.uint8)]))
    assert bits.shape == (3, 2, 3, 144)
    assert (bits[0, :, 0] != bits[1, :, 0]).sum(axis=1).min() > RADIUS
    assert not bits[2].any()


def test_linked_follows_chains() -> None:
    parts = linked(6, [(np.array([0, 3]), np.array([1, 4])), (np.array([1]), np.array([3]))])
    assert len(set(parts[[0, 1, 3, 4]])) == 1
    assert len(set(parts)) == 3


def test_pages_that_have_nothing_in_common_are_compared_as_well() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 256, (2, 3, SIDE, SIDE), dtype=np.uint8)
    assert (registered_similarity(a, b) < SIMILARITY).all()
    assert registered_similarity(a[:0], b[:0]).shape == (0,)
