"""The opening handshake is between the peers: each learns what the other said."""

from __future__ import annotations

import random
from urllib.parse import urlsplit

import pytest

from tests.peers.client import Client, Data, Handshake, RefusedError, values_of
from tests.peers.clients import WebsocketsClient
from tests.peers.reporting import REFUSAL_BODY
from tests.peers.upstreams import Upstream, run

HEADERS = [
    ("Origin", "https://chat.example.com"),
    ("Cookie", "session=s3cret; theme=dark"),
    ("Authorization", "Bearer a.b.c=="),
    ("X-Twice", "one"),
    ("X-Twice", "two"),
    ("X-Spaced", "a,  b;c"),
    ("X-Name", "caf\N{LATIN SMALL LETTER E WITH ACUTE}"),
]
NAMES = [name.lower() for name, _ in HEADERS]

WAYS_TO_REFUSE = [
    ("websockets", "length"),
    ("aiohttp", "length"),
    ("aiohttp", "chunked"),
    ("node", "length"),
    ("node", "chunked"),
    ("node", "eof"),
]

MESSAGES: list[Data] = [
    "compress me " * 10_000,
    "compress me " * 10_000,
    random.Random(2).randbytes(50_000),
    "",
    "short",
    b"\x00" * 300_000,
]


def test_the_upstream_sees_the_clients_headers(client: type[Client], upstream: Upstream) -> None:
    """Cookies, credentials, origin, duplicates and bytes beyond ASCII arrive in order."""

    async def conversation() -> None:
        session = upstream.session("/echo")
        async with client(Handshake(url=session.url, headers=HEADERS)):
            opened = await session.saw("open")
        sent = [(name.lower(), value.encode(client.encoding)) for name, value in HEADERS]
        seen = [(name.lower(), value.encode("latin-1")) for name, value in opened["headers"]]
        assert [(name, value) for name, value in seen if name in NAMES] == sent

    run(conversation())


def test_each_handshake_header_arrives_once(client: type[Client], upstream: Upstream) -> None:
    """The upstream gets one handshake, for the host that the client asked for."""

    async def conversation() -> None:
        session = upstream.session("/echo")
        async with client(Handshake(url=session.url)):
            headers = (await session.saw("open"))["headers"]
        assert values_of(headers, "Host") == [urlsplit(session.url).netloc]
        assert [value.lower() for value in values_of(headers, "Upgrade")] == ["websocket"]
        assert [value.lower() for value in values_of(headers, "Connection")] == ["upgrade"]
        assert values_of(headers, "Sec-WebSocket-Version") == ["13"]
        assert len(values_of(headers, "Sec-WebSocket-Key")) == 1

    run(conversation())


@pytest.mark.usefixtures("relayed")
def test_the_upstream_learns_the_clients_address(upstream: Upstream) -> None:
    """What a client without a trusted address claims to be is replaced by what it is."""

    async def conversation() -> None:
        session = upstream.session("/echo")
        claims = [("X-Forwarded-For", "10.9.8.7"), ("X-Real-IP", "10.9.8.7")]
        async with WebsocketsClient(Handshake(url=session.url, headers=claims)):
            headers = (await session.saw("open"))["headers"]
        assert values_of(headers, "X-Forwarded-For") == ["127.0.0.1"]
        assert values_of(headers, "X-Real-IP") == ["127.0.0.1"]

    run(conversation())


def test_path_and_query_arrive_byte_for_byte(client: type[Client], upstream: Upstream) -> None:
    """Nothing of the request target is decoded, encoded or tidied."""

    async def conversation() -> None:
        session = upstream.session("/echo?q=%20a%2Fb+c&&d=%c3%A9;e=//..//")
        async with client(Handshake(url=session.url)):
            await session.saw("open")

    run(conversation())


def test_the_client_sees_the_upstreams_headers(client: type[Client], upstream: Upstream) -> None:
    """Each Set-Cookie of the 101 stays a header of its own."""

    async def conversation() -> None:
        async with client(Handshake(url=upstream.session("/echo").url)) as peer:
            assert peer.values("Set-Cookie") == ["a=1; Path=/", "b=2"]
            assert peer.values("X-Upstream") == ["yes"]

    run(conversation())


def test_the_upstream_chooses_the_subprotocol(client: type[Client], upstream: Upstream) -> None:
    """Both ends agree on the upstream's choice, which is not the client's first."""

    async def conversation() -> None:
        session = upstream.session("/echo")
        offered = ["chat.v1", "chat.v2", "chat.v0"]
        async with client(Handshake(url=session.url, subprotocols=offered)) as peer:
            assert peer.subprotocol == "chat.v2"
            await session.saw("open", subprotocol="chat.v2")

    run(conversation())


@pytest.mark.parametrize("client", ["websockets", "aiohttp"], indirect=True)
def test_no_subprotocol_is_made_up(client: type[Client], upstream: Upstream) -> None:
    """When the upstream wants none of those offered, none is agreed on."""

    async def conversation() -> None:
        session = upstream.session("/echo")
        async with client(Handshake(url=session.url, subprotocols=["other"])) as peer:
            assert peer.subprotocol is None
            assert peer.values("Sec-WebSocket-Protocol") == []
            await session.saw("open", subprotocol=None)

    run(conversation())


def test_compression_is_agreed_between_the_peers(client: type[Client], upstream: Upstream) -> None:
    """Both ends compress, and what they compress with a shared context comes back intact."""

    async def conversation() -> None:
        session = upstream.session("/echo")
        async with client(Handshake(url=session.url, deflate=True)) as peer:
            assert "permessage-deflate" in peer.extensions
            assert "permessage-deflate" in (await session.saw("open"))["extensions"]
            for message in MESSAGES:
                await peer.send(message)
                assert await peer.receive() == message

    run(conversation())


def test_no_compression_is_made_up(client: type[Client], upstream: Upstream) -> None:
    """A client that offers no compression gets none, and the upstream is offered none."""

    async def conversation() -> None:
        session = upstream.session("/echo")
        async with client(Handshake(url=session.url)) as peer:
            assert peer.extensions == ""
            opened = await session.saw("open", extensions="")
        assert values_of(opened["headers"], "Sec-WebSocket-Extensions") == []

    run(conversation())


@pytest.mark.parametrize(("upstream", "how"), WAYS_TO_REFUSE, indirect=["upstream"])
def test_a_refusal_arrives_as_it_was_said(
    client: type[Client], upstream: Upstream, how: str
) -> None:
    """The client gets the upstream's status, headers and body, however its end is marked."""

    async def conversation() -> None:
        handshake = Handshake(url=upstream.session(f"/refuse/{how}").url)
        with pytest.raises(RefusedError) as caught:
            async with client(handshake):
                pass
        refusal = caught.value
        assert refusal.status == 403
        assert refusal.values("WWW-Authenticate") == ['Basic realm="tests"']
        assert refusal.values("X-Reason") == ["nobody may"]
        if how != "eof" or client.reads_body_until_eof:
            assert refusal.body == REFUSAL_BODY

    run(conversation())
