"""``connections_per_ip``: how many sessions each client has."""

from __future__ import annotations

from attrs import define, field

__all__ = ["Counts", "Place"]


@define(eq=False)
class Counts:
    """Sessions at once, by client; those that are about to begin, too."""

    _taken: dict[bytes, int] = field(factory=dict, init=False)

    def __len__(self) -> int:
        """Return the number of clients that have any: no more are remembered."""
        return len(self._taken)

    def of(self, key: bytes) -> int:
        """Return how many a client has; see `wsrelay.guards.keys.key_of`."""
        return self._taken.get(key, 0)

    def take(self, key: bytes, most: int | None = None) -> Place | None:
        """Count one more, until its place is given back; None: there are *most* already."""
        taken = self._taken.get(key, 0)
        if most is not None and taken >= most:
            return None
        self._taken[key] = taken + 1
        return Place(self, key)

    def _give_back(self, key: bytes) -> None:
        left = self._taken.pop(key) - 1
        if left:
            self._taken[key] = left


@define(eq=False)
class Place:
    """One session's part of the count."""

    _counts: Counts
    _key: bytes
    _held: bool = field(default=True, init=False)

    def release(self) -> None:
        """Give it back; only the first call counts, so every way out may call it."""
        if self._held:
            self._held = False
            self._counts._give_back(self._key)
