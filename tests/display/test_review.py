"""The summary of a review."""

from pathlib import Path

import pytest

from docclf_cli.display.show import show
from docclf_cli.results.review import ReviewResult


@pytest.mark.parametrize(("of_cuts", "title"), [(False, "labelled"), (True, "cuts decided")])
def test_a_review_without_classes_is_not_taken_for_one_of_cuts(
    of_cuts: bool, title: str, capsys: pytest.CaptureFixture[str]
) -> None:
    result = ReviewResult(
        folder=Path("review"),
        source=Path("scans"),
        items=5,
        labelled=2,
        unknown=0,
        skipped=0,
        left=3,
        suggested=0,
        confirmed=0,
        classes=(),
        of_cuts=of_cuts,
        files=(),
        next_commands=(),
    )
    show(result, as_json=False)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "2 of 5" in line]
    assert line.startswith(title)
