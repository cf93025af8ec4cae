"""Clients that wait in a pool's queue while its upstream is away, or full."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import RelayProcess, started_relay
from tests.system.echo import Echo
from tests.system.support import (
    LOCAL,
    TEXT,
    RawUpstream,
    Stage,
    Wire,
    answer_close,
    check_ended,
    check_log_is_calm,
    check_own_answer,
    end_normally,
    masked,
    read_answer,
    read_data,
    switching,
    wait_until,
)

pytestmark = pytest.mark.peers

CLIENTS = 50
TRIES = 70
"""In vain, until an upstream is back: eight at a time, four times a second, are two seconds."""
NEAR = 8
"""Places that a client may be off its turn: so many may be on their way at a time."""


def queue_ini(url: str, *options: str, relay: str = "", route: str = "") -> str:
    rows = [
        f"[relay]\n{relay}\n[listener:main]\nendpoint = {LOCAL}",
        f"[route:main]\npool = main\nhttp = no\n{route}",
        "[pool:main]\nqueue_timeout = 30s",
        *options,
        f"upstreams =\n    {url}",
        "[log]\nlevel = debug",  # which tells of every try
    ]
    return "\n".join(rows) + "\n"


@pytest.fixture
def echo() -> Iterator[Echo]:
    given = Echo()
    yield given
    given.process.stop()


def opened(echo: Echo, count: int) -> list[int]:
    """Wait until it has had so many sessions; return their clients' numbers in order."""
    found: list[int] = []
    start = 0
    while len(found) < count:
        start, event = echo.process.wait_for_event(start, event="open")
        found.append(int(event["path"].partition("?")[2]))
        start += 1
    return found


def ask_all(stage: Stage) -> list[Wire]:
    return [stage.ask(b"/echo?%d" % number) for number in range(CLIENTS)]


def wait_for_tries(relay: RelayProcess, words: str) -> None:
    def tries() -> int:
        lines = [line for line in relay.log().splitlines() if words in line]
        sums = [re.search(r"… and (\d+) more like it", line) for line in lines]
        return sum(int(each[1]) if each else 1 for each in sums)

    wait_until(lambda: tries() >= TRIES, f"{TRIES} tries in vain")


def check_served(clients: list[Wire]) -> None:
    """Check that each has a session that works."""
    for client in clients:
        assert client.read_head().startswith(b"HTTP/1.1 101 ")
    for number, client in enumerate(clients):
        client.send(masked(TEXT, b"%d" % number))
    for number, client in enumerate(clients):
        assert read_data(client).payload == b"%d" % number


def check_order(numbers: list[int]) -> None:
    """Check that the clients came in the order in which they had asked, nearly."""
    wanted = sorted(numbers)
    assert all(abs(wanted.index(number) - at) <= NEAR for at, number in enumerate(numbers)), numbers


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_an_upstream_that_starts_again_finds_everybody_waiting(
    echo: Echo, upstream: RawUpstream, tmp_path: Path, how: signal.Signals
) -> None:
    with started_relay(queue_ini(echo.url), tmp_path) as relay:
        stage = Stage(relay, upstream)
        check_served([stage.ask(b"/echo?0")])
        echo.end(how)
        clients = ask_all(stage)
        gone = clients.pop(7)
        wait_for_tries(relay, "connection failed")
        gone.reset()
        relay.wait_for_words("status=499")
        assert not any(client.has_data() for client in clients)
        echo.start()
        check_served(clients)
        numbers = opened(echo, len(clients))
        assert sorted(numbers) == [number for number in range(CLIENTS) if number != 7]
        check_order(numbers)
        stage.close()
    check_log_is_calm(relay.log())


@pytest.mark.parametrize("max_fails", [0, 3])
def test_few_clients_try_again_and_again_as_many_do(
    echo: Echo, upstream: RawUpstream, tmp_path: Path, max_fails: int
) -> None:
    with started_relay(queue_ini(echo.url, f"max_fails = {max_fails}"), tmp_path) as relay:
        stage = Stage(relay, upstream)
        echo.end(signal.SIGTERM)
        clients = [stage.ask(b"/echo?%d" % number) for number in range(2)]
        wait_until(lambda: relay.log().count("connection failed") >= 8, "four rounds")
        echo.start()
        check_served(clients)
        stage.close()


@pytest.mark.parametrize("patience", ["10s", "300ms"])
def test_an_upstream_that_was_stopped_for_a_while_loses_nobody(
    echo: Echo, upstream: RawUpstream, tmp_path: Path, patience: str
) -> None:
    """With little patience the relay gives handshakes up, and waits with the clients."""
    config = queue_ini(echo.url, route=f"upstream_handshake_timeout = {patience}")
    with started_relay(config, tmp_path) as relay:
        stage = Stage(relay, upstream)
        check_served([stage.ask(b"/echo?0")])
        echo.signal(signal.SIGSTOP)
        try:
            clients = ask_all(stage)
            if patience == "300ms":
                wait_for_tries(relay, "did not answer in time")
            assert not any(client.has_data() for client in clients)
        finally:
            echo.signal(signal.SIGCONT)
        check_served(clients)
        stage.close()
    check_log_is_calm(relay.log())


@pytest.fixture
def full(upstream: RawUpstream, tmp_path: Path) -> Iterator[Stage]:
    """Give a relay whose upstream takes one session at a time, and whose queue three."""
    config = queue_ini(f"{upstream.url} max_connections=1", "queue_size = 3")
    with started_relay(config, tmp_path) as relay:
        upstream.is_alone()
        stage = Stage(relay, upstream)
        yield stage
        stage.close()
    check_log_is_calm(relay.log())


def check_turns(full: Stage, pair: tuple[Wire, Wire], waiting: dict[int, Wire]) -> None:
    """End one session after the other, and check whose turn it is then."""
    for number, client in waiting.items():
        assert not client.has_data()
        assert full.upstream.visitor() is None
        end_normally(*pair)
        other = full.accept()
        assert other.read_head().startswith(b"GET /%d " % number)
        other.send(switching())
        assert client.read_head().startswith(b"HTTP/1.1 101 ")
        pair = client, other
    end_normally(*pair)


def test_a_full_queue_refuses_and_those_in_it_are_served_one_after_the_other(full: Stage) -> None:
    pair = full.begin()
    clients = [full.ask(b"/%d" % number) for number in range(5)]
    for client in clients[3:]:
        answer = read_answer(client)
        check_own_answer(answer, 503)
        assert answer.get(b"Retry-After")
    check_turns(full, pair, dict(enumerate(clients[:3])))


def test_a_client_that_leaves_the_queue_makes_room_and_is_not_served(full: Stage) -> None:
    pair = full.begin()
    clients = {number: full.ask(b"/%d" % number) for number in range(3)}
    check_own_answer(read_answer(full.ask(b"/many")), 503)
    clients.pop(0).reset()
    full.relay.wait_for_words("status=499")
    clients[3] = full.ask(b"/3")
    check_turns(full, pair, clients)


def test_who_waited_long_enough_is_refused(upstream: RawUpstream, tmp_path: Path) -> None:
    config = queue_ini(f"{upstream.url} max_connections=1").replace("= 30s", "= 300ms")
    upstream.is_alone()
    with started_relay(config, tmp_path) as relay:
        stage = Stage(relay, upstream)
        pair = stage.begin()
        answer = read_answer(stage.ask())
        check_own_answer(answer, 503)
        assert answer.get(b"Retry-After")
        end_normally(*pair)
        stage.works()
        stage.close()


def test_a_reload_that_makes_room_lets_those_in_who_wait(full: Stage) -> None:
    pairs = [full.begin()]
    waiting = [full.ask(b"/%d" % number) for number in range(3)]
    check_own_answer(read_answer(full.ask(b"/many")), 503)
    url = full.upstream.url
    full.relay.reload(queue_ini(f"{url} max_connections=3"), "upstream")
    for client in waiting[:2]:
        other = full.accept()
        other.read_head()
        other.send(switching())
        assert client.read_head().startswith(b"HTTP/1.1 101 ")
        pairs.append((client, other))
    assert not waiting[2].has_data()
    full.relay.reload(queue_ini(url), "upstream")
    full.accept().read_head()
    for pair in pairs:
        end_normally(*pair)


def test_those_who_wait_are_refused_when_the_relay_stops(full: Stage) -> None:
    pair = full.begin()
    waiting = [full.ask() for _ in range(3)]
    check_own_answer(read_answer(full.ask()), 503)
    full.relay.terminate()
    for client in waiting:
        check_own_answer(read_answer(client), 503)
    answer_close(*pair)
    check_ended(full.relay)
