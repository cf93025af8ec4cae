"""Messages of the relay's own, as they go between the messages of the peers."""

from __future__ import annotations

from functools import lru_cache
from secrets import token_bytes
from typing import Final

from wsrelay.relay.pump import Side
from wsrelay.wire.frames import BINARY, TEXT, encode_frame

__all__ = ["MAX_PUBLISHED", "RESULTS", "frame_of"]

RESULTS: Final = ("sent", "busy", "ending", "extension")
"""What becomes of a message for one session; see `Session.publish`."""

MAX_PUBLISHED: Final = 1024 * 1024
"""Bytes of such messages that may wait for a leg; one alone may be longer."""


def frame_of(side: Side, payload: bytes, is_binary: bool) -> bytes:
    """
    Return a message to *side* as one frame.

    It is not compressed, whatever was negotiated: that is always allowed for a message, and
    changes nothing for those before and behind it (RFC 7692 section 6).
    """
    if side is Side.CLIENT:
        return _unmasked(payload, is_binary)
    return encode_frame(BINARY if is_binary else TEXT, payload, token_bytes(4))


@lru_cache(maxsize=1)  # the same one goes to all the clients of a route
def _unmasked(payload: bytes, is_binary: bool) -> bytes:
    return encode_frame(BINARY if is_binary else TEXT, payload)
