"""The text branch of a model: a text model, and how its predictions join those of the image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from docclf_cli.ensembling.fusion import TEXT_ALONE, Fusion, Gain
from docclf_cli.models.text_features import TextPage
from docclf_cli.models.text_model import TextModel
from docclf_cli.results.training import TextUse

LAYER, OCR = "layer", "ocr"
_SOURCES = (LAYER, OCR)


@dataclass(frozen=True, eq=False)
class TextBranch:
    """What a checkpoint knows about text.

    Attributes:
        model: From text to log-probabilities.
        fusion: Weights of image and text.
        source: `layer`, or `ocr` where pages without a layer are read by OCR.
        gain: What text added on held-out documents; None where the model looks at nothing else.
    """

    model: TextModel
    fusion: Fusion
    source: str
    gain: Gain | None = None

    @property
    def alone(self) -> bool:
        """Whether text is all that the model looks at."""
        return self.fusion == TEXT_ALONE

    @property
    def use(self) -> TextUse:
        """The same for results."""
        if self.gain is None:
            return TextUse(self.source, self.alone)
        gain = self.gain
        return TextUse(self.source, self.alone, gain.documents, gain.log_loss, gain.low, gain.fitted)

    def fused(self, image: np.ndarray, pages: Sequence[TextPage]) -> np.ndarray:
        """Log-probabilities by image and text, float32 [n, num_classes].

        Args:
            image: Log-probabilities of the image, [views * n, num_classes], view after view.
            pages: Texts of the n pages.
        """
        text = self.model.log_probs(pages)
        return self.fusion(image, np.tile(text, (len(image) // max(len(pages), 1), 1)))

    def to_arrays(self) -> dict[str, np.ndarray]:
        """What a checkpoint stores."""
        found = {
            **self.model.to_arrays(),
            "fusion": self.fusion.to_array(),
            "source": np.array(_SOURCES.index(self.source)),
        }
        if self.gain is not None:
            gain = self.gain
            found["gain"] = np.array([gain.documents, gain.log_loss, gain.low, float(gain.fitted)], dtype=np.float64)
        return found

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], num_classes: int) -> TextBranch:
        """Read what `to_arrays` made.

        Raises:
            ValueError: It is something else.
        """
        try:
            model = TextModel.from_arrays(arrays, num_classes)
            source = _SOURCES[int(arrays["source"])]
            fusion = Fusion.from_array(np.asarray(arrays["fusion"]))
            gain = None
            if "gain" in arrays:
                documents, log_loss, low, fitted = map(float, cast("Sequence[float]", arrays["gain"]))
                gain = Gain(int(documents), log_loss, low, bool(fitted))
        except (KeyError, IndexError, TypeError) as error:
            raise ValueError("not the arrays of a text branch") from error
        return cls(model, fusion, source, gain)
