"""Writes the files of `ensemble` and `tta`: the submission, the probabilities, and a JSON file on how they were made."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from docclf_cli.engine.checkpoints.run_folder import FINISHED, RunFolder, write_csv
from docclf_cli.engine.inference.member_predictions import TEST, VAL, EvaluationPages, predict_members
from docclf_cli.engine.inference.store import PLAIN
from docclf_cli.engine.inference.trained_model import TrainedModel
from docclf_cli.engine.inference.views import PLAIN_VIEW
from docclf_cli.files import write_json, write_text
from docclf_cli.profile.load import dump_profile
from docclf_cli.profile.schema import Profile
from docclf_cli.results.ensembling import EnsembleResult
from docclf_cli.results.predictions import Predictions
from docclf_cli.tasks.ensemble.leaderboard import CombinedPredictions
from docclf_cli.tasks.predict.submission import Submission
from docclf_cli.text import Message
from docclf_cli.version import __version__

PREDICTIONS, TTA_PREDICTIONS = "ensemble_predictions.csv", "tta_predictions.csv"
PROBABILITIES, META = "ensemble_probabilities.csv", "ensemble_predictions_meta.json"
Row = Mapping[str, Any]


def unreadable_in(predictions: Predictions) -> int:
    """Count the pages that could not be read."""
    return int(np.isnan(predictions.log_probs).any(axis=1).sum())


def submission_of(evaluation_pages: EvaluationPages, class_names: tuple[str, ...], fill: str | None) -> Submission:
    """Build the submission for the pages to predict.

    Raises:
        InputError: The submission asks for other pages, or `fill` is no class.
    """
    config = evaluation_pages.target.config
    if evaluation_pages.split == TEST:
        return Submission.of(evaluation_pages.target.of(TEST, class_names), config, class_names, fill, asked=False)
    return Submission.of_held_out(evaluation_pages.common, config, class_names, fill)


def ask_for_fill(
    submission: Submission, member: TrainedModel, evaluation_pages: EvaluationPages, **asking: Any
) -> None:
    """Check after one member has predicted whether unreadable pages need a fill class.

    Its predictions are stored, so that no page is predicted twice.

    Args:
        submission: The submission to be written.
        member: The member that predicts the pages.
        evaluation_pages: The pages.
        asking: Keyword arguments of `predict_members`.

    Raises:
        InputError: Each page must have a class, one cannot be read, and no fill class is given.
    """
    if submission.complete and submission.fill is None:
        (answers,) = predict_members([member], [[PLAIN_VIEW]], evaluation_pages, **asking)
        submission.check(submission.chosen(answers.target[PLAIN]))


def unreadable_notes(held_out: np.ndarray | None, target: np.ndarray, evaluation_pages: EvaluationPages) -> list[str]:
    """Write a sentence on the pages that could not be read.

    Args:
        held_out: Log probabilities [..., n, num_classes] of held-out pages, NaN for unreadable ones; or None.
        target: The same for the pages to predict.
        evaluation_pages: The pages.
    """
    sides = [(target, "{count} of the {total} pages cannot be read and are not scored.")]
    if held_out is not None and evaluation_pages.split != VAL:
        sides = [
            (target, "{count} of the {total} {split} pages cannot be read and are not scored."),
            (held_out, "{count} of the {total} held-out pages cannot be read and are not scored."),
        ]
    counted = [(int(np.isnan(side).any(axis=(*range(side.ndim - 2), -1)).sum()), side, text) for side, text in sides]
    return [
        Message.of(text, count=count, total=side.shape[-2], split=evaluation_pages.split)
        for count, side, text in counted
        if count
    ]


def submission_rows(submission: Submission, predictions: Predictions) -> list[Row]:
    """Return `ID,target` of every page (or document); the target of an unreadable one is empty or the fill class."""
    named = submission.named(submission.chosen(predictions), predictions.class_names)
    return [{"ID": name, "target": target} for name, target in named]


def probability_rows(predictions: Predictions) -> list[Row]:
    """Return the probability of each class for every page; of an unreadable page `status` gives the reason instead."""
    rows: list[Row] = []
    status = predictions.status if predictions.status is not None else np.full(len(predictions), "")
    for name, probs, reason in zip(predictions.ids.tolist(), predictions.probs(), status.tolist(), strict=True):
        shown = {
            column: "" if np.isnan(value) else f"{value:.6f}"
            for column, value in zip(predictions.class_names, probs.tolist(), strict=True)
        }
        rows.append({"ID": name, **shown, "status": reason})
    return rows


def write_ensemble(
    run: RunFolder,
    result: EnsembleResult,
    written: CombinedPredictions,
    rows: Mapping[str, Sequence[Row]],
    members: Sequence[TrainedModel],
    profile: Profile,
    overwrite: bool,
) -> EnsembleResult:
    """Write all files of an ensemble, and return its result with their paths.

    Args:
        run: The folder.
        result: The result without its files.
        written: The method whose predictions are written.
        rows: Rows of the submissions, by file name.
        members: The members that were combined.
        profile: The resolved profile.
        overwrite: Replace what is in the folder.

    Raises:
        InputError: The folder has content by now, and `overwrite` is not given.
    """
    with run.writing():
        run.require_free(overwrite)
        run.clear()
        files = [run.path / name for name in rows]
        for path in files:
            write_csv(path, rows[path.name])
        write_csv(run.path / PROBABILITIES, probability_rows(written.target))
        written.target.save(run.predictions(result.split))
        files += [run.path / PROBABILITIES, run.path / META]
        result = replace(result, files=tuple(files))
        write_json(run.path / META, _meta(result, written, members, profile))
        write_text(run.profile, dump_profile(profile))
        run.write_state(FINISHED, method=result.method)
    return result


def _meta(
    result: EnsembleResult, written: CombinedPredictions, members: Sequence[TrainedModel], profile: Profile
) -> dict[str, Any]:
    told = plain(EnsembleResult, result)
    return {
        "docclf": __version__,
        "method": result.method,
        **plain(dict, dict(written.info)),
        "weights": next(line.weights for line in result.methods if line.name == result.method),
        "members": [describe(member) for member in members],
        "classes": list(written.target.class_names),
        "scores": {key: told[key] for key in ("monitor", "best_member", "members", "methods", "tta")},
        "diversity": {key: told[key] for key in ("compared_on", "disagreement", "error_correlation")},
        **{key: told[key] for key in ("split", "pages", "unreadable", "precision", "advice", "notes")},
        "settings": profile.ensemble.model_dump(mode="json"),
    }


def describe(member: TrainedModel) -> dict[str, Any]:
    """Describe a member and its checkpoints as JSON values."""
    return {
        "name": member.name,
        "path": str(member.path.absolute()),
        "weight": member.weight,
        "checkpoints": [
            {
                "path": str(info.path.absolute()), "sha256": info.sha256, "model": info.model_name, "epoch": info.epoch,
                "temperature": info.temperature, "preprocess": info.preprocess.to_dict(),
            }
            for info in member.checkpoints
        ],
    }  # fmt: skip


def plain(kind: Any, value: Any) -> Any:
    """Convert a value to JSON values: dataclasses by field name, paths as text, NaN as null."""
    return json.loads(TypeAdapter(kind).dump_json(value))
