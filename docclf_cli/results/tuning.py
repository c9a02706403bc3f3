"""What `tune` returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from docclf_cli.results.metrics import Difference


@dataclass(frozen=True)
class TrialRow:
    """One trial of a search.

    Attributes:
        number: Counted from 0, which is the starting profile.
        state: `complete`, `pruned` (ended early), `failed`, or `running`.
        loss: Log loss on held-out pages at the best epoch, the mean of clean and degraded; None unless it is complete.
        f1_macro: Macro-F1 on clean held-out pages at that epoch.
        best_epoch: The epoch.
        minutes: Wall time, that before an interruption included.
        settings: What it tried, by key of the profile, as text.
        reason: Why it failed; empty where it did not.
    """

    number: int
    state: str
    loss: float | None
    f1_macro: float | None
    best_epoch: int | None
    minutes: float | None
    settings: Mapping[str, str]
    reason: str = ""


@dataclass(frozen=True)
class ChangedSetting:
    """A setting of the best trial that is not that of the starting profile.

    Attributes:
        start: Value of the starting profile, as text.
        best: Value of the best trial.
    """

    start: str
    best: str


@dataclass(frozen=True)
class TuneResult:
    """The result of a search for better settings.

    Attributes:
        folder: Its folder.
        profile: The profile that it started from.
        space: What was varied, by key, as text.
        trials: One row per trial.
        best: Number of the best trial.
        best_profile: `best.yaml`: the starting profile with the settings of the best trial.
        changed: What the best trial sets, by key, where that differs from the start.
        importance: Share of the spread of the loss that each key explains, the largest first; empty for few trials.
        held_out_pages: Held-out pages that the trials were chosen on.
        apart_pages: Pages that no trial saw.
        gain: Best minus start on the pages that no trial saw (clean and degraded copies): log loss and macro-F1; empty
            where none were set apart, or the start is the best.
        sentences: All of this in words.
        files: What was written, most useful first.
        next_commands: Commands that go on from here.
    """

    folder: Path
    profile: str
    space: Mapping[str, str]
    trials: tuple[TrialRow, ...]
    best: int
    best_profile: Path
    changed: Mapping[str, ChangedSetting]
    importance: Mapping[str, float]
    held_out_pages: int
    apart_pages: int
    gain: tuple[Difference, ...] = ()
    sentences: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    next_commands: tuple[str, ...] = ()
