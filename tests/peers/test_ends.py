"""Whoever disappears, the other side gets a close frame that says so."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.peers.client import Client, Handshake
from tests.peers.clients import WebsocketsClient
from tests.peers.upstreams import Session, Upstream, own_url, relay_ini, run, start_upstream
from tests.support import started_relay

pytestmark = pytest.mark.usefixtures("relayed")


def test_clients_of_a_killed_upstream_get_1011(client: type[Client], tmp_path: Path) -> None:
    """An upstream that is killed cannot say goodbye, so the relay does."""

    async def conversation(url: str) -> None:
        async with client(Handshake(url=url)) as peer:
            await peer.send("are you there?")
            assert await peer.receive() == "are you there?"
            upstream.kill()
            code, _ = await peer.closed()
            assert code == 1011

    with start_upstream("websockets") as upstream:
        config = relay_ini({"lost": [own_url(upstream)]})
        with started_relay(config, tmp_path) as relay:
            run(conversation(f"{relay.url}/echo"))


def test_the_upstream_of_a_vanished_client_gets_1001(
    client: type[Client], upstream: Upstream
) -> None:
    """A client that drops its connection without a close frame has gone away."""

    async def conversation() -> None:
        session = upstream.session("/echo")
        async with client(Handshake(url=session.url)) as peer:
            await peer.send("remember me")
            assert await peer.receive() == "remember me"
            await peer.vanish()
            await session.saw("close", code=1001)

    run(conversation())


def test_new_clients_of_a_killed_upstream_go_elsewhere(tmp_path: Path) -> None:
    """While one of two upstreams is dead, every handshake is answered by the other."""

    async def conversation(url: str) -> None:
        for number in range(4):
            session = Session(url, f"/echo?id={number}", alive)
            async with WebsocketsClient(Handshake(url=url + session.path)) as peer:
                await peer.send("who are you?")
                assert await peer.receive() == "who are you?"
                await session.saw("open")

    with start_upstream("websockets") as dead, start_upstream("aiohttp") as alive:
        config = relay_ini({"both": [own_url(dead), own_url(alive)]})
        with started_relay(config, tmp_path) as relay:
            dead.kill()
            run(conversation(relay.url))


def test_a_stopped_relay_closes_both_legs_with_1012(client: type[Client], tmp_path: Path) -> None:
    """At SIGTERM client and upstream get 1012 and the relay ends."""

    async def conversation(url: str) -> None:
        session = Session(url, "/echo?id=1", upstream)
        async with client(Handshake(url=url + session.path)) as peer:
            await peer.send("still open")
            assert await peer.receive() == "still open"
            relay.terminate()
            code, _ = await peer.closed()
            assert code == 1012
            await session.saw("close", code=1012)

    with start_upstream("websockets") as upstream:
        config = relay_ini({"drained": [own_url(upstream)]})
        with started_relay(config, tmp_path) as relay:
            run(conversation(relay.url))
            assert relay.wait() in (0, -signal.SIGTERM)  # twistd ends itself by the signal
