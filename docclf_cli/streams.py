"""Standard streams that survive closed descriptors, missing characters and readers that have gone."""

import codecs
import contextlib
import io
import os
import sys
from pathlib import Path
from typing import Any, TextIO

ERRORS = "docclf"  # name of the error handler below
_PLAIN = {"–": "-", "—": "-", "…": "...", "→": "->", "←": "<-", "×": "x", "±": "+-", "≤": "<=", "≥": ">=", "’": "'"}


def prepare_streams() -> None:
    r"""Make the three streams safe; to be called before anything is printed.

    - One that is closed becomes the null device: a file that is opened later must not take its place.
    - What its encoding lacks is written as `->` for an arrow and the like, else as `\uXXXX`.
    - A reader that has gone (`| head`) is not written to any more; the work goes on, and its exit code stands. So it does
      where messages cannot be written; results that cannot are an error.
    """
    codecs.register_error(ERRORS, _spelled_out)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
        if (stream := getattr(sys, name)) is None:
            stream = os.fdopen(number, "r" if number == 0 else "w", encoding="utf-8", closefd=False)
            setattr(sys, name, stream)
        if number:
            setattr(sys, name, _safe(stream))


def silence_streams() -> None:
    """Print nothing from now on; a crash of the interpreter still shows, since the descriptors stay as they are."""
    sys.stdout = sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  (open to the end)


def flush_streams() -> None:
    """Write what is left.

    Raises:
        OSError: The disk that a stream is redirected to is full.
    """
    try:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except OSError:
        _to_nowhere(sys.stdout)  # else the interpreter tries again, and complains
        raise


def is_utf8(stream: TextIO) -> bool:
    """Whether a stream takes all characters."""
    with contextlib.suppress(LookupError):
        return codecs.lookup(stream.encoding or "ascii").name == "utf-8"
    return False


def _spelled_out(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    plain = "".join(_PLAIN.get(one, one) for one in text)
    return plain.encode("ascii", "backslashreplace").decode(), error.end


def _safe(stream: TextIO) -> TextIO:
    try:
        number = stream.fileno()
    except (OSError, ValueError, AttributeError):  # not a file: somebody collects what is printed
        return stream
    stream.flush()
    raw: Any = _Raw(number, "wb", closefd=False)
    line_buffering = stream is sys.stderr or stream.isatty()
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding=stream.encoding, errors=ERRORS, line_buffering=line_buffering
    )


class _Raw(io.FileIO):
    """The descriptor of a stream, which becomes the null device where nobody reads it, or messages cannot be written."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if self.fileno() == 1 and not isinstance(error, BrokenPipeError):
                raise OSError(error.errno, error.strerror, "standard output") from error
            _to_nowhere(self)
            return super().write(data)


def _to_nowhere(stream: Any) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
