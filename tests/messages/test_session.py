"""A session, as filters see it."""

from __future__ import annotations

from typing import Any

import pytest
from zope.interface.verify import verifyObject

from wsrelay.interfaces import DOWN, UP, ISession
from wsrelay.messages.session import FilteredSession
from wsrelay.relay.facts import Facts
from wsrelay.testing import FakeSession


class Far:
    """What a session does at the other end of its two functions."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes, bool]] = []
        self.closed: list[tuple[int, str]] = []
        self.tags: list[str] = []

    def inject(self, direction: str, payload: bytes, is_binary: bool) -> None:
        self.sent.append((direction, payload, is_binary))

    def close(self, code: int, reason: str) -> None:
        self.closed.append((code, reason))

    def tag(self, name: str) -> None:
        self.tags.append(f"+{name}")

    def untag(self, name: str) -> None:
        self.tags.append(f"-{name}")


@pytest.fixture
def facts() -> Facts:
    return Facts(
        "0123456789abcdef",
        "web",
        "192.0.2.7:4711",
        address="192.0.2.7",
        route="chat",
        pool="main",
        upstream="a",
        host="chat.example.com",
        path="/chat",
        query="room=1",
        subprotocol="chat.v1",
    )


@pytest.fixture
def far() -> Far:
    return Far()


@pytest.fixture
def session(facts: Facts, far: Far) -> FilteredSession:
    return FilteredSession(facts, far.inject, far.close, far.tag, far.untag)


def test_it_shows_what_is_known(session: FilteredSession, facts: Facts) -> None:
    assert verifyObject(ISession, session)
    assert verifyObject(ISession, FakeSession())
    names = ("id", "route", "pool", "upstream", "host", "path", "query", "subprotocol")
    for name in names:
        assert getattr(session, name) == getattr(facts, name)
    assert session.client_address == "192.0.2.7"
    assert session.data == {}
    assert FilteredSession(facts, *[nobody] * 4).data is not session.data


def nobody(*anything: object) -> None:
    """Do nothing."""


def test_tags_are_those_of_the_session(session: FilteredSession, facts: Facts, far: Far) -> None:
    facts.tags = frozenset({"user:7"})
    assert session.tags == {"user:7"}
    session.tag("room:1")
    session.untag("user:7")
    assert far.tags == ["+room:1", "-user:7"]


def test_a_fake_has_tags_of_its_own() -> None:
    fake = FakeSession(tags=frozenset({"user:7"}))
    fake.tag("room:1")
    fake.untag("user:7")
    fake.untag("nobody")
    assert fake.tags == {"room:1"}
    for bad in ("", None, 7):
        with pytest.raises(ValueError, match="a tag has to be a text"):
            fake.tag(bad)  # type: ignore[arg-type]


def test_what_is_sent_is_bytes(session: FilteredSession, far: Far) -> None:
    session.send(DOWN, "grün")
    session.send(UP, b"x")
    session.send(UP, b"\xff", is_binary=True)
    assert far.sent == [(DOWN, "grün".encode(), False), (UP, b"x", False), (UP, b"\xff", True)]


@pytest.mark.parametrize("session_class", [FilteredSession, FakeSession])
@pytest.mark.parametrize(
    ("method", "arguments", "words"),
    [
        ("send", ("client", b"x"), "sends to 'client'; say UP or DOWN"),
        ("send", (UP, b"\xff"), "gave a text message a payload that is not UTF-8"),
        ("send", (UP, None), "gave an object of type NoneType as a payload"),
        ("send", (UP, "\ud800"), "gave a str that UTF-8 cannot spell"),
        ("close", (1006,), "closes with 1006; use one of"),
        ("close", (1008, b"no"), "closes with an object of type bytes as the reason"),
    ],
)
def test_what_cannot_be_sent_is_an_error_and_nothing_is_sent(
    facts: Facts, far: Far, session_class: Any, method: str, arguments: tuple, words: str
) -> None:
    about: tuple = (facts, far.inject, far.close, far.tag, far.untag)
    about = about if session_class is FilteredSession else ()
    session = session_class(*about)
    with pytest.raises(ValueError, match=f"^{words}"):
        getattr(session, method)(*arguments)
    assert (far.sent, far.closed) == ([], [])
    if session_class is FakeSession:
        assert (session.sent, session.closed) == ([], None)


def test_a_close_is_cut_to_what_a_frame_can_hold(session: FilteredSession, far: Far) -> None:
    session.close()
    session.close(4000, "€" * 50)
    assert far.closed == [(1008, ""), (4000, "€" * 41)]


def test_after_the_end_nothing_happens_and_it_is_still_known(
    session: FilteredSession, far: Far
) -> None:
    session.data["count"] = 1
    session.end()
    session.end()
    session.send(DOWN, b"x")
    session.close()
    session.tag("late")
    session.untag("late")
    assert (far.sent, far.closed, far.tags) == ([], [], [])
    assert (session.id, session.data) == ("0123456789abcdef", {"count": 1})
