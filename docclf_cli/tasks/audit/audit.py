"""`docclf audit`: finds near duplicates, label issues and outliers, and writes overlay files that fix them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from docclf_cli.data.index.index import resolve_root
from docclf_cli.engine.checkpoints.run_folder import RunFolder
from docclf_cli.engine.runtime.device import resolve_runtime
from docclf_cli.errors import InputError
from docclf_cli.events import Emit, silent
from docclf_cli.files import atomic_folder
from docclf_cli.profile.paths import absolute_paths
from docclf_cli.profile.schema import Profile
from docclf_cli.results.audit import (
    SUMMARY,
    AuditClass,
    AuditResult,
    DuplicatePage,
    LabelCheck,
    NearDuplicatePair,
    Outlier,
)
from docclf_cli.results.predictions import Predictions
from docclf_cli.stop import NEVER, StopFlag
from docclf_cli.tasks.audit.files import write_audit
from docclf_cli.tasks.audit.labels import check_labels, relabel_file_labels
from docclf_cli.tasks.audit.near_duplicates import SIMILARITY, Pairs, find_near_duplicates, linked
from docclf_cli.tasks.audit.outliers import find_outliers
from docclf_cli.tasks.audit.pages import Collection, Thumbnails, blank_rows, collect_pages, thumbnails
from docclf_cli.tasks.train import OUT_OF_FOLD

logger = logging.getLogger("docclf")


@dataclass(frozen=True, eq=False)
class Findings:
    """Everything that was found, by row of the collection.

    Attributes:
        collection: The pages.
        pairs: Near duplicates.
        labels: What a folds run says about the labels.
        groups: Group of each page to train and validate on, near duplicates in one: text [n].
    """

    collection: Collection
    pairs: Pairs
    labels: LabelCheck | None
    groups: np.ndarray


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
    """Look for what is wrong with a data set.

    Args:
        profile: Its data section says which pages.
        run: A folds run on these pages; without one the labels are not checked.
        output: Parent of the new folder.
        name: Name of the new folder; None is made from the time.
        overwrite: Replace an earlier audit of this name.
        similarity: Pages at least this similar are near duplicates; between 0 and 1.
        emit: Consumer of progress events.
        stop: Polled in every loop.

    Raises:
        InputError: The data or the run cannot be used, or the folder is there already.
        Interrupted: `stop` was set; nothing is written.
    """
    folder, profile = _new_folder(output, name, overwrite), absolute_paths(profile)
    out_of_fold = None if run is None else _out_of_fold(run)
    run_folder = None if run is None else RunFolder(run)
    resolve_root(profile.data, emit, stop)  # draws the samples, if they are wanted and not there yet
    collection = collect_pages(profile.data, run_folder, None if out_of_fold is None else out_of_fold.class_names)
    collection.left_out.warn(profile.data.root)
    pages = thumbnails(collection, resolve_runtime(profile.runtime), emit, stop)
    readable = np.setdiff1d(np.arange(len(collection)), list(pages.unreadable))
    workers = resolve_runtime(profile.runtime).workers
    pairs = find_near_duplicates(readable, pages.grey, workers=workers, similarity=similarity, emit=emit, stop=stop)
    pairs = _between_files(collection, pairs)
    groups = _groups(collection, pairs)
    labels = None if out_of_fold is None or run is None else check_labels(collection, run, out_of_fold, groups)
    if labels is not None and labels.skipped_reason is not None:
        logger.warning(
            "%s cannot be used to check labels: %s. No label issues are reported", run, labels.skipped_reason
        )
    findings = Findings(collection, pairs, labels, groups)
    result = _result(folder, findings, tuple(_outliers(collection, pages, readable, emit, stop)))
    with atomic_folder(folder) as new:
        files = write_audit(new, collection, findings.groups, result, relabel_file_labels(collection))
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
        raise InputError(f"{path} is not an audit folder and is not replaced", "choose another --name")
    return path


def _out_of_fold(run: Path) -> Predictions:
    path = run / OUT_OF_FOLD
    if not path.is_file():
        raise InputError(
            f"{run} has no {OUT_OF_FOLD}: it is not a finished folds run", "train one: `docclf train --folds 5`"
        )
    return Predictions.load(path)


def _between_files(collection: Collection, pairs: Pairs) -> Pairs:
    """The pairs whose pages are of two files: those of one file belong together anyway."""
    files = np.array([f"{place}/{path}" for place, side in enumerate(collection.sides) for path in side.paths.tolist()])
    apart = files[pairs.first] != files[pairs.second]
    return Pairs(pairs.first[apart], pairs.second[apart], pairs.similarity[apart])


def _groups(collection: Collection, pairs: Pairs) -> np.ndarray:
    """Groups of the training pages, groups joined by near duplicates have the name of the first."""
    training, count = collection.training, len(collection)
    own = np.array([f"page {name}" for name in training.ids], object) if training.groups is None else training.groups
    names, of_row = np.unique(own.astype(np.str_), return_inverse=True)
    member_of = np.arange(len(training)), of_row + count
    parts = linked(count + len(names), [(pairs.first, pairs.second), member_of])[: len(training)]
    _, first, part = np.unique(parts, return_index=True, return_inverse=True)
    return own[first][part]


def _result(folder: Path, findings: Findings, outliers: tuple[Outlier, ...]) -> AuditResult:
    collection, pairs = findings.collection, findings.pairs
    splits, counts = np.unique(collection.splits.astype(np.str_), return_counts=True)
    sets = linked(len(collection), [(pairs.first, pairs.second)])
    of_class = collection.training.counts()
    return AuditResult(
        folder, collection.config.root, dict(zip(splits.tolist(), counts.tolist(), strict=True)),
        tuple(_near_duplicates(collection, pairs)), int((np.bincount(sets) > 1).sum()), findings.labels,
        float(of_class.max() / of_class[of_class > 0].min()), tuple(_classes(collection, findings.groups)), outliers, (),
        collection.left_out.counts,
    )  # fmt: skip


def _near_duplicates(collection: Collection, pairs: Pairs) -> Iterator[NearDuplicatePair]:
    found = []
    for one, other, similarity in zip(pairs.first, pairs.second, pairs.similarity.tolist(), strict=True):
        first, second = (
            DuplicatePage(str(collection.ids[row]), str(collection.splits[row]), collection.label(row))
            for row in (one, other)
        )
        labels_differ = None not in (first.label, second.label) and first.label != second.label
        found.append(NearDuplicatePair(first, second, similarity, labels_differ, first.split != second.split))
    yield from sorted(found, key=lambda pair: (not pair.labels_differ, not pair.across_splits, -pair.similarity))


def _classes(collection: Collection, groups: np.ndarray) -> Iterator[AuditClass]:
    splits = list(dict.fromkeys(collection.splits.tolist()))
    labels = collection.training.labels
    for number, name in enumerate(collection.class_names):
        pages = {split: int(((collection.splits == split) & (collection.targets == number)).sum()) for split in splits}
        yield AuditClass(name, pages, len(set(groups[labels == number].tolist())))


def _outliers(
    collection: Collection, pages: Thumbnails, readable: np.ndarray, emit: Emit, stop: StopFlag
) -> Iterator[Outlier]:
    found = [(row, "unreadable", reason) for row, reason in pages.unreadable.items()]
    found += [(row, "blank", "no visible content") for row in blank_rows(pages, readable)]
    headers = collection.headers(set(pages.unreadable), emit, stop)
    found += find_outliers(headers, collection.targets, collection.config.image_size)
    for row, kind, detail in found:
        yield Outlier(str(collection.ids[row]), str(collection.splits[row]), kind, detail)
