"""Progress events of long work; bars, log lines, files and trackers consume the same ones."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Progress:
    """`done` of `total` units of a named piece of work."""

    task: str
    done: int
    total: int
    unit: Literal["pages", "bytes"] = "pages"


@dataclass(frozen=True)
class FitStarted:
    """Training of one model begins (or goes on at `step`).

    Attributes:
        label: What is trained ("resnet18", "fold 2 of 5").
        folder: Where its files go.
        step: Optimizer steps already done.
        total_steps: Optimizer steps of the whole fit.
    """

    label: str
    folder: Path
    step: int
    total_steps: int


@dataclass(frozen=True)
class StepDone:
    """One optimizer step.

    `lr` is that of the last layer group. `loss` is the mean over its pages, on a GPU over those of the step before: the
    host does not wait for it.
    """

    epoch: int
    step: int
    loss: float
    lr: float
    pages: int


@dataclass(frozen=True)
class EpochDone:
    """One epoch with its validation.

    Attributes:
        epoch: Counted from 1.
        metrics: The row of `metrics.csv`.
        is_best: No earlier epoch was better by `train.monitor`.
        timings: The row of `timings.csv`: seconds and pages per second.
    """

    epoch: int
    metrics: Mapping[str, float]
    is_best: bool
    timings: Mapping[str, float]


@dataclass(frozen=True)
class FitDone:
    """Training of one model has ended, and its files are written."""

    folder: Path
    best_epoch: int


Event = Progress | FitStarted | StepDone | EpochDone | FitDone
Emit = Callable[[Event], None]


def silent(event: Event) -> None:
    """A consumer that ignores everything."""
