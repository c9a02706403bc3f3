"""Logistic regression with a cross-validated penalty, against scikit-learn's."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from docclf_cli.engine.training.logistic import PENALTIES, fit_logistic, probe_folds


def features_of(classes: int = 3, each: int = 40) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(classes), each)
    centres = rng.normal(0, 1.5, (classes, 12))
    return (centres[labels] + rng.normal(0, 1, (len(labels), 12)) + 7).astype(np.float32), labels


def test_the_fit_is_the_logistic_regression_of_scikit_learn() -> None:
    features, labels = features_of()
    folds = np.arange(len(labels)) % 3
    found = fit_logistic(features, labels, folds, np.ones(len(labels)), 3)
    scaled = (features - features.mean(0)) / features.std(0)
    theirs = LogisticRegression(C=1 / (found.penalty * len(labels)), max_iter=1000, tol=1e-8).fit(scaled, labels)
    logits = features @ found.weight.T + found.bias
    log_probs = torch.log_softmax(torch.as_tensor(logits), dim=1).numpy()
    assert np.abs(np.exp(log_probs) - theirs.predict_proba(scaled)).max() < 2e-3
    assert found.loss == pytest.approx(-log_probs[np.arange(len(labels)), labels].mean(), abs=1e-4)


def test_the_penalty_is_that_of_the_least_loss_on_pages_left_out() -> None:
    features, labels = features_of()
    folds = np.arange(len(labels)) % 3
    wrong = np.random.default_rng(1).permutation(labels)
    assert fit_logistic(features, wrong, folds, np.ones(len(labels)), 3).penalty == PENALTIES[0]
    assert fit_logistic(features, labels, folds, np.ones(len(labels)), 3).penalty < PENALTIES[0]


def test_weights_count_as_repeated_pages() -> None:
    features, labels = features_of(each=12)
    folds = np.arange(len(labels)) % 3
    doubled = np.repeat(np.arange(len(labels)), 1 + (labels == 0))
    once = fit_logistic(features, labels, folds, 1.0 + (labels == 0), 3)
    scaled_alike = fit_logistic(features[doubled], labels[doubled], folds[doubled], np.ones(len(doubled)), 3)
    probabilities = [
        torch.softmax(torch.as_tensor(features @ fit.weight.T + fit.bias), dim=1).numpy().mean(0)
        for fit in (once, scaled_alike)
    ]
    assert probabilities[0] == pytest.approx(probabilities[1], abs=0.02)


@pytest.mark.parametrize("each", [1, 2])
def test_classes_of_very_few_pages_are_fitted(each: int) -> None:
    features, labels = features_of(each=each)
    found = fit_logistic(features, labels, np.arange(len(labels)) % 3, np.ones(len(labels)), 3)
    assert np.isfinite(found.weight).all()
    assert ((features @ found.weight.T + found.bias).argmax(1) == labels).all()


def test_a_feature_that_hardly_varies_does_not_drown_the_others_on_other_pages() -> None:
    features, labels = features_of()
    quiet = np.random.default_rng(2).normal(0, 1e-4, (len(labels), 1)).astype(np.float32) * (1 + labels[:, None])
    found = fit_logistic(np.hstack([features, quiet]), labels, np.arange(len(labels)) % 3, np.ones(len(labels)), 3)
    elsewhere = np.hstack([features, np.ones_like(quiet)])
    assert ((elsewhere @ found.weight.T + found.bias).argmax(1) == labels).mean() > 0.9


def test_fewer_rows_than_features_give_the_same_solution() -> None:
    features, labels = features_of(each=10)
    wide = np.hstack([features, np.random.default_rng(3).normal(0, 1, (len(labels), 90)).astype(np.float32)])
    found = fit_logistic(wide, labels, np.arange(len(labels)) % 3, np.ones(len(labels)), 3)
    scaled = (wide - wide.mean(0)) / wide.std(0)
    theirs = LogisticRegression(C=1 / (found.penalty * len(labels)), max_iter=1000, tol=1e-8).fit(scaled, labels)
    probabilities = torch.softmax(torch.as_tensor(wide @ found.weight.T + found.bias), dim=1).numpy()
    assert np.abs(probabilities - theirs.predict_proba(scaled)).max() < 5e-3


def test_what_another_model_knows_is_only_corrected() -> None:
    """With offsets that are right already, the fit adds little; where one class is new to them, it adds that class."""
    features, labels = features_of()
    folds, ones = np.arange(len(labels)) % 3, np.ones(len(labels))
    whole = fit_logistic(features, labels, folds, ones, 3)
    right = (features @ whole.weight.T + whole.bias).astype(np.float32)
    assert np.abs(fit_logistic(features, labels, folds, ones, 3, right).weight).max() < 0.3 * np.abs(whole.weight).max()
    lacking = right.copy()
    lacking[:, 2] = lacking.min() - 2
    added = fit_logistic(features, labels, folds, ones, 3, lacking)
    logits = lacking + features @ added.weight.T + added.bias
    assert (logits.argmax(1) == labels).mean() > 0.95


def test_pages_of_a_group_share_a_fold() -> None:
    labels = np.arange(30) % 3
    groups = np.array([f"document {row // 3}" for row in range(30)])
    folds = probe_folds(labels, groups, 3, seed=0)
    assert all(len(np.unique(folds[groups == name])) == 1 for name in np.unique(groups))
    assert len(np.unique(folds)) == 3
