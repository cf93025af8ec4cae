"""Filters that do what a test says, and a chain of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from attrs import define, field
from twisted.internet.task import Clock
from zope.interface import implementer

from wsrelay.interfaces import UP, Close, Drop, IMessageFilter, ISession, ISessionFilter
from wsrelay.messages.chain import Chain
from wsrelay.testing import FakeSession

Asked = tuple[str, bytes, bool]
TIMEOUT = 3.0


@implementer(IMessageFilter)
@define(eq=False)
class Says:
    """Answers what it was told to; a function is asked, and may raise."""

    answer: Any = None
    asked: list[Asked] = field(factory=list)

    def message(self, session: ISession, direction: str, payload: bytes, is_binary: bool) -> Any:
        self.asked.append((direction, payload, is_binary))
        return self.answer(session, payload) if callable(self.answer) else self.answer

    @property
    def payloads(self) -> list[bytes]:
        return [payload for _, payload, _ in self.asked]


def passes(session: ISession, payload: bytes) -> bytes:
    """Answer with the message as it is."""
    return payload


def adds(text: bytes) -> Callable[[ISession, bytes], bytes]:
    """Return what answers with *text* behind the message."""
    return lambda session, payload: payload + text


@implementer(ISessionFilter)
@define(eq=False)
class Listens(Says):
    """Notes what it is told, in a list that may be shared."""

    name: str = ""
    told: list[str] = field(factory=list)
    on_opened: Callable[[ISession], object] = lambda session: None
    on_ended: Callable[[ISession], object] = lambda session: None

    def opened(self, session: ISession) -> None:
        self.told.append(f"{self.name} opened")
        self.on_opened(session)

    def ended(self, session: ISession) -> None:
        self.told.append(f"{self.name} ended")
        self.on_ended(session)


class Scene:
    """A chain of filters called a, b, c, …, a clock, and what was decided."""

    def __init__(self, *filters: Any, on_error: Literal["close", "pass"] = "close") -> None:
        self.clock = Clock()
        self.session = FakeSession()
        named = list(zip("abcdefgh", filters, strict=False))
        self.chain = Chain(named, self.session, self.clock, TIMEOUT, on_error)
        self.decisions: list[bytes | Drop | Close] = []

    def take(self, payload: bytes = b"x", direction: str = UP, is_binary: bool = False) -> None:
        self.chain.take(direction, payload, is_binary, self.decisions.append)

    @property
    def is_idle(self) -> bool:
        """Whether no timer is left."""
        return self.clock.getDelayedCalls() == []
