"""What a checkpoint says besides its weights, kept as JSON beside its predictions so that asking needs no torch."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.data.index.index import load_training_index
from docclf_cli.engine.checkpoints.run_folder import RunFolder
from docclf_cli.errors import CheckpointError, DocclfError, ResourceError
from docclf_cli.files import may_write, sha256_of, write_json
from docclf_cli.profile.paths import absolute_data
from docclf_cli.profile.schema import AugmentationConfig, DataConfig, RuntimeConfig, TrainConfig

if TYPE_CHECKING:
    from docclf_cli.engine.checkpoints.checkpoint import Checkpoint

logger = logging.getLogger("docclf")


@dataclass(frozen=True)
class CheckpointInfo:
    """A checkpoint file without its weights.

    Attributes:
        path: The file.
        sha256: Of its bytes.
        model_name: Architecture.
        class_names: Names along the class axis.
        preprocess: How a page becomes the input.
        temperature: Divides the logits.
        augmentation: The policy that trained it.
        data: The data it was trained on.
        monitor: The metric that chose the epoch.
        epoch: Epochs behind the weights.
        saw_all: Whether it is a refit, which was trained on its run's held-out pages as well.
        precision: Number format to predict with (`precision_of`).
    """

    path: Path
    sha256: str
    model_name: str
    class_names: tuple[str, ...]
    preprocess: Preprocess
    temperature: float
    augmentation: AugmentationConfig
    data: DataConfig
    monitor: str
    epoch: int
    saw_all: bool
    precision: str


def precision_of(profile: Mapping[str, Any]) -> str:
    """The number format to predict with, from a checkpoint's profile: one that was named, or compared with fp32.

    One that was only picked for its speed is not used: a position to go on from, a snapshot, a file of before.
    """
    inference = RuntimeConfig.model_validate(profile.get("runtime", {})).inference
    return inference.precision if inference.check == "off" and inference.precision != "auto" else "fp32"


def info_of(path: Path) -> CheckpointInfo:
    """The facts of a checkpoint as it is now: from the JSON beside it while that is true, else from the file.

    Raises:
        CheckpointError: There is no such file, or it is damaged or of another kind.
    """
    try:
        stamp = _stamp(path)
    except OSError as error:
        raise CheckpointError(f"{path}: there is no such checkpoint") from error
    kept = _read(path)
    if kept is not None and kept["stamp"] == stamp and _is_placed(kept["told"]):
        return _info(path, kept)
    sha256 = kept["sha256"] if kept is not None and kept["stamp"] == stamp else sha256_of(path)
    told = kept["told"] if kept is not None and kept["sha256"] == sha256 else _told(path)
    found = {"stamp": stamp, "sha256": sha256, "told": {**told, "data": _placed(path, told)}}
    if found != kept:
        _keep(path, found)
    return _info(path, found)


def _is_placed(told: Mapping[str, Any]) -> bool:
    root = told["data"]["root"]
    return root == "samples" or Path(root).is_absolute()


def _placed(path: Path, told: Mapping[str, Any]) -> dict[str, Any]:
    """The data section of a checkpoint. An earlier docclf kept paths as they were typed, relative to some folder.

    They are taken as relative to the folder that holds the run's parent (`.` for `runs/mine`), where the pages there
    are those of the run; otherwise they stay, and nobody guesses. The working folder plays no part.
    """
    data: dict[str, Any] = dict(told["data"])
    run = next((folder for folder in path.absolute().parents[:2] if RunFolder(folder).read_provenance()), None)
    if _is_placed(told) or run is None:
        return data
    there = absolute_data(DataConfig.model_validate(data), run.parent.parent)
    try:
        index, _ = load_training_index(there)
        is_same = RunFolder(run).read_provenance()["data"]["index"] == index.fingerprint()
    except (DocclfError, OSError, ValueError, KeyError, TypeError):
        return data
    return there.model_dump(mode="json") if is_same else data


def store_info(path: Path, checkpoint: Checkpoint) -> None:
    """Keep the facts of a checkpoint that was just written to `path`."""
    _keep(path, {"stamp": _stamp(path), "sha256": sha256_of(path), "told": _told_by(checkpoint)})


def _kept_at(path: Path) -> Path:
    return path.parent / "predictions" / f"{path.name}.info.json"


def _stamp(path: Path) -> list[int]:
    # The change time as well: a file put in place with the old size and modification time is still another one.
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _read(path: Path) -> dict[str, Any] | None:
    """What is kept of a checkpoint; None where it is missing, damaged or written by another docclf."""
    try:
        content = json.loads(_kept_at(path).read_text(encoding="utf-8"))
        _info(path, content)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return content if "stamp" in content else None


def _told(path: Path) -> dict[str, Any]:
    from docclf_cli.engine.checkpoints.checkpoint import Checkpoint

    return _told_by(Checkpoint.load(path))


def _told_by(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "model_name": checkpoint.model_config.model_name,
        "class_names": list(checkpoint.class_names),
        "preprocess": checkpoint.preprocess.to_dict(),
        "temperature": checkpoint.temperature,
        "augmentation": checkpoint.augmentation.model_dump(mode="json"),
        "data": DataConfig.model_validate(checkpoint.profile["data"]).model_dump(mode="json"),
        "monitor": TrainConfig.model_validate(checkpoint.profile["train"]).monitor,
        "epoch": checkpoint.epoch,
        # Training writes the metrics of validation into what it keeps, and its own state into `last.ckpt`.
        "saw_all": not checkpoint.metrics and not checkpoint.training,
        "precision": precision_of(checkpoint.profile),
    }


def _info(path: Path, kept: Mapping[str, Any]) -> CheckpointInfo:
    told = kept["told"]
    return CheckpointInfo(
        path=path,
        sha256=kept["sha256"],
        model_name=told["model_name"],
        class_names=tuple(told["class_names"]),
        preprocess=Preprocess.from_dict(told["preprocess"]),
        temperature=float(told["temperature"]),
        augmentation=AugmentationConfig.model_validate(told["augmentation"]),
        data=DataConfig.model_validate(told["data"]),
        monitor=told["monitor"],
        epoch=int(told["epoch"]),
        saw_all=bool(told["saw_all"]),
        precision=told["precision"],
    )


def _keep(path: Path, found: Mapping[str, Any]) -> None:
    try:
        write_json(_kept_at(path), found)
    except ResourceError as error:
        level = logging.WARNING if may_write(path.parent) else logging.DEBUG
        logger.log(level, "the metadata of %s cannot be stored: %s", path, error.message)
