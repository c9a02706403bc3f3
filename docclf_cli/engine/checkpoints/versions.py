"""Versions of everything that decides what a run computes."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import platform
from pathlib import Path

from docclf_cli.version import __version__

PACKAGES = ("data", "engine", "metrics", "models")
LIBRARIES = ("torch", "timm", "numpy", "pillow")


@functools.cache
def versions() -> dict[str, str]:
    """Docclf (and its source, for those who change it), Python, and the libraries that compute."""
    libraries = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return {"docclf": __version__, "source": _source(), "python": platform.python_version(), **libraries}


def _source() -> str:
    """Sixteen hexadecimal digits for the code of the packages that compute."""
    package, digest = Path(__file__).parents[2], hashlib.sha256()
    for path in sorted(path for name in PACKAGES for path in (package / name).rglob("*.py")):
        digest.update(str(path.relative_to(package)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]
