"""Messages of the relay's own reach real clients between what their upstreams say."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator

import pytest

from tests.peers.client import Client, Data, Handshake
from tests.peers.upstreams import DIRECT, Upstream, own_url, relay_ini, run
from tests.support import RelayProcess, require, started_relay
from tests.system.admin import ADMIN, Admin
from wsrelay.relay.pumps import why_not_native

COUNT = 10


@pytest.fixture(scope="module", params=["native", "python"])
def relay(
    request: pytest.FixtureRequest,
    all_upstreams: dict[str, Upstream],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RelayProcess]:
    """Give a relay of its own, with either pump."""
    if DIRECT:
        pytest.skip("WSRELAY_PEERS=direct: nobody is there to publish")
    require(request.param == "python" or not why_not_native(), "the native pump was not built")
    urls = {kind: [own_url(each.process)] for kind, each in all_upstreams.items()}
    config = relay_ini(urls, relay=("drain_timeout = 1s", f"data_path = {request.param}"))
    with started_relay(config + ADMIN, tmp_path_factory.mktemp("relay")) as process:
        yield process


async def publish_all(admin: Admin, route: str) -> list[Data]:
    """Publish text and binary messages, and return them."""
    published: list[Data] = []
    for number in range(COUNT):
        content = f"ours {number} żółw " + "." * (number * 100)
        published.append(content.encode() if number % 2 else content)
        message = {"route": route, "text": content}
        if number % 2:
            message = {"route": route, "binary": base64.b64encode(content.encode()).decode()}
        answer = await asyncio.to_thread(admin.order, "POST", "/api/publish", message)
        assert answer == {"sent": 1, "skipped": {}}
    return published


def is_ours(message: Data) -> bool:
    return message.startswith("ours" if isinstance(message, str) else b"ours")


@pytest.mark.parametrize("deflate", [False, True], ids=["plain", "deflate"])
def test_they_come_whole_and_in_order_and_change_nothing(
    relay: RelayProcess, client: type[Client], upstream: Upstream, deflate: bool
) -> None:
    """A client gets its upstream's messages, fragmented and compressed, and the relay's."""
    admin = Admin.of(relay)
    path = "/echo" if upstream.kind == "aiohttp" else "/fragments"  # which it does not know
    url = relay.url_of(upstream.kind) + upstream.session(path).path
    sent = [f"{number} " + "theirs " * 300 for number in range(COUNT)]

    async def conversation() -> None:
        async with client(Handshake(url=url, deflate=deflate)) as peer:
            assert bool(peer.values("Sec-WebSocket-Extensions")) == deflate
            publishing = asyncio.create_task(publish_all(admin, upstream.kind))
            for message in sent:
                await peer.send(message)
            heard = [await peer.receive() for _ in range(2 * COUNT)]
            assert [each for each in heard if not is_ours(each)] == sent
            assert [each for each in heard if is_ours(each)] == await publishing
            await peer.close(1000, "")

    run(conversation())
