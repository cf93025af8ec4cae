"""Every shipped filter keeps the contract, and the contract notices those that do not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from attrs import field, frozen
from twisted.internet.defer import Deferred, fail, succeed
from twisted.plugin import IPlugin
from zope.interface import implementer

from tests.messages.fakes import Listens, Says, passes
from wsrelay.interfaces import DROP, Close, IMessageFilterPlugin, ISession
from wsrelay.plugins import find_filters
from wsrelay.testing import check_filter_contract

OPTIONS: dict[str, list[dict[str, str]]] = {
    "log": [{}, {"level": "debug", "payload": "1"}, {"payload": "4096"}],
    "deny-binary": [{}, {"direction": "up", "code": "4000"}],
    "deny-pattern": [
        {"pattern": "hello"},
        {"pattern": ".", "direction": "down", "limit": "off"},
        {"pattern": "x", "action": "drop", "limit": "4"},
    ],
}
INSTALLED = find_filters()
CASES = [(name, options) for name in INSTALLED for options in OPTIONS.get(name, [{}])]


def test_three_filters_ship() -> None:
    assert OPTIONS.keys() <= INSTALLED.keys()


@pytest.mark.parametrize(("name", "options"), CASES)
def test_every_installed_filter_keeps_the_contract(name: str, options: dict[str, str]) -> None:
    check_filter_contract(INSTALLED[name], options)


def test_a_filter_with_a_file_keeps_it(tmp_path: Path) -> None:
    (tmp_path / "denied.txt").write_text("hello\n")
    options = {"file": str(tmp_path / "denied.txt")}
    check_filter_contract(INSTALLED["deny-pattern"], options)


@implementer(IPlugin, IMessageFilterPlugin)
@frozen
class ScriptedPlugin:
    make: Callable[[object], object]
    name: str = "scripted"
    options: Mapping[str, str] = field(factory=dict)

    def create(self, options: Mapping[str, str], reactor: object) -> Any:
        return self.make(reactor)


@pytest.mark.parametrize(
    "answer",
    [
        passes,
        lambda session, payload: succeed(payload),
        lambda session, payload: Deferred(),
        DROP,
        Close(1003, "x" * 1000),
        lambda session, payload: session.send("up", payload, True) or payload,
    ],
)
def test_the_contract_accepts_what_the_interface_allows(answer: Any) -> None:
    check_filter_contract(ScriptedPlugin(lambda reactor: Says(answer)))
    check_filter_contract(ScriptedPlugin(lambda reactor: Listens(answer)))


def test_the_contract_cancels_what_does_not_come_at_once() -> None:
    cancelled: list[object] = []
    waits = Says(lambda session, payload: Deferred(cancelled.append))
    check_filter_contract(ScriptedPlugin(lambda reactor: waits))
    assert len(cancelled) == len(waits.asked) > 50


def fails(session: ISession) -> None:
    raise RuntimeError("boom")


def remembers_one(session: ISession, payload: bytes) -> bytes:
    """Fail for a session that nobody has told of."""
    return session.data["opened"]


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (Says(None), "message returned None; return the payload"),
        (Says(lambda session, payload: succeed(None)), "message returned None; return the"),
        (Says(lambda session, payload: payload[:300]), "message gave a text message a payload"),
        (Says(lambda session, payload: payload.decode()), "message raised UnicodeDecodeError"),
        (Says(lambda session, payload: fail(RuntimeError())), "message raised RuntimeError"),
        (Says(lambda session, payload: fails(session)), "message raised RuntimeError"),
        (Says(Close(1006)), "message closes with 1006"),
        (Says(remembers_one), "message raised KeyError"),
        (Listens(passes, on_opened=fails), "opened raised RuntimeError"),
        (Listens(passes, on_ended=fails), "ended raised RuntimeError"),
        (object(), "IMessageFilter"),
    ],
)
def test_the_contract_notices_a_filter_that_breaks_it(made: object, words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        check_filter_contract(ScriptedPlugin(lambda reactor: made))


def test_the_contract_notices_a_filter_that_needs_the_reactor_to_be_made() -> None:
    def make(reactor: Any) -> Says:
        reactor.callLater(1, print)
        return Says(passes)

    with pytest.raises(AttributeError, match="callLater"):
        check_filter_contract(ScriptedPlugin(make))
