"""Which pages and metrics two models are compared on."""

import logging
from pathlib import Path

import numpy as np
import pytest
from prediction_cases import at_random

from docclf_cli.errors import InputError
from docclf_cli.metrics.compare import mcnemar, paired_difference
from docclf_cli.tasks.evaluate.evaluate import compare

OTHER = Path("runs/other")


def test_pages_that_both_hold_out_are_compared(caplog: pytest.LogCaptureFixture) -> None:
    mine, theirs = at_random(1, 60, 4), at_random(2, 60, 4, skill=3.0)
    with caplog.at_level(logging.WARNING, "docclf"):
        found = compare(mine.take(np.arange(40)), theirs.take(np.arange(59, 19, -1)), OTHER, "val", "accuracy")
    assert (found.pages, found.left_out) == (20, 20)
    assert "20 of 40 pages are left out" in caplog.text
    both = mine.take(np.arange(20, 40)), theirs.take(np.arange(20, 40))
    assert found.differences[0] == paired_difference(*both, "accuracy")
    assert found.mcnemar == mcnemar(*both)


@pytest.mark.parametrize(
    "monitor, metrics",
    [
        ("blend", ["f1_macro", "accuracy", "log_loss"]),
        ("blend_loss", ["f1_macro", "accuracy", "log_loss"]),
        ("f1_macro_degraded", ["f1_macro", "accuracy", "log_loss"]),
        ("val_loss", ["log_loss", "accuracy", "f1_macro"]),
        ("accuracy", ["accuracy", "f1_macro", "log_loss"]),
        ("top3_accuracy", ["top3_accuracy", "accuracy", "f1_macro", "log_loss"]),
        ("ece", ["f1_macro", "accuracy", "log_loss"]),
        ("balanced_accuracy", ["balanced_accuracy", "accuracy", "f1_macro", "log_loss"]),
    ],
)
def test_the_monitored_metric_decides(monitor: str, metrics: list[str]) -> None:
    found = compare(at_random(1, 30, 4), at_random(2, 30, 4), OTHER, "test", monitor)
    assert [difference.metric for difference in found.differences] == metrics
    assert found.monitor == metrics[0]


def test_better_is_said_from_the_point_of_view_of_the_model() -> None:
    good, bad = at_random(1, 300, 3, skill=5.0), at_random(2, 300, 3, skill=0.5)
    assert compare(good, bad, OTHER, "test", "blend").sentences[0].startswith("better by ")
    assert compare(bad, good, OTHER, "test", "blend").sentences[0].startswith("worse by ")


def test_nothing_shared_is_an_error() -> None:
    pages = at_random(1, 20, 3)
    with pytest.raises(InputError, match="none of these 10 val pages"):
        compare(pages.take(np.arange(10)), pages.take(np.arange(10, 20)), OTHER, "val", "blend")
