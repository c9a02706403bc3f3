"""Tables of `docclf audit`."""

import shlex
from collections.abc import Iterator

from rich.console import RenderableType
from rich.markup import escape

from docclf_cli.display import show as report
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


def _class_table(result: AuditResult) -> NameTable:
    splits = list(result.classes[0].pages)
    table = NameTable("Pages by class", "class", *splits, "groups")
    for row in result.classes:
        table.add_row(row.name, *(str(row.pages[split]) for split in splits), str(row.groups))
    return table


def _outlier_table(outliers: tuple[Outlier, ...]) -> NameTable:
    table = NameTable(_title("Outliers", len(outliers)), "page", "kind<", "split<")
    for page in _some_of_each_kind(outliers):
        table.add_row(page.id, page.kind, page.split, below=page.detail)
    return table


def _some_of_each_kind(outliers: tuple[Outlier, ...]) -> list[Outlier]:
    kinds = list(dict.fromkeys(page.kind for page in outliers))
    each = max(1, SHOWN // len(kinds))
    return [page for kind in kinds for page in [one for one in outliers if one.kind == kind][:each]]


def _near_duplicate_table(near_duplicates: tuple[NearDuplicatePair, ...]) -> NameTable:
    table = NameTable(_title("Near duplicates", len(near_duplicates)), "page, and its near duplicate", "alike", "<")
    for pair in near_duplicates[:SHOWN]:
        notes = [
            text
            for text, said in (("labels differ", pair.labels_differ), ("across splits", pair.across_splits))
            if said
        ]
        table.add_row(_page(pair.first), f"{pair.similarity:.3f}", ", ".join(notes), below=_page(pair.second))
    return table


def _page(page: DuplicatePage) -> str:
    label = "" if page.label is None else f", {page.label}"
    return f"{page.id} ({page.split}{label})"


def _label_table(check: LabelCheck) -> NameTable:
    table = NameTable(_title("Label issues", len(check.issues)), "given → suggested", "p(given)", "p(suggested)")
    for one in check.issues[:SHOWN]:
        given = f"{one.given_label} (from data.relabel)" if one.in_relabel_file else one.given_label
        probabilities = f"{one.given_probability:.3f}", f"{one.suggested_probability:.3f}"
        table.add_row(f"{given} → {one.suggested_label}", *probabilities, below=one.id)
    return table


def _summary(result: AuditResult) -> RenderableType:
    table = report.plain_table("Audit")
    table.add_row("data", escape(result.data))
    table.add_row("pages", ", ".join(f"{count} {split}" for split, count in result.pages.items()))
    table.add_row("largest to smallest class", f"{result.imbalance:.1f} to 1")
    differ, across = (
        sum(pair.labels_differ for pair in result.near_duplicates),
        sum(pair.across_splits for pair in result.near_duplicates),
    )
    pairs = f"{len(result.near_duplicates)} pairs, {differ} with different labels, {across} across splits"
    table.add_row("near duplicates", f"{pairs}; {result.duplicate_groups} groups" if result.near_duplicates else "none")
    if result.labels is None:
        table.add_row(
            "labels", "not checked; to check them, name a folds run with --run (`docclf train --folds 5` makes one)"
        )
    else:
        table.add_row("labels", escape(_label_words(result.labels)))
    table.add_row("outliers", str(len(result.outliers) or "none"))
    table.add_row("next", escape(_next(result)))
    return table


def _label_words(check: LabelCheck) -> str:
    if check.expected_issues is None:
        return f"not checked by {check.run}: {check.skipped_reason}"
    low, high = check.expected_issues_low or 0.0, check.expected_issues_high or 0.0
    expected = f"about {check.expected_issues:.0f} wrong labels expected, 95 % {low:.0f} to {high:.0f}"
    return f"{len(check.issues)} issues on {check.pages} pages ({expected}), found by {check.run}"


def _next(result: AuditResult) -> str:
    keys = {"groups.csv": "data.groups", "relabel.csv": "data.relabel"}
    options = [shlex.join(["--set", f"{keys[file.name]}={file}"]) for file in result.files if file.name in keys]
    train = f"train with {' '.join(options)}"
    if not any(file.name in ("near_duplicates.csv", "label_issues.csv") for file in result.files):
        return train
    look = shlex.join(["docclf", "review", str(result.folder)])
    unseen = ", which takes all suggestions unseen" if len(options) > 1 else ""
    return f"look at the pages in the browser: {look}\nor {train}{unseen}"


def _title(text: str, count: int) -> str:
    return f"{text}: {count}" if count <= SHOWN else f"{text}: the first {SHOWN} of {count}"
