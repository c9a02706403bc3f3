"""Features of the pages of a review: computed once, and kept beside the journal."""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from docclf_cli.data.images.decode import UnreadablePage
from docclf_cli.data.images.page_files import PageReader
from docclf_cli.engine.training.frozen_backbone import FrozenBackbone
from docclf_cli.files import fingerprint_of, write_bytes
from docclf_cli.tasks.review.queue import ReviewPage, file_state

FILE = "features.npz"
BATCH = 16
_SAVE_EVERY = 60.0  # seconds


class PageFeatures:
    """Features and log-probabilities of pages, as far as they are computed.

    Args:
        pages: The pages.
        backbone: Computes them.
        folder: Folder of the review.
        reader: Reads the pages.

    Attributes:
        features: float16 [n, width]; width 0 before the first are known.
        log_probs: float32 [n, num_classes of the backbone].
        known: bool [n].
        unreadable: bool [n].
    """

    def __init__(self, pages: Sequence[ReviewPage], backbone: FrozenBackbone, folder: Path, reader: PageReader) -> None:
        self._pages, self._backbone, self._reader = pages, backbone, reader
        self._path, self._saved = folder / FILE, time.monotonic()
        self._names = [fingerprint_of(str(page.path), page.number, *file_state(page.path)) for page in pages]
        self.features = np.empty((len(pages), 0), np.float16)
        self.log_probs = np.zeros((len(pages), len(backbone.class_names)), np.float32)
        self.known = np.zeros(len(pages), dtype=bool)
        self.unreadable = np.zeros(len(pages), dtype=bool)
        self._load()

    def compute(self, order: Sequence[int]) -> Iterator[int]:
        """Compute what is missing in the given order; yields after each batch how many pages are done."""
        missing = [row for row in order if not self.known[row]]
        for start in range(0, len(missing), BATCH):
            self._compute(missing[start : start + BATCH])
            if time.monotonic() - self._saved > _SAVE_EVERY:
                self.save()
            yield int(self.known.sum() + self.unreadable.sum())
        if missing:
            self.save()

    def _compute(self, rows: Sequence[int]) -> None:
        read, images = [], []
        for row in rows:
            page = self._pages[row]
            try:
                images.append(self._reader.read(page.path, page.root, page.number, self._backbone.preprocess))
                read.append(row)
            except UnreadablePage:
                self.unreadable[row] = True
        if read:
            features, log_probs = self._backbone(np.stack(images))
            if not self.features.shape[1]:
                self.features = np.zeros((len(self._pages), features.shape[1]), np.float16)
            self.features[read], self.log_probs[read], self.known[read] = features, log_probs, True

    def save(self) -> None:
        """Write what is known, whole."""
        rows = np.flatnonzero(self.known)
        content = io.BytesIO()
        np.savez(
            content,
            backbone=np.array(self._backbone.key),
            names=np.array([self._names[row] for row in rows], dtype=np.str_),
            features=self.features[rows],
            log_probs=self.log_probs[rows],
        )
        write_bytes(self._path, content.getvalue())
        self._saved = time.monotonic()

    def _load(self) -> None:
        """Take up what an earlier review of the same pages with the same backbone has computed."""
        try:
            with np.load(self._path) as content:
                if str(content["backbone"]) != self._backbone.key:
                    return
                names, features, log_probs = (content[key] for key in ("names", "features", "log_probs"))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return
        place = {name: number for number, name in enumerate(names.tolist())}
        rows = [row for row, name in enumerate(self._names) if name in place]
        places = [place[self._names[row]] for row in rows]
        if rows:
            self.features = np.zeros((len(self._pages), features.shape[1]), np.float16)
            self.features[rows], self.log_probs[rows], self.known[rows] = features[places], log_probs[places], True
