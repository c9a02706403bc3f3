"""`train`: trains the model (or the folds) of a profile, and writes the files of the run."""

from __future__ import annotations

import contextlib
import functools
import logging
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from docclf_cli.data.images.augmentation import Policy
from docclf_cli.data.images.contact_sheet import contact_sheet
from docclf_cli.data.images.decode import UnreadablePage
from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.data.index.documents import DocumentIndex
from docclf_cli.data.index.index import load_training_index
from docclf_cli.data.index.splits import Split, folds, hold_out, limit, stratified_sample
from docclf_cli.data.loading.prepared_pages import PreparedPages, prepare
from docclf_cli.engine.checkpoints.info import info_of
from docclf_cli.engine.checkpoints.provenance import (
    code_differences,
    data_differences,
    inherit_numerics,
    profile_differences,
    write_provenance,
)
from docclf_cli.engine.checkpoints.run_folder import (
    FAILED,
    FINISHED,
    RUNNING,
    STOPPED,
    RunFolder,
    new_run_folder,
    write_csv,
)
from docclf_cli.engine.inference.leaks import say_copies_in_validation
from docclf_cli.engine.inference.members import fold_checkpoints, pooled, store_temperatures
from docclf_cli.engine.runtime.device import Runtime, resolve_runtime
from docclf_cli.engine.runtime.numerics import resolve_numerics, scoring_runtime
from docclf_cli.engine.training.best_epoch import FitResult
from docclf_cli.engine.training.fit import fit, refit
from docclf_cli.engine.training.job import TrainingJob
from docclf_cli.engine.training.preflight import (
    PlannedFit,
    check_batches,
    check_classes,
    check_fits,
    check_settings,
    check_weights,
)
from docclf_cli.errors import ChangedRunError, Interrupted, ResourceError, UnreadableImagesError, as_resource_error
from docclf_cli.events import Emit, silent
from docclf_cli.files import write_text
from docclf_cli.metrics.calibration import fit_temperature, temperature_of_mean
from docclf_cli.metrics.class_metrics import score
from docclf_cli.models.factory import pretrained_stats
from docclf_cli.profile.load import dump_profile
from docclf_cli.profile.paths import absolute_paths, typed_paths
from docclf_cli.profile.schema import Profile
from docclf_cli.results.training import FoldRow, TrainResult
from docclf_cli.stop import NEVER, StopFlag
from docclf_cli.tasks.caveats import calibrated_for_scoring, caveats
from docclf_cli.tasks.result_files import write_class_report, write_comparison, write_curves

logger = logging.getLogger("docclf")
PREVIEW, PREVIEW_PAGES, PREVIEW_VARIANTS = "augmentation_preview.png", 6, 5
OUT_OF_FOLD = "out_of_fold.npz"
MOST_SHOWN = 20
WHILE_DRAWING = "stopped while tables and plots were written"


@dataclass(frozen=True)
class _Run:
    """A run whose pages are prepared, and how its fits are trained."""

    profile: Profile
    folder: RunFolder
    runtime: Runtime
    scoring: Runtime
    prepared: PreparedPages
    fits: tuple[PlannedFit, ...]
    resume: bool
    emit: Emit
    stop: StopFlag

    def job(self, planned: PlannedFit) -> TrainingJob:
        is_fold = planned.fold is not None
        return TrainingJob(
            profile=self.profile,
            prepared=self.prepared,
            train_rows=planned.train_rows,
            val_rows=planned.val_rows,
            run=self.folder.fold(planned.fold) if planned.fold is not None else self.folder,
            runtime=self.runtime,
            scoring=self.scoring,
            label=f"fold {planned.fold} of {self.profile.train.folds}" if is_fold else self.profile.model.name,
        )

    def fit(self, job: TrainingJob) -> FitResult:
        return fit(job, resume=self.resume, emit=self.emit, stop=self.stop)


def train(
    profile: Profile,
    *,
    resume: Path | None = None,
    allow_changes: bool = False,
    overwrite: bool = False,
    emit: Emit = silent,
    stop: StopFlag = NEVER,
) -> TrainResult:
    """Train the model of a profile, in a new run folder or by resuming a run.

    Args:
        profile: The resolved profile.
        resume: Run folder to resume.
        allow_changes: Resume although profile, code or pages have changed.
        overwrite: Replace an existing run of that name.
        emit: Consumer of events.
        stop: Polled after every step.

    Raises:
        Interrupted: `stop` was set; the run can be resumed.
        DocclfError: Pages, weights or the folder cannot be used; each kind has its own exit code.
    """
    typed, profile = typed_paths(profile), absolute_paths(profile)
    if resume is None:
        run = new_run_folder(Path(profile.output), profile.name, profile.model.name)
        run.require_free(overwrite)
    else:
        run = RunFolder(resume)
        profile = inherit_numerics(profile, run)
    index, own_val = load_training_index(profile.data)
    say_copies_in_validation(index, own_val)
    index.left_out.say(profile.data.root)
    check_settings(profile, len(index.class_names), own_val)
    check_classes(index)
    fits, split = _plan_fits(profile, index, own_val)
    check_fits(profile, index, fits, resolve_runtime(profile.runtime))
    if resume is None:
        check_weights(profile, len(index.class_names))
    profile = _with_numerics(profile, index, own_val, fits)
    runtime, scoring = resolve_runtime(profile.runtime), scoring_runtime(profile.runtime)
    read = functools.partial(
        prepare, index, preprocess_of(profile), profile.data, runtime.workers, emit=emit, stop=stop
    )
    with run.writing():
        if resume is None:  # again, now that nobody else can write
            run.require_free(overwrite)
        with _recording_state(run):
            if resume is None:
                run.clear()
                _begin(run, profile)
                prepared = read()
            else:
                prepared = _resume(profile, run, read, allow_changes)
            _quarantine_unreadable(run, profile, prepared)
            split.save(run.split)
            fits = _without_unreadable(profile, prepared, fits, runtime)
            started = _Run(profile, run, runtime, scoring, prepared, fits, resume is not None, emit, stop)
            write_provenance(run, prepared, typed)
            _write_preview(started)
            result = _train_folds(started) if profile.train.folds else _train_once(started)
            result = replace(result, precision=_write_precision(started))
            run.write_state(FINISHED, best_epoch=result.best_epoch, f1_macro=result.val.figures["f1_macro"].value)
            return replace(result, left_out=index.left_out.counts)


def _write_precision(run: _Run) -> str:
    """Write the number format of prediction into the run's profile (fp32 if folds differ), and return it."""
    runtime = run.profile.runtime
    precisions = sorted({info_of(path).precision for path in fold_checkpoints(run.folder.path) or [run.folder.best]})
    changes = {"precision": precisions[0] if len(precisions) == 1 else "fp32", "check": "off"}
    runtime = runtime.model_copy(update={"inference": runtime.inference.model_copy(update=changes)})
    write_text(run.folder.profile, dump_profile(run.profile.model_copy(update={"runtime": runtime})))
    return ", ".join(precisions)


def _resume(profile: Profile, run: RunFolder, read: Callable[[], PreparedPages], allow_changes: bool) -> PreparedPages:
    """Read the pages of a run, and mark it as running if its profile, code and pages are unchanged."""
    if run.read_state().get("status") == RUNNING:
        logger.warning(
            "%s ended without a word: it was killed (exit 137), or the machine stopped. If nobody killed it, memory is "
            "the likely cause: fewer loader processes (--set runtime.workers=0) need less and change nothing else",
            run.path,
        )
    _refuse([*profile_differences(profile, run), *code_differences(run)], run, allow_changes)
    prepared = read()
    _refuse(data_differences(prepared, run), run, allow_changes)
    _begin(run, profile)
    return prepared


def _begin(run: RunFolder, profile: Profile) -> None:
    write_text(run.profile, dump_profile(profile))
    run.write_state(RUNNING)


@contextlib.contextmanager
def _recording_state(run: RunFolder) -> Iterator[None]:
    """Write how the block ended into `run.json`, and add the command that resumes a stopped run to the error."""
    try:
        yield
    except Interrupted as stopped:
        run.write_state(STOPPED)
        raise Interrupted(
            f"{stopped.message}; everything is saved in {run.path}",
            f"go on with it: {shlex.join(['docclf', 'train', '--resume', str(run.path)])}",
            signal_number=stopped.signal_number,
        ) from stopped
    except ChangedRunError:  # nothing was changed
        raise
    except Exception as error:
        with contextlib.suppress(ResourceError):  # a full disk is reported already
            run.write_state(FAILED)
        if (known := as_resource_error(error)) is not None:
            raise known from error
        raise


def _refuse(differences: Sequence[str], run: RunFolder, allow_changes: bool) -> None:
    if not differences:
        return
    listed = "\n  ".join((*differences[:MOST_SHOWN], *(["…"] if len(differences) > MOST_SHOWN else ())))
    if not allow_changes:
        raise ChangedRunError(
            f"{run.path} was started with something else, and would not end as it should:\n  {listed}",
            "put it back as it was, or go on all the same with --allow-changes",
        )
    logger.warning("%s goes on with changes:\n  %s", run.path, listed)


def preprocess_of(profile: Profile) -> Preprocess:
    """Return the preprocessing of a profile, with the mean, deviation and interpolation of its pretrained model."""
    mean, std, interpolation = pretrained_stats(profile.model)
    return Preprocess(profile.data.image_size, profile.data.resize_mode, mean, std, interpolation)


def _quarantine_unreadable(run: RunFolder, profile: Profile, prepared: PreparedPages) -> None:
    """Write `quarantine.csv` with the pages that cannot be read.

    Raises:
        UnreadableImagesError: They are more than `data.max_unreadable` allows.
    """
    index, reasons = prepared.index, prepared.unreadable
    if not reasons:
        return
    rows = [{"ID": index.ids[row], "reason": reason} for row, reason in reasons.items()]
    write_csv(run.quarantine, rows)
    shown = "; ".join(f"{row['ID']}: {row['reason']}" for row in rows[:5])
    text = f"{len(rows)} of {len(index)} pages cannot be read ({shown}); all are listed in {run.quarantine}"
    if len(rows) > profile.data.max_unreadable * len(index):
        raise UnreadableImagesError(text, "mend or remove them, or raise data.max_unreadable")
    logger.warning("%s", text)


def _without_unreadable(
    profile: Profile, prepared: PreparedPages, fits: tuple[PlannedFit, ...], runtime: Runtime
) -> tuple[PlannedFit, ...]:
    """Remove unreadable training pages from the fits; unreadable held-out pages stay, and are not scored.

    Raises:
        InputError: Too few pages are left.
    """
    if not prepared.unreadable:
        return fits
    unreadable = np.array(list(prepared.unreadable))
    fits = tuple(replace(fit, train_rows=np.setdiff1d(fit.train_rows, unreadable)) for fit in fits)
    readable = [replace(fit, val_rows=np.setdiff1d(fit.val_rows, unreadable)) for fit in fits]
    check_batches(profile, len(prepared.index.class_names), readable, runtime)
    return fits


def _plan_fits(profile: Profile, index: DocumentIndex, own_val: int) -> tuple[tuple[PlannedFit, ...], Split]:
    """Choose the pages of each fit, and the split to store."""
    data = profile.data
    train = profile.train
    all_rows = np.arange(len(index))

    def plan(rows: np.ndarray, val_rows: np.ndarray, fold: int | None = None) -> PlannedFit:
        return PlannedFit(limit(rows, index.labels, data.limit, data.split_seed), val_rows, fold)

    if train.folds is not None:
        held_out = folds(index, train.folds, data.fold_seed)
        chosen = range(train.folds) if train.fold is None else [train.fold]
        fits = [plan(np.setdiff1d(all_rows, held_out[fold]), held_out[fold], fold) for fold in chosen]
        return tuple(fits), Split.of_folds(index, held_out)
    if own_val:
        one = plan(all_rows[:-own_val], all_rows[-own_val:])
    else:
        one = plan(*hold_out(index, data.val_fraction, data.split_seed))
    return (one,), Split.of_rows(index, {"train": one.train_rows, "val": one.val_rows})


def _with_numerics(profile: Profile, index: DocumentIndex, own_val: int, fits: Sequence[PlannedFit]) -> Profile:
    """Resolve each `auto` of the runtime section, for steps no larger than the number of pages."""
    train = profile.train
    most = max(len(fit.train_rows) for fit in fits)
    batch_size = min(train.batch_size, -(-most // train.accumulate) * train.accumulate)
    measured = profile.model_copy(update={"train": train.model_copy(update={"batch_size": batch_size})})
    runtime = resolve_numerics(measured, len(index.class_names), len(index), own_val).runtime
    return profile.model_copy(update={"runtime": runtime})


def _train_once(run: _Run) -> TrainResult:
    """Train one model (and its refit), and write its tables and plots."""
    (planned,) = run.fits
    job = run.job(planned)
    fitted = run.fit(job)
    if run.profile.train.refit:
        refit(job, fitted, resume=run.resume, emit=run.emit, stop=run.stop)
    val = score(calibrated_for_scoring(fitted.val, "val", fitted.temperature))
    train = score(fitted.train, temperature=fitted.temperature)
    path = run.folder.path
    files = [run.folder.best]
    for write in (
        lambda: write_class_report(path, "val", fitted.val, val),
        lambda: [write_comparison(path, train, val)],
        lambda: [write_curves(path, fitted.history)],
    ):
        run.stop.raise_if_set(WHILE_DRAWING)
        files += write()
    files += [path / PREVIEW, run.folder.metrics]
    return TrainResult(
        run=path,
        model=run.profile.model.model_name,
        best_epoch=fitted.best_epoch,
        epochs=fitted.epochs,
        monitor=run.profile.train.monitor,
        val=val,
        train=train,
        degraded=fitted.history[fitted.best_epoch - 1].get("f1_macro_degraded"),
        temperature=fitted.temperature,
        files=tuple(files),
        notes=_notes(run, fitted.temperature),
    )


def _train_folds(run: _Run) -> TrainResult:
    """Train the folds, and pool their out-of-fold predictions: each row is from the model that did not train on it."""
    fitted = [run.fit(run.job(planned)) for planned in run.fits]
    path = run.folder.path
    out_of_fold = pooled([one.val for one in fitted], run.prepared.index.ids)
    temperature = fitted[0].temperature
    if len(fitted) > 1:
        temperature = temperature_of_mean(out_of_fold, [one.train for one in fitted])
        alone = fit_temperature(out_of_fold.log_probs, out_of_fold.labels)
        store_temperatures(run.folder, [one.run for one in fitted], mean_of_folds=temperature, out_of_fold=alone)
    out_of_fold.save(path / OUT_OF_FOLD)
    val = score(calibrated_for_scoring(out_of_fold, "val", temperature))
    rows = tuple(
        FoldRow(int(planned.fold or 0), one.best_epoch, one.history[one.best_epoch - 1])
        for planned, one in zip(run.fits, fitted, strict=True)
    )
    run.stop.raise_if_set(WHILE_DRAWING)
    files = [*write_class_report(path, "val", out_of_fold, val), path / OUT_OF_FOLD]
    return TrainResult(
        run=path,
        model=run.profile.model.model_name,
        best_epoch=0,
        epochs=max(one.epochs for one in fitted),
        monitor=run.profile.train.monitor,
        val=val,
        temperature=temperature,
        folds=rows,
        files=tuple(files),
        notes=_notes(run, temperature),
    )


def _notes(run: _Run, temperature: float) -> tuple[str, ...]:
    train = run.profile.train
    return caveats("val", monitor=train.monitor, folds=bool(train.folds), temperature=temperature)


def _write_preview(run: _Run) -> None:
    """Draw a contact sheet of a few training pages, each followed by its augmented variants."""
    policy = Policy.from_config(run.profile.augmentation)
    index = run.prepared.index
    rows = run.fits[0].train_rows
    drawn = stratified_sample(index.labels[rows], PREVIEW_PAGES, run.profile.seed)[:PREVIEW_PAGES]
    pages, captions = [], []
    for row in rows[drawn].tolist():
        try:
            page = run.prepared.pages[row]
        except UnreadablePage:
            continue
        variants = [policy(page, np.random.default_rng((run.profile.seed, row, n))) for n in range(PREVIEW_VARIANTS)]
        pages += [page, *variants]
        captions += [
            index.class_names[index.labels[row]],
            *[f"{run.profile.augmentation.name} {n + 1}" for n in range(PREVIEW_VARIANTS)],
        ]
    contact_sheet(pages, captions, run.folder.path / PREVIEW, columns=PREVIEW_VARIANTS + 1)
