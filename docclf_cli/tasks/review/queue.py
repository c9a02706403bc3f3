"""The queue of a review: pages or sets of near duplicates that people are to decide, and the order they come in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PAGES, ISSUES, DUPLICATES, CUTS = "pages", "label_issues", "near_duplicates", "cuts"
UNCERTAIN, BY_CLASS, BY_FILE = "uncertain", "class", "file"
ORDERS = (UNCERTAIN, BY_CLASS, BY_FILE)


@dataclass(frozen=True)
class ReviewPage:
    """One page of an item.

    Attributes:
        id: As the result names it.
        path: Its file, absolute.
        root: Folder that the file may not leave; None where the user named the file itself.
        number: Page of the file, counted from 0.
        label: Its present label, if it has one; beside an uncertain cut the class of its document.
        group: Name of the pages that belong together with it, such as those of one document; empty where it is alone.
        labelled: Whether the result may give it a label; a page of the test split gets none.
    """

    id: str
    path: Path
    root: Path | None = None
    number: int = 0
    label: str | None = None
    group: str = ""
    labelled: bool = True


@dataclass(frozen=True)
class ReviewItem:
    """What a person decides at once: a page, near duplicates together, or whether to cut between two pages.

    Attributes:
        key: Names the item in the journal; the same whenever the queue is opened.
        kind: `pages`, `label_issues`, `near_duplicates` or `cuts`.
        pages: At least one.
        suggested: The class that is suggested, if any; of a cut `cut` or `join`.
        confidence: Its probability.
        runner_up: The next class.
        runner_up_confidence: Its probability.
        note: Why the page could not be predicted; empty where it was.
        suggested_by: The model that suggests, where it changes during the review.
    """

    key: str
    kind: str
    pages: tuple[ReviewPage, ...]
    suggested: str | None = None
    confidence: float | None = None
    runner_up: str | None = None
    runner_up_confidence: float | None = None
    note: str = ""
    suggested_by: str = ""

    @property
    def margin(self) -> float:
        """Probability of the suggested class less that of the next one; 0 where there is no suggestion."""
        return (self.confidence or 0.0) - (self.runner_up_confidence or 0.0) if self.suggested else 0.0


@dataclass(frozen=True)
class ReviewQueue:
    """Everything that there is to review.

    Attributes:
        source: What was named: an audit, a run, a table, what `split-packets` wrote, or a folder of pages.
        items: In the order of their source.
        class_names: The classes to choose from.
        model: The run that suggests, for heat maps; None without one.
        is_folder: Whether it is a folder of pages, for which a run can suggest classes.
        groups: Group by page ID that the review starts from, where near duplicates are reviewed.
        orders: In which order items can be offered, the usual one first.
    """

    source: Path
    items: tuple[ReviewItem, ...]
    class_names: tuple[str, ...]
    model: Path | None = None
    is_folder: bool = False
    groups: tuple[tuple[str, str], ...] = ()
    orders: tuple[str, ...] = ORDERS

    @property
    def of_cuts(self) -> bool:
        """Whether people decide where packets are cut."""
        return any(item.kind == CUTS for item in self.items)


def ordered(items: Sequence[ReviewItem], order: str) -> list[int]:
    """The positions of items in the order in which they are offered.

    `uncertain` takes the item with the smallest margin of each suggested class in turn (margin sampling, stratified by
    predicted class), so that the first pages are uncertain and not all alike. `class` sorts by suggested class, the most
    certain first; `file` keeps the order of the source.

    Args:
        items: The items of a queue.
        order: One of `ORDERS`.
    """
    if order == BY_FILE:
        return list(range(len(items)))
    if order == BY_CLASS:
        return sorted(range(len(items)), key=lambda row: (items[row].suggested or "￿", -items[row].margin, row))
    of_class: dict[str | None, list[int]] = defaultdict(list)
    for row in sorted(range(len(items)), key=lambda row: (items[row].margin, row)):
        of_class[items[row].suggested].append(row)
    ranked = ((rank, items[row].margin, row) for rows in of_class.values() for rank, row in enumerate(rows))
    return [row for _, _, row in sorted(ranked)]


def file_state(path: Path) -> tuple[int, int]:
    """Size and modification time of a file; (0, 0) where it is not there."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns
