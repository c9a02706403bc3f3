import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import log_softmax

from docclf_cli.ensembling.combine import COMBINERS, Combination, Method, best_member, cross_combine, methods_of
from docclf_cli.ensembling.held_out import FEWEST, HeldOut
from docclf_cli.ensembling.pooling import LOG_FLOOR, arithmetic, log_loss
from docclf_cli.errors import InputError
from docclf_cli.profile.schema import EnsembleConfig

PLAIN = [Method("voting"), Method("averaging"), Method("averaging", {"space": "log"}), Method("weighted")]
FITTED = [Method(entry.name) for entry in COMBINERS if entry.facts["fitted"]]
# Three members, two pages, three classes.
PROBS = np.array(
    [[[0.6, 0.3, 0.1], [0.8, 0.1, 0.1]], [[0.5, 0.1, 0.4], [0.3, 0.4, 0.3]], [[0.0, 0.9, 0.1], [0.1, 0.3, 0.6]]]
)


def logs(probs: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(probs)


def pages(seed: int, *, members: int = 3, n: int = 120, classes: int = 4, sharp: float = 1.5) -> HeldOut:
    """Members of different skill."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, classes, n)
    logits = sharp * rng.normal(size=(members, n, classes))
    logits[:, np.arange(n), targets] += np.linspace(0.5, 3, members)[:, None]
    return HeldOut(log_softmax(logits, axis=2), targets, None, np.arange(n))


def test_voting_by_hand() -> None:
    probs = np.exp(Method("voting").combination([1, 1, 1]).apply(logs(PROBS)))
    # Page 1: two votes for class 0, although class 1 has the largest mean. Page 2: one vote each, so the mean decides.
    assert PROBS.mean(0).argmax(1).tolist() == [1, 0]
    assert probs.argmax(1).tolist() == [0, 0]
    assert probs[0] == pytest.approx(np.array([2 / 3, 1 / 3, 0]) + 0, abs=2e-3)
    assert probs.sum(1) == pytest.approx([1, 1])


def test_averaging_by_hand() -> None:
    probs = np.exp(Method("averaging").combination([1, 1, 1]).apply(logs(PROBS)))
    assert probs == pytest.approx(np.array([[1.1, 1.3, 0.6], [1.2, 0.8, 1.0]]) / 3)


def test_geometric_mean_by_hand() -> None:
    two = logs(np.array([[[0.9, 0.1]], [[0.5, 0.5]]]))
    probs = np.exp(Method("averaging", {"space": "log"}).combination([1, 1]).apply(two))
    # sqrt(.9 * .5) : sqrt(.1 * .5) is 3 : 1.
    assert probs == pytest.approx(np.array([[0.75, 0.25]]))


def test_listed_weights_by_hand() -> None:
    combination = Method("weighted").combination([3, 1, 0])
    assert combination.weights == (0.75, 0.25, 0)
    assert np.exp(combination.apply(logs(PROBS)))[0] == pytest.approx([0.575, 0.25, 0.175])


def test_weights_of_nothing_are_refused() -> None:
    with pytest.raises(InputError, match="weights of all members are 0"):
        Method("weighted").combination([0, 0])


@pytest.mark.parametrize("method", [*PLAIN, *FITTED], ids=lambda method: method.label)
def test_an_unreadable_page_stays_one_and_harms_no_other(method: Method) -> None:
    held_out = pages(0)
    combination = method.combination([1, 1, 1], held_out)
    log_probs = held_out.log_probs.copy()
    log_probs[1, 4] = np.nan
    combined = combination.apply(log_probs)
    assert np.isnan(combined[4]).all()
    others = np.arange(len(combined)) != 4
    np.testing.assert_allclose(combined[others], combination.apply(held_out.log_probs)[others], atol=1e-9)
    assert np.isnan(combination.apply(log_probs[:, [4]])).all()


@pytest.mark.parametrize("method", [*PLAIN, *FITTED], ids=lambda method: method.label)
def test_no_member_can_veto_with_a_probability_of_zero(method: Method) -> None:
    held_out = pages(1)
    log_probs = held_out.log_probs.copy()
    log_probs[0] = -np.inf
    log_probs[0, :, 0] = 0.0
    combined = method.combination([1, 1, 1], held_out).apply(log_probs)
    assert np.isfinite(combined).all()
    np.testing.assert_allclose(np.exp(combined).sum(axis=1), 1, atol=1e-9)


MEMBERS = hnp.arrays(
    np.float64, st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(2, 5)), elements=st.floats(-60, 60)
).map(lambda logits: log_softmax(logits, axis=2))


@given(MEMBERS, st.data())
def test_neither_order_nor_listing_twice_matters(log_probs: np.ndarray, data: st.DataObject) -> None:
    count = len(log_probs)
    weights = np.array(data.draw(st.lists(st.floats(0.01, 10), min_size=count, max_size=count)))
    order = data.draw(st.permutations(range(count)))
    for method in PLAIN:
        plain = method.combination(weights).apply(log_probs)
        shuffled = method.combination(weights[order]).apply(log_probs[order])
        twice = method.combination(np.tile(weights, 2)).apply(np.tile(log_probs, (2, 1, 1)))
        np.testing.assert_allclose(np.exp(shuffled), np.exp(plain), atol=1e-9, err_msg=method.label)
        np.testing.assert_allclose(np.exp(twice), np.exp(plain), atol=1e-9, err_msg=method.label)


@given(MEMBERS)
def test_the_majority_always_wins(log_probs: np.ndarray) -> None:
    votes = (log_probs.argmax(axis=2)[..., None] == np.arange(log_probs.shape[2])).sum(axis=0)
    winner = Method("voting").combination([1] * len(log_probs)).apply(log_probs).argmax(axis=1)
    assert (votes[np.arange(len(votes)), winner] == votes.max(axis=1)).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6), st.sampled_from([0.3, 1.5, 30.0, 500.0]))
def test_fitted_weights_sum_to_one_and_beat_equal_ones_on_the_rows_they_saw(
    seed: int, members: int, sharp: float
) -> None:
    held_out = pages(seed, members=members, n=60, sharp=sharp)
    equal = log_loss(arithmetic(held_out.log_probs), held_out.targets)
    for name in ("auto_weights", "greedy"):
        combination = Method(name).combination([1] * members, held_out)
        assert sum(combination.weights) == pytest.approx(1, abs=1e-12)
        assert min(combination.weights) >= 0
        fitted = log_loss(combination.apply(held_out.log_probs), held_out.targets)
        if name == "auto_weights":
            assert fitted <= equal + 1e-6


@pytest.mark.parametrize("members", [2, 3])
@pytest.mark.parametrize("seed", range(6))
def test_auto_weights_reach_the_optimum(seed: int, members: int) -> None:
    held_out = pages(seed, members=members, sharp=[0.5, 2.0, 20.0][seed % 3])
    combination = Method("auto_weights").combination([1] * members, held_out)
    fitted = log_loss(combination.apply(held_out.log_probs), held_out.targets)
    steps = np.linspace(0, 1, 101)
    grid = [w for w in itertools.product(steps, repeat=members - 1) if sum(w) <= 1 + 1e-9]
    chosen = np.exp(np.maximum(held_out.log_probs[:, np.arange(len(held_out)), held_out.targets], LOG_FLOOR))
    weights = np.array([[*w, max(0.0, 1 - sum(w))] for w in grid])
    with np.errstate(divide="ignore"):
        assert fitted <= -np.log(weights @ chosen).mean(axis=1).min() + 1e-6


def test_auto_weights_by_hand() -> None:
    # Member 0 gives the true class .8 on 60 pages and .2 on 20, member 1 the reverse: mixtures are .2 + .6 w and
    # .8 - .6 w, and 3 (.8 - .6 w) = .2 + .6 w gives w = 2.2 / 2.4, which is within the simplex.
    true = np.repeat([[0.8], [0.2]], [60, 20], axis=0)
    log_probs = np.log(np.stack([np.hstack([true, 1 - true]), np.hstack([1 - true, true])]))
    held_out = HeldOut(log_probs, np.zeros(80, dtype=int), None, np.arange(80))
    weights = Method("auto_weights").combination([1, 1], held_out).weights
    assert weights == pytest.approx((2.2 / 2.4, 0.2 / 2.4), abs=1e-4)


def test_greedy_by_hand() -> None:
    # As above. Alone member 0 is best, twice it is no better than once, and one pick of member 1 against eleven of
    # member 0 is the optimum; so the stage that is kept has exactly these twelve picks.
    true = np.repeat([[0.8], [0.2]], [60, 20], axis=0)
    log_probs = np.log(np.stack([np.hstack([true, 1 - true]), np.hstack([1 - true, true])]))
    held_out = HeldOut(log_probs, np.zeros(80, dtype=int), None, np.arange(80))
    combination = Method("greedy", {"rounds": 12}).combination([1, 1], held_out)
    assert combination.facts["picks"][0] == 0
    assert combination.weights == pytest.approx((11 / 12, 1 / 12))


@pytest.mark.parametrize("method", FITTED, ids=lambda method: method.label)
def test_a_fitted_method_without_enough_held_out_pages_says_what_to_train(method: Method) -> None:
    with pytest.raises(InputError, match="no page that all members hold out") as none:
        method.combination([1, 1, 1])
    assert "--folds 5" in none.value.hint
    few = pages(0, n=FEWEST - 1)
    with pytest.raises(InputError, match="only 49 pages"):
        method.combination([1, 1, 1], few)
    with pytest.raises(InputError, match="only 49 pages"):
        cross_combine(method, [1, 1, 1], few)
    assert method.combination([1, 1, 1], pages(0, n=FEWEST)).describe()


@pytest.fixture
def memoriser(monkeypatch: pytest.MonkeyPatch) -> Method:
    """A combiner that knows the label of every page it was fitted on, and of its whole group, and nothing else."""
    monkeypatch.setattr(COMBINERS, "_entries", dict(COMBINERS._entries))

    @COMBINERS.register("memoriser", fitted=True)
    def fit(listed: np.ndarray, held_out: HeldOut) -> Combination:
        # The first member's first log-probability tells the group (or the page).
        known = dict(zip(held_out.log_probs[0, :, 0].tolist(), held_out.targets.tolist(), strict=True))

        def apply(log_probs: np.ndarray) -> np.ndarray:
            labels = np.array([known.get(value, -1) for value in log_probs[0, :, 0].tolist()])
            return np.log(np.where(labels[:, None] == np.arange(log_probs.shape[2]), 0.97, 0.01))

        return Combination(apply)

    return Method("memoriser")


@pytest.mark.parametrize("grouped", [False, True])
def test_no_page_is_scored_by_a_combiner_that_saw_it_or_its_group(memoriser: Method, grouped: bool) -> None:
    held_out = pages(3)
    groups = None
    if grouped:
        groups = np.array([f"g{row // 4}" for row in range(120)])
        held_out.log_probs[0, :, 0] = -1 - np.arange(120) // 4
    held_out = HeldOut(held_out.log_probs, held_out.targets, groups, held_out.rows)
    knows = memoriser.combination([1, 1, 1], held_out).apply(held_out.log_probs)
    assert np.isclose(knows.max(axis=1), np.log(0.97)).all()
    assert np.isclose(cross_combine(memoriser, [1, 1, 1], held_out), np.log(0.01)).all()


@pytest.mark.parametrize("method", FITTED, ids=lambda method: method.label)
def test_members_of_noise_gain_nothing_out_of_sample(method: Method) -> None:
    """In sample a fitted combiner finds structure in twelve members of pure noise; out of sample there is none."""
    rng = np.random.default_rng(0)
    log_probs = log_softmax(rng.normal(size=(12, 200, 4)), axis=2)
    held_out = HeldOut(log_probs, rng.integers(0, 4, 200), None, np.arange(200))
    in_sample = method.combination([1] * 12, held_out).apply(held_out.log_probs)
    out_of_sample = cross_combine(method, [1] * 12, held_out)
    shares = np.bincount(held_out.targets) / 200
    knows_nothing = -(shares * np.log(shares)).sum()
    assert log_loss(out_of_sample, held_out.targets) > knows_nothing - 0.005
    assert log_loss(in_sample, held_out.targets) < log_loss(out_of_sample, held_out.targets)


def test_the_penalty_of_stacking_is_chosen_out_of_sample() -> None:
    rng = np.random.default_rng(0)
    log_probs = log_softmax(rng.normal(size=(12, 200, 4)), axis=2)
    facts = Method("stacking").combination([1] * 12, HeldOut(log_probs, np.arange(200) % 4, None, np.arange(200))).facts
    assert facts["cross_validated_log_loss"] > np.log(4) - 0.01
    assert facts["C"] <= 1e-3


def test_groups_stay_together_when_scoring_out_of_sample() -> None:
    base = pages(4, n=100)
    groups = np.array([f"g{row // 4}" for row in range(100)])
    fold = HeldOut(base.log_probs, base.targets, groups, base.rows).folds(5)
    assert all(len(set(fold[groups == group])) == 1 for group in set(groups))
    assert len(set(fold)) == 5


def test_folds_are_stratified() -> None:
    held_out = pages(5)
    fold = held_out.folds(5)
    for number, label in itertools.product(range(5), range(4)):
        share = ((held_out.targets == label) & (fold == number)).sum() / (held_out.targets == label).sum()
        assert share == pytest.approx(1 / 5, abs=0.06)


def test_stacking_keeps_a_class_without_held_out_pages() -> None:
    held_out = pages(6, classes=3, n=100)
    padded = np.pad(np.exp(held_out.log_probs) * 0.9, ((0, 0), (0, 0), (0, 1)), constant_values=0.1)
    combined = Method("stacking").combination([1] * 3, HeldOut(np.log(padded), *_rest(held_out))).apply(np.log(padded))
    np.testing.assert_allclose(np.exp(combined).sum(axis=1), 1)
    np.testing.assert_allclose(np.exp(combined[:, 3]), 0.1)


def _rest(held_out: HeldOut) -> tuple[np.ndarray, None, np.ndarray]:
    return held_out.targets, None, held_out.rows


def test_stacking_learns_what_no_mean_can() -> None:
    """A member that is always wrong in the same way is worth as much as one that is right."""
    held_out = pages(7, members=2, classes=3, n=150, sharp=0.5)
    turned = np.roll(held_out.log_probs, 1, axis=2)
    wrong = HeldOut(turned, *_rest(held_out))
    stacked = cross_combine(Method("stacking"), [1, 1], wrong)
    assert (stacked.argmax(1) == wrong.targets).mean() > 0.9
    assert (cross_combine(Method("averaging"), [1, 1], wrong).argmax(1) == wrong.targets).mean() < 0.1


def test_best_member() -> None:
    held_out = pages(8)
    assert best_member(held_out) == 2
    worst_first = best_member(held_out, score=lambda log_probs, targets: log_loss(log_probs, targets))
    assert worst_first == 0


def test_methods_of_a_profile() -> None:
    assert [method.name for method in methods_of(EnsembleConfig(method="all"))] == list(COMBINERS.names())
    assert methods_of(EnsembleConfig(method="weighted", weights="auto")) == (Method("auto_weights"),)
    assert methods_of(EnsembleConfig(method="weighted")) == (Method("weighted"),)
    assert methods_of(EnsembleConfig(method="averaging", space="log"))[0].label == "averaging (log)"
    assert [Method(name).fitted for name in COMBINERS.names()] == [False, False, False, True, True, True]
    with pytest.raises(InputError, match="did you mean 'stacking'"):
        methods_of(EnsembleConfig(method="staking"))


def test_rows_that_cannot_be_learned_from_are_left_out() -> None:
    from docclf_cli.ensembling.alignment import Stack

    log_probs = np.log(np.full((2, 4, 2), 0.5))
    log_probs[1, 2] = np.nan
    stack = Stack(
        log_probs,
        np.array(list("abcd")),
        ("x", "y"),
        np.array([0, -1, 1, 1]),
        None,
        np.array([""] * 4),
        (0, 1),
        ("k", "l"),
    )
    held_out = HeldOut.of(stack)
    assert held_out.rows.tolist() == [0, 3]
    assert held_out.targets.tolist() == [0, 1]
