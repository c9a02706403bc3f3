"""Experiment trackers: they mirror the metrics and files of a run, and a run never depends on them.

A tracker receives the events of a run and must not raise, stop or delay the run. Another tracker is one file: a class with
the methods of `Tracker`, registered in `TRACKERS` by a function that imports it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from docclf_cli.profile.schema import Profile

# What of a profile a tracker may know: settings that decide the metrics, and no path, bucket or endpoint.
SHARED_KEYS = (
    "seed", "data.val_fraction", "data.split_seed", "data.fold_seed", "data.limit", "data.image_size",
    "data.resize_mode", "data.degraded_validation", "model.name", "model.model_name", "model.pretrained",
    "model.dropout_rate", "model.drop_path_rate", "model.use_attention", "model.attention_dim", "model.use_focal_loss",
    "model.alpha", "model.gamma", "optimizer", "scheduler", "loss", "augmentation", "train", "runtime.precision",
    "runtime.memory_format", "runtime.compile", "runtime.deterministic",
)  # fmt: skip


@dataclass(frozen=True)
class RunInfo:
    """The description of a run that a tracker receives at its start.

    Attributes:
        folder: The run folder; whatever the tracker keeps goes there.
        name: Shown for the run.
        config: Settings, as of `shared_config`.
        group: Runs that belong together, such as the folds of a run.
    """

    folder: Path
    name: str
    config: Mapping[str, Any] = field(default_factory=dict)
    group: str | None = None


class Tracker(Protocol):
    """Consumer of a run's metrics; used for one run after another, each from `start` to `finish`."""

    def start(self, run: RunInfo) -> None:
        """A run starts, or goes on where the same folder was tracked before."""

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Metrics of a step (an epoch); steps never go back."""

    def image(self, name: str, path: Path) -> None:
        """A picture that has been written."""

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """A table of text and numbers."""

    def artifact(self, path: Path, name: str, metadata: Mapping[str, Any]) -> None:
        """A checkpoint, where `tracking.artifacts` asks for it."""

    def finish(self, summary: Mapping[str, Any], exit_code: int = 0) -> str:
        """The run has ended with these final metrics; returns a line for people, or nothing."""


class NoTracker:
    """A tracker that does nothing."""

    def start(self, run: RunInfo) -> None:
        """Nothing."""

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Nothing."""

    def image(self, name: str, path: Path) -> None:
        """Nothing."""

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Nothing."""

    def artifact(self, path: Path, name: str, metadata: Mapping[str, Any]) -> None:
        """Nothing."""

    def finish(self, summary: Mapping[str, Any], exit_code: int = 0) -> str:
        """Nothing."""
        return ""


def shared_config(profile: Profile) -> dict[str, Any]:
    """The settings of a profile that trackers may know, by dotted key."""
    values = profile.model_dump(mode="json")
    shared: dict[str, Any] = {}
    for key in SHARED_KEYS:
        value = values
        for part in key.split("."):
            value = value[part]
        shared[key] = value
    return shared
