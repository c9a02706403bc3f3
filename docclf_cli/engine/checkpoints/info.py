"""Reads what a checkpoint holds besides its weights; a JSON copy beside its predictions spares importing torch."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.data.index.index import load_training_index
from docclf_cli.engine.checkpoints.run_folder import NO_CHECKPOINT, RunFolder
from docclf_cli.errors import CheckpointError, DocclfError, ResourceError
from docclf_cli.files import may_write, sha256_of, write_json
from docclf_cli.metrics.novelty import HeldOutNovelty, NoveltyModel
from docclf_cli.metrics.orientation import HeldOutOrientation, OrientationModel
from docclf_cli.profile.paths import absolute_data
from docclf_cli.profile.schema import AugmentationConfig, DataConfig, RuntimeConfig, TrainConfig
from docclf_cli.results.training import TextUse

if TYPE_CHECKING:
    from docclf_cli.engine.checkpoints.checkpoint import Checkpoint

logger = logging.getLogger("docclf")


@dataclass(frozen=True)
class CheckpointInfo:
    """The content of a checkpoint file except its weights.

    Attributes:
        path: The file.
        sha256: Hash of the file.
        model_name: Architecture.
        class_names: Names along the class axis.
        preprocess: How a page becomes the input.
        temperature: Divides the logits.
        augmentation: The augmentation policy of training.
        data: The data section of training.
        monitor: The metric that selected the epoch.
        epoch: Number of epochs the weights were trained for.
        saw_all: Whether it is a refit, which was trained on its run's held-out pages too.
        precision: Number format to predict with (`precision_of`).
        novelty: What held-out pages showed about telling unknown pages; None where that was not measured.
        text: How it uses the text of pages; None where it does not.
        orientation: What turned held-out pages showed about telling how a page lies; None likewise.
        splits_packets: Whether it was trained to split packets.
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
    novelty: HeldOutNovelty | None = None
    text: TextUse | None = None
    orientation: HeldOutOrientation | None = None
    splits_packets: bool = False


@dataclass(frozen=True)
class _Record:
    """The JSON file: an info, and the size and times of the checkpoint it was read from."""

    stamp: tuple[int, int, int]
    info: CheckpointInfo


_RECORD: TypeAdapter[_Record] = TypeAdapter(_Record)


def precision_of(profile: Mapping[str, Any]) -> str:
    """Return the number format to predict with, as the profile in a checkpoint states it.

    It is fp32 unless the user named another format, or it was compared with fp32 at the end of training: a format that
    was only picked for its speed, as in `last.ckpt`, in snapshots and in files of earlier versions, is not used.
    """
    inference = RuntimeConfig.model_validate(profile.get("runtime", {})).inference
    return inference.precision if inference.check == "off" and inference.precision != "auto" else "fp32"


def info_of(path: Path) -> CheckpointInfo:
    """Read the info of a checkpoint: from the JSON file if the checkpoint is unchanged since, else from the checkpoint.

    Raises:
        CheckpointError: There is no such file, or it is damaged or of another kind.
    """
    try:
        stamp = _stamp(path)
    except OSError as error:
        raise CheckpointError(f"{path}: there is no such checkpoint", NO_CHECKPOINT) from error
    stored = _read_record(path)
    unchanged = stored is not None and stored.stamp == stamp
    if stored is not None and unchanged and _has_absolute_root(stored.info.data):
        return stored.info
    sha256 = stored.info.sha256 if stored is not None and unchanged else sha256_of(path)
    if stored is not None and stored.info.sha256 == sha256:
        info = stored.info
    else:
        from docclf_cli.engine.checkpoints.checkpoint import Checkpoint

        info = _describe(path, sha256, Checkpoint.load(path))
    record = _Record(stamp, replace(info, data=_locate_data(path, info.data)))
    if record != stored:
        _write_record(path, record)
    return record.info


def store_info(path: Path, checkpoint: Checkpoint) -> None:
    """Write the JSON file for a checkpoint that was just saved to `path`."""
    _write_record(path, _Record(_stamp(path), _describe(path, sha256_of(path), checkpoint)))


def _describe(path: Path, sha256: str, checkpoint: Checkpoint) -> CheckpointInfo:
    novelty = NoveltyModel.from_arrays(checkpoint.novelty)
    return CheckpointInfo(
        path=path,
        sha256=sha256,
        model_name=checkpoint.model_config.model_name,
        class_names=checkpoint.class_names,
        preprocess=checkpoint.preprocess,
        temperature=checkpoint.temperature,
        augmentation=checkpoint.augmentation,
        data=DataConfig.model_validate(checkpoint.profile["data"]),
        monitor=TrainConfig.model_validate(checkpoint.profile["train"]).monitor,
        epoch=checkpoint.epoch,
        # Checkpoints of training have the metrics of validation, or the state of the optimizer; a refit has neither.
        saw_all=not checkpoint.metrics and not checkpoint.training,
        precision=precision_of(checkpoint.profile),
        novelty=None if novelty is None else novelty.held_out,
        orientation=OrientationModel.from_arrays(checkpoint.orientation).held_out if checkpoint.orientation else None,
        splits_packets=bool(checkpoint.boundaries),
        text=None if (branch := checkpoint.text_branch(path)) is None else branch.use,
    )


def _has_absolute_root(data: DataConfig) -> bool:
    return data.root == "samples" or Path(data.root).is_absolute()


def _locate_data(path: Path, data: DataConfig) -> DataConfig:
    """Make the paths of a checkpoint's data section absolute.

    Earlier versions stored paths as they were typed. Such paths are resolved against the folder that contains the run's
    parent (`.` for `runs/mine`) if the pages there are those of the run, and left as they are otherwise. The working
    folder is never used.
    """
    run = next((folder for folder in path.absolute().parents[:2] if RunFolder(folder).read_provenance()), None)
    if _has_absolute_root(data) or run is None:
        return data
    located = absolute_data(data, run.parent.parent)
    try:
        index, _ = load_training_index(located)
        is_same = RunFolder(run).read_provenance()["data"]["index"] == index.fingerprint()
    except (DocclfError, OSError, ValueError, KeyError, TypeError):
        return data
    return located if is_same else data


def _record_path(path: Path) -> Path:
    return path.parent / "predictions" / f"{path.name}.info.json"


def _stamp(path: Path) -> tuple[int, int, int]:
    # The change time too: a file put in place with the old size and modification time is still another file.
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _read_record(path: Path) -> _Record | None:
    """Read the JSON file of a checkpoint; None if it is missing, damaged or of another version."""
    try:
        record = _RECORD.validate_json(_record_path(path).read_bytes())
    except (OSError, ValueError, TypeError):
        return None
    return replace(record, info=replace(record.info, path=path))  # the folder may have been moved


def _write_record(path: Path, record: _Record) -> None:
    try:
        write_json(_record_path(path), _RECORD.dump_python(record, mode="json"))
    except ResourceError as error:
        level = logging.WARNING if may_write(path.parent) else logging.DEBUG
        logger.log(level, "the metadata of %s cannot be stored: %s", path, error.message)
