"""The contract that every filter keeps."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from twisted.internet.task import Clock
from twisted.plugin import IPlugin

from wsrelay.interfaces import DOWN, UP, IMessageFilter, IMessageFilterPlugin, ISessionFilter
from wsrelay.messages.answers import answer_of
from wsrelay.testing.answers import UNDECIDED, ask
from wsrelay.testing.fakes import FakeSession, require_provides

__all__ = ["check_filter_contract"]


def check_filter_contract(
    plugin: IMessageFilterPlugin, options: Mapping[str, str] | None = None
) -> None:
    """
    Check that a filter does what wsrelay relies on.

    It is shown messages of all kinds, good and nonsensical, of sessions that differ: its
    answers are those that `IMessageFilter` allows, and it raises nothing.  A Deferred that
    has not fired when ``message`` returns is cancelled, as it is when a session ends; what it
    would have answered stays unchecked.

    :param plugin: as it stands in ``twisted/plugins/``.
    :param options: what stands behind its name in relay.ini.
    :raises AssertionError: it breaks the contract; the text says where.
    """
    require_provides(IPlugin, plugin)
    require_provides(IMessageFilterPlugin, plugin)
    require_provides(IMessageFilter, plugin.create(dict(options or {}), None))  # as in a check
    for check in CHECKS:
        made = plugin.create(dict(options or {}), Clock())
        require_provides(IMessageFilter, made)
        if ISessionFilter.providedBy(made):
            require_provides(ISessionFilter, made)
        check(made)


def _check_messages(made: IMessageFilter) -> None:
    """Show one session after the other every message."""
    for session in _sessions():
        _begin(made, session)
        for direction in (UP, DOWN):
            for payload, is_binary in MESSAGES:
                _show(made, session, direction, payload, is_binary)
        _end(made, session)


def _check_several(made: IMessageFilter) -> None:
    """Mix the messages of sessions that are open together, and end them in another order."""
    sessions = _sessions()
    for session in sessions:
        _begin(made, session)
    for payload, is_binary in MESSAGES:
        for session in sessions:
            for direction in (DOWN, UP):
                _show(made, session, direction, payload, is_binary)
    for session in sessions:
        _end(made, session)


def _check_silence(made: IMessageFilter) -> None:
    """Let sessions end that never said anything."""
    for session in _sessions():
        _begin(made, session)
        _end(made, session)


CHECKS: tuple[Callable[[IMessageFilter], None], ...] = (
    _check_messages,
    _check_several,
    _check_silence,
)

MESSAGES = (
    (b"", False),
    (b"hello", False),
    ("Grüße, \U0001f600\0\r\n\x1b[2J".encode(), False),
    (b"{}", False),
    (b'{"type": "connection_init", "id": 1, "payload": null}', False),
    (b'{"a": [1, 2.5, true, {"b": "ada@example.com"}]', False),
    (b"[" * 100_000, False),
    (b'"' + "€".encode() * 40_000 + b'"', False),
    (b"", True),
    (b"hello", True),
    (bytes(range(256)), True),
    (b"\xff" * 100_000, True),
)
"""Payloads, and whether they are binary."""


def _sessions() -> tuple[FakeSession, ...]:
    return (
        FakeSession(),
        FakeSession(
            id="fedcba9876543210",
            route="chat",
            client_address="2001:db8::1",
            host="chat.example.com",
            path="/chat/r\xf6\xf6m",
            query="room=blue&user=%FF&&=x&empty",
            subprotocol="graphql-transport-ws",
            tags=frozenset({"user:42", "room"}),
        ),
    )


def _begin(made: IMessageFilter, session: FakeSession) -> None:
    if ISessionFilter.providedBy(made):
        ask("opened", made.opened, session)


def _end(made: IMessageFilter, session: FakeSession) -> None:
    if ISessionFilter.providedBy(made):
        ask("ended", made.ended, session)


def _show(
    made: IMessageFilter, session: FakeSession, direction: str, payload: bytes, is_binary: bool
) -> None:
    answer = ask("message", made.message, session, direction, payload, is_binary)
    if answer is UNDECIDED:
        return
    try:
        answer_of(answer, payload, is_binary=is_binary)
    except ValueError as error:
        kind = "binary" if is_binary else "text"
        raise AssertionError(f"message {error}, for the {kind} {payload[:80]!r}") from error
