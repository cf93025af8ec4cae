"""Closing many sessions: at SIGTERM, and when a reload takes their upstream away."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from attrs import frozen

from tests.support import RelayProcess, require, started_relay
from tests.system.crowd import Crowd, Talker
from tests.system.echo import Echo
from tests.system.site import MAIN, Site, route
from tests.system.support import (
    BINARY,
    Wire,
    answer_close,
    check_ended,
    check_log_is_calm,
    end_normally,
    ini,
    masked,
    read_data,
    switching,
    wait_until,
)
from wsrelay.relay.pumps import why_not_native

pytestmark = pytest.mark.peers

SESSIONS = 60
EARLY = 0.15
"""Seconds that a close may come before its time: the relay spreads them a little unevenly."""


@pytest.fixture(scope="module")
def echo() -> Iterator[Echo]:
    given = Echo()
    yield given
    given.process.stop()


@frozen
class Scene:
    """A relay, and a crowd that talks through it."""

    relay: RelayProcess
    crowd: Crowd

    @property
    def talkers(self) -> list[Talker]:
        return self.crowd.talkers

    def closes(self) -> list[Talker]:
        return [each for each in self.talkers if each.close is not None]


@contextmanager
def scene(echo: Echo, folder: Path, *relay: str) -> Iterator[Scene]:
    with ExitStack() as stack:
        text = ini(echo.url, relay="\n".join(relay))
        process = stack.enter_context(started_relay(text, folder))
        crowd = stack.enter_context(Crowd())
        port = process.ports["main"]
        crowd.join(lambda: socket.create_connection(("127.0.0.1", port)), SESSIONS)
        crowd.hears(crowd.talkers, 3)
        yield Scene(process, crowd)
    check_log_is_calm(process.log())


def check_all_closed(scene: Scene, first_event: int, echo: Echo) -> None:
    """Check that everybody was told the same between two messages, on both sides."""
    wait_until(lambda: all(each.is_over for each in scene.talkers), "the end of everybody")
    assert {each.close for each in scene.talkers} == {(1012, "the relay is stopping")}
    assert [each.trouble for each in scene.talkers if each.trouble] == []
    start = first_event
    for _ in range(SESSIONS):
        start, event = echo.process.wait_for_event(start, event="close")
        assert (event["code"], event["reason"]) == (1012, "the relay is stopping")
        start += 1


@pytest.mark.parametrize("data_path", ["native", "python"])
@pytest.mark.parametrize(
    "terms", ["drain_rate = 50/s\ndrain_timeout = 1h", "drain_timeout = 1200ms"]
)
def test_those_who_talk_are_closed_one_after_the_other_between_two_messages(
    echo: Echo, tmp_path: Path, data_path: str, terms: str
) -> None:
    require(data_path == "python" or not why_not_native(), "the native pump was not built")
    start = len(echo.process.log().splitlines())
    with scene(echo, tmp_path, f"data_path = {data_path}", terms) as given:
        began = time.monotonic()
        given.relay.terminate()
        check_all_closed(given, start, echo)
        check_ended(given.relay)
    times = sorted(each.closed_at - began for each in given.talkers)
    # However slow the machine: the relay may be late with a close, but none comes early.
    assert all(when >= place / 50 - EARLY for place, when in enumerate(times)), times


def test_what_is_left_after_the_timeout_is_closed_at_once(echo: Echo, tmp_path: Path) -> None:
    start = len(echo.process.log().splitlines())
    with scene(echo, tmp_path, "drain_rate = 1/m", "drain_timeout = 500ms") as given:
        began = time.monotonic()
        given.relay.terminate()
        check_all_closed(given, start, echo)  # without the timeout in an hour
        check_ended(given.relay)
    times = sorted(each.closed_at - began for each in given.talkers)
    assert times[1] >= 0.5 - EARLY


def test_a_second_signal_ends_all_at_once(echo: Echo, tmp_path: Path) -> None:
    with scene(echo, tmp_path, "drain_rate = 1/s", "drain_timeout = 1h") as given:
        given.relay.terminate()
        wait_until(given.closes, "the first close")
        left = [each for each in given.talkers if each.close is None]
        given.crowd.hears(left[:20])
        given.relay.terminate()
        check_ended(given.relay)
        wait_until(lambda: all(each.is_over for each in given.talkers), "the end of everybody")
    assert len(given.closes()) < SESSIONS / 2
    assert given.relay.log().count('"event":"end"') == SESSIONS


# at a reload

POLICIES = ("keep", "drain", "close")


def rows(url: str, *, names: tuple[str, ...] = ("old", "new")) -> list[str]:
    """Return a route and a pool for each of `POLICIES`; the pools have these upstreams."""
    found = []
    for policy in POLICIES:
        lines = [f"  {url} name={name}" for name in names]
        found.append(route(policy).replace("pool = main", f"pool = {policy}"))
        found.append("\n".join([f"[pool:{policy}]\non_removed = {policy}", "upstreams =", *lines]))
    return found


def main(timeout: str) -> str:
    return f"[relay]\ndrain_timeout = {timeout}\n{MAIN}"


def talks(client: Wire, other: Wire) -> None:
    client.send(masked(BINARY, b"still here"))
    assert read_data(other).payload == b"still here"


def begin(site: Site, policy: str) -> list[tuple[Wire, Wire]]:
    return [site.stage.begin(b"/" + policy.encode()) for _ in range(3)]


def first_closed(pairs: list[tuple[Wire, Wire]]) -> tuple[Wire, Wire]:
    found: tuple[Wire, Wire] = wait_until(
        lambda: next((pair for pair in pairs if pair[0].has_data()), None), "a close"
    )
    return found


def test_sessions_of_an_upstream_that_is_removed_are_kept_drained_or_closed(site: Site) -> None:
    site.reload(*rows(site.url, names=("old",)), main=main("0s"))
    pairs = {policy: begin(site, policy) for policy in POLICIES}
    # The new time counts already: of those that are drained only the first is closed now.
    site.reload(*rows(site.url, names=("new",)), main=main("1h"), wanted="upstream old removed")
    for pair in pairs["close"]:
        answer_close(*pair, reason=b"the upstream is removed")
    closed = first_closed(pairs["drain"])
    answer_close(*closed, reason=b"the upstream is removed")
    left = [pair for pair in pairs["drain"] if pair is not closed]
    for pair in (*pairs["keep"], *left):
        talks(*pair)
    site.reload(*rows(site.url), main=main("1h"), wanted="drain/old: 1 of 3 sessions closed")
    for pair in (*pairs["keep"], *left):
        talks(*pair)
        end_normally(*pair)
    for policy in POLICIES:
        site.stage.works(b"/" + policy.encode())


def test_a_handshake_under_way_when_its_upstream_is_removed_is_kept_drained_or_closed(
    site: Site,
) -> None:
    site.reload(*rows(site.url, names=("old",)), main=main("1h"))
    waiting = {}
    for policy in POLICIES:
        client = site.stage.ask(b"/" + policy.encode())
        waiting[policy] = client, site.stage.accept()
    site.reload(*rows(site.url, names=("new",)), main=main("1h"), wanted="upstream old removed")
    for client, other in waiting.values():
        other.read_head()
        other.send(switching())
        assert client.read_head().startswith(b"HTTP/1.1 101 ")
    for policy in ("drain", "close"):
        answer_close(*waiting[policy])
    talks(*waiting["keep"])
    end_normally(*waiting["keep"])


def test_sessions_of_a_route_that_is_removed_are_kept_drained_or_closed(site: Site) -> None:
    more = rows(site.url, names=("old",))
    site.reload(*more, main=main("1h"))
    pairs = {policy: begin(site, policy) for policy in POLICIES}
    gone = [
        row.replace("path = /", "path = /other-").replace("[route:", "[route:other-")
        for row in more
    ]
    site.reload(*gone, main=main("1h"), wanted="route keep removed")
    for pair in pairs["close"]:
        answer_close(*pair, reason=b"the route is removed")
    closed = first_closed(pairs["drain"])
    answer_close(*closed, reason=b"the route is removed")
    left = [pair for pair in pairs["drain"] if pair is not closed]
    for pair in (*pairs["keep"], *left):
        talks(*pair)
        end_normally(*pair)


def test_a_pool_that_is_removed_takes_its_sessions_along_as_it_says(site: Site) -> None:
    site.reload(*rows(site.url, names=("old",)), main=main("0s"))
    pairs = {policy: begin(site, policy) for policy in POLICIES}
    site.reload(main=main("1h"), wanted="pool close removed")
    for pair in pairs["close"]:
        answer_close(*pair)
    closed = first_closed(pairs["drain"])
    answer_close(*closed)
    left = [pair for pair in pairs["drain"] if pair is not closed]
    for pair in (*pairs["keep"], *left):
        talks(*pair)
        end_normally(*pair)
