from __future__ import annotations

import gzip
import zlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from wsrelay.balancers.least_connections import LeastConnections
from wsrelay.balancers.sticky_sid import StickySid
from wsrelay.testing import FakeHandshake, FakeUpstream
from wsrelay.wire.headers import Headers

PLAIN = Headers()
OPEN = b'0{"sid":"%s","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000}'


def pool_of(number: int = 4) -> tuple[FakeUpstream, ...]:
    return tuple(FakeUpstream(f"upstream-{index}") for index in range(number))


def poll(sid: str = "", method: str = "GET", **others: Any) -> FakeHandshake:
    """Return a request of a client that polls."""
    query = f"EIO=4&transport=polling&t=P8x{f'&sid={sid}' if sid else ''}"
    facts = {"path": "/socket.io/", "query": query, "method": method, "is_websocket": False}
    return FakeHandshake(**{**facts, **others})


def upgrade(sid: str) -> FakeHandshake:
    return FakeHandshake(path="/socket.io/", query=f"EIO=4&transport=websocket&sid={sid}")


def sockjs(session: str, transport: str = "xhr", server: str = "007") -> FakeHandshake:
    return FakeHandshake(
        path=f"/echo/{server}/{session}/{transport}", method="POST", is_websocket=False
    )


class Scene:
    """A balancer with a clock and four upstreams."""

    def __init__(self, **options: str) -> None:
        self.clock = Clock()
        self.balancer = StickySid(self.clock.seconds, **options)
        self.pool = pool_of()
        self.balancer.upstreams_changed(self.pool)

    def open(self, sid: str, upstream: FakeUpstream) -> None:
        """Have an upstream answer the first request of a session."""
        self.balancer.answered(poll(), upstream, 200, PLAIN, OPEN % sid.encode())

    def choose(self, request: FakeHandshake, among: Sequence[FakeUpstream] = ()) -> FakeUpstream:
        return self.balancer.choose(request, among or self.pool)

    def homes(self, *sids: str) -> set[FakeUpstream]:
        return {self.choose(poll(sid)) for sid in sids}


def placed_by_hash(request: FakeHandshake, pool: Sequence[FakeUpstream]) -> FakeUpstream:
    """Return where a balancer sends it that knows nothing."""
    return StickySid(Clock().seconds).choose(request, pool)


# What is learnt


def test_all_requests_of_a_session_go_where_it_was_opened() -> None:
    scene = Scene()
    for index, upstream in enumerate(scene.pool):
        scene.open(f"session-{index}", upstream)
    for index, upstream in enumerate(scene.pool):
        sid = f"session-{index}"
        for request in (poll(sid), poll(sid, "POST"), upgrade(sid), poll(sid, "OPTIONS")):
            assert scene.choose(request) is upstream


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (PLAIN, OPEN % b"Abc-_123"),
        (PLAIN, b'0{"pingTimeout":20000, "sid" : "Abc-_123"}'),
        (PLAIN, b'96:0{"sid":"Abc-_123","upgrades":["websocket"],"pingInterval":25000}2:40'),
        (PLAIN, b'\x00\x09\x06\xff0{"sid":"Abc-_123","upgrades":[]}\x00\x02\xff40'),
        (PLAIN, b'___eio[0]("96:0{\\"sid\\":\\"Abc-_123\\",\\"upgrades\\":[]}2:40");'),
        (Headers([(b"content-encoding", b"GZIP")]), gzip.compress(OPEN % b"Abc-_123", mtime=0)),
        (Headers([(b"Content-Encoding", b"deflate")]), zlib.compress(OPEN % b"Abc-_123")),
        (
            Headers([(b"Content-Encoding", b"gzip")]),
            gzip.compress(OPEN % b"Abc-_123", mtime=0)[:-9],
        ),
    ],
)
def test_the_id_is_found_in_the_answer_of_every_version(headers: Headers, body: bytes) -> None:
    request = poll("Abc-_123")
    pool = pool_of()
    for upstream in pool:
        scene = Scene()
        scene.balancer.answered(poll(), upstream, 200, headers, body)
        assert scene.balancer.find(request, (*pool, upstream)) is upstream


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (400, PLAIN, OPEN % b"x"),
        (200, PLAIN, b'{"code":1,"message":"Session ID unknown"}'),
        (200, PLAIN, b'0{"sid":""}'),
        (200, PLAIN, b'0{"sid":12}'),
        (200, PLAIN, OPEN % (b"x" * 257)),
        (200, PLAIN, b""),
        (200, Headers([(b"Content-Encoding", b"gzip")]), OPEN % b"x"),
        (200, Headers([(b"Content-Encoding", b"br")]), gzip.compress(OPEN % b"x", mtime=0)),
        (
            200,
            Headers([(b"Content-Encoding", b"gzip")]),
            gzip.compress(bytes(4096) + OPEN % b"x", mtime=0),
        ),
    ],
)
def test_nothing_is_learnt_from_other_answers(status: int, headers: Headers, body: bytes) -> None:
    scene = Scene()
    scene.balancer.answered(poll(), scene.pool[0], status, headers, body)
    for sid in ("x", "x" * 256, "x" * 257, "12"):
        assert scene.balancer.find(poll(sid), scene.pool) is None


@given(st.binary(max_size=60), st.booleans(), st.sampled_from(["", "gzip", "deflate", "br"]))
def test_no_answer_whatever_it_is_does_harm(body: bytes, packed: bool, encoding: str) -> None:
    scene = Scene()
    headers = Headers([(b"Content-Encoding", encoding.encode())])
    scene.balancer.answered(
        poll(), scene.pool[0], 200, headers, zlib.compress(body) if packed else body
    )
    assert scene.choose(poll()) in scene.pool


def test_an_id_is_compared_percent_decoded() -> None:
    scene = Scene()
    scene.open("a:é/1", scene.pool[2])
    assert scene.balancer.find(poll("a%3A%C3%A9%2f1"), scene.pool) is scene.pool[2]


def test_the_parameter_may_have_another_name() -> None:
    scene = Scene(param="id")
    scene.open("x", scene.pool[1])
    request = poll(query="EIO=4&transport=polling&sid=y&id=x&id=z&valid=w")
    assert scene.balancer.find(request, scene.pool) is scene.pool[1]
    assert scene.balancer.wants_answer(poll("y"))
    assert not scene.balancer.wants_answer(request)


@pytest.mark.parametrize("query", ["EIO=3&transport=polling", "t=1&transport=polling&EIO=4&sid="])
def test_the_answer_to_a_poll_that_opens_a_session_is_wanted(query: str) -> None:
    assert Scene().balancer.wants_answer(poll(query=query))


@pytest.mark.parametrize(
    "request_",
    [
        poll("x"),
        poll(method="POST"),
        poll(method="OPTIONS"),
        poll(is_websocket=True),
        poll(query="EIO=4&transport=websocket"),
        poll(query="transport=polling"),
        poll(query=""),
        sockjs("x"),
    ],
)
def test_no_other_answer_is_wanted(request_: FakeHandshake) -> None:
    assert not Scene().balancer.wants_answer(request_)


# What has no session, and sessions nobody knows


def test_a_request_without_a_session_goes_where_the_fewest_connections_are() -> None:
    scene = Scene()
    for active, each in enumerate(scene.pool):
        each.active = 5 - active
    others = (FakeHandshake(), poll(), poll("x" * 257), FakeHandshake(path="/api/v1/websocket"))
    for request in others:
        assert scene.choose(request) is scene.pool[3]
    for each in scene.pool:
        each.active = 0
    assert set(Counter(scene.choose(poll()) for _ in range(8)).values()) == {2}


def test_new_sessions_are_placed_as_least_connections_places_them() -> None:
    scene, other = Scene(), LeastConnections()
    scene.pool[0].weight = 5
    for pool in (scene.pool, scene.pool[1:], scene.pool):
        scene.balancer.upstreams_changed(pool)
        other.upstreams_changed(pool)
        for _ in range(7):
            assert scene.choose(poll(), pool) is other.choose(poll(), pool)


def test_requests_of_an_unknown_session_agree_in_every_relay() -> None:
    """The relay was restarted: loads differ, the order differs, and nothing is remembered."""
    requests = [poll(f"session-{index}") for index in range(40)]
    homes = [placed_by_hash(request, pool_of()).name for request in requests]
    scene = Scene()
    for each, active in zip(scene.pool, (9, 0, 3, 7), strict=True):
        each.active = active
    assert [scene.choose(each, scene.pool[::-1]).name for each in requests] == homes
    assert len(set(homes)) == 4


def test_a_place_that_was_given_is_kept_when_others_come() -> None:
    scene = Scene()
    sids = [f"session-{index}" for index in range(40)]
    few = scene.pool[:2]
    homes = [scene.choose(poll(sid), few) for sid in sids]
    assert [scene.choose(poll(sid)) for sid in sids] == homes
    assert [placed_by_hash(poll(sid), scene.pool) for sid in sids] != homes


def test_what_is_learnt_goes_before_a_place_that_was_given() -> None:
    scene = Scene()
    placed = scene.choose(poll("x"))
    [other, *_] = [each for each in scene.pool if each is not placed]
    scene.open("x", other)
    assert scene.homes("x") == {other}


def test_made_up_sessions_do_not_push_out_what_was_learnt() -> None:
    scene = Scene(size="4")
    sids = [f"session-{index}" for index in range(4)]
    for sid in sids:
        scene.open(sid, scene.pool[2])
    for index in range(100):
        scene.choose(poll(f"made-up-{index}"))
    assert scene.homes(*sids) == {scene.pool[2]}


# When its upstream may not take it


def test_a_session_whose_upstream_is_not_offered_moves_and_stays_where_it_went() -> None:
    scene = Scene()
    scene.open("x", scene.pool[1])
    rest = [each for each in scene.pool if each is not scene.pool[1]]
    assert scene.balancer.find(poll("x"), rest) is None
    moved = scene.choose(poll("x"), rest)
    assert moved is not scene.pool[1]
    assert scene.homes("x") == {moved}


def test_the_sessions_of_an_upstream_that_left_are_forgotten_and_no_others() -> None:
    scene = Scene()
    gone, stays = scene.pool[:2]
    scene.open("x", gone)
    scene.open("y", stays)
    for index in range(40):
        scene.choose(poll(f"placed-{index}"))
    scene.balancer.upstreams_changed(scene.pool[1:])
    scene.balancer.upstreams_changed(scene.pool)
    known = [f"placed-{index}" for index in range(40)]
    found = [scene.balancer.find(poll(sid), scene.pool) for sid in ("x", "y", *known)]
    assert found[:2] == [None, stays]
    assert set(found[2:]) == {None, *scene.pool[1:]}


# How long, and how many


def test_a_session_is_forgotten_some_time_after_its_last_request() -> None:
    scene = Scene(ttl="90s")
    scene.open("x", scene.pool[3])
    for _ in range(3):
        scene.clock.advance(89)
        assert scene.balancer.find(poll("x"), scene.pool) is scene.pool[3]
        scene.clock.advance(89)
        assert scene.choose(poll("x")) is scene.pool[3]
    scene.clock.advance(90)
    assert scene.balancer.find(poll("x"), scene.pool) is None
    assert scene.choose(poll("x")) is placed_by_hash(poll("x"), scene.pool)


def test_the_sessions_unused_for_longest_go_first() -> None:
    scene = Scene(size="3")
    home = scene.pool[0]
    for sid in "abc":
        scene.open(sid, home)
    scene.choose(poll("a"))
    scene.open("d", home)
    found = {sid for sid in "abcd" if scene.balancer.find(poll(sid), scene.pool)}
    assert found == {"a", "c", "d"}


@given(
    st.integers(1, 5),
    st.lists(
        st.tuples(st.sampled_from(["open", "poll"]), st.integers(0, 6), st.integers(0, 40)),
        max_size=60,
    ),
)
def test_no_more_is_held_than_was_used_lately_and_fits(
    size: int, events: list[tuple[str, int, int]]
) -> None:
    scene = Scene(size=str(size), ttl="60s")
    used: dict[str, float] = {}
    for kind, number, pause in events:
        scene.clock.advance(pause)
        now, sid = scene.clock.seconds(), str(number)
        used = {each: at for each, at in used.items() if now - at < 60}
        if kind == "open":
            scene.open(sid, scene.pool[0])
        else:
            found = scene.balancer.find(poll(sid), scene.pool)
            assert (found is not None) == (sid in used)
        if kind == "open" or sid in used:
            used.pop(sid, None)
            used[sid] = now
            used = dict(list(used.items())[-size:])


def sizes(scene: Scene) -> tuple[int, int]:
    """Return how many sessions its tables hold, be they too old to be found."""
    return len(scene.balancer._learnt._entries), len(scene.balancer._placed._entries)


def test_a_long_life_leaves_no_more_than_fits() -> None:
    scene = Scene(size="10", ttl="1h")
    for index in range(500):
        scene.open(f"session-{index}", scene.pool[0])
        scene.choose(poll(f"other-{index}"))
    assert sizes(scene) == (10, 10)


def test_what_is_too_old_or_too_long_takes_no_memory() -> None:
    scene = Scene(ttl="10s")
    for index in range(50):
        scene.open(f"session-{index}", scene.pool[0])
        scene.open("x" * 257, scene.pool[0])
        scene.choose(poll(f"other-{index}"))
        scene.choose(poll("x" * 257))
        scene.clock.advance(1)
    assert sizes(scene) == (10, 10)


# SockJS


TRANSPORTS = ["xhr", "xhr_send", "xhr_streaming", "eventsource", "htmlfile", "jsonp", "jsonp_send"]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_sockjs_session_stays_with_its_first_upstream(transport: str) -> None:
    scene = Scene()
    sessions = [f"s{index}" for index in range(30)]
    few = scene.pool[:2]
    homes = [scene.choose(sockjs(session, transport), few) for session in sessions]
    for each in scene.pool:
        each.active = 0 if each not in few else 50
    assert [scene.choose(sockjs(session, "xhr_send", "123")) for session in sessions] == homes
    assert set(homes) == set(few)


def test_a_quiet_sockjs_stream_is_found_again_after_its_time() -> None:
    """Its only request goes on for hours; then the client sends something."""
    scene = Scene()
    homes = [scene.choose(sockjs(f"s{index}", "xhr_streaming")) for index in range(30)]
    scene.clock.advance(3600)
    assert [scene.choose(sockjs(f"s{index}", "xhr_send")) for index in range(30)] == homes


@pytest.mark.parametrize(
    "path",
    [
        "/echo/000/abc/websocket",
        "/echo/info",
        "/xhr",
        "/abc/xhr",
        "/echo/0.0/abc/xhr",
        "/echo/000/a.c/xhr",
        "/echo/000/abc/xhr/more",
        "/echo/000/abc/xhrs",
        "/echo/000//xhr",
        "/iframe.html",
    ],
)
def test_what_is_no_sockjs_session_has_no_place(path: str) -> None:
    scene = Scene()
    scene.choose(FakeHandshake(path=path))
    assert scene.balancer.find(FakeHandshake(path=path), scene.pool) is None


# Options


@pytest.mark.parametrize("ttl", ["", "0s", "10", "x", "-1s", "off", "1d", "5 s"])
def test_a_bad_ttl_is_refused(ttl: str) -> None:
    with pytest.raises(ValueError, match=r"^ttl=.*: expected a time like 90s, 2m or 1h$"):
        StickySid(Clock().seconds, ttl=ttl)


@pytest.mark.parametrize("size", ["", "0", "-1", "x", "1.5", "off", "9999999999", "²"])
def test_a_bad_size_is_refused(size: str) -> None:
    with pytest.raises(ValueError, match=r"^size=.*: expected a number of sessions, 1 or more$"):
        StickySid(Clock().seconds, size=size)


@pytest.mark.parametrize("param", ["", "a=b", "a&b", "s id", "é"])
def test_a_bad_parameter_is_refused(param: str) -> None:
    with pytest.raises(ValueError, match=r"^param=.*: expected a name of letters, digits"):
        StickySid(Clock().seconds, param=param)


# What relays tell each other


def test_what_is_learnt_and_used_is_told_and_nothing_else_is() -> None:
    scene, other = Scene(), Scene()
    told: list[tuple[str, bytes]] = []
    scene.balancer.tell_of(lambda key, mark: told.append((key, mark)))
    scene.open("learnt", scene.pool[2])
    scene.choose(poll("learnt"))
    scene.choose(poll("made-up"))
    scene.choose(poll("made-up"))
    scene.choose(sockjs("abc"))
    assert [key for key, _ in told] == ["learnt", "learnt"]
    other.balancer.recall(*told[0])
    assert other.choose(poll("learnt")) is other.pool[2]


def test_only_an_id_that_no_table_has_is_asked_for() -> None:
    scene = Scene()
    scene.open("learnt", scene.pool[2])
    missing = scene.balancer.missing
    assert missing(poll("unknown")) == "unknown"
    scene.choose(poll("unknown"))  # nobody knew, and it has its place now
    assert missing(poll("unknown")) == ""
    assert missing(poll("learnt")) == ""
    assert missing(poll()) == ""
    assert missing(poll("x" * 257)) == ""
    assert missing(sockjs("abc")) == ""


def test_what_another_relay_tells_is_not_told_on() -> None:
    scene, other = Scene(), Scene()
    told: list[tuple[str, bytes]] = []
    scene.balancer.tell_of(lambda key, mark: told.append((key, mark)))
    scene.open("learnt", scene.pool[1])
    mark = told[0][1]
    echoed: list[str] = []
    other.balancer.tell_of(lambda key, _: echoed.append(key))
    other.balancer.recall("learnt", mark)
    assert echoed == []
