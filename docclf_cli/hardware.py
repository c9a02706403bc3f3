"""Processors that this process may use, and the processes that `torchrun` has started."""

import contextlib
import os
import platform
from collections.abc import Iterator
from pathlib import Path

from docclf_cli.errors import InputError

_GROUPS = Path("/sys/fs/cgroup")
_CPUINFO = Path("/proc/cpuinfo")
_TOPOLOGY = Path("/sys/devices/system/cpu")


def allowed_cores() -> int:
    """Logical processors that the process may run on."""
    return len(_affinity())


def quota(groups: Path = _GROUPS) -> float | None:
    """Processors that a container or service is limited to; None without a limit.

    The tightest `cpu.max` (control groups version 2) from the process's own group up to the root.
    """
    own = next((line[3:] for line in _read(Path("/proc/self/cgroup")).splitlines() if line.startswith("0::")), "/")
    folder = groups / own.lstrip("/")
    limits = [_limit(place) for place in (folder, *folder.parents) if place.is_relative_to(groups)]
    return min((limit for limit in limits if limit is not None), default=None)


def usable_cores() -> int:
    """Processors worth keeping busy: those allowed, within the quota; at least one."""
    limit = quota()
    return allowed_cores() if limit is None else max(1, min(allowed_cores(), round(limit)))


def physical_cores() -> int:
    """Usable processors without the second thread of a core, which adds nothing to matrix arithmetic."""
    siblings = {_read(_TOPOLOGY / f"cpu{number}" / "topology" / "thread_siblings_list") for number in _affinity()}
    return usable_cores() if "" in siblings else min(usable_cores(), len(siblings))


def limit_thread_spinning() -> None:
    """Let threads that wait for work spin for about a tenth of a millisecond; to be called before numpy and torch are imported.

    Threads that spin for long take the cores from other processes: on two busy cores training ran at a quarter of its speed.
    Those that never do are woken for each operation: a step of EfficientNet-Lite0 took a fifth longer. The threads of numpy's
    OpenBLAS would spin for some 20 ms after each product of matrices, that is into the next forward pass: with what a model says
    of unknown and turned pages, EfficientNet-Lite0 at 160 px took 11.5 instead of 6.9 ms of processor time a page (32 at a time).
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    os.environ.setdefault(
        "OPENBLAS_THREAD_TIMEOUT", "4"
    )  # two to the power of this, in cycles; the least that it takes


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let numpy, scipy and torch compute with one thread: on small matrices several wait for one another more than they compute.

    A logistic regression on 780 pages took 0.4 s instead of 2 s and more on two cores, and instead of 24 s where these were busy.
    """
    import torch
    from threadpoolctl import threadpool_limits

    threads = torch.get_num_threads()
    with threadpool_limits(limits=1):
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def process_count() -> int:
    """How many processes `torchrun` has started to work as one."""
    return max(1, _number("WORLD_SIZE", 1))


def is_first_process() -> bool:
    """Whether this process is the only one, or the first, of those that work as one."""
    return _number("RANK", 0) == 0


def local_processes() -> int:
    """How many of them are on this machine."""
    return max(1, _number("LOCAL_WORLD_SIZE", 1))


def local_rank() -> int:
    """The number of this process among those on this machine."""
    return _number("LOCAL_RANK", 0)


def cpu_features() -> frozenset[str]:
    """Instruction sets, as Linux names them; empty on other systems."""
    lines = (line for line in _read(_CPUINFO).splitlines() if line.lower().startswith(("flags", "features")))
    return frozenset(next(lines, "").partition(":")[2].split())


def cpu_name() -> str:
    """The processor's name, or what kind it is where the system does not tell."""
    lines = (line for line in _read(_CPUINFO).splitlines() if line.startswith("model name"))
    return next(lines, "").partition(":")[2].strip() or platform.processor() or platform.machine()


def _number(variable: str, default: int) -> int:
    """The number in a variable of `torchrun`; an empty variable counts as unset."""
    text = os.environ.get(variable, "").strip()
    if text and not text.isdecimal():
        raise InputError(
            f"{variable}='{text}' is not a number", f"torchrun sets it; without torchrun: unset {variable}"
        )
    return int(text or default)


def _affinity() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def _limit(group: Path) -> float | None:
    share, _, period = _read(group / "cpu.max").partition(" ")
    return int(share) / int(period) if share.isdigit() else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
