"""What two peers say to each other arrives as it was said, whichever they are."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.peers.client import Client, Data, Handshake
from tests.peers.clients import WebsocketsClient
from tests.peers.node import NodeClient
from tests.peers.reporting import MESSAGES
from tests.peers.upstreams import Upstream, run

MEGABYTE = 1024 * 1024

EXAMPLES: dict[str, Data] = {
    "text": "hello",
    "binary": bytes(range(256)),
    "empty-text": "",
    "empty-binary": b"",
    "unicode": "żółw ⊕ 漢字 \N{GRINNING FACE} \x00 end",
    "125-bytes": b"x" * 125,
    "126-bytes": b"y" * 126,
    "65535-bytes": b"z" * 65535,
    "65536-bytes": b"w" * 65536,
    "megabyte-of-text": "abcdefgh" * (MEGABYTE // 8),
    "megabyte-of-noise": random.Random(1).randbytes(MEGABYTE),
}


def test_every_kind_of_message_comes_back_unchanged(
    client: type[Client], upstream: Upstream
) -> None:
    """Text stays text, bytes stay bytes, at the edges of each frame length too."""

    async def conversation() -> None:
        async with client(Handshake(url=upstream.session("/echo").url)) as peer:
            for name, message in EXAMPLES.items():
                await peer.send(message)
                assert (name, await peer.receive()) == (name, message)

    run(conversation())


def test_small_messages_arrive_in_order(client: type[Client], upstream: Upstream) -> None:
    """200 messages sent without waiting come back in the order they were sent."""

    async def conversation() -> None:
        async with client(Handshake(url=upstream.session("/echo").url)) as peer:
            sent = [f"message {number}" for number in range(MESSAGES)]
            for message in sent:
                await peer.send(message)
            assert [await peer.receive() for _ in sent] == sent

    run(conversation())


def test_both_sides_may_talk_at_once(client: type[Client], upstream: Upstream) -> None:
    """200 messages each way at the same time all arrive, each way in order."""

    async def conversation() -> None:
        async with client(Handshake(url=upstream.session("/talk").url)) as peer:
            sending = asyncio.create_task(say_all(peer))
            heard = [await peer.receive() for _ in range(MESSAGES + 1)]
            await sending
            assert [said for said in heard if said != str(MESSAGES)] == [
                f"down {number}" for number in range(MESSAGES)
            ]

    run(conversation())


async def say_all(peer: Client) -> None:
    """Say ``up 0``, ``up 1`` … and ``end``."""
    for number in range(MESSAGES):
        await peer.send(f"up {number}")
    await peer.send("end")


@pytest.mark.parametrize("fragments", [["a", "bc", "", "déf"], [b"\x00", b"", b"\xff" * 70_000]])
def test_fragments_are_kept(fragments: list[Data], all_upstreams: dict[str, Upstream]) -> None:
    """
    A message comes back in the very fragments in which it was sent.

    ``websockets`` cannot know which fragment is the last and ends each message with
    an empty one: the client does and the upstream does.
    """
    ends = [fragments[0][:0]] * 2

    async def conversation() -> None:
        url = all_upstreams["websockets"].session("/echo").url
        async with WebsocketsClient(Handshake(url=url)) as peer:
            await peer.send_fragments(fragments)
            assert await peer.receive_fragments() == fragments + ends

    run(conversation())


@pytest.mark.parametrize("client", ["websockets", "node"], indirect=True)
def test_a_fragmented_message_is_whole_at_the_other_end(
    client: type[WebsocketsClient | NodeClient], upstream: Upstream
) -> None:
    """Upstreams of every kind understand a message in fragments."""

    async def conversation() -> None:
        async with client(Handshake(url=upstream.session("/echo").url)) as peer:
            await peer.send_fragments(["one ", "two ", "", "three"])
            assert await peer.receive() == "one two three"

    run(conversation())


@pytest.mark.parametrize("upstream", ["websockets", "node"], indirect=True)
def test_a_fragmented_answer_is_whole_at_the_client(
    client: type[Client], upstream: Upstream
) -> None:
    """Clients of every kind understand what an upstream sends in fragments."""

    async def conversation() -> None:
        async with client(Handshake(url=upstream.session("/fragments").url)) as peer:
            for message in ("in pieces", b"\x00\x01\xfe\xff"):
                await peer.send(message)
                assert await peer.receive() == message

    run(conversation())


@pytest.mark.parametrize("payload", [b"", b"are you there?", b"\x00\xff" * 62 + b"!"])
def test_a_ping_is_answered_by_the_upstream(
    client: type[Client], upstream: Upstream, payload: bytes
) -> None:
    """The upstream sees the client's ping, and its pong comes back with the same payload."""

    async def conversation() -> None:
        session = upstream.session("/echo")
        async with client(Handshake(url=session.url)) as peer:
            await peer.ping(payload)
            await session.saw("ping", payload=payload.decode("latin-1"))

    run(conversation())


def test_the_upstreams_ping_is_answered_by_the_client(
    client: type[Client], upstream: Upstream
) -> None:
    """A client's pong reaches the upstream with the payload of its ping."""

    async def conversation() -> None:
        async with client(Handshake(url=upstream.session("/ping").url)) as peer:
            await peer.send("marco")
            assert await peer.receive() == "pong marco"

    run(conversation())


def test_the_clients_close_reaches_the_upstream(client: type[Client], upstream: Upstream) -> None:
    """The upstream learns the close code and the reason that the client gave."""

    async def conversation() -> None:
        session = upstream.session("/echo")
        async with client(Handshake(url=session.url)) as peer:
            await peer.close(4002, "done")
            await session.saw("close", code=4002, reason="done")

    run(conversation())


def test_the_upstreams_close_reaches_the_client(client: type[Client], upstream: Upstream) -> None:
    """The client learns the close code and the reason that the upstream gave."""

    async def conversation() -> None:
        async with client(Handshake(url=upstream.session("/bye").url)) as peer:
            await peer.send("go on")
            assert await peer.closed() == (4001, "bye")

    run(conversation())


@pytest.mark.parametrize("upstream", ["websockets", "node"], indirect=True)
def test_a_close_without_a_code_stays_without(upstream: Upstream) -> None:
    """An empty close frame is not given a code on its way (RFC 6455, section 7.1.5)."""

    async def conversation() -> None:
        session = upstream.session("/echo")
        async with NodeClient(Handshake(url=session.url)) as peer:
            await peer.close(None, "")
            await session.saw("close", code=1005, reason="")

    run(conversation())
