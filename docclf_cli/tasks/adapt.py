"""`adapt`: the batch-norm statistics of arriving pages, mixed into those of a run, where held-out pages allow it."""

from __future__ import annotations

import io
import logging
import math
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from docclf_cli.data.images.page_files import PageReader
from docclf_cli.data.index.file_list import FileList, PageList, listed_pages
from docclf_cli.data.index.inputs import find
from docclf_cli.data.index.left_out import LeftOut
from docclf_cli.data.loading.data_loader import data_loader
from docclf_cli.data.loading.datasets import InferenceDataset, ModelInput, cut
from docclf_cli.data.loading.pages import FilePages
from docclf_cli.data.loading.texts import texts_of
from docclf_cli.engine.checkpoints.checkpoint import Checkpoint
from docclf_cli.engine.inference.get_predictions import get_predictions
from docclf_cli.engine.inference.onnx_backend import ONNX_SUFFIX
from docclf_cli.engine.inference.predictor import IMAGES_PER_PASS, Predictor, inference_runtime, normalise
from docclf_cli.engine.inference.requests import PredictionRequest
from docclf_cli.engine.inference.run_inference import run_inference
from docclf_cli.engine.inference.trained_model import VAL, TrainedModel
from docclf_cli.engine.runtime.device import Runtime
from docclf_cli.engine.training.relearned import relearned
from docclf_cli.engine.training.text import document_numbers
from docclf_cli.ensembling.fusion import Fusion, enough_documents, fit_fusion
from docclf_cli.errors import InputError
from docclf_cli.events import Emit, silent
from docclf_cli.files import require_writable, write_bytes
from docclf_cli.metrics.calibration import fit_temperature
from docclf_cli.metrics.class_metrics import compute_metrics
from docclf_cli.metrics.metrics import by_column
from docclf_cli.models.batch_norm import adapted_statistics, norms_of
from docclf_cli.models.text_features import TextPage
from docclf_cli.profile.schema import DataConfig, RuntimeConfig
from docclf_cli.results.export import AdaptResult
from docclf_cli.results.predictions import Predictions
from docclf_cli.services.storage.remote_files import S3Files
from docclf_cli.stop import NEVER, StopFlag
from docclf_cli.tasks.caveats import as_judged
from docclf_cli.tasks.changed_weights import HeldOutChange, held_out_pages, require_small_loss
from docclf_cli.text import Message

PRIOR = 1024.0  # pages (docs/adapt.md)
FEWEST, MOST = 32, 128  # arriving pages: more are no better, and would count more against the prior
NAME = "adapted"
logger = logging.getLogger("docclf")


@dataclass(frozen=True, eq=False)
class _Arriving:
    """Pages without labels, as a model sees them.

    Attributes:
        images: uint8 [n, 3, size, size].
        texts: What is written on each; empty where the model does not read.
        unreadable: How many could not be read.
    """

    images: torch.Tensor
    texts: tuple[TextPage, ...]
    unreadable: int

    def __len__(self) -> int:
        return len(self.images)

    def parts(self) -> Iterator[tuple[torch.Tensor, tuple[TextPage, ...]]]:
        """The pages in passes of about the same size."""
        for rows in np.array_split(np.arange(len(self)), math.ceil(len(self) / IMAGES_PER_PASS)):
            yield self.images[rows], self.texts[rows[0] : rows[-1] + 1]


def adapt(
    checkpoint: Path,
    source: str,
    *,
    prior: float = PRIOR,
    max_loss: float | None = None,
    output: Path | None = None,
    overwrite: bool = False,
    reading: Mapping[str, Any] | None = None,
    runtime_config: RuntimeConfig | None = None,
    emit: Emit = silent,
    stop: StopFlag = NEVER,
) -> AdaptResult:
    """Write a checkpoint with the batch-norm statistics of other pages, unless held-out pages lose by it.

    Args:
        checkpoint: The file, or the folder of a run.
        source: Arriving pages, which need no labels: what `predict` takes as input.
        prior: As how many pages the statistics of the run count; infinity leaves them as they are.
        max_loss: By how much held-out macro-F1 may fall; None is 0.01, or what two of the held-out pages make.
        output: The new file; None is `adapted.ckpt` beside the checkpoint, where its held-out pages are known.
        overwrite: Replace a file that is there.
        reading: Keys of the data section that are to differ from those of the training.
        runtime_config: Device and numerics.
        emit: Consumer of progress events.
        stop: Polled between batches.

    Raises:
        InputError: The model has no batch norms, there are too few pages, or held-out pages are not found.
        CheckpointError: The checkpoint is damaged, or held-out pages lose too much.
        Interrupted: `stop` was set; nothing was written.
    """
    if not prior >= 0:
        raise InputError(
            f"--prior: {prior:g} is not a number of pages",
            "1024 counts the statistics of the run as those of 1,024 pages",
        )
    member = TrainedModel.load(checkpoint).reading(reading or {})
    _refuse_others(member)
    info, config = member.info, runtime_config or RuntimeConfig()
    target = output or _usual_output(info.path)
    _require_free(target, info.path, overwrite)
    old = Checkpoint.load(info.path)
    model = old.build(info.path)
    _refuse_checkpoint(old, model, info.path)
    held_out, train_rows = held_out_pages(
        member, "name a checkpoint in the folder of a run that held pages out, and whose pages are where they were"
    )
    predictor = member.predictor(config)
    pages = _read(source, predictor, info.data, emit, stop)
    if len(pages) < FEWEST:
        raise InputError(
            f"{source}: {len(pages)} readable pages, and statistics need at least {FEWEST}",
            "wait for more pages, or name a folder that holds more",
        )
    runtime = inference_runtime(config, old)
    new = _with_statistics(old, model, pages, prior, runtime)
    changed = sum(
        name.endswith("running_var") and not torch.equal(tensor, old.model[name]) for name, tensor in new.model.items()
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{NAME}.ckpt"
        new.save(file)
        found, change = _compared(file, held_out, max_loss, config, source, emit, stop)
        lineage = _lineage(held_out, source, len(pages), prior, changed)
        new = replace(new, metrics=by_column(compute_metrics(change.scored)), adapted=lineage)
        new = _calibrated(new, found, held_out, train_rows, runtime, emit, stop)
        new.save(file)
        before = _confidence(predictor, pages, stop)
        after = _confidence(TrainedModel.load(file).predictor(config), pages, stop)
        stop.raise_if_set("stopped before the checkpoint was written", "start the command again")
        write_bytes(target, file.read_bytes())
    return AdaptResult(
        checkpoint=info.path,
        source=source,
        pages=len(pages),
        unreadable=pages.unreadable,
        prior=prior if math.isfinite(prior) else None,
        layers=changed,
        held_out_before=change.before,
        held_out_after=change.after,
        difference=change.difference,
        tolerance=change.tolerance,
        confidence_before=before,
        confidence_after=after,
        temperature=new.temperature,
        file=target,
        sentences=tuple(_sentences(new, beside=target.parent.resolve() == info.path.parent.resolve())),
    )


def _refuse_others(member: TrainedModel) -> None:
    """Refuse what is no single network of docclf.

    Raises:
        InputError: It is a folds run, an exported file, or a model that only reads.
    """
    if member.is_folds:
        raise InputError(
            f"{member.path} is a folds run, and each of its networks has statistics of its own",
            f"name one fold, such as {member.checkpoints[0].path}",
        )
    if member.path.suffix == ONNX_SUFFIX:
        raise InputError(f"{member.path} is an exported file", "name the checkpoint that it was made from")
    if member.info.text is not None and member.info.text.alone:
        raise InputError(f"{member.path}: the model only reads, so it has no statistics of images", "name another run")


def _usual_output(checkpoint: Path) -> Path:
    name = NAME if checkpoint.stem == "best" else f"{NAME}-{checkpoint.stem}"
    return checkpoint.with_name(f"{name}{checkpoint.suffix}")


def _require_free(target: Path, checkpoint: Path, overwrite: bool) -> None:
    """Refuse a place for the new checkpoint where something is that is not to be replaced.

    Raises:
        InputError: There is.
        ResourceError: Nothing may be written there.
    """
    if target.is_dir():
        raise InputError(f"--output: {target} is a folder", f"name a file, such as {target / NAME}.ckpt")
    if target.resolve() == checkpoint.resolve():
        raise InputError(f"--output: {target} is the checkpoint itself", "choose another --output")
    if target.exists() and not overwrite:
        raise InputError(f"{target} exists already", "choose another --output, or give --overwrite")
    require_writable(target.parent)


def _refuse_checkpoint(checkpoint: Checkpoint, model: torch.nn.Module, path: Path) -> None:
    """Refuse a checkpoint without batch norms, or one that is adapted already.

    Raises:
        InputError: It is so.
    """
    if not norms_of(model):
        raise InputError(
            f"{path}: {checkpoint.model_config.model_name} has no batch norms, so there are no statistics to adapt",
            "label some of the new pages and train again with them",
        )
    if checkpoint.adapted:
        raise InputError(
            f"{path} is adapted already, and its statistics are no longer those of the training",
            f"name the checkpoint that it was made from: {checkpoint.adapted.get('checkpoint', '')}",
        )


def _read(source: str, predictor: Predictor, data: DataConfig, emit: Emit, stop: StopFlag) -> _Arriving:
    """Read arriving pages as `predict` does, at most `MOST` of them, drawn by a fixed seed.

    Raises:
        InputError: The source names nothing.
        Interrupted: `stop` was set.
    """
    left_out, remote = LeftOut(), S3Files()
    files = FileList(find([source], io.BytesIO(), data.allow_symlinks, left_out, remote))
    left_out.warn()
    if not len(files):
        raise InputError(f"{source}: there are no pages in it", "name a folder of images or PDF files")
    reader = PageReader(data.max_pixels, data.allow_symlinks, remote)
    listed: PageList = listed_pages(files, reader, data.pages)
    # In the order of a folder, pages of a batch would be alike.
    drawn = np.random.default_rng(0).permutation(len(listed))[:MOST]
    text = predictor.text_source
    dataset = InferenceDataset(
        [ModelInput(FilePages(listed, reader, predictor.preprocess))],
        texts=texts_of(listed, reader, text) if text else None,
    )
    batches = data_loader(
        dataset,
        cut(drawn.tolist(), IMAGES_PER_PASS),
        workers=predictor.runtime.workers,
        on_wait=stop.check_while_waiting,
    )
    size = predictor.preprocess.size
    images, texts, unreadable = [torch.empty(0, 3, size, size, dtype=torch.uint8)], list[TextPage](), 0
    for batch, _ in run_inference(
        [len], batches, total=len(drawn), task="reading arriving pages", emit=emit, stop=stop
    ):
        images += batch.images
        texts += batch.texts
        unreadable += len(batch.unreadable)
    reader.close()
    return _Arriving(torch.cat(images), tuple(texts), unreadable)


def _with_statistics(
    old: Checkpoint, model: torch.nn.Module, pages: _Arriving, prior: float, runtime: Runtime
) -> Checkpoint:
    """The checkpoint with mixed statistics; what it learned from features is still that of the old ones."""
    model = runtime.place(model).eval()
    with runtime.autocast():
        found = adapted_statistics(
            model, (normalise(images, old.preprocess, runtime) for images, _ in pages.parts()), len(pages), prior
        )
    weights = {name: found[name].cpu().clone() if name in found else tensor for name, tensor in old.model.items()}
    return replace(old, model=weights, training={})


def _compared(
    file: Path,
    held_out: PredictionRequest,
    max_loss: float | None,
    config: RuntimeConfig,
    source: str,
    emit: Emit,
    stop: StopFlag,
) -> tuple[Predictions, HeldOutChange]:
    """What a checkpoint with new statistics says about the held-out pages, uncalibrated, and what it loses on them.

    Raises:
        CheckpointError: Macro-F1 falls by more than it may.
    """
    info = held_out.info
    adapted = replace(held_out, info=replace(TrainedModel.load(file).info, data=info.data))
    found = get_predictions([adapted, held_out], runtime_config=config, emit=emit, stop=stop)
    new, old = (as_judged(one, VAL, info.temperature) for one in found)
    change = require_small_loss(
        new,
        old,
        subject=f"{info.path}: taking the statistics of {source}",
        tolerance=max_loss,
        hint="let the statistics of the run count more with a larger --prior; where only such pages arrive from now on, allow the loss "
        "with --max-loss",
    )
    return found[0], change


def _calibrated(
    new: Checkpoint,
    found: Predictions,
    held_out: PredictionRequest,
    train_rows: np.ndarray,
    runtime: Runtime,
    emit: Emit,
    stop: StopFlag,
) -> Checkpoint:
    """Learn again what depends on features, in the order of `train`.

    Args:
        new: With the old temperature and so on.
        found: What it says about the held-out pages, uncalibrated.
        held_out: These pages.
        train_rows: Rows of the training pages.
        runtime: Device and numerics.
        emit: Consumer of progress events.
        stop: Polled between batches.
    """
    image = found.log_probs if found.image is None else found.image
    new = relearned(
        replace(new, temperature=fit_temperature(image, found.labels)), held_out, train_rows, runtime, emit, stop
    )
    branch = new.text_branch()
    if branch is None or found.text is None:
        return new
    fusion = _fusion(found, image, found.text)
    temperature = fit_temperature(fusion(image, found.text), found.labels)
    return replace(new, text=replace(branch, fusion=fusion).to_arrays(), temperature=temperature)


def _fusion(held_out: Predictions, image: np.ndarray, text: np.ndarray) -> Fusion:
    documents = document_numbers(held_out)
    return fit_fusion(image, text, held_out.labels, documents) if enough_documents(text, documents) else Fusion()


def _lineage(held_out: PredictionRequest, source: str, pages: int, prior: float, layers: int) -> dict[str, Any]:
    """What the new checkpoint says about where it came from."""
    return {
        "checkpoint": str(held_out.info.path.absolute()),
        "sha256": held_out.info.sha256,
        "pages_of": str(Path(source).absolute()) if Path(source).exists() else source,
        "pages": pages,
        "prior": prior,
        "layers": layers,
    }


def _confidence(predictor: Predictor, pages: _Arriving, stop: StopFlag) -> float:
    """The mean confidence on arriving pages."""
    found = list[np.ndarray]()
    for images, texts in pages.parts():
        stop.raise_if_set("stopped before the checkpoint was written", "start the command again")
        found.append(predictor.log_probs(images, texts).max(axis=1))
    return float(np.exp(np.concatenate(found)).mean())


def _sentences(new: Checkpoint, *, beside: bool) -> Iterator[str]:
    parts = [Message.of("the temperature")]
    names = {
        "novelty": "the score of unknown pages",
        "orientation": "which side is up",
        "boundaries": "where packets are cut",
    }
    parts += [Message.of(text) for name, text in names.items() if getattr(new, name)]
    if new.text:
        parts.append(Message.of("the weights of image and text"))
    yield Message.of("Learned again from the pages of the run: {what}.", what=Message.joined(parts, ", "))
    yield Message.of(
        "Held-out pages show what is lost on pages like those of the training. Whether anything is gained on the arriving ones "
        "only their labels show; a higher confidence does not."
    )
    if not beside:
        yield Message.of(
            "The file lies outside of the folder of its run, so `evaluate` finds no held-out pages for it: other pages can be scored."
        )
