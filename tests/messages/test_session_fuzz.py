"""Whatever happens to a session with whole messages, with and without filters."""

from __future__ import annotations

from typing import Any

from attrs import define, evolve, field
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock

from tests.messages.ground import DEFLATED, Ask, FakeFilters, MessageGround
from tests.relay.support import CLOSE, Conversation, data_of, frames_in
from tests.relay.test_session_fuzz import ROUTES, WHOLE, Life, check_stream, steps
from wsrelay.config.model import RouteConfig
from wsrelay.interfaces import DROP, Close
from wsrelay.messages.compression import UNCOMPRESSED
from wsrelay.relay.pump import Side
from wsrelay.wire.faults import Limits
from wsrelay.wire.frames import Scanner

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
ANSWERS = st.lists(
    st.tuples(
        st.sampled_from([None, None, None, 0.0, 0.5, 3.0]),
        st.sampled_from(["keep"] * 6 + ["drop", "close"]),
    ),
    max_size=10,
)


@define(eq=False)
class Slow:
    """Answers at once, or later; after `filter_timeout` at the latest, as real ones do."""

    clock: Clock
    plan: list[tuple[float | None, str]]
    dropped: list[bytes] = field(factory=list)

    def __call__(self, ask: Ask) -> None:
        delay, what = self.plan.pop(0) if self.plan else (None, "keep")
        if what == "drop":
            self.dropped.append(ask.payload)
        answer = {"keep": ask.payload, "drop": DROP, "close": Close(4000, "no")}[what]
        if delay is None:
            ask.decide(answer)
        else:
            self.clock.callLater(delay, ask.decide, answer)


class MessageLife(Life):
    """A conversation of whole messages, and the rules for it."""

    def __init__(self, pair: Conversation, dropped: list[bytes] | None = None) -> None:
        super().__init__(pair)
        self.dropped = dropped
        pair.ground.most_kept = 250_000  # a message, what is read behind it, and one that goes out

    def check(self) -> None:
        super().check()
        buffered = self.pair.session.pump.totals().buffered
        assert buffered <= 2 * self.pair.ground.most_kept

    def check_ended(self) -> None:
        # What a lost leg has said may still have to be handled.
        assert len(self.pair.ended) <= int(self.pair.is_over)

    def check_end(self) -> None:
        pair = self.pair
        pair.assert_over()
        for side in Side:
            got = bytes(pair.leg(side).received)
            check_stream(side, got)
            frames, rest = frames_in(got)
            heard, said = data_of(frames), messages_said(side.other, self.sent[side.other])
            if self.dropped is None:
                assert heard == said[: len(heard)]
            else:
                remaining = iter(said)
                assert all(each in remaining for each in heard), "the order is theirs"
            if pair.leg(side).eof:
                assert rest == b"", "a leg that is ended gently stands at a frame boundary"
                assert frames[-1].opcode == CLOSE, "and was told so"


def messages_said(side: Side, chunks: list[bytes]) -> list[bytes]:
    """Return the payloads of the whole messages that a peer sent."""
    events = Scanner(side is Side.CLIENT, 0, Limits(WHOLE)).feed(b"".join(chunks))
    data = b"".join(each for each in events if isinstance(each, bytes))
    said, open_ = [], b""
    for frame in frames_in(data)[0]:
        open_ += frame.payload
        if frame.final:
            said.append(open_)
            open_ = b""
    return said


def live(life: MessageLife, happenings: list[tuple[Any, ...]]) -> None:
    for happening in happenings:
        life.do(*happening)
    life.do("close", None)
    life.let_pass(10.5)  # five seconds for the last words of a leg, and five for the end
    life.check_end()


@UNHURRIED
@given(ROUTES, steps())
def test_every_session_ends_once_properly_and_in_time(
    route: RouteConfig, happenings: list[tuple[Any, ...]]
) -> None:
    clock = Clock()
    live(MessageLife(Conversation(MessageGround(clock), clock, route)), happenings)


@UNHURRIED
@given(ROUTES, steps(), ANSWERS)
def test_so_does_one_with_filters_and_they_are_told_of_its_end(
    route: RouteConfig, happenings: list[tuple[Any, ...]], answers: list[tuple[float | None, str]]
) -> None:
    clock = Clock()
    slow = Slow(clock, answers)
    filters = FakeFilters(slow)
    ground = MessageGround(clock, route, UNCOMPRESSED, filters)
    life = MessageLife(Conversation(ground, clock, route), slow.dropped)
    for happening in happenings:
        life.do(*happening)
    life.do("close", None)
    life.let_pass(10.5)
    life.check_end()
    assert filters.events == ["opened", "ended"]


@UNHURRIED
@given(ROUTES, steps())
def test_what_compression_was_agreed_on_changes_nothing_about_ends(
    route: RouteConfig, happenings: list[tuple[Any, ...]]
) -> None:
    clock = Clock()
    ground = MessageGround(clock, evolve(route, max_message_size_up=1000), DEFLATED)
    pair = Conversation(ground, clock, route)
    life = MessageLife(pair)
    for happening in happenings:
        life.do(*happening)
    life.do("close", None)
    life.let_pass(10.5)
    pair.assert_over()
