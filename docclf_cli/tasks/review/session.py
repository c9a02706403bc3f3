"""One review under way: who gets which item, what was decided, and the tables that come of it. Knows nothing of the web."""

from __future__ import annotations

import itertools
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from docclf_cli.data.index.documents import alone
from docclf_cli.engine.checkpoints.run_folder import write_csv
from docclf_cli.errors import InputError
from docclf_cli.journal import JOURNAL, Journal
from docclf_cli.results.packets import CUT, JOIN
from docclf_cli.tasks.review.cuts import COLUMNS as CUT_COLUMNS
from docclf_cli.tasks.review.cuts import CUTS_FILE, DecidedCut, FileHashes, cut_rows
from docclf_cli.tasks.review.leases import Leases
from docclf_cli.tasks.review.queue import (
    CUTS,
    DUPLICATES,
    PAGES,
    UNCERTAIN,
    ReviewItem,
    ReviewPage,
    ReviewQueue,
    file_state,
    ordered,
)
from docclf_cli.text import normalised

LABEL, UNKNOWN, SKIP = "label", "unknown", "skip"
ANSWERS, ANSWERS_ABOUT_CUTS = (LABEL, UNKNOWN, SKIP), (CUT, JOIN, SKIP)
LABELS_FILE, GROUPS_FILE = "review_labels.csv", "review_groups.csv"
COLUMNS = ("ID", "target", "path", "group", "suggested", "confidence", "who", "when")
LONGEST_NAME = 80
_PACE_OF, _PAUSE = 20, 120.0  # the pace is the median of so many gaps; longer ones are pauses


class RefusedDecision(InputError):  # noqa: N818  (no fault of the program: somebody else was faster)
    """A decision that is not taken, with the reason in words."""


@dataclass(frozen=True)
class Decision:
    """What a person decided about an item.

    Attributes:
        id: Made by the tab that sends it; a decision that is sent twice counts once.
        item: Key of the item.
        answer: `label`, `unknown` or `skip`; about cuts `cut`, `join` or `skip`.
        label: The class, for `label`.
        same: Whether near duplicates are the same document; None for other items.
        who: Name of the person.
        when: UTC, ISO 8601.
        suggested: What was suggested.
        confidence: How confidently.
        files: Size and modification time of the file of each page when it was shown.
        suggested_by: The model that made the suggestion; None where nothing was suggested.
    """

    id: str
    item: str
    answer: str
    label: str | None
    same: bool | None
    who: str
    when: str
    suggested: str | None
    confidence: float | None
    files: tuple[tuple[int, int], ...]
    suggested_by: str | None = None

    @classmethod
    def of_event(cls, event: Mapping[str, Any]) -> Decision:
        """The decision of a line of the journal."""
        values = {field.name: event[field.name] for field in fields(cls) if field.name in event}
        return cls(**values | {"files": tuple(tuple(one) for one in event["files"])})


@dataclass(frozen=True)
class Suggestion:
    """What a model that learns during the review suggests for an item: see `ReviewItem`."""

    suggested: str
    confidence: float
    runner_up: str | None
    runner_up_confidence: float | None
    suggested_by: str


@dataclass(frozen=True)
class _Shown:
    """An item as a tab got it, and the state of its files then."""

    item: ReviewItem
    states: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Progress:
    """How far a review is.

    Attributes:
        total: Number of items.
        decided: Items with a label, or `unknown`.
        seconds_each: Median time between the latest decisions; None until there are some.
        seconds_left: The same for all items that are left.
    """

    total: int
    decided: int
    seconds_each: float | None
    seconds_left: float | None


class ReviewSession:
    """The state of a review; its methods may be called from any thread.

    Args:
        queue: What there is to review.
        folder: Where the journal and the tables are; this process is its only writer.
        model_key: Identity of the model that suggests, or None.
        save_page: Writes one page of a file of several pages as an image of its own, and returns where.
        clock: Seconds, for leases and the pace.

    Raises:
        InputError: The journal is damaged.
    """

    def __init__(
        self,
        queue: ReviewQueue,
        folder: Path,
        *,
        model_key: str | None = None,
        save_page: Callable[[ReviewPage], Path] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.queue, self.folder, self.model_key = queue, folder, model_key
        self._save_page, self._clock, self._lock = save_page, clock, threading.RLock()
        self._leases, self._orders = Leases(), dict[str, list[int]]()
        self._shown: dict[str, _Shown] = {}
        self._decided_at: list[float] = []
        self._dirty, self._hashes = True, FileHashes()
        self.item_of = {item.key: item for item in queue.items}
        self.class_names = list(queue.class_names)
        self.journal = Journal(folder / JOURNAL)
        self.earlier_model: str | None = None
        self.changed: list[str] = []
        self.rounds = 0
        self.decisions: dict[str, Decision] = {}
        self._skipped: dict[str, Decision] = {}
        self._replay()
        if model_key is not None and self.earlier_model != model_key:
            self.journal.append({"kind": "model", "model": model_key, "when": _now()})

    def _replay(self) -> None:
        """Take up what the journal says; decisions about pages that have changed since are left out."""
        by_id: dict[str, Decision] = {}
        for event in self.journal.events:
            match event["kind"]:
                case "class":
                    self.class_names.append(event["name"])
                case "model":
                    self.earlier_model = event["model"]
                case "round":
                    self.rounds = event["round"]
                case "decision":
                    decision = Decision.of_event(event)
                    by_id[decision.id] = decision
                    self._apply(decision)
                case "undo":
                    self._forget(by_id[event["id"]])
        self.class_names = list(dict.fromkeys(self.class_names))
        for key, decision in list(self.decisions.items()):
            if (item := self.item_of.get(key)) and _states(item) != decision.files:
                del self.decisions[key]
                self.changed.append(item.pages[0].id)

    def _apply(self, decision: Decision) -> None:
        self._skipped.pop(decision.item, None)
        (self._skipped if decision.answer == SKIP else self.decisions)[decision.item] = decision

    def _forget(self, decision: Decision) -> None:
        for held in (self.decisions, self._skipped):
            if (found := held.get(decision.item)) is not None and found.id == decision.id:
                del held[decision.item]

    def next_items(self, holder: str, count: int, order: str) -> list[ReviewItem]:
        """Lease the next items to a tab: those it holds already first, skipped ones last.

        An item that a tab holds stays as it was given, whatever is suggested since: somebody looks at it. Where nothing
        was suggested, it gets the first suggestion.

        Args:
            holder: Names the tab.
            count: How many it wants to hold.
            order: One of `queue.ORDERS`.
        """
        with self._lock:
            self._leases.heard_of(holder, self._clock())
            held = [key for key in self._leases.of(holder) if key in self._shown and key not in self.decisions]
            for key in held:
                if self._shown[key].item.suggested is None:
                    self._shown[key] = replace(self._shown[key], item=self.item_of[key])
            found = [self._shown[key].item for key in held][:count]
            for item in self._waiting(order):
                if len(found) == count:
                    break
                if self._leases.holder_of(item.key) != holder and self._leases.take(item.key, holder):
                    found.append(item)
                    self._shown[item.key] = _Shown(item, _states(item))
            return found

    def _waiting(self, order: str) -> Iterator[ReviewItem]:
        if order not in self._orders:
            self._orders[order] = ordered(self.queue.items, order)
        items = self.queue.items
        yield from (
            items[row]
            for row in self._orders[order]
            if items[row].key not in self.decisions and items[row].key not in self._skipped
        )
        yield from [self.item_of[key] for key in self._skipped if key in self.item_of]

    def decide(
        self,
        holder: str,
        decision_id: str,
        key: str,
        answer: str,
        *,
        label: str | None = None,
        same: bool | None = None,
        who: str = "",
    ) -> None:
        """Take a decision; it is on the disk when this returns.

        Raises:
            RefusedDecision: The item is unknown, decided, with another tab, or its file has changed since it was shown;
                or there is no such class.
            ResourceError: The journal cannot be written.
        """
        with self._lock:
            self._leases.heard_of(holder, self._clock())
            item = self.item_of.get(key)
            if item is None:
                raise RefusedDecision("this page is not in the queue any more")
            known = self.decisions.get(key) or self._skipped.get(key)
            if known is not None and known.id == decision_id:
                return
            if key in self.decisions:
                raise RefusedDecision("somebody else has decided about this page")
            if not self._leases.is_free(key, holder):
                raise RefusedDecision("this page is with somebody else now")
            answers = ANSWERS_ABOUT_CUTS if item.kind == CUTS else ANSWERS
            if answer not in answers or (answer == LABEL) != (label is not None):
                raise RefusedDecision("this is no decision")
            if label is not None and label not in self.class_names:
                raise RefusedDecision(f"there is no class {label!r}")
            shown = self._shown.get(key)
            if shown is None or shown.states != _states(item):
                self._shown[key] = _Shown(item, _states(item))
                raise RefusedDecision("the file of this page has changed: look at it again")
            item = shown.item
            by = None if item.suggested is None else item.suggested_by or self.model_key
            decision = Decision(
                decision_id, key, answer, label, same if item.kind == DUPLICATES else None, who, _now(),
                item.suggested, item.confidence, shown.states, by,
            )  # fmt: skip
            self.journal.append({"kind": "decision", **asdict(decision)})
            self._apply(decision)
            self._leases.end(key)
            self._decided_at.append(self._clock())
            self._dirty = True

    def undo(self, holder: str, decision_id: str) -> ReviewItem:
        """Take a decision back, and give its item to the tab.

        Raises:
            RefusedDecision: There is no such decision.
        """
        with self._lock:
            self._leases.heard_of(holder, self._clock())
            taken = [*self.decisions.values(), *self._skipped.values()]
            decision = next((one for one in taken if one.id == decision_id), None)
            if decision is None:
                raise RefusedDecision("this decision is not there any more")
            self.journal.append({"kind": "undo", "id": decision_id, "when": _now()})
            self._forget(decision)
            self._leases.take(decision.item, holder)
            item = self.item_of[decision.item]
            self._shown[decision.item] = _Shown(item, _states(item))
            self._dirty = True
            return item

    def add_class(self, name: str, who: str = "") -> str:
        """Add a class, and return its name as it is kept.

        Raises:
            RefusedDecision: The name is blank, too long or holds control characters.
        """
        name = normalised(name)
        if not name or len(name) > LONGEST_NAME or not name.isprintable():
            raise RefusedDecision(f"a class has a name of 1 to {LONGEST_NAME} characters")
        with self._lock:
            if name not in self.class_names:
                self.journal.append({"kind": "class", "name": name, "who": who, "when": _now()})
                self.class_names.append(name)
            return name

    def labels_of_pages(self) -> tuple[int, list[str | None]]:
        """How many single pages have a label, and the label of each item, None where it has none."""
        with self._lock:
            names: list[str | None] = [None] * len(self.queue.items)
            for row, item in enumerate(self.queue.items):
                decision = self.decisions.get(item.key)
                if decision is not None and item.kind == PAGES:
                    names[row] = decision.label
            return sum(name is not None for name in names), names

    def offer(self, suggestions: Mapping[str, Suggestion], order: Sequence[int]) -> None:
        """Suggest other classes from now on, and offer uncertain pages in another order.

        Args:
            suggestions: By key of the item; the others keep what is suggested for them.
            order: Positions of all items, those to ask about first at the front.
        """
        with self._lock:
            items = tuple(
                replace(item, **asdict(suggestions[item.key])) if item.key in suggestions else item
                for item in self.queue.items
            )
            self.queue = replace(self.queue, items=items)
            self.item_of = {item.key: item for item in items}
            self._orders = {UNCERTAIN: list(order)}

    def start_round(self, labels: int, made_by: str) -> int:
        """Note in the journal that a model has learned from labels, and return the number of the round.

        Args:
            labels: How many labels it has learned from.
            made_by: Identifies the model; decisions name it as `suggested_by`.
        """
        with self._lock:
            self.rounds += 1
            self.journal.append(
                {"kind": "round", "round": self.rounds, "labels": labels, "model": made_by, "when": _now()}
            )
            return self.rounds

    def release(self, holder: str) -> None:
        """A tab was closed: others may have its items."""
        with self._lock:
            self._leases.release(holder)

    def progress(self) -> Progress:
        """How far the review is, and how fast."""
        with self._lock:
            decided = sum(key in self.item_of for key in self.decisions)
            recent = self._decided_at[-_PACE_OF - 1 :]
        gaps = [later - earlier for earlier, later in itertools.pairwise(recent) if later - earlier < _PAUSE]
        each = statistics.median(gaps) if gaps else None
        total = len(self.queue.items)
        return Progress(total, decided, each, None if each is None else each * (total - decided))

    def counts(self) -> Counter[str]:
        """Decisions by answer; `suggested` are labels and cuts with a suggestion, `confirmed` those that are as suggested."""
        with self._lock:
            found = Counter(one.answer for one in [*self.decisions.values(), *self._skipped.values()])
            decided = [one for one in self.decisions.values() if one.answer != UNKNOWN and one.suggested is not None]
        found["suggested"] = len(decided)
        found["confirmed"] = sum((one.label or one.answer) == one.suggested for one in decided)
        return found

    def write_results(self) -> list[Path]:
        """Write the tables of all decisions, whole, where anything is new since the last time."""
        with self._lock:
            if self.queue.of_cuts:
                path = self.folder / CUTS_FILE
                if self._dirty:
                    write_csv(path, list(cut_rows(self._decided_cuts(), self._hashes)), CUT_COLUMNS)
                    self._dirty = False
                return [path]
            files = [self.folder / LABELS_FILE, *([self.folder / GROUPS_FILE] if self.queue.groups else [])]
            if self._dirty:
                write_csv(files[0], list(self._label_rows()), COLUMNS)
                if self.queue.groups:
                    write_csv(files[1], list(self._group_rows()), ("ID", "group"))
                self._dirty = False
            return files

    def _decided_cuts(self) -> Iterator[DecidedCut]:
        """Decisions about cuts, in the order of the packets; none about a packet that has changed since."""
        for item in self.queue.items:
            one = self.decisions.get(item.key)
            if one is not None and one.files == _states(item):
                yield DecidedCut(item, one.answer, one.suggested, one.confidence, one.who, one.when)

    def _label_rows(self) -> Iterator[dict[str, Any]]:
        rows: dict[str, dict[str, Any]] = {}
        for key, decision in self.decisions.items():
            item = self.item_of.get(key)
            if item is None or decision.answer != LABEL:
                continue
            for page in item.pages:
                if page.labelled:
                    rows[page.id] = {
                        "ID": page.id,
                        "target": decision.label,
                        "path": str(page.path if self._save_page is None else self._save_page(page)),
                        "group": page.group,
                        "suggested": decision.suggested or "",
                        "confidence": "" if decision.confidence is None else f"{decision.confidence:.6f}",
                        "who": decision.who,
                        "when": decision.when,
                    }
        yield from rows.values()

    def _group_rows(self) -> Iterator[dict[str, str]]:
        """The groups without those that a person called different documents."""
        group_of = dict(self.queue.groups)
        members: dict[str, set[str]] = {}
        for page_id, group in self.queue.groups:
            members.setdefault(group, set()).add(page_id)
        for key, decision in self.decisions.items():
            item = self.item_of.get(key)
            if item is None or decision.same is not False:
                continue
            ids = {page.id for page in item.pages if page.id in group_of}
            # A group that also holds other pages was not made by these near duplicates alone.
            if len({group_of[name] for name in ids}) == 1 and members[group_of[min(ids)]] == ids:
                group_of |= {name: alone(name) for name in ids}
        yield from ({"ID": page_id, "group": group} for page_id, group in group_of.items())


def _states(item: ReviewItem) -> tuple[tuple[int, int], ...]:
    return tuple(file_state(page.path) for page in item.pages)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
