"""Where a command puts what it derives from a model: by split, and apart for other data than the model was trained on."""

from __future__ import annotations

import contextlib
from pathlib import Path

from docclf_cli.engine.members import Member, is_placed
from docclf_cli.errors import ResourceError
from docclf_cli.files import fingerprint_of, write_text
from docclf_cli.profile.schema import DataConfig

OWNER = "data.txt"  # says which data the results in a folder are of


def results_folder(member: Member, command: str, split: str, data: DataConfig) -> Path:
    """`<run>/<command>/<split>`; for other data `<split>-<name>`, which belongs to the first data of that name.

    Args:
        member: The model.
        command: The command.
        split: Which pages.
        data: Where they are, with absolute paths.
    """
    parent, trained_on = member.folder / command, member.facts.data
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


def _is_of(folder: Path, owner: str) -> bool:
    try:
        return (folder / OWNER).read_text(encoding="utf-8") == owner
    except OSError:
        return not folder.exists()
