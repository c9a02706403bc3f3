"""A class report as one HTML file: no request leaves it, and it works offline, light and dark, on a phone.

Names of classes and files are text of unknown origin: the template escapes everything, the data for the script is
JSON that cannot end its element, the script writes text and never HTML, and the page's own security policy allows
this one script and images inside the file, nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from docclf_cli.display.html.charts import reliability_chart, risk_coverage_chart, training_charts
from docclf_cli.display.show import edge_note
from docclf_cli.files import write_bytes
from docclf_cli.metrics.class_metrics import per_sample_loss
from docclf_cli.metrics.confusion import confusion_of
from docclf_cli.metrics.metrics import label_of
from docclf_cli.metrics.thresholds import apply_threshold
from docclf_cli.results.class_report import ClassReport
from docclf_cli.results.metrics import ClassGap, ClassRow
from docclf_cli.results.predictions import Predictions
from docclf_cli.text import split_name
from docclf_cli.version import __version__

MOST_CLASSES = 100  # along a side of the confusion matrix
CONFIDENCES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)  # rows of the threshold table


@dataclass(frozen=True, eq=False)
class Page:
    """What goes on the page.

    Attributes:
        report: Metrics.
        predictions: The pages they are about.
        shown: Rows of the pages that can be opened, most useful first.
        thumbnails: JPEG files by ID; None where none are wanted.
        history: Metrics per epoch, as in `metrics.csv`.
        profile: The resolved profile as YAML.
        facts: What the head of the page says about the run, such as its model, data and date.
        best_epoch: Marked in the curves.
        heat: JPEG files by ID of pages under a heat map of the predicted class.
        surest: Rows of `predictions`: the most confident page of each class.
        words: The words that spoke for the predicted class of a page, by ID; of a model that reads.
    """

    report: ClassReport
    predictions: Predictions
    shown: np.ndarray
    thumbnails: Mapping[str, bytes] | None
    history: Sequence[Mapping[str, float]] = ()
    profile: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    best_epoch: int | None = None
    words: Mapping[str, Sequence[str]] = field(default_factory=dict)
    heat: Mapping[str, bytes] = field(default_factory=dict)
    surest: Set[int] = frozenset()


def write_page(path: Path, page: Page) -> Path:
    """Write the file, whole or not at all, and return its path."""
    text = _template().render(_context(page))
    write_bytes(path, text.encode(errors="backslashreplace"))  # a file name may hold bytes that are no text
    return path


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("docclf_cli.display.html", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"digits": digits, "metric_name": label_of, "split_name": split_name, "breakable": breakable}
    environment.tests |= {"missing": math.isnan}
    return environment.get_template("page.html.j2")


def _context(page: Page) -> dict[str, Any]:
    scored = page.predictions.scored()
    temperature = page.report.temperature
    script = _asset("page.js")
    return {
        "version": __version__,
        "style": Markup(_asset("page.css")),
        "script": Markup(script),
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "title": _title(page.report.source),
        "report": page.report,
        "classes": _classes(page.report),
        "matrix": _matrix(scored),
        "charts": (reliability_chart(scored, temperature), risk_coverage_chart(scored, temperature)),
        "curves": training_charts(page.history, page.best_epoch) if len(page.history) > 1 else (),
        "facts": page.facts,
        "edge_note": edge_note(page.report.scores),
        "thresholds": [apply_threshold(scored, value, value, temperature=temperature) for value in CONFIDENCES],
        "profile": page.profile,
        "thumbnails": page.thumbnails is not None,
        "explained": bool(page.heat),
        "data": {"classes": list(scored.class_names), "pages": list(_pages(page))},
    }


def breakable(name: str) -> Markup:
    """A class name that is broken after an underscore rather than inside a word."""
    return Markup("_<wbr>").join(name.split("_"))


def digits(value: float, count: int = 3) -> str:
    """A value as the page shows it, or a dash where there is none."""
    return "–" if math.isnan(value) else f"{value:.{count}f}"


def _asset(name: str) -> str:
    return files("docclf_cli.display.html").joinpath(name).read_text(encoding="utf-8")


def _title(source: Path) -> str:
    """The run's name; a file (`best.ckpt`) says little without its folder."""
    parts = source.absolute().parts
    return parts[-1] if source.is_dir() else "/".join(parts[-2:])


def _classes(found: ClassReport) -> list[tuple[ClassRow, ClassGap | None]]:
    gaps: Sequence[ClassGap | None] = found.gaps or [None] * len(found.scores.classes)
    return list(zip(found.scores.classes, gaps, strict=True))


def _matrix(scored: Predictions) -> dict[str, Any]:
    """Counts and shares of the confusion matrix, of the classes with most mistakes where there are very many."""
    counts = confusion_of(scored)
    mistakes = counts.sum(axis=0) + counts.sum(axis=1) - 2 * counts.diagonal()
    kept = np.sort(np.argsort(-mistakes, kind="stable")[:MOST_CLASSES])
    support = counts.sum(axis=1)
    shares = counts / np.maximum(support[:, None], 1)
    rows = [
        {
            "name": scored.class_names[row],
            "support": int(support[row]),
            "cells": [
                {
                    "count": int(counts[row, column]),
                    "share": round(float(shares[row, column]), 3),
                    "column": int(column),
                }
                for column in kept
            ],
            "index": int(row),
        }
        for row in kept
    ]
    return {"rows": rows, "names": [scored.class_names[index] for index in kept], "left_out": len(counts) - len(kept)}


def _pages(page: Page) -> Iterator[dict[str, Any]]:
    """The pages that can be opened: ID, true and predicted class, confidence, loss, thumbnail."""
    shown = page.predictions.take(page.shown)
    probs, losses = shown.probs(page.report.temperature), per_sample_loss(shown, page.report.temperature)
    predicted, pictures = shown.predicted(), page.thumbnails or {}
    for row, page_id in enumerate(map(str, shown.ids)):
        record = {
            "id": page_id,
            "target": int(shown.labels[row]),
            "predicted": int(predicted[row]),
            "confidence": round(float(probs[row].max()), 4),
            "loss": round(float(losses[row]), 4),
        }
        if page.words.get(page_id):
            record["words"] = ", ".join(page.words[page_id])
        if page_id in pictures:
            record["image"] = _data_address(pictures[page_id])
        if page_id in page.heat:
            record["heat"] = _data_address(page.heat[page_id])
            record["surest"] = int(page.shown[row]) in page.surest
        yield record


def _data_address(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
