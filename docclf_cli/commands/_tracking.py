"""A training run as an experiment tracker is told of it: a consumer of the engine's events, and of the result."""

from __future__ import annotations

import contextlib
import csv
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from docclf_cli.engine.checkpoints.run_folder import RunFolder
from docclf_cli.engine.runtime.distributed import is_main_process
from docclf_cli.events import Emit, EpochDone, Event, FitDone, FitStarted

if TYPE_CHECKING:
    from docclf_cli.profile.schema import Profile
    from docclf_cli.results.metrics import Estimate
    from docclf_cli.results.training import TrainResult
    from docclf_cli.services.tracking.tracker import Tracker

logger = logging.getLogger("docclf")
# No picture that shows a page.
PLOTS = ("confusion_matrix.png", "val_class_performance.png", "train_val_comparison.png", "training_curves.png")
TABLES = ("val_class_metrics.csv", "confusion_matrix.csv")
_TEXT_COLUMNS = ("class", "target", "prediction")


@contextlib.contextmanager
def tracked(profile: Profile, show: Emit) -> Iterator[Tracking]:
    """Consume the events of one `train`: `show` sees them first, then the tracker of the profile.

    Give it the result at the end (`finished`); a block that ends with an error marks what is open as failed.
    """
    from docclf_cli.services.tracking.backends import create_tracker
    from docclf_cli.services.tracking.tracker import NoTracker

    tracker = create_tracker(profile.tracking, os.environ) if is_main_process() else NoTracker()
    tracking = Tracking(profile, tracker, show)
    try:
        yield tracking
    except BaseException as error:
        tracking.failed(getattr(error, "exit_code", 1))
        raise


class Tracking:
    """Tells a tracker of one training run; of folds, each is a run of the tracker, and so is what they give together.

    Args:
        profile: The profile that is trained.
        tracker: Who is told.
        show: Another consumer, which sees every event first.
    """

    def __init__(self, profile: Profile, tracker: Tracker, show: Emit) -> None:
        self._profile, self._tracker, self._show = profile, tracker, show
        self._open, self._name, self._last_line = False, "", ""
        self._kept: dict[str, float] | None = None

    def __call__(self, event: Event) -> None:
        """Pass an event on; what follows a finished fit (a refit has no metrics) is not the tracker's."""
        self._show(event)
        if self._kept is not None or not is_main_process():
            return
        if isinstance(event, FitStarted):
            self._start(event.folder, fold=self._has_folds)
        elif isinstance(event, EpochDone):
            timings = {f"timing/{name}": value for name, value in event.timings.items() if name != "epoch"}
            self._tracker.log({**event.metrics, **timings}, event.epoch)
        elif isinstance(event, FitDone):
            self._fit_done(event)

    def finished(self, result: TrainResult) -> None:
        """Pass on the result of the whole run, and wait (not for long) until it has arrived."""
        if not is_main_process():
            return
        if self._has_folds:
            self._start(result.run, fold=False)
        written = {path.name: path for path in result.files}
        for name in TABLES:
            self._tracker.table(Path(name).stem, *_read_table(written[name]))
        for name in PLOTS:
            if name in written:
                self._tracker.image(Path(name).stem, written[name])
        self._finish({**(self._kept or {}), **_final_metrics(result)})
        self._say_where()

    def failed(self, exit_code: int) -> None:
        """Mark the run as failed, if one is open."""
        if self._open:
            self._finish({}, exit_code)
        self._say_where()

    @property
    def _has_folds(self) -> bool:
        return self._profile.train.folds is not None

    def _start(self, folder: Path, fold: bool) -> None:
        from docclf_cli.services.tracking.tracker import RunInfo, shared_config

        run = folder.parent if fold else folder
        self._name = f"{run.name}-{folder.name}" if fold else run.name
        group = run.name if self._has_folds else None
        self._tracker.start(RunInfo(folder, self._name, shared_config(self._profile), group))
        self._open = True

    def _fit_done(self, event: FitDone) -> None:
        run = RunFolder(event.folder)
        kept = {**_metrics_of(run, event.best_epoch), "best_epoch": event.best_epoch}
        self._tracker.artifact(run.best, self._name, kept)
        if self._has_folds:
            self._finish(kept)
        else:
            self._kept = kept

    def _finish(self, summary: Mapping[str, float], exit_code: int = 0) -> None:
        self._open = False
        self._last_line = self._tracker.finish(summary, exit_code) or self._last_line

    def _say_where(self) -> None:
        if self._last_line:
            logger.info("%s", self._last_line)


def _metrics_of(run: RunFolder, epoch: int) -> dict[str, float]:
    """The row of an epoch; after a resume the events alone would not have it."""
    with run.metrics.open(encoding="utf-8", newline="") as file:
        rows = {int(row["epoch"]): row for row in csv.DictReader(file)}
    return {name: float(value) for name, value in rows[epoch].items()}


def _final_metrics(result: TrainResult) -> dict[str, float]:
    """The best checkpoint on held-out pages, with intervals, at its temperature."""
    found = {"temperature": result.temperature, "epochs": float(result.epochs)}
    for name, estimate in result.val.metrics.items():
        found |= {f"val/{name}{part}": value for part, value in _parts(estimate)}
    return found


def _parts(estimate: Estimate) -> Iterator[tuple[str, float]]:
    yield "", estimate.value
    yield "_low", estimate.low
    yield "_high", estimate.high


def _read_table(path: Path) -> tuple[list[str], list[list[str | float]]]:
    """Columns and rows of a table that was written; what can be read as a number is one, except names."""
    with path.open(encoding="utf-8", newline="") as file:
        columns, *rows = csv.reader(file)
    texts = {place for place, name in enumerate(columns) if name in _TEXT_COLUMNS}
    return columns, [[cell if place in texts else float(cell) for place, cell in enumerate(row)] for row in rows]
