"""What `export` returns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


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
    """

    checkpoint: Path
    format: str
    pages: int
    real_pages: bool
    max_difference: float
    checkpoint_ms: float
    exported_ms: float
    files: tuple[Path, ...]
