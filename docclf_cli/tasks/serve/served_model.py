"""A model that answers requests, page by page and document by document, as `predict` does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from docclf_cli.data.images.orientation import Orientation
from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.data.loading.batch import collate
from docclf_cli.data.loading.datasets import InferenceDataset, ModelInput
from docclf_cli.data.loading.pages import PLAIN
from docclf_cli.data.loading.texts import mode_of
from docclf_cli.data.text.page_text import TextMode
from docclf_cli.engine.inference.ensemble_predictor import EnsemblePredictor, build_ensemble_predictor
from docclf_cli.engine.inference.ensemble_spec import EnsembleSpec
from docclf_cli.engine.inference.predictor import IMAGES_PER_PASS, TORCH
from docclf_cli.engine.inference.trained_model import TrainedModel
from docclf_cli.errors import InputError
from docclf_cli.events import silent
from docclf_cli.metrics.orientation import UNTOLD
from docclf_cli.models.text_features import TextPage
from docclf_cli.profile.schema import RuntimeConfig
from docclf_cli.results.serving import ServedDocument, ServedModelFacts, ServedPrediction
from docclf_cli.stop import NEVER
from docclf_cli.tasks.costs import read_costs
from docclf_cli.tasks.evaluate.confidence_threshold import threshold_from_held_out
from docclf_cli.tasks.predict.page_predictions import DecisionRule, PageScores
from docclf_cli.tasks.serve.decoding import DecodedPage
from docclf_cli.tasks.split_packets.decoded import PacketSplitter, splits_packets
from docclf_cli.tasks.split_packets.options import CutOptions
from docclf_cli.tasks.unknown import MAX_LOST, check_shares, foreign_pages, unknown_rule

SHOWN_DIGITS = 12  # of the checkpoint's SHA-256
# Larger batches take as long for each page (benchmarks/forward_pass.py), and the first page of one waits for the last.
IMAGES_PER_PASS_ON_CPU = 8


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A loaded model with its name and the rule that it decides by.

    Attributes:
        name: What requests call it.
        path: What was named at the start.
        predictor: What computes.
        rule: How probabilities become predictions, as for `predict`.
        key: Identifies the weights.
        backend: What runs it.
        splitter: Splits packets; None where the model was not trained to, or runs as ONNX.
    """

    name: str
    path: str
    predictor: EnsemblePredictor
    rule: DecisionRule
    key: str
    backend: str
    splitter: PacketSplitter | None = None

    @property
    def preprocesses(self) -> tuple[Preprocess, ...]:
        """How pages are read for it, one for each of its inputs."""
        return tuple(preprocess for preprocess, _ in self.predictor.inputs)

    @property
    def text_mode(self) -> TextMode:
        """How the text of pages is read for it."""
        source = self.predictor.text_source
        return mode_of(source) if source else "off"

    @property
    def most_pages(self) -> int:
        """Pages that it looks at in one pass."""
        most = IMAGES_PER_PASS_ON_CPU if self.predictor.runtime.device.type == "cpu" else IMAGES_PER_PASS
        return max(1, most // self.predictor.most_views)

    def outputs(self, pages: Sequence[DecodedPage]) -> list[PageScores]:
        """What the model says of readable pages."""
        inputs = [
            ModelInput(_DecodedPages([page.images[number] for page in pages]), views)
            for number, (_, views) in enumerate(self.predictor.inputs)
        ]
        texts = None
        if self.predictor.text_source:
            texts = [TextPage(page.text, page.first) for page in pages].__getitem__
        dataset = InferenceDataset(inputs, texts=texts)
        found = self.predictor.outputs(collate([dataset[number] for number in range(len(pages))]))
        log_odds = [math.nan] * len(pages) if found.unknown is None else found.unknown.tolist()
        numbers = [UNTOLD] * len(pages) if found.orientation is None else found.orientation.tolist()
        return [
            PageScores(one, odds, lies=None if number == UNTOLD else Orientation.numbered(number))
            for one, odds, number in zip(found.log_probs.astype(np.float64), log_odds, numbers, strict=True)
        ]

    def answer(self, file: str, scores: Sequence[PageScores], top_k: int, status: str = "") -> ServedPrediction:
        """What is said of a file.

        Args:
            file: Its name, as the request gave it.
            scores: What is said of its pages (`of_all_pages`).
            top_k: How many classes are named with their probabilities.
            status: Why a file without pages was not read.
        """
        names, rule = self.predictor.class_names, replace(self.rule, top_k=top_k)
        predictions = [
            replace(rule.of_page(file, number, one.log_probs, one.log_odds, one.reason), lies=((number - 1, one.lies),))
            for number, one in enumerate(scores, 1)
        ]
        document = rule.of_document(file, scores or [PageScores(np.zeros(0), reason=status)], opened=bool(scores))
        row = document.as_row(names)
        return ServedPrediction(
            model=self.name,
            checkpoint=self.key[:SHOWN_DIGITS],
            threshold=self.rule.threshold,
            predictions=tuple(one.as_row(names) for one in predictions),
            probabilities=tuple({names[place]: share for place, share in one.top} for one in predictions),
            document=ServedDocument(
                len(scores), row.predicted, row.confidence, row.needs_review, row.status, row.unknown, row.decision
            ),
        )

    def facts(self) -> ServedModelFacts:
        """What people may want to know of it."""
        return ServedModelFacts(
            name=self.name,
            path=self.path,
            checkpoint=self.key[:SHOWN_DIGITS],
            classes=tuple(self.predictor.class_names),
            image_size=self.preprocesses[0].size,
            threshold=self.rule.threshold,
            max_lost=self.rule.unknown.max_lost if self.rule.unknown.active else None,
            by_costs=self.rule.costs is not None,
            backend=self.backend,
            precision=self.predictor.precision,
            splits_packets=self.splitter is not None,
        )


def of_all_pages(pages: Sequence[DecodedPage], found: Sequence[PageScores]) -> list[PageScores]:
    """What is said of the readable pages, in their order, with those that could not be read in their places."""
    read = iter(found)
    return [next(read) if page.images else PageScores(np.zeros(0), reason=page.error) for page in pages]


@dataclass(frozen=True)
class ModelSource:
    """Where a model comes from, and how it decides, so that it can be loaded again.

    Attributes:
        name: What requests call it.
        path: Run folder or checkpoint.
        runtime: Device and numerics.
        tta: Look at each page in several views.
        backend: `torch`, or `onnx` or `int8` for what `docclf export` wrote.
        min_confidence: Pages below this confidence need review.
        target_precision: Instead: pages below the confidence from which on held-out pages are right in this share.
        max_lost: Share of pages of known classes that may be called unknown; 0 calls no page unknown.
        expect_unknown: Share of unknown pages to expect; None holds a target precision for known pages alone.
        costs: Table of prices to decide by, instead of a confidence.
        cuts: How packets are cut; None loads nothing for that.
    """

    name: str
    path: Path
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    tta: bool = False
    backend: str = TORCH
    min_confidence: float | None = None
    target_precision: float | None = None
    max_lost: float = MAX_LOST
    expect_unknown: float | None = None
    costs: Path | None = None
    cuts: CutOptions | None = None

    def check(self) -> None:
        """Refuse options that contradict each other.

        Raises:
            InputError: They do.
        """
        if self.target_precision is not None and self.min_confidence is not None:
            raise InputError("name either --target-precision or --min-confidence")
        if self.target_precision is not None and self.tta:
            raise InputError(
                "--target-precision is about a model that looks at each page once", "with --tta, use --min-confidence"
            )
        if self.costs is not None and (self.target_precision, self.min_confidence) != (None, None):
            other = "--min-confidence" if self.target_precision is None else "--target-precision"
            raise InputError(f"--costs decides by prices, and {other} by a confidence", "give only one of them")
        check_shares(self.max_lost, self.expect_unknown)

    @property
    def files(self) -> tuple[Path, ...]:
        """Its checkpoints."""
        return tuple(info.path for info in self._spec().members[0].checkpoints)

    def load(self) -> ServedModel:
        """Load it, and let it look at one white page, so that the first request does not wait.

        Raises:
            CheckpointError: The checkpoint is damaged.
            InputError: No confidence reaches the target.
        """
        spec = self._spec()
        members = spec.members
        plain = any(view.name == PLAIN for view in spec.view_specs()[0])
        unknown = unknown_rule(
            members, self.max_lost, self.expect_unknown, has_features=self.backend == TORCH, plain_view=plain
        )
        threshold = self.min_confidence
        if self.target_precision is not None:
            foreign = foreign_pages(members[0], unknown, self.expect_unknown)
            threshold = threshold_from_held_out(
                members[0], self.target_precision, self.runtime, silent, NEVER, foreign=foreign
            )
        costs = None if self.costs is None else read_costs(self.costs, members[0].info.class_names)
        predictor = build_ensemble_predictor(spec, self.runtime, backend=self.backend)
        rule = DecisionRule(threshold=threshold, unknown=unknown, costs=costs)
        splitter = self._splitter(members[0], predictor)
        served = ServedModel(self.name, str(self.path), predictor, rule, members[0].key, self.backend, splitter)
        white = tuple(np.full((one.size, one.size, 3), 255, np.uint8) for one in served.preprocesses)
        served.outputs([DecodedPage(white)])
        return served

    def _splitter(self, member: TrainedModel, predictor: EnsemblePredictor) -> PacketSplitter | None:
        """What splits packets, by the networks that are loaded already where these are the ones that were trained for it."""
        own = TrainedModel.load(self.path)
        if self.cuts is None or self.backend != TORCH or not splits_packets(own):
            return None
        loaded = predictor.member_predictors[0].predictor if own.key == member.key else None
        return PacketSplitter.open(own, self.runtime, self.cuts, loaded)

    def _spec(self) -> EnsembleSpec:
        return EnsembleSpec.of_checkpoint(self.path, self.tta)


@dataclass(frozen=True, eq=False)
class _DecodedPages:
    """Pages that are decoded already, as the input of a model."""

    images: Sequence[np.ndarray]
    cached: ClassVar = False

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: int) -> np.ndarray:
        return self.images[number]
