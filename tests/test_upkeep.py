"""A pool's checkers and discovery follow the pool."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from attrs import define, evolve, field
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from wsrelay import upkeep
from wsrelay.balancers.first import First
from wsrelay.config.model import HealthCheckConfig, PluginCall, PoolConfig, UpstreamConfig
from wsrelay.health.check import Result
from wsrelay.health.verdict import Verdict
from wsrelay.pools.pool import MemberChanges, Pool
from wsrelay.upkeep import Upkeep

A, B = (UpstreamConfig(name, f"ws://{name}:9000") for name in "ab")
SECURE = UpstreamConfig("s", "wss://s:9000")
CHECK = HealthCheckConfig("websocket", rise=2)
GOOD, BAD = Result(True, "opened", 0.1), Result(False, "no pong", 1.0)


@define(eq=False)
class FakeChecker:
    """Does what a test says."""

    reactor: Any
    upstream: UpstreamConfig
    pool: PoolConfig
    report: Any
    verdict: Verdict = field(factory=lambda: Verdict(2, 5), init=False)
    runs: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        if self.upstream.name == "broken":
            raise ValueError("the certificate cannot be read")

    def start(self) -> None:
        self.runs = True

    def stop(self) -> None:
        self.runs = False


@define(eq=False)
class FakeSource:
    """Finds what a test says."""

    pool: str
    call: PluginCall
    reactor: Any
    changed: Any
    runs: bool = field(default=False, init=False)

    def start(self) -> None:
        self.runs = True

    def stop(self) -> None:
        self.runs = False


@pytest.fixture(autouse=True)
def _fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "Checker", FakeChecker)
    monkeypatch.setattr(upkeep, "Source", FakeSource)


@pytest.fixture
def logged() -> Iterator[list[dict]]:
    with capturedLogs() as events:
        yield events


def kept(*upstreams: UpstreamConfig, **options: Any) -> tuple[Pool, Upkeep, list[MemberChanges]]:
    config = PoolConfig("chat", upstreams, **{"health_check": CHECK} | options)
    clock = Clock()
    pool = Pool(config, First(), clock.seconds)
    changes: list[MemberChanges] = []
    kept = Upkeep(pool, clock, lambda pool, change: changes.append(change))
    kept.sync()
    return pool, kept, changes


def test_each_upstream_has_one_checker_for_as_long_as_it_is_in_the_pool() -> None:
    pool, kept_up, _ = kept(A, B)
    first = dict(kept_up.checkers)
    assert [each.name for each in first] == ["a", "b"]
    assert all(each.runs for each in first.values())
    pool.set_members("file", [B])
    kept_up.sync()
    assert list(kept_up.checkers.values()) == [first[next(u for u in first if u.name == "b")]]
    assert [each.runs for each in first.values()] == [False, True]
    kept_up.stop()
    assert not any(each.runs for each in first.values())


def test_checks_are_made_anew_when_another_header_stands_before_them() -> None:
    pool, kept_up, _ = kept(A)
    (old,) = kept_up.checkers.values()
    pool.config = evolve(pool.config, proxy_protocol="v2")
    kept_up.sync()
    (new,) = kept_up.checkers.values()
    assert (old.runs, new.runs) == (False, True)
    assert new.pool.proxy_protocol == "v2"


def test_checks_over_tls_are_made_anew_when_files_are_read_again() -> None:
    pool, kept_up, _ = kept(A, SECURE)
    plain, secure = kept_up.checkers.values()
    pool.upstreams[1].check_found("down", "a check")
    kept_up.sync(again=True)
    assert next(iter(kept_up.checkers.values())) is plain
    renewed = kept_up.checkers[pool.upstreams[1]]
    assert renewed is not secure
    assert (renewed.runs, secure.runs) == (True, False)
    assert renewed.verdict.health == "down", "what was known still counts"
    assert pool.upstreams[1].health == "down"


def test_new_terms_make_all_checks_anew_and_forget_nothing() -> None:
    pool, kept_up, _ = kept(A)
    (old,) = kept_up.checkers.values()
    pool.upstreams[0].check_found("down", "a check")
    pool.update(evolve(pool.config, health_check=evolve(CHECK, interval=1.0)))
    kept_up.sync()
    (new,) = kept_up.checkers.values()
    assert (new is old, old.runs, new.runs, new.verdict.health) == (False, False, True, "down")


def test_other_options_of_the_pool_leave_the_checks_alone() -> None:
    pool, kept_up, _ = kept(A)
    (old,) = kept_up.checkers.values()
    pool.update(evolve(pool.config, queue_timeout=3.0))
    kept_up.sync()
    assert list(kept_up.checkers.values()) == [old]


def test_without_checks_an_upstream_is_judged_by_its_handshakes_alone() -> None:
    pool, kept_up, _ = kept(A)
    pool.upstreams[0].check_found("down", "a check")
    pool.update(evolve(pool.config, health_check=None))
    kept_up.sync()
    assert not kept_up.checkers
    assert pool.upstreams[0].health == "unknown"


def test_an_upstream_that_cannot_be_checked_is_used_unchecked(logged: list[dict]) -> None:
    pool, kept_up, _ = kept(A, UpstreamConfig("broken", "wss://b:1"))
    assert [each.name for each in kept_up.checkers] == ["a"]
    assert pool.upstreams[1].health == "unknown"
    assert logged[-1]["log_level"].name == "error"


def test_what_checks_find_is_noted() -> None:
    pool, kept_up, _ = kept(A)
    (checker,) = kept_up.checkers.values()
    checker.report(BAD, None)
    assert kept_up.results[pool.upstreams[0]] == (BAD, 0.0)
    assert pool.upstreams[0].health == "unknown"
    checker.report(BAD, "down")
    assert pool.upstreams[0].history[-1].why == "websocket check: no pong"
    checker.report(GOOD, "up")
    assert pool.upstreams[0].health == "up"


@pytest.mark.parametrize(("kind", "health"), [("websocket", "up"), ("tcp", "down")])
def test_enough_good_checks_outdate_failed_handshakes_if_they_prove_as_much(
    kind: Any, health: str
) -> None:
    pool, kept_up, _ = kept(A, health_check=HealthCheckConfig(kind, rise=2), max_fails=1)
    (checker,), (upstream,) = kept_up.checkers.values(), pool.upstreams
    checker.report(GOOD, "up")
    upstream.failed("refused")
    checker.report(GOOD, None)
    checker.report(BAD, None)
    checker.report(GOOD, None)
    assert upstream.health == "down"
    checker.report(GOOD, None)
    assert upstream.health == health


def test_what_a_discovery_finds_become_members_and_stay_until_there_is_another_answer() -> None:
    pool, kept_up, changes = kept(discover=PluginCall("file", {"path": "/x"}))
    first = kept_up.source
    assert isinstance(first, FakeSource)
    first.changed((A, B))
    assert [each.name for each in changes[-1].added] == ["a", "b"]
    pool.update(evolve(pool.config, discover=PluginCall("file", {"path": "/y"})))
    kept_up.sync()
    assert [each.name for each in pool.upstreams] == ["a", "b"]
    second = kept_up.source
    assert isinstance(second, FakeSource)
    assert (first.runs, second.runs) == (False, True)
    second.changed((B,))
    assert [each.name for each in changes[-1].removed] == ["a"]


def test_without_a_discovery_what_it_found_is_gone() -> None:
    pool, kept_up, changes = kept(discover=PluginCall("file", {"path": "/x"}))
    assert isinstance(kept_up.source, FakeSource)
    kept_up.source.changed((A,))
    pool.update(evolve(pool.config, discover=None))
    kept_up.sync()
    assert kept_up.source is None
    assert [each.name for each in changes[-1].removed] == ["a"]
