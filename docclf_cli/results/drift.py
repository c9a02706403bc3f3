"""What `drift` returns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from docclf_cli.results.metrics import Estimate


@dataclass(frozen=True)
class DriftPeriod:
    """The pages of one call of `predict`.

    Attributes:
        name: What was named.
        files: Number of files.
        pages: Number of pages.
        counted: Number of files that the tests are about, one readable page of each.
        needs_review: Share of the pages that needs review; None where no rule said so.
        unknown: Share of the pages that is called unknown; None where none could be.
        confident: Share of the counted pages with a confidence of .95 or more.
    """

    name: str
    files: int
    pages: int
    counted: int
    needs_review: Estimate | None
    unknown: Estimate | None
    confident: Estimate


@dataclass(frozen=True)
class DriftTest:
    """A test of the newest pages against others.

    Attributes:
        against: `held-out pages` or `earlier pages`.
        subject: What is compared: `predicted classes`, `confidence`, `unknown score` or `features`.
        p_value: Of both being alike; NaN where there are too few pages.
        adjusted: The same after Holm's correction for all tests of the call.
        changed: Whether it is below the false-alarm rate.
    """

    against: str
    subject: str
    p_value: float
    adjusted: float
    changed: bool


@dataclass(frozen=True)
class ClassShare:
    """A class among the held-out and among the newest pages.

    Attributes:
        name: The class.
        held_out: Its share of the held-out pages.
        predicted: Its share of the newest predictions.
        estimated: Its share of the newest pages, corrected for the mistakes that held-out pages show; None where the
            class has no held-out pages.
    """

    name: str
    held_out: float
    predicted: float
    estimated: Estimate | None


@dataclass(frozen=True)
class DriftResult:
    """Whether the newest pages differ from the held-out pages of a model, and from earlier pages.

    Attributes:
        run: The model.
        alpha: False-alarm rate of the call, over all its tests together.
        changed: Whether any test found a change.
        periods: One row per named predictions, the newest last.
        tests: One row per test.
        classes: One row per class.
        accuracy: Share of right predictions among the newest pages, if only the mix of classes has changed.
        files: What was written.
        notes: What must be known to judge the tests.
    """

    run: Path
    alpha: float
    changed: bool
    periods: tuple[DriftPeriod, ...]
    tests: tuple[DriftTest, ...]
    classes: tuple[ClassShare, ...]
    accuracy: Estimate
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
