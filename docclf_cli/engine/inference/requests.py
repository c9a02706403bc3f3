"""A request for predictions, as a plain description. Nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from docclf_cli.data.loading.pages import AS_IT_IS, NamedView
from docclf_cli.files import fingerprint_of
from docclf_cli.profile.schema import DataConfig

if TYPE_CHECKING:
    from docclf_cli.data.index.documents import DocumentIndex
    from docclf_cli.engine.checkpoints.info import CheckpointInfo


@dataclass(frozen=True, eq=False)
class PredictionRequest:
    """Asks one checkpoint for its predictions of some pages in one view.

    Attributes:
        info: The checkpoint.
        index: Pages, with targets by the checkpoint's class names.
        rows: Which of them, int64 [n].
        split: Names the stored file.
        data: How pages are read, and where they are cached.
        view: How they are looked at; called with rows of `index`.
    """

    info: CheckpointInfo
    index: DocumentIndex
    rows: np.ndarray
    split: str
    data: DataConfig
    view: NamedView = AS_IT_IS

    @cached_property
    def pages_key(self) -> str:
        """A key that is equal for requests whose pages can be read together."""
        index, data = self.index, self.data
        read = (data.cache, data.max_pixels, data.allow_symlinks)
        pixels = self.info.preprocess.pixel_fingerprint()
        return fingerprint_of(pixels, str(index.root), index.below, read, index.ids.tolist(), index.paths.tolist())
