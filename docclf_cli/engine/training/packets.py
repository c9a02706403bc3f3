"""What a trained model needs to split packets: fitted at the end of `train --packets`, on the user's own documents."""

from __future__ import annotations

import logging
import math
import time
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from scipy.special import log_softmax

from docclf_cli.data.images.augmentation import WHITE, warp
from docclf_cli.data.images.corruptions import corruption
from docclf_cli.data.images.decode import UnreadablePage
from docclf_cli.data.images.page_files import PageReader
from docclf_cli.data.images.transforms import rotation
from docclf_cli.data.index.documents import DocumentIndex
from docclf_cli.data.loading.datasets import InferenceDataset, ModelInput
from docclf_cli.data.loading.pages import AS_IT_IS
from docclf_cli.data.loading.texts import page_texts
from docclf_cli.data.packets.boundary_model import PacketPage
from docclf_cli.data.packets.cues import cues_of
from docclf_cli.data.packets.fit import (
    FEWEST_DOCUMENTS,
    FEWEST_LONG,
    FEWEST_TRAINED,
    FEWEST_TRAINED_LONG,
    PacketDocument,
    fit_boundaries,
)
from docclf_cli.data.text.page_text import TextMode
from docclf_cli.engine.checkpoints.checkpoint import Checkpoint
from docclf_cli.engine.inference.predictor import Network
from docclf_cli.engine.training.job import TrainingJob
from docclf_cli.engine.training.last_look import last_look, network_of
from docclf_cli.engine.training.validator import Validator
from docclf_cli.ensembling.text_branch import OCR
from docclf_cli.errors import InputError
from docclf_cli.metrics.intervals import unit_of
from docclf_cli.models.features import FeatureRecorder
from docclf_cli.models.text_features import TextPage

MOST_TRAINED, MOST_HELD_OUT = 2000, 1000  # pages; documents are drawn until so many are together
LONGEST = 30  # pages; longer documents are no part of synthetic packets
TASK = "learning to split packets"
_TURNED = 0.1  # share of the pages of a stack that lie sideways or upside down
_SKEW = 2.0  # degrees, at most
_SPOILED = ("recompress", "noise", "bleach", "coarse")
logger = logging.getLogger("docclf")


@dataclass(frozen=True, eq=False)
class ScannedView:
    """Pages as a document scanner delivers them, computed from the seed and the page's ID.

    Attributes:
        ids: Of the rows.
        seed: Moves all draws.
    """

    quick: ClassVar = False
    ids: np.ndarray
    seed: int
    name: str = "scanned"

    def turn(self, row: int) -> int:
        """How many quarter turns the page of a row has."""
        rng = self._rng(row)
        return int(rng.integers(1, 4)) if rng.random() < _TURNED else 0

    def __call__(self, page: np.ndarray, row: int) -> np.ndarray:
        """The page of a row, turned, skewed and spoiled."""
        rng = self._rng(row).spawn(1)[0]
        if turn := self.turn(row):
            page = corruption(page, "turn", turn, rng)
        if rng.random() < 0.5:
            page = warp(page, rotation(math.radians(rng.uniform(-_SKEW, _SKEW))), WHITE)
        return corruption(page, str(rng.choice(_SPOILED)), 1, rng) if rng.random() < 0.7 else page

    def _rng(self, row: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, zlib.crc32(str(self.ids[row]).encode("utf-8", "surrogateescape"))))


def require_documents(index: DocumentIndex, train_rows: np.ndarray, val_rows: np.ndarray) -> None:
    """Refuse to learn packets from too few documents.

    Raises:
        InputError: There are too few on one side; it says how many it takes.
    """
    for rows, side, fewest, fewest_long in (
        (train_rows, "to train on", FEWEST_TRAINED, FEWEST_TRAINED_LONG),
        (val_rows, "held out", FEWEST_DOCUMENTS, FEWEST_LONG),
    ):
        found = documents_of(index, rows)
        long = sum(len(one) > 1 for one in found)
        if len(found) < fewest or long < fewest_long:
            raise InputError(
                f"train.packets: {len(found)} documents {side}, {long} of them with several pages; it takes {fewest}, "
                f"and {fewest_long} with several pages",
                "add PDF or TIFF files of several pages, read all their pages (data.pages: all), or leave out --packets",
            )


def documents_of(index: DocumentIndex, rows: np.ndarray) -> list[list[int]]:
    """The rows of each document of one label and at most `LONGEST` pages, in the order of its pages."""
    found: dict[str, list[int]] = defaultdict(list)
    for row in rows.tolist():
        found[str(index.paths[row])].append(row)
    documents = [sorted(rows_of_file, key=index.page) for rows_of_file in found.values()]
    return [one for one in documents if len(one) <= LONGEST and len({int(index.labels[row]) for row in one}) == 1]


def learn_packets(task: TrainingJob, best: Checkpoint, validator: Validator) -> Mapping[str, np.ndarray]:
    """Fit a `BoundaryModel` to the best epoch; rank 0 does it alone.

    Args:
        task: Says which pages trained the model, and which are held out.
        best: The best epoch, with its temperature.
        validator: Its batch size, `emit` and `stop` serve here as well.

    Returns:
        Its arrays.

    Raises:
        InputError: Too few of the documents can be read.
        Interrupted: `stop` was set.
    """
    started, index = time.monotonic(), task.prepared.index
    seed = task.profile.seed
    network = network_of(task, best)
    network = replace(network, recorder=FeatureRecorder(network.model), text=best.text_branch())
    drawn = [
        _drawn(documents_of(index, rows), most, seed)
        for rows, most in ((task.train_rows, MOST_TRAINED), (task.val_rows, MOST_HELD_OUT))
    ]
    pages = _observe(network, [row for side in drawn for one in side for row in one], task, best, validator)
    units = unit_of(len(index), index.groups)
    sides = [list(_readable(side, pages, index, units)) for side in drawn]
    for side, fewest in zip(sides, (FEWEST_TRAINED, FEWEST_DOCUMENTS), strict=True):
        if len(side) < fewest:
            raise InputError(f"train.packets: only {len(side)} documents can be read; it takes {fewest}")
    model_of_boundaries = fit_boundaries(sides[0], sides[1], seed)
    logger.info("%s took %.1f s", TASK, time.monotonic() - started)
    return model_of_boundaries.to_arrays()


def _drawn(documents: Sequence[list[int]], most: int, seed: int) -> list[list[int]]:
    """Documents in random order until they have so many pages."""
    order = np.random.default_rng((seed, len(documents))).permutation(len(documents))
    ends = np.cumsum([len(documents[number]) for number in order])
    return [documents[number] for number in order[: int((ends <= most).sum()) or 1]]


def _readable(
    documents: Sequence[list[int]],
    pages: Mapping[int, tuple[PacketPage, ...]],
    index: DocumentIndex,
    units: np.ndarray,
) -> Iterator[PacketDocument]:
    for rows in documents:
        if all(row in pages for row in rows):
            copies = tuple(zip(*(pages[row] for row in rows), strict=True))
            yield PacketDocument(int(index.labels[rows[0]]), int(units[rows[0]]), copies)


def _observe(
    network: Network, rows: Sequence[int], task: TrainingJob, best: Checkpoint, validator: Validator
) -> dict[int, tuple[PacketPage, ...]]:
    """Each readable page as it is, and as a scanner would deliver it."""
    assert network.recorder is not None
    prepared, data = task.prepared, task.profile.data
    index = prepared.index
    chosen = index.take(np.array(rows))
    mode: TextMode = "auto" if network.text is not None and network.text.source == OCR else "layer"
    texts = page_texts(chosen, data, mode, workers=network.runtime.workers, emit=validator.emit, stop=validator.stop)
    text_of = {row: text.text for row, text in zip(rows, texts, strict=True)}
    scanned = ScannedView(index.ids, task.profile.seed)
    dataset = InferenceDataset((ModelInput(prepared.pages, (AS_IT_IS, scanned)),))
    reader = PageReader(data.max_pixels, data.allow_symlinks)
    found: dict[int, tuple[PacketPage, ...]] = {}
    for batch, outputs in last_look(network, dataset, rows, validator, TASK, views=2):
        images = batch.images[0].movedim(1, -1).numpy()
        count = len(batch.rows)
        # The scanned copies of the pages, the second half, have no text.
        said = [*(TextPage(text_of[row]) for row in batch.rows.tolist()), *[TextPage("")] * count]
        log_probs = log_softmax(network.read(outputs.logits, said).astype(np.float64) / best.temperature, axis=1)
        recorded = network.recorder.classifier_input(outputs.features).cpu().numpy()
        for number, row in enumerate(batch.rows.tolist()):
            try:
                width, height = reader.size(index.path(row), index.root, index.page(row))
            except UnreadablePage:
                continue
            other = number + count
            size = (height, width) if scanned.turn(row) % 2 else (width, height)
            found[row] = (
                PacketPage(cues_of(images[number], (width, height), text_of[row]), recorded[number], log_probs[number]),
                PacketPage(cues_of(images[other], size), recorded[other], log_probs[other]),
            )
    reader.close()
    return found
