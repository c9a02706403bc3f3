"""Splits packets whose pages are decoded already, as `serve` and `watch` have them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.data.loading.batch import collate
from docclf_cli.engine.inference.packet_model import LookedAt, PacketModel
from docclf_cli.engine.inference.predictor import Predictor
from docclf_cli.engine.inference.trained_model import TrainedModel
from docclf_cli.profile.schema import RuntimeConfig
from docclf_cli.tasks.serve.decoding import DecodedPage
from docclf_cli.tasks.split_packets.options import CutOptions
from docclf_cli.tasks.split_packets.parts import Limits


@dataclass(frozen=True, eq=False)
class PacketSplitter:
    """A packet model with the limits that it decides by.

    Attributes:
        model: Looks at pages, and says where documents begin.
        limits: The probabilities from which on it is sure.
        options: What the limits were found for.
    """

    model: PacketModel
    limits: Limits
    options: CutOptions

    @classmethod
    def open(
        cls, member: TrainedModel, runtime: RuntimeConfig, options: CutOptions, loaded: Predictor | None = None
    ) -> PacketSplitter:
        """Load what a model splits packets with.

        Args:
            member: The model.
            runtime: Device and numerics.
            options: How packets are cut.
            loaded: Its networks, where they are loaded already.

        Raises:
            CheckpointError: It was not trained to split packets, or is damaged.
        """
        model = PacketModel.open(member, runtime, loaded=loaded)
        return cls(model, model.limits(options.target_precision), options)

    @property
    def preprocess(self) -> Preprocess:
        """How pages become its input."""
        return self.model.networks[0].preprocess

    def look(self, pages: Sequence[DecodedPage]) -> list[LookedAt | str]:
        """What it sees on pages, or why they could not be read.

        Args:
            pages: Decoded for its `preprocess` (the first of their images), with their sizes and texts.
        """
        batch = collate(
            [
                ((page.images[0][None],), np.int64(-1), number) if page.images else (None, page.error, number)
                for number, page in enumerate(pages)
            ]
        )
        found: dict[int, LookedAt | str] = dict(batch.unreadable)
        if batch.images:
            text = self.options.text
            looked_at = self.model.look(
                batch, lambda number: pages[number].size, lambda number: pages[number].text_by(text)
            )
            found |= dict(zip(batch.rows.tolist(), looked_at, strict=True))
        return [found[number] for number in range(len(pages))]


def splits_packets(member: TrainedModel) -> bool:
    """Whether a model was trained to split packets; an ONNX file never splits any."""
    return all(info.splits_packets for info in member.checkpoints)
