"""`evaluate`: a checkpoint's predictions for a split, from the store where they are fresh, and their scores."""

from __future__ import annotations

from pathlib import Path

from docclf_cli.engine.events import Emit, silent
from docclf_cli.engine.members import Indices, Member, as_one, data_of, member_at, wanted_of
from docclf_cli.engine.outputs import write_class_report, write_predictions
from docclf_cli.engine.stop import NEVER, StopFlag
from docclf_cli.engine.wanted import collect
from docclf_cli.errors import InputError
from docclf_cli.metrics.class_metrics import score
from docclf_cli.profile.schema import RuntimeConfig
from docclf_cli.results.predictions import Predictions
from docclf_cli.results.training import EvaluateResult


def evaluate(
    checkpoint_path: Path,
    split: str,
    *,
    data: str | None = None,
    runtime_config: RuntimeConfig | None = None,
    emit: Emit = silent,
    stop: StopFlag = NEVER,
) -> EvaluateResult:
    """Score a checkpoint on labelled pages.

    Args:
        checkpoint_path: Checkpoint file or run folder.
        split: `val` and `train` of the run's own split, or `test`.
        data: Another data root; None is the one the checkpoint was trained on.
        runtime_config: Device and numerics.
        emit: Consumer of progress events.
        stop: Polled between batches.

    Raises:
        InputError: The split does not exist, or its pages have no labels.
        CheckpointError: There is no such checkpoint, or it is damaged.
    """
    member = member_at(checkpoint_path)
    trained_on = member.facts.data
    config = trained_on if data is None else data_of(trained_on, data)
    wanted = wanted_of(member, split, Indices(config))
    if wanted[0].index.targets is None:
        raise InputError(f"{config.root}: the test pages have no labels", "unlabelled pages cannot be scored")
    found = collect(wanted, runtime_config=runtime_config, emit=emit, stop=stop)
    return _result(member, split, as_one(member, split, found))


def _result(member: Member, split: str, predictions: Predictions) -> EvaluateResult:
    temperature = member.temperature
    scores = score(predictions, temperature=temperature)
    folder = member.folder / "evaluate" / split
    files = [write_predictions(folder / "predictions.csv", predictions, temperature)]
    files += write_class_report(folder, split, predictions, scores)
    return EvaluateResult(member.path, split, scores, temperature, tuple(files))
