"""The filters of a session: in which order they are asked, and what becomes of their answers."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent

from tests.messages.fakes import TIMEOUT, Listens, Says, Scene, adds, passes
from wsrelay.interfaces import DOWN, DROP, UP, Close, ISession
from wsrelay.log import limit_lines, limit_no_more
from wsrelay.messages.chain import FAILED, Chain
from wsrelay.messages.session import FilteredSession
from wsrelay.relay.facts import Facts


@pytest.fixture
def logged() -> Iterator[list[dict[str, Any]]]:
    with capturedLogs() as events:
        yield events
        gc.collect()  # a Deferred whose failure nobody handled is logged when it goes


def texts(logged: list[dict[str, Any]]) -> list[str]:
    return [formatEvent(event) for event in logged]


# the order


def test_without_filters_a_message_passes_as_it_is() -> None:
    scene = Scene()
    payload = b"hello"
    scene.take(payload)
    assert scene.decisions[0] is payload


def test_filters_are_asked_in_their_order_and_each_sees_what_the_one_before_left() -> None:
    for direction in (UP, DOWN):
        first, second = Says(adds(b"1")), Says(adds(b"2"))
        scene = Scene(first, second)
        scene.take(b"x", direction, True)
        assert first.asked == [(direction, b"x", True)]
        assert second.asked == [(direction, b"x1", True)]
        assert scene.decisions == [b"x12"]


def test_a_str_is_passed_on_as_utf_8() -> None:
    second = Says(passes)
    scene = Scene(Says("grün"), second)
    scene.take()
    assert second.payloads == scene.decisions == ["grün".encode()]


@pytest.mark.parametrize("answer", [DROP, Close(4000, "no")])
def test_who_drops_or_closes_decides_and_the_others_are_not_asked(answer: Any) -> None:
    last = Says(passes)
    for given_answer in (answer, succeed(answer)):
        scene = Scene(Says(passes), Says(given_answer), last)
        scene.take()
        assert scene.decisions == [answer]
        assert scene.is_idle
    assert last.asked == []


def test_a_reason_is_cut_between_two_characters() -> None:
    scene = Scene(Says(Close(1008, "ü" * 100)))
    scene.take()
    assert scene.decisions == [Close(1008, "ü" * 61)]


def test_a_deferred_is_waited_for_and_then_the_next_filter_is_asked() -> None:
    answer: Deferred[Any] = Deferred()
    second = Says(adds(b"2"))
    scene = Scene(Says(answer), second)
    scene.take()
    assert (second.asked, scene.decisions) == ([], [])
    scene.clock.advance(TIMEOUT - 0.1)
    answer.callback(b"y")
    assert second.payloads == [b"y"]
    assert scene.decisions == [b"y2"]
    assert scene.is_idle


def test_each_filter_has_the_whole_timeout() -> None:
    answers: list[Deferred[Any]] = [Deferred(), Deferred()]
    scene = Scene(*map(Says, answers))
    scene.take()
    for answer in answers:
        scene.clock.advance(TIMEOUT - 0.1)
        answer.callback(b"y")
    assert scene.decisions == [b"y"]


def test_the_two_directions_do_not_wait_for_each_other() -> None:
    slow: Deferred[Any] = Deferred()
    answers = iter([slow, b"down", b"down again"])
    scene = Scene(Says(lambda session, payload: next(answers)))
    scene.take(b"up", UP)
    scene.take(b"x", DOWN)
    scene.take(b"x", DOWN)
    assert scene.decisions == [b"down", b"down again"]
    slow.callback(b"up")
    assert scene.decisions == [b"down", b"down again", b"up"]


def test_many_filters_with_answers_at_hand_are_asked_on_one_level_of_the_stack() -> None:
    scene = Scene()
    filters = [Says(lambda session, payload: succeed(payload)) for _ in range(5000)]
    scene.chain.filters = tuple(("a", each) for each in filters)
    scene.take(b"x")
    assert scene.decisions == [b"x"]
    assert scene.is_idle


def test_the_next_message_may_be_taken_from_within_the_decision() -> None:
    scene = Scene(Says(adds(b"!")))
    waiting = [b"2", b"3"]

    def decided(answer: Any) -> None:
        scene.decisions.append(answer)
        if waiting:
            scene.chain.take(UP, waiting.pop(0), False, decided)

    scene.chain.take(UP, b"1", False, decided)
    assert scene.decisions == [b"1!", b"2!", b"3!"]


# what goes wrong


def boom(session: ISession, payload: bytes) -> bytes:
    raise RuntimeError("boom")


def coroutine(session: ISession, payload: bytes) -> Any:
    async def message() -> bytes:
        return payload

    return message()


WRONG: list[tuple[Any, str]] = [
    (None, "returned None; return the payload, DROP or a Close"),
    (succeed(None), "returned None; return the payload, DROP or a Close"),
    (True, "returned an object of type bool"),
    (7, "returned an object of type int"),
    (bytearray(b"x"), "returned an object of type bytearray"),
    (lambda session, payload: Close, "returned the class Close itself"),
    (coroutine, "returned a coroutine (of an async def)"),
    (b"\xff", "gave a text message a payload that is not UTF-8 (byte 0)"),
    (b"\xed\xa0\x80", "gave a text message a payload that is not UTF-8 (byte 0)"),
    ("\ud800", "gave a str that UTF-8 cannot spell"),
    (Close(1005), "closes with 1005; use one of"),
    (Close(999), "closes with 999; use one of"),
    (Close("1008"), "closes with '1008'; use one of"),  # type: ignore[arg-type]
    (Close(1008, None), "closes with an object of type NoneType"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("answer", "words"), WRONG)
@pytest.mark.parametrize("on_error", ["close", "pass"])
def test_a_wrong_answer_is_logged_and_on_error_decides(
    logged: list[dict[str, Any]], answer: Any, words: str, on_error: Any
) -> None:
    if isinstance(answer, Deferred):
        answer = succeed(answer.result)
    last = Says(adds(b"2"))
    scene = Scene(Says(adds(b"1")), Says(answer), last, on_error=on_error)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scene.take(b"x")
    [event] = logged
    said = formatEvent(event)
    assert said.startswith(f"session 0123456789abcdef: filter b of route default {words}")
    assert event["log_level"] is LogLevel.error
    if on_error == "close":
        assert said.endswith("; the session is closed")
        assert scene.decisions == [FAILED] == [Close(1011, "a filter failed")]
        assert last.asked == []
    else:
        assert said.endswith("; the message is passed on as it was")
        assert last.payloads == [b"x1"]
        assert scene.decisions == [b"x12"]
    assert scene.is_idle


def later(error: Exception) -> Callable[[ISession, bytes], Any]:
    return lambda session, payload: fail(error)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (boom, RuntimeError),
        (later(RuntimeError("boom")), RuntimeError),
        (later(CancelledError()), CancelledError),  # by somebody else
        (lambda session, payload: session.send("sideways", "x"), ValueError),
        (lambda session, payload: session.close(1006), ValueError),
    ],
)
def test_an_exception_is_logged_with_its_traceback_and_on_error_decides(
    logged: list[dict[str, Any]], answer: Any, kind: type[Exception]
) -> None:
    closing = Scene(Says(answer))
    closing.take(b"x")
    assert closing.decisions == [FAILED]
    passing = Scene(Says(answer), Says(adds(b"2")), on_error="pass")
    passing.take(b"x")
    assert passing.decisions == [b"x2"]
    assert [event["log_failure"].type for event in logged] == [kind, kind]
    assert texts(logged)[0] == (
        "session 0123456789abcdef: filter a of route default failed; the session is closed"
    )


@pytest.mark.parametrize("on_error", ["close", "pass"])
def test_a_filter_that_is_too_slow_is_cancelled_and_on_error_decides(
    logged: list[dict[str, Any]], on_error: Any
) -> None:
    cancelled: list[object] = []
    answer: Deferred[Any] = Deferred(cancelled.append)
    scene = Scene(Says(answer), Says(adds(b"2")), on_error=on_error)
    scene.take(b"x")
    scene.clock.advance(TIMEOUT - 0.1)
    assert (cancelled, scene.decisions) == ([], [])
    scene.clock.advance(0.2)
    assert cancelled == [answer]
    assert scene.decisions == ([FAILED] if on_error == "close" else [b"x2"])
    assert scene.is_idle
    gc.collect()
    [event] = logged
    assert "log_failure" not in event
    assert "filter a of route default did not answer within 3 s; the" in formatEvent(event)


@pytest.mark.parametrize("result", [b"late", None, RuntimeError("late")])
@pytest.mark.parametrize("ends", [True, False])
def test_an_answer_that_comes_too_late_changes_nothing(
    logged: list[dict[str, Any]], result: Any, ends: bool
) -> None:
    answer: Deferred[Any] = Deferred(lambda it: it.callback(b"cancelled, says its canceller"))
    stubborn: Deferred[Any] = Deferred(boom_on_cancel)
    for each in (answer, stubborn):
        scene = Scene(Says(each), on_error="pass")
        scene.take(b"x")
        if ends:
            scene.chain.end()
        else:
            scene.clock.advance(TIMEOUT)
        before = list(scene.decisions)
        if each is stubborn:
            each.callback(result) if not isinstance(result, Exception) else each.errback(result)
        assert scene.decisions == before == ([] if ends else [b"x"])
        assert scene.is_idle
    gc.collect()
    failures = [event["log_failure"].type for event in logged if "log_failure" in event]
    assert failures == [ZeroDivisionError]  # of the canceller


def boom_on_cancel(answer: object) -> None:
    raise ZeroDivisionError


def test_a_client_that_makes_filters_fail_does_not_flood_the_log(
    logged: list[dict[str, Any]],
) -> None:
    scene = Scene(Says(boom), Says(None), on_error="pass")
    limit = limit_lines(scene.clock)
    for number in range(1000):
        scene.take(b"%d" % number)
    limit_no_more(limit)
    assert scene.decisions == [b"%d" % number for number in range(1000)]
    assert len(logged) == 22, "ten for each filter, and one that sums up"
    assert "990 more like it" in texts(logged)[-1]


# the end


def test_the_end_cancels_what_is_waited_for_and_decides_nothing(
    logged: list[dict[str, Any]],
) -> None:
    cancelled: list[object] = []
    answers: list[Deferred[Any]] = [Deferred(cancelled.append), Deferred(cancelled.append)]
    each = iter(answers)
    scene = Scene(Says(lambda session, payload: next(each)))
    scene.take(b"x", UP)
    scene.take(b"x", DOWN)
    scene.chain.end()
    scene.chain.end()
    assert cancelled == answers
    assert scene.is_idle
    scene.clock.advance(2 * TIMEOUT)
    assert scene.decisions == []
    gc.collect()
    assert logged == []


def test_after_the_end_no_filter_is_asked() -> None:
    asked = Says(passes)
    scene = Scene(asked)
    scene.chain.end()
    scene.take()
    assert (asked.asked, scene.decisions) == ([], [])


@pytest.mark.parametrize(
    "answer",
    [
        lambda: b"y",
        lambda: None,
        lambda: DROP,
        lambda: succeed(b"y"),
        Deferred,
        lambda: Close(1000),
    ],
    ids=["payload", "none", "drop", "deferred", "nothing yet", "close"],
)
def test_a_filter_may_end_the_session_while_it_is_asked(
    logged: list[dict[str, Any]], answer: Callable[[], Any]
) -> None:
    def end(session: ISession, payload: bytes) -> Any:
        scene.chain.end()
        return answer()

    last = Says(passes)
    scene = Scene(Says(end), last)
    scene.take()
    assert (scene.decisions, last.asked) == ([], [])
    assert scene.is_idle
    gc.collect()
    assert logged == []


def test_a_filter_that_ends_the_session_and_fails_decides_nothing(
    logged: list[dict[str, Any]],
) -> None:
    def fails(session: ISession, payload: bytes) -> bytes:
        scene.chain.end()
        return boom(session, payload)

    scene = Scene(Says(fails))
    scene.take()
    assert scene.decisions == []
    assert [event["log_failure"].type for event in logged] == [RuntimeError]
    scene = Scene(Says(Deferred(lambda answer: scene.chain.end())))
    scene.take()
    scene.clock.advance(TIMEOUT)
    assert scene.decisions == []


def test_a_deferred_of_a_session_that_ended_meanwhile_is_cancelled() -> None:
    cancelled: list[object] = []

    def end(session: ISession, payload: bytes) -> Any:
        scene.chain.end()
        return Deferred(cancelled.append)

    scene = Scene(Says(end))
    scene.take()
    assert len(cancelled) == 1


def test_a_canceller_may_end_the_session() -> None:
    scene = Scene(Says(Deferred(lambda answer: scene.chain.end())), Says(passes), on_error="pass")
    scene.take()
    scene.clock.advance(TIMEOUT)
    assert scene.decisions == []
    assert scene.is_idle


def test_the_end_may_come_from_within_the_decision() -> None:
    scene = Scene(Says(passes))
    scene.chain.take(UP, b"x", False, lambda answer: scene.chain.end())
    scene.take()
    assert scene.decisions == []


def test_whoever_keeps_a_session_reaches_it_no_more_after_its_end() -> None:
    done: list[object] = []
    facts = Facts("0123456789abcdef", "web", "192.0.2.7:4711")
    session = FilteredSession(facts, lambda *told: done.append(told), *[lambda *told: None] * 3)
    kept = Listens(passes, on_ended=lambda session: session.send(DOWN, "at the end"))
    chain = Chain([("a", kept)], session, Clock(), TIMEOUT, "close")
    chain.opened()
    session.send(DOWN, "in time")
    chain.end()
    session.send(DOWN, "too late")
    assert done == [(DOWN, b"in time", False)]


# what filters do to the session


def test_what_a_filter_sends_goes_out_before_the_message_that_it_is_asked_about() -> None:
    order: list[str] = []

    def send(session: ISession, payload: bytes) -> bytes:
        session.send(DOWN, "before")
        session.send(UP, b"\xff", True)
        session.tag("told")
        order.append(f"sent {len(scene.session.sent)}")
        return payload

    scene = Scene(Says(send))
    scene.chain.take(UP, b"x", False, lambda answer: order.append("decided"))
    assert order == ["sent 2", "decided"]
    assert scene.session.sent == [(DOWN, b"before", False), (UP, b"\xff", True)]
    assert scene.session.tags == {"told"}


# filters that want to know


def test_those_that_want_to_know_are_told_of_beginning_and_end() -> None:
    told: list[str] = []
    one, two = Listens(passes, name="one", told=told), Listens(passes, name="two", told=told)
    scene = Scene(one, Says(passes), two)
    scene.chain.opened()
    scene.take()
    scene.chain.end()
    scene.chain.end()
    assert told == ["one opened", "two opened", "one ended", "two ended"]


def test_who_was_not_told_of_the_beginning_is_not_told_of_the_end() -> None:
    told: list[str] = []
    ends = Listens(name="one", told=told, on_opened=lambda session: scene.chain.end())
    scene = Scene(ends, Listens(name="two", told=told))
    scene.chain.opened()
    assert told == ["one opened", "one ended"]
    never = Scene(Listens(name="three", told=told))
    never.chain.end()
    assert len(told) == 2


def test_what_they_raise_is_logged_and_the_others_are_told(logged: list[dict[str, Any]]) -> None:
    def fails(session: ISession) -> None:
        raise RuntimeError("boom")

    told: list[str] = []
    bad = Listens(passes, name="bad", told=told, on_opened=fails, on_ended=fails)
    scene = Scene(bad, Listens(passes, name="good", told=told))
    scene.chain.opened()
    scene.take(b"x")
    scene.chain.end()
    assert told == ["bad opened", "good opened", "bad ended", "good ended"]
    assert scene.decisions == [b"x"]
    assert [event["log_failure"].type for event in logged] == [RuntimeError] * 2
    assert "filter a of route default failed when it was told" in formatEvent(logged[0])


def test_the_end_is_told_when_nothing_is_waited_for_any_more() -> None:
    seen: list[bool] = []
    ended = Listens(Deferred(), on_ended=lambda session: seen.append(scene.is_idle))
    scene = Scene(ended)
    scene.chain.opened()
    scene.take()
    scene.chain.end()
    assert seen == [True]


# anything at all

ANSWERS = st.sampled_from(["pass", "add", "drop", "close", "none", "raise", "late", "never"])


@given(
    answers=st.lists(ANSWERS, max_size=5),
    on_error=st.sampled_from(["close", "pass"]),
    direction=st.sampled_from([UP, DOWN]),
)
def test_whatever_filters_do_there_is_one_decision(
    answers: list[str], on_error: Any, direction: str
) -> None:
    pending: list[Deferred[Any]] = []

    def answer(how: str) -> Any:
        def late(session: ISession, payload: bytes) -> Deferred[Any]:
            pending.append(Deferred())
            return pending[-1]

        known: dict[str, Any] = {
            "pass": passes,
            "add": adds(b"+"),
            "drop": DROP,
            "close": Close(4000),
            "none": None,
            "raise": boom,
            "late": late,
            "never": lambda session, payload: Deferred(),
        }
        return known[how]

    scene = Scene(*[Says(answer(how)) for how in answers], on_error=on_error)
    with capturedLogs():
        scene.take(b"x", direction)
        for _ in range(len(answers)):
            for each in pending:
                if not each.called:
                    each.callback(b"late")
            scene.clock.advance(TIMEOUT)
    expected: Any = b"x"
    for how in answers:
        if how in ("none", "raise", "never") and on_error == "close":
            expected = FAILED
        expected = {"drop": DROP, "close": Close(4000)}.get(how, expected)
        if not isinstance(expected, bytes):
            break
        expected = {"add": expected + b"+", "late": b"late"}.get(how, expected)
    assert scene.decisions == [expected]
    assert scene.is_idle
