"""Settings of the memory allocator, and the error for memory that runs out in a training step."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
from collections.abc import Iterator

from docclf_cli.errors import ResourceError, is_out_of_memory

# Parameters of glibc's mallopt(3).
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


@functools.cache
def keep_freed_memory() -> None:
    """Make glibc keep freed memory for the next step, unless the environment configures its allocator.

    By default large blocks go back to the system whenever a tensor is freed, and the next step gets them back page by
    page, each one zeroed: this took a third of the time of training EfficientNet-Lite0 on two cores with batches of 16,
    and half of it with batches of 64. The peak memory stays the same.

    All threads share one arena: those that others get give blocks of more than 64 MB back whatever is asked of them. A forward
    pass of 64 images in a thread of the server took 16 ms of processor time for each, and takes 7.6 like one in the main thread.
    """
    if any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        return
    with contextlib.suppress(OSError, TypeError, AttributeError):  # another system, or another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_ARENA_MAX, 1)


@contextlib.contextmanager
def step_memory(batch_size: int, accumulate: int) -> Iterator[None]:
    """Turn an out-of-memory error of a step of `batch_size` pages in `accumulate` parts into advice on the batch size.

    Raises:
        ResourceError: Memory ran out inside the block.
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
