"""The folder of a search: what it is made of, and the files in it."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from docclf_cli.data.index.cells import to_cell
from docclf_cli.data.index.documents import DocumentIndex
from docclf_cli.data.index.splits import Split, hold_out
from docclf_cli.engine.checkpoints.run_folder import RunFolder
from docclf_cli.errors import InputError
from docclf_cli.files import atomic_write, write_json, write_text
from docclf_cli.profile.load import dump_profile
from docclf_cli.profile.schema import Profile
from docclf_cli.tasks.tune.space import Parameter, as_yaml

APART, SEARCH = "apart", "search"


@dataclass(frozen=True)
class TuneFolder:
    """Paths of the files of a search.

    Attributes:
        path: The folder.
    """

    path: Path

    @property
    def made_of(self) -> Path:
        """What the search is made of; the same command finds the same again."""
        return self.path / "tune.json"

    @property
    def start(self) -> Path:
        """The starting profile, resolved."""
        return self.path / "start.yaml"

    @property
    def best(self) -> Path:
        """The best profile so far."""
        return self.path / "best.yaml"

    @property
    def space(self) -> Path:
        """The search space, with the values that relative ends came to."""
        return self.path / "space.yaml"

    @property
    def split(self) -> Path:
        """Which pages the trials may see, and which are set apart."""
        return self.path / "split.csv"

    @property
    def apart(self) -> Path:
        """`data.exclude` of the trials: the pages that are set apart."""
        return self.path / "apart.csv"

    @property
    def table(self) -> Path:
        """One row per trial."""
        return self.path / "trials.csv"

    @property
    def plot(self) -> Path:
        """Trials and importance."""
        return self.path / "trials.png"

    @property
    def state(self) -> Path:
        """The result, as `--json` prints it."""
        return self.path / "result.json"

    @property
    def trials(self) -> Path:
        """Parent of the trials' run folders."""
        return self.path / "trials"

    def run(self, number: int) -> RunFolder:
        """The run folder of a trial."""
        return RunFolder(self.trials / f"{number:04d}")


def open_folder(
    folder: TuneFolder, profile: Profile, parameters: tuple[Parameter, ...], index: DocumentIndex, share: float
) -> Split:
    """Begin a search in a folder, or find the one that is there; returns which pages are set apart.

    Args:
        folder: The folder.
        profile: The starting profile.
        parameters: The search space.
        index: All training pages.
        share: Of the pages that no trial may see; 0 sets none apart.

    Raises:
        InputError: The folder holds a search of another profile, space or pages, or something else.
    """
    made_of = {
        "profile": json.loads(json.dumps(profile.model_dump(mode="json", exclude={"name", "output"}))),
        "space": as_yaml(parameters),
        "pages": index.fingerprint(),
        "apart": share,
    }
    if folder.made_of.is_file():
        if differing := _differing(_read(folder.made_of), made_of):
            raise InputError(
                f"{folder.path} holds a search of another {differing}",
                "give the options it was started with, or start a new one: --name",
            )
        return Split.load(folder.split)
    if folder.path.is_dir() and (others := [one for one in folder.path.iterdir() if not one.name.startswith(".")]):
        unfinished = {one.name for one in others} <= {"start.yaml", "space.yaml", "split.csv", "apart.csv"}
        if not unfinished:
            raise InputError(f"{folder.path} exists, and holds no search", "choose another --name")
    search, apart = hold_out(index, share, profile.data.split_seed)
    split = Split.of_rows(index, {SEARCH: search, APART: apart})
    write_text(folder.start, dump_profile(profile))
    write_text(folder.space, yaml.safe_dump(as_yaml(parameters), sort_keys=False))
    with atomic_write(folder.apart, "w") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["ID"])
        writer.writerows([to_cell(name)] for name in index.ids[apart].tolist())
    split.save(folder.split)
    write_json(folder.made_of, made_of)  # last: it says that the others are there
    return split


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: damaged ({error})", "start a new search: --name") from error
    return content if isinstance(content, dict) else {}


def _differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What differs, in words; empty where all is the same."""
    if before.get("profile") != now["profile"]:
        key = next(_keys_that_differ(before.get("profile", {}), now["profile"]), "")
        return f"profile ({key})"
    names = {"space": "search space", "pages": "set of pages", "apart": "share of pages set apart (--apart)"}
    return next((name for key, name in names.items() if before.get(key) != now[key]), "")


def _keys_that_differ(before: Any, now: Any, key: str = "") -> Any:
    if isinstance(before, dict) and isinstance(now, dict):
        for name in dict.fromkeys([*now, *before]):
            yield from _keys_that_differ(before.get(name), now.get(name), f"{key}.{name}" if key else name)
    elif before != now:
        yield key
