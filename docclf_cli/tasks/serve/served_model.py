"""A model that answers requests, page by page and document by document, as `predict` does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
from scipy.special import log_softmax

from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.data.loading.batch import collate
from docclf_cli.data.loading.datasets import InferenceDataset, ModelInput
from docclf_cli.data.loading.texts import mode_of
from docclf_cli.data.text.page_text import TextMode
from docclf_cli.engine.inference.ensemble_predictor import EnsemblePredictor, build_ensemble_predictor
from docclf_cli.engine.inference.ensemble_spec import EnsembleSpec
from docclf_cli.engine.inference.predictor import IMAGES_PER_PASS, TORCH
from docclf_cli.ensembling.pooling import floored
from docclf_cli.errors import InputError
from docclf_cli.events import silent
from docclf_cli.models.text_features import TextPage
from docclf_cli.profile.schema import RuntimeConfig
from docclf_cli.results.prediction import PageRow
from docclf_cli.results.serving import ServedDocument, ServedModelFacts, ServedPrediction
from docclf_cli.stop import NEVER
from docclf_cli.tasks.evaluate.confidence_threshold import threshold_from_held_out
from docclf_cli.tasks.serve.decoding import DecodedPage

SHOWN_DIGITS = 12  # of the checkpoint's SHA-256


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A loaded model with its name and its confidence threshold.

    Attributes:
        name: What requests call it.
        path: What was named at the start.
        predictor: What computes.
        threshold: Less confident pages need review; None without a threshold.
        key: Identifies the weights.
        backend: What runs it.
    """

    name: str
    path: str
    predictor: EnsemblePredictor
    threshold: float | None
    key: str
    backend: str

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
        return max(1, IMAGES_PER_PASS // self.predictor.most_views)

    def log_probs(self, pages: Sequence[DecodedPage]) -> np.ndarray:
        """Calibrated log-probabilities of readable pages, float32 [n, num_classes]."""
        inputs = [
            ModelInput(_DecodedPages([page.images[number] for page in pages]), views)
            for number, (_, views) in enumerate(self.predictor.inputs)
        ]
        texts = None
        if self.predictor.text_source:
            texts = [TextPage(page.text, page.first) for page in pages].__getitem__
        dataset = InferenceDataset(inputs, texts=texts)
        return self.predictor(collate([dataset[number] for number in range(len(pages))]))

    def answer(
        self,
        file: str,
        pages: Sequence[DecodedPage],
        log_probs: Sequence[np.ndarray | None],
        top_k: int,
        status: str = "",
    ) -> ServedPrediction:
        """What is said of a file.

        Args:
            file: Its name, as the request gave it.
            pages: Its pages.
            log_probs: Log-probabilities of each, None for those that cannot be read.
            top_k: How many classes are named with their probabilities.
            status: Why a file without pages was not read.
        """
        names = self.predictor.class_names
        rows = tuple(
            PageRow(file, number, *self._decide(one), page.error)
            for number, (page, one) in enumerate(zip(pages, log_probs, strict=True), 1)
        )
        read = [floored(one) for one in log_probs if one is not None]
        merged = log_softmax(np.mean(read, axis=0)) if read else None
        predicted, confidence, needs_review = self._decide(merged)
        if (len(read) < len(pages) or not pages) and self.threshold is not None:
            needs_review = True
        status = "" if read else next((page.error for page in pages), status)
        return ServedPrediction(
            model=self.name,
            checkpoint=self.key[:SHOWN_DIGITS],
            threshold=self.threshold,
            predictions=rows,
            probabilities=tuple(_top(one, names, top_k) for one in log_probs),
            document=ServedDocument(len(pages), predicted, confidence, needs_review, status),
        )

    def _decide(self, log_probs: np.ndarray | None) -> tuple[str | None, float | None, bool | None]:
        """Class, confidence, and whether a person should look at it."""
        if log_probs is None:
            return None, None, None if self.threshold is None else True
        best = int(np.argmax(log_probs))
        confidence = float(np.exp(log_probs[best]))
        return (
            self.predictor.class_names[best],
            confidence,
            None if self.threshold is None else confidence < self.threshold,
        )

    def facts(self) -> ServedModelFacts:
        """What people may want to know of it."""
        return ServedModelFacts(
            name=self.name,
            path=self.path,
            checkpoint=self.key[:SHOWN_DIGITS],
            classes=tuple(self.predictor.class_names),
            image_size=self.preprocesses[0].size,
            threshold=self.threshold,
            backend=self.backend,
            precision=self.predictor.precision,
        )


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
    """

    name: str
    path: Path
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    tta: bool = False
    backend: str = TORCH
    min_confidence: float | None = None
    target_precision: float | None = None

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
        threshold = self.min_confidence
        if self.target_precision is not None:
            member = spec.members[0]
            threshold = threshold_from_held_out(member, self.target_precision, self.runtime, silent, NEVER)
        predictor = build_ensemble_predictor(spec, self.runtime, backend=self.backend)
        served = ServedModel(self.name, str(self.path), predictor, threshold, spec.members[0].key, self.backend)
        white = tuple(np.full((one.size, one.size, 3), 255, np.uint8) for one in served.preprocesses)
        served.log_probs([DecodedPage(white)])
        return served

    def _spec(self) -> EnsembleSpec:
        return EnsembleSpec.of_checkpoint(self.path, self.tta)


def _top(log_probs: np.ndarray | None, names: Sequence[str], top_k: int) -> Mapping[str, float]:
    if log_probs is None:
        return {}
    order = np.argsort(-log_probs, kind="stable")[:top_k]
    return {names[index]: float(np.exp(log_probs[index])) for index in order}


@dataclass(frozen=True, eq=False)
class _DecodedPages:
    """Pages that are decoded already, as the input of a model."""

    images: Sequence[np.ndarray]
    cached: ClassVar = False

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: int) -> np.ndarray:
        return self.images[number]
