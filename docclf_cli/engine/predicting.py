"""`predict`: what a model says about pages that no one has labelled, however many there are."""

from __future__ import annotations

import itertools
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from docclf_cli.data.file_list import FileList, PageList
from docclf_cli.data.page_files import PageReader
from docclf_cli.data.page_loader import PageLoader, Sheaf, count_carefully, count_pages, paged_rows
from docclf_cli.engine import distributed
from docclf_cli.engine.decider import Decider
from docclf_cli.engine.events import Emit, Progress, silent
from docclf_cli.engine.looking import IMAGES_PER_PASS
from docclf_cli.engine.parts import Grid, Parts
from docclf_cli.engine.prediction_files import OutputFiles, write_quarantine, write_submission, write_verdicts
from docclf_cli.engine.run_folder import RunFolder
from docclf_cli.engine.runtime import Runtime
from docclf_cli.engine.sorting import sort_copies
from docclf_cli.engine.stop import NEVER, StopFlag
from docclf_cli.engine.submission import Submission
from docclf_cli.engine.verdicts import Verdict, Verdicts
from docclf_cli.errors import InputError, ResourceError, is_dead_worker
from docclf_cli.files import sweep_temporary
from docclf_cli.results.prediction import ClassCount, PredictResult

logger = logging.getLogger("docclf")
COUNTED_AT_ONCE = 64
GO_ON = "the same command goes on from here"


@dataclass(frozen=True)
class Trusted:
    """The least confidence that is trusted, and where it comes from in words; None trusts no one to say."""

    value: float | None = None
    source: str = ""


@dataclass(frozen=True)
class Wish:
    """What is wanted of a prediction besides the classes.

    Attributes:
        outputs: Where the results go.
        model: What the result calls the decider.
        max_unreadable: Share of unreadable pages that is no failure.
        columns: What the ID and the page number are called.
        top_k: How many classes a row names.
        trusted: When a page goes to a person.
        submission: The competition's file, or None.
        copy_to: Sort copies of the files into class folders below this one.
        overwrite: Replace results that are there.
    """

    outputs: OutputFiles
    model: str
    max_unreadable: float
    columns: tuple[str, str] = ("path", "page")
    top_k: int = 3
    trusted: Trusted = Trusted()
    submission: Submission | None = None
    copy_to: Path | None = None
    overwrite: bool = False


@dataclass(frozen=True, eq=False)
class _Work:
    files: FileList
    decider: Decider
    reader: PageReader
    runtime: Runtime
    parts: Parts
    emit: Emit
    stop: StopFlag


def predict_files(
    files: FileList,
    decider: Decider,
    wish: Wish,
    *,
    reader: PageReader,
    runtime: Runtime,
    paged: bool = True,
    emit: Emit = silent,
    stop: StopFlag = NEVER,
) -> PredictResult:
    """Decide about every page of `files`, and write the tables.

    Work that was interrupted, even by a kill, goes on where it was, and ends with the same bytes.

    Args:
        files: What to read.
        decider: What decides.
        wish: What to write, and where.
        reader: How pages are read.
        runtime: Device and loader processes.
        paged: Take PDF and TIFF files page by page; otherwise every file is one page.
        emit: Consumer of progress events.
        stop: Polled between batches.

    Raises:
        InputError: Results are there already, or a submission lacks a class for its unreadable pages.
        Interrupted: `stop` was set; what is done is kept.
    """
    parts, started = Parts(wish.outputs.parts), time.monotonic()
    batch_size = max(1, IMAGES_PER_PASS // decider.most_views)
    settings = {**decider.settings, "inputs": files.fingerprint(), "grid": [batch_size, paged]}
    _refuse_existing(wish, parts.publishing and parts.is_begun(settings))
    with RunFolder(parts.folder).writing():
        parts.open(settings)
        work = _Work(files, decider, reader, runtime, parts, emit, stop)
        pages = PageList.of(files, _page_counts(work) if paged else np.ones(len(files), np.int32))
        grid = Grid(len(pages), batch_size)
        made = _fill(work, grid, pages)
        verdicts = Verdicts(parts, grid, pages, wish.top_k, wish.trusted.value)
        parts.mark_publishing()
        result = _publish(verdicts, decider, wish, len(pages) - made, time.monotonic() - started)
        if wish.copy_to is not None:
            result = replace(result, copied=_copies(work, verdicts, wish.copy_to))
        parts.remove()
    return result


def _refuse_existing(wish: Wish, own: bool) -> None:
    there = [path for path in wish.outputs.results if path.exists()]
    if there and not (wish.overwrite or own):
        raise InputError(f"{there[0]} exists", "choose another --output, or add --overwrite to replace it")


def _page_counts(work: _Work) -> np.ndarray:
    """Pages of each file, int32; 0 for those that cannot be opened. Kept beside the parts, for the next start."""
    kept = work.parts.array("counts")
    if kept is not None:
        return kept
    counts = np.ones(len(work.files), np.int32)
    rows, on_wait = paged_rows(work.files), work.stop.check_while_waiting
    batches = deque(rows[start : start + COUNTED_AT_ONCE] for start in range(0, len(rows), COUNTED_AT_ONCE))

    def note(counted: list[tuple[int, int]]) -> None:
        work.stop.raise_if_set("stopped while documents were opened", "start the command again")
        for row, pages in counted:
            counts[row] = pages
        batches.popleft()
        work.emit(Progress("opening documents", max(0, len(rows) - len(batches) * COUNTED_AT_ONCE), len(rows)))

    while batches:
        try:
            for counted in count_pages(work.files, list(batches), work.reader, work.runtime.workers, on_wait):
                note(counted)
        except RuntimeError as error:
            if not is_dead_worker(error):
                raise
            note(count_carefully(work.files, batches[0], work.reader, on_wait))
    work.parts.keep_array("counts", counts)
    return counts


def _fill(work: _Work, grid: Grid, pages: PageList) -> int:
    """Make the parts that are missing, each process some of them; how many pages that were."""
    missing = work.parts.missing(grid)
    with distributed.handed_out(_FillJob(pages, grid, work.decider.again, work.reader, work.parts, tuple(missing))):
        _make_share(work, grid, pages, missing)
    if work.parts.missing(grid):
        raise ResourceError(
            f"{work.parts.folder} lacks what other processes have written there",
            "machines that work together need one folder that all of them see: name it with --output",
        )
    return sum(len(grid.numbers(part)) for part in missing)


@dataclass(frozen=True, eq=False)
class _FillJob:
    """A follower's side of `_fill`."""

    pages: PageList
    grid: Grid
    decider: Callable[[], Decider]
    reader: PageReader
    parts: Parts
    missing: tuple[int, ...]

    def __call__(self, stop: StopFlag) -> None:
        """Make some of the missing parts."""
        decider = self.decider()
        runtime = decider.voices[0].predictors[0].runtime
        work = _Work(self.pages.files, decider, self.reader, runtime, self.parts, silent, stop)
        _make_share(work, self.grid, self.pages, self.missing)


def _make_share(work: _Work, grid: Grid, pages: PageList, missing: Sequence[int]) -> None:
    share = work.runtime.share_of(np.array(missing, np.int64))
    distributed.together(lambda: _make_parts(work, grid, pages, share.tolist()))


def _make_parts(work: _Work, grid: Grid, pages: PageList, numbers: Sequence[int]) -> None:
    missing = deque(numbers)
    pin = work.runtime.device.type == "cuda"
    loader = PageLoader(
        pages, work.reader, work.decider.looks, work.runtime.workers, pin, work.stop.check_while_waiting
    )
    while missing:
        try:
            sheaves = loader([batch for part in missing for batch in grid.batches(part)])
            while missing:
                _make(work, grid, missing[0], itertools.islice(sheaves, len(grid.batches(missing[0]))))
                missing.popleft()
        except RuntimeError as error:
            if not is_dead_worker(error):
                raise
            logger.info("a page ended its loader process: its part of the pages is read one by one")
            _make(work, grid, missing[0], map(loader.carefully, grid.batches(missing[0])))
            missing.popleft()


def _make(work: _Work, grid: Grid, part: int, sheaves: Iterable[Sheaf]) -> None:
    log_probs, reasons, done = [], [], grid.numbers(part).start
    for sheaf in sheaves:
        work.stop.raise_if_set(f"stopped after {done} of {grid.pages} pages", GO_ON)
        log_probs.append(_log_probs(work.decider, sheaf))
        reasons.append(sheaf.reasons)
        done += len(sheaf.numbers)
        work.emit(Progress("predicting", done, grid.pages))
    work.parts.write(part, np.concatenate(log_probs), np.concatenate(reasons))


def _log_probs(decider: Decider, sheaf: Sheaf) -> np.ndarray:
    out = np.full((len(sheaf.numbers), len(decider.class_names)), np.nan, np.float32)
    if sheaf.images:
        out[sheaf.reasons == ""] = decider.log_probs(sheaf.images)
    return out


def _publish(verdicts: Verdicts, decider: Decider, wish: Wish, kept: int, seconds: float) -> PredictResult:
    names, outputs = decider.class_names, wish.outputs
    for path in outputs.results:
        sweep_temporary(path.parent, path.name)
    tally = _Tally()
    files = [
        write_verdicts(outputs.pages, tally.counting(verdicts.of_pages()), names, wish.top_k, columns=wish.columns)
    ]
    if (verdicts.pages.counts > 1).any():
        columns = (wish.columns[0], "pages")
        files.append(write_verdicts(outputs.documents, verdicts.of_documents(), names, wish.top_k, columns=columns))
    if tally.unreadable:
        unreadable = (verdict for verdict in verdicts.of_pages() if verdict.status)
        files.append(write_quarantine(outputs.quarantine, unreadable, wish.columns))
    if wish.submission is not None:
        files.append(write_submission(outputs.submission, wish.submission.rows(verdicts.of_pages(), names)))
    for stale in set(outputs.results) - set(files):
        stale.unlink(missing_ok=True)
    return PredictResult(
        model=wish.model,
        inputs=len(verdicts.pages.files),
        pages=len(verdicts.pages),
        unreadable=tally.unreadable,
        max_unreadable=wish.max_unreadable,
        review=tally.review.total(),
        classes=tuple(ClassCount(name, tally.chosen[index], tally.review[index]) for index, name in enumerate(names)),
        threshold=wish.trusted.value,
        threshold_from=wish.trusted.source,
        temperature=decider.temperature,
        kept=kept,
        seconds=seconds,
        files=tuple(files),
        precision=decider.precision,
    )


def _copies(work: _Work, verdicts: Verdicts, target: Path) -> int:
    return sort_copies(
        target, verdicts.of_documents(), work.files, work.decider.class_names,
        allow_symlinks=work.reader.allow_symlinks, emit=work.emit, stop=work.stop,
    )  # fmt: skip


class _Tally:
    """Counts verdicts on their way into a table, by class index."""

    def __init__(self) -> None:
        self.chosen, self.review, self.unreadable = Counter[int](), Counter[int](), 0

    def counting(self, verdicts: Iterator[Verdict]) -> Iterator[Verdict]:
        for verdict in verdicts:
            self.chosen[verdict.chosen] += 1
            self.review[verdict.chosen] += bool(verdict.review)
            self.unreadable += not verdict.top
            yield verdict
