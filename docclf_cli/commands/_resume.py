"""`--resume RUN|auto`: which run goes on, and from which profile."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docclf_cli.errors import InputError

if TYPE_CHECKING:
    from docclf_cli.profile.schema import Profile
    from docclf_cli.results.training import FinishedRun

AUTO = "auto"
logger = logging.getLogger("docclf")


def profile_to_load(resume: str | None, profile: str, chosen: bool, named: Path) -> str:
    """The profile of the run that is resumed, unless another one was chosen.

    Args:
        resume: The value of `--resume`.
        profile: The profile to start from otherwise.
        chosen: Whether the command line names it.
        named: The folder of the run that `auto` starts or resumes, if it has a name.

    Raises:
        InputError: The folder named is not a run, or its run cannot be resumed.
    """
    if resume is None:
        return profile
    from docclf_cli.engine.checkpoints.provenance import require_resumable
    from docclf_cli.engine.checkpoints.run_folder import RunFolder

    if resume == AUTO:
        run = RunFolder(named)
        if chosen or not run.profile.is_file():
            return profile
        require_resumable(run)
        return str(run.profile)
    run = RunFolder(Path(str(resume)))
    if not run.profile.is_file():
        raise InputError(
            f"--resume: {run.path} is not a run folder (no {run.profile.name} in it)",
            "name a run folder, such as runs/mine, or use --resume auto",
        )
    require_resumable(run)
    return profile if chosen else str(run.profile)


def start_from(run: Path, profile: str, chosen: bool, resume: str | None, options: dict[str, Any]) -> tuple[str, bool]:
    """The profile of a training that starts from the weights of a run, and whether it is one that was chosen.

    `options` get the weights and the labels that the run had already added.

    Args:
        run: The value of `--from`.
        profile: The profile named, or the default.
        chosen: Whether the command line names it.
        resume: The value of `--resume`.
        options: What the command line sets by key.

    Raises:
        InputError: It is no run of a single model, or `--resume` is given as well.
    """
    from docclf_cli.engine.checkpoints.run_folder import RunFolder
    from docclf_cli.profile.load import load_profile

    if resume is not None:
        raise InputError("--resume continues a run, and --from starts a new one", "give only one of them")
    folder = RunFolder(run)
    if not folder.profile.is_file() or not folder.best.is_file():
        has_folds = any(run.glob("fold-*/best.ckpt"))
        raise InputError(
            f"--from: {run} {'is a folds run, whose folds have seen different pages' if has_folds else 'is no trained run'}",
            "name a run of a single model, such as runs/mine",
        )
    options["model.checkpoint_path"] = str(folder.best)
    if added := load_profile(str(folder.profile)).profile.data.add:
        options["data.add"] = list(added)
    return (profile, True) if chosen else (str(folder.profile), True)


def folder_to_go_on_with(resume: str | None, profile: Profile, name: str | None, overwrite: bool) -> Path | None:
    """The run to resume; None for a new run.

    `auto` is the run of `--name`, else the newest unfinished one below `--output` with the same profile.

    Raises:
        InputError: Other options contradict.
    """
    from docclf_cli.engine.checkpoints.provenance import newest_unfinished, require_resumable
    from docclf_cli.engine.checkpoints.run_folder import RunFolder

    if resume is None:
        return None
    if overwrite:
        raise InputError("--resume and --overwrite contradict each other", "give only one of them")
    if resume != AUTO:
        if name is not None:
            raise InputError(
                f"--resume {resume} already names the run; --name is for a new run", "give only one of them"
            )
        return Path(resume)
    if profile.name is not None:
        run = RunFolder(Path(profile.output) / profile.name)
        if not run.profile.is_file():
            return None
        require_resumable(run)
        return run.path
    newest = newest_unfinished(profile)
    logger.info("starting a new run" if newest is None else f"resuming {newest.path}")
    return None if newest is None else newest.path


def finished(path: Path) -> FinishedRun | None:
    """The result to print for a finished run; None for a run that is not finished."""
    from docclf_cli.engine.checkpoints.run_folder import RunFolder
    from docclf_cli.results.training import FinishedRun

    run = RunFolder(path)
    if not run.finished:
        return None
    state = run.read_state()
    return FinishedRun(path, str(state.get("time")), state.get("best_epoch"), state.get("f1_macro"))
