"""Tables of `docclf audit`."""

import shlex
from collections.abc import Iterator

from rich.console import RenderableType
from rich.markup import escape
from rich.text import Text

from docclf_cli.display import show as report
from docclf_cli.display.messages import said
from docclf_cli.display.tables import NameTable
from docclf_cli.results.audit import AuditResult, DuplicatePage, LabelCheck, NearDuplicatePair, Outlier

SHOWN = 10  # rows a table; the CSV files have all


@report.render.register
def tables(result: AuditResult) -> Iterator[RenderableType]:
    """Classes, outliers, near duplicates, label issues, a summary and the files."""
    yield _class_table(result)
    if result.outliers:
        yield _outlier_table(result.outliers)
    if result.near_duplicates:
        yield _near_duplicate_table(result.near_duplicates)
    if result.labels is not None and result.labels.issues:
        yield _label_table(result.labels)
    yield _summary(result)
    yield report.files_table(result.files)
    yield from _next(result)


def _class_table(result: AuditResult) -> NameTable:
    splits = list(result.classes[0].pages)
    table = NameTable(said("Pages by class"), said("class"), *map(said, splits), said("groups"))
    for row in result.classes:
        table.add_row(row.name, *(str(row.pages[split]) for split in splits), str(row.groups))
    return table


def _outlier_table(outliers: tuple[Outlier, ...]) -> NameTable:
    table = NameTable(_title(said("Outliers"), len(outliers)), said("page"), said("kind<"), said("split<"))
    for page in _some_of_each_kind(outliers):
        table.add_row(page.id, said(page.kind), said(page.split), below=said(page.detail))
    return table


def _some_of_each_kind(outliers: tuple[Outlier, ...]) -> list[Outlier]:
    kinds = list(dict.fromkeys(page.kind for page in outliers))
    each = max(1, SHOWN // len(kinds))
    return [page for kind in kinds for page in [one for one in outliers if one.kind == kind][:each]]


def _near_duplicate_table(near_duplicates: tuple[NearDuplicatePair, ...]) -> NameTable:
    title = _title(said("Near duplicates"), len(near_duplicates))
    table = NameTable(title, said("page, and its near duplicate"), said("alike"), "<")
    for pair in near_duplicates[:SHOWN]:
        notes = [said("labels differ")] if pair.labels_differ else []
        notes += [said("across splits")] if pair.across_splits else []
        table.add_row(_page(pair.first), f"{pair.similarity:.3f}", ", ".join(notes), below=_page(pair.second))
    return table


def _page(page: DuplicatePage) -> str:
    label = "" if page.label is None else f", {page.label}"
    return f"{page.id} ({said(page.split)}{label})"


def _label_table(check: LabelCheck) -> NameTable:
    title = _title(said("Label issues"), len(check.issues))
    table = NameTable(title, said("given → suggested"), said("p(given)"), said("p(suggested)"))
    for one in check.issues[:SHOWN]:
        given = one.given_label
        if one.in_relabel_file:
            given = said("{label} (from data.relabel)", label=given)
        probabilities = f"{one.given_probability:.3f}", f"{one.suggested_probability:.3f}"
        table.add_row(f"{given} → {one.suggested_label}", *probabilities, below=one.id)
    return table


def _summary(result: AuditResult) -> RenderableType:
    table = report.plain_table(said("Audit"))
    table.add_row(said("data"), escape(result.data))
    table.add_row(
        said("pages"), ", ".join(f"{count} {report.split_name(split)}" for split, count in result.pages.items())
    )
    table.add_row(said("largest to smallest class"), said("{ratio:.1f} to 1", ratio=result.imbalance))
    differ, across = (
        sum(pair.labels_differ for pair in result.near_duplicates),
        sum(pair.across_splits for pair in result.near_duplicates),
    )
    pairs = said(
        "{pairs} pairs, {differ} with different labels, {across} across splits; {groups} groups",
        pairs=len(result.near_duplicates),
        differ=differ,
        across=across,
        groups=result.duplicate_groups,
    )
    table.add_row(said("near duplicates"), pairs if result.near_duplicates else said("none"))
    if result.labels is None:
        labels = said("not checked; to check them, name a folds run with --run (`docclf train --folds 5` makes one)")
    else:
        labels = escape(_label_words(result.labels))
    table.add_row(said("labels"), labels)
    table.add_row(said("outliers"), str(len(result.outliers) or said("none")))
    return table


def _label_words(check: LabelCheck) -> str:
    if check.expected_issues is None:
        return said("not checked by {run}: {reason}", run=check.run, reason=check.skipped_reason)
    return said(
        "{issues} issues on {pages} pages (about {expected:.0f} wrong labels expected, 95 % {low:.0f} to {high:.0f}), "
        "found by {run}",
        issues=len(check.issues),
        pages=check.pages,
        expected=check.expected_issues,
        low=check.expected_issues_low or 0.0,
        high=check.expected_issues_high or 0.0,
        run=check.run,
    )


def _next(result: AuditResult) -> Iterator[RenderableType]:
    """Commands that look at what was found, and that train with it; whole, so that they can be copied."""
    keys = {"groups.csv": "data.groups", "relabel.csv": "data.relabel"}
    settings = [shlex.join(["--set", f"{keys[file.name]}={file}"]) for file in result.files if file.name in keys]
    train = " ".join([shlex.join(["docclf", "train", result.data]), *settings])
    to_look_at = any(file.name in ("near_duplicates.csv", "label_issues.csv") for file in result.files)
    commands = [*([shlex.join(["docclf", "review", str(result.folder)])] if to_look_at else []), train]
    yield Text(said("Next"), style="italic")
    yield from (Text(f"  {command}", no_wrap=True, overflow="ignore") for command in commands)
    if to_look_at and len(settings) > 1:
        yield Text(said("The last command takes all suggestions unseen."), style="dim")


def _title(text: str, count: int) -> str:
    if count <= SHOWN:
        return f"{text}: {count}"
    return said("{title}: the first {shown} of {count}", title=text, shown=SHOWN, count=count)
