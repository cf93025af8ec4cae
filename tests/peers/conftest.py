"""One relay between every client and every upstream."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.peers.client import Client
from tests.peers.clients import CLIENTS
from tests.peers.node import HERE, has_node, require_node
from tests.peers.upstreams import DIRECT, KINDS, Upstream, own_url, relay_ini, start_upstream
from tests.support import started_relay


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder ``peers``."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.peers)


@pytest.fixture
def relayed() -> None:
    """Skip a test that says nothing without a relay."""
    if DIRECT:
        pytest.skip("WSRELAY_PEERS=direct: no relay is between the peers")


@pytest.fixture(scope="session")
def all_upstreams(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Upstream]]:
    """Give one upstream of each kind that can run here, behind one relay unless `DIRECT`."""
    kinds = [kind for kind in KINDS if kind != "node" or has_node()]
    with contextlib.ExitStack() as stack:
        processes = {kind: stack.enter_context(start_upstream(kind)) for kind in kinds}
        urls = {kind: own_url(process) for kind, process in processes.items()}
        relay = None
        if not DIRECT:
            config = relay_ini({kind: [url] for kind, url in urls.items()})
            relay = stack.enter_context(started_relay(config, tmp_path_factory.mktemp("relay")))
            urls = {kind: relay.url_of(kind) for kind in kinds}
        yield {kind: Upstream(kind, processes[kind], urls[kind], relay) for kind in kinds}


@pytest.fixture(params=KINDS, ids=lambda kind: f"to-{kind}")
def upstream(
    request: pytest.FixtureRequest, all_upstreams: dict[str, Upstream]
) -> Iterator[Upstream]:
    """Give an upstream of each kind, one after the other."""
    if request.param == "node":
        require_node()
    given = all_upstreams[request.param]
    logs = [process for process in (given.relay, given.process) if process is not None]
    before = [len(process.log()) for process in logs]
    yield given
    for process, length in zip(logs, before, strict=True):
        print(process.log()[length:])  # pytest shows it when the test failed


@pytest.fixture(params=CLIENTS, ids=lambda kind: f"from-{kind}")
def client(request: pytest.FixtureRequest) -> type[Client]:
    """Give each kind of client, one after the other."""
    if request.param == "node":
        require_node()
    return CLIENTS[request.param]
