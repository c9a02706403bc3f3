"""What people name with `--checkpoint` and `--members`: a file, a run folder, or a checkpoint in S3."""

from __future__ import annotations

import logging
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from docclf_cli.commands._arguments import argument_or_option
from docclf_cli.display.progress import progress_display
from docclf_cli.errors import CheckpointError, InputError

if TYPE_CHECKING:
    from docclf_cli.profile.schema import Profile, S3Config

logger = logging.getLogger("docclf")
MODEL_FILES = (".ckpt", ".pt", ".pth", ".onnx")


def local_checkpoint(name: str, quiet: bool, config: S3Config | None = None) -> Path:
    """The file or folder on this machine that `name` means; `s3://` addresses are fetched into a verified cache.

    Args:
        name: Path of a checkpoint or a run folder, or `s3://bucket/key`.
        quiet: Show no progress.
        config: Endpoint and settings of the store.

    Raises:
        DocclfError: A page is named, an address is malformed, there is nothing at it, or the store cannot be used.
    """
    if not name.startswith("s3://"):
        _refuse_page(name)
        return Path(name)
    from docclf_cli.services.storage.cache import fetch_checkpoint
    from docclf_cli.stop import StopFlag

    with progress_display(quiet) as emit, StopFlag().installed() as stop:
        return fetch_checkpoint(name, config, emit=emit, stop=stop)


def _refuse_page(name: str) -> None:
    from docclf_cli.data.images.page_files import PAGE_SUFFIXES

    if Path(name).suffix.lower() in PAGE_SUFFIXES:
        command = shlex.join(["docclf", "predict", name])
        raise CheckpointError(f"{name} is a page, and no model", f"name a run folder here; to predict pages: {command}")


def is_model(name: str) -> bool:
    """Whether a word of the command line is a model: a checkpoint, an ONNX file, or a folder with run.json."""
    is_checkpoint = name.lower().endswith(MODEL_FILES) and (name.startswith("s3://") or Path(name).is_file())
    return is_checkpoint or (Path(name) / "run.json").is_file()


def model_first(inputs: list[str], checkpoint: str | None, command: str) -> tuple[list[str], str | None]:
    """The inputs without the model that may come first, and the model.

    Raises:
        InputError: The model comes later, or `--checkpoint` names another one.
    """
    if inputs and is_model(inputs[0]):
        return inputs[1:], argument_or_option(inputs[0], checkpoint, "--checkpoint")
    if checkpoint is None and (late := next(filter(is_model, inputs), None)) is not None:
        others = shlex.join([late, *(name for name in inputs if name != late)])
        raise InputError(f"{late} is a model, and the model comes first", f"{command} {others}")
    return inputs, checkpoint


def checkpoint_or_newest(name: str | None, output: Path | None, quiet: bool) -> Path:
    """What `name` means on this machine; without a name the newest finished run below `output`, which is said.

    Raises:
        DocclfError: As `local_checkpoint`; or there is no finished run.
    """
    if name is not None:
        return local_checkpoint(name, quiet)
    from docclf_cli.engine.checkpoints.run_folder import newest_finished

    path = newest_finished(output or Path("runs")).path
    logger.info("using the newest finished run: %s", path)
    return path


def with_members(profile: Profile, paths: list[str], quiet: bool) -> Profile:
    """The profile with the members of the command line in the place of its own, all of them on this machine.

    Raises:
        DocclfError: As `local_checkpoint`.
    """
    from docclf_cli.profile.schema import MemberConfig

    listed = [MemberConfig(checkpoint_path=path) for path in paths] or list(profile.ensemble.models)
    local = []
    for member in listed:
        key = "run" if member.checkpoint_path is None else "checkpoint_path"
        path: Path = local_checkpoint(str(getattr(member, key)), quiet, profile.s3)
        local.append(member.model_copy(update={key: str(path)}))
    return profile.model_copy(update={"ensemble": profile.ensemble.model_copy(update={"models": tuple(local)})})
