"""What `export` returns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ExportResult:
    """A model in a form that others load, and how it compares with the checkpoint.

    Attributes:
        checkpoint: What was exported.
        format: `onnx` or `safetensors`.
        pages: How many pages both were asked about.
        real_pages: Whether these were pages of the checkpoint's own data (otherwise noise).
        max_difference: The largest difference of a probability.
        checkpoint_ms: Milliseconds a page of the checkpoint in torch, on the CPU.
        exported_ms: Milliseconds a page of the exported model, on the same threads.
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
