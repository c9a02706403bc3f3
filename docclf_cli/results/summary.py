"""The summary that `predict` keeps beside its output: numbers about all pages together, no page and no text."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from docclf_cli.errors import InputError
from docclf_cli.files import write_json

CONFIDENCE_EDGES = (0.0, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1.0)
LOG_ODDS_EDGES = tuple(float(edge) for edge in range(-12, 9))


@dataclass(frozen=True)
class PredictionSummary:
    """What drift is looked for in: one page of each file, because pages of a file resemble each other.

    Attributes:
        model: Fingerprint of the checkpoints.
        plain: Whether pages were looked at as they are, and once.
        class_names: Names along the class axis.
        files: Number of files.
        pages: Number of pages of these files.
        unreadable: How many of them could not be read.
        needs_review: How many need review; None where no rule says so.
        unknown: How many are called unknown; None where none can be.
        counted: Number of files that the following is about: one readable page of each.
        predicted: Number of these pages by predicted class.
        confidence: Number of these pages by confidence, between `CONFIDENCE_EDGES`.
        log_odds: Number of these pages by log-odds of being unknown, cut at `LOG_ODDS_EDGES`; empty where not known.
        mean: Mean of the leading components of the features; empty where not known.
        covariance: Their covariance, row by row.
    """

    model: str
    plain: bool
    class_names: tuple[str, ...]
    files: int
    pages: int
    unreadable: int
    needs_review: int | None
    unknown: int | None
    counted: int
    predicted: tuple[int, ...]
    confidence: tuple[int, ...]
    log_odds: tuple[int, ...]
    mean: tuple[float, ...]
    covariance: tuple[tuple[float, ...], ...]

    def save(self, path: Path) -> Path:
        """Write it as JSON, whole or not at all."""
        write_json(path, asdict(self))
        return path

    @classmethod
    def load(cls, path: Path) -> PredictionSummary:
        """Read what `save` wrote.

        Raises:
            InputError: The file is missing, damaged or not of this kind.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            found = {one.name: content[one.name] for one in fields(cls)}
            lists = ("class_names", "predicted", "confidence", "log_odds", "mean")
            found |= {name: tuple(found[name]) for name in lists}
            found["covariance"] = tuple(tuple(row) for row in found["covariance"])
            return cls(**found)
        except FileNotFoundError as error:
            raise InputError(f"{path}: there is no such summary", "name what `docclf predict` wrote") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: damaged, or not a summary of `docclf predict`") from error
