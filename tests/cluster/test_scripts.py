"""What Redis does by itself, with a real one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from wsrelay.cluster.keys import Keys, new_name
from wsrelay.cluster.scripts import ADMIT, BEAT, COUNT, REPORT, SETTLE

from .support import RedisBox, running_redis

KEYS = Keys("t")
ME, OTHER = "me.1", "other.1"
COUNTS, RATE = KEYS.count("r", b"\x0a\0\0\1"), KEYS.rate("r", b"\x0a\0\0\1")


@pytest.fixture(scope="module")
def box() -> Iterator[RedisBox]:
    with running_redis() as redis:
        yield redis


@pytest.fixture
def redis(box: RedisBox) -> RedisBox:
    box.ask("FLUSHALL")
    return box


def beat(redis: RedisBox, who: str, lives: int = 10_000, was: str = "") -> int:
    return int(redis.ask("EVAL", BEAT.text, 1, KEYS.alive, who, lives, was))


def admit(
    redis: RedisBox, who: str, own: int, most: int = 0, per_second: float = 0, burst: int = 1
) -> int:
    interval = 1e6 / per_second if per_second else 0
    arguments = (who, own, most, str(interval), str((burst - 1) * interval), 60_000)
    return int(redis.ask("EVAL", ADMIT.text, 3, KEYS.alive, COUNTS, RATE, *arguments))


def count(redis: RedisBox, who: str, n: int) -> None:
    redis.ask("EVAL", COUNT.text, 1, COUNTS, who, 60_000, n)


def test_all_participants_sessions_count(redis: RedisBox) -> None:
    beat(redis, ME)
    beat(redis, OTHER)
    assert [admit(redis, ME, 1, 3), admit(redis, OTHER, 1, 3), admit(redis, ME, 2, 3)] == [0] * 3
    assert [admit(redis, ME, 3, 3), admit(redis, OTHER, 2, 3)] == [-1, -1]
    count(redis, ME, 1)
    assert admit(redis, OTHER, 2, 3) == 0
    assert redis.ask("HGETALL", COUNTS) == [b"me.1", b"1", b"other.1", b"2"]


def test_what_is_written_twice_counts_once(redis: RedisBox) -> None:
    beat(redis, ME)
    for _ in range(5):
        assert admit(redis, ME, 1, 1) == 0


def test_the_dead_do_not_count_and_are_cleared_away(redis: RedisBox) -> None:
    beat(redis, ME)
    count(redis, OTHER, 7)  # it never gave a sign of life
    assert admit(redis, ME, 1, 1) == 0
    assert redis.ask("HKEYS", COUNTS) == [b"me.1"]


def test_who_gives_no_sign_of_life_is_dead_after_its_time(redis: RedisBox) -> None:
    beat(redis, OTHER, lives=0)
    count(redis, OTHER, 7)
    beat(redis, ME)
    assert admit(redis, ME, 1, 1) == 0
    beat(redis, ME)
    assert redis.ask("ZRANGE", KEYS.alive, 0, -1) == [b"me.1"]


def test_who_comes_by_another_name_is_no_more_who_it_was(redis: RedisBox) -> None:
    beat(redis, OTHER)
    count(redis, OTHER, 7)
    beat(redis, "other.2", was=OTHER)
    assert admit(redis, ME, 1, 1) == 0


def test_a_beat_says_whether_it_was_known(redis: RedisBox) -> None:
    assert [beat(redis, ME), beat(redis, ME)] == [0, 1]
    redis.ask("FLUSHALL")
    assert beat(redis, ME) == 0


def test_counts_that_nobody_writes_again_are_forgotten(redis: RedisBox) -> None:
    admit(redis, ME, 1, 1)
    assert 0 < redis.ask("PTTL", COUNTS) <= 60_000
    count(redis, ME, 0)
    assert redis.ask("EXISTS", COUNTS) == 0


def test_a_burst_may_come_at_once_and_the_next_one_is_told_when(redis: RedisBox) -> None:
    assert [admit(redis, ME, 0, 0, 0.1, 3) for _ in range(3)] == [0, 0, 0]
    assert 9_000 < admit(redis, OTHER, 0, 0, 0.1, 3) <= 10_000


def test_who_is_refused_takes_no_turn(redis: RedisBox) -> None:
    admit(redis, ME, 0, 0, 0.1)
    first = admit(redis, ME, 0, 0, 0.1)
    for _ in range(20):
        assert admit(redis, ME, 0, 0, 0.1) <= first


def test_a_rate_is_remembered_for_as_long_as_it_matters(redis: RedisBox) -> None:
    admit(redis, ME, 0, 0, 0.1, 3)
    assert 9_000 < redis.ask("PTTL", RATE) <= 10_000


def test_a_time_that_cannot_be_is_no_obstacle_for_ever(redis: RedisBox) -> None:
    redis.ask("SET", RATE, str(10**16))  # the rate was changed, or Redis' clock was set back
    assert admit(redis, ME, 0, 0, 0.1) <= 10_000


def test_who_comes_too_early_is_not_counted(redis: RedisBox) -> None:
    beat(redis, ME)
    assert admit(redis, ME, 1, 5, 0.1) == 0
    assert admit(redis, ME, 2, 5, 0.1) > 0
    assert redis.ask("HGETALL", COUNTS) == [b"me.1", b"1"]


def settle(redis: RedisBox, about: str, at: int, by: str) -> int:
    order = f'{{"about": "{about}", "at": {at}, "by": "{by}"}}'
    return int(redis.ask("EVAL", SETTLE.text, 1, KEYS.orders, KEYS.orders, about, at, by, order))


def test_the_later_order_stays_whichever_comes_first(redis: RedisBox) -> None:
    assert settle(redis, "a", 1700000000000, "x") == 1
    assert settle(redis, "a", 1699999999999, "y") == 0
    assert settle(redis, "a", 1700000000000, "x") == 0  # the same again
    assert settle(redis, "a", 1700000000000, "y") == 1  # at once: somebody must win
    assert settle(redis, "a", 1700000000001, "a") == 1
    assert b'"at": 1700000000001' in redis.ask("HGET", KEYS.orders, "a")


@pytest.mark.parametrize(
    "text", ["{", "7", "[]", "null", "{}", '{"at": "1", "by": "x"}', '{"at": 9}']
)
def test_what_is_no_order_is_overwritten(redis: RedisBox, text: str) -> None:
    redis.ask("HSET", KEYS.orders, "a", text)
    assert settle(redis, "a", 5, "x") == 1
    assert settle(redis, "a", 4, "x") == 0


def report(redis: RedisBox, who: str, text: str, lives: int = 10_000) -> list[bytes]:
    found: list[bytes] = redis.ask(
        "EVAL", REPORT.text, 2, KEYS.reports, KEYS.fresh, who, text, lives
    )
    return found


def test_reports_of_all_come_back_with_their_age(redis: RedisBox) -> None:
    report(redis, "a", "A")
    found = report(redis, "b", "B")
    ages = found[2::3]
    assert sorted(zip(found[::3], found[1::3], strict=True)) == [(b"a", b"A"), (b"b", b"B")]
    assert all(0 <= int(age) < 5_000 for age in ages)


def test_a_report_that_is_old_is_gone(redis: RedisBox) -> None:
    report(redis, "a", "A", 1)
    found: list[bytes] = []
    while b"a" in (found := report(redis, "b", "B")):
        pass
    assert found[:2] == [b"b", b"B"]
    assert redis.ask("HKEYS", KEYS.reports) == [b"b"]


def test_what_relays_leave_that_are_all_dead_goes_in_the_end(redis: RedisBox) -> None:
    beat(redis, ME)
    report(redis, "a", "A")
    for key in (KEYS.alive, KEYS.reports, KEYS.fresh):
        assert 0 < redis.ask("PTTL", key) <= 24 * 3600 * 1000


def test_keys_can_be_read() -> None:
    key = bytes.fromhex("20010db8000000000000000000000000") + b"\x40"
    assert KEYS.count("chat", b"\x0a\0\0\1") == "t:count:chat:10.0.0.1"
    assert KEYS.rate("chat", key) == "t:rate:chat:2001:db8::/64"


def test_no_two_processes_have_one_name() -> None:
    assert len({new_name(), new_name(), new_name(1), new_name(2)}) == 4
