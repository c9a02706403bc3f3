"""Names the folder for what a command derives from a model: one per split, and one per other data set."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

from docclf_cli.engine.inference.members import is_placed
from docclf_cli.engine.inference.trained_model import TrainedModel
from docclf_cli.errors import ResourceError
from docclf_cli.files import fingerprint_of, may_write, write_text
from docclf_cli.profile.schema import DataConfig
from docclf_cli.user_folders import cache_home

OWNER = "data.txt"  # says which data the results in a folder are of
logger = logging.getLogger("docclf")


def results_folder(
    member: TrainedModel, command: str, split: str, data: DataConfig, output: Path | None = None
) -> Path:
    """Return `<run>/<command>/<split>`, or for other data `<split>-<name>`, which belongs to the first data of that name.

    Args:
        member: The model.
        command: Name of the command.
        split: The split.
        data: Data section of the pages, with absolute paths.
        output: Folder to use instead of the run (`writable_place`).
    """
    parent, trained_on = writable_place(member.folder, output) / command, member.info.data
    if (data.root, data.images) == (trained_on.root, trained_on.images):
        return parent / split
    owner = "\n".join(filter(None, (data.root, data.images))) + "\n"
    named = f"{split}-{Path(data.root).stem}"
    names = [named, f"{named}-{fingerprint_of(owner)[:6]}"]
    if not is_placed(trained_on):  # a run of before, whose own pages these may well be
        names.insert(0, split)
    folder = next((parent / name for name in names if _is_of(parent / name, owner)), parent / names[-1])
    with contextlib.suppress(ResourceError):  # told when the results themselves are written
        write_text(folder / OWNER, owner)
    return folder


def writable_place(run: Path, output: Path | None) -> Path:
    """Return the folder for what is derived from a run: the run itself, or a folder of its name below `output`.

    If the run may not be written to, it is a folder in the user's cache, and a warning names it.

    Args:
        run: Folder of the run or of the checkpoint.
        output: The folder that the user named.
    """
    whose = run.absolute().name
    if output is not None:
        return output / whose
    if may_write(run):
        return run
    place = cache_home() / "results" / f"{whose}-{fingerprint_of(str(run.resolve()))}"
    logger.warning("%s is read-only: results go to %s; choose another place with --output DIR", run, place)
    return place


def _is_of(folder: Path, owner: str) -> bool:
    try:
        return (folder / OWNER).read_text(encoding="utf-8") == owner
    except OSError:
        return not folder.exists()
