"""permessage-deflate of one leg: Autobahn's, with inflation that is bounded."""

from __future__ import annotations

import zlib
from typing import Any, Final

from autobahn.websocket.compress_deflate import PerMessageDeflate
from typing_extensions import override

from wsrelay.messages.fault import Broken
from wsrelay.wire.close import INVALID_PAYLOAD
from wsrelay.wire.deflate import Deflate
from wsrelay.wire.faults import Fault, Violation, violation_of

MEMORY_LEVEL: Final = 5
"""zlib's: with a window of 12 bits, a compressor takes 38 KiB instead of 268."""

_LEAST_BITS: Final = 9
"""Of a window: zlib compresses with no smaller one, and what it wrote for 8 bits needs 9."""

_SLICE: Final = 4096
_MOST_PIECES: Final = 256
"""Blocks in one read that say they are the last: two bytes are enough for one, and each costs
some microseconds."""
_TAIL: Final = b"\x00\x00\xff\xff"
_DAMAGED: Final = Violation(INVALID_PAYLOAD, "compressed data is damaged")


class LegDeflate(PerMessageDeflate):
    """
    The compressor and the decompressor of one leg.

    Autobahn 25.10 inflates without any bound.  26.10 has one, but a message that is some bytes
    over it may be cut silently: what zlib had no room for comes with the next bytes, and those
    are the message's end.  Both return nothing any more after a block that says it is the last
    (RFC 7692 section 7.2.3.4), whatever follows.

    :param is_server: the peer is a client.
    :param limit: bytes that a message may have when it is inflated; None: any number.
    :raises Broken: from the methods that inflate: 1009 or 1007.
    """

    def __init__(self, is_server: bool, agreed: Deflate, limit: int | None) -> None:
        super().__init__(
            is_server,
            agreed.server_no_context_takeover,
            agreed.client_no_context_takeover,
            agreed.server_bits,
            agreed.client_bits,
            MEMORY_LEVEL,
        )
        ours, theirs = agreed.client_bits, agreed.server_bits
        self._keeps, self._peer_keeps = (
            not agreed.client_no_context_takeover,
            not agreed.server_no_context_takeover,
        )
        if is_server:
            ours, theirs = theirs, ours
            self._keeps, self._peer_keeps = self._peer_keeps, self._keeps
        self.can_compress = ours >= _LEAST_BITS
        self._bits = max(theirs, _LEAST_BITS)
        self._limit = limit
        self._left = 0  # bytes that the message may still have
        self._is_fed = False  # the decompressor got something of this message

    @override
    def end_compress_message(self) -> bytes:
        data: bytes = super().end_compress_message()
        if not self._keeps:
            self._compressor = None  # the memory is for nothing until the next message
        return data

    @override
    def start_decompress_message(self) -> None:
        self._left = self._limit or 0
        self._is_fed = False

    @override
    def decompress_message_data(self, data: bytes, max_output_len: int | None = None) -> bytes:
        inflated = self._inflate(data)
        rest = self._start_over()
        if not rest:  # nearly always
            return inflated
        pieces = [inflated]
        at = 0
        while at < len(rest):  # in slices, as zlib copies what it does not take
            piece = rest[at : at + _SLICE]
            pieces.append(self._inflate(piece))
            at += len(piece) - len(self._start_over())
            if len(pieces) > _MOST_PIECES + len(rest) // _SLICE:
                raise Broken(_DAMAGED)
        return b"".join(pieces)

    @override
    def end_decompress_message(self) -> None:
        if self._is_fed and self._inflate(_TAIL):
            raise Broken(_DAMAGED)  # it ended inside a block, which took the tail for its data
        if not self._peer_keeps:
            self._decompressor = None

    def _inflate(self, data: bytes) -> bytes:
        if not data:
            return b""
        if self._decompressor is None:
            self._decompressor = zlib.decompressobj(-self._bits)
        self._is_fed = True
        # One byte more than there may be: then zlib keeps nothing back unless it is too much.
        most = 0 if self._limit is None else self._left + 1
        try:
            inflated: bytes = self._decompressor.decompress(data, most)
        except zlib.error as error:
            raise Broken(_DAMAGED) from error
        self._left -= len(inflated)
        if self._limit is not None and self._left < 0:
            raise Broken(violation_of(Fault.BIG_MESSAGE, self._limit))
        return inflated

    def _start_over(self) -> bytes:
        """Go on behind a last block; return what came there and was not inflated."""
        inflater: Any = self._decompressor
        if inflater is None or not inflater.eof:
            return b""
        self._decompressor = None
        self._is_fed = False
        return bytes(inflater.unused_data)
