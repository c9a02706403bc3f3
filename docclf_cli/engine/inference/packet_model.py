"""A trained model that splits packets: its networks, each with the boundary model that was fitted to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import log_softmax

from docclf_cli.data.loading.batch import Batch
from docclf_cli.data.packets.boundary_model import BoundaryModel, Gap, PacketPage
from docclf_cli.data.packets.cues import cues_of
from docclf_cli.engine.checkpoints.checkpoint import Checkpoint
from docclf_cli.engine.inference.onnx_backend import ONNX_SUFFIX
from docclf_cli.engine.inference.predictor import Network, Predictor, open_predictor
from docclf_cli.engine.inference.trained_model import TrainedModel
from docclf_cli.ensembling.pooling import geometric
from docclf_cli.errors import CheckpointError
from docclf_cli.models.features import FeatureRecorder
from docclf_cli.models.text_features import TextPage
from docclf_cli.profile.schema import RuntimeConfig

NOT_LEARNED = "train it with --packets, from documents of several pages: docclf train FOLDER --packets"


@dataclass(frozen=True, eq=False)
class LookedAt:
    """A page of a packet as each network sees it.

    Attributes:
        pages: One for each network, taken as the first page of a document.
        first: Calibrated log-probabilities of all networks together, if it is the first page of a document, float64 [classes].
        later: The same if it is not.
    """

    pages: tuple[PacketPage, ...]
    first: np.ndarray
    later: np.ndarray


@dataclass(frozen=True, eq=False)
class PacketModel:
    """Looks at pages, and says where documents begin.

    Attributes:
        networks: Of a folds run one per fold.
        boundaries: The boundary model of each network.
        class_names: Names along the class axis.
        temperature: Divides the log-probabilities.
    """

    networks: tuple[Network, ...]
    boundaries: tuple[BoundaryModel, ...]
    class_names: tuple[str, ...]
    temperature: float

    @classmethod
    def open(
        cls, member: TrainedModel, config: RuntimeConfig, pages: int = 0, loaded: Predictor | None = None
    ) -> PacketModel:
        """Load a model.

        Args:
            member: What to load.
            config: Device and numerics; `auto` is how its run scored its pages.
            pages: About how many pages there are; 0 where that is not known.
            loaded: Its networks, where they are loaded already: they are shared.

        Raises:
            CheckpointError: It was not trained to split packets, or is damaged.
        """
        require_packets(member)
        boundaries = []
        for info in member.checkpoints:
            try:
                boundaries.append(BoundaryModel.from_arrays(Checkpoint.load(info.path).boundaries))
            except ValueError as error:
                raise CheckpointError(f"{info.path}: {error}", "train it again with --packets") from error
        predictor = loaded or open_predictor(member.checkpoints, config, pages=pages, temperature=member.temperature)
        networks = tuple(
            network if network.recorder else replace(network, recorder=FeatureRecorder(network.model))
            for network in predictor.networks
        )
        return cls(networks, tuple(boundaries), predictor.class_names, member.temperature)

    def look(
        self, batch: Batch, size_of: Callable[[int], tuple[float, float]], text_of: Callable[[int], str]
    ) -> list[LookedAt]:
        """Look at the readable pages of a batch, in its order.

        Args:
            batch: Pages by number.
            size_of: Width and height of the page of a number.
            text_of: What is written on it.
        """
        images = batch.images[0].movedim(1, -1).numpy()
        numbers = batch.rows.tolist()
        texts = [text_of(number) for number in numbers]
        cues = [
            cues_of(image, size_of(number), text) for image, number, text in zip(images, numbers, texts, strict=True)
        ]
        features, first, later = list[np.ndarray](), list[np.ndarray](), list[np.ndarray]()
        for network in self.networks:
            logits, recorded, _ = network.outputs(batch.images[0])
            assert network.recorder is not None
            features.append(network.recorder.classifier_input(recorded).cpu().numpy())
            for is_first, found in ((True, first), (False, later)):
                log_probs = network.read(logits, [TextPage(text, is_first) for text in texts])
                found.append(log_softmax(log_probs.astype(np.float64) / self.temperature, axis=1))
        return [
            LookedAt(
                tuple(PacketPage(one, own[place], seen[place]) for own, seen in zip(features, first, strict=True)),
                *(geometric(np.stack(seen)[:, place : place + 1])[0] for seen in (first, later)),
            )
            for place, one in enumerate(cues)
        ]

    def gap(self, before: LookedAt, after: LookedAt) -> Gap:
        """How probable it is that a document begins between two neighbouring pages: the mean over the networks."""
        gaps = [
            boundaries.gap(one, other)
            for boundaries, one, other in zip(self.boundaries, before.pages, after.pages, strict=True)
        ]
        return Gap(float(np.mean([gap.probability for gap in gaps])), gaps[0].kind)

    def limits(self, precision: float) -> dict[str, tuple[float, float]]:
        """By kind, up to which probability pages are joined and from which on they are cut, each as often right.

        Of several networks it is the mean of their limits; a limit that one of them has not is none.
        """
        found = {}
        for kind in sorted({kind for one in self.boundaries for kind in one.kinds}):
            gaps = [one.kinds[kind].held_out for one in self.boundaries if kind in one.kinds]
            cuts, joins = [one.cut_from(precision) for one in gaps], [one.join_to(precision) for one in gaps]
            found[kind] = (
                -0.5 if min(joins) < 0 else float(np.mean(joins)),
                1.5 if max(cuts) > 1 else float(np.mean(cuts)),
            )
        return found


def require_packets(member: TrainedModel) -> None:
    """Refuse a model that was not trained to split packets, before torch is imported.

    Raises:
        CheckpointError: It was not.
    """
    if any(info.path.suffix == ONNX_SUFFIX for info in member.checkpoints):
        raise CheckpointError(f"{member.path}: an ONNX file has no boundary model", "name the run it was made of")
    if not all(info.splits_packets for info in member.checkpoints):
        raise CheckpointError(f"{member.path}: this model was not trained to split packets", NOT_LEARNED)
