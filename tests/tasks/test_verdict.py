"""What is said of a finished run: pages, figures and histories in, plain sentences out."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from docclf_cli.metrics.class_metrics import score
from docclf_cli.profile.load import load_profile
from docclf_cli.profile.schema import Profile
from docclf_cli.results.predictions import Predictions
from docclf_cli.results.training import Finding, FoldRow, TrainResult
from docclf_cli.tasks.verdict import verdict

NAMES = ("bill", "form", "letter", "영수증")


def predictions(seems: np.ndarray, labels: np.ndarray) -> Predictions:
    probs = np.full((len(labels), len(NAMES)), 0.1)
    probs[np.arange(len(labels)), seems] = 0.7
    ids = np.array([f"p{number}" for number in range(len(labels))])
    return Predictions(ids, np.log(probs).astype(np.float32), NAMES, labels)


def pages(count: int, right: float, never: int | None = None) -> Predictions:
    """Pages of four classes; a share of each is recognised, the others are taken for the next class."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % len(NAMES)
    seems = np.where(rng.random(count) < right, labels, (labels + 1 + rng.integers(0, 3, count)) % len(NAMES))
    if never is not None:
        seems[seems == never] = (never + 1) % len(NAMES)
    return predictions(seems, labels)


def profile(**options: object) -> Profile:
    usual = {"augmentation": "light", "data.root": "my pages"}
    return load_profile("config", options=usual | {key.replace("__", "."): one for key, one in options.items()}).profile


def found(
    val: Predictions,
    train: Predictions | None = None,
    history: Sequence[float] = (0.9, 0.9, 0.9, 0.9),
    folds: int = 0,
    **options: object,
) -> Mapping[str, Finding]:
    rows = [{"f1_macro": value} for value in history]
    result = TrainResult(
        Path("runs/a"), "resnet18", 0 if folds else len(rows), len(rows), "f1_macro", score(val),
        None if train is None else score(train), folds=tuple(FoldRow(fold, 1, rows[0]) for fold in range(folds)),
    )  # fmt: skip
    return {one.kind: one for one in verdict(result, val, [rows] * max(1, folds), profile(**options))}


def test_nothing_is_wrong_with_a_good_run() -> None:
    assert list(found(pages(400, 0.95), pages(400, 0.97))) == ["sound"]


def test_no_better_than_chance_and_nothing_else_about_classes() -> None:
    one = found(pages(200, 0.0), history=(0.1,) * 30)
    assert list(one) == ["chance"]
    assert "0% of 200 held-out pages are right" in one["chance"].text
    constant = predictions(np.zeros(200, int), np.repeat([0, 1, 2, 3], [170, 10, 10, 10]))
    assert list(found(constant)) == ["chance"]  # 85 % right by naming the largest class
    assert "chance" not in found(pages(200, 0.5))


def test_a_lucky_epoch_among_many_is_chance() -> None:
    lucky = pages(100, 0.42)
    assert "chance" not in found(lucky, history=(0.3,))
    assert "chance" in found(lucky, history=(0.3,) * 60)


def test_too_few_pages_to_tell() -> None:
    assert list(found(pages(4, 1.0))) == ["too_few_pages"]
    wide = found(pages(24, 0.9))["too_few_pages"]
    assert "24 pages" in wide.text
    assert "--folds 5" in wide.advice
    assert "--folds" not in found(pages(24, 0.9), folds=2)["too_few_pages"].advice


def test_classes_that_are_never_predicted_are_named() -> None:
    one = found(pages(400, 0.95, never=3))["never_predicted"]
    assert one.text == "Never predicted: 영수증."
    assert one.advice.endswith("docclf class-report runs/a --class '영수증'")


@pytest.mark.parametrize(
    ("train", "val", "kind"),
    [(0.5, 0.5, "under_fitted"), (1.0, 0.6, "over_fitted"), (0.97, 0.95, None), (0.85, 0.82, None)],
)
def test_training_pages_tell_under_from_over_fitting(train: float, val: float, kind: str | None) -> None:
    one = found(pages(400, val), pages(400, train))
    assert {"under_fitted", "over_fitted"} & set(one) == ({kind} if kind else set())


def test_what_vary_pages_more_means_depends_on_how_they_vary_already() -> None:
    val, train = pages(400, 0.6), pages(400, 1.0)
    assert "--augmentation document" in found(val, train)["over_fitted"].advice
    assert "--augmentation" not in found(val, train, augmentation="rough")["over_fitted"].advice


@pytest.mark.parametrize(
    ("history", "learning"),
    [((0.2, 0.4, 0.6, 0.7), True), ((0.2, 0.7, 0.7, 0.701), False), ((0.2, 0.7, 0.9, 0.8), False), ((0.5,), False)],
)
def test_the_last_epoch_was_the_best(history: Sequence[float], learning: bool) -> None:
    one = found(pages(400, 0.9), pages(400, 0.9), history, train__epochs=4)
    assert ("still_learning" in one) == learning
    if learning:
        assert "--epochs 8" in one["still_learning"].advice


def test_a_recipe_for_pretrained_weights_without_weights() -> None:
    bad = pages(400, 0.3)
    one = found(bad, model__pretrained=False, augmentation="document")["unsuited_recipe"]
    assert one.advice == "docclf train --data 'my pages' --profile scratch"
    assert "unsuited_recipe" not in found(bad, augmentation="document")
    assert "unsuited_recipe" not in found(bad, model__pretrained=False)
    assert "unsuited_recipe" not in found(pages(400, 0.9), model__pretrained=False, augmentation="document")
