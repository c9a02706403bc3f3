"""The best epoch of a fit: scored, calibrated, its predictions stored."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from docclf_cli.data.index.splits import stratified_sample
from docclf_cli.engine.checkpoints.checkpoint import Checkpoint
from docclf_cli.engine.checkpoints.info import info_of, store_info
from docclf_cli.engine.checkpoints.run_folder import RunFolder
from docclf_cli.engine.inference.predictor import Predictor
from docclf_cli.engine.inference.run_inference import predict
from docclf_cli.engine.inference.store import PLAIN, fingerprint, load_stored, pages_fingerprint, store
from docclf_cli.engine.runtime import distributed
from docclf_cli.engine.runtime.folded_norms import inference_model
from docclf_cli.engine.runtime.numerics import PAGES_TO_COMPARE, Agreement, pages_to_compare, with_precision
from docclf_cli.engine.training.job import TrainingJob
from docclf_cli.engine.training.novelty import MOST_HELD_OUT, learn_novelty
from docclf_cli.engine.training.orientation import COPY_SECONDS, copies_of, forward_passes, learn_orientation
from docclf_cli.engine.training.packets import learn_packets
from docclf_cli.engine.training.text import reads_only
from docclf_cli.engine.training.trainer import Trainer
from docclf_cli.engine.training.validator import CLEAN, DEGRADED, Validator
from docclf_cli.errors import DivergedError
from docclf_cli.metrics.calibration import fit_temperature
from docclf_cli.metrics.novelty import GALLERY
from docclf_cli.profile.schema import Profile
from docclf_cli.results.predictions import Predictions

TRAIN = "train"
logger = logging.getLogger("docclf")


def passes_after_epochs(profile: Profile, train: int, val: int) -> int:
    """Forward passes after the last epoch: scores once more, what is unknown, how pages lie.

    Args:
        profile: Of the run.
        train: Training pages of a fit.
        val: Its held-out pages.
    """
    views = profile.data.scored_views
    compared = val if profile.train.only_probes else min(pages_to_compare(val), train)
    unknown = 2 * min(train, GALLERY) + views * min(val, MOST_HELD_OUT)
    return compared + views * val + unknown + forward_passes(copies_of(profile.train), train, val)


def seconds_beside_passes(profile: Profile, train: int, val: int) -> float:
    """Seconds that all this after the last epoch takes beside its forward passes.

    Args:
        profile: Of the run.
        train: Training pages of a fit.
        val: Its held-out pages.
    """
    return COPY_SECONDS * forward_passes(copies_of(profile.train), train, val)


@dataclass(frozen=True)
class FitResult:
    """One trained model.

    Attributes:
        run: Its folder.
        best_epoch: Number of the best epoch, counted from 1.
        epochs: Number of trained epochs.
        val: Predictions of the best epoch for the held-out pages.
        train: Predictions for a sample of the training pages (`pages_to_compare`), without augmentation.
        temperature: Fitted on `val`.
        history: One row of metrics per epoch.
    """

    run: RunFolder
    best_epoch: int
    epochs: int
    val: Predictions
    train: Predictions
    temperature: float
    history: tuple[Mapping[str, float], ...]


def score_best_epoch(task: TrainingJob, trainer: Trainer, validator: Validator) -> FitResult:
    """Score the best epoch, fit its temperature, and store its predictions.

    Args:
        task: What was trained on.
        trainer: At the end of its training.
        validator: What scored its epochs; its `emit` and `stop` serve here as well.

    Raises:
        DivergedError: No epoch had a metric to be kept for.
        Interrupted: `stop` was set.
    """
    state = trainer.state
    if not state.best_epoch:
        raise DivergedError(f"{task.label}: {task.profile.train.monitor} was NaN in every epoch", "lower --lr")
    rows = rows_to_score(task)
    best, found = distributed.on_main(lambda: (Checkpoint.load(task.run.best), _stored(task, rows)))
    if found is None:
        found, precision = look_at(task, best, rows, trainer, validator)
        degraded = found.pop(DEGRADED, None)
        image_temperature = fit_temperature(found[CLEAN].log_probs, found[CLEAN].labels)
        best = replace(best, temperature=image_temperature, profile=with_precision(best.profile, precision))
        novelty = distributed.on_main(lambda: learn_novelty(task, best, validator))
        reader, held_out = task.reader, found[CLEAN]
        branch = None if reader is None else distributed.on_main(lambda: reader.learn(held_out))
        if reader is not None and branch is not None:
            found = {split: reader.joined(one, branch) for split, one in found.items()}
            degraded = None if degraded is None else reader.joined(degraded, branch)
            temperature = fit_temperature(found[CLEAN].log_probs, found[CLEAN].labels)
            best = replace(best, text=branch.to_arrays(), temperature=temperature)
        orientation: Mapping[str, np.ndarray] = {}
        if not reads_only(task.profile):  # its network looks at nothing
            orientation = distributed.on_main(lambda: learn_orientation(task, best, validator))
        best = replace(best, novelty=novelty, orientation=orientation)
        if task.profile.train.packets:
            best = replace(best, boundaries=distributed.on_main(lambda: learn_packets(task, best, validator)))
        found = _save(task, best, rows, found, degraded)
    return FitResult(
        task.run, state.best_epoch, state.epoch, found[CLEAN], found[TRAIN], best.temperature, tuple(state.history)
    )


def _save(
    task: TrainingJob,
    best: Checkpoint,
    rows: Mapping[str, np.ndarray],
    found: Mapping[str, Predictions],
    degraded: Predictions | None,
) -> dict[str, Predictions]:
    """Write the best epoch and its predictions on rank 0, and return the latter with their fingerprints."""

    def write() -> dict[str, Predictions]:
        best.save(task.run.best)
        store_info(task.run.best, best)
        if degraded is not None:
            made_by = _made_by(task, task.val_rows, task.degraded_view.name)
            store(task.run.best, CLEAN, replace(degraded, fingerprint=made_by))
        made = {split: replace(one, fingerprint=_made_by(task, rows[split])) for split, one in found.items()}
        for split, predictions in made.items():  # last: a resumed run takes them as the sign that all is stored
            store(task.run.best, split, predictions)
        return made

    return distributed.on_main(write)


def rows_to_score(task: TrainingJob) -> dict[str, np.ndarray]:
    """The held-out pages, and a sample of those trained on: of folds the same pages as far as each trained on them."""
    labels, trained = task.prepared.index.labels, task.train_rows
    count = len(task.val_rows) if task.profile.train.only_probes else pages_to_compare(len(task.val_rows))
    of_all = stratified_sample(labels, round(count * len(labels) / len(trained)), task.profile.data.split_seed)
    return {CLEAN: task.val_rows, TRAIN: np.intersect1d(trained, of_all)}


def look_at(
    task: TrainingJob, best: Checkpoint, rows: Mapping[str, np.ndarray], trainer: Trainer, validator: Validator
) -> tuple[dict[str, Predictions], str]:
    """What the best epoch says about each split, and about the degraded validation pages where these are wanted.

    If the best epoch is the last one, most predictions are those of its validation.

    Returns:
        Predictions by split, and the number format of all of them: that of validation, or fp32 where the trained
        weights turn out to need it.
    """
    predictor = validator.predictor(task.scoring.place(best.build(task.run.best)))
    last_predictions = dict(validator.last_predictions) if trainer.state.best_epoch == trainer.state.epoch else {}
    if task.profile.runtime.inference.check == "on" and predictor.runtime.precision != "fp32":
        agreement, plain = _compare_with_fp32(task, predictor, last_predictions.get(CLEAN), validator)
        used = predictor.runtime.precision if agreement.close else "fp32"
        logger.info("scoring in %s: %s; this model predicts in %s", predictor.runtime.precision, agreement, used)
        if not agreement.close:
            predictor, last_predictions = plain, {}
    look = functools.partial(
        predict,
        predictor,
        index=task.prepared.index,
        batch_size=validator.batch_size,
        emit=validator.emit,
        stop=validator.stop,
    )
    found = {TRAIN: look(validator.clean, rows=rows[TRAIN], task="training pages")}
    if last_predictions:
        return found | last_predictions, predictor.runtime.precision
    found[CLEAN] = look(validator.clean, rows=rows[CLEAN], task="validation pages")
    if validator.degraded is not None:
        found[DEGRADED] = look(validator.degraded, rows=rows[CLEAN], task="degraded validation pages")
    return found, predictor.runtime.precision


def _compare_with_fp32(
    task: TrainingJob, predictor: Predictor, last_predictions: Predictions | None, validator: Validator
) -> tuple[Agreement, Predictor]:
    """How far a predictor is from fp32 on some held-out pages, and the same one in fp32.

    Args:
        task: Says which pages are held out.
        predictor: The trained weights, as they scored the epochs.
        last_predictions: Its predictions for all held-out pages, where they are known.
        validator: Its `emit` and `stop` serve here as well.
    """
    labels, seed = task.prepared.index.labels[task.val_rows], task.profile.data.split_seed
    drawn = stratified_sample(labels, PAGES_TO_COMPARE, seed)
    (network,) = predictor.networks
    runtime = replace(network.runtime, precision="fp32")
    model = inference_model(network.model, network.preprocess.size, runtime)
    in_fp32 = replace(network, model=model, runtime=runtime)
    plain = replace(predictor, networks=(in_fp32,))
    look = functools.partial(
        predict,
        dataset=validator.clean,
        index=task.prepared.index,
        rows=task.val_rows[drawn],
        batch_size=validator.batch_size,
        task="comparing with fp32",
        emit=validator.emit,
        stop=validator.stop,
    )
    return Agreement.of(
        look(predictor) if last_predictions is None else last_predictions.take(drawn), look(plain)
    ), plain


def _stored(task: TrainingJob, rows: Mapping[str, np.ndarray]) -> dict[str, Predictions] | None:
    """The final predictions of a fit that had ended before the run was stopped; None unless all are there."""
    index = task.prepared.index
    found = {
        split: load_stored(task.run.best, split, _made_by(task, rows[split]), index.take(rows[split])) for split in rows
    }
    complete = {split: predictions for split, predictions in found.items() if predictions is not None}
    return complete if len(complete) == len(rows) else None


def _made_by(task: TrainingJob, rows: np.ndarray, view: str = PLAIN) -> dict[str, str]:
    pages = pages_fingerprint(task.prepared.index.take(rows), task.profile.data)
    facts = info_of(task.run.best)
    return fingerprint(facts.sha256, pages, view, facts.precision)
