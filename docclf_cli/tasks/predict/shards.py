"""Stores probabilities in shards of a fixed plan, so that a killed command continues where it stopped."""

from __future__ import annotations

import itertools
import json
import logging
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from docclf_cli.errors import ResourceError
from docclf_cli.files import save_with, write_json, write_text

logger = logging.getLogger("docclf")
BATCHES_PER_SHARD = 8


@dataclass(frozen=True, eq=False)
class ShardPlan:
    """Divides numbered pages into batches, and batches into shards.

    The pages of a batch depend on their block of the input alone, so that their predictions are the same, bit by bit,
    wherever, in whichever order, and by however many processes they are computed.

    Attributes:
        batch_starts: Number of the first page of each batch, and last the number of pages, int64 [batches + 1].
        shard_starts: First batch of each shard, and last the number of batches, int64 [shards + 1].
    """

    batch_starts: np.ndarray
    shard_starts: np.ndarray

    @classmethod
    def of(cls, block_pages: np.ndarray, batch_size: int) -> ShardPlan:
        """Cut blocks into batches; no batch has pages of two blocks.

        Args:
            block_pages: Number of pages of each block, int64 [blocks].
            batch_size: Pages of a batch (the last one of a block may have fewer).
        """
        ends = np.cumsum(block_pages)
        starts = [np.arange(end - pages, end, batch_size) for end, pages in zip(ends, block_pages, strict=True)]
        batch_starts = np.concatenate([*starts, [block_pages.sum()]]).astype(np.int64)
        batches = len(batch_starts) - 1
        return cls(batch_starts, np.append(np.arange(0, batches, BATCHES_PER_SHARD), batches))

    @classmethod
    def joined(cls, plans: Sequence[ShardPlan]) -> ShardPlan:
        """The plan whose shards are those of several, one after another."""
        batch_starts = [np.zeros(1, np.int64)]
        shard_starts = [np.zeros(1, np.int64)]
        pages = 0
        batches = 0
        for plan in plans:
            batch_starts.append(plan.batch_starts[1:] + pages)
            shard_starts.append(plan.shard_starts[1:] + batches)
            pages += plan.pages
            batches += len(plan.batch_starts) - 1
        return cls(np.concatenate(batch_starts), np.concatenate(shard_starts))

    @property
    def pages(self) -> int:
        """Number of pages."""
        return int(self.batch_starts[-1])

    @property
    def shards(self) -> int:
        """Number of shards."""
        return len(self.shard_starts) - 1

    def numbers(self, shard: int) -> range:
        """The pages of a shard."""
        first, end = self.batch_starts[self.shard_starts[shard : shard + 2]].tolist()
        return range(first, end)

    def batches(self, shard: int) -> list[range]:
        """The batches of a shard."""
        first, end = self.shard_starts[shard : shard + 2]
        starts = self.batch_starts[first : end + 1].tolist()
        return [range(*ends) for ends in itertools.pairwise(starts)]


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
        changed = self.changed(settings)
        if changed:
            if self.settings():
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
        return self.settings() == dict(settings)

    def changed(self, settings: Mapping[str, Any]) -> list[str]:
        """Names of the settings that are not those of the work that was begun."""
        begun = self.settings()
        return [name for name in settings if begun.get(name) != settings[name]]

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

    def settings(self) -> dict[str, Any]:
        """The settings of the work that was begun; empty where there is none."""
        try:
            content = json.loads(self._state.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def _part(self, part: int) -> Path:
        return self.folder / f"part-{part:07d}.npz"
