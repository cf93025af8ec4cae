"""Whatever a client sends, however it comes: every pump lets as much of it through as may."""

from __future__ import annotations

from contextlib import ExitStack, closing
from itertools import pairwise, zip_longest
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock

from tests.relay.pumps import NATIVE, TLS, WHOLE, Owner, needs_native
from tests.relay.support import (
    BINARY,
    PING,
    TEXT,
    Ground,
    PythonGround,
    connect,
    frame_from,
    settle,
)
from wsrelay.relay.pump import PumpOptions, Side
from wsrelay.wire.faults import Limits
from wsrelay.wire.paces import Pace

CLIENT, UPSTREAM = Side.CLIENT, Side.UPSTREAM
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
FEW = frame_from(CLIENT, TEXT, b"")
SIZES = [0, 1, 100, 126, WHOLE, WHOLE + 1, 5000, 200_000]
PARTS = st.one_of(
    st.tuples(st.just("message"), st.sampled_from(SIZES)),
    st.tuples(st.just("fragments"), st.sampled_from(SIZES)),
    st.tuples(st.just("pings"), st.integers(1, 300)),
    st.tuples(st.just("crowd"), st.integers(1, 800)),
)
Part = tuple[str, int]


def bytes_of(part: Part) -> bytes:
    kind, size = part
    if kind == "message":
        return frame_from(CLIENT, BINARY, b"m" * size)
    if kind == "fragments":
        first = frame_from(CLIENT, TEXT, b"f" * (size // 2), final=False)
        return first + frame_from(CLIENT, 0, b"g" * size)
    return size * (FEW if kind == "crowd" else frame_from(CLIENT, PING, b"p"))


PACES = st.one_of(
    st.none(),
    st.builds(
        Pace,
        st.sampled_from([1 / 60, 1.0, 10.0, 3000.0]),
        st.sampled_from([1.0, 7.5, 40.0, 2000.0]),
    ),
)
BYTE_PACES = st.one_of(
    st.none(),
    st.builds(Pace, st.sampled_from([100.0, 5e3, 1e6]), st.sampled_from([1.0, 3e3, 70e3, 1e6])),
)


class Flow:
    """A client's bytes through one pump, with a clock of its own."""

    def __init__(self, lay_ground: Any, limits: Limits) -> None:
        self.clock, self.owner = Clock(), Owner()
        self.ground: Ground = lay_ground(self.clock)
        self.client, self.upstream = self.ground.transport(), self.ground.transport()
        options = PumpOptions(0, limits, Limits(limits.whole_frames))
        self.pump = self.ground.make_pump(
            self.owner, self.client, self.upstream, options, self.clock
        )
        connect(self.pump, CLIENT, self.client)
        connect(self.pump, UPSTREAM, self.upstream)
        self.pump.start(b"", b"", b"")
        self.settle()

    def settle(self) -> None:
        for _ in range(9):  # the Python pump goes on with a backlog a turn of the clock later
            settle(self.client, self.upstream)
            self.clock.advance(0)

    def send(self, data: bytes) -> None:
        if data:
            self.client.peer_sends(data)
        self.settle()

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.settle()

    @property
    def got(self) -> bytes:
        return bytes(self.upstream.received)

    @property
    def controls(self) -> list[bytes]:
        return [each for _, each in self.owner.told if isinstance(each, bytes)]

    @property
    def findings(self) -> tuple[Any, ...]:
        return self.got, self.owner.told, self.pump.messages(CLIENT)

    def check(self, limits: Limits, whole: Flow) -> None:
        """Check that a beginning of all has come, and no more than may."""
        assert whole.got.startswith(self.got)
        assert whole.controls[: len(self.controls)] == self.controls
        now = self.clock.seconds() + 1e-9
        if limits.messages is not None:
            most = limits.messages.burst + limits.messages.per_second * now
            assert self.pump.messages(CLIENT) <= most
        if limits.bytes is not None:
            most = limits.bytes.burst + limits.bytes.per_second * now
            assert len(self.got) + sum(map(len, self.controls)) <= most

    def check_that_all_comes(self, whole: Flow) -> None:
        while self.pump.is_paused(CLIENT):
            self.pass_time(1e5)
        assert (self.got, self.controls) == (whole.got, whole.controls)

    def end(self) -> None:
        """End, and check that nothing is left."""
        for side in Side:
            self.pump.abort(side)
        self.settle()
        assert self.clock.getDelayedCalls() == []
        assert self.owner.failures == []

    def close(self) -> None:
        self.ground.close()


@needs_native
@UNHURRIED
@given(
    st.lists(PARTS, max_size=6),
    st.lists(st.integers(0, 10**6), max_size=6),
    st.lists(st.sampled_from([0.0, 0.03125, 0.5, 1.0, 60.0]), max_size=20),
    PACES,
    BYTE_PACES,
    st.booleans(),
)
@example([("crowd", 1000)], [], [0.5] * 20, Pace(10.0, 40.0), None, True)
@example([("message", 4 * 10**6)], [], [0.5] * 9, None, Pace(1e6, 1e6), True)
def test_all_pumps_let_the_same_through_no_more_than_may_and_nothing_is_lost(
    parts: list[Part],
    cuts: list[int],
    times: list[float],
    messages: Pace | None,
    byte_pace: Pace | None,
    throttles: bool,
) -> None:
    limits = Limits(WHOLE, None, None, messages, byte_pace, throttles)
    data = b"".join(map(bytes_of, parts))
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    chunks = [data[start:end] for start, end in pairwise(places) if start < end]
    later = [(b"", each) for each in times[len(chunks) :]]
    steps = [*zip_longest(chunks, times[: len(chunks)], fillvalue=0.0), *later]
    with ExitStack() as stack:
        grounds = (PythonGround, NATIVE, TLS)
        flows = [stack.enter_context(closing(Flow(each, limits))) for each in grounds]
        whole = stack.enter_context(closing(Flow(PythonGround, Limits(WHOLE))))
        whole.send(data)
        for chunk, seconds in steps:
            for flow in flows:
                flow.send(chunk)
                flow.pass_time(seconds)
                flow.check(limits, whole)
            if not throttles:
                assert flows[1].findings == flows[0].findings == flows[2].findings
        for flow in flows:
            if throttles and bursts_in(data, limits) < 200:
                flow.check_that_all_comes(whole)
            flow.end()


def bursts_in(data: bytes, limits: Limits) -> float:
    """Say how often some of *data* waits at most until a bucket is full again."""
    messages = len(data) / len(FEW) / limits.messages.burst if limits.messages else 0.0
    return messages + (len(data) / limits.bytes.burst if limits.bytes else 0.0)
