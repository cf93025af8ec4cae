"""A client's session with the upstream of `soak.upstream`."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import ssl
import time
from collections.abc import Sequence
from typing import Final

from attrs import define, field, frozen
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from soak.messages import Expected, WrongMessageError, make
from soak.upstream import NAME

__all__ = ["Manner", "Talk"]

PATIENCE: Final = 30.0
"""Seconds that a handshake, a close, or the last answers may take."""


@frozen
class Manner:
    """
    How a client talks.

    :ivar sizes: of the bodies of its messages; *answers*: of those that it wants back.
    :ivar window: messages that it has not heard an answer to.
    :ivar pause: seconds between two messages; *reads_every*: between two that it reads.
    :ivar pieces: frames that a message is sent in.
    :ivar vanishes: whether it ends with a reset instead of a close.
    """

    name: str
    sizes: Sequence[int] = (9, 90, 900)
    answers: Sequence[int] = (9, 90, 900)
    is_text: bool = False
    compression: str | None = None
    window: int = 4
    pause: float = 0.05
    reads_every: float = 0.0
    pieces: int = 1
    vanishes: bool = False


@define(eq=False)
class Talk:
    """
    One session: messages go up, numbered, and their answers come down, numbered as well.

    :ivar sent: messages that went out; *heard*: answers that came, all of them as they should.
    :ivar upstream: who answers; empty until the session is open.
    :ivar code: of the close, with its *reason*; None while it goes on; 1006: there was none.
    :ivar ended_at: when it ended, in monotonic seconds.
    :ivar trouble: what must never be: a message that is wrong, or answers that stay away.
    """

    url: str
    manner: Manner
    tls: ssl.SSLContext | None = None
    upstream: str = field(default="", init=False)
    sent: int = field(default=0, init=False)
    code: int | None = field(default=None, init=False)
    reason: str = field(default="", init=False)
    ended_at: float = field(default=0.0, init=False)
    trouble: str = field(default="", init=False)
    refused: str = field(default="", init=False)
    _expected: Expected = field(factory=Expected, init=False)
    _news: asyncio.Event = field(factory=asyncio.Event, init=False)

    @property
    def heard(self) -> int:
        """Count the answers."""
        return self._expected.count

    @property
    def lost(self) -> int:
        """Count the messages without an answer."""
        return self.sent - self.heard

    async def run(self, end: asyncio.Event, most: int | None = None) -> None:
        """Talk until *end* is set, or *most* messages are said; then hear all, and close."""
        try:
            connection = await connect(
                self.url,
                ssl=self.tls,
                compression=self.manner.compression,
                max_size=None,
                max_queue=4,
                ping_interval=None,
                open_timeout=PATIENCE,
                close_timeout=PATIENCE,
                proxy=None,
            )
        except (OSError, InvalidHandshake, TimeoutError) as error:
            self.refused = f"{type(error).__name__}: {error}"
            return
        assert connection.response is not None
        self.upstream = connection.response.headers.get(NAME, "")
        speaking = asyncio.create_task(self._speak(connection, end, most))
        try:
            await self._listen(connection)
        finally:
            speaking.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionClosed):
                await speaking
            connection.transport.abort()

    async def _listen(self, connection: ClientConnection) -> None:
        try:
            while True:
                self._expected.take(await connection.recv())
                self._news.set()
                if self.manner.reads_every:
                    await asyncio.sleep(self.manner.reads_every)
        except WrongMessageError as error:
            self._note(str(error))
            connection.transport.abort()
        except ConnectionClosed:
            pass
        await connection.wait_closed()
        self.ended_at = time.monotonic()
        self.code, self.reason = connection.close_code, connection.close_reason or ""

    async def _speak(
        self, connection: ClientConnection, end: asyncio.Event, most: int | None
    ) -> None:
        for number in itertools.count() if most is None else range(most):
            if end.is_set():
                break
            await self._hear(self.manner.window - 1)
            self.sent += 1
            await connection.send(self._message(number))
            await asyncio.sleep(self.manner.pause * random.uniform(0.5, 1.5))
        if self.manner.vanishes:
            connection.transport.abort()
            return
        try:
            async with asyncio.timeout(PATIENCE):
                await self._hear(0)
        except TimeoutError:
            self._note(f"{self.lost} answers did not come within {PATIENCE:g} s")
        await connection.close()

    async def _hear(self, most: int) -> None:
        """Wait until *most* messages at most have no answer."""
        while self.lost > most:
            self._news.clear()
            await self._news.wait()

    def _message(self, number: int) -> str | bytes | list[str] | list[bytes]:
        manner = self.manner
        size = manner.sizes[number % len(manner.sizes)]
        answer = manner.answers[number % len(manner.answers)]
        whole = make(number, size, answer=answer, is_text=manner.is_text)
        if manner.pieces == 1:
            return whole
        step = max(len(whole) // manner.pieces, 1)
        places = range(0, len(whole), step)
        if isinstance(whole, str):
            return [whole[at : at + step] for at in places]
        return [whole[at : at + step] for at in places]

    def _note(self, what: str) -> None:
        self.trouble = self.trouble or what
