"""Make the paths of a profile absolute, so that a run refers to the same files from any working folder."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from docclf_cli.profile.schema import DataConfig, Profile, Section
from docclf_cli.user_folders import user_path

S = TypeVar("S", bound=Section)
_Keys = Mapping[str, tuple[str, ...]]  # and the words that are no path
_DATA: _Keys = {
    "root": ("samples",),
    "images": (),
    "groups": (),
    "relabel": (),
    "exclude": (),
    "val": (),
    "cache": ("auto", "off"),
}
_MEMBER: _Keys = {"checkpoint_path": (), "run": ()}
_MODEL: _Keys = {"checkpoint_path": ()}


def absolute(text: str, start: Path | None = None) -> str:
    """A path as text, from the root of the file system; links in it stay, and so does the address of a store.

    Args:
        text: As it was typed.
        start: Folder that it is relative to; None is the working folder.
    """
    if "://" in text:
        return text
    # pathlib would keep `..`, or follow links.
    return os.path.abspath(os.path.join(start or "", user_path(text)))  # noqa: PTH100, PTH118


def absolute_data(data: DataConfig, start: Path | None = None) -> DataConfig:
    """A data section with absolute paths; words such as `samples` stay.

    Args:
        data: The section.
        start: Folder that its paths are relative to; None is the working folder.
    """
    files = tuple(absolute(path, start) for path in data.add)
    return _with_absolute(data, _DATA, start).model_copy(update={"add": files})


def absolute_paths(profile: Profile) -> Profile:
    """A profile with absolute paths to pages, first weights and members."""
    members = tuple(_with_absolute(member, _MEMBER) for member in profile.ensemble.models)
    teachers = tuple(map(absolute, profile.train.distill.teachers))
    return profile.model_copy(
        update={
            "data": absolute_data(profile.data),
            "model": _with_absolute(profile.model, _MODEL),
            "train": profile.train.model_copy(
                update={"distill": profile.train.distill.model_copy(update={"teachers": teachers})}
            ),
            "ensemble": profile.ensemble.model_copy(update={"models": members}),
        }
    )


def typed_paths(profile: Profile) -> dict[str, str]:
    """The typed text by absolute path, for paths of a profile that were not typed as absolute."""
    sections: list[tuple[Section, _Keys]] = [(profile.data, _DATA), (profile.model, _MODEL)]
    sections += [(member, _MEMBER) for member in profile.ensemble.models]
    texts = (text for section, keys in sections for _, text in _paths(section, keys))
    return {absolute(text): text for text in texts if absolute(text) != text}


def _with_absolute(section: S, keys: _Keys, start: Path | None = None) -> S:
    return section.model_copy(update={key: absolute(text, start) for key, text in _paths(section, keys)})


def _paths(section: Section, keys: _Keys) -> Iterator[tuple[str, str]]:
    for key, words in keys.items():
        text = getattr(section, key)
        if text is not None and text not in words:
            yield key, text
