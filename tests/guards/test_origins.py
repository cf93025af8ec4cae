"""Which pages may connect."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsrelay.guards.origins import Origins

CHAT = "https://chat.example.com"


def may(
    listed: str,
    *origins: str,
    host: str = "relay.example.com",
    is_websocket: bool = True,
) -> bool:
    values = [each.encode("latin-1") for each in origins]
    return Origins(listed.split()).permit(values, host.encode(), is_websocket=is_websocket)


@pytest.mark.parametrize(
    ("listed", "origin", "expected"),
    [
        (CHAT, "https://chat.example.com", True),
        (CHAT, "https://chat.example.com:443", True),
        ("https://chat.example.com:443", "https://chat.example.com", True),
        (CHAT, "HTTPS://Chat.EXAMPLE.com", True),
        ("https://Chat.Example.com", "https://chat.example.com", True),
        (CHAT, "https://chat.example.com.", True),  # as Host
        (CHAT, "http://chat.example.com", False),
        (CHAT, "http://chat.example.com:443", False),
        (CHAT, "https://chat.example.com:8443", False),
        (CHAT, "https://chat.example.com:80", False),
        (CHAT, "https://example.com", False),
        (CHAT, "https://evil.chat.example.com", False),
        (CHAT, "https://chat.example.com.evil.org", False),
        (CHAT, "https://chat-example.com", False),
        ("http://localhost:3000", "http://localhost:3000", True),
        ("http://localhost:3000", "http://localhost", False),
        ("http://localhost", "http://localhost:80", True),
        # addresses
        ("http://[::1]:3000", "http://[::1]:3000", True),
        ("http://[0:0::1]:3000", "http://[::1]:3000", True),
        ("http://[::1]", "http://[::2]", False),
        ("http://127.0.0.1", "http://127.0.0.1", True),
        # other schemes have no default port
        ("capacitor://localhost", "capacitor://localhost", True),
        ("capacitor://localhost", "capacitor://localhost:80", False),
        ("chrome-extension://abcdef", "chrome-extension://abcdef", True),
    ],
)
def test_scheme_host_and_port_count(listed: str, origin: str, expected: bool) -> None:
    assert may(listed, origin) is expected


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("https://a.example.com", True),
        ("https://a.b.c.example.com", True),
        ("https://A.EXAMPLE.COM", True),
        ("https://a.example.com:443", True),
        ("https://a.example.com.", True),
        ("https://example.com", False),
        ("https://evil-example.com", False),
        ("https://evilexample.com", False),
        ("https://.example.com", False),
        ("https://*.example.com", False),
        ("https://a.example.com.evil.org", False),
        ("https://example.com.evil.org", False),
        ("https://com", False),
        ("http://a.example.com", False),
        ("https://a.example.com:8443", False),
    ],
)
def test_a_wildcard_is_for_all_subdomains_and_for_nothing_else(origin: str, expected: bool) -> None:
    assert may("https://*.example.com", origin) is expected


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "NULL",
        "",
        "*",
        "chat.example.com",
        "//chat.example.com",
        "https://",
        "https:chat.example.com",
        "https://chat.example.com/",
        "https://chat.example.com/path",
        "https://chat.example.com?",
        "https://chat.example.com#",
        "https://chat.example.com:",
        "https://chat.example.com:443:443",
        "https://chat.example.com:443a",
        "https://chat.example.com:000443",
        "https://evil.org@chat.example.com",
        "https://chat.example.com https://chat.example.com",
        "https://chat.example.com, https://chat.example.com",
        "https://chat.example.com\x00",
        "https://chat.example.com\t",
        "https://chät.example.com",
        "https://chat..example.com",
        "https://[::1",
        "https://[:::]",
        "https://[chat.example.com]",
        "\u0130",
    ],
)
def test_what_is_no_origin_is_none_that_may(origin: str) -> None:
    everything = f"{CHAT} https://*.example.com same-host none"
    values = [origin.encode("utf-8")]
    assert not Origins(everything.split()).permit(values, b"chat.example.com", is_websocket=True)


def test_of_several_origins_none_may() -> None:
    assert may(CHAT, CHAT)
    assert not may(CHAT, CHAT, CHAT)
    assert not may(CHAT, CHAT, "https://evil.org")
    assert not may(CHAT, CHAT, CHAT, is_websocket=False)


def test_a_handshake_without_an_origin_needs_none_to_be_listed() -> None:
    assert not may(CHAT)
    assert not may("same-host")
    assert may("none")
    assert may(f"{CHAT} none")


def test_none_does_not_mean_null_nor_anybody() -> None:
    assert not may("none", "null")
    assert not may("none", CHAT)
    assert not may("none", "")


def test_any_other_request_is_asked_only_if_it_has_an_origin() -> None:
    assert may(CHAT, is_websocket=False)
    assert may(CHAT, CHAT, is_websocket=False)
    assert not may(CHAT, "https://evil.org", is_websocket=False)
    assert not may(CHAT, "null", is_websocket=False)


@pytest.mark.parametrize(
    ("origin", "host", "expected"),
    [
        ("https://chat.example.com", "chat.example.com", True),
        ("https://chat.example.com", "chat.example.com:443", True),
        ("https://chat.example.com:443", "chat.example.com", True),
        ("http://chat.example.com", "chat.example.com:80", True),
        ("http://chat.example.com:8080", "chat.example.com:8080", True),
        ("https://Chat.example.com", "CHAT.example.com", True),
        ("https://chat.example.com", "chat.example.com.", True),
        ("http://[::1]:8080", "[0::1]:8080", True),
        ("https://chat.example.com", "chat.example.com:80", False),
        ("http://chat.example.com", "chat.example.com:443", False),
        ("https://chat.example.com", "chat.example.com:8443", False),
        ("https://chat.example.com:8443", "chat.example.com", False),
        ("https://evil.org", "chat.example.com", False),
        ("https://example.com", "chat.example.com", False),
        ("https://chat.example.com", "example.com", False),
        ("https://chat.example.com", "", False),
        ("https://chat.example.com", "chat.example.com, evil.org", False),
        ("capacitor://localhost", "localhost:80", False),
    ],
)
def test_same_host_is_the_host_and_port_that_were_asked(
    origin: str, host: str, expected: bool
) -> None:
    assert may("same-host", origin, host=host) is expected


def test_same_host_says_nothing_of_the_others() -> None:
    assert may(f"same-host {CHAT}", CHAT, host="other.example.com")
    assert not may(CHAT, "https://other.example.com", host="other.example.com")


def test_many_are_looked_up_at_once() -> None:
    listed = " ".join(f"https://{number}.example.com" for number in range(1000))
    assert may(listed, "https://777.example.com")
    assert not may(listed, "https://1000.example.com")


def test_what_nobody_checked_is_refused_when_it_is_made() -> None:
    with pytest.raises(ValueError, match="'chat' is not an origin"):
        Origins(["chat"])


NAMES = st.text("ab.-:/*@[]#? ,", max_size=12)


@given(st.sampled_from(["https", "http", "HTTPS"]), NAMES, st.sampled_from(["", ":443", ":80"]))
def test_no_spelling_gets_past_a_wildcard(scheme: str, name: str, port: str) -> None:
    """Whoever may is a subdomain, by a simpler rule than the one that is tested."""
    origin = f"{scheme}://{name}b.a{port}"
    if may("https://*.b.a", origin):
        assert re.fullmatch(r"[hH][tT][tT][pP][sS]://([ab-]+\.)+b\.a(:443)?", origin)
