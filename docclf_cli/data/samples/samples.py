"""The built-in sample documents: for trying docclf out and for tests, never for claims about accuracy."""

from __future__ import annotations

import csv
import hashlib
import itertools
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from docclf_cli.data.samples.pages import KINDS, render_page
from docclf_cli.errors import ResourceError
from docclf_cli.events import Emit, Progress, silent
from docclf_cli.files import TEMP_PREFIX
from docclf_cli.stop import NEVER, StopFlag
from docclf_cli.user_folders import cache_home

VERSION = 2  # moves the cache folder when the drawings change
TRAIN_PAGES, TEST_PAGES = 40, 10


def samples_root(emit: Emit = silent, stop: StopFlag = NEVER) -> Path:
    """The folder of the default samples in the user's cache, drawn on first use.

    Args:
        emit: Consumer of progress events.
        stop: Polled between pages.

    Raises:
        Interrupted: `stop` was set.
    """
    return render_samples(cache_home() / f"samples-v{VERSION}", emit=emit, stop=stop)


def render_samples(
    root: Path,
    *,
    pages_per_class: int = TRAIN_PAGES,
    test_pages_per_class: int = TEST_PAGES,
    seed: int = 0,
    emit: Emit = silent,
    stop: StopFlag = NEVER,
) -> Path:
    """Write sample documents in the competition layout; a folder that is there already stays as it is.

    Args:
        root: The data root to write.
        pages_per_class: Training pages of each class.
        test_pages_per_class: Labelled test pages of each class.
        seed: Decides every page.
        emit: Consumer of progress events.
        stop: Polled between pages.

    Returns:
        `root`.

    Raises:
        Interrupted: `stop` was set; nothing is left.
        ResourceError: The folder cannot be written.
    """
    if root.is_dir():
        return root
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=TEMP_PREFIX, dir=root.parent) as temp:
            finished = Path(temp) / root.name
            _write(finished, pages_per_class, test_pages_per_class, seed, emit, stop)
            try:
                finished.rename(root)
            except OSError:  # another process was first; its pages are the same
                if not root.is_dir():
                    raise
    except OSError as error:
        message = f"{root}: the samples cannot be written: {error.strerror or error}"
        raise ResourceError(message, "XDG_CACHE_HOME names the folder that caches are kept in") from error
    return root


def _write(root: Path, train_pages: int, test_pages: int, seed: int, emit: Emit, stop: StopFlag) -> None:
    names = sorted(KINDS)
    total, done = len(names) * (train_pages + test_pages), itertools.count(1)

    def drawn() -> None:
        emit(Progress("drawing sample pages", next(done), total))
        stop.raise_if_set("stopped while sample pages were drawn", "start the command again")

    train = _render(root / "train", names, range(train_pages), seed, drawn)
    test = _render(root / "test", names, range(train_pages, train_pages + test_pages), seed, drawn)
    _write_csv(root / "train.csv", ("ID", "target"), train)
    _write_csv(root / "test.csv", ("ID", "target"), test)
    _write_csv(root / "sample_submission.csv", ("ID", "target"), [(name, 0) for name, _ in test])
    _write_csv(root / "meta.csv", ("target", "class_name"), list(enumerate(names)))


def _render(
    folder: Path, names: Sequence[str], numbers: range, seed: int, drawn: Callable[[], None]
) -> list[tuple[str, int]]:
    folder.mkdir(parents=True)
    rows = []
    for target, kind in enumerate(names):
        for number in numbers:
            # The file name must not give the class away.
            name = hashlib.sha256(f"{kind}/{seed}/{number}".encode()).hexdigest()[:16] + ".jpg"
            render_page(kind, seed, number).save(folder / name, quality=80)
            rows.append((name, target))
            drawn()
    return sorted(rows)


def _write_csv(path: Path, head: tuple[str, str], rows: Sequence[tuple[object, object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(head)
        writer.writerows(rows)
