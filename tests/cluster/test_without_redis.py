"""Redis killed, frozen and emptied while clients come: none of them is refused for that."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from attrs import define, field, frozen

from tests.support import RelayProcess, free_port
from tests.system.admin import Admin
from tests.system.echo import Echo
from tests.system.support import RawUpstream, handshake, wait_until

from .support import (
    RedisBox,
    Visitor,
    connected,
    is_up,
    relay_ini,
    running_redis,
    several_relays,
    wait_for_cluster,
)

ROUTES = (
    "[route:many]\npath = /many\npool = main\nconnections_per_ip = 1000\n"
    "handshakes_per_ip = 10000/s",
    "[route:two]\npath = /two\npool = raw\nconnections_per_ip = 2",
)


@frozen
class Place:
    redis: RedisBox
    relays: list[RelayProcess]
    raw: RawUpstream
    text: str

    def are_up(self) -> bool:
        return all(map(is_up, self.relays))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with ExitStack() as stack:
        redis = stack.enter_context(running_redis())
        echo = Echo()
        stack.callback(echo.process.stop)
        raw = RawUpstream.tcp()
        stack.callback(raw.close)
        text = relay_ini(
            redis.url,
            ROUTES,
            f"[pool:main]\nupstreams = {echo.url}",
            f"[pool:raw]\nmax_fails = 0\nupstreams = {raw.url}",
        )
        relays = stack.enter_context(several_relays(2, text, tmp_path))
        wait_for_cluster(*relays)
        yield Place(redis, relays, raw, text)


@define(eq=False)
class Load:
    """Clients that come one after the other, by several threads, until it is enough."""

    relays: list[RelayProcess]
    answers: Counter[int] = field(factory=Counter, init=False)
    slowest: float = field(default=0.0, init=False)
    _enough: threading.Event = field(factory=threading.Event, init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    def run(self, number: int) -> None:
        while not self._enough.is_set():
            began = time.monotonic()
            wire = connected(self.relays[number % len(self.relays)])
            wire.send(handshake(b"/many"))
            status = int(wire.read_head().split(b" ")[1])
            took = time.monotonic() - began
            wire.close()
            with self._lock:
                self.answers[status] += 1
                self.slowest = max(self.slowest, took)

    @contextmanager
    def applied(self, threads: int = 4) -> Iterator[None]:
        crowd = [threading.Thread(target=self.run, args=(number,)) for number in range(threads)]
        for each in crowd:
            each.start()
        try:
            yield
        finally:
            self._enough.set()
            for each in crowd:
                each.join()

    def goes_on(self, more: int = 40) -> None:
        goal = self.answers[101] + more
        wait_until(lambda: self.answers[101] >= goal, "that clients are let in")


PATIENCE = 5.0
"""Seconds that no handshake may take, on a machine that is busy; its deadline is 0.25."""


def test_redis_is_killed_under_load_and_comes_back(place: Place) -> None:
    load = Load(place.relays)
    with load.applied():
        load.goes_on()
        place.redis.kill()
        wait_until(lambda: not any(map(is_up, place.relays)), "that Redis is missed")
        load.goes_on()
        place.redis.start()
        wait_until(place.are_up, "that Redis is back")
        load.goes_on()
    assert set(load.answers) == {101}
    assert load.slowest < PATIENCE
    for relay in place.relays:
        assert relay.log().count("] Redis at") <= 6, "a line for each handshake?"
        assert Admin.of(relay).metric("wsrelay_cluster_errors_total", kind="lost") >= 1
        assert Admin.of(relay).metric("wsrelay_cluster_seconds_count") > 40


def test_redis_is_frozen_under_load(place: Place) -> None:
    load = Load(place.relays)
    assert place.redis.server is not None
    with load.applied():
        load.goes_on()
        place.redis.server.freeze()
        wait_until(lambda: not any(map(is_up, place.relays)), "that Redis is missed")
        load.goes_on(200)
        place.redis.server.thaw()
        wait_until(place.are_up, "that Redis is back")
        load.goes_on()
    assert set(load.answers) == {101}
    assert load.slowest < PATIENCE
    for relay in place.relays:
        assert Admin.of(relay).metric("wsrelay_cluster_errors_total", kind="slow") >= 1


def test_relays_without_redis_have_their_own_limits_and_agree_again_later(place: Place) -> None:
    one, other = place.relays
    visitor = Visitor(place.raw, "10.2.0.1")
    place.redis.kill()
    wait_until(lambda: not any(map(is_up, place.relays)), "that Redis is missed")
    assert [visitor.come(one, b"/two") for _ in range(3)] == [101, 101, 429]
    place.redis.start()
    wait_until(place.are_up, "that Redis is back")
    wait_until(lambda: place.redis.counts("two", "10.2.0.1") == [2], "that counts are written")
    assert visitor.come(other, b"/two") == 429
    visitor.leave()
    wait_until(lambda: place.redis.counts("two", "10.2.0.1") == [], "that all is given back")
    assert [visitor.come(other, b"/two") for _ in range(3)] == [101, 101, 429]
    visitor.leave()


def test_what_ends_while_redis_is_away_does_not_count_when_it_is_back(place: Place) -> None:
    """Frozen, it keeps what it had; nobody could take it back there."""
    one, other = place.relays
    visitor = Visitor(place.raw, "10.2.0.2")
    assert [visitor.come(one, b"/two") for _ in range(2)] == [101, 101]
    assert place.redis.server is not None
    place.redis.server.freeze()
    wait_until(lambda: not any(map(is_up, place.relays)), "that Redis is missed")
    visitor.leave()
    wait_until(lambda: not Admin.of(one).sessions(), "that the sessions are over")
    place.redis.server.thaw()
    wait_until(place.are_up, "that Redis is back")
    assert [visitor.come(other, b"/two") for _ in range(3)] == [101, 101, 429]
    visitor.leave()


def test_a_redis_that_is_emptied_is_filled_again(place: Place) -> None:
    one, other = place.relays
    visitor = Visitor(place.raw, "10.2.0.3")
    assert [visitor.come(one, b"/two") for _ in range(2)] == [101, 101]
    place.redis.ask("FLUSHALL")
    wait_until(lambda: place.redis.counts("two", "10.2.0.3") == [2], "that counts are written")
    assert visitor.come(other, b"/two") == 429
    visitor.leave()


def test_a_cluster_comes_and_goes_with_reloads_and_sessions_stay(place: Place) -> None:
    relay = place.relays[0]
    visitor = Visitor(place.raw, "10.2.0.4")
    assert visitor.come(relay, b"/two") == 101
    alone = place.text.partition("[cluster]")[0]
    relay.reload(alone, "reload: cluster left")
    assert place.redis.counts("two", "10.2.0.4") in ([], [1])
    assert Admin.of(relay).get("/api/cluster") == {"redis": None, "relays": []}
    assert visitor.come(relay, b"/two") == 101
    start = len(relay.log().split("\n"))
    relay.reload(f"{alone}[cluster]\nredis = {place.redis.url}\nprefix = other\n")
    wait_for_cluster(relay, start=start)
    wait_until(lambda: is_up(relay), "that it takes part again")
    assert place.redis.ask("ZCARD", "other:alive") == 1
    assert place.redis.ask("ZCARD", "wsrelay:alive") == 1
    assert visitor.come(relay, b"/two") == 429
    assert len(Admin.of(relay).sessions()) == 2
    visitor.leave()


def test_a_relay_whose_redis_never_was_there_relays(tmp_path: Path) -> None:
    with ExitStack() as stack:
        raw = RawUpstream.tcp()
        stack.callback(raw.close)
        text = relay_ini(
            f"redis://127.0.0.1:{free_port()}",
            ("[route:two]\npath = /two\npool = raw\nconnections_per_ip = 2",),
            f"[pool:raw]\nupstreams = {raw.url}",
        )
        (relay,) = stack.enter_context(several_relays(1, text, tmp_path))
        visitor = Visitor(raw, "10.2.0.5")
        assert [visitor.come(relay, b"/two") for _ in range(3)] == [101, 101, 429]
        visitor.leave()
        assert Admin.of(relay).metric("wsrelay_cluster_up") == 0
        wait_until(
            lambda: "refused" in Admin.of(relay).get("/api/cluster")["problem"], "that it is said"
        )
