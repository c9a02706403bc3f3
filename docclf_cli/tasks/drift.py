"""`drift`: whether the pages of the last call of `predict` differ from held-out pages, and from earlier pages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np

from docclf_cli.engine.checkpoints.checkpoint import Checkpoint
from docclf_cli.engine.inference.trained_model import TrainedModel
from docclf_cli.errors import InputError
from docclf_cli.metrics.drift import Moments, class_mix, holm, mean_test, table_test
from docclf_cli.metrics.intervals import wilson
from docclf_cli.metrics.novelty import HeldOutNovelty, NoveltyModel
from docclf_cli.plots import plots
from docclf_cli.results.drift import ClassShare, DriftPeriod, DriftResult, DriftTest
from docclf_cli.results.summary import CONFIDENCE_EDGES, PredictionSummary
from docclf_cli.tasks.predict.files import SUMMARY
from docclf_cli.tasks.predict.output_formats import format_of
from docclf_cli.tasks.predict.summary import binned_confidence, binned_log_odds
from docclf_cli.tasks.results_folder import writable_place
from docclf_cli.text import Message

CONFIDENT = 0.95
HELD_OUT, EARLIER = "held-out pages", "earlier pages"
PICTURE = "drift.png"
ASSUMES = Message.of(
    "The estimated shares and the accuracy assume that pages of a class look as they did among the held-out pages, and that "
    "no page belongs to no class."
)
REPEATED = Message.of(
    "The false-alarm rate is that of one call: of many calls without any change, this share raises an alarm. A call a week "
    "at 0.05 raises two or three a year; a smaller --alpha raises fewer and finds changes later."
)


@dataclass(frozen=True, eq=False)
class _Pages:
    """Counts and moments of some pages, one of each file or group."""

    predicted: np.ndarray
    confidence: np.ndarray
    log_odds: np.ndarray | None
    features: Moments | None

    @classmethod
    def of_summary(cls, summary: PredictionSummary) -> _Pages:
        features = None
        if summary.mean:
            features = Moments(summary.counted, np.array(summary.mean), np.array(summary.covariance))
        log_odds = np.array(summary.log_odds) if summary.log_odds else None
        return cls(np.array(summary.predicted), np.array(summary.confidence), log_odds, features)

    @classmethod
    def of_held_out(cls, held_out: HeldOutNovelty, leading: np.ndarray, num_classes: int) -> _Pages:
        rows = one_per_unit(held_out)
        return cls(
            np.bincount(np.array(held_out.predicted)[rows], minlength=num_classes),
            binned_confidence(np.array(held_out.confidence)[rows]),
            binned_log_odds(np.array(held_out.log_odds)[rows]),
            Moments.of(leading[rows]),
        )

    def __add__(self, other: _Pages) -> _Pages:
        log_odds = None if self.log_odds is None or other.log_odds is None else self.log_odds + other.log_odds
        features = None if self.features is None or other.features is None else self.features + other.features
        return _Pages(self.predicted + other.predicted, self.confidence + other.confidence, log_odds, features)


def one_per_unit(held_out: HeldOutNovelty) -> np.ndarray:
    """One clean page of each group (or each page), drawn by a fixed seed, as rows of the held-out pages."""
    clean = np.flatnonzero(~np.array(held_out.degraded))
    order = np.random.default_rng(0).permutation(clean)
    first = np.unique(np.array(held_out.units)[order], return_index=True)[1]
    return np.sort(order[first])


def drift(
    checkpoint_path: Path, predictions: Sequence[Path], *, alpha: float = 0.05, output: Path | None = None
) -> DriftResult:
    """Compare the last of some predictions with held-out pages, and with the predictions before.

    Args:
        checkpoint_path: The model that predicted: checkpoint file or run folder.
        predictions: What `predict` wrote: folders, tables or summaries, the newest last.
        alpha: False-alarm rate of the call.
        output: Parent of the folder for the plot; None is the run itself.

    Raises:
        InputError: There is no such summary, or another model made it.
        CheckpointError: The model is missing or damaged.
    """
    if not 0 < alpha < 1:
        raise InputError(f"--alpha: {alpha:g} is not between 0 and 1", "0.05; for a call each day 0.001")
    member = TrainedModel.load(checkpoint_path)
    summaries = [_load(path, member) for path in predictions]
    if not summaries[-1].counted:
        raise InputError(f"{predictions[-1]}: none of its pages could be read")
    found = [NoveltyModel.from_arrays(Checkpoint.load(info.path).novelty) for info in member.checkpoints]
    models = [one for one in found if one is not None]
    if len(models) < len(member.checkpoints):
        raise InputError(
            f"{member.path}: the checkpoint keeps no held-out pages to compare with",
            "it was made by an earlier version or a refit, or has fewer than three classes: train it again",
        )
    names = member.info.class_names
    newest, notes = _Pages.of_summary(summaries[-1]), [ASSUMES, REPEATED]
    compared: list[tuple[str, str, float]] = []
    if member.is_folds or not summaries[-1].plain:
        what = Message.of("a mean of folds") if member.is_folds else Message.of("several views")
        notes.append(
            Message.of(
                "The newest pages are not tested against held-out pages, because {what} predicted the newest and no held-out "
                "page: name earlier predictions.",
                what=what,
            )
        )
    else:
        (model,) = models
        held_out = _Pages.of_held_out(model.held_out, model.leading, len(names))
        compared += [(HELD_OUT, *found) for found in _tests(held_out, newest)]
    if len(summaries) > 1:
        earlier = reduce(_Pages.__add__, map(_Pages.of_summary, summaries[:-1]))
        compared += [(EARLIER, *found) for found in _tests(earlier, newest)]
    adjusted = holm([p_value for *_, p_value in compared])
    tests = tuple(
        DriftTest(against, subject, p_value, corrected, corrected <= alpha)
        for (against, subject, p_value), corrected in zip(compared, adjusted, strict=True)
    )
    confusion = sum(_confusion(model.held_out, len(names)) for model in models)
    mix = class_mix(np.asarray(confusion), newest.predicted)
    shares = np.asarray(confusion).sum(axis=1) / np.asarray(confusion).sum()
    classes = tuple(
        ClassShare(name, float(shares[row]), float(newest.predicted[row] / newest.predicted.sum()), mix.shares[row])
        for row, name in enumerate(names)
    )
    periods = tuple(_period(str(path), summary) for path, summary in zip(predictions, summaries, strict=True))
    picture = plots.drift(periods, classes, writable_place(member.folder, output) / "drift" / PICTURE)
    changed = any(test.changed for test in tests)
    return DriftResult(member.path, alpha, changed, periods, tests, classes, mix.accuracy, (picture,), tuple(notes))


def _tests(reference: _Pages, newest: _Pages) -> Iterator[tuple[str, float]]:
    """What is compared, and the p-value."""
    yield "predicted classes", table_test(reference.predicted.tolist(), newest.predicted.tolist())
    yield "confidence", table_test(reference.confidence.tolist(), newest.confidence.tolist())
    if reference.log_odds is not None and newest.log_odds is not None:
        yield "unknown score", table_test(reference.log_odds.tolist(), newest.log_odds.tolist())
    if reference.features is not None and newest.features is not None:
        yield "features", mean_test(reference.features, newest.features)


def _confusion(held_out: HeldOutNovelty, num_classes: int) -> np.ndarray:
    rows = one_per_unit(held_out)
    found = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(found, (np.array(held_out.targets)[rows], np.array(held_out.predicted)[rows]), 1)
    return found


def _load(path: Path, member: TrainedModel) -> PredictionSummary:
    place = path
    if path.is_dir():
        place = path / SUMMARY
    elif format_of(path) is not None:
        place = path.with_suffix(f".{SUMMARY}")
    summary = PredictionSummary.load(place)
    if summary.model != member.key or summary.class_names != member.info.class_names:
        raise InputError(
            f"{path}: another model than {member.path} made these predictions", "name the run that predicted"
        )
    return summary


def _period(name: str, summary: PredictionSummary) -> DriftPeriod:
    confident = sum(summary.confidence[CONFIDENCE_EDGES.index(CONFIDENT) :])
    trials = min(summary.files, summary.pages)  # the pages of a file are taken for one, as they may share their fate
    return DriftPeriod(
        name,
        summary.files,
        summary.pages,
        summary.counted,
        None if summary.needs_review is None else wilson(summary.needs_review, summary.pages, trials),
        None if summary.unknown is None else wilson(summary.unknown, summary.pages, trials),
        wilson(confident, summary.counted),
    )
