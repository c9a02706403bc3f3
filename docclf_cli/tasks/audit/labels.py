"""Labels against out-of-fold predictions, and whether these can be believed."""

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
    """Labels as they are now, against predictions by ID.

    Labels are checked only by a model that is significantly better than chance (`chance_p_value`) and that agrees with
    more labels than it contradicts.

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
        return LabelCheck(run, len(predicted), agreement, chance, p_value, reason, None, ())
    expected, issues = _label_issues(collection, predicted)
    return LabelCheck(run, len(predicted), agreement, chance, p_value, None, expected, issues)


def relabel_file_labels(collection: Collection) -> dict[str, str]:
    """Labels that the profile's relabel file already gives, by ID: people have decided."""
    if collection.config.relabel is None:
        return {}
    table = read_table(user_path(collection.config.relabel))
    rows = rows_named(table, collection.training, ("train", "val"))
    # IDs of other splits stay in the file as they are.
    names = [
        name if row < 0 else str(collection.training.ids[row]) for name, row in zip(table["ID"], rows, strict=True)
    ]
    return dict(zip(names, table["target"].tolist(), strict=True))


def chance_agreement(given: np.ndarray, seems: np.ndarray) -> float:
    """Share of pages on which labels and predictions would agree if they knew nothing of each other.

    The expected agreement of Cohen, "A Coefficient of Agreement for Nominal Scales" (1960).

    Args:
        given: Class index of each label, int64 [n].
        seems: Class index of each prediction, int64 [n].
    """
    classes = int(max(given.max(), seems.max())) + 1
    counts = [np.bincount(side, minlength=classes) for side in (given, seems)]
    return float((counts[0] * counts[1]).sum()) / len(given) ** 2


def chance_p_value(given: np.ndarray, seems: np.ndarray, groups: np.ndarray, seed: int = 0) -> float:
    """How often shuffled labels agree with predictions as well as the labels do: a permutation test.

    Pages of a group are no independent witnesses, so one page of each group takes part.

    Args:
        given: Class index of each label, int64 [n].
        seems: Class index of each prediction, made without the page: int64 [n].
        groups: Independent group of each page [n].
        seed: Moves the shuffles.

    Returns:
        (1 + shuffles that agree as well) / (1 + shuffles), so that no p-value is 0 (Phipson and Smyth 2010).
    """
    _, first = np.unique(groups.astype(np.str_), return_index=True)
    given, seems = given[first], seems[first]
    rng, found = np.random.default_rng(seed), int((given == seems).sum())
    as_good = sum(int((rng.permutation(given) == seems).sum()) >= found for _ in range(SHUFFLES))
    return (1 + as_good) / (1 + SHUFFLES)


def _skipped_reason(agreement: float, chance: float, p_value: float) -> str | None:
    """Why the predictions are no reason to doubt a label; None where they are one."""
    found = f"the model agrees with {agreement:.0%} of the labels, and by chance it would agree with {chance:.0%}"
    if p_value > SIGNIFICANCE:
        return f"{found}, which is not significantly better than chance (p = {p_value:.2g})"
    return None if agreement > 0.5 else f"{found}: it contradicts more labels than it agrees with"


def _label_issues(collection: Collection, predicted: Predictions) -> tuple[float, tuple[LabelIssue, ...]]:
    found, probs = find_label_issues(predicted), predicted.probs()
    relabelled, names = relabel_file_labels(collection), collection.class_names
    issues = tuple(
        LabelIssue(
            str(predicted.ids[row]), names[predicted.labels[row]], names[suggested],
            float(probs[row, predicted.labels[row]]), float(probs[row, suggested]), str(predicted.ids[row]) in relabelled,
        )
        for row, suggested in zip(found.rows.tolist(), found.suggested.tolist(), strict=True)
    )  # fmt: skip
    return found.expected, issues
