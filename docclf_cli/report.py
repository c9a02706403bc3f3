"""Results on stdout: Rich tables, or with `--json` one JSON document and nothing else."""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
from collections.abc import Iterable, Iterator, Mapping
from functools import singledispatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from docclf_cli.results import ClassRow, Estimate, EvaluateResult, FoldRow, SchedulePreview, Scores, TrainResult

if TYPE_CHECKING:
    from docclf_cli.profile.load import LoadedProfile

NAMES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "f1_macro": "macro-F1",
    "f1_weighted": "weighted F1",
    "log_loss": "log loss",
    "ece": "calibration error (ECE, approximate)",
}


def show(result: Any, *, as_json: bool) -> None:
    """Print a result: the only function that writes results to stdout."""
    if as_json:
        print(json.dumps(jsonable(result), ensure_ascii=False, indent=2))
    else:
        Console(highlight=False).print(Group(*render(result)))


def jsonable(value: Any) -> Any:
    """Plain JSON values of a result: dataclasses by field name, paths as text, not-a-number as null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: jsonable(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, str | bool | int) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return jsonable(value.tolist())
    if isinstance(value, Iterable):
        return [jsonable(item) for item in value]
    raise TypeError(f"{type(value).__name__} has no JSON form")


@singledispatch
def render(result: Any) -> Iterator[RenderableType]:
    """What a person sees of a result, from top to bottom."""
    raise TypeError(f"no table for {type(result).__name__}")


@render.register
def _(result: TrainResult) -> Iterator[RenderableType]:
    yield class_table(result.val.classes, "Held-out pages by class (accuracy is recall)")
    yield scores_table(result.val, "Held-out pages")
    if result.folds:
        yield _folds_table(result.folds)
    yield _train_summary(result)
    yield files_table(result.files)


@render.register
def _(result: EvaluateResult) -> Iterator[RenderableType]:
    yield class_table(result.scores.classes, f"{result.split} pages by class (accuracy is recall)")
    yield scores_table(result.scores, f"{result.checkpoint}, {result.split}")
    yield files_table(result.files)


@render.register
def _(result: SchedulePreview) -> Iterator[RenderableType]:
    yield Text(
        f"{result.scheduler}, stepped per {result.unit}: {len(result.rates)} values, "
        f"{result.steps_per_epoch} optimizer steps per epoch, {min(result.rates):.2e} … {max(result.rates):.2e}"
    )
    yield Text(_chart(result.rates))
    yield files_table([result.plot])


def _chart(values: tuple[float, ...], width: int = 64, height: int = 8) -> str:
    """A small chart in characters: one column for each of `width` places along `values`."""
    places = [values[round(place * (len(values) - 1) / (width - 1))] for place in range(width)]
    top = max(values) or 1.0
    filled = [round(value / top * height * 8) for value in places]
    rows = []
    for row in range(height - 1, -1, -1):
        rows.append("".join(" ▁▂▃▄▅▆▇█"[min(8, max(0, level - row * 8))] for level in filled).rstrip())
    return "\n".join(rows)


def _train_summary(result: TrainResult) -> RenderableType:
    table = _plain_table("Run")
    table.add_row("run", escape(str(result.run)))
    table.add_row("model", escape(result.model))
    if result.best_epoch:
        table.add_row("kept epoch", f"{result.best_epoch} of {result.epochs}, chosen by {result.monitor}")
    if result.train is not None:
        gap = result.train.figures["f1_macro"].value - result.val.figures["f1_macro"].value
        table.add_row("macro-F1 on training pages", f"{result.train.figures['f1_macro'].value:.4f} (gap {gap:+.4f})")
    if result.degraded is not None:
        gap = result.val.figures["f1_macro"].value - result.degraded
        table.add_row("macro-F1 on degraded pages", f"{result.degraded:.4f} (gap {gap:+.4f})")
    table.add_row("temperature", f"{result.temperature:.3f}")
    return table


def _folds_table(folds: tuple[FoldRow, ...]) -> RenderableType:
    names = ("accuracy", "f1_macro", "val_loss")
    table = Table(title="Folds", title_justify="left")
    for head in ("fold", "kept epoch", *(NAMES.get(name, "log loss") for name in names)):
        table.add_column(head, justify="right", no_wrap=True)
    for fold in folds:
        table.add_row(str(fold.fold), str(fold.best_epoch), *(f"{fold.figures[name]:.4f}" for name in names))
    if len(folds) > 1:
        columns = [[fold.figures[name] for fold in folds] for name in names]
        means = (f"{statistics.mean(column):.4f} ± {statistics.stdev(column):.4f}" for column in columns)
        table.add_section()
        table.add_row("mean ± sd", "", *means)
    return table


def class_table(rows: Iterable[ClassRow], title: str) -> Table:
    """The class-wise table of the seed, with intervals."""
    table = Table(title=title, title_justify="left")
    table.add_column("class", overflow="fold")
    for head in ("accuracy", "F1", "loss", "samples"):
        table.add_column(head, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(escape(row.name), interval(row.accuracy), interval(row.f1), number(row.loss), str(row.support))
    return table


def scores_table(scores: Scores, title: str) -> Table:
    """Figures with their 95 % intervals."""
    table = Table(title=f"{title}: {scores.support} pages", title_justify="left")
    table.add_column("figure", overflow="fold")
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("95 % interval", justify="right", no_wrap=True)
    for name, estimate in scores.figures.items():
        table.add_row(figure_name(name), number(estimate.value), f"{number(estimate.low)} … {number(estimate.high)}")
    if scores.unreadable:
        table.add_row("unreadable pages, left out", str(scores.unreadable), "")
    return table


def files_table(files: Iterable[Path]) -> RenderableType:
    """Paths, whole on every width of terminal so that they can be copied."""
    table = _plain_table("Files")
    for path in files:
        table.add_row("", escape(str(path)))
    return table


def figure_name(name: str) -> str:
    """A figure's name in words."""
    if name.startswith("top") and name.endswith("_accuracy"):
        return f"top-{name.removeprefix('top').removesuffix('_accuracy')} accuracy"
    return NAMES.get(name, name.replace("_", " "))


def number(value: float) -> str:
    """Four digits, or a dash where there is no value."""
    return "–" if math.isnan(value) else f"{value:.4f}"


def interval(estimate: Estimate) -> str:
    """`0.954 (0.93–0.97)`."""
    if math.isnan(estimate.value):
        return "–"
    return f"{estimate.value:.3f} ({estimate.low:.2f}–{estimate.high:.2f})"


def show_profile(loaded: LoadedProfile, *, as_json: bool) -> None:
    """Print every value of a resolved profile with where it came from."""
    values = dict(_leaves(loaded.profile.model_dump(mode="json")))
    if as_json:
        rows = {key: {"value": value, "source": str(_source(loaded, key))} for key, value in values.items()}
        print(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    table = Table(title="Resolved profile", title_justify="left")
    for head in ("key", "value", "source"):
        table.add_column(head, overflow="fold")
    for key, value in values.items():
        table.add_row(key, escape(json.dumps(value, ensure_ascii=False)), escape(str(_source(loaded, key))))
    Console(highlight=False).print(table)


def _source(loaded: LoadedProfile, key: str) -> Any:
    while key not in loaded.sources and "." in key:
        key = key.rpartition(".")[0]
    return loaded.sources.get(key, "default")


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, item in value.items():
            yield from _leaves(item, f"{key}.{name}" if key else name)
    else:
        yield key, value


def _plain_table(title: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", overflow="fold")
    table.add_column(overflow="fold")
    return table
