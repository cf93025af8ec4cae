"""A session, as filters see it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from attrs import define, field
from zope.interface import implementer

from wsrelay.interfaces import ISession
from wsrelay.messages.answers import close_of, message_of

if TYPE_CHECKING:
    from wsrelay.relay.facts import Facts

__all__ = ["FilteredSession"]


def _nobody(*_anything: object) -> None:
    """Do nothing: the session is over."""


@implementer(ISession)
@define(eq=False)
class FilteredSession:
    """
    What a session's filters see of it, and do to it; see `ISession`.

    :param facts: read when they are asked for.
    :param inject: sends a message: direction, payload, whether it is binary.  What it is given
        has been checked.
    :param close: ends the session: a code that may be sent, a reason that is not too long.
    :param tag: tags it, and raises ValueError for what is no tag.
    :param untag: removes a tag.
    """

    _facts: Facts
    _inject: Callable[[str, bytes, bool], object]
    _close: Callable[[int, str], object]
    _tag: Callable[[str], object]
    _untag: Callable[[str], object]
    data: dict[Any, Any] = field(factory=dict, init=False)

    @property
    def id(self) -> str:
        """16 hexadecimal digits."""
        return self._facts.id

    @property
    def route(self) -> str:
        """The route's name."""
        return self._facts.route

    @property
    def pool(self) -> str:
        """The pool's name."""
        return self._facts.pool

    @property
    def upstream(self) -> str:
        """The upstream's name."""
        return self._facts.upstream

    @property
    def client_address(self) -> str:
        """The client's IP address."""
        return self._facts.address

    @property
    def host(self) -> str:
        """The Host header."""
        return self._facts.host

    @property
    def path(self) -> str:
        """The path."""
        return self._facts.path

    @property
    def query(self) -> str:
        """The query."""
        return self._facts.query

    @property
    def subprotocol(self) -> str:
        """What the upstream chose."""
        return self._facts.subprotocol

    @property
    def tags(self) -> frozenset[str]:
        """The tags that it has now."""
        return self._facts.tags

    def send(self, direction: str, payload: bytes | str, is_binary: bool = False) -> None:
        """Send a message at once; ValueError: it cannot be sent."""
        self._inject(direction, message_of(direction, payload, is_binary=is_binary), is_binary)

    def close(self, code: int = 1008, reason: str = "") -> None:
        """End the session; ValueError: the code may not be sent."""
        checked = close_of(code, reason)
        self._close(checked.code, checked.reason)

    def tag(self, name: str) -> None:
        """Tag it; ValueError: that is no tag."""
        self._tag(name)

    def untag(self, name: str) -> None:
        """Remove a tag."""
        self._untag(name)

    def end(self) -> None:
        """Do nothing any more, whoever keeps this; any number of times."""
        self._inject = self._close = self._tag = self._untag = _nobody
