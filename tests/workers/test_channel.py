"""Calls, tells, answers and descriptors between two ends of a channel."""

from __future__ import annotations

import os
import pickle
import resource
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from tests.workers.world import World, lines, open_descriptors, result_of
from wsrelay.admin.control import Refused
from wsrelay.service import ReloadRefused
from wsrelay.workers import stream
from wsrelay.workers.channel import CallTimeout, Channel, ChannelLost, RemoteError, pair


@define(eq=False)
class Ends:
    """Two ends in one world; *there* notes what it is asked, and answers what a test says."""

    world: World
    here: Channel
    there: Channel
    asked: list[tuple[Any, ...]] = field(factory=list)
    lost: list[str] = field(factory=list)

    def ask(self, *what: Any, **options: Any) -> Any:
        answer = self.here.call(*what, **options)
        self.world.turn()
        return result_of(answer)


def made() -> Ends:
    world = World()
    first, second = pair()
    ends = Ends(world, Channel(world, first, "worker 1"), Channel(world, second, "the parent"))
    ends.here.on_lost = lambda: ends.lost.append("here")
    ends.there.on_lost = lambda: ends.lost.append("there")

    def answer(name: str, arguments: tuple[Any, ...], descriptors: tuple[int, ...]) -> Any:
        ends.asked.append((name, *arguments))
        return arguments

    ends.there.on_call = answer
    return ends


@pytest.fixture
def ends() -> Iterator[Ends]:
    ends = made()
    yield ends
    ends.here.close()
    ends.there.close()


def answers(ends: Ends, answer: Any) -> None:
    ends.there.on_call = lambda name, arguments, descriptors: answer(*arguments)


def test_a_call_has_its_answer(ends: Ends) -> None:
    assert ends.ask("double", 1, "two", {"three": [4]}) == (1, "two", {"three": [4]})
    assert ends.world.getDelayedCalls() == []


def test_both_ends_may_ask_at_once(ends: Ends) -> None:
    ends.here.on_call = lambda name, arguments, descriptors: "from here"
    both = ends.here.call("a"), ends.there.call("b")
    ends.world.turn()
    assert [result_of(each) for each in both] == [(), "from here"]


def test_answers_come_when_they_are_there_and_belong_to_their_calls(ends: Ends) -> None:
    waiting: dict[str, Deferred[str]] = {name: Deferred() for name in "abc"}
    answers(ends, waiting.__getitem__)
    calls = {name: ends.here.call("get", name) for name in "abc"}
    ends.world.turn()
    for name in "bca":
        waiting[name].callback(f"that is {name}")
        ends.world.turn()
    assert {name: result_of(call) for name, call in calls.items()} == {
        name: f"that is {name}" for name in "abc"
    }


def test_calls_and_tells_are_handled_in_the_order_in_which_they_were_made(ends: Ends) -> None:
    for number in range(50):
        ends.here.tell("tell", number)
        ends.here.call("call", number, "x" * number * 1000)
    ends.world.turn()
    assert [(each[0], each[1]) for each in ends.asked] == [
        (name, number) for number in range(50) for name in ("tell", "call")
    ]


def test_a_ping_is_answered_by_the_channel_itself(ends: Ends) -> None:
    answered: list[Any] = []
    ends.here.call("ping").addCallback(answered.append)
    ends.world.turn()
    assert answered == [None]
    assert ends.asked == []


@given(st.lists(st.binary(max_size=300_000), max_size=6))
def test_whatever_the_sizes_all_arrives_as_it_was_sent(payloads: list[bytes]) -> None:
    ends = made()
    for each in payloads:
        ends.here.tell("take", each)
    ends.world.turn()
    assert ends.asked == [("take", each) for each in payloads]
    ends.here.close()
    ends.there.close()


def test_ten_megabytes_go_over_in_many_turns_of_the_reactor(ends: Ends) -> None:
    content = ["a session " * 10] * 2 + [os.urandom(10_000_000)]
    call = ends.here.call("status", content)
    assert ends.world.turn() > 100
    assert result_of(call) == (content,)


# errors


def raises(ends: Ends, error: Exception) -> Any:
    def fail() -> None:
        raise error

    answers(ends, fail)
    return ends.ask("fail")


def test_an_exception_comes_back_as_text_and_is_in_the_log_where_it_was_raised(ends: Ends) -> None:
    with lines() as said:
        error = raises(ends, KeyError("nobody"))
    assert isinstance(error, RemoteError)
    assert str(error) == "KeyError: 'nobody'"
    assert said == ["the parent has asked for 'fail', and that failed"]


def test_refusals_travel_as_themselves_and_nobody_logs_them(ends: Ends) -> None:
    with lines() as said:
        refused = raises(ends, Refused(409, "not now", ["one", "two"]))
        reload = raises(ends, ReloadRefused("line 1 is wrong", "line 2 too"))
    assert isinstance(refused, Refused)
    assert (refused.status, refused.message, refused.errors) == (409, "not now", ("one", "two"))
    assert str(refused) == "not now"
    assert isinstance(reload, ReloadRefused)
    assert reload.errors == ("line 1 is wrong", "line 2 too")
    assert said == []


def test_an_answer_that_cannot_be_sent_is_an_error_of_the_call(ends: Ends) -> None:
    answers(ends, lambda: lambda: None)
    with lines() as said:
        error = ends.ask("x")
    assert isinstance(error, RemoteError)
    assert len(said) == 1
    assert ends.here.is_open


def test_arguments_that_cannot_be_sent_are_an_error_here(ends: Ends) -> None:
    assert isinstance(ends.ask("x", lambda: None), AttributeError | pickle.PicklingError)
    with pytest.raises((AttributeError, pickle.PicklingError)):
        ends.here.tell("x", lambda: None)
    assert ends.ask("x", 1) == (1,)


def test_what_a_tell_raises_is_in_the_log(ends: Ends) -> None:
    answers(ends, lambda: 1 / 0)
    with lines() as said:
        ends.here.tell("divide")
        ends.world.turn()
    assert said == ["the parent has asked for 'divide', and that failed"]


def test_a_call_that_nobody_answers_is_an_error() -> None:
    world = World()
    first, second = pair()
    here, there = Channel(world, first, "worker 1"), Channel(world, second, "the parent")
    call = here.call("x")
    with lines():
        world.turn()
    assert str(result_of(call)) == "LookupError: nobody answers 'x' here"
    here.close()
    there.close()


def test_a_call_without_an_answer_in_time_fails_and_a_late_answer_harms_nobody(ends: Ends) -> None:
    late: Deferred[int] = Deferred()
    answers(ends, lambda: late)
    call = ends.here.call("x", timeout=3)
    ends.world.turn()
    ends.world.advance(2.9)
    assert not call.called
    ends.world.advance(0.2)
    error = result_of(call)
    assert isinstance(error, CallTimeout)
    assert str(error) == "worker 1 has not answered 'x' in 3 s"
    late.callback(1)
    ends.world.turn()
    answers(ends, lambda: 2)
    assert ends.ask("y") == 2


def test_a_call_that_is_cancelled_waits_for_nothing(ends: Ends) -> None:
    call = ends.here.call("x")
    call.cancel()
    assert isinstance(result_of(call), CancelledError)
    assert ends.world.getDelayedCalls() == []
    ends.world.turn()
    assert ends.asked == [("x",)]


# the end


def test_all_that_waits_fails_when_the_other_side_goes(ends: Ends) -> None:
    answers(ends, Deferred)
    calls = [ends.here.call("x"), ends.here.call("y", timeout=None)]
    ends.world.turn()
    with lines() as said:
        ends.there.close()
        ends.world.turn()
    errors = [result_of(each) for each in calls]
    assert [str(each) for each in errors] == ["worker 1 is gone"] * 2
    assert {type(each) for each in errors} == {ChannelLost}
    assert ends.lost == ["there", "here"]
    assert ends.world.getDelayedCalls() == ends.world.readers == ends.world.writers == []
    assert said == []


def test_after_the_end_calls_fail_at_once_and_tells_are_lost(ends: Ends) -> None:
    ends.here.close()
    ends.here.close()
    assert ends.lost == ["here"]
    assert isinstance(result_of(ends.here.call("x")), ChannelLost)
    ends.here.tell("x")


def test_what_the_other_side_said_before_it_went_is_heard(ends: Ends) -> None:
    heard: list[int] = []
    ends.here.on_call = lambda name, arguments, _: heard.extend(arguments)
    ends.there.tell("last words", 1)
    ends.there.tell("last words", 2)
    ends.there.close()
    ends.here.tell("are you there?")  # this one finds nobody
    ends.here.tell("are you there?")
    ends.world.turn()
    assert heard == [1, 2]
    assert ends.lost == ["there", "here"]


def test_an_end_that_is_closed_by_what_it_is_told_hears_no_more(ends: Ends) -> None:
    heard: list[str] = []

    def close(name: str, arguments: object, descriptors: object) -> None:
        heard.append(name)
        ends.there.close()

    ends.there.on_call = close
    ends.here.tell("one")
    ends.here.tell("two")
    ends.world.turn()
    assert heard == ["one"]


def test_the_reactors_own_end_is_the_channels(ends: Ends) -> None:
    with lines() as said:
        ends.here._stream.connectionLost(Failure(ConnectionLost("the reactor ends")))
    assert ends.lost == ["here"]
    assert "the reactor ends" in said[0]


GARBAGE = {
    "a length beyond all bounds": struct.pack("!IBBI", 2**31, 1, 0, 1),
    "an unknown kind": struct.pack("!IBBI", 1, 77, 0, 1) + b"N",
    "no pickle": struct.pack("!IBBI", 4, 1, 0, 1) + b"oops",
    "a pickle of nothing that fits": struct.pack("!IBBI", 4, 1, 0, 1) + pickle.dumps(1, 0)[:4],
    "descriptors that do not come": struct.pack("!IBBI", 0, 2, 3, 0),
    "an answer that cannot be read": struct.pack("!IBBI", 1, 3, 0, 1) + b"?",
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
def test_a_malformed_stream_ends_the_channel_with_a_line_in_the_log(garbage: bytes) -> None:
    world = World()
    first, second = pair()
    here = Channel(world, first, "worker 1")
    call = here.call("x")
    with second, lines() as said:
        second.sendall(garbage)
        world.turn()
    assert isinstance(result_of(call), ChannelLost)
    assert not here.is_open
    assert len(said) == 1
    assert "worker 1" in said[0]


def test_a_side_that_never_reads_is_given_up(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MAX_UNSENT", 3_000_000)
    ends.world.removeReader(ends.there._stream)
    with lines() as said:
        for _ in range(5):
            ends.here.tell("x", bytes(1_000_000))
        ends.world.advance(0)
        for each in list(ends.world.writers):
            each.doWrite()
    assert not ends.here.is_open
    assert "wait to be read" in said[0]


def test_a_side_that_reads_slowly_may_be_told_as_much_as_there_is(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "MAX_UNSENT", 3_000_000)
    for _ in range(10):
        ends.here.tell("x", bytes(1_000_000))
        ends.world.turn()
    assert len(ends.asked) == 10
    assert ends.here.is_open


# descriptors


def test_descriptors_arrive_with_their_call_and_are_closed_when_it_is_answered(ends: Ends) -> None:
    before = open_descriptors()
    reading, writing = os.pipe()
    kept: list[int] = []
    answer: Deferred[str] = Deferred()

    def take(name: str, arguments: object, descriptors: tuple[int, ...]) -> Deferred[str]:
        os.write(descriptors[1], b"by another number")
        assert not os.get_inheritable(descriptors[0])
        kept.append(os.dup(descriptors[0]))
        return answer

    ends.there.on_call = take
    call = ends.here.call("take", descriptors=(reading, writing))
    os.close(reading)
    os.close(writing)
    ends.world.turn()
    assert os.read(kept[0], 100) == b"by another number"
    assert len(open_descriptors()) == len(before) + 3
    answer.callback("done")
    ends.world.turn()
    assert result_of(call) == "done"
    os.close(kept[0])
    assert open_descriptors() == before


def test_each_call_has_its_own_descriptors_however_many_wait(ends: Ends) -> None:
    found: list[list[bytes]] = []

    def take(name: str, arguments: tuple[int], descriptors: tuple[int, ...]) -> None:
        found.append([os.pread(each, 10, 0) for each in descriptors])

    ends.there.on_call = take
    wanted = []
    for number in range(12):
        files = [os.memfd_create(f"{number} {each}") for each in range(number % 4)]
        wanted.append([b"%d of %d" % (each, number) for each in range(number % 4)])
        for file, content in zip(files, wanted[-1], strict=True):
            os.write(file, content)
        ends.here.call("take", bytes(number * 50_000), descriptors=files)
        for file in files:
            os.close(file)
    ends.world.turn()
    assert found == wanted


def test_descriptors_that_nobody_takes_are_closed(ends: Ends) -> None:
    before = open_descriptors()
    answers(ends, lambda: 1 / 0)
    with socket.socket() as mine, lines():
        ends.ask("fails", descriptors=[mine.fileno()] * 3)
        ends.ask("ping", descriptors=[mine.fileno()])
    assert open_descriptors() == before


def test_descriptors_that_wait_on_either_side_of_a_lost_channel_are_closed() -> None:
    before = open_descriptors()
    ends = made()
    with socket.socket() as mine:
        for _ in range(4):  # the first arrives in part, others are never sent
            ends.here.call("x", bytes(1_000_000), descriptors=[mine.fileno()] * 5)
        ends.there._stream.doRead()
        ends.here.close()
        ends.there.close()
    assert open_descriptors() == before


def test_descriptors_that_nobody_announced_end_the_channel_and_are_closed() -> None:
    world, (first, second) = World(), pair()
    before = open_descriptors()
    here = Channel(world, first, "worker 1")
    answer = pickle.dumps(None)
    with lines() as said:
        socket.send_fds(second, [struct.pack("!IBBI", len(answer), 3, 0, 9) + answer], [0, 1])
        world.turn()
    assert not here.is_open
    assert "does not announce" in said[0]
    second.close()
    assert open_descriptors() < before


def test_descriptors_that_a_process_has_no_room_for_end_the_channel() -> None:
    before = open_descriptors()
    ends = made()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    call = ends.here.call("x", descriptors=[0, 0, 0])
    resource.setrlimit(resource.RLIMIT_NOFILE, (os.dup(0) + 2, hard))
    with lines() as said:
        ends.there._stream.doRead()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert not ends.there.is_open
    assert "too many open" in said[0]
    ends.world.turn()
    assert isinstance(result_of(call), ChannelLost)
    os.close(max(int(each.split()[0]) for each in open_descriptors() - before))
    assert open_descriptors() == before


def test_copies_that_cannot_be_made_are_an_error_of_the_call_and_leave_nothing(ends: Ends) -> None:
    before = open_descriptors()
    assert isinstance(ends.ask("x", descriptors=[0, 123_456]), OSError)
    assert isinstance(ends.ask("x", descriptors=[0] * 251), ValueError)
    assert open_descriptors() == before
    assert ends.ask("x") == ()
