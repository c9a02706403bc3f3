"""What `export` and `adapt` return: another file of a checkpoint, compared with it on held-out pages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from docclf_cli.results.metrics import Difference


@dataclass(frozen=True)
class Quantization:
    """An export in int8, compared with its checkpoint on held-out pages.

    Attributes:
        calibration_pages: Number of training pages that the ranges of activations were measured on.
        checkpoint_f1_macro: Macro-F1 of the checkpoint on the held-out pages.
        f1_macro: Macro-F1 in int8 on the same pages.
        difference: By how much it is larger in int8.
        tolerance: By how much it was allowed to fall.
        fp32_ms: Milliseconds per page of the same network as ONNX in fp32, on the same threads.
    """

    calibration_pages: int
    checkpoint_f1_macro: float
    f1_macro: float
    difference: Difference
    tolerance: float
    fp32_ms: float


@dataclass(frozen=True)
class ExportResult:
    """An exported model and its comparison with the checkpoint.

    Attributes:
        checkpoint: What was exported.
        format: `onnx` or `safetensors`.
        pages: Number of pages that both predicted.
        real_pages: Whether these were pages of the training data; otherwise random images.
        max_difference: The largest probability difference.
        checkpoint_ms: Milliseconds per page of the checkpoint in torch, on the CPU.
        exported_ms: Milliseconds per page of the exported model, on the same threads.
        files: What was written.
        quantization: What int8 costs and gains; None for an export in fp32.
    """

    checkpoint: Path
    format: str
    pages: int
    real_pages: bool
    max_difference: float
    checkpoint_ms: float
    exported_ms: float
    files: tuple[Path, ...]
    quantization: Quantization | None = None


@dataclass(frozen=True)
class AdaptResult:
    """A checkpoint with the batch-norm statistics of arriving pages, compared with the one it was made from.

    Attributes:
        checkpoint: The checkpoint it was made from.
        source: Where the arriving pages are.
        pages: Number of arriving pages that the statistics are from.
        unreadable: Number of arriving pages that could not be read.
        prior: As how many pages the statistics of the run count; None is infinitely many.
        layers: Number of batch norms whose statistics changed.
        held_out_before: Macro-F1 of the checkpoint on the held-out pages of its run.
        held_out_after: Macro-F1 on the same pages with the new statistics.
        difference: By how much it is larger with the new ones.
        tolerance: By how much it was allowed to fall.
        confidence_before: Mean confidence of the checkpoint on the arriving pages.
        confidence_after: Mean confidence with the new statistics, at their own temperature.
        temperature: Temperature of the new checkpoint, fitted to the held-out pages.
        file: The new checkpoint.
        sentences: What was learned again, and what the figures do not show.
    """

    checkpoint: Path
    source: str
    pages: int
    unreadable: int
    prior: float | None
    layers: int
    held_out_before: float
    held_out_after: float
    difference: Difference
    tolerance: float
    confidence_before: float
    confidence_after: float
    temperature: float
    file: Path
    sentences: tuple[str, ...] = ()
