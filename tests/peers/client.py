"""What a test may ask of any client."""

from __future__ import annotations

import ssl
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, ClassVar, Self

from attrs import define

Data = str | bytes
Headers = Sequence[tuple[str, str]]


@define
class RefusedError(Exception):
    """The handshake was answered with something else than 101."""

    status: int
    headers: Headers
    body: str

    def values(self, name: str) -> list[str]:
        """Return the values of the header *name*, in order."""
        return values_of(self.headers, name)


@define(kw_only=True)
class Handshake:
    """What a client asks for."""

    url: str
    subprotocols: Sequence[str] = ()
    headers: Headers = ()
    deflate: bool | Mapping[str, Any] = False
    """Whether to offer compression, or the parameters by the names of `NodeClient`'s library."""
    tls: ssl.SSLContext | None = None


class Client(ABC):
    """
    One connection; use it as an asynchronous context manager.

    :ivar headers: of the 101.
    :ivar subprotocol: the one that was agreed on.
    :ivar extensions: non-empty if the library says that it compresses.
    """

    encoding: ClassVar[str] = "latin-1"
    """How the library writes header values."""
    reads_body_until_eof: ClassVar[bool] = True
    """Whether it shows the body of a refusal that only the end of the stream ends."""

    headers: Headers = ()
    subprotocol: str | None = None
    extensions: str = ""

    def __init__(self, handshake: Handshake) -> None:
        """Connect when the context is entered."""
        self.handshake = handshake

    def values(self, name: str) -> list[str]:
        """Return the values of the header *name* of the 101, in order."""
        return values_of(self.headers, name)

    async def __aenter__(self) -> Self:
        try:
            await self.connect()
        except BaseException:
            await self.abandon()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.abandon()

    @abstractmethod
    async def connect(self) -> None:
        """Connect or raise `RefusedError`."""

    @abstractmethod
    async def send(self, message: Data) -> None:
        """Send a message in one frame."""

    @abstractmethod
    async def receive(self) -> Data:
        """Wait for the next message."""

    @abstractmethod
    async def ping(self, payload: bytes) -> None:
        """Send a ping and wait for the pong with the same *payload*."""

    @abstractmethod
    async def close(self, code: int, reason: str) -> None:
        """Send a close frame."""

    @abstractmethod
    async def closed(self) -> tuple[int, str]:
        """Wait for the end; return the close code (1006 without a close frame) and reason."""

    @abstractmethod
    async def vanish(self) -> None:
        """Drop the connection without a close frame."""

    @abstractmethod
    async def abandon(self) -> None:
        """Free everything, whatever state it is in."""


def values_of(headers: Headers, name: str) -> list[str]:
    """Return the values of the header *name*, in order."""
    return [value for key, value in headers if key.lower() == name.lower()]
