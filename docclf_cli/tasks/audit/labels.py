"""Finds label issues by out-of-fold predictions, if the model is good enough to judge labels."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np

from docclf_cli.data.index.overlays import rows_named
from docclf_cli.data.index.tables import plural, read_table
from docclf_cli.errors import InputError
from docclf_cli.metrics.label_errors import find_label_issues
from docclf_cli.results.audit import LabelCheck, LabelIssue
from docclf_cli.results.predictions import Predictions
from docclf_cli.tasks.audit.pages import Collection
from docclf_cli.text import composed
from docclf_cli.user_folders import user_path

SHUFFLES, SIGNIFICANCE = 999, 0.01
logger = logging.getLogger("docclf")


def check_labels(collection: Collection, run: Path, out_of_fold: Predictions, groups: np.ndarray) -> LabelCheck:
    """Compare the present labels with out-of-fold predictions, matched by ID.

    Labels are judged only if the model is clearly better than chance (`chance_p_value`) and confirms more labels than
    it contradicts.

    Args:
        collection: The pages.
        run: The folds run.
        out_of_fold: Its predictions, each by a model that was not trained on the page.
        groups: Independent group of each training page, text [n].

    Raises:
        InputError: No page of the run is in the data.
    """
    training = collection.training
    rows = np.array([training.row_of.get(composed(name), -1) for name in out_of_fold.ids.tolist()])
    if not (rows >= 0).any():
        raise InputError(f"{run}: none of its pages is in this data", "audit the data it was trained on")
    inside = rows >= 0
    if not inside.all():
        logger.warning(
            "%s: %s not in this data, and left out", run, plural(int((~inside).sum()), "page is", "pages are")
        )
    rows = rows[inside]
    predicted = replace(out_of_fold.take(inside), targets=training.labels[rows], ids=training.ids[rows].astype(np.str_))
    readable = (predicted.labels >= 0) & ~np.isnan(predicted.log_probs).any(axis=1)
    scored = predicted.scored()
    given = scored.labels
    predicted_labels = scored.predicted()
    agreement = float((given == predicted_labels).mean())
    chance = chance_agreement(given, predicted_labels)
    p_value = chance_p_value(given, predicted_labels, groups[rows[readable]])
    refusal = _refusal(agreement, chance, p_value)
    if refusal is not None:
        return LabelCheck(run, len(predicted), agreement, chance, p_value, refusal, None, ())
    expected, issues = _label_issues(collection, predicted)
    return LabelCheck(run, len(predicted), agreement, chance, p_value, None, expected, issues)


def reviewed_labels(collection: Collection) -> dict[str, str]:
    """Return the labels of the profile's relabel file by ID: people have reviewed these pages."""
    if collection.config.relabel is None:
        return {}
    table = read_table(user_path(collection.config.relabel))
    rows = rows_named(table, collection.training, ("train", "val"))
    # IDs of other splits stay in the file as they are.
    names = [
        name if row < 0 else str(collection.training.ids[row]) for name, row in zip(table["ID"], rows, strict=True)
    ]
    return dict(zip(names, table["target"].tolist(), strict=True))


def chance_agreement(given: np.ndarray, predicted: np.ndarray) -> float:
    """Compute the share of pages on which labels and predictions would agree if they were independent.

    The expected agreement of Cohen, "A Coefficient of Agreement for Nominal Scales" (1960).

    Args:
        given: Class index of each label, int64 [n].
        predicted: Class index of each prediction, int64 [n].
    """
    classes = int(max(given.max(), predicted.max())) + 1
    counts = [np.bincount(labels, minlength=classes) for labels in (given, predicted)]
    return float((counts[0] * counts[1]).sum()) / len(given) ** 2


def chance_p_value(given: np.ndarray, predicted: np.ndarray, groups: np.ndarray, seed: int = 0) -> float:
    """Test by permutation how often shuffled labels agree with the predictions as well as the labels do.

    Pages of a group are not independent, so one page of each group takes part.

    Args:
        given: Class index of each label, int64 [n].
        predicted: Class index of each prediction, by a model not trained on the page: int64 [n].
        groups: Independent group of each page [n].
        seed: Seed of the shuffles.

    Returns:
        (1 + shuffles that agree as well) / (1 + shuffles), so that no p-value is 0 (Phipson and Smyth 2010).
    """
    _, first = np.unique(groups.astype(np.str_), return_index=True)
    given = given[first]
    predicted = predicted[first]
    agreeing = int((given == predicted).sum())
    rng = np.random.default_rng(seed)
    as_good = sum(int((rng.permutation(given) == predicted).sum()) >= agreeing for _ in range(SHUFFLES))
    return (1 + as_good) / (1 + SHUFFLES)


def _refusal(agreement: float, chance: float, p_value: float) -> str | None:
    """Say why the predictions cannot judge labels; None if they can."""
    found = f"the model confirms {agreement:.0%} of the labels; by chance it would {chance:.0%}"
    if p_value > SIGNIFICANCE:
        return f"{found}, which is no clear difference (p = {p_value:.2g})"
    return None if agreement > 0.5 else f"{found}, but it contradicts more labels than it confirms"


def _label_issues(collection: Collection, predicted: Predictions) -> tuple[float, tuple[LabelIssue, ...]]:
    """Return the expected number of label issues, and the issues found."""
    found = find_label_issues(predicted)
    probs = predicted.probs()
    reviewed = reviewed_labels(collection)
    names = collection.class_names
    issues = tuple(
        LabelIssue(
            str(predicted.ids[row]),
            names[predicted.labels[row]],
            names[suggested],
            float(probs[row, predicted.labels[row]]),
            float(probs[row, suggested]),
            str(predicted.ids[row]) in reviewed,
        )
        for row, suggested in zip(found.rows.tolist(), found.suggested.tolist(), strict=True)
    )
    return found.expected, issues
