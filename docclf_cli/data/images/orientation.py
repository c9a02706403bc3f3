"""How a page lies: turned by quarters, mirrored or not; and views that make a page lie so."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ORIENTATIONS = 8  # that can be told: four turns, mirrored or not


@dataclass(frozen=True)
class Orientation:
    """How a page lies: an upright page was mirrored left and right (or not), and then turned.

    Attributes:
        turn: Degrees clockwise that it was turned: 0, 90, 180 or 270.
        mirrored: Whether it was mirrored before; None where that cannot be told, and then nothing is done about it.
    """

    turn: int
    mirrored: bool | None

    @classmethod
    def numbered(cls, number: int) -> Orientation:
        """The orientation with a number: 0 to 3 by quarter turns, 4 more where mirrored, 8 where that cannot be told."""
        return cls(number % 4 * 90, (False, True, None)[number // 4])

    @property
    def upright(self) -> bool:
        """Whether nothing is to be undone."""
        return not self.turn and not self.mirrored

    def of(self, page: np.ndarray) -> np.ndarray:
        """An upright page [height, width, ...] as it lies so."""
        mirrored = page[:, ::-1] if self.mirrored else page
        return np.ascontiguousarray(np.rot90(mirrored, -self.turn // 90))

    def undone(self, page: np.ndarray) -> np.ndarray:
        """The inverse of `of`."""
        turned_back = np.rot90(page, self.turn // 90)
        return np.ascontiguousarray(turned_back[:, ::-1] if self.mirrored else turned_back)
