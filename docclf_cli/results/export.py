"""What `export` returns."""

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
