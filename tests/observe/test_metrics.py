"""What is counted of handshakes, closes and pings."""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.observe.support import still_session
from wsrelay.observe.metrics import (
    HANDSHAKE_BUCKETS,
    PHASES,
    PING_BUCKETS,
    PRIVATE_CODES,
    SESSION_BUCKETS,
    Histogram,
    Metrics,
)
from wsrelay.relay.causes import Cause
from wsrelay.relay.facts import Exchanged, Facts
from wsrelay.relay.pump import Side
from wsrelay.relay.refusals import REFUSALS


def facts(**more: Any) -> Facts:
    return Facts("1", "web", "192.0.2.7:50123", **more)


def seen(histogram: Histogram) -> tuple[int, float]:
    """Return how many times there were, and their sum."""
    return list(accumulate(histogram.counts))[-1], histogram.sum


def ended(metrics: Metrics, code: int, initiator: str = "client", route: str = "chat") -> None:
    session: Any = still_session(route)
    session.cause = Cause(code, "why ever", initiator)
    metrics.session_ended(session.facts, session)


# histograms


@pytest.mark.parametrize("bounds", [HANDSHAKE_BUCKETS, PING_BUCKETS, SESSION_BUCKETS])
def test_buckets_rise(bounds: tuple[float, ...]) -> None:
    assert bounds[0] > 0
    assert all(one < other for one, other in pairwise(bounds))


def test_a_bound_belongs_to_its_bucket_and_what_is_just_above_to_the_next() -> None:
    histogram = Histogram((1.0, 2.0, 5.0))
    for seconds, cumulated in (
        (1.0, [1, 1, 1, 1]),
        (1.0000001, [1, 2, 2, 2]),
        (0.9999999, [2, 3, 3, 3]),
        (2.0, [2, 4, 4, 4]),
        (5.0, [2, 4, 5, 5]),
        (5.0000001, [2, 4, 5, 6]),
        (1e9, [2, 4, 5, 7]),
        (0.0, [3, 5, 6, 8]),
    ):
        histogram.observe(seconds)
        assert list(accumulate(histogram.counts)) == cumulated
    assert histogram.sum == pytest.approx(1e9 + 15)


@given(st.lists(st.floats(0, 100)))
def test_each_bucket_holds_all_that_are_at_most_its_bound(times: list[float]) -> None:
    histogram = Histogram(HANDSHAKE_BUCKETS)
    for seconds in times:
        histogram.observe(seconds)
    *cumulated, everything = list(accumulate(histogram.counts))
    assert cumulated == [sum(each <= bound for each in times) for bound in HANDSHAKE_BUCKETS]
    assert everything == len(times)
    assert histogram.sum == pytest.approx(sum(times))


@pytest.mark.parametrize("seconds", [-1.0, -1e9, float("nan")])
def test_a_clock_that_is_set_back_takes_nothing_off_a_sum(seconds: float) -> None:
    histogram = Histogram((1.0,))
    histogram.observe(0.5)
    histogram.observe(seconds)
    assert (list(accumulate(histogram.counts)), histogram.sum) == ([2, 2], 0.5)


# handshakes


def test_every_handshake_counts_where_it_led_and_how_it_was_answered() -> None:
    metrics = Metrics()
    where = {"route": "chat", "pool": "pool", "upstream": "a"}
    session: Any = still_session()
    metrics.session_opened(facts(**where, status=101), session)
    metrics.session_opened(facts(**where, status=101), session)
    metrics.refused(facts(**where, status=403), "")
    metrics.refused(facts(status=400, refusal="malformed"), "Host is missing.")
    assert metrics.handshakes == {
        ("web", "chat", "pool", "a", 101): 2,
        ("web", "chat", "pool", "a", 403): 1,
        ("web", "", "", "", 400): 1,
    }


def test_what_the_relay_refused_counts_by_its_reason_and_an_upstreams_refusal_does_not() -> None:
    metrics = Metrics()
    assert metrics.rejected == dict.fromkeys(REFUSALS, 0)
    metrics.refused(facts(status=503, refusal="queue-full"), "")
    metrics.refused(facts(status=503, refusal="queue-full"), "")
    metrics.refused(facts(status=403), "")
    assert {reason: count for reason, count in metrics.rejected.items() if count} == {
        "queue-full": 2
    }


def test_each_phase_that_there_was_is_timed_and_the_whole_if_an_upstream_was_asked() -> None:
    metrics = Metrics()
    session: Any = still_session()
    phases = {"request": 0.5, "connect": 0.25, "answer": 1.0}
    asked = facts(status=101, attempts=1, handshake_ms=1750.0, phases=phases)
    metrics.session_opened(asked, session)
    metrics.refused(facts(status=503, handshake_ms=1.0, phases={"queue": 3.0}), "")
    metrics.refused(facts(status=502, attempts=2, handshake_ms=250.0), "")
    assert {phase: seen(metrics.handshake_seconds[phase]) for phase in PHASES} == {
        "request": (1, 0.5),
        "policies": (0, 0.0),
        "queue": (1, 3.0),
        "connect": (1, 0.25),
        "answer": (1, 1.0),
        "total": (2, 2.0),
    }


# plain requests


def test_plain_requests_count_apart_from_handshakes_whoever_answered_them() -> None:
    metrics = Metrics()
    where = {"route": "chat", "pool": "pool", "upstream": "a", "method": "GET"}
    metrics.exchanged(facts(**where, status=200), Exchanged())
    metrics.exchanged(facts(**where, status=404), Exchanged())
    metrics.exchanged(facts(**where, status=200), Exchanged(problem="the client left"))
    metrics.refused(facts(method="BREW", status=404, refusal="no-route"), "")
    metrics.refused(facts(status=404, refusal="no-route"), "")
    assert metrics.http_requests == {
        ("web", "chat", "pool", "a", 200): 2,
        ("web", "chat", "pool", "a", 404): 1,
        ("web", "", "", "", 404): 1,
    }
    assert metrics.handshakes == {("web", "", "", "", 404): 1}
    assert metrics.rejected["no-route"] == 2


def test_a_plain_request_is_timed_to_the_end_of_its_answer() -> None:
    metrics = Metrics()
    phases = {"request": 0.5, "connect": 0.25, "answer": 1.0}
    plain = {"method": "GET", "handshake_ms": 1750.0}
    metrics.exchanged(facts(**plain, attempts=1, phases=phases), Exchanged(duration=9.0))
    metrics.refused(facts(**plain, phases={"queue": 3.0}), "")
    metrics.refused(facts(**plain, attempts=2), "")
    assert {phase: seen(metrics.http_request_seconds[phase]) for phase in PHASES} == {
        "request": (1, 0.5),
        "policies": (0, 0.0),
        "queue": (1, 3.0),
        "connect": (1, 0.25),
        "answer": (1, 1.0),
        "total": (2, 10.75),
    }
    assert {seen(each) for each in metrics.handshake_seconds.values()} == {(0, 0.0)}


# others


def test_retries_and_reloads_and_changes_of_health_are_counted() -> None:
    metrics = Metrics()
    assert metrics.reloads == {"ok": 0, "refused": 0}
    for pool in ("pool", "other", "pool"):
        metrics.retried(pool)
    metrics.reloaded("refused")
    for to in ("up", "down", "up"):
        metrics.health_changed("pool", "a", to)
    assert metrics.retries == {"pool": 2, "other": 1}
    assert metrics.reloads == {"ok": 0, "refused": 1}
    assert metrics.health_transitions == {("pool", "a", "up"): 2, ("pool", "a", "down"): 1}


# sessions


def test_a_session_that_ends_counts_by_code_and_initiator_and_how_long_it_was() -> None:
    metrics = Metrics()
    for start in (1.0, 4.0):
        session: Any = still_session()
        session.reactor.advance(5.0)
        session.opened_at = start
        session.cause = Cause(1001, "going", "client")
        metrics.session_ended(session.facts, session)
    ended(metrics, 1012, "relay:drain")
    assert metrics.closes == {
        ("chat", "1001", "client"): 2,
        ("chat", "1012", "relay:drain"): 1,
    }
    assert seen(metrics.session_seconds) == (3, 5.0)


def test_of_the_codes_that_peers_may_choose_a_bounded_number_is_counted_apart() -> None:
    metrics = Metrics()
    for code in range(3000, 5000):
        ended(metrics, code)
        ended(metrics, code, "upstream")
    codes = {code for _, code, _ in metrics.closes}
    assert codes == {*map(str, range(3000, 3000 + PRIVATE_CODES)), "other"}
    assert metrics.closes["chat", "other", "client"] == 2000 - PRIVATE_CODES
    assert metrics.closes["chat", "3007", "upstream"] == 1


def test_standard_codes_and_those_of_the_relays_own_are_always_counted_apart() -> None:
    metrics = Metrics()
    for code in range(3000, 4999):
        ended(metrics, code)
    for code in (*range(1000, 1004), *range(1005, 1015)):
        ended(metrics, code)
        assert metrics.closes["chat", str(code), "client"] == 1
    ended(metrics, 4999, "relay:drain")
    ended(metrics, 4999)
    assert metrics.closes["chat", "4999", "relay:drain"] == 1
    assert ("chat", "4999", "client") not in metrics.closes


def test_pings_are_answered_in_some_time_or_late() -> None:
    metrics = Metrics()
    assert set(metrics.pings.values()) == {0}
    metrics.pinged(Side.CLIENT, 0.25)
    metrics.pinged(Side.CLIENT, 0.5)
    metrics.pinged(Side.UPSTREAM, None)
    assert metrics.pings == {
        ("client", "answered"): 2,
        ("client", "late"): 0,
        ("upstream", "answered"): 0,
        ("upstream", "late"): 1,
    }
    assert seen(metrics.ping_rtt[Side.CLIENT]) == (2, 0.75)
    assert seen(metrics.ping_rtt[Side.UPSTREAM]) == (0, 0.0)


def test_a_plain_request_alone_is_enough_to_know_an_upstream() -> None:
    metrics = Metrics()
    metrics.exchanged(facts(pool="pool", upstream="a", method="GET"), Exchanged())
    assert set(metrics.upstreams) == {("pool", "a")}


def test_nothing_more_is_kept_of_an_upstream_that_is_forgotten() -> None:
    metrics = Metrics()
    for pool, upstream in (("pool", "a"), ("pool", "b"), ("other", "a"), ("pool", "")):
        metrics.refused(facts(pool=pool, upstream=upstream, status=502), "")
        metrics.refused(facts(pool=pool, upstream=upstream, status=502, method="GET"), "")
        if upstream:
            metrics.health_changed(pool, upstream, "down")
    assert set(metrics.upstreams) == {("pool", "a"), ("pool", "b"), ("other", "a")}
    metrics.forget({("pool", "a"), ("pool", "z")})
    assert set(metrics.upstreams) == {("pool", "b"), ("other", "a")}
    kept = {("pool", "b"), ("other", "a"), ("pool", "")}
    assert {key[2:4] for key in metrics.handshakes} == kept
    assert {key[2:4] for key in metrics.http_requests} == kept
    assert {key[:2] for key in metrics.health_transitions} == {("pool", "b"), ("other", "a")}
