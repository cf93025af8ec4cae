"""
``hash`` and signed cookies lead to the same upstream from every relay, with nothing shared.

Three relays, made apart, of three different files: other routes, other order of the upstreams,
and sessions of their own that the others know nothing of.
"""

from __future__ import annotations

from collections import Counter
from functools import cache

import pytest
from twisted.internet.task import Clock

from tests.config.samples import parsed
from tests.support import PROJECT
from wsrelay.pools.choosing import choose, make_pool
from wsrelay.pools.pool import Pool
from wsrelay.pools.upstream import Upstream
from wsrelay.relay.handshake import Handshake
from wsrelay.wire.headers import Headers

KEYS = 10_000
NAMES = ("a", "b", "c", "d", "e")
WEIGHTS = {"a": 1, "b": 1, "c": 2, "d": 3, "e": 1}
ORDERS = (NAMES, NAMES[::-1], ("c", "a", "e", "b", "d"))


def relay(names: tuple[str, ...], pool: str) -> Pool:
    """Make the pool of a relay, from a whole relay.ini."""
    lines = "".join(
        f"\n    ws://10.0.0.{ord(name)}:3000 name={name} weight={WEIGHTS[name]}" for name in names
    )
    head = "[listener:l]\nendpoint = tcp:8080\n[route:r]\npool = p\n"
    text = f"{head}[pool:p]\n{pool}\nupstreams ={lines}\n"
    return make_pool(parsed(text).pools[0], Clock())


def handshake(**known: str) -> Handshake:
    """Return a handshake that shows one thing, and all else as every client does."""
    headers = [(b"Host", b"r.test")]
    if "header" in known:
        headers.append((b"X-User", known["header"].encode()))
    if "cookie" in known:
        headers.append((b"Cookie", f"user={known['cookie']}".encode()))
    query = f"user={known['query']}" if "query" in known else ""
    address, path = known.get("ip", "192.0.2.1"), known.get("path", "/")
    return Handshake(path, query, Headers(headers), address, "r.test", "r", (), "GET", True)


def chosen(pool: Pool, asked: Handshake) -> Upstream:
    choice = choose(pool, asked)
    assert isinstance(choice, Upstream)
    return choice


def address(number: int) -> str:
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


KINDS = {
    "ip": ("ip", address),
    "path": ("path", lambda number: f"/rooms/{number}"),
    "header:X-User": ("header", lambda number: f"user-{number}"),
    "cookie:user": ("cookie", lambda number: f"user-{number}"),
    "query:user": ("query", lambda number: f"user-{number}"),
}


@cache
def shares(key: str) -> Counter[str]:
    """Return how many keys each upstream gets, by the word of all relays."""
    kind, value = KINDS[key]
    pools = [relay(names, f"balancer = hash key={key} load_factor=off") for names in ORDERS]
    for _ in range(50):  # what one relay has is nothing to the others
        assert pools[0].upstreams[0].take() is not None
    found: Counter[str] = Counter()
    for number in range(KEYS):
        asked = handshake(**{kind: value(number)})
        names = {chosen(pool, asked).name for pool in pools}
        assert len(names) == 1, value(number)
        found.update(names)
    return found


@pytest.mark.parametrize("key", KINDS)
def test_a_key_has_one_upstream_at_all_relays(key: str) -> None:
    total = sum(WEIGHTS.values())
    for name, weight in WEIGHTS.items():
        assert shares(key)[name] == pytest.approx(KEYS * weight / total, rel=0.1)


def test_the_table_of_the_page_says_who_got_how_many() -> None:
    page = (PROJECT / "docs" / "cluster.rst").read_text("utf-8").splitlines()
    for name, weight in WEIGHTS.items():
        fair = round(KEYS * weight / sum(WEIGHTS.values()))
        found = [shares(key)[name] for key in ("ip", "path", "header:X-User")]
        row = [f"``{name}``", str(weight), f"{fair:,}", *(f"{each:,}" for each in found)]
        assert row in [line.split() for line in page], " ".join(row)


def test_relays_agree_about_all_keys_when_an_upstream_is_gone_and_the_rest_stays() -> None:
    line = "balancer = hash key=ip load_factor=off"
    before = relay(NAMES, line)
    after = [relay(tuple(each for each in names if each != "c"), line) for names in ORDERS]
    moved = 0
    for number in range(KEYS):
        asked = handshake(ip=address(number))
        was = chosen(before, asked).name
        (now,) = {chosen(pool, asked).name for pool in after}
        moved += was != now
        assert was == now or was == "c"
    assert moved == pytest.approx(KEYS * WEIGHTS["c"] / sum(WEIGHTS.values()), rel=0.1)


def test_a_cookie_of_one_relay_leads_to_the_same_upstream_at_the_others() -> None:
    pools = [relay(names, "sticky = cookie name=s secret=hunter2") for names in ORDERS]
    assert all(pool.sticky for pool in pools)
    for number in range(KEYS):
        maker = pools[number % 3]
        upstream = maker.upstreams[number % len(NAMES)]
        assert maker.sticky is not None
        line = maker.sticky.set_for({}, upstream, is_secure=False)
        assert line is not None
        value = line.decode().partition(";")[0].partition("=")[2]
        headers = Headers([(b"Host", b"r.test"), (b"Cookie", f"s={value}".encode())])
        asked = Handshake("/", "", headers, address(number), "r.test", "r", (), "GET", True)
        assert {chosen(pool, asked).name for pool in pools} == {upstream.name}


def test_a_cookie_of_another_secret_leads_nowhere() -> None:
    one, other = (
        relay(NAMES, f"sticky = cookie name=s secret={secret}") for secret in ("hunter2", "3hunter")
    )
    assert one.sticky is not None
    assert other.sticky is not None
    line = one.sticky.set_for({}, one.upstreams[0], is_secure=False)
    assert line is not None
    cookies = {"s": line.decode().partition(";")[0].partition("=")[2]}
    assert one.sticky.find(cookies, one.upstreams) is one.upstreams[0]
    assert other.sticky.find(cookies, other.upstreams) is None
