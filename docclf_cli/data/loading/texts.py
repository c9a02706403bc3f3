"""The texts of many pages: from the store where they were read before, else from their files, by several processes."""

from __future__ import annotations

import functools
import importlib.metadata
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from docclf_cli.data.images.page_files import PDF_SUFFIX, PageReader
from docclf_cli.data.loading.cache import identities
from docclf_cli.data.loading.text_store import TextStore
from docclf_cli.data.loading.worker_pool import Job, by_processes
from docclf_cli.data.text.ocr import HINT, OcrEngine, ocr_engine, require_ocr
from docclf_cli.data.text.page_text import NO_TEXT, PageText, TextMode
from docclf_cli.data.text.read import layer_text, ocr_text, page_text
from docclf_cli.events import Emit, Progress, silent
from docclf_cli.files import fingerprint_of
from docclf_cli.models.text_features import TextPage
from docclf_cli.stop import NEVER, StopFlag

if TYPE_CHECKING:
    from docclf_cli.data.index.documents import DocumentIndex
    from docclf_cli.data.index.file_list import PageList
    from docclf_cli.profile.schema import DataConfig

RULES = 1  # of `data.text`: counts up when the same page gives another text
READING, OCR = "reading text", "reading text by OCR"
_SAVE_SECONDS = 5.0
logger = logging.getLogger("docclf")


def has_layers(index: DocumentIndex) -> bool:
    """Whether any file of an index can hold text; where none does, looking for layers costs nothing."""
    return any(name.lower().endswith(PDF_SUFFIX) for name in index.paths.tolist())


def page_texts(
    index: DocumentIndex,
    config: DataConfig,
    mode: TextMode,
    *,
    workers: int = 0,
    emit: Emit = silent,
    stop: StopFlag = NEVER,
) -> list[PageText]:
    """The text of each row of an index; an empty one where a page has none.

    Args:
        index: The pages.
        config: `cache`, `max_pixels` and `allow_symlinks`.
        mode: As for `page_text`: `ocr` and `auto` read pages without a layer by OCR.
        workers: Processes to read with; below two it happens in this one.
        emit: Consumer of progress.
        stop: Polled between pages; texts already read are stored.

    Raises:
        InputError: Mode `ocr`, and no engine is installed.
        Interrupted: `stop` was set.
        ResourceError: A worker process died.
    """
    found = [NO_TEXT] * len(index)
    if mode == "off" or not len(index):
        return found
    store = TextStore(config.cache)
    names = identities(index)
    pdfs = [row for row, name in enumerate(index.paths.tolist()) if name.lower().endswith(PDF_SUFFIX)]
    if pdfs:
        kind = f"layer {RULES} pypdfium2 {importlib.metadata.version('pypdfium2')}"
        _fill(found, pdfs, _Reading(index, config, names, kind, layer_text, READING), store, workers, emit, stop)
    if mode == "layer":
        return found
    engine = require_ocr() if mode == "ocr" else ocr_engine()
    without = [row for row, text in enumerate(found) if not text]
    if engine is not None and without:
        kind = f"ocr {RULES} {engine}"
        reading = _Reading(index, config, names, kind, ocr_text, OCR, engine)
        _fill(found, without, reading, store, workers, emit, stop)
    return found


class _Reading:
    """One way to read pages of an index.

    Args:
        index: The pages.
        config: `max_pixels` and `allow_symlinks`.
        names: Identity of each row.
        kind: What decides the text besides the file.
        read: The text of a page from (reader, path, page, root).
        task: Its name in progress events.
        engine: Of OCR.
    """

    def __init__(
        self,
        index: DocumentIndex,
        config: DataConfig,
        names: Sequence[str],
        kind: str,
        read: Callable[..., PageText],
        task: str,
        engine: OcrEngine | None = None,
    ) -> None:
        self.index, self.config, self.names, self.kind = index, config, names, kind
        self.read, self.task, self.engine = read, task, engine

    @functools.cached_property
    def reader(self) -> PageReader:
        """Keeps the file open for its next page."""
        return PageReader(self.config.max_pixels, self.config.allow_symlinks)

    def key(self, row: int) -> str:
        """Of the text of a row in the store."""
        return fingerprint_of(self.names[row], self.kind)

    def __call__(self, jobs: Sequence[Job]) -> Iterator[tuple[int, PageText]]:
        """(row, text) of each job."""
        for job in jobs:
            yield job.row, self.read(self.reader, job.path, self.index.page(job.row), self.index.root)


def _fill(
    found: list[PageText],
    rows: Sequence[int],
    reading: _Reading,
    store: TextStore,
    workers: int,
    emit: Emit,
    stop: StopFlag,
) -> None:
    """Put the texts of some rows in their places, from the store or from the files."""
    key_of = {row: reading.key(row) for row in rows}
    known = store.load(list(key_of.values()))
    missing = []
    for row, key in key_of.items():
        if key in known:
            found[row] = known[key]
        else:
            missing.append(row)
    if not missing:
        return
    if reading.engine is not None:
        logger.info("text: %d pages without a text layer are read by %s", len(missing), reading.engine)
    jobs = [Job(row, row, reading.index.path(row)) for row in missing]
    several = workers >= 2 and len(jobs) >= 2
    if several:  # a page whose decoder crashes has no text; whoever reads its pixels says so
        results = by_processes(reading, jobs, workers, stop, lambda job: (job.row, PageText()))
    else:
        results = reading(jobs)
    fresh: dict[str, PageText] = {}
    saved, done = time.monotonic(), len(rows) - len(missing)
    for row, text in results:
        found[row] = fresh[key_of[row]] = text
        done += 1
        emit(Progress(reading.task, done, len(rows)))
        if time.monotonic() - saved > _SAVE_SECONDS:
            store.save(fresh)
            fresh, saved = {}, time.monotonic()
        if stop():
            break
    store.save(fresh)
    stop.raise_if_set("stopped while reading text", "start the command again; texts already read are kept")


def text_pages(
    index: DocumentIndex, config: DataConfig, source: str, workers: int, emit: Emit = silent, stop: StopFlag = NEVER
) -> list[TextPage]:
    """The text of each row as the text model takes it.

    Args:
        index: The pages.
        config: As for `page_texts`.
        source: `layer`, or `ocr`: also by OCR where an engine is installed here.
        workers: Processes to read with.
        emit: Consumer of progress.
        stop: Polled between pages.
    """
    found = page_texts(index, config, mode_of(source), workers=workers, emit=emit, stop=stop)
    return [TextPage(text.text, index.page(row) == 0) for row, text in enumerate(found)]


def mode_of(source: str) -> TextMode:
    """How a model whose text comes from `source` (`layer`, `ocr`) reads: without an OCR engine layers are all there is."""
    if source == "ocr" and ocr_engine() is None:
        _say_no_engine()
        return "layer"
    return "auto" if source == "ocr" else "layer"


@functools.cache
def _say_no_engine() -> None:
    logger.warning("the model reads pages by OCR, and no engine is installed here: %s", HINT)


@dataclass(frozen=True)
class FileTexts:
    """Texts of pages by number, for data loaders: each is read from its file.

    Attributes:
        place: (path or content, page counted from 0, folder that it may not leave) of a number; None for what is no file.
        reader: Keeps the file open for its next page.
        source: `layer` or `ocr`.
    """

    place: Callable[[int], tuple[Path | bytes, int, Path | None] | None]
    reader: PageReader
    source: str

    def __call__(self, number: int) -> TextPage:
        found = self.place(number)
        if found is None:
            return TextPage("")
        file, page, root = found
        if self.source == "layer" and isinstance(file, Path) and file.suffix.lower() != PDF_SUFFIX:
            return TextPage("")
        text = page_text(file, page, mode_of(self.source), reader=self.reader, root=root)
        return TextPage(text.text, page == 0)


@dataclass(frozen=True)
class _ListedPlaces:
    """Where the pages of a list are."""

    pages: PageList

    def __call__(self, number: int) -> tuple[Path, int, Path | None]:
        row, page = self.pages.place(number)
        path, root = self.pages.files.path(row)
        return path, page, root


def texts_of(pages: PageList, reader: PageReader, source: str) -> FileTexts:
    """The texts of a list of files."""
    return FileTexts(_ListedPlaces(pages), reader, source)
