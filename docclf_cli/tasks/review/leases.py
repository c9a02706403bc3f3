"""Leases: each item of a queue is given to one tab at a time, and comes back when the tab is silent for long."""

from __future__ import annotations

from dataclasses import dataclass, field

LEASE_SECONDS = 300.0


@dataclass
class Leases:
    """Who holds which item.

    Attributes:
        seconds: How long an item stays with a holder that is not heard of.
    """

    seconds: float = LEASE_SECONDS
    _holder: dict[str, str] = field(default_factory=dict)
    _heard: dict[str, float] = field(default_factory=dict)

    def heard_of(self, holder: str, now: float) -> None:
        """Renew all leases of a holder, and end those of holders that were silent too long."""
        self._heard[holder] = now
        silent = {name for name, last in self._heard.items() if now - last > self.seconds}
        for name in silent:
            self.release(name)

    def take(self, key: str, holder: str) -> bool:
        """Lease an item; False where another holder has it."""
        return self._holder.setdefault(key, holder) == holder

    def end(self, key: str) -> None:
        """End the lease of an item."""
        self._holder.pop(key, None)

    def release(self, holder: str) -> None:
        """End all leases of a holder."""
        self._heard.pop(holder, None)
        self._holder = {key: name for key, name in self._holder.items() if name != holder}

    def holder_of(self, key: str) -> str | None:
        """Who has an item; None where nobody has."""
        return self._holder.get(key)

    def of(self, holder: str) -> list[str]:
        """What a holder has, in the order in which it was taken."""
        return [key for key, name in self._holder.items() if name == holder]

    def is_free(self, key: str, holder: str) -> bool:
        """Whether a holder may have an item: nobody has it, or the holder itself."""
        return self._holder.get(key, holder) == holder
