"""Finds label issues by out-of-fold predictions, if the model is good enough to judge labels."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np

from docclf_cli.data.index.overlays import rows_named
from docclf_cli.data.index.tables import read_table
from docclf_cli.errors import InputError
from docclf_cli.metrics.chance import SIGNIFICANCE, chance_agreement, chance_p_value
from docclf_cli.metrics.label_errors import LabelIssues, find_label_issues
from docclf_cli.results.audit import LabelCheck, LabelIssue
from docclf_cli.results.predictions import Predictions
from docclf_cli.tasks.audit.pages import Collection
from docclf_cli.text import Message, composed, plural
from docclf_cli.user_folders import user_path

logger = logging.getLogger("docclf")
# Of simulated models on 500 pages of 9 classes, 5 % of the labels swapped (8 seeds), this share of what they doubted was wrong:
# agreement .40: 14 %, .52: 20 %, .64: 28 %, .74: 43 %, .87: 82 %, .95: 99 %.
LEAST_AGREEMENT = 0.75


def check_labels(collection: Collection, run: Path, out_of_fold: Predictions, groups: np.ndarray) -> LabelCheck:
    """Labels as they are now, against predictions by ID.

    Labels are checked only by a model that is significantly better than chance (`chance_p_value`) and that agrees with
    `LEAST_AGREEMENT` of the labels.

    Args:
        collection: The pages.
        run: The folds run.
        out_of_fold: What it predicts for pages that the predicting model was not trained on.
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
    known = (predicted.labels >= 0) & ~np.isnan(predicted.log_probs).any(axis=1)
    scored = predicted.scored()
    given, seems = scored.labels, scored.predicted()
    agreement, chance = float((given == seems).mean()), chance_agreement(given, seems)
    p_value = chance_p_value(given, seems, groups[rows[known]])
    reason = _skipped_reason(agreement, chance, p_value)
    if reason is not None:
        return LabelCheck(run, len(predicted), agreement, chance, p_value, reason, None, None, None, ())
    predicted = replace(predicted, groups=groups[rows].astype(np.str_))
    found = find_label_issues(predicted)
    return LabelCheck(
        run, len(predicted), agreement, chance, p_value, None, found.expected, found.low, found.high,
        _label_issues(collection, predicted, found),
    )  # fmt: skip


def relabel_file_labels(collection: Collection) -> dict[str, str]:
    """Labels that the profile's relabel file already gives, by ID: people have decided."""
    if collection.config.relabel is None:
        return {}
    table = read_table(user_path(collection.config.relabel))
    labels: dict[str, str] = {}
    named = rows_named(table, collection.training, ("train", "val"))
    for name, target, rows in zip(table["ID"].tolist(), table["target"].tolist(), named, strict=True):
        # IDs of other splits stay in the file as they are.
        labels |= dict.fromkeys([str(collection.training.ids[row]) for row in rows] or [name], target)
    return labels


def _skipped_reason(agreement: float, chance: float, p_value: float) -> str | None:
    """Why the predictions are no reason to doubt a label; None where they are one."""
    if p_value > SIGNIFICANCE:
        return Message.of(
            "the model agrees with {agreement:.0%} of the labels, and by chance it would agree with {chance:.0%}, which is not "
            "significantly better than chance (p = {p_value:.2g})",
            agreement=agreement,
            chance=chance,
            p_value=p_value,
        )
    if agreement >= LEAST_AGREEMENT:
        return None
    return Message.of(
        "the model agrees with {agreement:.0%} of the labels: below {least:.0%} most labels that a model doubts are right, "
        "and the model is wrong",
        agreement=agreement,
        least=LEAST_AGREEMENT,
    )


def _label_issues(collection: Collection, predicted: Predictions, found: LabelIssues) -> tuple[LabelIssue, ...]:
    probs = predicted.probs()
    relabelled, names = relabel_file_labels(collection), collection.class_names
    return tuple(
        LabelIssue(
            str(predicted.ids[row]), names[predicted.labels[row]], names[suggested],
            float(probs[row, predicted.labels[row]]), float(probs[row, suggested]), str(predicted.ids[row]) in relabelled,
        )
        for row, suggested in zip(found.rows.tolist(), found.suggested.tolist(), strict=True)
    )  # fmt: skip
