"""Predictions that are wanted: from the store where they are fresh, else made now. Imports torch only for the latter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from docclf_cli.data.cache import identities
from docclf_cli.engine.events import Emit, silent
from docclf_cli.engine.stop import NEVER, StopFlag
from docclf_cli.engine.store import PLAIN, fingerprint, load_stored, pages_fingerprint
from docclf_cli.files import fingerprint_of
from docclf_cli.profile.schema import DataConfig, RuntimeConfig

if TYPE_CHECKING:
    from docclf_cli.data.documents import DocumentIndex
    from docclf_cli.data.pages import NamedView
    from docclf_cli.engine.facts import CheckpointFacts
    from docclf_cli.results.predictions import Predictions


@dataclass(frozen=True)
class PlainView:
    """The page as it is."""

    quick: ClassVar = True
    name: str = PLAIN

    def __call__(self, page: np.ndarray, row: int) -> np.ndarray:
        """The page itself."""
        return page


@dataclass(frozen=True, eq=False)
class Wanted:
    """What one checkpoint says about some pages in one view.

    Attributes:
        facts: The checkpoint.
        index: Pages, with targets by the checkpoint's class names.
        rows: Which of them, int64 [n].
        split: Names the stored file.
        data: How pages are read, and where they are cached.
        view: How they are looked at; called with rows of `index`.
    """

    facts: CheckpointFacts
    index: DocumentIndex
    rows: np.ndarray
    split: str
    data: DataConfig
    view: NamedView = PlainView()

    @cached_property
    def pages_key(self) -> str:
        """Equal for wants whose pages can be read together."""
        index, data = self.index, self.data
        read = (data.cache, data.max_pixels, data.allow_symlinks)
        pixels = self.facts.preprocess.pixel_fingerprint()
        return fingerprint_of(pixels, str(index.root), index.below, read, index.ids.tolist(), index.paths.tolist())


def collect(
    wanted: Sequence[Wanted],
    *,
    runtime_config: RuntimeConfig | None = None,
    emit: Emit = silent,
    stop: StopFlag = NEVER,
) -> list[Predictions]:
    """The predictions of each want, in their order.

    Args:
        wanted: What is wanted; every page is read once for all wants whose preprocessing gives the same pixels.
        runtime_config: Device and numerics; `auto` is the number format that each checkpoint is to predict with.
        emit: Consumer of progress events.
        stop: Polled between batches.

    Raises:
        Interrupted: `stop` was set; what is finished is stored.
    """
    runtime_config = runtime_config or RuntimeConfig()
    asked = runtime_config.inference_precision
    files: dict[int, np.ndarray] = {}
    found: list[Predictions | None] = []
    for one in wanted:
        if id(one.index) not in files:  # for many wants of a million pages each file is looked at once
            files[id(one.index)] = np.array(identities(one.index), dtype=object)
        pages = pages_fingerprint(one.index.take(one.rows), files[id(one.index)][one.rows].tolist())
        for precision in [asked] if asked != "auto" else _own_precisions(one.facts, runtime_config):
            made_by = fingerprint(one.facts.sha256, pages, one.view.name, precision)
            if (stored := load_stored(one.facts.path, one.split, made_by, one.index.take(one.rows))) is not None:
                break
        found.append(stored)
    missing = [number for number, predictions in enumerate(found) if predictions is None]
    if missing:
        from docclf_cli.engine.looking import look

        made = look([wanted[number] for number in missing], runtime_config, emit, stop)
        for number, predictions in zip(missing, made, strict=True):
            found[number] = predictions
    return [predictions for predictions in found if predictions is not None]


def _own_precisions(facts: CheckpointFacts, config: RuntimeConfig) -> Iterator[str]:
    """The number format that a checkpoint is to predict with; where this machine lacks it, also the one used instead."""
    yield facts.precision
    if facts.precision != "fp32":
        from docclf_cli.engine.numerics import precision_here
        from docclf_cli.engine.runtime import resolve_runtime

        here = precision_here(facts.precision, resolve_runtime(config).device)
        if here != facts.precision:
            yield here
