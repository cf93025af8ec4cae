"""What is remembered of answers: so many, so long."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Iterable
from hashlib import blake2b
from typing import Generic, TypeVar

__all__ = ["Cache", "Digest"]

V = TypeVar("V")


class Digest:
    """
    Makes keys of what must not be kept, as passwords: nobody can try them out elsewhere.

    They are good for this process only.
    """

    def __init__(self) -> None:
        self._state = blake2b(key=secrets.token_bytes(32), digest_size=16)

    def of(self, parts: Iterable[bytes]) -> bytes:
        """Return the key of *parts*; others, or others' borders, have another one."""
        state = self._state.copy()
        for part in parts:
            state.update(b"%d:%b" % (len(part), part))
        return state.digest()


class Cache(Generic[V]):
    """
    Values that are known for a while; of too many those unused for longest go first.

    :param size: the most of them.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._known: OrderedDict[bytes, tuple[V, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def get(self, key: bytes, now: float) -> V | None:
        """Return what is known at *now*, in seconds; None if nothing is, any more."""
        found = self._known.get(key)
        if found is None:
            return None
        value, until = found
        if now >= until:
            del self._known[key]
            return None
        self._known.move_to_end(key)
        return value

    def put(self, key: bytes, value: V, until: float) -> None:
        """Keep *value* until then, in seconds."""
        self._known[key] = value, until
        self._known.move_to_end(key)
        if len(self._known) > self._size:
            self._known.popitem(last=False)
