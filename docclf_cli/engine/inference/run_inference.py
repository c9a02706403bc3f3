"""The one way to run models over pages: every page is read once for all models and views that share its pixels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from docclf_cli.data.index.documents import DocumentIndex
from docclf_cli.data.loading.batch import Batch
from docclf_cli.data.loading.cache import open_or_build
from docclf_cli.data.loading.data_loader import data_loader
from docclf_cli.data.loading.datasets import InferenceDataset, ModelInput, cut
from docclf_cli.data.loading.pages import Pages
from docclf_cli.data.loading.texts import text_pages
from docclf_cli.engine.inference.predictor import IMAGES_PER_PASS, Network, Predictor, open_predictor
from docclf_cli.engine.inference.requests import PredictionRequest
from docclf_cli.engine.inference.store import fingerprint, pages_fingerprint, store
from docclf_cli.engine.runtime import distributed
from docclf_cli.engine.runtime.device import Runtime, resolve_runtime
from docclf_cli.ensembling.text_branch import TextBranch
from docclf_cli.events import Emit, Progress, silent
from docclf_cli.models.text_features import TextPage
from docclf_cli.profile.schema import RuntimeConfig
from docclf_cli.results.predictions import Predictions
from docclf_cli.stop import NEVER, StopFlag

TASK = "predicting"
T = TypeVar("T")
_Piece = tuple[np.ndarray, np.ndarray, np.ndarray]  # places in pending predictions, their log-probabilities and status


def run_inference(
    predictors: Sequence[Callable[[Batch], T]],
    batches: Iterable[Batch],
    *,
    total: int,
    done: int = 0,
    processes: int = 1,
    count: Callable[[Batch], int] = len,
    task: str = TASK,
    unit: str = "pages",
    hint: str = "start the command again; nothing was changed",
    emit: Emit = silent,
    stop: StopFlag = NEVER,
) -> Iterator[tuple[Batch, list[T]]]:
    """Run predictors on each batch, and yield the batch with their outputs.

    Args:
        predictors: Each returns the log-probabilities of the pages in `Batch.rows`; not called for a batch without readable pages.
        batches: A data loader over this process's shard of the pages.
        total: How many pages all processes have to do.
        done: How many were done before.
        processes: How many processes do as much meanwhile.
        count: How many of `total` a batch is.
        task: Name of the work in progress events.
        unit: What `total` counts.
        hint: What to do about a stop.
        emit: Consumer of progress events.
        stop: Polled between batches.

    Raises:
        Interrupted: `stop` was set.
    """
    for batch in batches:
        stop.raise_if_set(f"stopped after {done} of {total} {unit}", hint)
        yield batch, [predictor(batch) for predictor in predictors] if len(batch.rows) else []
        done += count(batch)
        emit(Progress(task, min(done * processes, total), total))


def predict(
    predictor: Predictor,
    dataset: InferenceDataset,
    index: DocumentIndex,
    rows: Sequence[int] | np.ndarray,
    *,
    batch_size: int = IMAGES_PER_PASS,
    task: str = "predict",
    emit: Emit = silent,
    stop: StopFlag = NEVER,
) -> Predictions:
    """Predict rows of an index, each once, in their order; each rank predicts its shard, and all get everything.

    Args:
        predictor: One network, without views.
        dataset: Pages by row.
        index: The pages' IDs and labels.
        rows: Which of them.
        batch_size: Pages per forward pass.
        task: Name of the work in progress events.
        emit: Consumer of progress events.
        stop: Polled between batches.

    Raises:
        Interrupted: `stop` was set.
    """
    rows, runtime = np.asarray(rows), predictor.runtime
    batches = data_loader(
        dataset,
        cut(runtime.shard_of(rows).tolist(), batch_size),
        workers=runtime.workers,
        pin=runtime.device.type == "cuda",
        on_wait=stop.check_while_waiting,
    )
    return predict_batches(predictor, batches, index, rows, task=task, emit=emit, stop=stop)


def predict_batches(
    predictor: Predictor,
    batches: Iterable[Batch],
    index: DocumentIndex,
    rows: np.ndarray,
    *,
    task: str,
    emit: Emit = silent,
    stop: StopFlag = NEVER,
) -> Predictions:
    """As `predict`, from batches that hold each row of this rank's shard once (`Runtime.shard_of`).

    Raises:
        Interrupted: `stop` was set.
    """
    own, processes = predictor.runtime.shard_of(rows), predictor.runtime.world_size
    own_log_probs = np.full((len(own), len(predictor.class_names)), np.nan, dtype=np.float32)
    own_status = np.full(len(own), "", dtype=object)
    place = {int(row): position for position, row in enumerate(own)}
    places, found = list[int](), list[torch.Tensor]()  # what is found stays on its device to the end
    ran = run_inference([predictor], batches, total=len(rows), processes=processes, task=task, emit=emit, stop=stop)
    for batch, outputs in ran:
        places += [place[int(row)] for row in batch.rows]
        found += outputs
        for row, reason in batch.unreadable:
            own_status[place[row]] = reason
    if found:
        own_log_probs[places] = torch.cat(found).cpu().numpy()
    gathered = distributed.all_gather((own_log_probs, own_status))
    log_probs, status = map(distributed.interleaved, zip(*gathered, strict=True))
    return Predictions(
        ids=index.ids[rows],
        log_probs=log_probs,
        class_names=predictor.class_names,
        targets=None if index.targets is None else index.targets[rows],
        groups=None if index.groups is None else index.groups[rows],
        status=status.astype(np.str_),
    )


def run_requests(
    requests: Sequence[PredictionRequest], runtime_config: RuntimeConfig, emit: Emit, stop: StopFlag
) -> list[Predictions]:
    """Make the requested predictions on all ranks; rank 0 stores each as soon as its checkpoint has seen all its pages.

    With a page cache one checkpoint is in memory at a time; without one all that share pixels are, so that no page is
    decoded twice.

    Raises:
        Interrupted: `stop` was set; what is finished is stored.
    """
    total = sum(len(one.rows) for one in requests)
    work = _Work(runtime_config, resolve_runtime(runtime_config), emit, stop, total)
    made: dict[int, Predictions] = {}
    groups = [(group, work.pages(requests, group)) for group in _sharing(requests)]
    for group, shared in groups:
        passes = [group] if shared.pages.cache is None else _by_checkpoint(requests, group)
        for numbers in distributed.broadcast(passes):  # a rank alone may lack a cache
            pending = {number: _PendingPredictions(requests[number], shared) for number in numbers}
            precisions = work.run(list(pending.values()), shared)
            for number, one in pending.items():
                branch, texts = work.branches.get(one.request.info.path), None
                if branch is not None:
                    texts = shared.texts(branch.source, work.runtime.workers, emit, stop)
                made[number] = one.finish(precisions[one.request.info.path], texts, branch)
                if distributed.is_main_process():
                    store(requests[number].info.path, requests[number].split, made[number])
    return [made[number] for number in range(len(requests))]


def _sharing(requests: Sequence[PredictionRequest]) -> list[list[int]]:
    groups: dict[Any, list[int]] = defaultdict(list)
    for number, one in enumerate(requests):
        groups[one.pages_key].append(number)
    return list(groups.values())


def _by_checkpoint(requests: Sequence[PredictionRequest], group: Sequence[int]) -> list[list[int]]:
    of: dict[Path, list[int]] = defaultdict(list)
    for number in group:
        of[requests[number].info.path].append(number)
    return list(of.values())


@dataclass(frozen=True, eq=False)
class _SharedPages:
    """Pages that several requests share.

    Attributes:
        pages: Their pixels, by position.
        rows: The row of each position in the index of the requests, int64 [n], sorted.
    """

    pages: Pages
    rows: np.ndarray
    read: dict[str, list[TextPage]] = field(default_factory=dict)

    def texts(self, source: str, workers: int, emit: Emit, stop: StopFlag) -> list[TextPage]:
        """The text of each position, read once."""
        if source not in self.read:
            self.read[source] = text_pages(self.pages.index, self.pages.config, source, workers, emit, stop)
        return self.read[source]


@dataclass
class _Work:
    config: RuntimeConfig
    runtime: Runtime
    emit: Emit
    stop: StopFlag
    total: int
    done: int = 0
    branches: dict[Path, TextBranch] = field(default_factory=dict)

    def pages(self, requests: Sequence[PredictionRequest], group: Sequence[int]) -> _SharedPages:
        first = requests[group[0]]
        rows = np.unique(np.concatenate([requests[number].rows for number in group]))
        index, preprocess = first.index.take(rows), first.info.preprocess
        cache = open_or_build(
            index, preprocess, first.data, workers=self.runtime.workers, emit=self.emit, stop=self.stop,
        )  # fmt: skip
        self.stop.raise_if_set("stopped while reading pages", "start the command again; pages already read are kept")
        return _SharedPages(Pages(index, preprocess, first.data, cache), rows)

    def run(self, pending: Sequence[_PendingPredictions], shared: _SharedPages) -> dict[Path, str]:
        """Predict with every checkpoint, and return the number format of each."""
        everything = np.unique(np.concatenate([one.positions for one in pending]))
        positions = self.runtime.shard_of(everything)
        precisions = self._run_requests(pending, shared, positions)
        for pieces in distributed.all_gather([one.filled(positions) for one in pending]):
            for one, (places, log_probs, status) in zip(pending, pieces, strict=True):
                one.log_probs[places], one.status[places] = log_probs, status
        return precisions

    def _run_requests(
        self, pending: Sequence[_PendingPredictions], shared: _SharedPages, positions: np.ndarray
    ) -> dict[Path, str]:
        infos = {one.request.info.path: one.request.info for one in pending}
        predictors = {path: open_predictor([info], self.config, pages=self.total) for path, info in infos.items()}
        for path, predictor in predictors.items():
            if (branch := predictor.networks[0].text) is not None:
                self.branches[path] = branch
        views = {one.request.view.name: one.request.view for one in pending}
        fills = [
            _Fill(predictors[path].networks[0], [one for one in pending if one.request.info.path == path], [*views])
            for path in infos
        ]
        dataset = InferenceDataset((ModelInput(shared.pages, tuple(views.values())),), rows=shared.rows)
        batches = data_loader(
            dataset,
            cut(positions.tolist(), max(1, IMAGES_PER_PASS // len(views))),
            workers=self.runtime.workers,
            pin=self.runtime.device.type == "cuda",
            on_wait=self.stop.check_while_waiting,
        )

        def count(batch: Batch) -> int:
            return sum(fill.count(batch) for fill in fills)

        ran = run_inference(
            fills,
            batches,
            total=self.total,
            done=self.done,
            processes=self.runtime.world_size,
            count=count,
            unit="predictions",
            hint="start the command again; the checkpoints that are finished are not run again",
            emit=self.emit,
            stop=self.stop,
        )
        for batch, _ in ran:
            self.done += count(batch)
            for one in pending:
                one.note_unreadable(batch)
        return {path: predictor.precision for path, predictor in predictors.items()}


@dataclass(eq=False)
class _PendingPredictions:
    """Predictions of one request, filled batch by batch."""

    request: PredictionRequest
    shared: _SharedPages
    log_probs: np.ndarray = field(init=False)
    status: np.ndarray = field(init=False)
    positions: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        count = len(self.request.rows)
        self.log_probs = np.full((count, len(self.request.info.class_names)), np.nan, dtype=np.float32)
        self.status = np.full(count, "", dtype=object)
        self.positions = np.searchsorted(self.shared.rows, self.request.rows)
        self._place = {int(position): place for place, position in enumerate(self.positions)}

    def places(self, positions: Iterable[int]) -> Iterator[tuple[int, int]]:
        """(where in the batch, where in these predictions) of the pages that belong to it."""
        for number, position in enumerate(positions):
            if (place := self._place.get(int(position))) is not None:
                yield number, place

    def note_unreadable(self, batch: Batch) -> None:
        """Note why pages could not be read."""
        for number, place in self.places([position for position, _ in batch.unreadable]):
            self.status[place] = batch.unreadable[number][1]

    def filled(self, positions: np.ndarray) -> _Piece:
        """Return the predictions of the pages at some positions."""
        places = np.flatnonzero(np.isin(self.positions, positions))
        return places, self.log_probs[places], self.status[places]

    def finish(self, precision: str, texts: Sequence[TextPage] | None, branch: TextBranch | None) -> Predictions:
        request, index = self.request, self.request.index.take(self.request.rows)
        log_probs, image, text = self.log_probs, None, None
        if branch is not None and texts is not None:
            image = self.log_probs
            text = branch.model.log_probs([texts[position] for position in self.positions.tolist()])
            log_probs = branch.fusion(image, text)
        return Predictions(
            ids=index.ids.astype(np.str_),
            log_probs=log_probs,
            image=image,
            text=text,
            class_names=request.info.class_names,
            targets=index.targets,
            groups=None if index.groups is None else index.groups.astype(np.str_),
            status=self.status.astype(np.str_),
            fingerprint=fingerprint(
                request.info.sha256, pages_fingerprint(index, request.data), request.view.name, precision
            ),
        )


@dataclass(frozen=True, eq=False)
class _Fill:
    """Predicts with one network, and fills the requests for it, which may be for some of the pages and views only."""

    network: Network
    pending: Sequence[_PendingPredictions]
    views: Sequence[str]

    def __call__(self, batch: Batch) -> None:
        """Predict a batch."""
        wanted = [
            (self.views.index(one.request.view.name) * len(batch.rows) + number, one, place)
            for one in self.pending
            for number, place in one.places(batch.rows)
        ]
        if wanted:
            images = batch.images[0][[image for image, _, _ in wanted]]
            log_probs = self.network.log_probs(images).cpu().numpy()
            for row, (_, one, place) in zip(log_probs, wanted, strict=True):
                one.log_probs[place] = row

    def count(self, batch: Batch) -> int:
        """How many predictions a batch gives."""
        positions = [*batch.rows, *(position for position, _ in batch.unreadable)]
        return sum(len(list(one.places(positions))) for one in self.pending)
