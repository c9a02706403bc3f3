"""Scores of foreign pages: against pytorch-ood and scikit-learn, and by hand."""

import numpy as np
import pytest
import torch
from sklearn.covariance import ledoit_wolf
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, normalize

from docclf_cli.metrics import novelty
from docclf_cli.metrics.novelty import FeatureSpace, HeldOutNovelty, NoveltyModel, Observed, fit_novelty

CLASSES, WIDTH = 5, 40


def drawn(seed: int, pages: int, classes: list[int], spread: float = 1.0) -> Observed:
    """Pages around the centres of classes; the last of the centres belongs to no class of the model."""
    centres = np.random.default_rng(0).normal(size=(CLASSES + 1, WIDTH)) * 1.5
    rng = np.random.default_rng(seed)
    targets = rng.choice(classes, pages)
    features = centres[targets] + spread * rng.normal(size=(pages, WIDTH))
    return Observed(features, features @ centres[:CLASSES].T / 12, targets, np.arange(pages), (WIDTH - 15, 15))


def fitted(seed: int = 1) -> NoveltyModel:
    held_out = drawn(seed + 1, 150, list(range(CLASSES)))
    found = fit_novelty(
        drawn(seed, 200, list(range(CLASSES))), held_out, np.arange(150), np.zeros(150, dtype=bool), 1.0
    )
    assert found is not None
    return found


def space_of(trained: Observed) -> FeatureSpace:
    return FeatureSpace.fit(trained.features, trained.targets, trained.pages, CLASSES)


@pytest.fixture(scope="module")
def space() -> FeatureSpace:
    return space_of(drawn(1, 200, list(range(CLASSES))))


def test_scores_are_those_of_pytorch_ood(space: FeatureSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    detectors = pytest.importorskip("pytorch_ood.detector")
    pages = drawn(2, 60, list(range(CLASSES + 1)))
    points, targets = space.project(pages.features), torch.from_numpy(space.gallery_targets)
    tensor, gallery = torch.from_numpy(points).double(), torch.from_numpy(space.gallery).double()
    knn = detectors.KNN(None, k=novelty.NEIGHBOUR).fit_features(gallery, targets)
    assert novelty.nearest_and_sparseness(points, space)[0] == pytest.approx(
        knn.predict_features(tensor).numpy(), abs=2e-3
    )
    logits = torch.from_numpy(pages.logits)
    energy = detectors.EnergyBased(None).predict_logits(logits)
    assert novelty.energy(pages.logits) == pytest.approx(energy.numpy())
    confidence = -detectors.MaxSoftmax(None).predict_logits(logits).numpy()
    assert novelty.confidences_of(pages.logits, 1.0) == pytest.approx(confidence)
    # pytorch-ood's covariance is a sum of squares, and is not shrunk
    monkeypatch.setattr(novelty, "shrunk_covariance", lambda centred: centred.T @ centred / len(centred))
    plain = space_of(drawn(1, 200, list(range(CLASSES))))
    theirs = detectors.Mahalanobis(None).fit_features(gallery.float(), targets).predict_features(tensor.float()).numpy()
    distances = novelty.mahalanobis(points, plain)
    assert distances.min(axis=1) == pytest.approx(theirs * 2 * len(gallery), rel=0.01)


def test_the_margin_is_that_of_linear_discriminant_analysis(
    space: FeatureSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(novelty, "shrunk_covariance", lambda centred: centred.T @ centred / len(centred))
    plain = space_of(drawn(1, 200, list(range(CLASSES))))
    points = plain.project(drawn(2, 60, list(range(CLASSES))).features)
    lda = LinearDiscriminantAnalysis(priors=np.full(CLASSES, 1 / CLASSES)).fit(plain.gallery, plain.gallery_targets)
    best = np.sort(lda.decision_function(points), axis=1)[:, ::-1]
    assert -novelty.margin(points, plain) / 2 == pytest.approx(best[:, 0] - best[:, 1], rel=0.02, abs=0.1)


def test_features_are_kept_along_their_principal_components(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(novelty, "DIMENSIONS", 7)
    trained, pages = drawn(1, 200, list(range(CLASSES))), drawn(2, 60, list(range(CLASSES + 1)))
    theirs = make_pipeline(StandardScaler(), PCA(7)).fit(trained.features).transform(pages.features)
    assert np.abs(space_of(trained).project(pages.features)) == pytest.approx(np.abs(theirs), abs=1e-3)
    few = Observed(trained.features[:20], trained.logits[:20], trained.targets[:20], np.arange(20), (WIDTH,))
    theirs = (
        make_pipeline(StandardScaler(), PCA(7)).fit(few.features).transform(pages.features)
    )  # by the smaller matrix
    assert np.abs(space_of(few).project(pages.features)) == pytest.approx(np.abs(theirs), abs=1e-3)


def test_a_feature_that_never_changes_says_nothing() -> None:
    trained, pages = drawn(1, 200, list(range(CLASSES))), drawn(2, 5, [0])
    trained.features[:, 3] = 1.0
    space, before = space_of(trained), pages.features.copy()
    before[:, 3] += 1e6
    assert space.project(before) == pytest.approx(space.project(pages.features))


def test_neighbours_are_those_of_scikit_learn(space: FeatureSpace) -> None:
    points = space.project(drawn(2, 60, list(range(CLASSES + 1))).features)
    found = NearestNeighbors(n_neighbors=novelty.NEIGHBOUR).fit(normalize(space.gallery))
    distances, places = found.kneighbors(normalize(points))
    nearest, sparseness = novelty.nearest_and_sparseness(points, space)
    assert nearest == pytest.approx(distances[:, -1], abs=2e-3)
    own = NearestNeighbors(n_neighbors=novelty.NEIGHBOUR + 1).fit(
        normalize(space.gallery)
    )  # the first is the page itself
    spacing = own.kneighbors(normalize(space.gallery))[0][:, -1]
    assert space.spacing == pytest.approx(spacing, abs=2e-3)
    expected = distances[:, -1] / spacing[places].mean(axis=1)
    assert sparseness == pytest.approx(expected, abs=5e-3)


def test_the_spacing_of_a_page_does_not_count_its_copy() -> None:
    trained = drawn(1, 60, list(range(CLASSES)))
    doubled = trained + trained
    spacing = space_of(doubled).spacing
    assert spacing[:60] == pytest.approx(spacing[60:], abs=1e-3)
    assert (spacing > 0.1).all()


def test_the_covariance_is_shrunk_as_ledoit_and_wolf_do() -> None:
    for pages, width in ((30, 40), (400, 10)):
        rows = np.random.default_rng(0).normal(size=(pages, width)) @ np.diag(np.linspace(0.5, 3, width))
        assert novelty.shrunk_covariance(rows) == pytest.approx(ledoit_wolf(rows, assume_centered=True)[0])


def test_the_calibration_is_logistic_regression_with_a_slope_that_is_not_negative() -> None:
    rng = np.random.default_rng(0)
    known, unknown, one = rng.normal(0, 1, 300), rng.normal(2, 1, 300), np.zeros(300, np.int64)
    slope, intercept = novelty.calibrate(known, unknown, one)
    theirs = LogisticRegression(C=1, tol=1e-8).fit(np.append(known, unknown)[:, None], np.repeat([0, 1], 300))
    assert slope == pytest.approx(theirs.coef_[0, 0], abs=1e-3)
    assert intercept == pytest.approx(theirs.intercept_[0], abs=1e-3)
    assert novelty.calibrate(known, -unknown, one)[0] == 0


def test_each_unknown_class_weighs_the_same() -> None:
    rng = np.random.default_rng(0)
    known, one, two = rng.normal(0, 1, 400), rng.normal(1, 1, 100), rng.normal(4, 1, 100)
    even = novelty.calibrate(known, np.append(one, two), np.repeat([0, 1], 100))
    more = novelty.calibrate(known, np.concatenate([one, np.tile(two, 5)]), np.repeat([0, 1], [100, 500]))
    assert more == pytest.approx(even, rel=0.03)


def test_pages_of_an_unseen_class_stand_out_and_known_ones_are_lost_as_promised() -> None:
    model = fitted()
    unseen, known = drawn(9, 200, [CLASSES]), drawn(10, 4000, list(range(CLASSES)))
    threshold = model.held_out.threshold(0.05)
    lost = model.log_odds(known.features, known.logits) > threshold
    assert 0.01 < lost.mean() < 0.1
    assert (model.log_odds(unseen.features, unseen.logits) > threshold).mean() > 0.9
    assert model.held_out.separation > 0.95
    assert all(share.value > 0.8 for share in model.held_out.caught(threshold).values())


def test_a_left_out_class_has_neither_training_pages_nor_logit() -> None:
    spaces, pages = fitted().spaces, drawn(2, 20, [1])
    without = novelty.raw_scores(pages.features, pages.logits, spaces, left_out=1)
    moved = pages.logits.copy()
    moved[:, 1] += 100
    assert novelty.raw_scores(pages.features, moved, spaces, left_out=1) == pytest.approx(without)
    assert not (spaces[0].without(1).gallery_targets == 1).any()
    known = novelty.raw_scores(pages.features, pages.logits, spaces)
    assert (without.mean(axis=0) > known.mean(axis=0)).all()


def test_confident_pages_are_lost_no_less_often_than_others() -> None:
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.normal(0, 1, 2000), rng.normal(3, 1, 2000)])
    confident = np.repeat([True, False], 2000)
    raised = scores + novelty._bar(scores, confident) * confident
    threshold = np.quantile(raised, 0.95)
    assert (raised[confident] > threshold).mean() == pytest.approx(0.05, abs=0.002)
    assert novelty._bar(scores[1990:], confident[1990:]) == 0  # too few confident pages
    assert novelty._bar(-scores, confident) == 0


def test_the_threshold_counts_a_page_and_its_copy_once() -> None:
    def held_out(copies: int) -> HeldOutNovelty:
        log_odds = np.tile(np.arange(19.0), copies)
        zeros = (0,) * len(log_odds)
        empty = tuple(map(float, zeros))
        units = tuple(np.tile(np.arange(19), copies).tolist())
        return HeldOutNovelty(zeros, zeros, empty, tuple(log_odds), empty, empty, units, (False,) * len(log_odds))

    assert held_out(1).threshold(0.05) == 18  # 20 * .95 = 19 of 19
    assert held_out(2).threshold(0.05) == 18
    assert held_out(1).threshold(0.04) == np.inf
    assert held_out(1).threshold(0.5) == 9


def test_the_threshold_loses_a_share_of_exchangeable_pages() -> None:
    rng, lost = np.random.default_rng(0), []
    for _ in range(400):
        values, zeros = rng.normal(size=40), (0,) * 39
        empty = (0.0,) * 39
        found = HeldOutNovelty(
            zeros, zeros, empty, tuple(values[:39]), empty, empty, tuple(range(39)), (False,) * 39
        ).threshold(0.1)
        lost.append(values[39] > found)
    assert np.mean(lost) == pytest.approx(0.1, abs=0.04)


def test_auroc_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    known, unknown = rng.integers(0, 9, 80), rng.integers(3, 12, 50)
    truth = np.repeat([0, 1], [80, 50])
    assert novelty.auroc(known, unknown) == pytest.approx(roc_auc_score(truth, np.concatenate([known, unknown])))
    assert np.isnan(novelty.auroc(known, unknown[:0]))


def test_probabilities_follow_the_expected_share() -> None:
    assert novelty.probability(np.array(0.0), 0.1) == pytest.approx(0.1)
    assert novelty.probability(np.log(np.array(9.0)), 0.1) == pytest.approx(0.5)


def test_a_model_comes_back_from_its_arrays() -> None:
    model, pages = fitted(), drawn(9, 30, list(range(CLASSES + 1)))
    arrays = model.to_arrays()
    assert all(value.dtype.kind in "fib" for value in arrays.values())
    again = NoveltyModel.from_arrays(arrays)
    assert again is not None
    assert NoveltyModel.from_arrays({}) is None
    assert again.held_out == model.held_out
    assert again.log_odds(pages.features, pages.logits) == pytest.approx(model.log_odds(pages.features, pages.logits))
    assert again.leading_of(pages.features).shape == (30, novelty.DRIFT_DIMENSIONS)


def test_two_classes_are_too_few() -> None:
    pages = drawn(1, 50, [0, 1])
    assert fit_novelty(pages, pages, np.arange(50), np.zeros(50, dtype=bool), 1.0) is None
