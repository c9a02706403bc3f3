"""`audit`: finds near duplicates, label issues and outliers of a data set, and writes files that fix them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from docclf_cli.engine.checkpoints.run_folder import RunFolder
from docclf_cli.engine.runtime.device import resolve_runtime
from docclf_cli.errors import InputError
from docclf_cli.events import Emit, silent
from docclf_cli.files import atomic_folder
from docclf_cli.profile.paths import absolute_paths
from docclf_cli.profile.schema import Profile
from docclf_cli.results.audit import AuditResult, ClassCount, DuplicatePage, LabelCheck, NearDuplicatePair, Outlier
from docclf_cli.results.predictions import Predictions
from docclf_cli.stop import NEVER, StopFlag
from docclf_cli.tasks.audit.files import SUMMARY, write_audit
from docclf_cli.tasks.audit.labels import check_labels, reviewed_labels
from docclf_cli.tasks.audit.near_duplicates import SIMILARITY, Pairs, connected_components, find_near_duplicates
from docclf_cli.tasks.audit.outliers import find_outliers
from docclf_cli.tasks.audit.pages import Collection, Thumbnails, blank_rows, collect_pages, thumbnails, ticker
from docclf_cli.tasks.train import OUT_OF_FOLD

logger = logging.getLogger("docclf")


def audit(
    profile: Profile,
    *,
    run: Path | None = None,
    output: Path = Path("runs"),
    name: str | None = None,
    overwrite: bool = False,
    similarity: float = SIMILARITY,
    emit: Emit = silent,
    stop: StopFlag = NEVER,
) -> AuditResult:
    """Find near duplicates, label issues and outliers of a data set.

    Args:
        profile: Its data section names the pages.
        run: A folds run on these pages; without one the labels are not checked.
        output: Parent of the new folder.
        name: Name of the new folder; None is made from the time.
        overwrite: Replace an earlier audit of that name.
        similarity: Two pages at least this similar are near duplicates, between 0 and 1.
        emit: Consumer of progress events.
        stop: Polled in every loop.

    Raises:
        InputError: The data or the run cannot be used, or the folder exists.
        Interrupted: `stop` was set; nothing is written.
    """
    folder = _new_folder(output, name, overwrite)
    profile = absolute_paths(profile)
    out_of_fold = None if run is None else _load_out_of_fold(run)
    run_folder = None if run is None else RunFolder(run)
    collection = collect_pages(profile.data, run_folder, None if out_of_fold is None else out_of_fold.class_names)
    collection.left_out.say(profile.data.root)
    runtime = resolve_runtime(profile.runtime)
    pages = thumbnails(collection, runtime, emit, stop)
    readable = np.setdiff1d(np.arange(len(collection)), list(pages.unreadable))
    pairs = find_near_duplicates(
        readable, pages.grey, workers=runtime.workers, similarity=similarity, tick=ticker(emit, stop)
    )
    groups = _group_near_duplicates(collection, pairs)
    labels = None if out_of_fold is None or run is None else check_labels(collection, run, out_of_fold, groups)
    if labels is not None and labels.refusal is not None:
        logger.warning("%s cannot judge labels: %s. No label is called doubtful", run, labels.refusal)
    outliers = tuple(_outliers(collection, pages, readable, emit, stop))
    result = _result(folder, collection, pairs, labels, groups, outliers)
    with atomic_folder(folder) as new:
        files = write_audit(new, collection, groups, result, reviewed_labels(collection))
        stop.raise_if_set("stopped; nothing is written")
    return replace(result, files=tuple(folder / file.name for file in files))


def _new_folder(output: Path, name: str | None, overwrite: bool) -> Path:
    if name is None:
        return output / f"audit-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    if name != Path(name).name or name.startswith("."):
        raise InputError(f"--name: '{name}' is not a plain folder name")
    path = output / name
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists", "choose another --name, or add --overwrite to replace it")
    if path.exists() and not (path / SUMMARY).is_file():
        raise InputError(f"{path} is not an audit, and is left alone", "choose another --name")
    return path


def _load_out_of_fold(run: Path) -> Predictions:
    path = run / OUT_OF_FOLD
    if not path.is_file():
        raise InputError(
            f"{run} has no {OUT_OF_FOLD}: it is no finished folds run", "train one: `docclf train --folds 5`"
        )
    return Predictions.load(path)


def _group_near_duplicates(collection: Collection, pairs: Pairs) -> np.ndarray:
    """Return the group of each training page; groups with near duplicates are joined under the name of the first."""
    training = collection.training
    count = len(collection)
    own = np.array([f"page {name}" for name in training.ids], object) if training.groups is None else training.groups
    names, group_of_row = np.unique(own.astype(np.str_), return_inverse=True)
    # Nodes are the pages, and after them the groups: a page is linked to its group and to its near duplicates.
    membership = np.arange(len(training)), group_of_row + count
    components = connected_components(count + len(names), [(pairs.first, pairs.second), membership])[: len(training)]
    _, first, component = np.unique(components, return_index=True, return_inverse=True)
    return own[first][component]


def _result(
    folder: Path,
    collection: Collection,
    pairs: Pairs,
    labels: LabelCheck | None,
    groups: np.ndarray,
    outliers: tuple[Outlier, ...],
) -> AuditResult:
    splits, counts = np.unique(collection.splits.astype(np.str_), return_counts=True)
    sets = connected_components(len(collection), [(pairs.first, pairs.second)])
    class_counts = collection.training.counts()
    return AuditResult(
        folder,
        collection.config.root,
        dict(zip(splits.tolist(), counts.tolist(), strict=True)),
        tuple(_near_duplicates(collection, pairs)),
        int((np.bincount(sets) > 1).sum()),
        labels,
        float(class_counts.max() / class_counts[class_counts > 0].min()),
        tuple(_classes(collection, groups)),
        outliers,
        (),
        collection.left_out.counts,
    )


def _near_duplicates(collection: Collection, pairs: Pairs) -> Iterator[NearDuplicatePair]:
    found = []
    for one, other, similarity in zip(pairs.first, pairs.second, pairs.similarity.tolist(), strict=True):
        first, second = (
            DuplicatePage(str(collection.ids[row]), str(collection.splits[row]), collection.label(row))
            for row in (one, other)
        )
        conflict = None not in (first.label, second.label) and first.label != second.label
        found.append(NearDuplicatePair(first, second, similarity, conflict, first.split != second.split))
    yield from sorted(found, key=lambda pair: (not pair.conflict, not pair.across, -pair.similarity))


def _classes(collection: Collection, groups: np.ndarray) -> Iterator[ClassCount]:
    splits = list(dict.fromkeys(collection.splits.tolist()))
    labels = collection.training.labels
    for number, name in enumerate(collection.class_names):
        pages = {split: int(((collection.splits == split) & (collection.targets == number)).sum()) for split in splits}
        yield ClassCount(name, pages, len(set(groups[labels == number].tolist())))


def _outliers(
    collection: Collection, pages: Thumbnails, readable: np.ndarray, emit: Emit, stop: StopFlag
) -> Iterator[Outlier]:
    found = [(row, "unreadable", reason) for row, reason in pages.unreadable.items()]
    found += [(row, "blank", "shows nothing") for row in blank_rows(pages, readable)]
    headers = collection.headers(set(pages.unreadable), emit, stop)
    found += find_outliers(headers, collection.targets, collection.config.image_size)
    for row, kind, detail in found:
        yield Outlier(str(collection.ids[row]), str(collection.splits[row]), kind, detail)
