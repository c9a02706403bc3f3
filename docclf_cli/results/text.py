"""What a model takes from the text of pages."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TextUse:
    """How a model uses the text of pages.

    Attributes:
        source: Where text comes from: `layer` (of a PDF), or `ocr` (also OCR of pages without a layer).
        alone: Whether text is all that the model looks at.
        documents: Held-out documents with text that the gain was measured on.
        gain: By how much the log loss of these documents is lower with text than by the image alone.
        gain_low: Its one-sided 95 % lower bound; above 0 the text is shown to help.
        fitted: Whether the weights of image and text were fitted, to fifty held-out documents or more; otherwise both count alike.
    """

    source: str
    alone: bool
    documents: int = 0
    gain: float = 0.0
    gain_low: float = 0.0
    fitted: bool = False
