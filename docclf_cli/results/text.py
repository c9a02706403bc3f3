"""What a model takes from the text of pages."""

from __future__ import annotations

from dataclasses import dataclass

from docclf_cli.results.metrics import Estimate


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


@dataclass(frozen=True)
class SideScores:
    """What the image, the text, or both of them say about the pages of a split.

    Attributes:
        side: `image`, `text` or `both`.
        pages: How many pages were scored; for the text only those that have some.
        accuracy: Of these pages.
        f1_macro: Of these pages.
        documents: How many documents were scored, each by all its pages.
        document_accuracy: Of these documents.
        document_f1_macro: Of these documents.
    """

    side: str
    pages: int
    accuracy: Estimate
    f1_macro: Estimate
    documents: int
    document_accuracy: Estimate
    document_f1_macro: Estimate
