"""A model that `export` wrote as ONNX, run by onnxruntime in the place of the network it was made from."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import torch

from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.engine.checkpoints.info import CheckpointInfo
from docclf_cli.errors import CheckpointError, InputError
from docclf_cli.files import sha256_of
from docclf_cli.models.weights import first_line
from docclf_cli.profile.schema import AugmentationConfig, DataConfig, TrainConfig

INPUT, OUTPUT, ABOUT = "images", "logits", "docclf"
INT8 = "int8"
ONNX_SUFFIX, INT8_SUFFIX = ".onnx", ".int8.onnx"


class OnnxModel(torch.nn.Module):
    """Calls an onnxruntime session as if it were a network; it runs on the CPU.

    Args:
        session: An `onnxruntime.InferenceSession`.

    Attributes:
        about: What `export` wrote beside the network; empty in a file of another program.
        precision: The number format that it computes in, `fp32` or `int8`.
    """

    def __init__(self, session: Any) -> None:
        super().__init__()
        self.session = session
        self.about: dict[str, Any] = json.loads(session.get_modelmeta().custom_metadata_map.get(ABOUT, "{}"))
        self.precision = INT8 if self.about.get("precision") == INT8 else "fp32"

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits [n, num_classes] of normalised images [n, 3, size, size]."""
        array = np.ascontiguousarray(images.float().cpu().numpy())
        return torch.from_numpy(self.session.run([OUTPUT], {INPUT: array})[0])


def onnx_path(checkpoint: Path, precision: str = "fp32") -> Path:
    """Where `export` puts the ONNX file of a checkpoint."""
    suffix = INT8_SUFFIX if precision == INT8 else ONNX_SUFFIX
    return checkpoint.parent / "export" / f"{checkpoint.stem}{suffix}"


def load_onnx(path: Path) -> OnnxModel:
    """A session on as many threads as torch uses.

    Raises:
        InputError: onnxruntime is not installed.
        CheckpointError: The file is missing or damaged.
    """
    onnxruntime = required("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # Its own messages go to stderr in a form of their own; what fails raises as well.
    options.log_severity_level = 4
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such file", "make it with `docclf export`")
    try:
        return OnnxModel(onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]))
    except Exception as error:  # onnxruntime's errors share no other base
        raise CheckpointError(f"{path}: damaged, or not an ONNX model ({first_line(error)})") from error


def load_exported(info: CheckpointInfo, precision: str = "fp32") -> OnnxModel:
    """The ONNX model, in fp32 or int8, that was exported from a checkpoint as it is now.

    Raises:
        CheckpointError: There is none, or it was made from other weights.
    """
    path, command = onnx_path(info.path, precision), shlex.join(["docclf", "export", "--checkpoint", str(info.path)])
    kind = "ONNX"
    if precision == INT8:
        command += " --int8"
        kind = "ONNX in int8"
    if not path.is_file():
        raise CheckpointError(f"{info.path}: not exported to {kind} yet", f"run `{command}` first")
    model = load_onnx(path)
    if model.about.get("checkpoint") != info.sha256:
        raise CheckpointError(f"{path}: made from another checkpoint than {info.path}", f"run `{command}` again")
    return model


def exported_info(path: Path) -> CheckpointInfo:
    """Read the info of an exported ONNX file, which does not say where the training pages are.

    Raises:
        InputError: onnxruntime is not installed.
        CheckpointError: The file is missing, damaged, or not written by `docclf export`.
    """
    model = load_onnx(path)
    about = model.about
    try:
        return CheckpointInfo(
            path=path,
            sha256=sha256_of(path),
            model_name=about["architecture"],
            class_names=tuple(about["class_names"]),
            preprocess=Preprocess.from_dict(about["preprocess"]),
            temperature=float(about["temperature"]),
            augmentation=AugmentationConfig(),
            data=DataConfig(),
            monitor=TrainConfig().monitor,
            epoch=int(about["epoch"]),
            saw_all=False,
            precision=model.precision,
        )
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: not written by docclf", "export a checkpoint: docclf export") from error


def required(package: str) -> Any:
    """A package of the extra `onnx`.

    Raises:
        InputError: It is not installed.
    """
    import importlib

    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise InputError(f"{package} is not installed", "pip install 'docclf[onnx]'") from error
