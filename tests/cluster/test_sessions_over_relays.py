"""``sticky-sid`` over two relays with a real Redis: polling that goes by either."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from attrs import frozen

from tests.support import RelayProcess
from tests.system.support import wait_until

from .polling import Poller, open_session, poll
from .support import RedisBox, is_up, relay_ini, running_redis, several_relays, wait_for_cluster

ROUTES = ("[route:io]\npool = io",)
COUNT = 12
"""Sessions of each test; by chance all are where they should be in 1 of 4**12 cases."""


@frozen
class Place:
    redis: RedisBox
    relays: list[RelayProcess]
    pollers: list[Poller]

    def owner(self, sid: str) -> bytes:
        (name,) = [each.name for each in self.pollers if sid in each.known]
        return name.encode()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with ExitStack() as stack:
        redis = stack.enter_context(running_redis())
        pollers = [stack.enter_context(Poller(name)) for name in "abcd"]
        lines = "".join(f"\n    {each.line}" for each in pollers)
        pool = f"[pool:io]\nbalancer = sticky-sid ttl=40s\nupstreams ={lines}"
        text = relay_ini(redis.url, ROUTES, pool)
        relays = stack.enter_context(several_relays(2, text, tmp_path_factory.mktemp("relays")))
        wait_for_cluster(*relays)
        yield Place(redis, relays, pollers)


def test_polls_may_go_by_either_relay(place: Place) -> None:
    one, other = place.relays
    for _ in range(COUNT):
        sid = open_session(one)
        found = [poll(relay, sid) for relay in (other, one, other)]
        assert found == [(200, place.owner(sid))] * 3


def test_a_client_that_is_faster_than_redis_is_known_by_the_other_relay(place: Place) -> None:
    """Its first answer waits for Redis to know the session, so the next poll cannot overtake."""
    one, other = place.relays
    for _ in range(COUNT):
        place.redis.ask("CLIENT", "PAUSE", 80, "WRITE")
        sid = open_session(one)
        assert poll(other, sid) == (200, place.owner(sid))
    assert all(map(is_up, place.relays))


def test_what_is_used_is_kept_and_what_is_written_has_its_time(place: Place) -> None:
    sid = open_session(place.relays[0])
    key = f"wsrelay:session:io:{sid}"
    assert 0 < place.redis.ask("TTL", key) <= 40
    place.redis.ask("EXPIRE", key, 1_000)
    for _ in range(5):
        poll(place.relays[0], sid)  # as it was written a moment ago
    assert place.redis.ask("TTL", key) > 40
    poll(place.relays[1], sid)  # who asked for it cannot know how old it is
    wait_until(lambda: place.redis.ask("TTL", key) <= 40, "that it is written")


def test_ids_that_nobody_has_learnt_fill_nothing(place: Place) -> None:
    before = place.redis.ask("DBSIZE")
    for number in range(20):
        assert poll(place.relays[number % 2], f"made-up-{number}")[0] == 400
    assert place.redis.ask("DBSIZE") <= before


def test_an_id_that_is_asked_for_is_asked_for_once(place: Place) -> None:
    def gets() -> int:
        words = place.redis.ask("INFO", "commandstats").decode()
        return int(words.partition("cmdstat_get:calls=")[2].partition(",")[0] or 0)

    before = gets()
    for _ in range(5):
        poll(place.relays[1], "asked-once")
    assert gets() == before + 1


def test_without_redis_each_relay_knows_its_own_and_later_both_do(place: Place) -> None:
    one, other = place.relays
    place.redis.kill()
    wait_until(lambda: not is_up(one) and not is_up(other), "that Redis is missed")
    sids = [open_session(one) for _ in range(COUNT)]
    for sid in sids:
        assert poll(one, sid) == (200, place.owner(sid))
    place.redis.start()
    wait_until(lambda: is_up(one) and is_up(other), "that Redis is back")
    wait_until(
        lambda: all(place.redis.ask("EXISTS", f"wsrelay:session:io:{each}") for each in sids),
        "that all sessions are written again",
    )
    for sid in sids:
        assert poll(other, sid) == (200, place.owner(sid))
