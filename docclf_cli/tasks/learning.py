"""Whether labels that were added helped: this run against the one it started from, on pages that neither trained on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from docclf_cli.data.images.decode import UnreadablePage
from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.data.index.index import TrainingPages
from docclf_cli.data.index.splits import ADDED, Split
from docclf_cli.data.loading.pages import Pages
from docclf_cli.engine.inference.get_predictions import get_predictions
from docclf_cli.engine.inference.members import Indices, merge_checkpoints, requests_of, trained_ids
from docclf_cli.engine.inference.requests import PredictionRequest
from docclf_cli.engine.inference.trained_model import VAL, TrainedModel
from docclf_cli.errors import InputError
from docclf_cli.events import Emit
from docclf_cli.metrics.compare import mcnemar, paired_difference, scored_together, sentence
from docclf_cli.profile.schema import DataConfig, Profile
from docclf_cli.results.metrics import Difference
from docclf_cli.results.predictions import Predictions
from docclf_cli.results.training import Learned
from docclf_cli.stop import StopFlag
from docclf_cli.tasks.audit.near_duplicates import find_near_duplicates, linked
from docclf_cli.tasks.audit.registration import SIDE
from docclf_cli.text import Message, and_more, composed, plural

FEWEST = 30  # pages that a difference is told for
SIGNIFICANCE = 0.05
_NEVER = np.log(1e-12)  # log-probability of a class that a model does not know
SHOWN = 5


def previous_run(profile: Profile) -> Path | None:
    """The run whose weights a profile starts from; None where it starts from others."""
    if profile.model.checkpoint_path is None:
        return None
    run = Path(profile.model.checkpoint_path).parent
    return run if (run / "run.json").is_file() and (run / "split.csv").is_file() else None


def require_known_pages(profile: Profile, split: Split) -> None:
    """Refuse to hold out pages that have already trained the weights a run starts from: scores on them would be too good.

    Raises:
        InputError: There are such pages.
    """
    run = previous_run(profile)
    if run is None or TrainedModel.load(run).info.data.root != profile.data.root:
        return
    trained = set(map(composed, trained_ids(TrainedModel.load(run)).tolist()))
    held_out = split.ids[(split.parts != "train")].tolist()
    known = [name for name in held_out if composed(name) in trained]
    if known:
        raise InputError(
            f"{plural(len(known), 'held-out page has', 'held-out pages have')} trained {run}, whose weights this run starts from, "
            f"such as {known[0]!r}",
            "keep its split: leave out --profile, --folds and settings of data",
        )


def sets_of_added(pages: TrainingPages, config: DataConfig) -> np.ndarray:
    """For each added page the number of its set, int64 [n]: groups, joined where they hold near duplicates.

    Pages that cannot be read have no near duplicates.
    """
    index = pages.index.take(pages.added)
    count = len(index)
    if not count:
        return np.empty(0, np.int64)
    thumbnails = Pages(index, Preprocess(SIDE), config)
    grey: dict[int, np.ndarray] = {}
    for row in range(len(index)):
        with contextlib.suppress(UnreadablePage):
            grey[row] = thumbnails[row].mean(axis=2).round().astype(np.uint8)
    readable = np.array(sorted(grey), dtype=np.int64)
    pairs = find_near_duplicates(readable, lambda rows: np.stack([grey[row] for row in rows.tolist()]))
    names = np.arange(count) if index.groups is None else np.unique(index.groups, return_inverse=True)[1]
    return linked(2 * count, [(pairs.first, pairs.second), (np.arange(count), count + names)])[:count]


def what_was_learned(
    profile: Profile, run: Path, pages: TrainingPages, split: Split, emit: Emit, stop: StopFlag
) -> Learned | None:
    """Compare a finished run with the run it started from; None where no labels were added.

    Args:
        profile: Of the run.
        run: Its folder.
        pages: What it was trained on.
        split: Its split.
        emit: Consumer of progress events.
        stop: Polled between batches.

    Raises:
        Interrupted: `stop` was set.
    """
    if not profile.data.add:
        return None
    held_out = split.rows(pages.index, ADDED) if ADDED in split.names else np.empty(0, np.int64)
    before = pages.base.labels
    learned = Learned(
        previous=previous_run(profile),
        added_pages=len(pages.added) - len(held_out),
        corrected_labels=int((pages.index.labels[pages.base_rows] != before).sum()),
        held_out_pages=len(held_out),
        new_classes=pages.index.class_names[len(pages.base.class_names) :],
        on_old_pages=None,
        on_new_pages=None,
        worse_classes=(),
        sentences=(),
    )
    if learned.previous is not None:
        learned = _compared(
            learned, TrainedModel.load(run), TrainedModel.load(learned.previous), pages, held_out, emit, stop
        )
    return replace(learned, sentences=tuple(_sentences(learned)))


def _compared(
    learned: Learned,
    mine: TrainedModel,
    other: TrainedModel,
    pages: TrainingPages,
    held_out: np.ndarray,
    emit: Emit,
    stop: StopFlag,
) -> Learned:
    after, before = (_held_out_predictions(one, emit, stop) for one in (mine, other))
    shared = np.intersect1d(after.ids.astype(np.str_), before.ids.astype(np.str_))
    if len(shared):
        now, then = _on_same_axis(_among(after, shared), _among(before, shared), pages)
        learned = replace(
            learned, on_old_pages=paired_difference(now, then), worse_classes=tuple(_worse_classes(now, then))
        )
    if len(held_out) >= FEWEST:
        new, old = (_predict(one, pages, held_out, emit, stop) for one in (mine, other))
        learned = replace(learned, on_new_pages=paired_difference(*_on_same_axis(new, old, pages)))
    return learned


def _held_out_predictions(member: TrainedModel, emit: Emit, stop: StopFlag) -> Predictions:
    requests = requests_of(member, VAL, Indices(member.info.data))
    return merge_checkpoints(member, VAL, get_predictions(requests, emit=emit, stop=stop))


def _among(predictions: Predictions, ids: np.ndarray) -> Predictions:
    return predictions.take(np.isin(predictions.ids.astype(np.str_), ids))


def _predict(model: TrainedModel, pages: TrainingPages, rows: np.ndarray, emit: Emit, stop: StopFlag) -> Predictions:
    """What a model says about added pages; those of a folds run are new to all its folds, whose mean counts."""
    requests = []
    for info in model.checkpoints:
        index = replace(pages.index, targets=None, class_names=info.class_names)
        requests.append(PredictionRequest(info, index, rows, ADDED, model.info.data))
    return merge_checkpoints(model, "test", get_predictions(requests, emit=emit, stop=stop))


def _on_same_axis(now: Predictions, then: Predictions, pages: TrainingPages) -> tuple[Predictions, Predictions]:
    """Both with the class axis and the labels of the pages: a class that a model does not know it never predicts."""
    names, index = pages.index.class_names, pages.index

    def moved(one: Predictions) -> Predictions:
        log_probs = np.full((len(one), len(names)), _NEVER, np.float32)
        log_probs[:, [names.index(name) for name in one.class_names]] = one.log_probs
        rows = [index.row_of[composed(name)] for name in one.ids.tolist()]
        groups = None if index.groups is None else index.groups[rows].astype(np.str_)
        targets = index.labels[rows]
        return replace(
            one, log_probs=log_probs, class_names=names, targets=targets, groups=groups, image=None, text=None
        )

    scored = scored_together((moved(now), moved(then)), names=("this run", "the earlier run"))
    return scored[0], scored[1]


def _worse_classes(now: Predictions, then: Predictions) -> Iterator[str]:
    """Classes that are recognised less often, by McNemar's exact test with Holm's correction for their number."""
    tested = []
    for number in np.unique(now.labels):
        rows = now.labels == number
        a, b = now.take(rows), then.take(rows)
        tested.append(
            (mcnemar(a, b), int((a.predicted() == number).sum()) < int((b.predicted() == number).sum()), number)
        )
    for place, (p_value, is_worse, number) in enumerate(sorted(tested)):
        if p_value * (len(tested) - place) >= SIGNIFICANCE:
            return
        if is_worse:
            yield now.class_names[number]


def _sentences(learned: Learned) -> Iterator[str]:
    yield Message.of(
        "Trained on {pages} and {labels}; {held_out} never trained on.",
        pages=Message.counted(learned.added_pages, "{count} added page", "{count} added pages"),
        labels=Message.counted(learned.corrected_labels, "{count} corrected label", "{count} corrected labels"),
        held_out=Message.counted(learned.held_out_pages, "{count} added page is", "{count} added pages are"),
    )
    if learned.new_classes:
        yield Message.of("New: {names}.", names=and_more(learned.new_classes[:SHOWN], len(learned.new_classes)))
    if learned.previous is None:
        yield Message.of("Not compared with an earlier run: name it with --from, and training starts from its weights.")
        return
    if learned.on_old_pages is not None:
        yield Message.of("On {pages} of the data: {found}.", **_found(learned.on_old_pages))
    if learned.on_new_pages is not None:
        yield Message.of("On {pages} of the added kind: {found}.", **_found(learned.on_new_pages))
    else:
        yield Message.of(
            "On pages of the added kind: {pages} too few to say; {fewest} are needed, which about {added} added pages give.",
            pages=Message.counted(learned.held_out_pages, "{count} page is", "{count} pages are"),
            fewest=FEWEST,
            added=5 * FEWEST,
        )
    if learned.worse_classes:
        names = and_more(learned.worse_classes[:SHOWN], len(learned.worse_classes))
        yield Message.of("Less often recognised than before: {names}.", names=names)
    elif learned.on_old_pages is not None:
        yield Message.of("No class is significantly less often recognised than before.")


def _found(difference: Difference) -> dict[str, str]:
    pages = Message.counted(difference.pages, "{count} held-out page", "{count} held-out pages")
    return {"pages": pages, "found": sentence(difference)}
