"""Expected errors: a message, a hint and an exit code."""

import errno
import re
from collections.abc import Sequence


class DocclfError(Exception):
    """An expected failure, shown as one line (and a hint) instead of a traceback.

    Args:
        message: What is wrong, naming the file, row or key.
        hint: What to do about it.
    """

    exit_code = 2

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InputError(DocclfError):
    """Data, options or usage that cannot be worked with."""

    exit_code = 2


class ProfileError(InputError):
    """A profile with faults; all of them are listed at once.

    Args:
        faults: One line a fault, each with its file, line and dotted key where known.
    """

    def __init__(self, faults: Sequence[str], hint: str = "") -> None:
        self.faults = tuple(faults)
        count = len(self.faults)
        head = "the profile has a fault" if count == 1 else f"the profile has {count} faults"
        super().__init__("\n  ".join((f"{head}:", *self.faults)), hint)


class ChangedRunError(InputError):
    """A run that is to go on was started with another profile, code or pages."""


class UnreadableImagesError(DocclfError):
    """More pages cannot be read than `data.max_unreadable` allows."""

    exit_code = 3


class CheckpointError(DocclfError):
    """A checkpoint that is missing, damaged or does not fit."""

    exit_code = 4


class RemoteError(DocclfError):
    """A remote service, or weights kept by one, cannot be reached or refuses."""

    exit_code = 5


class ResourceError(DocclfError):
    """Disk or memory has run out."""

    exit_code = 6


_MEMORY = ("out of memory", "cannot allocate memory", "can't allocate memory", "defaultcpuallocator")
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)
_NO_TEMPORARY = "No usable temporary directory"  # as Python's tempfile says it
_DEAD_WORKER = re.compile(
    r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (is killed by signal: \w[\w ]*|exited unexpectedly)"
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory has run out; torch has a class for it on GPUs, and only a text on CPUs."""
    return isinstance(error, MemoryError) or any(text in str(error).lower() for text in _MEMORY)


def is_dead_worker(error: BaseException) -> bool:
    """Whether an error of torch means that a loader process has died."""
    return _DEAD_WORKER.search(str(error)) is not None


def as_resource_error(error: BaseException) -> ResourceError | None:
    """The `ResourceError` for an error of Python or torch about disk, memory or a dead process; None for other errors."""
    if isinstance(error, DocclfError):
        return None
    if is_out_of_memory(error):
        return ResourceError("memory has run out", "halve the --batch-size, or keep it with --set train.accumulate=2")
    if dead := _DEAD_WORKER.search(str(error)):
        how = dead[2].replace("is killed by", "was killed by")
        return ResourceError(
            f"a loader process ({dead[1]}) {how}",
            "memory may have run out: fewer of them need less (train, predict: --set runtime.workers=1); start it again",
        )
    if isinstance(error, FileNotFoundError) and _NO_TEMPORARY in str(error):
        return ResourceError(
            "no folder for temporary files can be written",
            "name one with TMPDIR; in a container, mount a tmpfs at /tmp",
        )
    if isinstance(error, OSError) and error.errno in _DISK:
        return ResourceError(
            f"{error.filename or 'a file'}: {error.strerror}", "free some space, or check who may read and write there"
        )
    return None


class DivergedError(DocclfError):
    """The loss is no longer a finite number."""

    exit_code = 7


class EnvCheckError(DocclfError):
    """`env-check` found a failure."""

    exit_code = 8


class DriftError(DocclfError):
    """`drift` found that pages have changed."""

    exit_code = 9


class Interrupted(DocclfError):  # noqa: N818  (it is not an error of anyone's making)
    """Stopped by Ctrl-C (130) or SIGTERM (143), with everything saved."""

    def __init__(self, message: str, hint: str = "", *, signal_number: int = 2) -> None:
        super().__init__(message, hint)
        self.signal_number = signal_number
        self.exit_code = 128 + signal_number
