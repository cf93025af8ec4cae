"""The cookie that leads a client back to the upstream that it had."""

from __future__ import annotations

import string

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from wsrelay.config.model import PoolConfig, StickyConfig, UpstreamConfig
from wsrelay.pools import sticky
from wsrelay.pools.sticky import StickyCookie
from wsrelay.pools.upstream import Upstream

NOW = 1_790_000_000.0


class Time:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def cookie_with(time: Time | None = None, pool: str = "chat", **options) -> StickyCookie:
    return StickyCookie(StickyConfig(**{"secret": "s3cret", **options}), pool, time or Time())


def upstream(name: str, url: str | None = None) -> Upstream:
    config = UpstreamConfig(name, url or f"ws://{name}.internal:9000")
    return Upstream(config, PoolConfig("chat"), lambda: 0.0)


UPSTREAMS = [upstream(name) for name in ("alpha", "beta", "gamma")]
ALPHA, BETA, GAMMA = UPSTREAMS


def header(cookie: StickyCookie, whom: Upstream, *, is_secure: bool = False) -> str:
    text = cookie.set_for({}, whom, is_secure=is_secure)
    assert text is not None
    return text.decode()


def value_for(cookie: StickyCookie, whom: Upstream) -> str:
    name, equals, value = header(cookie, whom).partition(";")[0].partition("=")
    assert (name, equals) == (cookie.config.name, "=")
    return value


GOOD = value_for(cookie_with(), BETA)


def find(cookie: StickyCookie, value: str, upstreams=UPSTREAMS) -> Upstream | None:
    return cookie.find({cookie.config.name: value}, upstreams)


# Back to where it was


@pytest.mark.parametrize("whom", UPSTREAMS, ids=lambda each: each.name)
def test_a_cookie_leads_back_to_its_upstream(whom: Upstream) -> None:
    cookie = cookie_with()
    assert find(cookie, value_for(cookie, whom)) is whom
    assert find(cookie, value_for(cookie, whom), UPSTREAMS[::-1]) is whom


def test_a_relay_that_starts_anew_understands_what_it_set_before() -> None:
    assert find(cookie_with(), GOOD) is BETA


def test_a_client_without_one_is_unknown() -> None:
    assert cookie_with().find({"other": GOOD}, UPSTREAMS) is None
    assert cookie_with().find({}, UPSTREAMS) is None


def test_its_name_is_the_configurations() -> None:
    cookie = cookie_with(name="stay")
    assert cookie.find({"wsrelay": GOOD}, UPSTREAMS) is None
    assert cookie.find({"stay": GOOD}, UPSTREAMS) is BETA


def test_an_upstream_that_may_not_be_used_is_not_found() -> None:
    assert find(cookie_with(), GOOD, [ALPHA, GAMMA]) is None
    assert find(cookie_with(), GOOD, []) is None


# Who else could have made it


def test_the_cookie_of_another_pool_is_void() -> None:
    assert find(cookie_with(pool="other"), GOOD) is None


def test_the_cookie_of_another_secret_is_void() -> None:
    assert find(cookie_with(secret="other"), GOOD) is None


def test_an_upstream_that_moved_is_another_one() -> None:
    moved = upstream("beta", "ws://beta.internal:9001")
    assert find(cookie_with(), GOOD, [moved]) is None


def test_without_a_secret_it_is_the_machines(monkeypatch, tmp_path) -> None:
    files = [tmp_path / "none", tmp_path / "empty", tmp_path / "id"]
    files[1].write_text(" \n")
    files[2].write_text("0123\n")
    monkeypatch.setattr(sticky, "_SECRETS", files)
    sticky._secret_of_this_machine.cache_clear()
    try:
        assert find(cookie_with(secret=None), value_for(cookie_with(secret="0123"), BETA)) is BETA
        files[2].write_bytes(b"\xff")
        sticky._secret_of_this_machine.cache_clear()
        value = value_for(cookie_with(secret=None), BETA)
        assert find(cookie_with(secret=None), value) is BETA
        sticky._secret_of_this_machine.cache_clear()
        assert find(cookie_with(secret=None), value) is None
    finally:
        sticky._secret_of_this_machine.cache_clear()


@given(st.integers(0, len(GOOD) - 1), st.characters(codec="utf-8"))
def test_a_value_with_any_other_character_in_it_is_void(where: int, other: str) -> None:
    tampered = GOOD[:where] + other + GOOD[where + 1 :]
    assert (find(cookie_with(), tampered) is BETA) is (tampered == GOOD)
    assert find(cookie_with(ttl=60.0), tampered) is (BETA if tampered == GOOD else None)


def test_a_value_with_a_character_of_its_own_alphabet_in_it_is_void() -> None:
    for where in range(len(GOOD)):
        for other in string.ascii_letters + string.digits + "-_.+ ":
            tampered = GOOD[:where] + other + GOOD[where + 1 :]
            assert tampered == GOOD or find(cookie_with(), tampered) is None, tampered


@given(
    st.text(max_size=60) | st.from_regex(r"1\.[0-9a-z]{0,40}\.[-_A-Za-z0-9]{0,25}", fullmatch=True)
)
def test_what_somebody_made_up_is_void(value: str) -> None:
    for ttl in (None, 60.0):
        assert find(cookie_with(ttl=ttl), value) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda value: "",
        lambda value: value[:-1],
        lambda value: value + "A",
        lambda value: value + "=",
        lambda value: value.upper(),
        lambda value: value.replace("1.", "2.", 1),
        lambda value: value.replace("1.", "1.0", 1),
        lambda value: value.replace("1.", "1.+", 1),
        lambda value: value.replace("1.", "1.-", 1),
        lambda value: f"1.{'z' * 5000}.x",
        lambda value: f"1.{'z' * 300}.x",
        lambda value: "1..x",
        lambda value: value.rpartition(".")[0],
    ],
)
def test_what_is_nearly_right_is_void(change) -> None:
    for ttl in (None, 60.0):
        assert find(cookie_with(ttl=ttl), change(GOOD)) is None


def test_a_long_number_costs_nothing_to_refuse(monkeypatch) -> None:
    """Each upstream's mark would be made for it."""
    monkeypatch.setattr(StickyCookie, "_value", None)
    assert find(cookie_with(), f"1.{'z' * 3000}.x") is None


@given(st.text("abcdefghijklmnopqrstuvwxyz-0123456789.", min_size=3, max_size=30))
def test_the_value_says_nothing_about_the_upstream(name: str) -> None:
    cookie = cookie_with()
    value = value_for(cookie, upstream(name))
    version, stamp, mark = value.split(".")
    assert (version, int(stamp, 36), len(mark)) == ("1", NOW, 20)
    same_name = value_for(cookie, upstream(name, "ws://192.0.2.1:1"))
    assert same_name.split(".")[2] != mark
    assert len(value) == len(GOOD)


def test_two_clients_of_one_upstream_cannot_tell_so_by_their_cookies() -> None:
    time = Time()
    cookie = cookie_with(time)
    one = value_for(cookie, BETA)
    time.now += 1
    assert value_for(cookie, BETA).split(".")[2] != one.split(".")[2]


# How long it is good


def test_a_cookie_of_the_browsers_session_is_good_for_ever_and_not_set_again() -> None:
    time = Time()
    cookie = cookie_with(time)
    time.now += 10 * 365 * 86400
    assert find(cookie, GOOD) is BETA
    assert cookie.set_for({"wsrelay": GOOD}, BETA, is_secure=False) is None
    assert "Max-Age" not in header(cookie, BETA)


def test_after_ttl_it_is_void() -> None:
    time = Time()
    cookie = cookie_with(time, ttl=3600.0)
    time.now += 3600
    assert find(cookie, GOOD) is BETA
    time.now += 1
    assert find(cookie, GOOD) is None
    assert cookie.set_for({"wsrelay": GOOD}, BETA, is_secure=False) is not None


def test_after_half_of_ttl_it_is_set_anew() -> None:
    time = Time()
    cookie = cookie_with(time, ttl=3600.0)
    time.now += 1800
    assert cookie.set_for({"wsrelay": GOOD}, BETA, is_secure=False) is None
    time.now += 1
    again = cookie.set_for({"wsrelay": GOOD}, BETA, is_secure=False)
    assert again is not None
    value = again.decode().partition(";")[0].partition("=")[2]
    time.now += 3600
    assert find(cookie, value) is BETA
    assert find(cookie, GOOD) is None


def test_a_clock_that_was_set_back_makes_no_cookie_void() -> None:
    time = Time()
    cookie = cookie_with(time, ttl=3600.0)
    time.now -= 86400
    assert find(cookie, GOOD) is BETA


def test_a_client_that_goes_to_another_upstream_gets_another_cookie() -> None:
    cookie = cookie_with()
    text = cookie.set_for({"wsrelay": GOOD}, ALPHA, is_secure=False)
    assert text is not None
    assert find(cookie, text.decode().partition(";")[0].partition("=")[2]) is ALPHA


# Its attributes


def attributes(options: dict, *, is_secure: bool = False) -> list[str]:
    text = header(cookie_with(**options), BETA, is_secure=is_secure)
    return text.split("; ")[1:]


def test_a_plain_cookie() -> None:
    assert attributes({}) == ["Path=/", "HttpOnly", "SameSite=Lax"]


@pytest.mark.parametrize(
    ("secure", "is_secure", "expected"),
    [
        ("auto", False, False),
        ("auto", True, True),
        ("yes", False, True),
        ("yes", True, True),
        ("no", False, False),
        ("no", True, False),
    ],
)
def test_secure(secure: str, is_secure: bool, expected: bool) -> None:
    assert ("Secure" in attributes({"secure": secure}, is_secure=is_secure)) is expected


@pytest.mark.parametrize(
    ("word", "expected"), [("lax", "Lax"), ("strict", "Strict"), ("none", "None")]
)
def test_same_site(word: str, expected: str) -> None:
    assert f"SameSite={expected}" in attributes({"same_site": word})


@pytest.mark.parametrize(("ttl", "seconds"), [(0.3, 1), (1.0, 1), (90.4, 90), (86400.0, 86400)])
def test_ttl(ttl: float, seconds: int) -> None:
    assert f"Max-Age={seconds}" in attributes({"ttl": ttl})


def test_a_new_configuration_of_the_attributes_keeps_the_values() -> None:
    config = StickyConfig(secret="s3cret")
    other = StickyCookie(evolve(config, ttl=7200.0, same_site="strict"), "chat", Time())
    assert find(other, GOOD) is BETA
