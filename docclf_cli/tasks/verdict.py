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
from docclf_cli.text import plural

CHANCE = "chance"
WIDE = 0.2  # an interval of macro-F1 that is wider says too little
LOW = 0.8  # a macro-F1 below leaves much to learn
SMALL_GAP = 0.05  # between training and held-out pages
STILL_RISING = 0.01  # of macro-F1 over the last quarter of the epochs
HEAVY = ("document", "rough")  # policies that pretrained weights need to cope with
MOST_NAMED = 5
TARGETS = (0.99, 0.95, 0.9)

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
        Finding("sound", "Clearly better than chance; no sign of too few pages, too short a training or over-fitting."),
    )


def _findings(
    result: TrainResult, scored: Predictions, histories: Sequence[History], profile: Profile
) -> Iterator[Finding]:
    f1 = result.val.metrics["f1_macro"]
    chance = _chance(scored, trials=max(len(history) for history in histories))
    if chance is not None:
        yield chance
    elif f1.high - f1.low > WIDE:
        more = "label more pages" if result.folds else "label more pages, or let each page be held out once: --folds 5"
        text = f"Too few pages to tell: macro-F1 {f1.value:.2f} on {plural(len(scored), 'page', 'pages')}"
        yield Finding("too_few_pages", f"{text} may be anything from {f1.low:.2f} to {f1.high:.2f}.", more)
    if f1.value < LOW and _is_unsuited(profile):
        yield Finding(
            "unsuited_recipe",
            f"The recipe does not suit a model without pretrained weights: the augmentation '{profile.augmentation.name}' "
            "makes pages too hard to learn from.",
            f"docclf train --data {shlex.quote(profile.data.root)} --profile scratch",
        )
    if chance is None or chance.kind != CHANCE:
        yield from _never_predicted(result, scored)
    yield from _fit_findings(result, profile)
    if f1.value < 1 and _still_learning(histories):
        yield Finding(
            "still_learning",
            "The best epoch is the last one: the model was still learning.",
            f"train longer: --epochs {2 * profile.train.epochs}",
        )


def _chance(scored: Predictions, trials: int) -> Finding | None:
    """That the predictions are no better than shuffled labels, or that too few pages are held out to tell."""
    given, seems = scored.labels, scored.predicted()
    if chance_p_value(given, seems, scored.groups, trials=trials) <= SIGNIFICANCE:
        return None
    pages = plural(len(given), "held-out page", "held-out pages")
    if chance_p_value(given, given, scored.groups, trials=trials) > SIGNIFICANCE:
        text = f"Too few pages to tell: on {pages} even a perfect model could not be told from chance."
        return Finding("too_few_pages", text, "label more pages, or let each page be held out once: --folds 5")
    agreement = float((given == seems).mean())
    text = f"No better than chance: {agreement:.0%} of {pages} are right, and by chance {chance_agreement(given, seems):.0%} would be."
    advice = (
        "train longer (--epochs), start from pretrained weights (--pretrained), and look for wrong labels: docclf audit"
    )
    return Finding(CHANCE, text, f"{advice}. Commands that are given no run do not pick this one")


def _is_unsuited(profile: Profile) -> bool:
    without_weights = not profile.model.pretrained and profile.model.checkpoint_path is None
    augmentation = profile.augmentation
    return without_weights and (augmentation.name in HEAVY or augmentation.mixup > 0 or augmentation.cutmix > 0)


def _never_predicted(result: TrainResult, scored: Predictions) -> Iterator[Finding]:
    predicted = np.bincount(scored.predicted(), minlength=scored.num_classes)
    rows = zip(result.val.classes, predicted.tolist(), strict=True)
    never = [row.name for row, count in rows if row.support and not count]
    if never:
        names = ", ".join(never[:MOST_NAMED])
        more = f" and {len(never) - MOST_NAMED} more" if len(never) > MOST_NAMED else ""
        command = shlex.join(["docclf", "class-report", str(result.run), "--class", never[0]])
        yield Finding(
            "never_predicted",
            f"Never predicted: {names}{more}.",
            f"label more of their pages, and see what they are taken for: {command}",
        )


def _fit_findings(result: TrainResult, profile: Profile) -> Iterator[Finding]:
    """Whether training pages are no easier than held-out ones, or much easier; unknown for folds."""
    if result.train is None:
        return
    train, val = result.train.metrics["f1_macro"], result.val.metrics["f1_macro"]
    if train.value < LOW and train.value - val.value < SMALL_GAP:
        yield Finding(
            "under_fitted",
            f"Under-fitted: macro-F1 is as low on the training pages ({train.value:.2f}) as on held-out ones ({val.value:.2f}).",
            f"train longer (--epochs {2 * profile.train.epochs}), or at another learning rate (--lr)",
        )
    elif train.value - val.value > SMALL_GAP and train.low > val.high:
        stronger = "label more pages"
        if profile.augmentation.name not in HEAVY:
            stronger = f"{stronger}, or vary them more (--augmentation document)"
        yield Finding(
            "over_fitted",
            f"Over-fitted: macro-F1 is {train.value:.2f} on training pages and {val.value:.2f} on held-out ones.",
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


def next_commands(run: Path, profile: Profile, class_names: tuple[str, ...]) -> tuple[str, ...]:
    """A report, metrics on other pages, and predictions with a threshold: commands that work as they are printed.

    Args:
        run: The finished run.
        profile: What was trained, with absolute paths.
        class_names: Its classes.
    """
    data = profile.data
    has_test, labelled = _test_pages(data, class_names)
    report = shlex.join(["docclf", "class-report", str(run), "--html"])
    if labelled:
        evaluate = shlex.join(["docclf", "evaluate", "--checkpoint", str(run), "--split", "test"])
    else:
        evaluate = shlex.join(["docclf", "evaluate", "--checkpoint", str(run), "--degrade"])
    options = ["--checkpoint", str(run), *_sure_enough(run)]
    if has_test or not Path(data.root).exists():
        predict = shlex.join(["docclf", "predict", "--split", "test", *options])
    else:
        predict = shlex.join(["docclf", "predict", data.root, *options])
    return report, evaluate, predict


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
