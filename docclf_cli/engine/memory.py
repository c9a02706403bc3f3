"""What to do when memory runs out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from docclf_cli.errors import ResourceError, is_out_of_memory


@contextlib.contextmanager
def step_memory(batch_size: int, accumulate: int) -> Iterator[None]:
    """Name a batch size to try where an optimizer step of `batch_size` pages in `accumulate` parts is too much.

    Raises:
        ResourceError: Memory has run out inside the block.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise ResourceError(
            f"memory has run out in a step of {batch_size} pages, {batch_size // accumulate} at a time",
            f"try --batch-size {max(1, batch_size // 2)}, or --set train.accumulate={accumulate * 2} for the same batch "
            "in smaller parts",
        ) from error
