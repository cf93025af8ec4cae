"""Upstreams, plugins, headers and the like: one line each, with a grammar of its own."""

import re
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsrelay.config import lines
from wsrelay.config.model import HealthCheckConfig, PluginCall, StickyConfig, UpstreamConfig
from wsrelay.config.values import Parser

GOOD: list[tuple[Parser, str, Any]] = [
    (lines.upstream, "ws://a:1", UpstreamConfig("a:1", "ws://a:1")),
    (lines.upstream, "WS://A.b_c:1", UpstreamConfig("A.b_c:1", "ws://A.b_c:1")),
    (lines.upstream, "wss://a", UpstreamConfig("a", "wss://a")),
    (lines.upstream, "ws://a:1/base/@x", UpstreamConfig("a:1", "ws://a:1/base/@x")),
    (lines.upstream, "ws://[::1]:80", UpstreamConfig("[::1]:80", "ws://[::1]:80")),
    (lines.upstream, "unix:/run/a.sock", UpstreamConfig("/run/a.sock", "unix:/run/a.sock")),
    (
        lines.upstream,
        "ws://a:1 weight=3 max_connections=10 backup name=left",
        UpstreamConfig("left", "ws://a:1", 3, 10, True),
    ),
    (lines.upstream, "ws://a:1 max_connections=off", UpstreamConfig("a:1", "ws://a:1")),
    (
        lines.upstream,
        "ws://a:1 weight=1 max_connections=1",
        UpstreamConfig("a:1", "ws://a:1", 1, 1),
    ),
    (lines.upstream, "ws://a:1 weight=65535", UpstreamConfig("a:1", "ws://a:1", 65535)),
    (lines.health_check, "tcp rise=1 fall=1", HealthCheckConfig("tcp", rise=1, fall=1)),
    (lines.upstream, "ws://a:1 backup=no", UpstreamConfig("a:1", "ws://a:1")),
    (lines.plugin_call, "first", PluginCall("first")),
    (
        lines.plugin_call,
        "hash key=header:A=b x=1",
        PluginCall("hash", {"key": "header:A=b", "x": "1"}),
    ),
    (lines.health_check, "tcp", HealthCheckConfig("tcp")),
    (
        lines.health_check,
        "http path=/up host=a.test status=200-204 interval=5s timeout=2s rise=3 fall=4 port=81"
        " jitter=0%",
        HealthCheckConfig(
            "http",
            path="/up",
            host="a.test",
            status=(200, 204),
            interval=5.0,
            timeout=2.0,
            rise=3,
            fall=4,
            port=81,
            jitter=0.0,
        ),
    ),
    (lines.health_check, "http status=204", HealthCheckConfig("http", status=(204, 204))),
    (
        lines.health_check,
        "websocket path=/live subprotocol=x ping=no",
        HealthCheckConfig("websocket", path="/live", subprotocol="x", ping=False),
    ),
    (lines.sticky, "cookie name=wsrelay ttl=session secure=auto same_site=lax", StickyConfig()),
    (
        lines.sticky,
        "cookie name=a ttl=1h secure=yes same_site=none secret=x",
        StickyConfig("a", 3600.0, "yes", "none", "x"),
    ),
    (lines.origin, "https://chat.example.com", "https://chat.example.com"),
    (lines.origin, "https://*.example.com:8443", "https://*.example.com:8443"),
    (lines.origin, "http://[::1]:80", "http://[::1]:80"),
    (lines.origin, "same-host", "same-host"),
    (lines.origin, "none", "none"),
    (lines.redirect_url, "https://example.com/x", "https://example.com/x"),
    (lines.redirect_url, "/new", "/new"),
    (lines.header, "X-A: b", ("X-A", "b")),
    (lines.header, "X-A b c", ("X-A", "b c")),
    (lines.header, "X-A : b: c", ("X-A", "b: c")),
    (lines.header, "X-A:", ("X-A", "")),
    (lines.header, "X-A: é", ("X-A", "é")),
    (lines.header_name, "Cookie", "Cookie"),
]

BAD: list[tuple[Parser, str, str]] = [
    (lines.upstream, "ws//x", "'ws//x' is not an upstream (did you mean ws://x?)"),
    (lines.upstream, "localhost:3000", "(did you mean ws://localhost:3000?)"),
    (lines.upstream, "http://a:1", "(did you mean ws://a:1? ws:// is for plain HTTP, too); expe"),
    (lines.upstream, "HTTPS://a:1", "(did you mean wss://a:1? wss:// is for plain HTTP, too)"),
    (lines.upstream, "/run/a.sock", "(did you mean unix:/run/a.sock?)"),
    (lines.upstream, "ws://ü", "'ws://ü' is not an upstream; expected"),
    (lines.upstream, "ws://", "'ws://' is not an upstream; expected"),
    (lines.upstream, "unix:", "'unix:' is not an upstream; expected"),
    (lines.upstream, f"unix:/{'x' * 107}", "107 bytes at most, and this one has 108; choose a"),
    (lines.upstream, f"unix:/{'é' * 54} name=a", "and this one has 109; choose a shorter one than"),
    (lines.upstream, "ws://a:1?x", "has a query or fragment"),
    (lines.upstream, "ws://a:1/#x", "has a query or fragment"),
    (lines.upstream, "ws://a:0", "'0' is out of place"),
    (lines.upstream, "ws://a:65536", "'65536' is out of place"),
    (lines.upstream, "ws://[::g]:1", "'[::g]' is not an IPv6 address"),
    (lines.upstream, "ws://a:1 weight=0", "weight: '0' is out of place"),
    (lines.upstream, "ws://a:1 weight=65536", "weight: '65536' is out of place"),
    (lines.upstream, "ws://a:1 max_connections=0", "max_connections: '0' is out of place"),
    (lines.health_check, "tcp rise=0", "rise: '0' is out of place"),
    (lines.health_check, "tcp fall=0", "fall: '0' is out of place"),
    (lines.upstream, "ws://a:1 wieght=2", "unknown option 'wieght'; did you mean 'weight'?"),
    (lines.upstream, "ws://a:1 q=2", "unknown option 'q'; known: backup, max_connections, name,"),
    (lines.upstream, "ws://a:1 weight", "'weight' is not understood; expected option=value"),
    (lines.upstream, "ws://a:1 weight=", "'weight=' is not understood"),
    (lines.upstream, "ws://a:1 =1", "'=1' is not understood"),
    (lines.upstream, "ws://a:1 name=a name=b", "'name' stands there twice"),
    (lines.plugin_call, "key=ip", "'key=ip' stands where a name belongs"),
    (lines.plugin_call, "hash ip", "'ip' is not understood"),
    (lines.health_check, "htp", "unknown value 'htp'; did you mean 'http'?"),
    (lines.health_check, "tcp path=/", "unknown option 'path'"),
    (lines.health_check, "http path=x", "path: 'x' is not a path"),
    (lines.health_check, "http status=1", "status: '1' is not a status"),
    (lines.health_check, "http status=399-200", "the lower one first"),
    (lines.health_check, "http host=a/b", "host: 'a/b' is not a host"),
    (lines.health_check, "tcp jitter=101%", "jitter: '101%' is not a percentage"),
    (lines.health_check, "websocket subprotocol=a,b", "subprotocol: 'a,b' has a character"),
    (lines.sticky, "cookie name=a;b", "name: 'a;b' has a character"),
    (lines.sticky, "cookie same_site=none secure=no", "say secure=yes"),
    (lines.sticky, "cookie ttl=x", "ttl: 'x' is not a duration"),
    (lines.origin, "example.com", "'example.com' is not an origin"),
    (lines.origin, "https://a, none", "is more than one origin; write one a line, indented"),
    (lines.origin, "https://Chat.example.com/", "did you mean https://chat.example.com?"),
    (lines.origin, "*", "did you mean any?"),
    (lines.origin, "https://a/b", "'https://a/b' is not an origin"),
    (lines.origin, "https://a_?", "'a_?' is not a host"),
    (lines.origin, "https://a:0", "'0' is out of place"),
    (lines.redirect_url, "example.com", "'example.com' is not a URL"),
    (lines.header, "X-A", "'X-A' is not a header; expected Name: value"),
    (lines.header, "X(A): b", "'X(A)' is not a header's name"),
    (lines.header, "X-A: €", "'€' cannot be sent in a header"),
    (lines.header, "HOST: b", "'HOST' belongs to the relay and cannot be changed here; use host_h"),
    (lines.header, "connection: b", "changed here; expected another header"),
    (lines.header_name, "Upgrade", "'Upgrade' belongs to the relay"),
    (lines.header_name, "Transfer-Encoding", "'Transfer-Encoding' belongs to the relay"),
    (lines.header_name, "Content-Length", "'Content-Length' belongs to the relay"),
    (lines.header_name, "Sec-WebSocket-Key", "'Sec-WebSocket-Key' belongs to the relay"),
]


@pytest.mark.parametrize(("parse", "text", "value"), GOOD)
def test_a_good_line_is_understood(parse: Parser, text: str, value: Any) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(("parse", "text", "reason"), BAD)
def test_a_bad_line_is_refused_with_its_reason(parse: Parser, text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        parse(text)


@pytest.mark.parametrize("url", ["ws://u:secret@a:1", "ws//u:secret@a", "http://secret@a"])
def test_a_password_in_a_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ValueError, match="no user name or password") as caught:
        lines.upstream(url)
    assert "secret" not in str(caught.value)


PARSERS: list[Parser] = list({id(parse): parse for parse, _, _ in GOOD}.values())
words = st.lists(
    st.sampled_from(
        ["ws://", "unix:", "a", ":1", "[", "]", "/", "@", "=", " ", "backup", "weight", "é"]
    ),
    max_size=8,
).map("".join)


@given(st.sampled_from(PARSERS), st.one_of(words, st.text()).map(str.strip).filter(bool))
def test_no_text_raises_anything_but_value_error(parse: Parser, text: str) -> None:
    with suppress(ValueError):
        parse(text)


@given(words)
def test_what_is_accepted_as_an_upstream_can_be_connected_to(text: str) -> None:
    try:
        upstream = lines.upstream("ws://" + text)
    except ValueError:
        return
    assert upstream.host
    assert 1 <= upstream.port <= 65535
    assert upstream.base_path[:1] in ("", "/")
