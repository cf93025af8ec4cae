from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsrelay.balancers.hash import Hash
from wsrelay.testing import FakeHandshake, FakeUpstream
from wsrelay.wire.headers import Headers

KEYS = [f"192.0.2.{index}" for index in range(3000)]


def pool_of(*weights: int) -> tuple[FakeUpstream, ...]:
    return tuple(FakeUpstream(f"upstream-{n}", weight) for n, weight in enumerate(weights))


def placed(pool: Sequence[FakeUpstream]) -> dict[str, FakeUpstream]:
    balancer = Hash("ip")
    return {key: balancer.choose(FakeHandshake(client_address=key), pool) for key in KEYS}


def test_a_key_goes_to_the_same_upstream_in_every_process_and_release() -> None:
    balancer, pool = Hash("path"), pool_of(1, 1, 1, 1, 1, 1, 1, 1, 1, 1)
    rooms = [FakeHandshake(path=path) for path in ("/", "/a", "/b", "/chat", "/r\xf6\xf6m")]
    assert [balancer.choose(room, pool).name[-1] for room in rooms] == ["6", "7", "9", "0", "1"]


def test_the_order_of_the_upstreams_does_not_matter() -> None:
    pool = pool_of(1, 2, 3, 4)
    assert placed(pool) == placed(pool[::-1])


def test_keys_spread_by_weight() -> None:
    share = Counter(placed(pool_of(1, 2, 3, 4)).values())
    for upstream, number in share.items():
        assert number / len(KEYS) == pytest.approx(upstream.weight / 10, abs=0.02)


def test_only_the_keys_of_an_upstream_that_leaves_move_and_they_spread_evenly() -> None:
    pool = pool_of(*[1] * 10)
    before = placed(pool)
    for gone in pool:
        after = placed([each for each in pool if each is not gone])
        moved = [key for key in KEYS if after[key] is not before[key]]
        assert moved == [key for key in KEYS if before[key] is gone]
        assert len(moved) / len(KEYS) == pytest.approx(0.1, abs=0.02)
        heirs = Counter(after[key].name for key in moved)
        assert len(heirs) == 9
        assert max(heirs.values()) < len(moved) / 3


def test_a_higher_weight_only_draws_keys_to_it() -> None:
    pool = pool_of(1, 1, 1, 1)
    before = placed(pool)
    pool[2].weight = 3
    after = placed(pool)
    moved = {after[key] for key in KEYS if after[key] is not before[key]}
    assert moved == {pool[2]}


@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=6),
    st.lists(st.sampled_from(KEYS[:4]), max_size=60),
    st.sampled_from(["1", "1.1", "1.25", "2"]),
)
def test_nobody_gets_more_than_load_factor_times_its_share(
    weights: list[int], keys: list[str], load_factor: str
) -> None:
    balancer, pool = Hash("ip", load_factor), pool_of(*weights)
    for total, key in enumerate(keys, 1):
        choice = balancer.choose(FakeHandshake(client_address=key), pool)
        choice.active += 1
        share = float(load_factor) * total * choice.weight / sum(weights)
        assert choice.active <= ceil(share)


def test_a_key_leaves_a_full_upstream_for_the_next_in_its_order_and_returns() -> None:
    pool, request, balancer = pool_of(1, 1, 1, 1), FakeHandshake(client_address="::1"), Hash("ip")
    home = balancer.choose(request, pool)
    others = [each for each in pool if each is not home]
    next_home = balancer.choose(request, others)
    for each, active in zip([home, *others], [6, 4, 4, 3], strict=True):
        each.active = active
    # 18 sessions with this one, times 1.25, for 4 upstreams: room for less than 5.6 before it.
    assert balancer.choose(request, pool) is next_home
    # 17 of them: 5.3.
    home.active = 5
    assert balancer.choose(request, pool) is home


def test_a_client_is_placed_even_when_rounding_leaves_nobody_any_room() -> None:
    pool, request = pool_of(1, 1, 1), FakeHandshake(client_address="::1")
    home = Hash("ip").choose(request, pool)
    for each in pool:
        each.active = 10**17
    assert Hash("ip", "1").choose(request, pool) is home


def test_without_a_load_factor_a_key_is_never_split() -> None:
    pool, request = pool_of(1, 1, 1), FakeHandshake(client_address="::1")
    balancer = Hash("ip", "off")
    for _ in range(100):
        balancer.choose(request, pool).active += 1
    assert sorted(each.active for each in pool) == [0, 0, 100]


RICH = FakeHandshake(
    path="/chat",
    query="a=1&room=blue&room=red&mushroom=no",
    headers=Headers([(b"X-User", b"ada"), (b"X-User", b"bob")]),
    cookies={"user": "carol"},
    client_address="192.0.2.1",
)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ip", "192.0.2.1"),
        ("path", "/chat"),
        ("header:x-user", "ada"),
        ("cookie:user", "carol"),
        ("query:room", "blue"),
        ("query:a", "1"),
    ],
)
def test_a_key_is_found_in_the_request(key: str, value: str) -> None:
    """Nothing else of the request plays a part: an address of that text goes the same way."""
    pool = pool_of(*[1] * 200)
    same = FakeHandshake(client_address=value)
    assert Hash(key).choose(RICH, pool) is Hash("ip").choose(same, pool)


@pytest.mark.parametrize(
    "key", ["header:X-None", "cookie:none", "query:none", "query:oom", "query:b=1"]
)
def test_a_request_without_the_key_goes_by_its_address(key: str) -> None:
    pool = pool_of(*[1] * 200)
    assert Hash(key).choose(RICH, pool) is Hash("ip").choose(RICH, pool)


def test_an_empty_value_counts_as_none() -> None:
    pool = pool_of(*[1] * 200)
    empty = FakeHandshake(
        query="room=", headers=Headers([(b"X-User", b"")]), client_address="192.0.2.1"
    )
    for key in ("header:X-User", "query:room"):
        assert Hash(key).choose(empty, pool) is Hash("ip").choose(empty, pool)


@pytest.mark.parametrize(
    "key", ["", "Ip", "ip:x", "path:", "header", "header:", "cookie:", "query:", "user:x", ":"]
)
def test_a_bad_key_is_refused_with_the_good_ones(key: str) -> None:
    with pytest.raises(ValueError, match=r"^key.*: say key=ip, key=path, .* key=query:NAME$"):
        Hash(key)


@pytest.mark.parametrize("load_factor", ["", "0.99", "-1", "nan", "x", "on"])
def test_a_bad_load_factor_is_refused_with_what_was_expected(load_factor: str) -> None:
    with pytest.raises(ValueError, match=r"^load_factor=.*: expected a number of 1 or more"):
        Hash("ip", load_factor)


# When one leaves, with the bounded load at work


CROWD = [f"198.51.{number // 250}.{number % 250}" for number in range(10_000)]


def filled(pool: Sequence[FakeUpstream], keys: Sequence[str]) -> tuple[list[str], int]:
    """
    Let all *keys* connect, one after the other, and stay.

    :returns: the name of the upstream of each, and how many are not where they belong,
        because that had no room.
    """
    balancer, unbounded = Hash("ip"), Hash("ip", "off")
    names, displaced = [], 0
    for each in pool:
        each.active = 0
    for key in keys:
        request = FakeHandshake(client_address=key)
        chosen = balancer.choose(request, pool)
        displaced += chosen is not unbounded.choose(request, pool)
        chosen.active += 1
        names.append(chosen.name)
    return names, displaced


def leave_one_after_the_other(count: int, keys: Sequence[str]) -> list[tuple[int, int, int]]:
    """Return, for each upstream that leaves: its keys, the keys that move, those displaced."""
    pool = pool_of(*[1] * count)
    before, displaced = filled(pool, keys)
    found = []
    for gone in pool:
        after, displaced_now = filled([each for each in pool if each is not gone], keys)
        moved = sum(one != other for one, other in zip(before, after, strict=True))
        found.append((before.count(gone.name), moved, displaced + displaced_now))
    return found


@pytest.mark.parametrize("count", [4, 10])
def test_about_one_key_in_n_moves_when_one_of_n_leaves(count: int) -> None:
    """
    A key moves if its upstream leaves, or if it was or is displaced; no other does.

    One is displaced only while its upstream has a quarter more than its share of the keys
    so far.  With a share of m that has a probability of exp(-m / 36) at most (Chernoff's
    bound), which sums up to 36 keys for each upstream; those who are displaced take others'
    places, so twice that is allowed.  An upstream has 1/N of the keys, give or take four
    standard deviations.
    """
    share = len(CROWD) / count
    deviation = (share * (1 - 1 / count)) ** 0.5
    for own, moved, displaced in leave_one_after_the_other(count, CROWD):
        assert own <= moved <= own + displaced
        assert displaced <= 2 * (2 * 36 * count)
        assert abs(own - share) <= 4 * deviation + 36 * 2


def test_a_key_that_everybody_has_moves_no_more_than_was_displaced() -> None:
    """A third of all clients are in one room: it fills three upstreams and a bit."""
    busy = [CROWD[0] if number % 3 == 0 else key for number, key in enumerate(CROWD)]
    for own, moved, displaced in leave_one_after_the_other(10, busy):
        assert displaced > 2000
        assert own <= 1.25 * len(busy) / 10 + 1
        assert own <= moved <= own + displaced


# Requests that are parts of something


@pytest.mark.parametrize(
    "request_",
    [
        FakeHandshake(client_address="192.0.2.1", is_websocket=False),
        FakeHandshake(client_address="192.0.2.1", is_websocket=False, method="POST"),
        FakeHandshake(client_address="192.0.2.1", query="EIO=4&transport=websocket&sid=x"),
        FakeHandshake(client_address="192.0.2.1", query="id=x"),
    ],
    ids=lambda each: f"{each.method} {each.query}",
)
def test_polling_and_its_upgrade_go_where_the_key_says_however_full_it_is_there(
    request_: FakeHandshake,
) -> None:
    balancer, pool = Hash("ip"), pool_of(1, 1, 1, 1)
    new = FakeHandshake(client_address="192.0.2.1")
    home = balancer.choose(new, pool)
    home.active = 1000  # type: ignore[misc]
    assert balancer.choose(request_, pool) is home
    assert balancer.find(request_, pool) is home
    assert balancer.choose(new, pool) is not home
    assert balancer.find(new, pool) is None


def test_an_empty_session_id_is_none() -> None:
    assert Hash("ip").find(FakeHandshake(query="sid=&id"), pool_of(1, 1)) is None
