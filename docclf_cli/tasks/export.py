"""`export`: a checkpoint as a file that other programs load, compared with the checkpoint before it is put in place."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from docclf_cli.data.images.decode import UnreadablePage
from docclf_cli.data.loading.pages import Pages
from docclf_cli.engine.checkpoints.info import CheckpointInfo
from docclf_cli.engine.inference.members import Indices
from docclf_cli.engine.inference.onnx_backend import ABOUT, INPUT, OUTPUT, load_onnx, onnx_path, required
from docclf_cli.engine.inference.predictor import FOR_ONNX, ONNX_SUFFIX, Network, normalise
from docclf_cli.engine.inference.trained_model import TrainedModel
from docclf_cli.errors import CheckpointError, InputError
from docclf_cli.files import write_bytes, write_json
from docclf_cli.models.attention import FeatureAttention
from docclf_cli.results.export import ExportResult

COMPARED = 16
TOLERANCE = 1e-3
REPEATS = 3
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


def export(checkpoint: Path, file_format: str, *, output: Path | None = None, overwrite: bool = False) -> ExportResult:
    """Export a checkpoint, and compare what came out with it.

    Args:
        checkpoint: The file.
        file_format: `onnx` (one file) or `safetensors` (a folder that `timm.create_model("local-dir:...")` loads).
        output: The file or folder; None is `export/` beside the checkpoint, where an earlier one is replaced.
        overwrite: Replace what is at `output`.

    Raises:
        InputError: The format is not known, or something of the user's is in the way.
        CheckpointError: The checkpoint is damaged, or what was exported gives other probabilities.
    """
    if file_format not in FORMATS:
        raise InputError(f"--format: '{file_format}' is not one of {', '.join(FORMATS)}")
    target = output or FORMATS[file_format].place(checkpoint)
    if output is not None and target.exists() and not overwrite:
        raise InputError(f"{target} exists already", "choose another --output, or give --overwrite")
    if checkpoint.suffix == ONNX_SUFFIX:
        raise InputError(f"{checkpoint} is exported already", "name the checkpoint that it was made from")
    trained = TrainedModel.load(checkpoint)
    info, (network,) = trained.info, trained.predictor(FOR_ONNX).networks
    with tempfile.TemporaryDirectory() as folder:
        exported = FORMATS[file_format].make(network.model, info, Path(folder))
        result = _compared(network, exported.model, info, file_format)
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


def _compared(network: Network, exported: torch.nn.Module, info: CheckpointInfo, name: str) -> ExportResult:
    images, real = _images(info)
    pixels = normalise(images, network.preprocess, network.runtime)
    (ours, our_time), (theirs, their_time) = _asked(network.model, exported, pixels)
    difference = float((ours - theirs).abs().max())
    if not difference <= TOLERANCE:
        raise CheckpointError(
            f"{info.path}: as {name} its probabilities differ by up to {difference:.2g}; nothing was written",
            "please report it, with the versions that `docclf env-check` shows",
        )
    count = len(images)
    milliseconds = (1000 * our_time / count, 1000 * their_time / count)
    return ExportResult(info.path, name, count, real, difference, *milliseconds, files=())


def _asked(
    model: torch.nn.Module, exported: torch.nn.Module, pixels: torch.Tensor
) -> tuple[tuple[torch.Tensor, float], ...]:
    """Probabilities and median seconds of both, in turns; the first turn is for warming up."""
    probs: list[torch.Tensor] = [torch.empty(0)] * 2
    seconds: list[list[float]] = [[], []]
    for _ in range(1 + REPEATS):
        for place, network in enumerate((model, exported)):
            start = time.perf_counter()
            with torch.inference_mode():
                probs[place] = network(pixels).softmax(dim=1)
            seconds[place].append(time.perf_counter() - start)
    return tuple((one, statistics.median(times[1:])) for one, times in zip(probs, seconds, strict=True))


def _images(info: CheckpointInfo) -> tuple[torch.Tensor, bool]:
    """uint8 [n, 3, size, size]: pages of the checkpoint's data, or noise where these are not at hand."""
    indices, found = Indices(info.data), list[np.ndarray]()
    for split in ("test", "train"):
        with contextlib.suppress(InputError):
            index = indices.of(split, info.class_names)
            pages = Pages(index, info.preprocess, info.data)
            for row in np.linspace(0, len(index) - 1, COMPARED).astype(int).tolist():
                with contextlib.suppress(UnreadablePage):
                    found.append(pages[row])
        if found:
            return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2), True
    logger.warning("the pages of %s are not available: comparing on random images", info.data.root)
    size = info.preprocess.size
    noise = np.random.default_rng(0).integers(0, 256, (COMPARED, 3, size, size), dtype=np.uint8)
    return torch.from_numpy(noise), False


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints its steps to stdout, which is for results."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
