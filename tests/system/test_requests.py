"""What an upstream receives of a client's request, byte for byte."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import RelayProcess, started_relay
from tests.system.support import (
    KEY,
    LOCAL,
    RawUpstream,
    Stage,
    end_normally,
    handshake,
    lines,
    switching,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("relay")


@pytest.fixture(scope="module")
def unix_upstream(folder: Path) -> Iterator[RawUpstream]:
    listening = RawUpstream.unix(folder / "upstream.sock")
    yield listening
    listening.close()


@pytest.fixture(scope="module")
def relay(
    upstream: RawUpstream, unix_upstream: RawUpstream, folder: Path
) -> Iterator[RelayProcess]:
    def route(name: str, *options: str, pool: str = "main") -> str:
        rows = "\n".join(options)
        return f"[route:{name}]\npath = /{name}\nhttp = no\npool = {pool}\n{rows}\n"

    config = "\n".join(
        [
            f"[listener:main]\nendpoint = {LOCAL}",
            f"[listener:trusting]\nendpoint = {LOCAL}",
            "trusted_proxies =\n  127.0.0.0/8\n  10.9.0.0/16",
            "[route:rest]\npool = main\nhttp = no",
            route("strip", "strip_prefix = yes"),
            route(
                "headers",
                "set_header =",
                "  X-Set: by relay",
                "  X-Replaced: new",
                "  X-Request-ID: fixed",
                "remove_header =",
                "  X-Removed",
                "  X-Real-IP",
                "  Cookie",
            ),
            route("host-upstream", "host_header = upstream"),
            route("host-name", "host_header = named.test:81"),
            route("based", pool="based"),
            route("stripbase", "strip_prefix = yes", pool="based"),
            route("unix", pool="unix"),
            route("unixhost", "host_header = upstream", pool="unix"),
            f"[pool:main]\nmax_fails = 0\nupstreams = {upstream.url}",
            f"[pool:based]\nmax_fails = 0\nupstreams = {upstream.url}/base/x%2Fy",
            f"[pool:unix]\nmax_fails = 0\nupstreams = {unix_upstream.url}",
            "[log]\nformat = json",
        ]
    )
    with started_relay(config, folder) as process:
        yield process


def seen(stage: Stage, request: bytes, listener: str = "main") -> list[bytes]:
    """Return the lines of the head that the upstream receives for *request*."""
    client = stage.connect(listener)
    client.send(request)
    return stage.accept().read_head().removesuffix(b"\r\n\r\n").split(b"\r\n")


def values(rows: list[bytes], name: bytes) -> list[bytes]:
    """Return the values of all fields called *name*, in order."""
    pairs = [row.partition(b": ") for row in rows[1:]]
    return [value for key, _, value in pairs if key.lower() == name.lower()]


def target(rows: list[bytes]) -> bytes:
    method, path, version = rows[0].split(b" ")
    assert (method, version) == (b"GET", b"HTTP/1.1")
    return path


def test_every_line_arrives_as_it_was_and_in_order(stage: Stage) -> None:
    port = stage.relay.ports["main"]
    client = stage.connect("main")
    client.send(
        lines(
            b"GET /a/b?x=1&y HTTP/1.1",
            b"X-First: 1",
            b"hOST: R.test:99",
            b"upgrade: WebSocket",
            b'Cookie: a=b; c="d"',
            b"X-Dup: one",
            b"CONNECTION: keep-alive, Upgrade, X-Listed",
            b"x-dup: two",
            b"X-Empty:",
            b"X-Listed: for this hop",
            b"Keep-Alive: timeout=5",
            b"TE: trailers",
            b"Trailer: X-T",
            b"Proxy-Connection: keep-alive",
            b"Proxy-Authorization: Basic AAAA",
            b"X-Bytes: \xc3\xa9\xff\x80",
            b"X-Blank:  \t in  the\tmiddle \t ",
            b"Authorization: Bearer abc",
            b"Origin: https://o.test",
            b"User-Agent: it's me",
            b"Cookie: e=f",
            b"Sec-WebSocket-Key: " + KEY,
            b"X-Request-ID: client-made",
            b"sec-websocket-VERSION: 13",
            b"Sec-WebSocket-Protocol: b, a",
            b"Sec-WebSocket-Protocol: c",
            b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x-own",
            b"Content-Length: 0",
            b"X-Last: 1",
        )
    )
    head = stage.accept().read_head()
    expected = lines(
        b"GET /a/b?x=1&y HTTP/1.1",
        b"X-First: 1",
        b"hOST: R.test:99",
        b"upgrade: websocket",
        b'Cookie: a=b; c="d"',
        b"X-Dup: one",
        b"CONNECTION: Upgrade",
        b"x-dup: two",
        b"X-Empty: ",
        b"X-Bytes: \xc3\xa9\xff\x80",
        b"X-Blank: in  the\tmiddle",
        b"Authorization: Bearer abc",
        b"Origin: https://o.test",
        b"User-Agent: it's me",
        b"Cookie: e=f",
        b"Sec-WebSocket-Key: " + KEY,
        b"sec-websocket-VERSION: 13",
        b"Sec-WebSocket-Protocol: b, a",
        b"Sec-WebSocket-Protocol: c",
        b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x-own",
        b"Content-Length: 0",
        b"X-Last: 1",
        b"X-Forwarded-For: 127.0.0.1",
        b"X-Forwarded-Proto: http",
        b"X-Forwarded-Host: R.test:99",
        b"X-Forwarded-Port: %d" % port,
        b"X-Real-IP: 127.0.0.1",
        b"X-Request-ID: client-made",
    )
    assert head == expected


CLAIMS = (
    b"X-Forwarded-For: 1.2.3.4, 5.6.7.8",
    b"X-Forwarded-Proto: https",
    b"X-Forwarded-Host: claimed.test",
    b"X-Forwarded-Port: 444",
    b"X-Real-IP: 6.6.6.6",
    b"X_Real_IP: 6.6.6.6",
    b"x_forwarded_for: 6.6.6.6",
    b"Forwarded: for=6.6.6.6",
)


def test_claims_of_a_stranger_do_not_arrive(stage: Stage) -> None:
    rows = seen(stage, handshake(b"/", *CLAIMS))
    assert values(rows, b"X-Forwarded-For") == [b"127.0.0.1"]
    assert values(rows, b"X-Forwarded-Proto") == [b"http"]
    assert values(rows, b"X-Forwarded-Host") == [b"r.test"]
    assert values(rows, b"X-Forwarded-Port") == [b"%d" % stage.relay.ports["main"]]
    assert values(rows, b"X-Real-IP") == [b"127.0.0.1"]
    assert values(rows, b"Forwarded") == []
    assert b"6.6.6.6" not in b"\n".join(rows)


def test_claims_of_a_trusted_proxy_arrive_with_the_proxy_added(stage: Stage) -> None:
    claims = [claim for claim in CLAIMS if b"_" not in claim]
    rows = seen(stage, handshake(b"/", *claims), "trusting")
    assert values(rows, b"X-Forwarded-For") == [b"1.2.3.4, 5.6.7.8, 127.0.0.1"]
    assert values(rows, b"X-Forwarded-Proto") == [b"https"]
    assert values(rows, b"X-Forwarded-Host") == [b"claimed.test"]
    assert values(rows, b"X-Forwarded-Port") == [b"444"]
    assert values(rows, b"X-Real-IP") == [b"5.6.7.8"]
    assert values(rows, b"Forwarded") == [b"for=6.6.6.6"]


CHAINS = [
    ((b"X-Forwarded-For: 1.1.1.1, 10.9.0.1",), b"1.1.1.1"),
    ((b"X-Forwarded-For: 1.1.1.1", b"X-Forwarded-For: 2.2.2.2"), b"2.2.2.2"),
    ((b"X-Forwarded-For: 1.1.1.1, nonsense, 10.9.0.1",), None),
    ((b"X-Forwarded-For: 2001:db8::1",), b"2001:db8::1"),
    ((), b"127.0.0.1"),
]


@pytest.mark.parametrize(("claims", "real"), CHAINS)
def test_the_real_address_is_the_last_that_no_trusted_proxy_has(
    stage: Stage, claims: tuple[bytes, ...], real: bytes | None
) -> None:
    rows = seen(stage, handshake(b"/", *claims), "trusting")
    (found,) = values(rows, b"X-Real-IP")
    if real is None:  # behind nonsense nothing can be believed
        assert found in (b"10.9.0.1", b"127.0.0.1")
    else:
        assert found == real
    (chain,) = values(rows, b"X-Forwarded-For")
    assert chain.endswith(b"127.0.0.1")


def test_a_request_id_is_made_and_differs_from_request_to_request(stage: Stage) -> None:
    first = values(seen(stage, handshake()), b"X-Request-ID")
    second = values(seen(stage, handshake()), b"X-Request-ID")
    assert len(first) == len(second) == 1
    assert len(first[0]) >= 16
    assert first != second


PATHS = [
    b"/",
    b"/?",
    b"/?a=b&c",
    b"/a//b///c",
    b"/a/../b/./c",
    b"/%2F%2f%00%zz%",
    b"/a;p=1/b;q?x;y=1?z",
    b"/caf\xc3\xa9?\xff\x80=\xe9",
    b"/~!$&'()*+,;=:@-._\"<>[]{}|\\^`",
    b"//host.test/path",
    b"/a?next=http://x/%3Fy",
    b"/" + b"long" * 3000,
]


@pytest.mark.parametrize("path", PATHS)
def test_path_and_query_arrive_byte_for_byte(stage: Stage, path: bytes) -> None:
    assert target(seen(stage, handshake(path))) == path


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/based", b"/base/x%2Fy/based"),
        (b"/based/a%2Fb?q=%20", b"/base/x%2Fy/based/a%2Fb?q=%20"),
        (b"/stripbase/a//b?q", b"/base/x%2Fy/a//b?q"),
        (b"/stripbase", b"/base/x%2Fy/"),
        (b"/strip/a%2Fb?x=/strip", b"/a%2Fb?x=/strip"),
        (b"/strip", b"/"),
        (b"/strip/", b"/"),
        (b"/strip?q=1", b"/?q=1"),
        (b"/strip//b", b"//b"),
    ],
)
def test_prefixes_are_stripped_and_base_paths_added(
    stage: Stage, path: bytes, expected: bytes
) -> None:
    assert target(seen(stage, handshake(path))) == expected


def test_headers_are_set_and_removed(stage: Stage) -> None:
    request = handshake(
        b"/headers",
        b"x-replaced: old",
        b"x-removed: 1",
        b"X-Replaced: older",
        b"X-REMOVED: 2",
        b"Cookie: secret",
        b"X-Kept: 1",
        b"X-Request-ID: mine",
    )
    rows = seen(stage, request)
    assert values(rows, b"X-Set") == [b"by relay"]
    assert values(rows, b"X-Replaced") == [b"new"]
    assert values(rows, b"X-Request-ID") == [b"fixed"]
    assert values(rows, b"X-Kept") == [b"1"]
    for name in (b"X-Removed", b"X-Real-IP", b"Cookie"):
        assert values(rows, name) == []
    assert b"secret" not in b"\n".join(rows)


def test_host_header_says_whose_host_goes_up(stage: Stage) -> None:
    request = handshake(b"/host-upstream", host=b"r.test:99")
    assert values(seen(stage, request), b"Host") == [b"127.0.0.1:%d" % stage.upstream.port]
    assert values(seen(stage, handshake(b"/host-name")), b"Host") == [b"named.test:81"]
    rows = seen(stage, request.replace(b"/host-upstream", b"/other"))
    assert values(rows, b"Host") == [b"r.test:99"]
    assert values(rows, b"X-Forwarded-Host") == [b"r.test:99"]


def test_the_original_host_is_told_when_another_one_goes_up(stage: Stage) -> None:
    rows = seen(stage, handshake(b"/host-name", host=b"r.test:99"))
    assert values(rows, b"X-Forwarded-Host") == [b"r.test:99"]


def test_absolute_form_is_sent_on_in_origin_form(stage: Stage) -> None:
    request = handshake().replace(b"GET / ", b"GET http://r.test/p?q ")
    rows = seen(stage, request)
    assert target(rows) == b"/p?q"
    assert values(rows, b"Host") == [b"r.test"]


def test_connection_cannot_remove_what_the_relay_adds_or_the_handshake(stage: Stage) -> None:
    request = handshake(b"/").replace(
        b"Connection: Upgrade",
        b"Connection: Upgrade, X-Forwarded-For, X-Real-IP, Sec-WebSocket-Key, close",
    )
    rows = seen(stage, request)
    assert values(rows, b"X-Forwarded-For") == [b"127.0.0.1"]
    assert values(rows, b"X-Real-IP") == [b"127.0.0.1"]
    assert values(rows, b"Host") == [b"r.test"]
    assert values(rows, b"Sec-WebSocket-Key") == [KEY]
    assert values(rows, b"Connection") == [b"Upgrade"]


def test_a_unix_upstream_has_a_whole_session(stage: Stage, unix_upstream: RawUpstream) -> None:
    client = stage.ask(b"/unix/x?y")
    wire = stage.accept(unix_upstream)
    head = wire.read_head()
    assert head.startswith(b"GET /unix/x?y HTTP/1.1\r\n")
    assert b"\r\nHost: r.test\r\n" in head
    wire.send(switching())
    assert client.read_head().startswith(b"HTTP/1.1 101 ")
    end_normally(client, wire)


def test_a_unix_upstream_is_called_localhost(stage: Stage, unix_upstream: RawUpstream) -> None:
    client = stage.ask(b"/unixhost")
    assert b"\r\nHost: localhost\r\n" in stage.accept(unix_upstream).read_head()
    client.close()


def test_a_request_in_single_bytes_is_the_same_request(stage: Stage) -> None:
    client = stage.connect()
    client.send_slowly(handshake(b"/slow?x", b"X-A: \xff"))
    rows = stage.accept().read_head().split(b"\r\n")
    assert target(rows[:1]) == b"/slow?x"
    assert b"X-A: \xff" in rows
