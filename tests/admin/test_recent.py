"""The last lines of the log."""

from __future__ import annotations

import pytest
from twisted.logger import Logger as TwistedLogger
from twisted.logger import LogLevel
from twisted.python.failure import Failure

from wsrelay.admin.recent import RecentLog
from wsrelay.log import Logger


@pytest.fixture
def recent() -> RecentLog:
    return RecentLog()


def say(recent: RecentLog, format: str, level: str = "info", **more: object) -> None:
    TwistedLogger("test", observer=recent).emit(LogLevel.levelWithName(level), format, **more)


def texts(recent: RecentLog) -> list[str]:
    return [line["text"] for line in recent.since(0)]


def test_lines_have_a_number_a_time_and_a_level(recent: RecentLog) -> None:
    time = 1795269612.3456
    recent(
        {
            "log_format": "upstream {name} is down",
            "name": "chat/a",
            "log_time": time,
            "log_level": LogLevel.warn,
        }
    )
    assert recent.since(0) == [
        {
            "number": 1,
            "at": "2026-11-21T14:00:12.345Z",
            "level": "warn",
            "text": "upstream chat/a is down",
        }
    ]


def test_those_since_a_number_are_told_and_the_oldest_are_forgotten(recent: RecentLog) -> None:
    for number in range(1, 601):
        say(recent, "line {number}", number=number)
    assert [line["number"] for line in recent.since(0)] == list(range(101, 601))
    assert [line["text"] for line in recent.since(598)] == ["line 599", "line 600"]
    assert recent.since(600) == []


def test_what_is_below_the_level_is_left_out(
    recent: RecentLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(recent, "no", "debug")
    monkeypatch.setattr(Logger, "level", LogLevel.error)
    say(recent, "no", "warn")
    say(recent, "yes", "error")
    assert texts(recent) == ["yes"]


def test_what_twisted_logs_in_its_old_way_is_there_too(recent: RecentLog) -> None:
    recent(
        {
            "log_format": "{log_text}",
            "log_text": "Main loop terminated.",
            "log_time": 0.0,
            "log_level": LogLevel.info,
        }
    )
    recent({"log_time": 0.0})
    assert texts(recent) == ["Main loop terminated.", ""]


def test_a_failure_is_one_line_that_says_what_failed(recent: RecentLog) -> None:
    log = TwistedLogger("test", observer=recent)
    try:
        raise ValueError("it is bad\nand long")
    except ValueError:
        log.failure("session {id}: failed", id="s1")
        log.failure("")
    log.failure("no message", Failure(ZeroDivisionError()))
    assert texts(recent) == [
        "session s1: failed: ValueError: it is bad …",
        "ValueError: it is bad …",
        "no message: ZeroDivisionError …",
    ]
    assert recent.since(0)[0]["level"] == "critical"


def test_long_lines_are_cut_and_of_many_the_first_is_shown(recent: RecentLog) -> None:
    say(recent, "{text}", text="x" * 1000)
    say(recent, "{text}", text="x" * 1001)
    say(recent, "{text}", text="one\ntwo")
    assert texts(recent) == ["x" * 1000, "x" * 1000 + " …", "one …"]


def test_an_event_that_cannot_be_formatted_is_no_error(recent: RecentLog) -> None:
    say(recent, "{missing}")
    assert len(texts(recent)) == 1
