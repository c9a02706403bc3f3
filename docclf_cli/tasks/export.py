"""`export`: a checkpoint as a file that other programs load, compared with the checkpoint before it is put in place."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from docclf_cli.data.images.decode import UnreadablePage
from docclf_cli.data.loading.pages import Pages
from docclf_cli.engine.checkpoints.checkpoint import Checkpoint
from docclf_cli.engine.checkpoints.info import CheckpointInfo
from docclf_cli.engine.inference.get_predictions import get_predictions
from docclf_cli.engine.inference.members import Indices
from docclf_cli.engine.inference.onnx_backend import (
    ABOUT,
    INPUT,
    INT8,
    INT8_SUFFIX,
    ONNX_SUFFIX,
    OUTPUT,
    exported_info,
    load_onnx,
    onnx_path,
    required,
)
from docclf_cli.engine.inference.predictor import FOR_ONNX, Network, normalise
from docclf_cli.engine.inference.requests import PredictionRequest
from docclf_cli.engine.inference.trained_model import TrainedModel
from docclf_cli.errors import CheckpointError, InputError
from docclf_cli.events import Emit, silent
from docclf_cli.files import require_writable, write_bytes, write_json
from docclf_cli.models.attention import FeatureAttention
from docclf_cli.profile.schema import RuntimeConfig
from docclf_cli.results.export import ExportResult, Quantization
from docclf_cli.tasks.changed_weights import held_out_pages, require_small_loss

COMPARED = 16
TOLERANCE = 1e-3
REPEATS = 3
CALIBRATION_PAGES = 128
WEIGHTS, CONFIG, DOCCLF = "model.safetensors", "config.json", "docclf.json"
logger = logging.getLogger("docclf")


@dataclass(frozen=True)
class Exported:
    """An exported model in a temporary place.

    Attributes:
        model: As other programs see it: from normalised images to logits.
        files: What it consists of, the last one to be put in place last.
    """

    model: torch.nn.Module
    files: Mapping[str, Path]


def export(
    checkpoint: Path,
    file_format: str,
    *,
    int8: bool = False,
    tolerance: float | None = None,
    output: Path | None = None,
    overwrite: bool = False,
    reading: Mapping[str, Any] | None = None,
    runtime_config: RuntimeConfig | None = None,
    emit: Emit = silent,
) -> ExportResult:
    """Export a checkpoint, and compare what came out with it.

    Args:
        checkpoint: The file.
        file_format: `onnx` (one file) or `safetensors` (a folder that `timm.create_model("local-dir:...")` loads).
        int8: Quantise the ONNX file to int8, and compare it with the checkpoint on held-out pages.
        tolerance: By how much held-out macro-F1 may fall in int8; None as in `require_small_loss`.
        output: The file or folder; None is `export/` beside the checkpoint, where an earlier one is replaced.
        overwrite: Replace what is at `output`.
        reading: Keys of the data section that are to differ from those of the training, such as `allow_symlinks`.
        runtime_config: Numerics for the held-out pages of int8.
        emit: Consumer of progress events.

    Raises:
        InputError: The format is not known, something of the user's is in the way, or int8 lacks its pages.
        CheckpointError: The checkpoint is damaged, what was exported gives other probabilities, or int8 loses too much.
    """
    if file_format not in FORMATS:
        raise InputError(f"--format: '{file_format}' is not one of {', '.join(FORMATS)}")
    if int8 and file_format != "onnx":
        raise InputError(f"--int8: {file_format} files are not quantised", "use --format onnx")
    target = output or (onnx_path(checkpoint, INT8) if int8 else FORMATS[file_format].place(checkpoint))
    if output is not None and target.exists() and not overwrite:
        raise InputError(f"{target} exists already", "choose another --output, or give --overwrite")
    require_writable(target.parent)
    if checkpoint.suffix == ONNX_SUFFIX:
        raise InputError(f"{checkpoint} is exported already", "name the checkpoint that it was made from")
    trained = TrainedModel.load(checkpoint).reading(reading or {})
    if trained.info.text is not None:
        if trained.info.text.alone:
            raise InputError(f"{checkpoint}: the model only reads, so it has no network to export", "name another run")
        logger.warning("%s also reads pages: the exported file only looks at them, and is less often right", checkpoint)
    info, (network,) = trained.info, trained.predictor(FOR_ONNX).networks
    int8_pages = _int8_pages(trained) if int8 else None
    with tempfile.TemporaryDirectory() as folder:
        whole = Checkpoint.load(info.path).build(info.path)  # with its batch norms, which predicting does without
        exported = FORMATS[file_format].make(whole, info, Path(folder))
        result = _compared(network, exported.model, info, file_format)
        if int8_pages is not None:
            exported, result = _quantized(
                network, exported, *int8_pages, result, Path(folder), tolerance, runtime_config, emit
            )
        files = [_put(source, target / name if name else target) for name, source in exported.files.items()]
    return replace(result, files=tuple(files))


def _put(source: Path, target: Path) -> Path:
    write_bytes(target, source.read_bytes())
    return target


def about(info: CheckpointInfo) -> dict[str, Any]:
    """What a reader needs to know besides the network, as plain data."""
    return {
        "architecture": info.model_name,
        "class_names": list(info.class_names),
        "preprocess": info.preprocess.to_dict(),
        "temperature": info.temperature,
        "checkpoint": info.sha256,
        "epoch": info.epoch,
    }


def _onnx(model: torch.nn.Module, info: CheckpointInfo, folder: Path) -> Exported:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        required(package)
    size, path = info.preprocess.size, folder / "model.onnx"
    # Two images, for an exporter takes a dimension of one for a constant.
    example = torch.zeros(2, 3, size, size)
    with _quiet():
        program = torch.onnx.export(
            model, (example,), input_names=[INPUT], output_names=[OUTPUT], dynamo=True, verbose=False,
            dynamic_shapes=({0: torch.export.Dim("batch")},), external_data=False,
        )  # fmt: skip
        assert program is not None
        program.model.metadata_props[ABOUT] = json.dumps(about(info), ensure_ascii=False)
        program.save(str(path), external_data=False)
    return Exported(load_onnx(path), {"": path})


def _safetensors(model: torch.nn.Module, info: CheckpointInfo, folder: Path) -> Exported:
    import timm

    if any(isinstance(module, FeatureAttention) for module in model.modules()):
        raise InputError(
            f"{info.path}: its attention block is docclf's own, which timm cannot load", "--format onnx keeps it"
        )
    preprocess = info.preprocess
    pixels = {
        "input_size": [3, preprocess.size, preprocess.size], "mean": list(preprocess.mean), "std": list(preprocess.std),
        "interpolation": preprocess.interpolation, "crop_pct": 1.0,
    }  # fmt: skip
    names = {"label_names": list(info.class_names), "pretrained_cfg": pixels}
    timm.models.save_for_hf(model, str(folder), model_config=names, safe_serialization=True)
    write_json(folder / DOCCLF, about(info))
    loaded = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    return Exported(loaded, {name: folder / name for name in (WEIGHTS, DOCCLF, CONFIG)})


@dataclass(frozen=True)
class Format:
    """One way to export.

    Attributes:
        place: Where it goes by default.
        make: Writes it into a temporary folder and loads it again.
    """

    place: Callable[[Path], Path]
    make: Callable[[torch.nn.Module, CheckpointInfo, Path], Exported]


FORMATS: Mapping[str, Format] = {
    "onnx": Format(onnx_path, _onnx),
    "safetensors": Format(lambda checkpoint: checkpoint.parent / "export" / checkpoint.stem, _safetensors),
}


class _CalibrationBatches:
    """Hands batches of images, float32 [n, 3, size, size], to onnxruntime one by one."""

    def __init__(self, batches: Iterator[torch.Tensor]) -> None:
        self._batches = batches

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next batch; None after the last."""
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: np.ascontiguousarray(batch.numpy())}


def _int8_pages(trained: TrainedModel) -> tuple[PredictionRequest, np.ndarray]:
    """The held-out pages of a checkpoint, and training pages to calibrate with, uint8 [n, size, size, 3].

    Raises:
        InputError: One of the two is missing.
    """
    info, hint = trained.info, "export without --int8"
    request, training = held_out_pages(trained, hint)
    if not len(training):
        raise InputError(f"--int8: from {info.path} no training page is left to measure activations on", hint)
    spread = np.linspace(0, len(training) - 1, min(CALIBRATION_PAGES, len(training))).astype(int)
    calibration = _readable(Pages(request.index, info.preprocess, info.data), training[spread])
    if not len(calibration):
        raise InputError(f"--int8: no training page of {info.path} can be read", hint)
    return request, calibration


def _quantized(
    network: Network,
    fp32: Exported,
    held_out: PredictionRequest,
    calibration: np.ndarray,
    result: ExportResult,
    folder: Path,
    tolerance: float | None,
    runtime_config: RuntimeConfig | None,
    emit: Emit,
) -> tuple[Exported, ExportResult]:
    """Quantise an exported ONNX file, and compare it with its checkpoint on held-out pages.

    Raises:
        CheckpointError: Held-out macro-F1 falls by more than the tolerance.
    """
    info = held_out.info
    path = folder / f"model{INT8_SUFFIX}"
    _quantize(fp32.files[""], path, network, calibration, info)
    in_int8 = replace(held_out, info=replace(exported_info(path), data=info.data))
    new, old = get_predictions([in_int8, held_out], runtime_config=runtime_config, emit=emit)
    change = require_small_loss(
        new,
        old if old.image is None else replace(old, log_probs=old.image),  # an exported file does not read
        subject=f"{info.path}: int8",
        tolerance=tolerance,
        hint="export without --int8, or allow a larger loss with --tolerance",
    )
    quantized = Exported(load_onnx(path), {"": path})
    images, _ = _images(info)
    pixels = normalise(images, network.preprocess, network.runtime)
    (probs, torch_ms), (_, fp32_ms), (int8_probs, int8_ms) = _asked(
        (network.model, fp32.model, quantized.model), pixels
    )
    quantization = Quantization(
        len(calibration), change.before, change.after, change.difference, change.tolerance, fp32_ms
    )
    return quantized, replace(
        result,
        max_difference=float((probs - int8_probs).abs().max()),
        checkpoint_ms=torch_ms,
        exported_ms=int8_ms,
        quantization=quantization,
    )


def _quantize(source: Path, target: Path, network: Network, pages: np.ndarray, info: CheckpointInfo) -> None:
    """Write an ONNX file in int8: static quantisation (QDQ) with one scale for each channel of a weight.

    Args:
        source: ONNX file in fp32.
        target: What is written.
        network: Makes its input of pages.
        pages: uint8 [n, size, size, 3], on which the ranges of activations are measured.
        info: Of the checkpoint.
    """
    onnx = required("onnx")
    quantization = required("onnxruntime.quantization")
    prepared = source.with_name("prepared.onnx")
    batches = (
        normalise(torch.from_numpy(part).permute(0, 3, 1, 2), network.preprocess, network.runtime)
        for part in np.array_split(pages, math.ceil(len(pages) / COMPARED))
    )
    with _quiet():
        # Fuses layers and infers shapes, as onnxruntime asks for before quantisation.
        required("onnxruntime.quantization.shape_inference").quant_pre_process(
            str(source), str(prepared), skip_symbolic_shape=True
        )
        quantization.quantize_static(
            str(prepared), str(target), _CalibrationBatches(batches),
            quant_format=quantization.QuantFormat.QDQ, per_channel=True,
            activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8,
            # CPUs without VNNI add pairs of products in 16 bits, where weights of 8 bits overflow and those of 7 do not:
            # what is measured here holds on other machines.
            reduce_range=True,
        )  # fmt: skip
    model = onnx.load(str(target))
    onnx.helper.set_model_props(model, {ABOUT: json.dumps({**about(info), "precision": INT8}, ensure_ascii=False)})
    onnx.save(model, str(target))


def _compared(network: Network, exported: torch.nn.Module, info: CheckpointInfo, name: str) -> ExportResult:
    images, real = _images(info)
    pixels = normalise(images, network.preprocess, network.runtime)
    (ours, our_ms), (theirs, their_ms) = _asked((network.model, exported), pixels)
    difference = float((ours - theirs).abs().max())
    if not difference <= TOLERANCE:
        raise CheckpointError(
            f"{info.path}: as {name} its probabilities differ by up to {difference:.2g}; nothing was written",
            "please report it, with the versions that `docclf env-check` shows",
        )
    return ExportResult(info.path, name, len(images), real, difference, our_ms, their_ms, files=())


def _asked(models: Sequence[torch.nn.Module], pixels: torch.Tensor) -> tuple[tuple[torch.Tensor, float], ...]:
    """Probabilities and median milliseconds per page of each, in turns; the first turn is for warming up."""
    probs: list[torch.Tensor] = [torch.empty(0)] * len(models)
    seconds: list[list[float]] = [[] for _ in models]
    for _ in range(1 + REPEATS):
        for place, network in enumerate(models):
            start = time.perf_counter()
            with torch.inference_mode():
                probs[place] = network(pixels).softmax(dim=1)
            seconds[place].append(time.perf_counter() - start)
    milliseconds = [1000 * statistics.median(times[1:]) / len(pixels) for times in seconds]
    return tuple(zip(probs, milliseconds, strict=True))


def _images(info: CheckpointInfo) -> tuple[torch.Tensor, bool]:
    """uint8 [n, 3, size, size]: pages of the checkpoint's data, or noise where these are not at hand."""
    indices = Indices(info.data)
    for split in ("test", "train"):
        with contextlib.suppress(InputError):
            index = indices.of(split, info.class_names)
            rows = np.linspace(0, len(index) - 1, COMPARED).astype(int)
            found = _readable(Pages(index, info.preprocess, info.data), rows)
            if len(found):
                return torch.from_numpy(found).permute(0, 3, 1, 2), True
    logger.warning("the pages of %s are not available: comparing on random images", info.data.root)
    size = info.preprocess.size
    noise = np.random.default_rng(0).integers(0, 256, (COMPARED, 3, size, size), dtype=np.uint8)
    return torch.from_numpy(noise), False


def _readable(pages: Pages, rows: np.ndarray) -> np.ndarray:
    """Those pages of the rows that can be read, uint8 [n, size, size, 3]."""
    found = list[np.ndarray]()
    for row in rows.tolist():
        with contextlib.suppress(UnreadablePage):
            found.append(pages[row])
    return np.array(found)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints its steps to stdout, which is for results."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
