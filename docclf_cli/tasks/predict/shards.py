"""Stores probabilities in shards of a fixed plan, so that a killed command continues where it stopped."""

from __future__ import annotations

import json
import logging
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from docclf_cli.errors import ResourceError
from docclf_cli.files import save_with, write_json, write_text

logger = logging.getLogger("docclf")
BATCHES_PER_PART = 8


@dataclass(frozen=True)
class ShardPlan:
    """Divides numbered pages into batches, and batches into shards.

    The pages of a batch depend on their numbers alone, so that a shard is the same, bit by bit, wherever and in
    whichever order shards are computed.
    """

    pages: int
    batch_size: int

    @property
    def part_size(self) -> int:
        """Pages of a part (the last one may have fewer)."""
        return self.batch_size * BATCHES_PER_PART

    @property
    def shards(self) -> int:
        """Number of shards."""
        return -(-self.pages // self.part_size)

    def numbers(self, part: int) -> range:
        """The pages of a part."""
        return range(part * self.part_size, min(self.pages, (part + 1) * self.part_size))

    def batches(self, part: int) -> list[range]:
        """The batches of a part."""
        numbers = self.numbers(part)
        return [numbers[start : start + self.batch_size] for start in range(0, len(numbers), self.batch_size)]


@dataclass(frozen=True, eq=False)
class Shard:
    """What is said about the pages of a part.

    Attributes:
        log_probs: float32 [n, num_classes]; NaN where a page could not be read.
        unknown: Log-odds of belonging to no class, at even odds, float32 [n]; NaN where that is not known.
        leading: Features along their leading components, float32 [n, dimensions], or none.
        orientations: Number of the orientation in which pages lie, int8 [n]; -1 where it is not known.
        reasons: Why pages could not be read, text [n].
    """

    log_probs: np.ndarray
    unknown: np.ndarray
    leading: np.ndarray
    orientations: np.ndarray
    reasons: np.ndarray


class ShardStore:
    """The folder of the shards, which is removed when the command is done.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open(self, settings: Mapping[str, Any]) -> None:
        """Continue work with the same settings; warn of work with other settings, and remove it.

        Args:
            settings: What decides the parts, representable as JSON, by a name for people.
        """
        begun = self._settings()
        changed = [name for name in settings if begun.get(name) != settings[name]]
        if changed:
            if begun:
                logger.warning(
                    "%s: it was started with other %s: starting again",
                    self.folder.parent,
                    " and ".join(map(str, changed)),
                )
            # The settings go first: what they no longer name cannot be taken for theirs. A lock that is held stays.
            self._state.unlink(missing_ok=True)
            for path in self.folder.glob("[!.]*"):
                path.unlink()
            write_json(self._state, dict(settings))

    def is_begun(self, settings: Mapping[str, Any]) -> bool:
        """Whether there is work under these settings that can be continued."""
        return self._settings() == dict(settings)

    def missing(self, plan: ShardPlan) -> list[int]:
        """List the shards that are not stored yet."""
        there = {path.name for path in self.folder.glob("part-*.npz")}
        return [part for part in range(plan.shards) if self._part(part).name not in there]

    def write(self, part: int, shard: Shard) -> None:
        """Keep a part."""
        arrays = {one.name: getattr(shard, one.name) for one in fields(shard)}
        save_with(self._part(part), lambda file: np.savez(file, allow_pickle=False, **arrays))

    def read(self, part: int) -> Shard:
        """What `write` kept.

        Raises:
            ResourceError: The file is damaged.
        """
        try:
            with np.load(self._part(part), allow_pickle=False) as archive:
                return Shard(**{one.name: archive[one.name] for one in fields(Shard)})
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise ResourceError(f"{self._part(part)}: damaged", "delete it and start the command again") from error

    def keep_array(self, name: str, values: np.ndarray) -> None:
        """Store an array beside the shards."""
        save_with(self.folder / f"{name}.npy", lambda file: np.save(file, values, allow_pickle=False))

    def array(self, name: str) -> np.ndarray | None:
        """Read what `keep_array` stored; None if there is nothing."""
        path = self.folder / f"{name}.npy"
        return np.load(path, allow_pickle=False) if path.is_file() else None

    @property
    def publishing(self) -> bool:
        """Whether the command was interrupted while it wrote results, so that existing results are its own."""
        return (self.folder / "publishing").is_file()

    def mark_publishing(self) -> None:
        """Record that results are written from now on."""
        write_text(self.folder / "publishing", "")

    def remove(self) -> None:
        """Remove the folder, with its settings last, so that the same command can complete an interrupted removal."""
        for path in self.folder.glob("part-*"):
            path.unlink()
        shutil.rmtree(self.folder)

    @property
    def _state(self) -> Path:
        return self.folder / "settings.json"

    def _settings(self) -> dict[str, Any]:
        try:
            content = json.loads(self._state.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def _part(self, part: int) -> Path:
        return self.folder / f"part-{part:07d}.npz"
