"""A route's policies are asked before an upstream is, and what they say is done."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from attrs import define, evolve, field
from twisted.internet.defer import Deferred, succeed
from twisted.logger import LogLevel, capturedLogs, formatEvent
from zope.interface import implementer

from tests.relay.support import FakeTransport
from tests.relay.world import REQUEST, ROUTE, SWITCHING, World, answer_in, close_code
from wsrelay.config.model import PluginCall, RouteConfig
from wsrelay.interfaces import Admit, CannotTell, Deny, Expires, IAccessPolicy, IHandshake
from wsrelay.relay import admission
from wsrelay.relay.admission import Policies
from wsrelay.relay.reconfigure import prepare
from wsrelay.relay.transports import nobody

CALLS = (PluginCall("says"),)
"""What relay.ini would say of the policies here."""

GET = b"GET /page HTTP/1.1\r\nHost: chat.example.com\r\n\r\n"


@implementer(IAccessPolicy)
@define(eq=False)
class Says:
    """Answers what it was told to, and keeps what it was asked."""

    answer: Any = None
    headers: tuple[str, ...] = ()
    asked: list[IHandshake] = field(factory=list)
    stopped: int = 0
    on_stop: Callable[[], object] = nobody

    def admit(self, request: IHandshake) -> Any:
        self.asked.append(request)
        return self.answer(request) if callable(self.answer) else self.answer

    def stop(self) -> None:
        self.stopped += 1
        self.on_stop()


def world_with(*policies: Says, route: RouteConfig = ROUTE) -> World:
    world = World(evolve(route, policy_timeout=3.0))
    named = tuple((f"policy-{number}", each) for number, each in enumerate(policies))
    world.relay.policies["chat"] = Policies(named, CALLS)
    return world


def check_refused(world: World, client: FakeTransport, status: int, refusal: str) -> bytes:
    answer = answer_in(client)
    assert answer.status == status
    assert world.names_dialled() == []
    ((told, _),) = world.observer.refusals
    assert told == status
    assert world.observer.refused_facts[0].refusal == refusal
    world.leave_all()
    world.assert_clean()
    assert not world.relay.admissions
    return answer.body


def raises(error: Exception) -> Callable[[object], None]:
    def raise_it(_: object) -> None:
        raise error

    return raise_it


@pytest.mark.parametrize("request_bytes", [REQUEST, GET])
def test_all_are_asked_in_order_and_then_the_upstream(request_bytes: bytes) -> None:
    asked: list[str] = []
    policies = [
        Says(lambda _: asked.append("first")),
        Says(lambda _: asked.append("second")),
        Says(lambda _: succeed(asked.append("third"))),
    ]
    world = world_with(*policies)
    world.ask(request_bytes)
    assert asked == ["first", "second", "third"]
    assert len(world.dials) == 1
    assert policies[0].asked[0].is_websocket is (request_bytes is REQUEST)
    assert policies[0].asked[0].client_address == "192.0.2.7"


def test_who_denies_decides_and_the_others_are_not_asked() -> None:
    last = Says()
    world = world_with(Says(), Says(Deny(402, [("X-Why", "überfällig")], "Pay.")), last)
    client = world.ask()
    assert check_refused(world, client, 402, "policy") == b"Pay.\n"
    assert answer_in(client).header(b"X-Why") == "überfällig".encode()
    assert last.asked == []


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("The token has expired.", "denied by policy-0: The token has expired."),
        ("", "denied by policy-0"),
        (b"{}", "denied by policy-0"),
        ("<html>\n</html>", "denied by policy-0"),
        ("x" * 201, "denied by policy-0"),
    ],
)
def test_the_log_says_what_a_denied_client_is_told(body: str | bytes, reason: str) -> None:
    world = world_with(Says(Deny(401, body=body)))
    client = world.ask()
    assert world.observer.refusals == [(401, reason)]
    check_refused(world, client, 401, "policy")


def test_a_denial_may_have_a_body_of_its_own_type() -> None:
    world = world_with(Says(Deny(403, [("Content-Type", "application/json")], b"{}")))
    client = world.ask()
    assert check_refused(world, client, 403, "policy") == b"{}"
    assert answer_in(client).header(b"Content-Type") == b"application/json"
    assert bytes(client.received).count(b"Content-Type") == 1


def test_a_deferred_is_waited_for() -> None:
    answer: Deferred[Any] = Deferred()
    last = Says()
    world = world_with(Says(answer), last)
    client = world.ask()
    assert (world.dials, last.asked) == ([], [])
    answer.callback(None)
    assert len(last.asked) == 1
    upstream = world.accept()
    world.send(upstream, SWITCHING)
    assert client.received.startswith(b"HTTP/1.1 101 ")
    world.end(client)
    world.leave_all()
    world.assert_clean()


def test_a_policy_that_takes_too_long_is_cancelled_and_answered_with_504() -> None:
    cancelled: list[object] = []
    answer: Deferred[Any] = Deferred(cancelled.append)
    world = world_with(Says(answer))
    client = world.ask()
    world.advance(2.9)
    assert client.received == b""
    world.advance(0.2)
    assert cancelled == [answer]
    check_refused(world, client, 504, "policy-failed")
    assert answer_in(client).header(b"Retry-After") == b"5"


def test_an_answer_that_comes_although_it_was_cancelled_changes_nothing() -> None:
    answer: Deferred[Any] = Deferred(lambda it: it.callback(None))
    world = world_with(Says(answer))
    client = world.ask()
    world.advance(3.1)
    check_refused(world, client, 504, "policy-failed")


def test_a_client_that_leaves_is_not_decided_about() -> None:
    cancelled: list[object] = []
    world = world_with(Says(Deferred(cancelled.append)))
    client = world.ask()
    world.reset(client)
    assert len(cancelled) == 1
    assert world.observer.refusals[0][0] == 499
    world.assert_clean()
    assert not world.relay.admissions


@pytest.mark.parametrize(
    "answer",
    [
        raises(RuntimeError("broken")),
        raises(ValueError("broken")),
        lambda _: Deferred.fromCoroutine(_broken()),
        True,
        Deny(200),
        Deny(403, [("X-Two", "a\r\nX-Three: b")]),
        Admit(headers=[("X-User", "a\r\nX-Admin: yes")]),
        Admit(headers=[("X User", "a")]),
        Admit(headers=[("Host", "other.example.com")]),
    ],
)
def test_a_policy_that_fails_lets_nobody_in(answer: Any) -> None:
    world = world_with(Says(answer))
    client = world.ask()
    check_refused(world, client, 500, "policy-failed")


async def _broken() -> None:
    raise RuntimeError("broken, later")


def test_what_a_policy_says_upstream_no_client_can_say() -> None:
    named = ("X-User", "X-Roles")
    world = world_with(Says(Admit(headers=[("X-User", "Ünal")]), headers=named))
    claims = b"X-User: root\r\nx_user: root\r\nX-Roles: admin\r\nX-Other: 1\r\n\r\n"
    world.ask(REQUEST.removesuffix(b"\r\n") + claims)
    head = bytes(world.accept().received).split(b"\r\n")
    assert "X-User: Ünal".encode() in head
    assert b"X-Other: 1" in head
    assert not [line for line in head if b"root" in line or b"admin" in line]


def test_a_policy_may_spell_with_underscores_what_no_client_can_say() -> None:
    world = world_with(Says(Admit(headers=[("X_User", "ada")]), headers=("X_User",)))
    claims = b"X-User: root\r\nx_user: root\r\nX_uSER: root\r\n\r\n"
    world.ask(REQUEST.removesuffix(b"\r\n") + claims)
    head = bytes(world.accept().received)
    assert b"X_User: ada" in head
    assert b"root" not in head


def test_a_policy_that_says_nothing_does_not_let_claims_pass_either() -> None:
    world = world_with(Says(None, headers=("X-User",)))
    world.ask(REQUEST.removesuffix(b"\r\n") + b"X-User: root\r\n\r\n")
    assert b"root" not in world.accept().received


def test_the_earliest_end_counts_and_the_session_is_closed_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = time.time()
    world = world_with(Says(Expires(now + 500)), Says(Expires(now + 100)), Says(Expires(now + 300)))
    client, _ = world.establish()
    (session,) = world.relay.sessions.values()
    assert session.facts.expires_at == now + 100
    monkeypatch.setattr(time, "time", lambda: now + 99.0 + world.reactor.seconds())
    world.advance(0.9)
    assert close_code(client) is None
    world.advance(99)
    assert close_code(client) == 1008
    assert session.cause is not None
    assert session.cause.initiator == "relay:expired"


def test_the_clock_is_looked_at_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be set while a session lives."""
    monkeypatch.setattr(time, "time", lambda: 1_000_000.0 + world.reactor.seconds())
    world = world_with(Says(Expires(1_000_000.0 + 150.0)))
    client, _ = world.establish()
    world.advance(149)
    assert close_code(client) is None
    world.advance(2)
    assert close_code(client) == 1008
    world.advance(10)
    world.leave_all()
    world.assert_clean()


def test_what_has_expired_already_lets_nobody_in() -> None:
    world = world_with(Says(Expires(time.time() - 1)))
    check_refused(world, world.ask(), 403, "policy")


def test_tags_are_collected() -> None:
    world = world_with(Says(Admit(tags=["user:7"])), Says(), Says(Admit(tags=["room:1", "user:7"])))
    world.establish()
    (session,) = world.relay.sessions.values()
    assert session.facts.tags == {"user:7", "room:1"}


def test_a_stopping_relay_refuses_those_that_are_being_decided_about() -> None:
    world = world_with(Says(Deferred()))
    client = world.ask()
    world.relay.drains.drain_relay()
    world.leave_all()
    world.advance(1)  # until the relay has seen that all have left
    check_refused(world, client, 503, "draining")


def test_a_pool_that_has_gone_meanwhile_is_no_error() -> None:
    answer: Deferred[Any] = Deferred()
    world = world_with(Says(answer))
    client = world.ask()
    world.relay.remove_pool(world.pool)
    answer.callback(None)
    world.settle()
    check_refused(world, client, 503, "no-upstream")


def test_the_body_of_a_request_waits_for_the_decision() -> None:
    answer: Deferred[Any] = Deferred()
    world = world_with(Says(answer))
    head = b"POST /page HTTP/1.1\r\nHost: chat.example.com\r\nContent-Length: 10\r\n\r\n"
    client = world.ask(head + b"01234")
    world.send(client, b"56789")
    answer.callback(None)
    upstream = world.accept()
    assert upstream.received.endswith(b"\r\n\r\n0123456789")


def test_a_denied_request_leaves_the_connection_to_the_next_one() -> None:
    answers = iter([Deny(403), None])
    world = world_with(Says(lambda _: next(answers)))
    client = world.ask(GET)
    assert answer_in(client).status == 403
    world.send(client, GET)
    assert len(world.dials) == 1


def test_who_is_counted_by_guards_is_given_back_once_when_its_session_has_ended() -> None:
    left: list[str] = []
    world = world_with(Says())
    client, _upstream = world.establish()
    (connection,) = world.relay.connections
    connection.leave = lambda: left.append("session")
    world.reset(client)
    assert left == []  # the upstream has not gone yet
    world.leave_all()
    assert left == ["session"]
    world.assert_clean()


def test_who_is_counted_by_guards_is_given_back_when_it_leaves_before_that() -> None:
    left: list[str] = []
    world = world_with(Says())
    client = world.ask()
    (connection,) = world.relay.connections
    connection.leave = lambda: left.append("handshake")
    world.reset(client)
    assert left == ["handshake"]
    world.assert_clean()


def test_policies_are_stopped() -> None:
    policies = [Says(), Says()]
    named = (("a", policies[0]), ("b", policies[1]))
    Policies(named).stop()
    assert [each.stopped for each in policies] == [1, 1]


def test_a_policy_that_cannot_tell_says_so_in_one_line_of_the_log() -> None:
    world = world_with(Says(raises(CannotTell("http://auth.test/ answered 302"))))
    with capturedLogs() as events:
        client = world.ask()
        check_refused(world, client, 500, "policy-failed")
    [event] = [event for event in events if event["log_level"] >= LogLevel.warn]
    assert "log_failure" not in event
    assert event["log_level"] is LogLevel.warn
    assert formatEvent(event).endswith(
        ": policy policy-0 of route chat: http://auth.test/ answered 302"
    )


def cannot_be_cancelled() -> Deferred[Any]:
    return Deferred(raises(RuntimeError("not now")))


def test_a_policy_that_fails_when_it_is_called_off_keeps_no_client_waiting() -> None:
    world = world_with(Says(cannot_be_cancelled()))
    client = world.ask()
    with capturedLogs() as events:
        world.advance(3.1)
    check_refused(world, client, 504, "policy-failed")
    assert [formatEvent(each) for each in events if each["log_level"] is LogLevel.critical] == [
        "policy policy-0 could not be called off"
    ]


def test_a_policy_that_fails_when_it_is_called_off_keeps_no_relay_from_stopping() -> None:
    world = world_with(Says(lambda _: cannot_be_cancelled()))
    clients = [world.ask(), world.ask()]
    world.relay.drains.drain_relay()
    world.settle()
    assert [answer_in(each).status for each in clients] == [503, 503]
    assert not world.relay.admissions


def test_a_client_that_is_counted_by_guards_leaves_a_policy_that_cannot_be_called_off() -> None:
    world = world_with(Says(cannot_be_cancelled()), route=evolve(ROUTE, connections_per_ip=1))
    client = world.ask()
    guards = world.relay.guards.of("chat")
    assert guards is not None
    assert len(guards.counts) == 1
    world.reset(client)
    assert len(guards.counts) == 0


@pytest.mark.parametrize("routes", [(), (evolve(ROUTE, policies=(PluginCall("new"),)),)])
def test_who_is_being_decided_about_comes_again_when_a_reload_changes_the_policies(
    routes: tuple[RouteConfig, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "make_policy", lambda _call, _reactor: Says())
    answer: Deferred[Any] = Deferred()
    world = world_with(Says(answer, on_stop=answer.cancel))
    client = world.ask()
    with capturedLogs() as events:
        prepare(world.relay, evolve(world.relay.config, routes=routes)).apply()
        world.settle()
    check_refused(world, client, 503, "policy-failed")
    assert not [each for each in events if each["log_level"] >= LogLevel.warn]


def test_who_is_being_decided_about_does_not_mind_a_reload_that_changes_other_things() -> None:
    answer: Deferred[Any] = Deferred()
    world = world_with(Says(answer))
    client = world.ask()
    routes = (evolve(ROUTE, idle_timeout=60.0, policies=CALLS),)
    prepare(world.relay, evolve(world.relay.config, routes=routes)).apply()
    answer.callback(None)
    world.send(world.accept(), SWITCHING)
    assert client.received.startswith(b"HTTP/1.1 101 ")
    world.end(client)
    world.leave_all()
    world.assert_clean()


@pytest.mark.parametrize("name", ["X-Forwarded-For", "x_real_ip", "X-Request-ID", "Host"])
def test_what_the_relay_writes_itself_no_policy_is_made_for(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "make_policy", lambda call, reactor: Says(headers=(name,)))
    with pytest.raises(ValueError, match="is the relay's to write, and no policy's"):
        admission.make_policies(CALLS, None)


def test_a_client_whose_way_on_fails_is_not_left_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    answer: Deferred[Any] = Deferred()
    world = world_with(Says(answer))
    client = world.ask()
    monkeypatch.setattr(world.relay, "pools", None)
    answer.callback(None)
    world.settle()
    assert client.aborted
    world.leave_all()
    assert not world.relay.admissions
    assert not world.relay.connections
