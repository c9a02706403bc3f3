"""Memory between steps."""

import ctypes
import subprocess
import sys

import pytest

PROGRAM = """
import resource
import statistics
import sys
from concurrent.futures import ThreadPoolExecutor
import torch
from docclf_cli.engine.runtime.allocator import keep_freed_memory
{call}
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(80 * 2**18).sum().item()  # 80 MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
if sys.argv[1:]:
    print(statistics.median(ThreadPoolExecutor(1).map(lambda _: faults(), range(41))))
else:
    print(statistics.median([faults() for _ in range(41)]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="another C library than glibc")
def test_a_step_takes_the_memory_that_the_last_one_freed() -> None:
    def faults(call: str, *where: str, **env: str) -> int:
        command = [sys.executable, "-c", PROGRAM.format(call=call), *where]
        return int(subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout)

    # The median: some first steps, more or fewer, still look for a place among small blocks.
    assert faults("keep_freed_memory()") < 50
    assert faults("keep_freed_memory()", "in a thread") < 50
    assert faults("") > 5000
    assert faults("keep_freed_memory()", MALLOC_ARENA_MAX="4") > 5000  # whoever has tuned it keeps that
