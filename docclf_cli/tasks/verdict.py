"""What the metrics of a finished run say about it, and which commands go on from there."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from docclf_cli.data.images.corruptions import DegradedView
from docclf_cli.data.index.index import load_index, names_split
from docclf_cli.engine.inference.members import stored_predictions
from docclf_cli.engine.inference.trained_model import TrainedModel
from docclf_cli.errors import DocclfError
from docclf_cli.metrics.chance import SIGNIFICANCE, chance_agreement, chance_p_value
from docclf_cli.profile.schema import DataConfig, Profile
from docclf_cli.results.predictions import Predictions
from docclf_cli.results.training import Finding, TrainResult
from docclf_cli.tasks.evaluate.confidence_threshold import threshold_on
from docclf_cli.text import Message, plural

CHANCE = "chance"
WIDE = 0.2  # an interval of macro-F1 that is wider says too little
LOW = 0.8  # a macro-F1 below leaves much to learn
SMALL_GAP = 0.05  # between training and held-out pages
STILL_RISING = 0.01  # of macro-F1 over the last quarter of the epochs
HEAVY = ("document", "rough")  # policies that pretrained weights need to cope with
MOST_NAMED = 5
TARGETS = (0.99, 0.95, 0.9)
MORE_PAGES = Message.of("label more pages, or let each page be held out once: --folds 5")

History = Sequence[Mapping[str, float]]


def verdict(
    result: TrainResult, held_out_pages: Predictions, histories: Sequence[History], profile: Profile
) -> tuple[Finding, ...]:
    """What the metrics say, the gravest first; one sentence that nothing is wrong where nothing is.

    Args:
        result: The metrics.
        held_out_pages: Predictions for the pages that the run held out.
        histories: Rows of metrics by epoch, one list a fit.
        profile: What was trained.
    """
    found = list(_findings(result, held_out_pages.scored(), histories, profile))
    return tuple(found) or (
        Finding(
            "sound",
            Message.of("Clearly better than chance; no sign of too few pages, too short a training or over-fitting."),
        ),
    )


def _findings(
    result: TrainResult, scored: Predictions, histories: Sequence[History], profile: Profile
) -> Iterator[Finding]:
    f1 = result.val.metrics["f1_macro"]
    chance = _chance(scored, trials=max(len(history) for history in histories))
    if chance is not None:
        yield chance
    elif f1.high - f1.low > WIDE:
        text = Message.of(
            "Too few pages to tell: macro-F1 {f1:.2f} on {pages} may be anything from {low:.2f} to {high:.2f}.",
            f1=f1.value,
            pages=plural(len(scored), "page", "pages"),
            count=len(scored),
            low=f1.low,
            high=f1.high,
        )
        yield Finding("too_few_pages", text, Message.of("label more pages") if result.folds else MORE_PAGES)
    if f1.value < LOW and _is_unsuited(profile):
        yield Finding(
            "unsuited_recipe",
            Message.of(
                "The recipe does not suit a model without pretrained weights: the augmentation '{augmentation}' makes "
                "pages too hard to learn from.",
                augmentation=profile.augmentation.name,
            ),
            Message.of("docclf train --data {data} --profile scratch", data=shlex.quote(profile.data.root)),
        )
    if chance is None or chance.kind != CHANCE:
        yield from _never_predicted(result, scored)
    yield from _fit_findings(result, profile)
    if f1.value < 1 and _still_learning(histories):
        yield Finding(
            "still_learning",
            Message.of("The best epoch is the last one: the model was still learning."),
            Message.of("train longer: --epochs {epochs}", epochs=2 * profile.train.epochs),
        )


def _chance(scored: Predictions, trials: int) -> Finding | None:
    """That the predictions are no better than shuffled labels, or that too few pages are held out to tell."""
    given, seems = scored.labels, scored.predicted()
    if chance_p_value(given, seems, scored.groups, trials=trials) <= SIGNIFICANCE:
        return None
    pages = plural(len(given), "held-out page", "held-out pages")
    if chance_p_value(given, given, scored.groups, trials=trials) > SIGNIFICANCE:
        text = Message.of(
            "Too few pages to tell: on {pages} even a perfect model could not be told from chance.",
            pages=pages,
            count=len(given),
        )
        return Finding("too_few_pages", text, MORE_PAGES)
    agreement = float((given == seems).mean())
    text = Message.of(
        "No better than chance: {agreement:.0%} of {pages} are right, and by chance {chance:.0%} would be.",
        agreement=agreement,
        pages=pages,
        count=len(given),
        chance=chance_agreement(given, seems),
    )
    advice = Message.of(
        "train longer (--epochs), start from pretrained weights (--pretrained), and look for wrong labels: docclf audit. "
        "Commands that are given no run do not pick this one"
    )
    return Finding(CHANCE, text, advice)


def _is_unsuited(profile: Profile) -> bool:
    augmentation = profile.augmentation
    return not profile.model.starts_trained and (
        augmentation.name in HEAVY or augmentation.mixup > 0 or augmentation.cutmix > 0
    )


def _never_predicted(result: TrainResult, scored: Predictions) -> Iterator[Finding]:
    predicted = np.bincount(scored.predicted(), minlength=scored.num_classes)
    rows = zip(result.val.classes, predicted.tolist(), strict=True)
    never = [row.name for row, count in rows if row.support and not count]
    if never:
        names, more = ", ".join(never[:MOST_NAMED]), len(never) - MOST_NAMED
        text = Message.of("Never predicted: {names}.", names=names)
        if more > 0:
            text = Message.of("Never predicted: {names} and {more} more.", names=names, more=more)
        command = shlex.join(["docclf", "class-report", str(result.run), "--class", never[0]])
        yield Finding(
            "never_predicted",
            text,
            Message.of("label more of their pages, and see what they are taken for: {command}", command=command),
        )


def _fit_findings(result: TrainResult, profile: Profile) -> Iterator[Finding]:
    """Whether training pages are no easier than held-out ones, or much easier; unknown for folds."""
    if result.train is None:
        return
    train, val = result.train.metrics["f1_macro"], result.val.metrics["f1_macro"]
    if train.value < LOW and train.value - val.value < SMALL_GAP:
        yield Finding(
            "under_fitted",
            Message.of(
                "Under-fitted: macro-F1 is as low on the training pages ({train:.2f}) as on held-out ones ({val:.2f}).",
                train=train.value,
                val=val.value,
            ),
            Message.of(
                "train longer (--epochs {epochs}), or at another learning rate (--lr)", epochs=2 * profile.train.epochs
            ),
        )
    elif train.value - val.value > SMALL_GAP and train.low > val.high:
        stronger = Message.of("label more pages")
        if profile.augmentation.name not in HEAVY:
            stronger = Message.of("label more pages, or vary them more (--augmentation document)")
        yield Finding(
            "over_fitted",
            Message.of(
                "Over-fitted: macro-F1 is {train:.2f} on training pages and {val:.2f} on held-out ones.",
                train=train.value,
                val=val.value,
            ),
            stronger,
        )


def _still_learning(histories: Sequence[History]) -> bool:
    """Whether most fits were best in their last epoch, and clearly better than at three quarters of their way."""
    rising = 0
    for history in histories:
        scores = [row.get("f1_macro", math.nan) for row in history]
        before = scores[: max(1, len(scores) * 3 // 4)]
        rising += len(scores) > 1 and scores[-1] == max(scores) and scores[-1] - max(before) >= STILL_RISING
    return rising > len(histories) / 2


def next_commands(run: Path, profile: Profile, class_names: tuple[str, ...], usable: bool = True) -> tuple[str, ...]:
    """A report, metrics on other pages, and predictions for test pages with a threshold: commands that work as they are printed.

    Without test pages nothing is predicted: the folder of other pages is not known.

    Args:
        run: The finished run.
        profile: What was trained, with absolute paths.
        class_names: Its classes.
        usable: Whether it is better than chance; otherwise the pages are to be looked at, and nothing is to be predicted.
    """
    data = profile.data
    has_test, labelled = _test_pages(data, class_names)
    report = shlex.join(["docclf", "class-report", str(run), "--html"])
    if not usable:
        return report, shlex.join(["docclf", "audit", data.root])
    rule = _sure_enough(run)
    target = rule if rule[0] == "--target-precision" else []
    options = shlex.join(["--split", "test"] if labelled else ["--degrade", *target])
    commands = (report, f"{shlex.join(['docclf', 'evaluate', str(run)])} {options}")
    if not has_test:
        return commands
    return *commands, shlex.join(["docclf", "predict", str(run), "--split", "test", *rule])


def _test_pages(data: DataConfig, class_names: tuple[str, ...]) -> tuple[bool, bool]:
    """Whether the data sets test pages apart, and whether these are labelled."""
    try:
        if not names_split(data, "test"):
            return False, False
        return True, load_index(data.model_copy(update={"groups": None}), "test", class_names).targets is not None
    except DocclfError:
        return False, False


def _sure_enough(run: Path) -> list[str]:
    """The option of the highest precision that the stored predictions can vouch for; else a plain confidence."""
    member = TrainedModel.load(run)
    data = member.info.data
    clean = stored_predictions(member, "val")
    if clean is not None:
        degraded = stored_predictions(member, "val", DegradedView.of_validation(clean.ids, data).name)
        if degraded is not None or not data.degraded_validation:
            for target in TARGETS:
                if threshold_on(clean, degraded, target, member.temperature_of("val")).value is not None:
                    return ["--target-precision", f"{target:g}"]
    return ["--min-confidence", "0.9"]
