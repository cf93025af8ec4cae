"""What tables know of names, clients and sessions: digests of one size."""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import Final

from wsrelay.sharing.region import KEY

__all__ = ["TAG", "Kind"]

TAG: Final = 4
"""Bytes at the beginning of a key that are the same for all of its kind."""


class Kind:
    """
    Things of one kind: the clients of a route, the sessions of a pool.

    All processes come to the same digests, and nothing of another kind has them.

    :ivar tag: the first bytes of all of their keys.
    """

    def __init__(self, secret: bytes, *names: str) -> None:
        said = json.dumps(names).encode()  # no two lists of names look alike
        self.tag = blake2b(said, digest_size=TAG, key=secret).digest()
        self._begun = blake2b(said, digest_size=KEY - TAG, key=secret)

    def key(self, thing: bytes = b"") -> bytes:
        """Return the key of one of them."""
        begun = self._begun.copy()
        begun.update(thing)
        return self.tag + begun.digest()
