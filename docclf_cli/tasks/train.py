"""`train`: trains the model (or the folds) of a profile, and writes the files of the run."""

from __future__ import annotations

import contextlib
import functools
import logging
import shlex
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from docclf_cli.data.images.augmentation import Policy
from docclf_cli.data.images.contact_sheet import contact_sheet
from docclf_cli.data.images.decode import UnreadablePage
from docclf_cli.data.index.documents import DocumentIndex
from docclf_cli.data.index.index import resolve_root
from docclf_cli.data.index.splits import stratified_sample
from docclf_cli.data.loading.cache import open_or_build
from docclf_cli.data.loading.pages import Pages
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
from docclf_cli.engine.inference.members import pooled
from docclf_cli.engine.inference.trained_model import fold_checkpoints, store_temperatures
from docclf_cli.engine.runtime import distributed
from docclf_cli.engine.runtime.device import Runtime, resolve_runtime
from docclf_cli.engine.runtime.numerics import resolve_numerics, scoring_runtime
from docclf_cli.engine.training.best_epoch import FitResult, passes_after_epochs, seconds_beside_passes
from docclf_cli.engine.training.fit import fit, refit
from docclf_cli.engine.training.job import TrainingJob, preprocess_of
from docclf_cli.engine.training.pace import Allowance
from docclf_cli.engine.training.preflight import PlannedFit, check_batches, check_weights
from docclf_cli.engine.training.text import RunTexts, run_texts
from docclf_cli.errors import ChangedRunError, Interrupted, ResourceError, UnreadableImagesError, as_resource_error
from docclf_cli.events import Emit, silent
from docclf_cli.files import write_text
from docclf_cli.metrics.calibration import fit_temperature, temperature_of_mean
from docclf_cli.metrics.class_metrics import score
from docclf_cli.profile.load import dump_profile
from docclf_cli.profile.paths import absolute_paths, typed_paths
from docclf_cli.profile.schema import Profile
from docclf_cli.results.training import FoldRow, TrainingPlan, TrainResult
from docclf_cli.stop import NEVER, StopFlag
from docclf_cli.tasks.caveats import as_judged, caveats
from docclf_cli.tasks.checked_run import CheckedRun, check_run, models_of
from docclf_cli.tasks.document_scores import score_documents
from docclf_cli.tasks.learning import what_was_learned
from docclf_cli.tasks.plan import END_SECONDS, START_SECONDS
from docclf_cli.tasks.recipe import Recipe
from docclf_cli.tasks.result_files import write_class_report, write_comparison, write_curves, write_prediction_sheet
from docclf_cli.tasks.text_sides import score_sides
from docclf_cli.tasks.verdict import CHANCE, next_commands, verdict
from docclf_cli.text import Message

logger = logging.getLogger("docclf")
PREVIEW, PREVIEW_PAGES, PREVIEW_VARIANTS = "augmentation_preview.png", 6, 5
OUT_OF_FOLD = "out_of_fold.npz"
MOST_SHOWN = 20
WHILE_DRAWING = "stopped while tables and plots were written"


@dataclass(frozen=True)
class _Work:
    """What all fits of one run share."""

    profile: Profile
    run: RunFolder
    runtime: Runtime
    scoring: Runtime
    prepared: PreparedPages
    fits: tuple[PlannedFit, ...]
    resume: bool
    emit: Emit
    stop: StopFlag
    began: float
    texts: RunTexts | None = None

    def task(self, planned: PlannedFit) -> TrainingJob:
        run, label = self.run, self.profile.model.name
        if planned.fold is not None:
            run, label = run.fold(planned.fold), f"fold {planned.fold} of {self.profile.train.folds}"
        allowance = self._allowance(planned, run)
        return TrainingJob(
            self.profile, self.prepared, planned.train_rows, planned.val_rows, run, self.runtime, self.scoring, label,
            allowance, self.texts,
        )  # fmt: skip

    def _allowance(self, planned: PlannedFit, run: RunFolder) -> Allowance | None:
        """The time for a fit: its share of what is left of `train.minutes`; None where its epochs are fixed."""
        train = self.profile.train
        if train.minutes is None:
            return None
        left = 60 * train.minutes - START_SECONDS - END_SECONDS - (time.monotonic() - self.began)
        done = next(number for number, one in enumerate(self.fits) if one is planned)
        fits_left = models_of(self.profile, self.fits, len(self.prepared.index)) - done
        pages = len(planned.train_rows), len(planned.val_rows)
        left_for_passes = left / fits_left - seconds_beside_passes(self.profile, *pages)
        return Allowance(left_for_passes, run.pace, passes_after_epochs(self.profile, *pages))

    def fit(self, task: TrainingJob) -> FitResult:
        return fit(task, resume=self.resume, emit=self.emit, stop=self.stop)


def train(
    profile: Profile,
    *,
    resume: Path | None = None,
    allow_changes: bool = False,
    overwrite: bool = False,
    recipe: Recipe | None = None,
    announce: Callable[[TrainingPlan], None] | None = None,
    emit: Emit = silent,
    stop: StopFlag = NEVER,
) -> TrainResult:
    """Train what a profile describes, in a new run folder or on from an interrupted one.

    All ranks run this function, and return the same result; rank 0 writes the files.

    Args:
        profile: The resolved profile.
        resume: Run folder to resume.
        allow_changes: Go on although profile, code or pages are not those the run was started with.
        overwrite: Replace an existing run of that name.
        recipe: What the profile started from, for the plan.
        announce: Is told the plan, before any long work.
        emit: Consumer of events.
        stop: Polled after every step.

    Raises:
        Interrupted: `stop` was set; the run can go on.
        DocclfError: Pages, weights or the folder cannot be worked with; each with its own exit code.
    """
    began = time.monotonic()
    typed, profile = typed_paths(profile), absolute_paths(profile)
    is_main = distributed.is_main_process()

    def check() -> tuple[RunFolder, Profile, CheckedRun]:
        resolve_root(profile.data, emit, stop)  # draws the samples, if they are wanted and not there yet
        return _opened(profile, resume, recipe, typed, announce, overwrite, began)

    run, profile, checked = distributed.on_main(check)
    runtime, scoring = resolve_runtime(profile.runtime), scoring_runtime(profile.runtime)
    read = functools.partial(
        prepare, checked.index, preprocess_of(profile), profile.data, runtime.workers, emit=emit, stop=stop
    )
    with contextlib.ExitStack() as stack:
        prepared = None
        if is_main:
            stack.enter_context(run.writing())
            if resume is None:  # again, now that nobody else can write
                run.require_free(overwrite)
            stack.enter_context(_state_kept(run))
            prepared = _started(profile, run, read) if resume is None else _gone_on(profile, run, read, allow_changes)
            _set_unreadable_aside(run, profile, prepared)
            checked.split.save(run.split)
        prepared = _on_all_ranks(prepared, profile, checked.index, runtime, stop)
        fits = _readable(profile, prepared, checked.fits, runtime)
        texts = distributed.on_main(lambda: run_texts(profile, prepared, runtime.workers, emit, stop))
        work = _Work(profile, run, runtime, scoring, prepared, fits, resume is not None, emit, stop, began, texts)
        if is_main:
            write_provenance(run, prepared, typed)
            _write_preview(work)
        fitted = [work.fit(work.task(planned)) for planned in fits]  # each gets its share of the time that is left
        if profile.train.refit:
            _refit(work, fitted)
        learned = what_was_learned(profile, run.path, checked.pages, checked.split, emit, stop)
        return distributed.on_main(lambda: replace(_finished(work, fitted), learned=learned))


def _refit(work: _Work, fitted: Sequence[FitResult]) -> None:
    """Train once more on all pages: as long as the best epoch of the run, of folds as long as half of theirs were at most."""
    profile = work.profile
    if profile.train.minutes is not None:  # the schedule that the run came to
        trained = round(statistics.median(one.epochs for one in fitted))
        profile = profile.model_copy(update={"train": profile.train.model_copy(update={"epochs": trained})})
    task = replace(work.task(work.fits[0]), run=work.run, profile=profile)
    temperature = fitted[0].temperature
    if len(fitted) > 1:  # of single folds: each page by the one that did not train on it, as the refit sees a new page
        out_of_fold = pooled([one.val for one in fitted])
        temperature = fit_temperature(out_of_fold.log_probs, out_of_fold.labels)
    epochs = round(statistics.median(one.best_epoch for one in fitted))
    precision = distributed.on_main(lambda: _precision_of([one.run.best for one in fitted]))
    refit(task, epochs, temperature, precision, resume=work.resume, emit=work.emit, stop=work.stop)


def _precision_of(checkpoints: Sequence[Path]) -> str:
    """The number format that checkpoints predict in; fp32 where they differ."""
    found = {info_of(path).precision for path in checkpoints}
    return found.pop() if len(found) == 1 else "fp32"


def _opened(
    profile: Profile,
    resume: Path | None,
    recipe: Recipe | None,
    typed: Mapping[str, str],
    announce: Callable[[TrainingPlan], None] | None,
    overwrite: bool,
    began: float,
) -> tuple[RunFolder, Profile, CheckedRun]:
    """The folder of a run, its profile without `auto`, and what it trains on."""
    if resume is None:
        run = new_run_folder(Path(profile.output), profile.name, profile.model.name)
        run.require_free(overwrite)
    else:
        run = RunFolder(resume)
        profile = inherit_numerics(profile, run)
    checked = check_run(profile, run, recipe or Recipe("", ""), typed, began, new=resume is None)
    profile = checked.profile
    if announce is not None:
        announce(checked.plan)
    if resume is None:
        check_weights(profile, len(checked.index.class_names))
    return run, _with_numerics(profile, checked.index, checked.own_val, checked.fits), checked


def _on_all_ranks(
    prepared: PreparedPages | None, profile: Profile, index: DocumentIndex, runtime: Runtime, stop: StopFlag
) -> PreparedPages:
    """The pages that rank 0 has read, on every rank: the others open its page cache, or fill one on their own machine."""
    facts = None if prepared is None else (prepared.preprocess, prepared.unreadable, prepared.content_hash)
    facts = distributed.broadcast(facts)
    assert facts is not None
    preprocess, unreadable, content_hash = facts
    if prepared is None:
        cache = open_or_build(index, preprocess, profile.data, workers=runtime.workers, stop=stop)
        pages = Pages(index, preprocess, profile.data, cache)
        prepared = PreparedPages(index, pages, preprocess, unreadable, content_hash)
    return prepared


def _finished(work: _Work, fitted: Sequence[FitResult]) -> TrainResult:
    """Write the tables and plots of a trained run, and mark it as finished."""
    run, profile, index = work.run, work.profile, work.prepared.index
    if profile.train.folds:
        result = _folds_result(work, [int(planned.fold or 0) for planned in work.fits], fitted)
    else:
        result = _single_result(work, fitted[0])
    # Checkpoints alone hold the number format they predict in: the profile says what scored the epochs, to repeat the run.
    precisions = sorted({info_of(path).precision for path in fold_checkpoints(run.path) or [run.best]})
    result = replace(result, precision=", ".join(precisions), left_out=index.left_out.counts)
    f1 = result.val.metrics["f1_macro"]
    degraded = [fold.metrics["f1_macro_degraded"] for fold in result.folds if "f1_macro_degraded" in fold.metrics]
    run.write_state(
        FINISHED,
        best_epoch=result.best_epoch,
        f1_macro=f1.value,
        f1_macro_low=f1.low,
        f1_macro_high=f1.high,
        f1_macro_degraded=float(np.mean(degraded)) if degraded else result.f1_macro_degraded,
        no_better_than_chance=any(one.kind == CHANCE for one in result.verdict),
    )
    usable = all(one.kind != CHANCE for one in result.verdict)
    return replace(result, next_commands=next_commands(run.path, profile, index.class_names, usable))


def _started(profile: Profile, run: RunFolder, read: Callable[[], PreparedPages]) -> PreparedPages:
    """Begin a run in its folder, and read its pages."""
    run.clear()
    _begin(run, profile)
    return read()


def _gone_on(profile: Profile, run: RunFolder, read: Callable[[], PreparedPages], allow_changes: bool) -> PreparedPages:
    """Read the pages of a run, and begin again if it is still made of the same."""
    _say_how_it_ended(run)
    _refuse([*profile_differences(profile, run), *code_differences(run)], run, allow_changes)
    prepared = read()
    _refuse(data_differences(prepared, run), run, allow_changes)
    _begin(run, profile)
    return prepared


def _begin(run: RunFolder, profile: Profile) -> None:
    write_text(run.profile, dump_profile(profile))
    run.write_state(RUNNING)


@contextlib.contextmanager
def _state_kept(run: RunFolder) -> Iterator[None]:
    """Note how a run ended, and say how to resume one that was stopped."""
    try:
        yield
    except Interrupted as stopped:
        run.write_state(STOPPED)
        raise Interrupted(
            f"{stopped.message}; everything is saved in {run.path}",
            f"resume it: {shlex.join(['docclf', 'train', '--resume', str(run.path)])}",
            signal_number=stopped.signal_number,
        ) from stopped
    except ChangedRunError:  # nothing was touched
        raise
    except Exception as error:
        with contextlib.suppress(ResourceError):  # that the disk is full is what is being told already
            run.write_state(FAILED)
        if (known := as_resource_error(error)) is not None:
            raise known from error
        raise


def _say_how_it_ended(run: RunFolder) -> None:
    if run.read_state().get("status") == RUNNING:
        logger.warning(
            "%s stopped without an error message: it was killed (exit 137), or the machine stopped. If nobody killed it, it "
            "probably ran out of memory: fewer loader processes (--set runtime.workers=0) need less memory and change no results",
            run.path,
        )


def _refuse(differences: Sequence[str], run: RunFolder, allow_changes: bool) -> None:
    if not differences:
        return
    shown = "\n  ".join((*differences[:MOST_SHOWN], *(["…"] if len(differences) > MOST_SHOWN else ())))
    if not allow_changes:
        raise ChangedRunError(
            f"{run.path} was started with other settings, code or pages, so resuming it would change its result:\n  {shown}",
            "undo the changes, or resume with --allow-changes",
        )
    logger.warning("%s is resumed with changes:\n  %s", run.path, shown)


def _set_unreadable_aside(run: RunFolder, profile: Profile, prepared: PreparedPages) -> None:
    """List pages that cannot be read, and refuse to go on where they are too many."""
    index, reasons = prepared.index, prepared.unreadable
    if not reasons:
        return
    rows = [{"ID": index.ids[row], "reason": reason} for row, reason in reasons.items()]
    write_csv(run.quarantine, rows)
    shown = "; ".join(f"{row['ID']}: {row['reason']}" for row in rows[:5])
    text = f"{len(rows)} of {len(index)} pages cannot be read ({shown}); all are listed in {run.quarantine}"
    if len(rows) > profile.data.max_unreadable * len(index):
        raise UnreadableImagesError(text, "fix or remove them, or raise data.max_unreadable")
    logger.warning("%s", text)


def _readable(
    profile: Profile, prepared: PreparedPages, fits: tuple[PlannedFit, ...], runtime: Runtime
) -> tuple[PlannedFit, ...]:
    """The same fits without training pages that cannot be read; held-out ones stay, and are not scored.

    Raises:
        InputError: What is left is too little.
    """
    if not prepared.unreadable:
        return fits
    unreadable = np.array(list(prepared.unreadable))
    left = [replace(fit, train_rows=np.setdiff1d(fit.train_rows, unreadable)) for fit in fits]
    scored = [replace(fit, val_rows=np.setdiff1d(fit.val_rows, unreadable)) for fit in left]
    check_batches(profile, len(prepared.index.class_names), scored, runtime)
    return tuple(left)


def _with_numerics(profile: Profile, index: DocumentIndex, own_val: int, fits: Sequence[PlannedFit]) -> Profile:
    """Resolve each `auto` of the runtime section, for steps no larger than the number of pages."""
    train = profile.train
    most = max(len(fit.train_rows) for fit in fits)
    batch_size = min(train.batch_size, -(-most // train.accumulate) * train.accumulate)
    measured = profile.model_copy(update={"train": train.model_copy(update={"batch_size": batch_size})})
    runtime = resolve_numerics(measured, len(index.class_names), len(index), own_val).runtime
    return profile.model_copy(update={"runtime": runtime})


def _single_result(work: _Work, fitted: FitResult) -> TrainResult:
    judged = as_judged(fitted.val, "val", fitted.temperature)
    val, train = score(judged), score(fitted.train, temperature=fitted.temperature)
    run = work.run
    files = [run.best]
    for write in (
        lambda: write_class_report(run.path, "val", fitted.val, val),
        lambda: [write_comparison(run.path, train, val)],
        lambda: [write_prediction_sheet(run.path, "val", fitted.val, fitted.temperature, work.prepared.pages)],
        lambda: [write_curves(run.path, fitted.history, fitted.best_epoch, val.support)],
    ):
        work.stop.raise_if_set(WHILE_DRAWING)
        files += write()
    files += [run.path / PREVIEW, run.metrics]
    kept = fitted.history[fitted.best_epoch - 1]
    result = TrainResult(
        run.path, work.profile.model.model_name, fitted.best_epoch, fitted.epochs, work.profile.train.monitor,
        val, train, kept.get("f1_macro_degraded"), fitted.temperature, (), tuple(files),
        notes=_notes(work, fitted.temperature), documents=score_documents(judged), text=info_of(run.best).text,
        sides=score_sides(fitted.val, judged),
    )  # fmt: skip
    return replace(result, verdict=verdict(result, fitted.val, [fitted.history], work.profile))


def _folds_result(work: _Work, numbers: Sequence[int], fitted: Sequence[FitResult]) -> TrainResult:
    """Pooled out-of-fold predictions, each row from the model that did not train on it."""
    out_of_fold = pooled([one.val for one in fitted], work.prepared.index.ids)
    temperature = fitted[0].temperature
    if len(fitted) > 1:
        temperature = temperature_of_mean(out_of_fold, [one.train for one in fitted])
        alone = fit_temperature(out_of_fold.log_probs, out_of_fold.labels)
        store_temperatures(work.run, [one.run for one in fitted], mean_of_folds=temperature, out_of_fold=alone)
    out_of_fold.save(work.run.path / OUT_OF_FOLD)
    judged = as_judged(out_of_fold, "val", temperature)
    val = score(judged)
    rows = tuple(
        FoldRow(number, one.best_epoch, one.history[one.best_epoch - 1])
        for number, one in zip(numbers, fitted, strict=True)
    )
    work.stop.raise_if_set(WHILE_DRAWING)
    files = [
        *write_class_report(work.run.path, "val", out_of_fold, val),
        write_prediction_sheet(work.run.path, "val", out_of_fold, temperature, work.prepared.pages),
        work.run.path / OUT_OF_FOLD,
    ]
    result = TrainResult(
        work.run.path, work.profile.model.model_name, 0, max(one.epochs for one in fitted), work.profile.train.monitor,
        val, None, None, temperature, rows, tuple(files), notes=_notes(work, temperature),
        documents=score_documents(judged), sides=score_sides(out_of_fold, judged),
        text=next((use for one in fitted if (use := info_of(one.run.best).text) is not None), None),
    )  # fmt: skip
    return replace(result, verdict=verdict(result, out_of_fold, [one.history for one in fitted], work.profile))


def _notes(work: _Work, temperature: float) -> tuple[str, ...]:
    train = work.profile.train
    found = caveats("val", monitor=train.monitor, folds=bool(train.folds), temperature=temperature)
    if not (train.folds and train.refit):
        return found
    return (
        *found,
        Message.of(
            "Instead of that mean, `docclf predict` takes refit.ckpt, which was trained on all pages and measured on none."
        ),
    )


def _write_preview(work: _Work) -> None:
    """What the model really sees: a few training pages, each plain and then as the policy varies it."""
    policy, index = Policy.from_config(work.profile.augmentation), work.prepared.index
    rows = work.fits[0].train_rows
    drawn = stratified_sample(index.labels[rows], PREVIEW_PAGES, work.profile.seed)[:PREVIEW_PAGES]
    pages, captions = [], []
    for row in rows[drawn].tolist():
        try:
            page = work.prepared.pages[row]
        except UnreadablePage:
            continue
        variants = [policy(page, np.random.default_rng((work.profile.seed, row, n))) for n in range(PREVIEW_VARIANTS)]
        pages += [page, *variants]
        captions += [
            index.class_names[index.labels[row]],
            *[f"{work.profile.augmentation.name} {n + 1}" for n in range(PREVIEW_VARIANTS)],
        ]
    contact_sheet(pages, captions, work.run.path / PREVIEW, columns=PREVIEW_VARIANTS + 1)
