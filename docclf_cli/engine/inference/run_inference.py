"""Checkpoints that look at pages: every page is read once for all that share its pixels, in all their views."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from docclf_cli.data.images.decode import UnreadablePage
from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.data.loading.cache import open_or_build
from docclf_cli.data.loading.loaders import Batch, plain_loader
from docclf_cli.data.loading.pages import NamedView, Pages
from docclf_cli.engine.checkpoints.checkpoint import Checkpoint
from docclf_cli.engine.inference.predictor import Predictor, inference_runtime
from docclf_cli.engine.inference.requests import PredictionRequest
from docclf_cli.engine.inference.store import fingerprint, pages_fingerprint, store
from docclf_cli.engine.runtime import distributed
from docclf_cli.engine.runtime.device import Runtime, resolve_runtime
from docclf_cli.events import Emit, Progress, silent
from docclf_cli.profile.schema import RuntimeConfig
from docclf_cli.results.predictions import Predictions
from docclf_cli.stop import StopFlag

IMAGES_PER_PASS = 64
TASK = "predicting"
_Piece = tuple[np.ndarray, np.ndarray, np.ndarray]  # places in a draft, their log-probabilities and status


def run_requests(
    requests: Sequence[PredictionRequest], runtime_config: RuntimeConfig, emit: Emit, stop: StopFlag
) -> list[Predictions]:
    """Make the predictions that are wanted, and store each as soon as its checkpoint has seen all its pages.

    With a page cache one checkpoint is in memory at a time; without one all that share pixels are, so that no page is
    decoded twice.

    Raises:
        Interrupted: `stop` was set; what is finished is stored.
    """
    with distributed.handed_out(_InferenceJob(tuple(requests), runtime_config)):
        return _run_requests(requests, runtime_config, emit, stop)


@dataclass(frozen=True, eq=False)
class _InferenceJob:
    """A follower's side of `run_requests`."""

    requests: tuple[PredictionRequest, ...]
    runtime_config: RuntimeConfig

    def __call__(self, stop: StopFlag) -> None:
        """Look at a share of the pages."""
        _run_requests(self.requests, self.runtime_config, silent, stop)


def _run_requests(
    requests: Sequence[PredictionRequest], runtime_config: RuntimeConfig, emit: Emit, stop: StopFlag
) -> list[Predictions]:
    total = sum(len(one.rows) for one in requests)
    work = _Work(runtime_config, resolve_runtime(runtime_config), emit, stop, total)
    made: dict[int, Predictions] = {}
    groups: list[tuple[list[int], _SharedPages]] = []
    distributed.together(lambda: groups.extend((group, work.pages(requests, group)) for group in _sharing(requests)))
    for group, sheet in groups:
        for together in distributed.share([group] if sheet.pages.cache is None else _by_checkpoint(requests, group)):
            drafts = {number: _PendingPredictions(requests[number], sheet) for number in together}
            precisions = work.run(list(drafts.values()), sheet)
            for number, draft in drafts.items():
                made[number] = draft.finish(precisions[draft.requests.info.path])
                if distributed.is_leader():
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
    """Pages that several wants share.

    Attributes:
        pages: Their pixels, by position.
        rows: The row of each position in the index that the wants speak of, int64 [n], sorted.
        preprocess: How they were made.
    """

    pages: Pages
    rows: np.ndarray
    preprocess: Preprocess


@dataclass
class _Work:
    config: RuntimeConfig
    runtime: Runtime
    emit: Emit
    stop: StopFlag
    total: int
    done: int = 0

    def pages(self, requests: Sequence[PredictionRequest], group: Sequence[int]) -> _SharedPages:
        first = requests[group[0]]
        rows = np.unique(np.concatenate([requests[number].rows for number in group]))
        index, preprocess = first.index.take(rows), first.info.preprocess
        cache = open_or_build(
            index, preprocess, first.data, workers=self.runtime.workers, emit=self.emit, stop=self.stop,
        )  # fmt: skip
        self.stop.raise_if_set("stopped while reading pages", "start the command again; pages already read are kept")
        return _SharedPages(Pages(index, preprocess, first.data, cache), rows, preprocess)

    def run(self, drafts: Sequence[_PendingPredictions], sheet: _SharedPages) -> dict[Path, str]:
        """Let every checkpoint of the drafts look at its pages, and return the number format of each."""
        everything = np.unique(np.concatenate([draft.positions for draft in drafts]))
        positions = self.runtime.share_of(everything)
        precisions: dict[Path, str] = {}

        def share() -> list[_Piece]:
            precisions.update(self._run_requests(drafts, sheet, positions))
            return [draft.filled(positions) for draft in drafts]

        for pieces in distributed.together(share):
            for draft, (places, log_probs, status) in zip(drafts, pieces, strict=True):
                draft.log_probs[places], draft.status[places] = log_probs, status
        return precisions

    def _run_requests(
        self, drafts: Sequence[_PendingPredictions], sheet: _SharedPages, positions: np.ndarray
    ) -> dict[Path, str]:
        predictors = {path: self._predictor(path) for path in dict.fromkeys(d.requests.info.path for d in drafts)}
        views = list({draft.requests.view.name: draft.requests.view for draft in drafts}.values())
        for batch in self._batches(sheet, views, positions):
            self.stop.raise_if_set(
                f"stopped after {self.done} of {self.total} predictions",
                "start the command again; the checkpoints that are finished are not run again",
            )
            for path, predictor in predictors.items():
                own = [draft for draft in drafts if draft.requests.info.path == path]
                self.done += _fill(own, predictor, batch, [view.name for view in views])
            self.emit(Progress(TASK, min(self.done * self.runtime.world_size, self.total), self.total))
        return {path: predictor.runtime.precision for path, predictor in predictors.items()}

    def _predictor(self, path: Path) -> Predictor:
        checkpoint = Checkpoint.load(path)
        runtime = inference_runtime(self.config, checkpoint, self.total, IMAGES_PER_PASS)
        network = runtime.place(checkpoint.build(path))
        return Predictor(network, checkpoint.preprocess, checkpoint.class_names, runtime)

    def _batches(self, sheet: _SharedPages, views: Sequence[NamedView], positions: np.ndarray) -> Iterable[Batch]:
        per_batch = max(1, IMAGES_PER_PASS // len(views))
        runtime, on_wait = self.runtime, self.stop.check_while_waiting
        seen = _ViewedPages(sheet.pages, sheet.rows, tuple(views))
        return plain_loader(
            seen, positions.tolist(), per_batch, runtime.workers, runtime.device.type == "cuda", on_wait
        )


class _ViewedPages(Dataset[Any]):
    """Pages by position, each as all views show it: uint8 [views, size, size, 3]."""

    def __init__(self, pages: Pages, rows: np.ndarray, views: tuple[NamedView, ...]) -> None:
        self.pages, self.rows, self.views = pages, rows, views

    @property
    def quick(self) -> bool:
        """Whether pages come from the cache and are turned or scaled at most."""
        return self.pages.cache is not None and all(view.quick for view in self.views)

    def __getitem__(self, position: int) -> tuple[np.ndarray, int, int] | tuple[None, str, int]:
        try:
            page = self.pages[position]
        except UnreadablePage as error:
            return None, str(error), position
        row = int(self.rows[position])
        return np.stack([view(page, row) for view in self.views]), -1, position


@dataclass(eq=False)
class _PendingPredictions:
    """Predictions on their way: rows fill as batches come."""

    requests: PredictionRequest
    sheet: _SharedPages
    log_probs: np.ndarray = field(init=False)
    status: np.ndarray = field(init=False)
    positions: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        count = len(self.requests.rows)
        self.log_probs = np.full((count, len(self.requests.info.class_names)), np.nan, dtype=np.float32)
        self.status = np.full(count, "", dtype=object)
        self.positions = np.searchsorted(self.sheet.rows, self.requests.rows)
        self._place = {int(position): place for place, position in enumerate(self.positions)}

    def places(self, positions: Iterable[int]) -> Iterator[tuple[int, int]]:
        """(where in the batch, where in the draft) of the pages that belong to it."""
        for number, position in enumerate(positions):
            if (place := self._place.get(int(position))) is not None:
                yield number, place

    def filled(self, positions: np.ndarray) -> _Piece:
        """What is known of the pages at some positions."""
        places = np.flatnonzero(np.isin(self.positions, positions))
        return places, self.log_probs[places], self.status[places]

    def finish(self, precision: str) -> Predictions:
        requests, index = self.requests, self.requests.index.take(self.requests.rows)
        return Predictions(
            ids=index.ids.astype(np.str_),
            log_probs=self.log_probs,
            class_names=requests.info.class_names,
            targets=index.targets,
            groups=None if index.groups is None else index.groups.astype(np.str_),
            status=self.status.astype(np.str_),
            fingerprint=fingerprint(requests.info.sha256, pages_fingerprint(index), requests.view.name, precision),
        )


def _fill(drafts: Sequence[_PendingPredictions], predictor: Predictor, batch: Batch, views: Sequence[str]) -> int:
    """Let one checkpoint look at a batch, images [n, views, 3, size, size], and return how many rows it filled."""
    chosen = [
        (number, views.index(draft.requests.view.name), draft, place)
        for draft in drafts
        for number, place in draft.places(batch.rows)
    ]
    if chosen:
        images = batch.images[[number for number, *_ in chosen], [view for _, view, *_ in chosen]]
        log_probs = predictor.log_probs(images).cpu().numpy()
        for row, (_, _, draft, place) in zip(log_probs, chosen, strict=True):
            draft.log_probs[place] = row
    return len(chosen) + sum(_note_unreadable(draft, batch.unreadable) for draft in drafts)


def _note_unreadable(draft: _PendingPredictions, unreadable: Sequence[tuple[int, str]]) -> int:
    noted = 0
    for number, place in draft.places([position for position, _ in unreadable]):
        draft.status[place] = unreadable[number][1]
        noted += 1
    return noted
