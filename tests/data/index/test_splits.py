from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from docclf_cli.data.index.documents import DocumentIndex
from docclf_cli.data.index.splits import Split, folds, hold_out, limit, stratified_sample
from docclf_cli.errors import InputError


def index_of(targets, groups=None):
    ids = np.array([f"{row:03d}.png" for row in range(len(targets))], dtype=object)
    classes = tuple(f"class {label}" for label in range(max(targets) + 1))
    named = None if groups is None else np.array([f"g{group}" for group in groups])
    return DocumentIndex(Path("data"), ids, ids, np.array(targets), classes, named)


def counts(index, rows):
    return np.bincount(index.targets[rows], minlength=len(index.class_names)).tolist()


TARGETS = st.lists(st.integers(0, 4), min_size=2, max_size=120)
SEEDS = st.integers(0, 2**32)


@st.composite
def grouped(draw):
    targets = draw(TARGETS)
    groups = draw(st.lists(st.integers(0, 25), min_size=len(targets), max_size=len(targets)))
    return index_of(targets, groups)


def held_out_or_none(index, fraction, seed):
    try:
        return hold_out(index, fraction, seed)
    except InputError:
        return None


class TestHoldOut:
    @given(TARGETS, st.floats(0.05, 0.9), SEEDS)
    def test_each_class_gives_its_share(self, targets, fraction, seed):
        index = index_of(targets)
        if (parts := held_out_or_none(index, fraction, seed)) is None:
            assert max(index.counts()) < 2
            return
        train, val = parts
        assert sorted([*train, *val]) == list(range(len(index)))
        for total, held in zip(index.counts(), counts(index, val), strict=True):
            assert abs(held - total * fraction) <= 1
            assert held < total or total == 0
            assert held >= 1 or total < 2

    @given(grouped(), st.floats(0.05, 0.9), SEEDS)
    def test_groups_are_never_split_and_no_class_is_lost(self, index, fraction, seed):
        if (parts := held_out_or_none(index, fraction, seed)) is None:
            return
        train, val = parts
        assert sorted([*train, *val]) == list(range(len(index)))
        assert not set(index.groups[train]) & set(index.groups[val])
        assert set(index.targets[train]) == set(index.targets)

    def test_grouped_shares_are_near_the_fraction(self):
        rng = np.random.default_rng(0)
        group_class = rng.integers(0, 5, 200)
        groups = np.repeat(np.arange(200), rng.integers(1, 7, 200))
        index = index_of(group_class[groups].tolist(), groups.tolist())
        _, val = hold_out(index, 0.2, 0)
        shares = np.array(counts(index, val)) / index.counts()
        assert np.abs(shares - 0.2).max() < 0.03

    def test_a_class_with_one_page_or_group_stays_in_training_and_that_is_said(self, caplog):
        _, val = hold_out(index_of([0, 0, 0, 0, 0, 1]), 0.2, 0)
        assert counts(index_of([0, 0, 0, 0, 0, 1]), val) == [1, 0]
        assert "class 1" in caplog.text
        caplog.clear()
        index = index_of([0, 0, 0, 0, 1, 1, 1], [0, 1, 2, 3, 4, 4, 4])
        _, val = hold_out(index, 0.2, 0)
        assert counts(index, val) == [1, 0]
        assert "class 1" in caplog.text

    def test_nothing_to_hold_out(self):
        with pytest.raises(InputError, match="no class has two pages"):
            hold_out(index_of([0, 1, 2]), 0.2, 0)

    def test_a_fraction_of_zero_holds_nothing_out(self):
        train, val = hold_out(index_of([0, 1]), 0.0, 0)
        assert (train.tolist(), val.tolist()) == ([0, 1], [])

    @pytest.mark.parametrize("groups", [None, list(range(40))])
    def test_the_seed_alone_decides(self, groups):
        index = index_of([0, 1] * 20, groups)
        first, again, other = (hold_out(index, 0.25, seed)[1].tolist() for seed in (0, 0, 1))
        assert first == again
        assert first != other

    def test_the_split_of_seed_zero_stays_what_it_is(self):
        # Runs of earlier versions are compared on these pages.
        assert hold_out(index_of([0, 1] * 10), 0.2, 0)[1].tolist() == [0, 10, 13, 15]


class TestFolds:
    @given(st.integers(2, 5), SEEDS, st.data())
    def test_every_row_is_held_out_once_and_classes_are_even(self, k, seed, data):
        sizes = data.draw(st.lists(st.integers(k, 20), min_size=2, max_size=5))
        index = index_of([label for label, size in enumerate(sizes) for _ in range(size)])
        parts = folds(index, k, seed)
        assert sorted(np.concatenate(parts)) == list(range(len(index)))
        by_class = np.array([counts(index, rows) for rows in parts])
        assert np.ptp(by_class, axis=0).max() <= 1
        assert np.ptp([len(rows) for rows in parts]) <= 1

    @given(grouped(), st.integers(2, 4), SEEDS)
    def test_groups_are_never_split(self, index, k, seed):
        try:
            parts = folds(index, k, seed)
        except InputError:
            return
        assert sorted(np.concatenate(parts)) == list(range(len(index)))
        assert all(len(rows) for rows in parts)
        owners = [set(index.groups[rows]) for rows in parts]
        assert sum(map(len, owners)) == len(set(index.groups))

    def test_grouped_folds_are_as_even_as_those_of_scikit_learn(self):
        from sklearn.model_selection import StratifiedGroupKFold

        rng = np.random.default_rng(1)
        groups = np.repeat(np.arange(150), rng.integers(1, 9, 150))
        targets = rng.integers(0, 6, 150)[groups]
        index = index_of(targets.tolist(), groups.tolist())

        def unevenness(parts):
            shares = np.array([counts(index, rows) for rows in parts]) / index.counts()
            return np.abs(shares - 0.2).max()

        theirs = [rows for _, rows in StratifiedGroupKFold(5).split(targets, targets, groups)]
        assert unevenness(folds(index, 5, 0)) <= unevenness(theirs) + 0.01

    def test_too_few_pages_or_groups(self, caplog):
        with pytest.raises(InputError, match=r"1 class has fewer pages than 3 folds: class 1 \(2\)"):
            folds(index_of([0, 0, 0, 1, 1]), 3, 0)
        with pytest.raises(InputError, match="2 groups cannot fill 3 folds"):
            folds(index_of([0, 0, 0, 0], [0, 0, 1, 1]), 3, 0)
        folds(index_of([0, 0, 0, 1, 1, 1], [0, 1, 2, 3, 3, 3]), 3, 0)
        assert "not in every fold: class 1" in caplog.text

    def test_a_class_without_pages_is_no_fault(self):
        index = index_of([0, 0, 2, 2])
        assert [counts(index, rows) for rows in folds(index, 2, 0)] == [[1, 0, 1]] * 2


class TestDraws:
    @given(TARGETS, st.integers(1, 130), SEEDS)
    def test_classes_keep_their_shares(self, targets, at_most, seed):
        targets = np.array(targets)
        drawn = stratified_sample(targets, at_most, seed)
        assert len(drawn) == min(at_most, len(targets)) == len(set(drawn.tolist()))
        if at_most >= len(set(targets)):
            assert set(targets[drawn]) == set(targets)

    def test_shares_by_hand(self):
        targets = np.repeat([0, 1, 2], [81, 15, 4])
        assert np.bincount(targets[stratified_sample(targets, 20, 0)]).tolist() == [16, 3, 1]  # of 16.2, 3.0, 0.8
        assert np.bincount(targets[stratified_sample(targets, 5, 0)]).tolist() == [3, 1, 1]  # of 4.05, 0.75, 0.2

    def test_a_limit_draws_among_the_given_rows(self):
        targets = np.array([0, 1] * 50)
        rows = np.arange(0, 100, 5)
        drawn = limit(rows, targets, 6, 0)
        assert set(drawn) <= set(rows)
        assert np.bincount(targets[drawn]).tolist() == [3, 3]
        assert limit(rows, targets, None, 0) is rows


class TestSplit:
    def test_it_comes_back_from_its_file(self, tmp_path):
        index = index_of([0, 1] * 5)
        train, val = hold_out(index, 0.2, 0)
        Split.of_rows(index, {"train": train, "val": val}).save(tmp_path / "split.csv")
        split = Split.load(tmp_path / "split.csv")
        assert split.names == ("train", "val")
        assert split.rows(index, "train").tolist() == train.tolist()
        assert split.rows(index, "val").tolist() == val.tolist()
        assert (tmp_path / "split.csv").read_text().startswith("ID,split\n000.png,train\n")

    def test_folds(self):
        index = index_of([0, 1] * 5)
        parts = folds(index, 5, 0)
        split = Split.of_folds(index, parts)
        assert split.names == tuple(f"fold-{number}" for number in range(5))
        assert split.rows(index, "fold-3").tolist() == parts[3].tolist()

    def test_pages_are_found_by_id_whatever_their_order(self):
        index = index_of([0, 1] * 5)
        split = Split.of_rows(index, {"val": np.array([2, 7])})
        turned = index.take(np.arange(10)[::-1])
        assert split.rows(turned, "val").tolist() == [2, 7]
        assert turned.ids[[2, 7]].tolist() == ["007.png", "002.png"]

    def test_pages_that_are_gone_are_named(self):
        index = index_of([0, 1] * 5)
        split = Split.of_rows(index, {"val": np.array([2, 7])})
        with pytest.raises(InputError, match=r"lacks 1 page of the run's split 'val': '007\.png'"):
            split.rows(index.take(np.arange(5)), "val")
