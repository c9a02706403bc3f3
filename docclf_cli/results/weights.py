"""What `weights list` and `weights pack` return."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class WeightsRow:
    """Pretrained weights that need no network.

    Attributes:
        name: The architecture, as timm calls it; empty for a file that does not say.
        kind: `package`, `hub cache` or `file`.
        source: The package, the repository of the hub, or the file.
        licence: What the package says about its licence; empty where it says nothing.
        bytes: Size; 0 where it is not known without opening the package.
    """

    name: str
    kind: str
    source: str
    licence: str = ""
    bytes: int = 0


@dataclass(frozen=True)
class WeightsList:
    """The pretrained weights within reach.

    Attributes:
        rows: One for each.
    """

    rows: tuple[WeightsRow, ...]


@dataclass(frozen=True)
class PackedWeights:
    """A wheel with weights.

    Attributes:
        name: The architecture, as timm calls it.
        wheel: The file that was written.
        bytes: Its size.
        source: Where the weights come from.
        install: The command that installs it.
    """

    name: str
    wheel: Path
    bytes: int
    source: str
    install: str
