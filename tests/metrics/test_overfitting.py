import numpy as np
import pytest
from prediction_cases import naming

from docclf_cli.metrics.class_metrics import score
from docclf_cli.metrics.intervals import wilson
from docclf_cli.metrics.overfitting import train_val_gap
from docclf_cli.results.metrics import ClassRow, Estimate


def row(hits: int, pages: int) -> ClassRow:
    share = wilson(hits, pages)
    return ClassRow("letter", pages, share, share, share, 0.1)


def test_one_class_has_the_interval_of_newcombe() -> None:
    """56/70 against 48/80: his published example, 0.0524 to 0.3339."""
    (gap,) = train_val_gap([row(56, 70)], [row(48, 80)])
    assert (gap.gap.value, gap.gap.low, gap.gap.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)
    assert gap.overfits


def test_the_same_gap_means_nothing_on_few_pages_or_among_many_classes() -> None:
    assert not train_val_gap([row(8, 10)], [row(6, 10)])[0].overfits
    many = train_val_gap([row(56, 70)] * 40, [row(48, 80)] * 40)
    assert not any(gap.overfits for gap in many)


def test_a_class_without_held_out_pages_says_nothing() -> None:
    gaps = train_val_gap([row(70, 70), row(70, 70)], [row(0, 0), row(20, 70)])
    assert np.isnan(gaps[0].gap.value)
    assert [gap.overfits for gap in gaps] == [False, True]


def test_f1_of_real_scores() -> None:
    train = score(naming([0] * 50 + [1] * 50, [0] * 50 + [1] * 50, classes=2)).classes
    val = score(naming([0] * 50 + [1] * 50, [1] * 25 + [0] * 25 + [1] * 50, classes=2)).classes
    gaps = train_val_gap(train, val, "f1")
    assert [gap.overfits for gap in gaps] == [True, True]
    assert isinstance(gaps[0].gap, Estimate)
