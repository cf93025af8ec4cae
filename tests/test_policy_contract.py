"""The contract notices policies that break it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from attrs import field, frozen
from twisted.internet.defer import Deferred, fail, succeed
from twisted.plugin import IPlugin
from zope.interface import implementer

from wsrelay.interfaces import Admit, Deny, Expires, IAccessPolicy, IAccessPolicyPlugin
from wsrelay.testing import FakeHandshake, check_policy_contract


@implementer(IAccessPolicy)
class Scripted:
    """Answers what a function says."""

    def __init__(self, function: Callable[[Any], Any], headers: Any = ("X-User",)) -> None:
        self.admit = function
        self.headers = headers


@implementer(IPlugin, IAccessPolicyPlugin)
@frozen
class ScriptedPlugin:
    policy: Any
    name: str = "scripted"
    options: Mapping[str, str] = field(factory=dict)

    def create(self, options: Mapping[str, str], reactor: object) -> Any:
        return self.policy


@pytest.mark.parametrize(
    "answer",
    [
        None,
        Deny(),
        Deny(302, [("Location", "/login")], b"\xff"),
        Admit(headers=[("x-user", "Ünal")], tags=["user:7"], expires_at=1e9),
        Expires(2),
        succeed(None),
        Deferred(),
    ],
    ids=lambda answer: type(answer).__name__,
)
def test_the_contract_accepts_what_the_interface_allows(answer: Any) -> None:
    def admit(request: Any) -> Any:
        return succeed(answer.result) if isinstance(answer, Deferred) and answer.called else answer

    check_policy_contract(ScriptedPlugin(Scripted(admit)))


def test_a_policy_is_asked_about_plain_requests_and_those_of_its_author() -> None:
    asked: list[Any] = []
    own = FakeHandshake(query="token=good")
    check_policy_contract(ScriptedPlugin(Scripted(asked.append)), requests=[own])
    assert {each.is_websocket for each in asked} == {True, False}
    assert asked.count(own) == 2


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (True, "admit answered True: expected None, an Admit or a Deny"),
        (lambda request: succeed("no"), "admit answered 'no'"),
        (lambda request: fail(RuntimeError()), "admit raised RuntimeError"),
        (lambda request: request.cookies["user"], "admit raised KeyError"),
        (Deny, "admit answered <class .*Deny'>: expected"),
        (Deny(200), "status is not 300 to 599"),
        (Deny(403, [("X-A", "a\r\nX-B: b")]), "the header 'X-A' cannot be sent with"),
        (Deny(body=None), "body is neither"),  # type: ignore[arg-type]
        (Admit(headers=[("X User", "a")]), "the header 'X User' cannot be sent"),
        (Admit(headers=[("X-Role", "a")]), "clients can send X-Role themselves"),
        (Admit(tags="user:7"), "tags are not a sequence of str"),
        (Admit(tags=[7]), "tags are not a sequence of str"),  # type: ignore[list-item]
        (Admit(expires_at="soon"), "expires_at is not a number"),  # type: ignore[arg-type]
    ],
)
def test_the_contract_notices_a_policy_that_breaks_it(answer: Any, words: str) -> None:
    policy = Scripted(answer if callable(answer) and answer is not Deny else lambda request: answer)
    with pytest.raises(AssertionError, match=words):
        check_policy_contract(ScriptedPlugin(policy))


def test_the_contract_notices_what_is_no_policy() -> None:
    with pytest.raises(AssertionError, match="IAccessPolicy"):
        check_policy_contract(ScriptedPlugin(object()))
    with pytest.raises(AssertionError, match="headers is 'X-User'"):
        check_policy_contract(ScriptedPlugin(Scripted(lambda request: None, "X-User")))


def test_the_contract_notices_a_policy_that_cannot_stop() -> None:
    policy: Any = Scripted(lambda request: None)
    policy.stop = lambda: 1 / 0
    with pytest.raises(AssertionError, match="stop raised ZeroDivisionError"):
        check_policy_contract(ScriptedPlugin(policy))
