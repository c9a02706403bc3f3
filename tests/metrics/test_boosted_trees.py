import numpy as np
import pytest
from sklearn.ensemble import GradientBoostingClassifier

from docclf_cli.metrics.boosted_trees import DEPTH, FEWEST_IN_LEAF, RATE, SHARE, TREES, BoostedTrees


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(200, 4))
    return rows, (rows[:, 0] * rows[:, 1] > 0), rng.uniform(0.5, 2, 200)


def test_they_say_what_scikit_learn_says(data: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    rows, targets, weights = data
    theirs = GradientBoostingClassifier(
        n_estimators=TREES, max_depth=DEPTH, learning_rate=RATE, subsample=SHARE, min_samples_leaf=FEWEST_IN_LEAF,
        random_state=0,
    ).fit(rows.astype(np.float32), targets, sample_weight=weights)  # fmt: skip
    ours = BoostedTrees.fit(rows, targets, weights, seed=0)
    assert ours.log_odds(rows) == pytest.approx(theirs.decision_function(rows.astype(np.float32)))
    again = BoostedTrees.from_arrays(ours.to_arrays())
    assert (again.log_odds(rows) == ours.log_odds(rows)).all()


def test_arrays_that_do_not_fit_together_are_refused(data: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    arrays = BoostedTrees.fit(*data).to_arrays()
    with pytest.raises(ValueError, match="fit together"):
        BoostedTrees.from_arrays({**arrays, "value": arrays["value"][:, 1:]})
    with pytest.raises(ValueError, match="not there"):
        BoostedTrees.from_arrays({**arrays, "children": arrays["children"] + 1000})
