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

from docclf_cli.data.images.page_files import PageReader
from docclf_cli.data.index.file_list import FileList, PageList
from docclf_cli.data.loading.page_loader import PageBatch, PageLoader, count_carefully, count_pages, paged_rows
from docclf_cli.engine.checkpoints.run_folder import RunFolder
from docclf_cli.engine.inference.ensemble_predictor import EnsemblePredictor
from docclf_cli.engine.inference.run_inference import IMAGES_PER_PASS
from docclf_cli.engine.runtime import distributed
from docclf_cli.engine.runtime.device import Runtime
from docclf_cli.errors import InputError, ResourceError, is_dead_worker
from docclf_cli.events import Emit, Progress, silent
from docclf_cli.files import sweep_temporary
from docclf_cli.results.prediction import ClassCount, PredictResult
from docclf_cli.stop import NEVER, StopFlag
from docclf_cli.tasks.predict.files import OutputFiles, write_page_predictions, write_quarantine, write_submission
from docclf_cli.tasks.predict.page_predictions import PagePrediction, PagePredictions
from docclf_cli.tasks.predict.shards import ShardPlan, ShardStore
from docclf_cli.tasks.predict.sorting import sort_copies
from docclf_cli.tasks.predict.submission import Submission

logger = logging.getLogger("docclf")
COUNTED_AT_ONCE = 64
GO_ON = "the same command goes on from here"


@dataclass(frozen=True)
class ConfidenceThreshold:
    """The least confidence that is trusted, and where it comes from in words; None trusts no one to say."""

    value: float | None = None
    source: str = ""


@dataclass(frozen=True)
class OutputOptions:
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
    trusted: ConfidenceThreshold = ConfidenceThreshold()
    submission: Submission | None = None
    copy_to: Path | None = None
    overwrite: bool = False


@dataclass(frozen=True, eq=False)
class _Work:
    files: FileList
    predictor: EnsemblePredictor
    reader: PageReader
    runtime: Runtime
    shards: ShardStore
    emit: Emit
    stop: StopFlag


def predict_files(
    files: FileList,
    predictor: EnsemblePredictor,
    options: OutputOptions,
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
        predictor: What decides.
        options: What to write, and where.
        reader: How pages are read.
        runtime: Device and loader processes.
        paged: Take PDF and TIFF files page by page; otherwise every file is one page.
        emit: Consumer of progress events.
        stop: Polled between batches.

    Raises:
        InputError: Results are there already, or a submission lacks a class for its unreadable pages.
        Interrupted: `stop` was set; what is done is kept.
    """
    shards, started = ShardStore(options.outputs.shards), time.monotonic()
    batch_size = max(1, IMAGES_PER_PASS // predictor.most_views)
    settings = {**predictor.settings, "inputs": files.fingerprint(), "grid": [batch_size, paged]}
    _refuse_existing(options, shards.publishing and shards.is_begun(settings))
    with RunFolder(shards.folder).writing():
        shards.open(settings)
        work = _Work(files, predictor, reader, runtime, shards, emit, stop)
        pages = PageList.of(files, _page_counts(work) if paged else np.ones(len(files), np.int32))
        plan = ShardPlan(len(pages), batch_size)
        made = _fill(work, plan, pages)
        predictions = PagePredictions(shards, plan, pages, options.top_k, options.trusted.value)
        shards.mark_publishing()
        result = _publish(predictions, predictor, options, len(pages) - made, time.monotonic() - started)
        if options.copy_to is not None:
            result = replace(result, copied=_copies(work, predictions, options.copy_to))
        shards.remove()
    return result


def _refuse_existing(options: OutputOptions, own: bool) -> None:
    there = [path for path in options.outputs.results if path.exists()]
    if there and not (options.overwrite or own):
        raise InputError(f"{there[0]} exists", "choose another --output, or add --overwrite to replace it")


def _page_counts(work: _Work) -> np.ndarray:
    """Pages of each file, int32; 0 for those that cannot be opened. Kept beside the parts, for the next start."""
    kept = work.shards.array("counts")
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
    work.shards.keep_array("counts", counts)
    return counts


def _fill(work: _Work, plan: ShardPlan, pages: PageList) -> int:
    """Make the parts that are missing, each process some of them; how many pages that were."""
    missing = work.shards.missing(plan)
    with distributed.handed_out(_FillJob(pages, plan, work.predictor.again, work.reader, work.shards, tuple(missing))):
        _make_share(work, plan, pages, missing)
    if work.shards.missing(plan):
        raise ResourceError(
            f"{work.shards.folder} lacks what other processes have written there",
            "machines that work together need one folder that all of them see: name it with --output",
        )
    return sum(len(plan.numbers(part)) for part in missing)


@dataclass(frozen=True, eq=False)
class _FillJob:
    """A follower's side of `_fill`."""

    pages: PageList
    plan: ShardPlan
    predictor: Callable[[], EnsemblePredictor]
    reader: PageReader
    shards: ShardStore
    missing: tuple[int, ...]

    def __call__(self, stop: StopFlag) -> None:
        """Make some of the missing parts."""
        predictor = self.predictor()
        runtime = predictor.member_predictors[0].predictors[0].runtime
        work = _Work(self.pages.files, predictor, self.reader, runtime, self.shards, silent, stop)
        _make_share(work, self.plan, self.pages, self.missing)


def _make_share(work: _Work, plan: ShardPlan, pages: PageList, missing: Sequence[int]) -> None:
    share = work.runtime.share_of(np.array(missing, np.int64))
    distributed.together(lambda: _make_parts(work, plan, pages, share.tolist()))


def _make_parts(work: _Work, plan: ShardPlan, pages: PageList, numbers: Sequence[int]) -> None:
    missing = deque(numbers)
    pin = work.runtime.device.type == "cuda"
    loader = PageLoader(
        pages, work.reader, work.predictor.view_specs, work.runtime.workers, pin, work.stop.check_while_waiting
    )
    while missing:
        try:
            batches = loader([batch for part in missing for batch in plan.batches(part)])
            while missing:
                _make(work, plan, missing[0], itertools.islice(batches, len(plan.batches(missing[0]))))
                missing.popleft()
        except RuntimeError as error:
            if not is_dead_worker(error):
                raise
            logger.info("a page ended its loader process: its part of the pages is read one by one")
            _make(work, plan, missing[0], map(loader.carefully, plan.batches(missing[0])))
            missing.popleft()


def _make(work: _Work, plan: ShardPlan, part: int, batches: Iterable[PageBatch]) -> None:
    log_probs, reasons, done = [], [], plan.numbers(part).start
    for batch in batches:
        work.stop.raise_if_set(f"stopped after {done} of {plan.pages} pages", GO_ON)
        log_probs.append(_log_probs(work.predictor, batch))
        reasons.append(batch.reasons)
        done += len(batch.numbers)
        work.emit(Progress("predicting", done, plan.pages))
    work.shards.write(part, np.concatenate(log_probs), np.concatenate(reasons))


def _log_probs(predictor: EnsemblePredictor, batch: PageBatch) -> np.ndarray:
    out = np.full((len(batch.numbers), len(predictor.class_names)), np.nan, np.float32)
    if batch.images:
        out[batch.reasons == ""] = predictor.log_probs(batch.images)
    return out


def _publish(
    predictions: PagePredictions, predictor: EnsemblePredictor, options: OutputOptions, kept: int, seconds: float
) -> PredictResult:
    names, outputs = predictor.class_names, options.outputs
    for path in outputs.results:
        sweep_temporary(path.parent, path.name)
    tally = _Tally()
    files = [
        write_page_predictions(
            outputs.pages, tally.counting(predictions.of_pages()), names, options.top_k, columns=options.columns
        )
    ]
    if (predictions.pages.counts > 1).any():
        columns = (options.columns[0], "pages")
        files.append(
            write_page_predictions(outputs.documents, predictions.of_documents(), names, options.top_k, columns=columns)
        )
    if tally.unreadable:
        unreadable = (prediction for prediction in predictions.of_pages() if prediction.status)
        files.append(write_quarantine(outputs.quarantine, unreadable, options.columns))
    if options.submission is not None:
        files.append(write_submission(outputs.submission, options.submission.rows(predictions.of_pages(), names)))
    for stale in set(outputs.results) - set(files):
        stale.unlink(missing_ok=True)
    return PredictResult(
        model=options.model,
        inputs=len(predictions.pages.files),
        pages=len(predictions.pages),
        unreadable=tally.unreadable,
        max_unreadable=options.max_unreadable,
        review=tally.review.total(),
        classes=tuple(ClassCount(name, tally.chosen[index], tally.review[index]) for index, name in enumerate(names)),
        threshold=options.trusted.value,
        threshold_from=options.trusted.source,
        temperature=predictor.temperature,
        kept=kept,
        seconds=seconds,
        files=tuple(files),
        precision=predictor.precision,
    )


def _copies(work: _Work, predictions: PagePredictions, target: Path) -> int:
    return sort_copies(
        target, predictions.of_documents(), work.files, work.predictor.class_names,
        allow_symlinks=work.reader.allow_symlinks, emit=work.emit, stop=work.stop,
    )  # fmt: skip


class _Tally:
    """Counts verdicts on their way into a table, by class index."""

    def __init__(self) -> None:
        self.chosen, self.review, self.unreadable = Counter[int](), Counter[int](), 0

    def counting(self, predictions: Iterator[PagePrediction]) -> Iterator[PagePrediction]:
        for prediction in predictions:
            self.chosen[prediction.predicted] += 1
            self.review[prediction.predicted] += bool(prediction.review)
            self.unreadable += not prediction.top
            yield prediction
