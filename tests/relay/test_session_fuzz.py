"""Whatever two peers do in whatever order: a session ends properly, once, and in time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import evolve
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.relay.pumps import NATIVE, TLS, GroundTestCase, needs_native
from tests.relay.support import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    ROUTE,
    TEXT,
    Conversation,
    close_payload,
    data_bytes,
    frame_from,
    frames_in,
)
from wsrelay.config.model import RouteConfig
from wsrelay.relay.pump import Side
from wsrelay.wire.faults import Limits
from wsrelay.wire.frames import CONTINUATION, Control, Scanner

# How long an example takes says nothing but how busy the machine is.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
WHOLE = 100
LONG = frame_from(Side.UPSTREAM, BINARY, bytes(5000))
GOODBYE = frame_from(Side.CLIENT, CLOSE, close_payload(1000))
SIDES = st.sampled_from(list(Side))
SIZES = st.sampled_from([0, 1, 100, 101, 500, 70_000])


def frames(side: Side) -> st.SearchStrategy[bytes]:
    """Draw frames of a peer: mostly good ones."""
    payload = st.sampled_from([b"", b"x", bytes(125)])
    codes = st.sampled_from([None, 1000, 1001, 1012, 3000, 4999, 1005, 999, 1015])
    return st.one_of(
        st.builds(lambda size: frame_from(side, BINARY, b"d" * size), SIZES),
        st.builds(lambda size: frame_from(side, BINARY, b"d" * size), SIZES),
        st.builds(
            lambda size: (
                frame_from(side, TEXT, b"a" * size, final=False)
                + frame_from(side, CONTINUATION, b"b")
            ),
            SIZES,
        ),
        st.builds(
            lambda opcode, words: frame_from(side, opcode, words),
            st.sampled_from([PING, PONG]),
            payload,
        ),
        st.builds(lambda code: frame_from(side, CLOSE, close_payload(code, b"")), codes),
        st.just(frame_from(side, 3)),
    )


@st.composite
def steps(draw: st.DrawFn) -> list[tuple[Any, ...]]:
    """Draw what happens: bytes in any pieces, ends, time, and peers that stop to read."""
    streams = {side: b"".join(draw(st.lists(frames(side), max_size=6))) for side in Side}
    happenings: list[tuple[Any, ...]] = []
    for _ in range(draw(st.integers(1, 20))):
        side = draw(SIDES)
        kind = draw(st.sampled_from(["send"] * 6 + ["stall", "free", "take", "time", "time"]))
        if kind == "send":
            size = draw(st.sampled_from([1, 3, 150, 1000, 65_536, 10**6]))
            happenings.append(("send", side, streams[side][:size]))
            streams[side] = streams[side][size:]
        elif kind == "time":
            happenings.append(("time", draw(st.sampled_from([0.1, 1.0, 2.5, 4.0, 30.0]))))
        else:
            happenings.append((kind, side))
    for kind in draw(st.lists(st.sampled_from(["end", "reset", "close", "abort"]), max_size=3)):
        place = draw(st.integers(0, len(happenings)))
        happenings.insert(place, (kind, draw(SIDES)))
    return happenings


ROUTES = st.builds(
    lambda keepalive, ping, idle: evolve(
        ROUTE,
        keepalive=keepalive,
        keepalive_timeout=2.0,
        ping=ping,
        idle_timeout=idle,
        whole_frames=WHOLE,
    ),
    st.sampled_from([None, 3.0]),
    st.sampled_from(["relay", "answer"]),
    st.sampled_from([None, 20.0]),
)


class Life:
    """A conversation under test, and the rules that hold at every moment of it."""

    def __init__(self, pair: Conversation) -> None:
        self.pair = pair
        self.sent: dict[Side, list[bytes]] = {side: [] for side in Side}
        self.ends_by: float | None = None

    def do(self, kind: str, *what: Any) -> None:
        pair = self.pair
        if kind == "send":
            side, data = what
            if not pair.leg(side).lost and data:
                self.sent[side].append(data)
                pair.send(side, data)
        elif kind == "time":
            self.let_pass(what[0])
        elif kind == "close":
            pair.session.close(1012, "stopping", "drain")
        elif kind == "abort":
            pair.session.abort()
        else:
            leg = pair.leg(what[0])
            if kind in ("stall", "free"):
                leg.stalled = kind == "stall"
            elif kind == "take":
                leg.peer_takes(1000)
            elif kind == "end":
                leg.peer_ends()
            else:
                leg.peer_resets()
        pair.settle()
        self.check()

    def let_pass(self, seconds: float) -> None:
        until = self.pair.clock.seconds() + seconds
        while self.pair.clock.seconds() < until:
            self.pair.advance(min(0.25, until - self.pair.clock.seconds()))
            self.check()

    def check(self) -> None:
        pair, now = self.pair, self.pair.clock.seconds()
        if pair.session.cause is not None and self.ends_by is None:
            self.ends_by = now + 5.0
        if self.ends_by is not None and now >= self.ends_by:
            assert pair.is_over, "everything is over close_timeout seconds after the cause"
        self.check_ended()
        for side in Side:
            kept = 0 if pair.session.cause else pair.kept(side)
            assert kept <= pair.ground.most_kept + 10_000, "the relay keeps no more than a read"

    def check_ended(self) -> None:
        assert len(self.pair.ended) == int(self.pair.is_over)

    def check_end(self) -> None:
        pair = self.pair
        pair.assert_over()
        limits = Limits(WHOLE)
        for side in Side:
            got = bytes(pair.leg(side).received)
            sent = data_bytes(side.other, self.sent[side.other], 0, limits)
            assert sent.startswith(check_stream(side, got))
            if pair.leg(side).eof:
                whole, rest = frames_in(got)
                assert rest == b"", "a leg that is ended gently stands at a frame boundary"
                assert whole[-1].opcode == CLOSE, "and was told so"


def check_stream(side: Side, got: bytes) -> bytes:
    """Check what a peer was sent as the peer itself would; return the data frames in it."""
    scanner = Scanner(side is Side.UPSTREAM, 0, Limits(whole_frames=0))
    data, closes = b"", 0
    for event in scanner.feed(got):
        if isinstance(event, bytes):
            assert not closes, "no data follows a close frame"
            data += event
        elif isinstance(event, Control):
            assert not closes, "nothing follows a close frame"
            closes += event.frame[0] & 15 == CLOSE
        else:
            raise AssertionError(f"a peer got {event}")
    return data


class FuzzTestCase(GroundTestCase):
    """Lets a session live, from its begin to its end."""

    def live(self, route: RouteConfig, happenings: list[tuple[Any, ...]]) -> None:
        life = Life(self.converse(route))
        for happening in happenings:
            life.do(*happening)
        life.do("close", None)
        life.let_pass(5.25)
        life.check_end()
        life.pair.ground.close()


def anything(test: Callable[..., None]) -> Callable[..., None]:
    """Call *test* with whatever may happen; hypothesis wants one function for each class."""
    cut = [("send", Side.UPSTREAM, LONG[:200]), ("send", Side.CLIENT, GOODBYE)]
    # A ping waits for the end of a frame, and then nobody reads what follows both.
    first, more = (frame_from(Side.UPSTREAM, BINARY, bytes(size)) for size in (101, 70_000))
    pinged = [
        ("send", Side.UPSTREAM, first[:2]),
        ("stall", Side.CLIENT),
        ("time", 4.0),
        ("send", Side.UPSTREAM, first[2:] + more + more),
    ]
    often = evolve(ROUTE, keepalive=3.0, keepalive_timeout=2.0, whole_frames=WHOLE)
    tested = example(often, pinged)(example(ROUTE, cut)(test))
    return UNHURRIED(given(ROUTES, steps())(tested))


class FuzzTests(FuzzTestCase):
    """Anything may happen."""

    @anything
    def test_every_session_ends_once_properly_and_in_time(
        self, route: RouteConfig, happenings: list[tuple[Any, ...]]
    ) -> None:
        self.live(route, happenings)


@needs_native
class NativeFuzzTests(FuzzTestCase):
    """Anything may happen to the native pump, too."""

    lay_ground = NATIVE

    @anything
    def test_every_session_ends_once_properly_and_in_time(
        self, route: RouteConfig, happenings: list[tuple[Any, ...]]
    ) -> None:
        self.live(route, happenings)


@needs_native
class TLSFuzzTests(FuzzTestCase):
    """And to the native pump between TLS connections."""

    lay_ground = TLS

    @anything
    def test_every_session_ends_once_properly_and_in_time(
        self, route: RouteConfig, happenings: list[tuple[Any, ...]]
    ) -> None:
        self.live(route, happenings)
