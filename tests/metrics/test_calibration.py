import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prediction_cases import at_random, naming
from scipy.special import log_softmax

from docclf_cli.ensembling.merging import merge
from docclf_cli.metrics.calibration import (
    TEMPERATURES,
    at_bound,
    calibration_error,
    confidences,
    cross_fitted,
    fit_temperature,
    reliability_bins,
    temperature_of_mean,
)
from docclf_cli.metrics.class_metrics import compute_metrics, per_sample_loss
from docclf_cli.results.predictions import Predictions


def overconfident(pages: int, factor: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Log probabilities whose logits are `factor` times those that labels are drawn from."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (pages, 4))
    targets = (log_softmax(logits, axis=1) + rng.gumbel(size=logits.shape)).argmax(axis=1)
    return log_softmax(logits * factor, axis=1), targets


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_temperature_finds_by_how_much_logits_are_too_large(factor: float) -> None:
    log_probs, targets = overconfident(20_000, factor)
    assert fit_temperature(log_probs, targets) == pytest.approx(factor, rel=0.03)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(200, 400))
def test_no_other_temperature_is_clearly_better(seed: int, pages: int) -> None:
    predictions = at_random(seed, pages, 5, skill=1.5, labels_seed=seed)
    best = fit_temperature(predictions.log_probs, predictions.targets)
    losses = [per_sample_loss(predictions, t).sum() + np.log(t) ** 2 / 2 for t in (best, best * 1.02, best / 1.02)]
    assert losses[0] == min(losses)


def test_a_few_pages_that_are_all_right_do_not_make_the_model_certain() -> None:
    sure = naming([0, 1, 2] * 10, [0, 1, 2] * 10, classes=3, sure=0.9)
    temperature = fit_temperature(sure.log_probs, sure.targets)
    assert 0.2 < temperature < 1.0
    assert confidences(sure, temperature)[0].max() < 1 - 1e-6


def test_temperature_leaves_out_what_cannot_be_scored() -> None:
    log_probs, targets = overconfident(500, 2.0)
    spoilt = np.concatenate([log_probs, np.full((1, 4), np.nan), log_probs[:1]])
    assert fit_temperature(spoilt, np.append(targets, [0, -1])) == fit_temperature(log_probs, targets)
    assert fit_temperature(np.empty((0, 4)), np.empty(0, dtype=int)) == pytest.approx(1.0)
    assert fit_temperature(np.array([[0.0, -np.inf]]), np.array([1])) == pytest.approx(1.0)


def test_a_temperature_at_its_bound_is_known_to_be() -> None:
    wrong = naming([1] * 2000, [0] * 2000, classes=2, sure=0.99)
    right = naming([0] * 20_000, [0] * 20_000, classes=2, sure=0.55)
    hopeless, sure = (fit_temperature(one.log_probs, one.targets) for one in (wrong, right))
    assert (hopeless, sure) == pytest.approx((TEMPERATURES[1], TEMPERATURES[0]), rel=1e-3)
    assert [at_bound(value) for value in (hopeless, sure, 0.06, 1.0, 19.0)] == [True, True, False, False, False]


def as_predictions(log_probs: np.ndarray, targets: np.ndarray, groups: np.ndarray | None = None) -> Predictions:
    ids = np.array([f"page{row}" for row in range(len(targets))])
    return Predictions(ids, log_probs.astype(np.float32), tuple("abcd"), targets, groups)


def test_a_cross_fitted_loss_is_that_of_new_pages() -> None:
    """The pages that fitted the temperature are less surprising than new ones; cross-fitted they are not."""
    gaps = {"fitted here": [], "cross-fitted": []}
    for seed in range(60):
        log_probs, targets = overconfident(40, 2.0, seed)
        new = as_predictions(*overconfident(4000, 2.0, 1000 + seed))
        here, temperature = as_predictions(log_probs, targets), fit_temperature(log_probs, targets)
        loss = compute_metrics(new, temperature=temperature)["log_loss"]
        gaps["fitted here"].append(compute_metrics(here, temperature=temperature)["log_loss"] - loss)
        gaps["cross-fitted"].append(compute_metrics(cross_fitted(here))["log_loss"] - loss)
    assert np.mean(gaps["cross-fitted"]) > np.mean(gaps["fitted here"]) + 0.01


def test_pages_of_a_group_are_read_at_one_temperature_that_they_did_not_fit() -> None:
    log_probs, targets = overconfident(200, 2.0)
    groups = np.repeat([f"group{number}" for number in range(20)], 10)
    pages = as_predictions(log_probs, targets, groups)
    found = cross_fitted(pages)
    # A temperature shows as the ratio of spreads between logits.
    used = np.ptp(pages.log_probs, axis=1) / np.ptp(found.log_probs, axis=1)
    for number in range(20):
        rows = groups == f"group{number}"
        others = ~np.isclose(used, used[rows][0], atol=1e-4)
        assert np.ptp(used[rows]) < 1e-4
        assert used[rows][0] == pytest.approx(fit_temperature(log_probs[others], targets[others]), abs=1e-4)
    assert len(np.unique(used.round(3))) > 1


def test_cross_fitting_takes_pages_that_cannot_be_scored() -> None:
    log_probs, targets = overconfident(50, 2.0)
    log_probs[3], targets[7] = np.nan, -1
    found = cross_fitted(as_predictions(log_probs, targets))
    assert np.isnan(found.log_probs[3]).all()
    all_others = fit_temperature(log_probs, targets)
    assert found.log_probs[7] == pytest.approx(log_softmax(log_probs[7] / all_others), abs=1e-5)
    alone = as_predictions(log_probs[:1], targets[:1])
    assert cross_fitted(alone).log_probs == pytest.approx(alone.log_probs, abs=1e-5)  # no other page fits one


def folds_of(seed: int, spread: float, pages: int = 400, folds: int = 5) -> tuple[np.ndarray, ...]:
    """Logits of folds that differ by noise [folds, pages, 4], which of them held each page out, and the targets.

    On the pages that a fold was trained on, what it knows of the truth stands out more.
    """
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 4, pages)
    truth = np.eye(4)[targets]
    signal = rng.normal(0, 1, (pages, 4)) + 1.5 * truth
    held_out = np.arange(pages) % folds
    logits = signal + rng.normal(0, spread, (folds, pages, 4))
    trained = np.arange(folds)[:, None] != held_out
    return 2 * (logits + 0.5 * trained[..., None] * truth), held_out, targets


@pytest.mark.parametrize("spread", [0.3, 1.5])
def test_the_mean_of_folds_has_a_temperature_of_its_own(spread: float) -> None:
    """Nearer to the best one for the mean on new pages than what single folds fit."""
    misses = []
    for seed in range(6):
        logits, held_out, targets = folds_of(seed, spread)
        log_probs = log_softmax(logits, axis=2)
        pages = [as_predictions(one, targets) for one in log_probs]
        rows = np.arange(len(targets))
        out_of_fold = as_predictions(log_probs[held_out, rows], targets)
        trained_on = [pages[fold].take(held_out != fold) for fold in range(5)]
        found = temperature_of_mean(out_of_fold, trained_on)
        new, _, new_targets = folds_of(100 + seed, spread, pages=4000)
        # New pages were held out by all folds.
        new = new - 2 * 0.5 * (np.arange(5)[:, None] != np.arange(4000) % 5)[..., None] * np.eye(4)[new_targets]
        best = fit_temperature(merge(log_softmax(new, axis=2)), new_targets)
        alone = fit_temperature(out_of_fold.log_probs, targets)
        assert found < alone
        misses.append((np.log(found / best), np.log(alone / best)))
        shuffled = [one.take(np.random.default_rng(0).permutation(len(one))) for one in trained_on[::-1]]
        assert temperature_of_mean(out_of_fold, shuffled) == pytest.approx(found, rel=1e-4)
    ours, single = np.abs(np.mean(misses, axis=0))
    assert ours < single / 2


def test_two_folds_share_no_page_that_both_were_trained_on() -> None:
    logits, held_out, targets = folds_of(0, 1.0, folds=2)
    log_probs = log_softmax(logits, axis=2)
    pages = [as_predictions(one, targets) for one in log_probs]
    out_of_fold = as_predictions(log_probs[held_out, np.arange(len(targets))], targets)
    trained_on = [pages[fold].take(held_out != fold) for fold in range(2)]
    alone = fit_temperature(out_of_fold.log_probs, targets)
    assert temperature_of_mean(out_of_fold, trained_on) == alone


def test_reliability_by_hand() -> None:
    confidence = np.array([0.9, 0.2, 0.4, 0.8])
    low, high = reliability_bins(confidence, np.array([True, False, True, True]), bins=2)
    assert (low.pages, low.confidence, low.accuracy.value) == (2, pytest.approx(0.3), 0.5)
    assert (high.pages, high.confidence, high.accuracy.value) == (2, pytest.approx(0.85), 1.0)


@given(st.lists(st.tuples(st.sampled_from([0.3, 0.5, 0.7, 0.71, 1.0]), st.booleans()), min_size=1, max_size=80))
def test_pages_of_equal_confidence_share_a_bin(pages: list[tuple[float, bool]]) -> None:
    confidence, correct = map(np.array, zip(*pages, strict=True))
    bins = reliability_bins(confidence, correct)
    assert sum(one.pages for one in bins) == len(pages)
    assert len({one.confidence for one in bins}) == len(bins)
    for mine, other in zip(bins, reliability_bins(confidence[::-1], correct[::-1]), strict=True):
        assert (mine.pages, mine.accuracy) == (other.pages, other.accuracy)
        assert mine.confidence == pytest.approx(other.confidence)


def test_calibration_error_of_a_calibrated_model_is_near_nothing() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, 3000)
    found = calibration_error(confidence, rng.random(3000) < confidence)
    assert found.low == 0.0
    assert found.value < 0.015
    assert 0.005 < found.high < 0.06


def test_calibration_error_of_an_overconfident_model() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.7, 1, 20_000)
    found = calibration_error(confidence, rng.random(20_000) < confidence - 0.1)
    assert found.value == pytest.approx(0.1, abs=0.01)
    assert 0.08 < found.low < found.value < found.high < 0.12


def test_noise_is_taken_off_on_average() -> None:
    rng = np.random.default_rng(0)
    plain, debiased = [], []
    for _ in range(60):
        confidence = rng.uniform(0.6, 1, 300)
        correct = rng.random(300) < confidence - 0.05
        debiased.append(calibration_error(confidence, correct).value)
        plain.append(
            sum(
                one.pages / 300 * abs(one.confidence - one.accuracy.value)
                for one in reliability_bins(confidence, correct)
            )
        )
    assert np.mean(plain) > 0.075
    assert np.mean(debiased) == pytest.approx(0.05, abs=0.012)


@pytest.mark.parametrize("confidence", [0.9, 1.0])
def test_all_right_is_not_certainly_calibrated(confidence: float) -> None:
    found = calibration_error(np.full(50, confidence), np.ones(50, dtype=bool))
    assert found.low <= found.value <= found.high
    assert found.high > 0.01
