"""``mode = messages`` between real peers: nobody notices, and each leg is compressed by itself."""

from __future__ import annotations

import contextlib
import itertools
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    ServerPerMessageDeflateFactory,
)

from tests.peers.client import Client, Data, Handshake
from tests.peers.node import NodeClient, has_node, require_node
from tests.peers.test_conversation import (  # noqa: F401  run with the relay below
    EXAMPLES,
    test_a_close_without_a_code_stays_without,
    test_a_fragmented_answer_is_whole_at_the_client,
    test_a_fragmented_message_is_whole_at_the_other_end,
    test_a_ping_is_answered_by_the_upstream,
    test_both_sides_may_talk_at_once,
    test_every_kind_of_message_comes_back_unchanged,
    test_small_messages_arrive_in_order,
    test_the_clients_close_reaches_the_upstream,
    test_the_upstreams_close_reaches_the_client,
    test_the_upstreams_ping_is_answered_by_the_client,
)
from tests.peers.upstreams import (
    DIRECT,
    KINDS,
    Upstream,
    own_url,
    relay_ini,
    run,
    start_upstream,
)
from tests.support import started_relay

pytestmark = pytest.mark.skipif(DIRECT, reason="WSRELAY_PEERS=direct: there is no relay")

TEXT = "compress me, compress me again " * 100
CONVERSATION: list[Data] = [TEXT, TEXT.encode(), "", b"", *EXAMPLES.values(), TEXT]


@pytest.fixture(scope="module", params=["both"])
def all_upstreams(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Upstream]]:
    """Give one upstream of each kind, behind a relay that passes messages."""
    kinds = [kind for kind in KINDS if kind != "node" or has_node()]
    with contextlib.ExitStack() as stack:
        processes = {kind: stack.enter_context(start_upstream(kind)) for kind in kinds}
        config = relay_ini(
            {kind: [own_url(process)] for kind, process in processes.items()},
            route=("mode = messages", f"compression = {request.param}"),
        )
        relay = stack.enter_context(started_relay(config, tmp_path_factory.mktemp("relay")))
        yield {kind: Upstream(kind, processes[kind], relay.url_of(kind), relay) for kind in kinds}


@pytest.mark.parametrize("all_upstreams", ["off", "client", "upstream", "both"], indirect=True)
def test_each_leg_is_compressed_as_the_route_says(
    client: type[Client],
    upstream: Upstream,
    request: pytest.FixtureRequest,
) -> None:
    """What is said on both arrives unchanged, however often it is said."""
    compression = request.node.callspec.params["all_upstreams"]

    async def conversation() -> None:
        session = upstream.session("/echo")
        async with client(Handshake(url=session.url, deflate=True)) as peer:
            assert bool(peer.extensions) is (compression in ("client", "both"))
            said = (await session.saw("open"))["extensions"]
            assert ("permessage-deflate" in said) is (compression in ("upstream", "both"))
            for message in CONVERSATION:
                await peer.send(message)
                assert await peer.receive() == message

    run(conversation())


PARAMETERS: list[dict[str, Any]] = [
    dict(zip(("server_bits", "client_bits", "server_resets", "client_resets"), each, strict=True))
    for each in itertools.product((None, 9, 15), (None, 9, 15), (False, True), (False, True))
]


@pytest.mark.parametrize("all_upstreams", ["client"], indirect=True)
def test_what_a_client_asks_of_its_leg_is_honoured(all_upstreams: dict[str, Upstream]) -> None:
    """``websockets`` fails a handshake, and a message, that is not what it asked for."""

    async def conversation() -> None:
        for each in PARAMETERS:
            offer = ClientPerMessageDeflateFactory(
                server_no_context_takeover=each["server_resets"],
                client_no_context_takeover=each["client_resets"],
                server_max_window_bits=each["server_bits"],
                client_max_window_bits=each["client_bits"] or True,
            )
            url = all_upstreams["websockets"].session("/echo").url
            async with connect(url, compression=None, extensions=[offer], proxy=None) as peer:
                assert peer.protocol.extensions, each
                await talk(peer)

    run(conversation())


async def talk(peer: Any) -> None:
    noise = random.Random(1)
    for _ in range(3):
        for size in (10, 1000, 50_000):
            message = (noise.randbytes(size // 2) * 2)[:size]
            await peer.send(message)
            assert await peer.recv() == message


def test_what_an_upstream_asks_of_its_leg_is_honoured(tmp_path: Path) -> None:
    """An upstream made with ``websockets`` uses the windows that it has told."""

    async def echo(connection: ServerConnection) -> None:
        assert connection.protocol.extensions
        async for message in connection:
            await connection.send(message)

    async def conversation() -> None:
        async with contextlib.AsyncExitStack() as stack:
            pools = {}
            for number, each in enumerate(PARAMETERS):
                factory = ServerPerMessageDeflateFactory(
                    server_no_context_takeover=each["server_resets"],
                    client_no_context_takeover=each["client_resets"],
                    server_max_window_bits=each["server_bits"],
                    client_max_window_bits=each["client_bits"],
                )
                server = await stack.enter_async_context(
                    serve(echo, "127.0.0.1", 0, compression=None, extensions=[factory])
                )
                port = server.sockets[0].getsockname()[1]
                pools[f"p{number}"] = [f"ws://127.0.0.1:{port}"]
            config = relay_ini(pools, route=("mode = messages", "compression = upstream"))
            relay = stack.enter_context(started_relay(config, tmp_path))
            for name in pools:
                async with connect(relay.url_of(name), compression=None, proxy=None) as peer:
                    await talk(peer)

    run(conversation())


NODE_PARAMETERS: list[dict[str, Any]] = [
    {},
    {"serverMaxWindowBits": 9, "clientMaxWindowBits": 10},
    {"serverNoContextTakeover": True, "clientNoContextTakeover": True},
    {"serverMaxWindowBits": 15, "clientMaxWindowBits": 15, "clientNoContextTakeover": True},
]


@pytest.mark.parametrize("parameters", NODE_PARAMETERS, ids=json.dumps)
def test_so_it_is_with_ws_on_both_sides(parameters: dict[str, Any], tmp_path: Path) -> None:
    """Client and upstream are node's; both legs have these parameters."""
    require_node()

    async def conversation(url: str) -> None:
        async with NodeClient(Handshake(url=url, deflate=parameters or True)) as peer:
            assert peer.extensions
            for message in CONVERSATION:
                await peer.send(message)
                assert await peer.receive() == message

    with start_upstream("node", json.dumps(parameters)) as process:
        config = relay_ini(
            {"node": [own_url(process)]}, route=("mode = messages", "compression = both")
        )
        with started_relay(config, tmp_path) as relay:
            run(conversation(relay.url + "/echo"))
