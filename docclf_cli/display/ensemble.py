"""Tables of `docclf ensemble` and `docclf tta`."""

from collections.abc import Iterable, Iterator, Sequence

from rich.console import RenderableType
from rich.markup import escape

from docclf_cli.display import show as report
from docclf_cli.display.messages import said
from docclf_cli.display.tables import NameTable
from docclf_cli.results.ensembling import EnsembleResult, ScoreRow, SetScores, TTAResult
from docclf_cli.results.metrics import Difference

SIDES = ("held_out", "test")


@report.render.register
def ensemble_tables(result: EnsembleResult) -> Iterator[RenderableType]:
    """Members, methods, weights, member diversity, and whether the ensemble is worth its cost."""
    best = ""
    if result.best_member:
        best = said("compared with {name}, the best member on held-out pages", name=result.best_member)
    lines = [*result.members, *result.methods, *([result.tta] if result.tta else [])]
    breaks = {len(result.members), len(result.members) + len(result.methods)}
    yield from _score_tables(lines, breaks, result.monitor, best, marked=result.method)
    if result.tta:
        views = said("{name}: compared with {method} without views", name=said(result.tta.name), method=result.method)
        yield f"[dim]{escape(views)}[/]"
    yield from _weights_table(result)
    yield _diversity_table(result)
    yield f"[bold]{escape(_sentence(result.advice))}[/]"
    yield from (f"[dim]{escape(said(note))}[/]" for note in result.notes)
    computed = ", ".join(sorted(set(result.precision.values())))
    yield _written(result.method, result.pages, result.split, computed)
    yield report.files_table(result.files)


@report.render.register
def tta_tables(result: TTAResult) -> Iterator[RenderableType]:
    """Views, their merge, and whether they are worth it."""
    lines = [*result.views, result.merged]
    yield from _score_tables(
        lines, {len(result.views)}, result.monitor, said("compared with the unchanged page"), marked=result.merged.name
    )
    if result.pruned_views:
        dropped, merged = ", ".join(result.pruned_views), ", ".join(result.merged_views)
        yield escape(said("Dropped views: {dropped}. Merged views: {merged}", dropped=dropped, merged=merged))
    yield f"[bold]{escape(_sentence(result.advice))}[/]"
    yield from (f"[dim]{escape(said(note))}[/]" for note in result.notes)
    yield _written(result.merged.name, result.pages, result.split, result.precision)
    yield report.files_table(result.files)


def _sentence(advice: str) -> str:
    text = said(advice)
    return text[:1].upper() + text[1:]


def _written(name: str, pages: int, split: str, precision: str) -> str:
    return escape(
        said(
            "Written: {name}, {pages} {split} pages, computed in {precision}",
            name=said(name),
            pages=pages,
            split=report.split_name(split),
            precision=precision,
        )
    )


def _score_tables(
    lines: Sequence[ScoreRow], breaks: set[int], monitor: str, versus: str, marked: str
) -> Iterator[RenderableType]:
    for side in SIDES:
        measured = [getattr(line, side) for line in lines]
        if pages := max((each.pages for each in measured if each is not None), default=0):
            held_out = side == "held_out"
            title = said("{pages} held-out pages", pages=pages) if held_out else said("{pages} test pages", pages=pages)
            yield _score_table(title, lines, measured, breaks, marked)
    if any(each.difference for line in lines for each in (line.held_out, line.test) if each is not None):
        from docclf_cli.metrics.metrics import METRICS  # takes scipy to import

        metric = METRICS.get(monitor).build
        name = said(metric.label)
        what = said("{metric} in percentage points", metric=name) if metric.in_points else name
        text = said("Δ: {what}, {versus}; all intervals are 95 % intervals", what=what, versus=versus)
        yield f"[dim]{escape(text)}[/]"


def _score_table(
    title: str, lines: Sequence[ScoreRow], measured: Iterable[SetScores | None], breaks: set[int], marked: str
) -> NameTable:
    from docclf_cli.metrics.metrics import headline_metrics  # takes scipy to import

    labels = ((said(metric.label), metric.in_points) for metric in headline_metrics().values())
    heads = (f"{label} %" if in_points else label for label, in_points in labels)
    table = NameTable(title, "", *heads, "Δ")
    for number, (line, each) in enumerate(zip(lines, measured, strict=True)):
        if number in breaks:
            table.add_section()
        shown = said(line.name)
        name, style = (f"{shown} ←", "bold") if line.name == marked else (shown, "")
        table.add_row(name, *_metrics(each), style=style)
    return table


def _metrics(measured: SetScores | None) -> tuple[str, ...]:
    from docclf_cli.metrics.metrics import headline_metrics  # takes scipy to import

    if measured is None:
        return (*("–" for _ in headline_metrics()), "")
    cells = []
    for name, metric in headline_metrics().items():
        one = measured.metrics[name]
        in_points = f"{100 * one.value:.1f} ({100 * one.low:.0f}–{100 * one.high:.0f})"
        cells.append(in_points if metric.in_points else f"{one.value:.3f}")
    return (*cells, _difference(measured.difference))


def _difference(difference: Difference | None) -> str:
    if difference is None:
        return ""
    from docclf_cli.metrics.metrics import METRICS  # takes scipy to import

    if not METRICS.get(difference.metric).build.in_points:
        return f"{difference.value:+.2f} ({difference.low:+.2f}…{difference.high:+.2f})"
    return f"{100 * difference.value:+.1f} ({100 * difference.low:+.1f}…{100 * difference.high:+.1f})"


def _weights_table(result: EnsembleResult) -> Iterator[RenderableType]:
    weighted = [line for line in result.methods if line.weights and len(set(line.weights.values())) > 1]
    if not weighted:
        return
    table = NameTable(said("Weights"), "", *(line.name for line in weighted))
    for member in result.members:
        table.add_row(member.name, *(f"{(line.weights or {})[member.name]:.3f}" for line in weighted))
    yield table


def _diversity_table(result: EnsembleResult) -> NameTable:
    """For each pair of members: how often they disagree, and how their errors correlate."""
    title = said("Member diversity ({pages} pages)", pages=said(result.compared_on))
    table = NameTable(title, said("members"), said("disagree"), said("errors correlate"))
    names = [member.name for member in result.members]
    for first in range(len(names)):
        for second in range(first + 1, len(names)):
            correlation = result.error_correlation[first][second] if result.error_correlation else float("nan")
            shown = "–" if correlation != correlation else f"{correlation:.2f}"
            pair = f"{names[first]} · {names[second]}"
            table.add_row(pair, f"{100 * result.disagreement[first][second]:.1f} %", shown)
    return table
