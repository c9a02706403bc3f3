"""What can be reviewed: an audit, the review queue of a run, a table of `predict`, or a folder of pages."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from docclf_cli.data.images.decode import UnreadablePage
from docclf_cli.data.images.page_files import PageReader
from docclf_cli.data.index.documents import DocumentIndex
from docclf_cli.data.index.file_list import Found
from docclf_cli.data.index.index import load_index, load_training_index, names_split
from docclf_cli.data.index.inputs import find
from docclf_cli.data.index.tables import Table, read_table
from docclf_cli.engine.checkpoints.info import CheckpointInfo
from docclf_cli.engine.checkpoints.run_folder import RunFolder
from docclf_cli.engine.inference.members import require_known_place
from docclf_cli.engine.inference.trained_model import TrainedModel
from docclf_cli.errors import InputError
from docclf_cli.files import fingerprint_of
from docclf_cli.page_ids import is_paged
from docclf_cli.profile.schema import DataConfig
from docclf_cli.results.audit import SUMMARY
from docclf_cli.tasks.review.cuts import is_of_packets, queue_of_cuts
from docclf_cli.tasks.review.queue import DUPLICATES, ISSUES, PAGES, ReviewItem, ReviewPage, ReviewQueue
from docclf_cli.text import composed

QUEUE, PREDICTIONS = "review_queue.csv", "predictions.csv"
WHAT = "name a folder that `docclf audit` wrote, a run, the table of `docclf predict` or `docclf split-packets`, or a folder of pages"
logger = logging.getLogger("docclf")


def open_queue(source: Path, run: Path | None = None, *, every_page: bool = False) -> ReviewQueue:
    """Find out what a source is, and read what there is to review in it.

    Args:
        source: An audit, a run, a table of `evaluate` or `predict` or its folder, or a folder of pages.
        run: A run that knows the classes; in audits and runs it is known already.
        every_page: Offer all pages of a table of `predict`, not only those that need review.

    Raises:
        InputError: It is none of these, it is empty, or its pages are not found.
    """
    if not source.exists():
        raise InputError(f"{source}: there is no such file or folder", WHAT)
    if (source / SUMMARY).is_file() and not (source / PREDICTIONS).is_file():  # `predict` writes one of that name, too
        queue = _of_audit(source)
    elif (source / "run.json").is_file():
        queue = _of_review_table(_newest_table(source))
    elif source.name == QUEUE or (source / QUEUE).is_file():
        queue = _of_review_table(source if source.is_file() else source / QUEUE)
    elif (source / PREDICTIONS).is_file():
        queue = _of_predictions(source / PREDICTIONS, run, every_page)
    elif source.is_file() and is_of_packets(source):
        queue = queue_of_cuts(source)
    elif source.suffix.lower() == ".csv":
        queue = _of_predictions(source, run, every_page)
    elif source.is_dir():
        queue = _of_pages(source)
    else:
        raise InputError(f"{source} is nothing that can be reviewed", WHAT)
    if run is not None and queue.model is None and not queue.of_cuts:
        known = TrainedModel.load(run).info.class_names
        queue = replace(queue, model=run, class_names=tuple(dict.fromkeys((*known, *queue.class_names))))
    if not queue.items:
        raise InputError(f"{source}: there is nothing to review", "everything is decided, or nothing was found")
    return replace(queue, source=source)


def _key(*names: object) -> str:
    return fingerprint_of(*names)


# --- A folder of pages ------------------------------------------------------------------------------------------------


def _of_pages(folder: Path) -> ReviewQueue:
    reader = PageReader(DataConfig().max_pixels)
    pages = (page for found in find([str(folder)], io.BytesIO()) for page in _pages_of_file(found, folder, reader))
    return ReviewQueue(folder, tuple(ReviewItem(_key(page.id), PAGES, (page,)) for page in pages), (), is_folder=True)


def _pages_of_file(found: Found, folder: Path, reader: PageReader) -> Iterator[ReviewPage]:
    path, name = Path(found.folder, found.name).absolute(), found.name
    count = 1
    if is_paged(found.name):
        try:
            count = reader.count(path, folder)
        except UnreadablePage:  # reading it says why
            count = 1
    for number in range(count):
        yield _file_page(name, path, folder.absolute(), number, count)


def _file_page(name: str, path: Path, root: Path | None, number: int, count: int) -> ReviewPage:
    several = count > 1
    return ReviewPage(f"{name}#{number + 1}" if several else name, path, root, number, group=name if several else "")


# --- A table of `predict` ---------------------------------------------------------------------------------------------


def _of_predictions(path: Path, run: Path | None, every_page: bool) -> ReviewQueue:
    table = read_table(path)
    for column in ("class", "confidence", "needs_review"):
        table[column]
    if "path" not in table.columns:
        raise InputError(
            f"{path} names pages of a data root by ID",
            "review the pages that a run is unsure about: `docclf evaluate RUN --target-precision 0.99`, then `docclf review RUN`",
        )
    if run is not None:
        _warn_if_stale(path, TrainedModel.load(run).checkpoints)
    asked = (table["needs_review"] != "").any() and not every_page
    files = list(find([str(path)], io.BytesIO()))
    names, counts = np.unique(table["path"].astype(np.str_), return_counts=True)
    pages_of = dict(zip(names.tolist(), counts.tolist(), strict=True))
    items = []
    for row, found in enumerate(files):
        if asked and table["needs_review"][row] != "true":
            continue
        number = max(0, int(table["page"][row] or 1) - 1)
        file = Path(found.folder, found.name).absolute()
        page = _file_page(found.shown, file, None, number, pages_of[found.shown])
        items.append(ReviewItem(_key(page.id), PAGES, (page,), **_suggestion(table, row, "class", "class_2")))
    columns = [name for name in table.columns if name == "class" or name.startswith("class_")]
    classes = sorted({label for name in columns for label in table[name].tolist() if label})
    return ReviewQueue(path, tuple(items), tuple(classes))


def _suggestion(table: Table, row: int, first: str, second: str) -> dict[str, Any]:
    """The suggested class and the next one, with their probabilities."""

    def cell(name: str) -> str:
        return str(table[name][row]) if name in table.columns else ""

    def share(name: str) -> float | None:
        return float(cell(name)) if cell(name) else None

    runner_up = second.replace("class", "confidence") if second.startswith("class") else f"{second}_confidence"
    return {
        "suggested": cell(first) or None,
        "confidence": share("confidence"),
        "runner_up": cell(second) or None,
        "runner_up_confidence": share(runner_up),
        "note": cell("status"),
    }


# --- The review queue of a run ----------------------------------------------------------------------------------------


def _newest_table(run: Path) -> Path:
    found = list(run.glob(f"evaluate/*/{QUEUE}"))
    if not found:
        raise InputError(
            f"{run} has no {QUEUE}",
            f"make it with `docclf evaluate {run} --target-precision 0.99`, or name a folder of pages and --run {run}",
        )
    return max(found, key=lambda path: path.stat().st_mtime)


def _of_review_table(path: Path) -> ReviewQueue:
    run = path.absolute().parents[2]
    if not (run / "run.json").is_file():
        raise InputError(f"{path} is not in the folder of its run", "name the run itself")
    member, split = TrainedModel.load(run), path.absolute().parent.name
    if split not in ("train", "val", "test"):
        raise InputError(
            f"{path} is about other data than the run's own",
            "predict these pages (`docclf predict`), and review its predictions.csv",
        )
    _warn_if_stale(path, member.checkpoints)
    table, config = read_table(path), member.info.data
    pages = PagesOfData(config, member.info.class_names)
    items = []
    for row, name in enumerate(table["ID"].tolist()):
        page = pages.find(name, "test" if split == "test" else "train", table["target"][row] or None)
        items.append(
            ReviewItem(_key(split, name), PAGES, (page,), **_suggestion(table, row, "prediction", "runner_up"))
        )
    return ReviewQueue(path, tuple(items), member.info.class_names, run)


class PagesOfData:
    """Finds the pages of a data section by ID.

    Args:
        config: The data section.
        class_names: The classes of the model; None takes those of the data.
    """

    def __init__(self, config: DataConfig, class_names: Sequence[str] | None = None) -> None:
        require_known_place(config)
        plain = config.model_copy(update={"groups": None, "relabel": None})
        self.training = load_training_index(plain, class_names)[0]
        self.test = load_index(plain, "test", self.training.class_names) if names_split(plain, "test") else None

    def find(self, name: str, split: str, label: str | None) -> ReviewPage:
        """The page of an ID.

        Raises:
            InputError: There is no such page.
        """
        index: DocumentIndex | None = self.test if split == "test" and self.test is not None else self.training
        assert index is not None
        row = index.row_of.get(composed(name))
        if row is None:
            raise InputError(f"{index.root} has no page {name!r} any more", "make the table again")
        group = "" if index.groups is None else str(index.groups[row])
        is_test = index is not self.training
        return ReviewPage(
            f"test/{name}" if is_test else name,
            index.path(row).absolute(),
            index.root.absolute(),
            index.page(row),
            label,
            group,
        )


# --- An audit ---------------------------------------------------------------------------------------------------------


def _of_audit(folder: Path) -> ReviewQueue:
    summary: Mapping[str, Any] = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    if "data_section" not in summary:
        raise InputError(
            f"{folder} was written by an earlier docclf, which did not say how the pages are found",
            "run `docclf audit` again",
        )
    pages = PagesOfData(DataConfig.model_validate(summary["data_section"]))
    run = None if summary["run"] is None else Path(summary["run"])
    classes = pages.training.class_names
    if run is not None and RunFolder(run).profile.is_file():
        member = TrainedModel.load(run)
        classes = tuple(dict.fromkeys((*classes, *member.info.class_names)))
        _warn_if_stale(folder / SUMMARY, member.checkpoints)
    else:
        run = None
    items = [*_duplicates(folder, pages), *_issues(folder, pages)]
    groups = read_table(folder / "groups.csv")
    of_page = zip(groups["ID"].tolist(), groups["group"].tolist(), strict=True)
    return ReviewQueue(folder, tuple(items), classes, run, groups=tuple(of_page))


def _issues(folder: Path, pages: PagesOfData) -> Iterator[ReviewItem]:
    if not (folder / "label_issues.csv").is_file():
        return
    table = read_table(folder / "label_issues.csv")
    for row, name in enumerate(table["id"].tolist()):
        if table["in_relabel_file"][row] != "True":  # people have decided
            yield ReviewItem(
                _key(ISSUES, name),
                ISSUES,
                (pages.find(name, "train", str(table["given_label"][row])),),
                str(table["suggested_label"][row]),
                float(table["suggested_probability"][row]),
                str(table["given_label"][row]),
                float(table["given_probability"][row]),
            )


def _duplicates(folder: Path, pages: PagesOfData) -> Iterator[ReviewItem]:
    """One item for each set of pages that near duplicates connect; sets whose labels differ come first."""
    if not (folder / "near_duplicates.csv").is_file():
        return
    table = read_table(folder / "near_duplicates.csv")
    found: dict[tuple[str, str], ReviewPage] = {}
    set_of: dict[tuple[str, str], list[tuple[str, str]]] = {}
    differ: set[tuple[str, str]] = set()
    for row in range(len(table)):
        ends = []
        for side in ("first", "second"):
            split, name = str(table[f"{side}_split"][row]), str(table[f"{side}_id"][row])
            page = (split, name)
            if page not in found:
                one = pages.find(name, split, str(table[f"{side}_label"][row]) or None)
                found[page] = replace(one, labelled=split != "test")
                set_of[page] = [page]
            ends.append(page)
        if table["labels_differ"][row] == "True":
            differ.update(ends)
        one_set, other = set_of[ends[0]], set_of[ends[1]]
        if one_set is not other:
            one_set += other
            for page in other:
                set_of[page] = one_set
    sets = list({id(members): members for members in set_of.values()}.values())
    for members in sorted(sets, key=lambda members: not differ.intersection(members)):
        labels = [label for page in members if (label := found[page].label)]
        suggested = max(dict.fromkeys(labels), key=labels.count, default=None)
        names = sorted(f"{split}/{name}" for split, name in members)
        yield ReviewItem(_key(DUPLICATES, names), DUPLICATES, tuple(found[page] for page in members), suggested)


def _warn_if_stale(table: Path, checkpoints: Sequence[CheckpointInfo]) -> None:
    """Warn where a model was trained again after a table of its predictions was written."""
    newest = max(info.path.stat().st_mtime for info in checkpoints)
    if newest > table.stat().st_mtime:
        logger.warning(
            "%s is older than the model: its suggestions come from an earlier one; make it again for new ones", table
        )
