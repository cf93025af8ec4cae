"""Who of several upstreams gets a session, and what happens when all are full or down."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.support import RelayProcess, free_port, started_relay
from tests.system.several import Several
from tests.system.support import (
    LOCAL,
    RawUpstream,
    Stage,
    Wire,
    check_own_answer,
    end_normally,
    read_answer,
    wait_until,
)

NAMES = ("a", "b", "c")


@pytest.fixture(scope="module")
def three() -> Iterator[dict[str, RawUpstream]]:
    listening = {name: RawUpstream.tcp() for name in NAMES}
    yield listening
    for each in listening.values():
        each.close()


@pytest.fixture(scope="module")
def relay(
    upstream: RawUpstream,
    three: dict[str, RawUpstream],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RelayProcess]:
    a, b, c = (f"{three[name].url} name={name}" for name in NAMES)
    gone = f"ws://127.0.0.1:{free_port()} name=gone"
    also_gone = f"ws://127.0.0.1:{free_port()} name=also-gone"
    pools: dict[str, tuple[str, list[str]]] = {
        "round": ("balancer = round-robin", [a, b, c]),
        "weighted": ("balancer = round-robin", [f"{a} weight=3", f"{b} weight=1", f"{c} weight=2"]),
        "least": ("balancer = least-connections", [a, b, c]),
        "leastweighted": ("balancer = least-connections", [f"{a} weight=2", b]),
        "first": ("balancer = first", [f"{a} max_connections=1", f"{b} max_connections=2", c]),
        "full": ("balancer = first", [f"{a} max_connections=1", f"{b} max_connections=1"]),
        "backup": ("balancer = round-robin", [f"{a} max_connections=1", f"{b} backup"]),
        "backupdown": ("balancer = round-robin\nmax_fails = 1", [gone, f"{b} backup"]),
        "passive": ("balancer = first\nmax_fails = 2\nfail_timeout = 1h", [a, b]),
        "alldown": ("balancer = round-robin\nmax_fails = 1\nfail_timeout = 1h", [a, b]),
        "gone": ("max_fails = 1\nfail_timeout = 1h", [gone, also_gone]),
        "hashed": ("balancer = hash key=header:X-User", [a, b, c]),
        "two": ("balancer = random-two", [a, b, c]),
    }
    rows = [
        f"[listener:main]\nendpoint = {LOCAL}\n[log]\nformat = json",
        f"[route:main]\nhttp = no\npool = main\n[pool:main]\nupstreams = {upstream.url}",
    ]
    for name, (options, urls) in pools.items():
        listed = "\n".join(f"  {url}" for url in urls)
        retries = "retries = 0" if name in ("passive", "alldown") else ""
        rows.append(
            f"[route:{name}]\npath = /{name}\nhttp = no\npool = {name}\n{retries}\n"
            f"[pool:{name}]\n{options}\nupstreams =\n{listed}"
        )
    with started_relay("\n".join(rows), tmp_path_factory.mktemp("relay")) as process:
        yield process


def end_and_wait(stage: Stage, client: Wire, upstream: Wire) -> None:
    """End a session and wait until the relay has counted its end."""
    before = stage.relay.log().count('"event":"end"')
    end_normally(client, upstream)
    wait_until(lambda: stage.relay.log().count('"event":"end"') > before, "the end of a session")


@pytest.fixture
def trio(stage: Stage, three: dict[str, RawUpstream]) -> Several:
    given = Several(stage, three)
    given.is_alone()
    return given


def test_round_robin_goes_round(trio: Several) -> None:
    found = trio.names(b"/round", 9)
    assert sorted(found[:3]) == ["a", "b", "c"]
    assert found == found[:3] * 3


def test_round_robin_follows_weights_smoothly(trio: Several) -> None:
    found = trio.names(b"/weighted", 12)
    assert Counter(found) == {"a": 6, "b": 2, "c": 4}
    assert found[:6] == found[6:]
    assert all(found[i : i + 3] != ["a"] * 3 for i in range(10))


def test_least_connections_fills_evenly_and_then_where_one_left(trio: Several) -> None:
    sessions = [trio.begin(b"/least") for _ in range(6)]
    assert Counter(name for name, _, _ in sessions) == {"a": 2, "b": 2, "c": 2}
    for name, client, upstream in sessions:
        if name == "b":
            end_and_wait(trio.stage, client, upstream)
    assert [trio.begin(b"/least")[0] for _ in range(2)] == ["b", "b"]


def test_least_connections_follows_weights(trio: Several) -> None:
    sessions = [trio.begin(b"/leastweighted") for _ in range(6)]
    assert Counter(name for name, _, _ in sessions) == {"a": 4, "b": 2}


def test_first_fills_in_order(trio: Several) -> None:
    sessions = [trio.begin(b"/first") for _ in range(5)]
    assert [name for name, _, _ in sessions] == ["a", "b", "b", "c", "c"]


def test_a_full_pool_is_503_until_somebody_leaves(trio: Several) -> None:
    stage = trio.stage
    (_, client, upstream), _ = trio.begin(b"/full"), trio.begin(b"/full")
    answer = read_answer(stage.ask(b"/full"))
    check_own_answer(answer, 503)
    assert answer.get(b"Retry-After")
    assert trio.is_alone()
    end_and_wait(stage, client, upstream)
    name, _, _ = trio.begin(b"/full")
    assert name == "a"


def test_a_pending_handshake_counts_against_the_limit_and_gives_its_place_back(
    trio: Several,
) -> None:
    stage = trio.stage
    # Others' sessions on these upstreams have ended with their tests.
    pending = [stage.ask(b"/full") for _ in range(2)]
    wires = dict(trio.visited() for _ in range(2))
    check_own_answer(read_answer(stage.ask(b"/full")), 503)
    pending[0].reset()
    pending[1].reset()
    for wire in wires.values():
        wire.wait_until_gone()
    assert {trio.begin(b"/full")[0] for _ in range(2)} == {"a", "b"}


def test_a_backup_is_used_only_when_the_others_are_full(trio: Several) -> None:
    sessions = [trio.begin(b"/backup") for _ in range(3)]
    assert [name for name, _, _ in sessions] == ["a", "b", "b"]


def test_a_backup_is_used_when_the_others_are_down(trio: Several) -> None:
    assert trio.names(b"/backupdown", 3) == ["b"] * 3


def fail(trio: Several, path: bytes) -> str:
    """Let a handshake fail and return at whom."""
    client = trio.stage.ask(path)
    name, wire = trio.visited()
    wire.close()
    check_own_answer(read_answer(client), 502)
    return name


def test_an_upstream_that_failed_max_fails_times_is_left_alone(trio: Several) -> None:
    assert [fail(trio, b"/passive") for _ in range(2)] == ["a", "a"]
    assert trio.names(b"/passive", 4) == ["b"] * 4


def test_when_all_look_down_they_are_still_tried(trio: Several) -> None:
    assert {fail(trio, b"/alldown") for _ in range(2)} == {"a", "b"}
    assert {fail(trio, b"/alldown") for _ in range(4)} == {"a", "b"}
    name, client, upstream = trio.begin(b"/alldown")  # and one success brings it back
    end_normally(client, upstream)
    assert trio.names(b"/alldown", 3) == [name] * 3


def test_upstreams_that_are_gone_are_502_every_time(trio: Several) -> None:
    for _ in range(4):
        check_own_answer(read_answer(trio.stage.ask(b"/gone")), 502)


def test_hash_leads_the_same_key_to_the_same_upstream_and_others_elsewhere(trio: Several) -> None:
    found = {}
    for number in range(12):
        header = b"X-User: user-%d" % number
        first, second = trio.names(b"/hashed", 2, header)
        assert first == second
        found[number] = first
    assert len(set(found.values())) > 1


def test_random_two_uses_everybody(trio: Several) -> None:
    assert set(trio.names(b"/two", 30)) == set(NAMES)
