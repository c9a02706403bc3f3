"""`predict`: predicts any number of pages in shards, and writes the tables."""

from __future__ import annotations

import contextlib
import itertools
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from docclf_cli.data.images.decode import CRASHES
from docclf_cli.data.images.page_files import PageReader
from docclf_cli.data.index.file_list import PAGES_ASSUMED, FileList, PageList
from docclf_cli.data.index.file_pages import pages_per_file
from docclf_cli.data.loading.batch import Batch, collate
from docclf_cli.data.loading.data_loader import data_loader, read_one_by_one
from docclf_cli.data.loading.datasets import InferenceDataset, ModelInput, cut
from docclf_cli.data.loading.pages import FilePages, PageCounts
from docclf_cli.data.loading.texts import texts_of
from docclf_cli.engine.checkpoints.run_folder import RunFolder
from docclf_cli.engine.inference.ensemble_predictor import EnsemblePredictor
from docclf_cli.engine.inference.predictor import IMAGES_PER_PASS
from docclf_cli.engine.inference.run_inference import run_inference
from docclf_cli.engine.runtime import distributed
from docclf_cli.engine.runtime.device import Runtime
from docclf_cli.errors import InputError, ResourceError, is_dead_worker
from docclf_cli.events import Emit, Progress, silent
from docclf_cli.files import sweep_temporary
from docclf_cli.metrics.costs import Costs
from docclf_cli.page_ids import is_paged
from docclf_cli.results.prediction import DocumentRow, PredictedClass, PredictResult
from docclf_cli.stop import NEVER, StopFlag
from docclf_cli.tasks.predict.explain import Explainer
from docclf_cli.tasks.predict.explain_text import TextExplainer
from docclf_cli.tasks.predict.files import OutputFiles, write_page_predictions, write_quarantine, write_submission
from docclf_cli.tasks.predict.page_predictions import DecisionRule, PagePrediction, PagePredictions
from docclf_cli.tasks.predict.shards import Shard, ShardPlan, ShardStore
from docclf_cli.tasks.predict.sorting import Upright, sort_copies
from docclf_cli.tasks.predict.submission import Submission
from docclf_cli.tasks.predict.summary import PredictorFacts, summarise
from docclf_cli.tasks.unknown import NO_RULE, UnknownRule

logger = logging.getLogger("docclf")
COUNTED_AT_ONCE = 64
GO_ON = "run the same command again to continue from here"
MOST_ROWS = 1000  # pages that a result holds itself


@dataclass(frozen=True)
class ConfidenceThreshold:
    """A confidence threshold and where it comes from, in words; None without a threshold."""

    value: float | None = None
    source: str = ""


@dataclass(frozen=True)
class OutputOptions:
    """What `predict` writes, and where.

    Attributes:
        outputs: Where the results go.
        model: Name of the predictor in the result.
        max_unreadable: Share of unreadable pages that is no failure.
        columns: What the ID and the page number are called.
        top_k: How many classes a row names.
        confidence_threshold: Below it a page needs review.
        unknown: Which pages are called unknown.
        costs: Decide by these prices instead of the confidence threshold.
        notes: What a reader must know about the decisions, in sentences.
        submission: The competition's file, or None.
        copy_to: Sort copies of the files into class folders below this one.
        upright: How their pages are turned upright; None copies the files as they are.
        overwrite: Replace existing results.
        explain: Draws heat maps, or None.
        explain_text: Writes the words that spoke for the classes, or None.
    """

    outputs: OutputFiles
    model: str
    max_unreadable: float
    columns: tuple[str, str] = ("path", "page")
    top_k: int = 3
    confidence_threshold: ConfidenceThreshold = ConfidenceThreshold()
    unknown: UnknownRule = NO_RULE
    costs: Costs | None = None
    notes: tuple[str, ...] = ()
    submission: Submission | None = None
    copy_to: Path | None = None
    upright: Upright | None = None
    overwrite: bool = False
    explain: Explainer | None = None
    explain_text: TextExplainer | None = None

    @property
    def rule(self) -> DecisionRule:
        """How probabilities become predictions."""
        return DecisionRule(self.top_k, self.confidence_threshold.value, self.unknown, self.costs)


@dataclass(frozen=True, eq=False)
class PredictWork:
    """What making shards takes.

    Attributes:
        files: What to read.
        predictor: The model or ensemble.
        reader: How pages are read.
        runtime: Device and loader processes.
        shards: Where the results go.
        emit: Consumer of progress events.
        stop: Polled between batches.
    """

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
    pages: str | int = "all",
    emit: Emit = silent,
    stop: StopFlag = NEVER,
) -> PredictResult:
    """Predict every page of `files`, and write the tables.

    Work that was interrupted, even by a kill, goes on where it was, and ends with the same bytes.

    Args:
        files: What to read.
        predictor: The model or ensemble.
        options: What to write, and where.
        reader: How pages are read.
        runtime: Device and loader processes.
        pages: Which pages of PDF and TIFF files, as `data.pages`.
        emit: Consumer of progress events.
        stop: Polled between batches.

    Raises:
        InputError: Results are there already, or a submission lacks a class for its unreadable pages.
        Interrupted: `stop` was set; what is done is kept.
    """
    started = time.monotonic()
    work = PredictWork(files, predictor, reader, runtime, ShardStore(options.outputs.shards), emit, stop)
    with contextlib.ExitStack() as stack:
        listed, plan, missing = distributed.on_main(lambda: _open_shards(work, options, pages, stack))
        make_shards(work, plan, listed, runtime.shard_of(np.array(missing, np.int64)).tolist())
        distributed.barrier()

        def write() -> PredictResult:
            made = sum(len(plan.numbers(part)) for part in missing)
            return _write_results(work, plan, listed, options, len(listed) - made, time.monotonic() - started)

        return distributed.on_main(write)


def _open_shards(
    work: PredictWork, options: OutputOptions, read: str | int, stack: contextlib.ExitStack
) -> tuple[PageList, ShardPlan, list[int]]:
    """Lock the folder of the shards, and return the pages, how they are divided, and which shards are not stored yet."""
    shards, files = work.shards, work.files
    settings = {**work.predictor.settings, "inputs": files.fingerprint(), "grid": grid(work.predictor, read)}
    there = [path for path in options.outputs.results if path.exists()]
    if there and not options.overwrite and not (shards.publishing and shards.is_begun(settings)):
        raise InputError(f"{there[0]} exists", "choose another --output, or add --overwrite to replace it")
    stack.enter_context(RunFolder(shards.folder).writing())
    shards.open(settings)
    pages = PageList.of(files, page_counts(work, read))
    plan = plan_of(pages, batch_size(work.predictor))
    return pages, plan, shards.missing(plan)


def batch_size(predictor: EnsemblePredictor) -> int:
    """Pages of a batch."""
    return max(1, IMAGES_PER_PASS // predictor.most_views)


def grid(predictor: EnsemblePredictor, read: str | int) -> list[Any]:
    """What decides which pages are in which batch, beside the input."""
    return [batch_size(predictor), PAGES_ASSUMED, read]


def plan_of(pages: PageList, batch_size: int) -> ShardPlan:
    """How pages are divided into batches and shards."""
    return ShardPlan.of(np.diff(pages.starts[pages.files.blocks(batch_size)]), batch_size)


def _write_results(
    work: PredictWork, plan: ShardPlan, pages: PageList, options: OutputOptions, resumed: int, seconds: float
) -> PredictResult:
    """Write the tables from the shards, and remove these."""
    if work.shards.missing(plan):
        raise ResourceError(
            f"{work.shards.folder} does not contain the files of the other processes",
            "all machines need access to one shared folder: name it with --output",
        )
    predictions = PagePredictions(work.shards, plan, pages, options.rule)
    work.shards.mark_publishing()
    result = publish(predictions, PredictorFacts.of(work.predictor), options, resumed, seconds)
    if options.copy_to is not None:
        sorted_copies = sort_copies(
            options.copy_to,
            predictions.of_documents(),
            work.files,
            work.predictor.class_names,
            allow_symlinks=work.reader.allow_symlinks,
            upright=options.upright,
            remote=work.reader.remote,
            emit=work.emit,
            stop=work.stop,
        )
        result = replace(
            result,
            copied=sorted_copies.copied,
            turned=None if options.upright is None else sorted_copies.turned,
            not_turned=None if options.upright is None else sorted_copies.not_turned,
        )
    if options.explain is not None:
        drawn = options.explain(predictions.of_pages(), work.files, work.emit, work.stop)
        result = replace(result, explained=len(drawn))
    if options.explain_text is not None:
        options.explain_text(predictions.of_pages(), work.files, work.emit, work.stop)
        result = replace(result, files=(*result.files, options.explain_text.file))
    work.shards.remove()
    return result


def page_counts(work: PredictWork, pages: str | int) -> np.ndarray:
    """Pages to read of each file, int32; 0 for those that cannot be opened. Kept beside the parts, for the next start."""
    kept = work.shards.array("counts")
    if kept is not None:
        return kept
    counts = np.ones(len(work.files), np.int32)
    files = (work.files[row] for row in range(len(work.files)))
    rows = [row for row, file in enumerate(files) if is_paged(file.name) and not file.page]
    dataset, on_wait = PageCounts(work.files, work.reader), work.stop.check_while_waiting
    batches = deque(cut(rows, COUNTED_AT_ONCE))

    def note(counted: list[tuple[int, int]]) -> None:
        work.stop.raise_if_set("stopped while documents were opened", "start the command again")
        for row, count in counted:
            counts[row] = pages_per_file(pages, count)
        batches.popleft()
        work.emit(Progress("opening documents", max(0, len(rows) - len(batches) * COUNTED_AT_ONCE), len(rows)))

    while batches:
        try:
            workers = work.runtime.workers
            for counted in data_loader(dataset, list(batches), workers=workers, collate=list, on_wait=on_wait):
                note(counted)
        except RuntimeError as error:
            if not is_dead_worker(error):
                raise
            note([counted or (row, 0) for row, counted in read_one_by_one(dataset, batches[0], on_wait)])
    work.shards.keep_array("counts", counts)
    return counts


def make_shards(work: PredictWork, plan: ShardPlan, pages: PageList, numbers: Sequence[int]) -> None:
    """Predict the pages of some shards, and store them.

    Raises:
        Interrupted: `stop` was set; shards that are complete are stored.
    """
    missing, on_wait = deque(numbers), work.stop.check_while_waiting
    inputs = [
        ModelInput(FilePages(pages, work.reader, preprocess), views) for preprocess, views in work.predictor.inputs
    ]
    source = work.predictor.text_source
    dataset = InferenceDataset(inputs, texts=texts_of(pages, work.reader, source) if source else None)
    while missing:
        try:
            batches = iter(
                data_loader(
                    dataset,
                    [batch for part in missing for batch in plan.batches(part)],
                    workers=work.runtime.workers,
                    pin=work.runtime.device.type == "cuda",
                    on_wait=on_wait,
                )
            )
            while missing:
                _make(work, plan, missing[0], itertools.islice(batches, len(plan.batches(missing[0]))))
                missing.popleft()
        except RuntimeError as error:
            if not is_dead_worker(error):
                raise
            logger.info("a page crashed its loader process: this part of the pages is read one by one")
            _make(work, plan, missing[0], (_carefully(dataset, one, on_wait) for one in plan.batches(missing[0])))
            missing.popleft()


def _carefully(dataset: InferenceDataset, numbers: range, on_wait: Callable[[], object]) -> Batch:
    """A batch page by page; pages that end their loader process count as unreadable."""
    read = read_one_by_one(dataset, numbers, on_wait)
    return collate([(None, CRASHES, number) if sample is None else sample for number, sample in read])


def _make(work: PredictWork, plan: ShardPlan, part: int, batches: Iterable[Batch]) -> None:
    numbers = plan.numbers(part)
    log_probs = np.full((len(numbers), len(work.predictor.class_names)), np.nan, np.float32)
    unknown = np.full(len(numbers), np.nan, np.float32)
    leading = np.full((len(numbers), work.predictor.leading_dimensions), np.nan, np.float32)
    orientations = np.full(len(numbers), -1, np.int8)
    reasons = np.full(len(numbers), "", dtype=object)
    ran = run_inference(
        [work.predictor.outputs],
        batches,
        total=plan.pages,
        done=numbers.start,
        hint=GO_ON,
        emit=work.emit,
        stop=work.stop,
    )
    for batch, outputs in ran:
        for found in outputs:
            places = batch.rows - numbers.start
            log_probs[places] = found.log_probs
            if found.unknown is not None and found.leading is not None:
                unknown[places], leading[places] = found.unknown, found.leading
            if found.orientation is not None:
                orientations[places] = found.orientation
        for number, reason in batch.unreadable:
            reasons[number - numbers.start] = reason
    work.shards.write(part, Shard(log_probs, unknown, leading, orientations, reasons.astype(np.str_)))


def publish(
    predictions: PagePredictions, predictor: PredictorFacts, options: OutputOptions, kept: int, seconds: float
) -> PredictResult:
    """Write the tables.

    Args:
        predictions: What they say.
        predictor: Who says it.
        options: What to write, and where.
        kept: Pages that an earlier call had predicted.
        seconds: Wall time of this call.

    Raises:
        InputError: A submission lacks a class for its unreadable pages.
    """
    names, outputs = predictor.class_names, options.outputs
    for path in outputs.results:
        sweep_temporary(path.parent, path.name)
    tally = _Tally()
    files = [
        write_page_predictions(
            outputs.pages, tally.counting(predictions.of_pages()), names, options.top_k, columns=options.columns
        )
    ]
    several, documents = predictions.pages.has_documents, list[DocumentRow]()
    inputs = int(predictions.pages.first_of_document.sum())
    if several:
        columns = (options.columns[0], "pages")
        files.append(
            write_page_predictions(outputs.documents, predictions.of_documents(), names, options.top_k, columns=columns)
        )
        if inputs <= MOST_ROWS:
            documents = [one.as_document(names) for one in predictions.of_documents()]
    if tally.unreadable:
        unreadable = (prediction for prediction in predictions.of_pages() if prediction.status)
        files.append(write_quarantine(outputs.quarantine, unreadable, options.columns))
    if options.submission is not None:
        files.append(write_submission(outputs.submission, options.submission.rows(predictions, names)))
    for stale in set(outputs.results) - {*files, outputs.summary}:
        stale.unlink(missing_ok=True)
    result = PredictResult(
        model=options.model,
        inputs=inputs,
        pages=len(predictions.pages),
        unreadable=tally.unreadable,
        max_unreadable=options.max_unreadable,
        needs_review=tally.needs_review.total(),
        classes=tuple(
            PredictedClass(name, tally.chosen[index], tally.needs_review[index]) for index, name in enumerate(names)
        ),
        threshold=options.confidence_threshold.value,
        threshold_from=options.confidence_threshold.source,
        temperature=predictor.temperature,
        resumed_pages=kept,
        seconds=seconds,
        files=tuple(files),
        precision=predictor.precision,
        predictions=tuple(one.as_row(names) for one in tally.first) if len(predictions.pages) <= MOST_ROWS else (),
        predictions_file=outputs.pages,
        documents=tuple(documents),
        documents_file=outputs.documents if several else None,
        unknown=tally.unknown if options.unknown.active else None,
        max_lost=options.unknown.max_lost if options.unknown.active else None,
        by_costs=options.costs is not None,
        notes=options.notes,
    )
    summarise(predictions, predictor, result).save(outputs.summary)
    return replace(result, files=(*files, outputs.summary))


class _Tally:
    """Counts predictions while they are written, by class index."""

    def __init__(self) -> None:
        self.chosen, self.needs_review = Counter[int](), Counter[int]()
        self.unreadable = self.unknown = 0
        self.first: list[PagePrediction] = []  # at most `MOST_ROWS`

    def counting(self, predictions: Iterator[PagePrediction]) -> Iterator[PagePrediction]:
        for prediction in predictions:
            self.chosen[prediction.chosen] += 1
            self.needs_review[prediction.chosen] += bool(prediction.needs_review)
            self.unreadable += not prediction.top
            self.unknown += bool(prediction.is_unknown)
            if len(self.first) < MOST_ROWS:
                self.first.append(prediction)
            yield prediction
