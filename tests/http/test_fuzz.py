"""Clients and upstreams that do anything in any order: nobody gets what is not meant for them."""

from __future__ import annotations

from typing import Any

from attrs import define, evolve, field
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.http.plain import Message, ask, in_chunks, read_message
from tests.relay.support import FakeTransport
from tests.relay.world import ROUTE, UPSTREAMS, World

FRAMINGS = st.sampled_from(["length", "chunked", "close"])


@define(eq=False)
class Talker:
    """A client: what it asked, and what of it is still to be sent."""

    transport: FakeTransport
    asked: list[str] = field(factory=list)  # numbers
    unsent: bytes = b""


@define(eq=False)
class Listener:
    """An upstream's end of a connection: the requests that came, and what is still to be said."""

    transport: FakeTransport
    seen: int = 0  # requests
    unsent: bytes = b""
    ends: bool = False  # behind that
    babbled: bool = False


class Crowd(RuleBasedStateMachine):
    """A relay with a queue, retries and limits, and everybody around it."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(
            evolve(ROUTE, http_timeout=10.0, max_body_size=200_000),
            [evolve(each, max_connections=2) for each in UPSTREAMS[:2]],
            queue_timeout=5.0,
            max_fails=3,
        )
        self.count = 0
        self.talkers: list[Talker] = []
        self.listeners: list[Listener] = []
        self.delivered: dict[str, int] = {}

    # clients

    @precondition(lambda self: len(self.talkers) < 6)
    @rule()
    def come(self) -> None:
        self.talkers.append(Talker(self.world.client()))

    @precondition(lambda self: self.talkers)
    @rule(
        data=st.data(),
        method=st.sampled_from(["GET", "POST", "PUT"]),
        size=st.sampled_from([0, 1, 100, 70_000, 150_000]),
        chunked=st.booleans(),
        more=st.sampled_from([(), ("Expect: 100-continue",), ("Connection: close",)]),
    )
    def ask(self, data: Any, method: str, size: int, chunked: bool, more: tuple[str, ...]) -> None:
        talker = data.draw(st.sampled_from(self.talkers))
        self.count += 1
        number = str(self.count)
        target, body = f"/{number}", (number.encode() + b".") * (size // (len(number) + 1))
        if method == "GET":
            request = ask(target, *more, method=method)
        elif chunked:
            head = ask(target, "Transfer-Encoding: chunked", *more, method=method)
            request = head + in_chunks(*[each for each in (body[:999], body[999:]) if each])
        else:
            request = ask(target, *more, method=method, body=body)
        talker.asked.append(number)
        talker.unsent += request

    @precondition(lambda self: any(each.unsent for each in self.talkers))
    @rule(data=st.data(), size=st.sampled_from([1, 30, 1000, 1_000_000]))
    def send(self, data: Any, size: int) -> None:
        talker = data.draw(st.sampled_from([each for each in self.talkers if each.unsent]))
        piece, talker.unsent = talker.unsent[:size], talker.unsent[size:]
        self.world.send(talker.transport, piece)

    @precondition(lambda self: self.talkers)
    @rule(data=st.data(), resets=st.booleans())
    def leave(self, data: Any, resets: bool) -> None:
        talker = data.draw(st.sampled_from(self.talkers))
        talker.unsent = b""
        (self.world.reset if resets else self.world.end)(talker.transport)

    @precondition(lambda self: self.world.transports)
    @rule(data=st.data(), stalls=st.booleans())
    def stall(self, data: Any, stalls: bool) -> None:
        data.draw(st.sampled_from(self.world.transports)).stalled = stalls
        self.world.settle()

    # upstreams

    @precondition(lambda self: any(not dial.over for dial in self.world.dials))
    @rule(data=st.data(), refuses=st.booleans())
    def take_dial(self, data: Any, refuses: bool) -> None:
        dials = [number for number, dial in enumerate(self.world.dials) if not dial.over]
        number = data.draw(st.sampled_from(dials))
        if refuses:
            self.world.refuse(number)
        else:
            self.listeners.append(Listener(self.world.accept(number)))

    @precondition(lambda self: any(self.requests_of(each) for each in self.listeners))
    @rule(data=st.data(), framing=FRAMINGS, interim=st.integers(0, 2), early=st.booleans())
    def answer(self, data: Any, framing: str, interim: int, early: bool) -> None:
        ready = [each for each in self.listeners if self.requests_of(each)]
        listener = data.draw(st.sampled_from(ready))
        request = self.requests_of(listener)[0]
        number = request.target[1:].encode()
        assert set(request.body) <= set(number + b"."), "a body of another request"
        listener.seen += 1
        body = b"answer " + number
        head = b"HTTP/1.1 200 OK\r\nX-Number: " + number + b"\r\n"
        listener.unsent += b"HTTP/1.1 103 Early Hints\r\n\r\n" * interim
        if framing == "length":
            listener.unsent += head + b"Content-Length: %d\r\n\r\n" % len(body)
        elif framing == "chunked":
            listener.unsent += head + b"Transfer-Encoding: chunked\r\n\r\n"
            body = in_chunks(body)
        else:
            listener.unsent += head + b"\r\n"
            listener.ends = True
        listener.unsent += body

    @precondition(lambda self: any(each.unsent for each in self.listeners))
    @rule(data=st.data(), size=st.sampled_from([1, 40, 1_000_000]))
    def say(self, data: Any, size: int) -> None:
        listener = data.draw(st.sampled_from([each for each in self.listeners if each.unsent]))
        piece, listener.unsent = listener.unsent[:size], listener.unsent[size:]
        self.world.send(listener.transport, piece)
        if listener.ends and not listener.unsent:
            self.world.end(listener.transport)

    @precondition(lambda self: self.listeners)
    @rule(data=st.data(), how=st.sampled_from(["end", "reset", "babble", "early"]))
    def misbehave(self, data: Any, how: str) -> None:
        listener = data.draw(st.sampled_from(self.listeners))
        if how == "babble":
            self.world.send(listener.transport, b"HTTP/1.1 babble\r\n\r\n")
        elif how == "early":
            refusal = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\nearly"
            self.world.send(listener.transport, refusal)
        else:
            (self.world.end if how == "end" else self.world.reset)(listener.transport)
        listener.unsent = b""
        listener.babbled = True  # what it says from now on is nobody's answer

    @rule(seconds=st.sampled_from([0.0, 0.3, 4.0, 11.0, 80.0]))
    def wait(self, seconds: float) -> None:
        self.world.advance(seconds)

    def requests_of(self, listener: Listener) -> list[Message]:
        """Return the whole requests that were not answered."""
        if listener.transport.lost or listener.unsent or listener.ends or listener.babbled:
            return []
        data, found = bytes(listener.transport.received), []
        while data:
            try:
                message, data = read_message(data)
            except AssertionError:
                break
            found.append(message)
        return found[listener.seen :]

    # what must hold

    @invariant()
    def nobody_has_too_much(self) -> None:
        assert all(each.active <= 2 for each in self.world.pool.upstreams)
        assert all(len(each.buffer) < 300_000 for each in self.world.transports)

    @invariant()
    def answers_are_those_that_were_asked_for(self) -> None:
        for talker in self.talkers:
            data = bytes(talker.transport.received)
            for number in talker.asked:
                message, data = self.next_answer(data)
                if message is None:
                    break
                if message.status == 200:
                    assert message.get("X-Number") == number
                    assert message.body == b"answer " + number.encode()
                assert message.body
            else:
                assert not data or data.startswith(b"HTTP/1.1 408 "), data

    def next_answer(self, data: bytes) -> tuple[Message | None, bytes]:
        """Read the next final answer, if it is whole and not the last without a length."""
        while data:
            try:
                message, data = read_message(data)
            except AssertionError:
                return None, b""
            if message.status >= 200:
                framed = message.get("Content-Length") or message.get("Transfer-Encoding")
                return (message, data) if framed else (None, b"")
        return None, b""

    @invariant()
    def nothing_is_asked_twice(self) -> None:
        targets: list[str] = []
        for transport in self.world.transports:
            data = bytes(transport.received)
            while b"\r\n\r\n" in data and not data.startswith(b"HTTP/"):
                targets.append(data.split(b" ", 2)[1].decode())
                try:
                    _, data = read_message(data)
                except AssertionError:
                    break
        assert len(set(targets)) == len(targets), targets

    def teardown(self) -> None:
        for each in self.world.transports:
            each.stalled = False
        self.world.settle()
        self.world.leave_all()
        for dial in self.world.dials:
            dial.over = True if dial.called_off else dial.over
        self.world.advance(100)
        self.world.assert_clean()
        done = len(self.world.observer.exchanges) + len(self.world.observer.refusals)
        assert done <= self.count + len(self.talkers)


def test_whatever_everybody_does_ends_clean() -> None:
    run_state_machine_as_test(
        Crowd, settings=settings(max_examples=150, stateful_step_count=50, deadline=None)
    )
