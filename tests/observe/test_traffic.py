"""The numbers of all sessions, whether they live or have ended."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from tests.observe.support import still_exchange, still_session
from tests.relay.support import BINARY, TEXT, frame_from
from tests.relay.world import World
from wsrelay.observe import bounds
from wsrelay.observe.traffic import KEPT_FOR, NOTHING, Traffic
from wsrelay.relay.facts import Exchanged, Facts
from wsrelay.relay.pump import Side, Totals

CLIENT, UPSTREAM = Side.CLIENT, Side.UPSTREAM


def end(traffic: Traffic, session: Any) -> None:
    traffic.session_ended(session.facts, session)


def exchanged(traffic: Traffic, up: int, down: int, route: str = "chat", to: str = "a") -> None:
    facts = Facts("1", "web", "x", route, "pool" if to else "", to, status=200, method="GET")
    traffic.exchanged(facts, Exchanged(up, down))


def test_live_sessions_are_summed_up_by_route_and_by_upstream() -> None:
    traffic = Traffic(Clock().seconds)
    passed = traffic.collect(
        [
            still_session("chat", "pool", "a", client_messages=1, buffered=3),
            still_session("chat", "pool", "b", client_messages=20),
            still_session("news", "pool", "a", client_messages=300, upstream_pauses=7),
            still_session("news", "other", "a", client_messages=4000),
            still_session("chat", "pool", "a", client_messages=50_000, buffered=5),
        ],
        [],
    )
    assert {name: each.client_messages for name, each in passed.routes.items()} == {
        "chat": 50_021,
        "news": 4300,
    }
    assert {key: each.client_messages for key, each in passed.upstreams.items()} == {
        ("pool", "a"): 50_301,
        ("pool", "b"): 20,
        ("other", "a"): 4000,
    }
    assert passed.sessions == {
        ("chat", "pool", "a"): 2,
        ("chat", "pool", "b"): 1,
        ("news", "pool", "a"): 1,
        ("news", "other", "a"): 1,
    }
    assert passed.everything == NOTHING._replace(
        client_messages=54_321, upstream_pauses=7, buffered=8
    )


def test_every_number_is_summed_up() -> None:
    traffic = Traffic(Clock().seconds)
    numbers = Totals(*range(1, 14))
    live, ended = (still_session(**numbers._asdict()) for _ in range(2))
    end(traffic, ended)
    everything = traffic.collect([live], []).everything
    assert everything == tuple(2 * each for each in numbers)
    assert everything == traffic.collect([live], []).routes["chat"]


def test_an_ended_session_stays_in_the_sums_and_is_counted_no_more() -> None:
    clock = Clock()
    traffic = Traffic(clock.seconds)
    session = still_session(client_payload=10, buffered=4)
    assert traffic.collect([session], []).everything.client_payload == 10
    session.pump.numbers = NOTHING._replace(client_payload=12)
    end(traffic, session)
    clock.advance(KEPT_FOR)
    passed = traffic.collect([], [])
    assert passed.everything == NOTHING._replace(client_payload=12)
    assert passed.upstreams["pool", "a"].client_payload == 12
    assert passed.sessions == {}


def test_whoever_asks_within_a_second_gets_the_same_sums() -> None:
    clock = Clock()
    traffic = Traffic(clock.seconds)
    session = still_session(client_messages=1)
    first = traffic.collect([session], [])
    clock.advance(KEPT_FOR / 2)
    assert traffic.collect([session], []) is first
    assert session.pump.questions == 1
    session.pump.numbers = NOTHING._replace(client_messages=2)
    clock.advance(KEPT_FOR / 2)
    assert traffic.collect([session], []).everything.client_messages == 2
    assert first.everything.client_messages == 1


def test_a_clock_that_was_set_back_does_not_keep_old_sums_for_ever() -> None:
    clock = Clock()
    clock.advance(1000)
    traffic = Traffic(clock.seconds)
    traffic.collect([], [])
    clock.rightNow = 10.0
    assert traffic.collect([still_session()], []).sessions == {("chat", "pool", "a"): 1}


def test_what_passed_through_a_forgotten_upstream_stays_with_its_route() -> None:
    traffic = Traffic(Clock().seconds)
    for name in "ab":
        end(traffic, still_session(upstream=name, client_messages=3))
    traffic.forget({("pool", "a"), ("pool", "z")})
    assert set(traffic.upstreams) == {("pool", "b")}
    passed = traffic.collect([], [])
    assert set(passed.upstreams) == {("pool", "b")}
    assert passed.routes["chat"].client_messages == 6


def test_upstreams_that_come_and_go_unasked_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MAX_LABEL_SETS", 2)
    traffic = Traffic(Clock().seconds)
    for name in "abac":
        end(traffic, still_session(upstream=name, client_messages=1))
    passed = traffic.collect([], [])
    assert set(passed.upstreams) == {("pool", "b"), ("pool", "c")}
    assert passed.everything.client_messages == 4


# plain requests


def test_bodies_are_summed_up_by_route_and_by_upstream_while_they_pass_and_after() -> None:
    clock = Clock()
    traffic = Traffic(clock.seconds)
    exchanged(traffic, 1, 20)
    exchanged(traffic, 300, 4000, to="b")
    exchanged(traffic, 0, 9, route="files", to="")
    live = [
        still_exchange(up=50_000),
        still_exchange("news", down=600_000),
        still_exchange(upstream=""),
        still_exchange("files", "", "", down=1),
    ]
    passed = traffic.collect([], live)
    assert passed.route_bodies == {"chat": (50_301, 4020), "files": (0, 10), "news": (0, 600_000)}
    assert passed.upstream_bodies == {("pool", "a"): (50_001, 600_020), ("pool", "b"): (300, 4000)}
    assert passed.requests == {
        ("chat", "pool", "a"): 1,
        ("news", "pool", "a"): 1,
        ("chat", "pool", ""): 1,
        ("files", "", ""): 1,
    }
    exchanged(traffic, 50_000, 0)
    clock.advance(KEPT_FOR)
    passed = traffic.collect([], [])
    assert passed.route_bodies == {"chat": (50_301, 4020), "files": (0, 9)}
    assert passed.requests == {}


def test_bodies_of_a_forgotten_upstream_stay_with_their_route() -> None:
    traffic = Traffic(Clock().seconds)
    for name in "ab":
        exchanged(traffic, 1, 2, to=name)
    assert set(traffic.upstreams) == {("pool", "a"), ("pool", "b")}
    traffic.forget({("pool", "a"), ("pool", "z")})
    assert set(traffic.upstreams) == {("pool", "b")}
    passed = traffic.collect([], [])
    assert (passed.upstream_bodies, passed.route_bodies) == (
        {("pool", "b"): (1, 2)},
        {"chat": (2, 4)},
    )


def test_upstreams_of_plain_requests_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MAX_LABEL_SETS", 2)
    traffic = Traffic(Clock().seconds)
    for name in "abac":
        exchanged(traffic, 1, 0, to=name)
    passed = traffic.collect([], [])
    assert set(passed.upstream_bodies) == {("pool", "b"), ("pool", "c")}
    assert passed.route_bodies == {"chat": (4, 0)}


# whatever happens

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("open"), st.sampled_from(["chat", "news"]), st.sampled_from("ab")),
        st.tuples(st.just("move"), st.integers(0, 5), st.integers(1, 100)),
        st.tuples(st.just("end"), st.integers(0, 5), st.none()),
        st.tuples(st.just("ask"), st.floats(0, 2), st.none()),
        st.tuples(st.just("forget"), st.sampled_from("ab"), st.none()),
    ),
    max_size=40,
)


@given(STEPS)
def test_whatever_happens_the_sums_are_right_and_never_go_back(
    steps: list[tuple[str, Any, Any]],
) -> None:
    clock = Clock()
    traffic = Traffic(clock.seconds)
    live: list[Any] = []
    moved = {"chat": 0, "news": 0}
    seen = {"chat": 0, "news": 0}
    for step, one, other in steps:
        if step == "open":
            live.append(still_session(one, upstream=other))
        elif step == "move" and one < len(live):
            pump = live[one].pump
            pump.numbers = pump.numbers._replace(
                client_messages=pump.numbers.client_messages + other
            )
            moved[live[one].facts.route] += other
        elif step == "end" and one < len(live):
            end(traffic, live.pop(one))
        elif step == "forget":
            traffic.forget({("pool", one)})
        elif step == "ask":
            clock.advance(one)
            passed = traffic.collect(live, [])
            now = {
                route: passed.routes.get(route, NOTHING).client_messages
                for route in ("chat", "news")
            }
            assert all(seen[route] <= now[route] <= moved[route] for route in now)
            seen = now
    clock.advance(2 * KEPT_FOR)
    passed = traffic.collect(live, [])
    sums = {name: each.client_messages for name, each in passed.routes.items()}
    assert {name: sums.get(name, 0) for name in moved} == moved
    assert sum(passed.sessions.values()) == len(live)


def test_of_a_real_relay_all_is_counted_from_the_first_frame_to_the_last() -> None:
    world = World()
    traffic = Traffic(world.reactor.seconds)
    world.relay.observer = traffic
    client, upstream = world.establish()
    world.send(client, frame_from(CLIENT, TEXT, b"hello") + frame_from(CLIENT, BINARY, b"four"))
    world.send(upstream, frame_from(UPSTREAM, BINARY, b"x" * 70))
    world.send(client, frame_from(CLIENT, TEXT, b"half")[:3])
    live = traffic.collect(world.relay.sessions.values(), [])
    assert live.sessions == {("chat", "pool", "a"): 1}
    expected = {
        "client_messages": 2,
        "client_binary_messages": 1,
        "client_payload": 9,
        "upstream_messages": 1,
        "upstream_binary_messages": 1,
        "upstream_payload": 70,
        "buffered": 3,
    }
    assert {name: getattr(live.routes["chat"], name) for name in expected} == expected
    world.reset(client)
    world.reset(upstream)
    assert not world.relay.sessions
    world.advance(KEPT_FOR)
    after = traffic.collect(world.relay.sessions.values(), [])
    assert after.sessions == {}
    expected["buffered"] = 0
    assert {name: getattr(after.routes["chat"], name) for name in expected} == expected
    assert after.upstreams["pool", "a"] == after.routes["chat"] == after.everything
