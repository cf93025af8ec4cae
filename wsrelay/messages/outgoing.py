"""A long message on its way out: masked and handed over piece by piece."""

from __future__ import annotations

from typing import Final

from attrs import define
from autobahn.websocket import USES_NVX
from autobahn.websocket.xormasker import create_xor_masker  # type: ignore[attr-defined]

from wsrelay.wire.frames import xor

PIECE: Final = 64 * 1024
"""Bytes of a frame that are written at once; a multiple of four, so that a mask fits each."""

_WORTH_NVX: Final = 1024
"""Bytes from which on Autobahn's native masking takes less time, where it was built."""


def masked(payload: bytes, mask: bytes) -> bytes:
    """Mask or unmask a payload, which may be long."""
    if USES_NVX and len(payload) >= _WORTH_NVX:
        return bytes(create_xor_masker(mask, len(payload)).process(payload))
    return xor(payload, mask)


@define(eq=False)
class Outgoing:
    """
    A frame that its leg has not taken whole yet.

    :param head: its header.
    :param mask: what the payload gets; empty for none.
    """

    head: bytes
    payload: bytes
    mask: bytes
    at: int = 0

    @property
    def left(self) -> int:
        """Bytes that are still to be written."""
        return len(self.head) + len(self.payload) - self.at

    def next(self) -> bytes:
        """Return the next piece."""
        piece = self.payload[self.at : self.at + PIECE]
        self.at += len(piece)
        head, self.head = self.head, b""
        return head + (masked(piece, self.mask) if self.mask else piece)
