"""`--resume RUN|auto`: which run goes on, and from which profile."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from docclf_cli.errors import InputError

if TYPE_CHECKING:
    from docclf_cli.profile.schema import Profile
    from docclf_cli.results.training import FinishedRun

AUTO = "auto"
logger = logging.getLogger("docclf")


def profile_to_load(resume: str | None, profile: str, chosen: bool) -> str:
    """The profile of the run that is named, unless another one was chosen.

    Raises:
        InputError: The folder named is not a run, or its run cannot be resumed.
    """
    if resume in (None, AUTO):
        return profile
    from docclf_cli.engine.checkpoints.provenance import require_resumable
    from docclf_cli.engine.checkpoints.run_folder import RunFolder

    run = RunFolder(Path(str(resume)))
    if not run.profile.is_file():
        raise InputError(
            f"--resume: {run.path} is not a run folder (no {run.profile.name} in it)",
            "name the folder of a run, such as runs/mine; or --resume auto, which starts or continues",
        )
    require_resumable(run)
    return profile if chosen else str(run.profile)


def folder_to_go_on_with(resume: str | None, profile: Profile, name: str | None, overwrite: bool) -> Path | None:
    """The run that goes on; None where a new one starts.

    `auto` is the run of `--name`, else the newest unfinished one below `--output` with the same profile.

    Raises:
        InputError: Other options contradict.
    """
    from docclf_cli.engine.checkpoints.provenance import newest_unfinished, require_resumable
    from docclf_cli.engine.checkpoints.run_folder import RunFolder

    if resume is None:
        return None
    if overwrite:
        raise InputError("--resume goes on with a run, and --overwrite replaces it", "give one of them")
    if resume != AUTO:
        if name is not None:
            raise InputError(
                f"--resume {resume} names the run already, and --name is for a new one", "give one of them"
            )
        return Path(resume)
    if profile.name is not None:
        run = RunFolder(Path(profile.output) / profile.name)
        if not run.profile.is_file():
            return None
        require_resumable(run)
        return run.path
    newest = newest_unfinished(profile)
    logger.info("starting a new run" if newest is None else f"going on with {newest.path}")
    return None if newest is None else newest.path


def finished(path: Path) -> FinishedRun | None:
    """What is said of a run that needs nothing more; None for one that does."""
    from docclf_cli.engine.checkpoints.run_folder import RunFolder
    from docclf_cli.results.training import FinishedRun

    run = RunFolder(path)
    if not run.finished:
        return None
    state = run.read_state()
    return FinishedRun(path, str(state.get("time")), state.get("best_epoch"), state.get("f1_macro"))
