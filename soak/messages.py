"""Messages with a number and a checksum, which both ends check.  Pure."""

from __future__ import annotations

import random
from typing import Final
from zlib import crc32

from attrs import define, frozen

__all__ = ["LARGEST", "Expected", "Message", "WrongMessageError", "make"]

LARGEST: Final = 1 << 20
"""Characters that a message's body may have."""

_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz0123456789äöüß€漢字🙂 \n"
_TEXT: Final = "".join(random.Random(6455).choices(_LETTERS, k=LARGEST))
_BYTES: Final = random.Random(9112).randbytes(LARGEST)


class WrongMessageError(Exception):
    """A message is not the one that was due, or not as it was sent; its text says how."""


@frozen
class Message:
    """
    What a message says.

    :ivar number: how many this side sent before, since the session began.
    :ivar answer: how large a body it wants as an answer.
    """

    number: int
    answer: int


def make(number: int, size: int, *, answer: int = 0, is_text: bool = False) -> str | bytes:
    """
    Return a message whose body has *size* bytes, or characters of a text.

    A text is compressible, and has characters of one to four bytes; the bytes are random.
    """
    size = min(size, LARGEST)
    begin = number * 7919 % (LARGEST - size + 1)
    if is_text:
        text = _TEXT[begin : begin + size]
        return _head(number, answer, text.encode()).decode() + text
    body = _BYTES[begin : begin + size]
    return _head(number, answer, body) + body


def _head(number: int, answer: int, body: bytes) -> bytes:
    words = b"%d %d %d" % (number, answer, len(body))
    return b"%b %08x|" % (words, crc32(body, crc32(words)))


@define
class Expected:
    """Checks the messages of one side of one session: all there, each once, in order, whole."""

    count: int = 0

    def take(self, message: str | bytes) -> Message:
        """
        Check the next one.

        :raises WrongMessageError: it is not the next one, or not as it was sent.
        """
        data = message.encode() if isinstance(message, str) else message
        head, _, body = data.partition(b"|")
        try:
            words, _, checksum = head.rpartition(b" ")
            number, answer, length = map(int, words.split())
            is_whole = length == len(body) and checksum == b"%08x" % crc32(body, crc32(words))
        except ValueError:
            raise WrongMessageError(f"{data[:60]!r} is no message") from None
        if not is_whole:
            raise WrongMessageError(f"message {number} is damaged")
        if number != self.count:
            raise WrongMessageError(f"message {number} came where {self.count} was due")
        self.count += 1
        return Message(number, answer)
