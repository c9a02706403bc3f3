"""`runs`: the runs below a folder, from their small files alone."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from docclf_cli.engine.checkpoints.run_folder import FINISHED, RUNNING, RunFolder
from docclf_cli.errors import InputError
from docclf_cli.results.training import RunList, RunRow

KILLED = "killed"
# How runs are sorted: by a value, and whether the largest comes first. A run without the value comes last.
SORTS: Mapping[str, tuple[Callable[[RunRow], Any], bool]] = {
    "date": (lambda row: row.time, True),
    "f1": (lambda row: row.f1_macro, True),
    "degraded": (lambda row: row.degraded, True),
    "minutes": (lambda row: row.minutes, False),
    "name": (lambda row: row.name, False),
    "data": (lambda row: row.data, False),
    "model": (lambda row: row.model, False),
    "state": (lambda row: row.state, False),
}


def list_runs(folder: Path, sort: str = "date") -> RunList:
    """The runs below a folder, sorted.

    Args:
        folder: Parent of run folders.
        sort: A key of `SORTS`.

    Raises:
        InputError: There is no such folder, or no such order.
    """
    if sort not in SORTS:
        raise InputError(f"--sort: '{sort}' is not one of {', '.join(SORTS)}")
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder", "runs are written below --output of `docclf train`")
    rows = [_row(RunFolder(path.parent)) for path in sorted(folder.glob("*/run.json"))]
    key, largest_first = SORTS[sort]
    known = sorted((row for row in rows if key(row) is not None), key=key, reverse=largest_first)
    return RunList(folder, (*known, *(row for row in rows if key(row) is None)))


def _row(run: RunFolder) -> RunRow:
    state, profile = run.read_state(), _mapping(run.profile)
    status = str(state.get("status", ""))
    best = _best(run, state)
    return RunRow(
        name=run.path.name,
        data=str(profile.get("data", {}).get("root", "")),
        model=str(state.get("method") or profile.get("model", {}).get("model_name", "")),
        f1_macro=_number(state.get("f1_macro", best.get("f1_macro"))),
        f1_macro_low=_number(state.get("f1_macro_low")),
        f1_macro_high=_number(state.get("f1_macro_high")),
        degraded=_number(state.get("f1_macro_degraded", best.get("f1_macro_degraded"))),
        minutes=_minutes(run),
        time=str(state.get("time", "")),
        state=KILLED if status == RUNNING and not run.is_being_written else status,
        no_better_than_chance=bool(state.get("no_better_than_chance")),
    )


def _best(run: RunFolder, state: Mapping[str, Any]) -> Mapping[str, float]:
    """Figures of the best epoch; of an unfinished run those of the epoch that was best by macro-F1 so far."""
    try:
        history = run.read_history()
    except (OSError, ValueError):
        return {}
    if state.get("status") == FINISHED:
        return next((row for row in history if row.get("epoch") == state.get("best_epoch")), {})
    return max((row for row in history if "f1_macro" in row), key=lambda row: row["f1_macro"], default={})


def _minutes(run: RunFolder) -> float | None:
    """Wall time of all epochs: of the run, its folds and its refit."""
    seconds = [one for file in sorted(run.path.glob("**/timings.csv")) for one in _seconds(file)]
    return sum(seconds) / 60 if seconds else None


def _seconds(file: Path) -> Iterable[float]:
    try:
        with file.open(encoding="utf-8", newline="") as opened:
            return [float(row["train_seconds"]) + float(row["validation_seconds"]) for row in csv.DictReader(opened)]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _mapping(path: Path) -> Mapping[str, Any]:
    """The sections of a profile as it is written; nothing where it cannot be read."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return (
        {key: value for key, value in content.items() if isinstance(value, dict)} if isinstance(content, dict) else {}
    )


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
