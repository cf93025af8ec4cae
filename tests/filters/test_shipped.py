"""The filters that ship: what they let pass, and what they say of their options."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, eventAsText

from wsrelay.config.model import PluginCall
from wsrelay.filters.log import MOST
from wsrelay.interfaces import DOWN, DROP, UP, Close, IMessageFilter
from wsrelay.log import Logger, limit_lines, limit_no_more
from wsrelay.plugins import check_filter, make_filter
from wsrelay.testing import FakeSession

Logged = list[dict[str, Any]]


def made(name: str, **options: str) -> IMessageFilter:
    return make_filter(PluginCall(name, options), None)


def ask(
    of: IMessageFilter, payload: bytes | str, direction: str = UP, *, is_binary: bool = False
) -> Any:
    encoded = payload if isinstance(payload, bytes) else payload.encode()
    return of.message(FakeSession(), direction, encoded, is_binary)


@pytest.fixture
def logged() -> Iterator[Logged]:
    with capturedLogs() as events:
        yield events


def line(logged: Logged) -> str:
    [event] = logged
    return eventAsText(event, includeTimestamp=False, includeSystem=False)


# log


def test_log_writes_a_line_for_each_message_and_lets_it_pass(logged: Logged) -> None:
    of = made("log")
    assert ask(of, "hello") == b"hello"
    assert ask(of, b"\xff\x00", DOWN, is_binary=True) == b"\xff\x00"
    assert [eventAsText(each, includeTimestamp=False, includeSystem=False) for each in logged] == [
        "session 0123456789abcdef: text up, 5 bytes",
        "session 0123456789abcdef: binary down, 2 bytes",
    ]
    assert {each["log_level"] for each in logged} == {LogLevel.info}


@pytest.mark.parametrize(
    ("payload", "is_binary", "shown"),
    [
        ("", False, "''"),
        ("grün", False, "'grün'"),
        ("grüne!", False, "'grün' …"),
        ("{curly}", False, "'{cur' …"),
        ("\U0001f600" * 4, False, f"'{chr(0x1F600) * 4}'"),
        ("\U0001f600" * 5, False, f"'{chr(0x1F600) * 4}' …"),
        ("ä\U0001f600" * 4, False, f"'ä{chr(0x1F600)}ä{chr(0x1F600)}' …"),
        (b"\x00\xff", True, "00 ff"),
        (b"\x00\x01\x02\x03\x04", True, "00 01 02 03 …"),
    ],
)
def test_log_shows_the_beginning_if_it_is_told_to(
    logged: Logged, payload: Any, is_binary: bool, shown: str
) -> None:
    ask(made("log", payload="4"), payload, is_binary=is_binary)
    assert line(logged).endswith(f" bytes: {shown}")


@given(text=st.text(), size=st.integers(1, MOST))
def test_nothing_in_a_message_makes_a_second_line_or_controls_a_terminal(
    text: str, size: int
) -> None:
    with capturedLogs() as logged:
        ask(made("log", payload=str(size)), text)
    assert line(logged).isprintable()


@pytest.mark.parametrize("evil", ["\n", "\r", "\x1b[2J", "\x85", "\x9b31m", "\u2028", "\u202e"])
def test_control_characters_are_escaped(logged: Logged, evil: str) -> None:
    ask(made("log", payload="9"), f"a{evil}b")
    assert evil[0] not in line(logged)
    assert line(logged).isprintable()


def test_log_does_nothing_below_the_level_of_the_log(
    logged: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Logger, "level", LogLevel.warn)
    assert ask(made("log"), "x") == b"x"
    assert logged == []
    assert ask(made("log", level="error"), "x") == b"x"
    assert [each["log_level"] for each in logged] == [LogLevel.error]


def test_no_line_is_left_out(logged: Logged) -> None:
    limit, of = limit_lines(Clock()), made("log")
    for _ in range(100):
        ask(of, "x")
    limit_no_more(limit)
    assert len(logged) == 100


# deny-binary


def test_deny_binary_closes_at_a_binary_message() -> None:
    of = made("deny-binary")
    close = Close(1003, "binary messages are not accepted here")
    for direction in (UP, DOWN):
        assert ask(of, b"x", direction, is_binary=True) == close
        assert ask(of, b"x", direction) == b"x"


@pytest.mark.parametrize(("direction", "other"), [(UP, DOWN), (DOWN, UP)])
def test_deny_binary_looks_in_the_directions_that_it_is_told(direction: str, other: str) -> None:
    of = made("deny-binary", direction=direction, code="4003")
    assert ask(of, b"x", direction, is_binary=True).code == 4003
    assert ask(of, b"x", other, is_binary=True) == b"x"


# deny-pattern


def test_deny_pattern_closes_where_it_finds_something() -> None:
    of = made("deny-pattern", pattern=r"(?i)secret\s\d")
    for direction in (UP, DOWN):
        assert ask(of, "my SECRET 7", direction) == Close(1008, "denied")
        assert ask(of, "my secrets", direction) == b"my secrets"
    assert ask(of, b"secret 7", is_binary=True) == b"secret 7"


def test_deny_pattern_does_as_it_is_told() -> None:
    of = made("deny-pattern", pattern="x", direction="down", code="4001", reason="no-x")
    assert ask(of, "x", DOWN) == Close(4001, "no-x")
    assert ask(of, "x", UP) == b"x"
    dropping = made("deny-pattern", pattern="x", action="drop", limit="4")
    assert ask(dropping, "ax") is DROP
    assert ask(dropping, "aaaaa") is DROP


def test_patterns_know_unicode() -> None:
    assert ask(made("deny-pattern", pattern=r"^\w\w$"), "öß") == Close(1008, "denied")


def test_a_message_that_is_too_long_to_be_searched_does_not_pass() -> None:
    of = made("deny-pattern", pattern="x", limit="1KiB")
    assert ask(of, "a" * 1024) == b"a" * 1024
    assert ask(of, "a" * 1025) == Close(1009, "the message is too long to be searched")
    assert ask(of, b"a" * 1025, is_binary=True) == b"a" * 1025
    by_default = made("deny-pattern", pattern="x")
    assert ask(by_default, "a" * 16384) == b"a" * 16384
    assert ask(by_default, "a" * 16385).code == 1009
    unlimited = made("deny-pattern", pattern="x", limit="off")
    assert ask(unlimited, "a" * 100_000) == b"a" * 100_000
    assert ask(unlimited, "a" * 100_000 + "x") == Close(1008, "denied")


def test_a_file_has_a_pattern_a_line(tmp_path: Path) -> None:
    file = tmp_path / "denied.txt"
    file.write_bytes("# what nobody says\r\n\r\ngr(ü|ue)n\n  two spaces\n".encode())
    of = made("deny-pattern", file=str(file), pattern="red")
    for denied in ("gruen", "grün", "red", "x  two spaces"):
        assert isinstance(ask(of, denied), Close), denied
    for passed in ("", "# what nobody says", "two spaces"):
        assert ask(of, passed) == passed.encode()


# options

BAD: list[tuple[str, dict[str, str], str]] = [
    ("log", {"level": "inof"}, "level: unknown value 'inof'; did you mean 'info'?"),
    ("log", {"payload": "0"}, "payload: '0' is out of place; expected a whole number, 1 to 4096"),
    ("log", {"payload": "4097"}, "payload: '4097' is out of place"),
    ("deny-binary", {"direction": "upp"}, "direction: unknown value 'upp'; did you mean 'up'?"),
    ("deny-binary", {"code": "1006"}, "code: '1006' cannot be sent as a close code"),
    ("deny-pattern", {}, "there is nothing to look for; say pattern=REGEX, or file=FILE"),
    ("deny-pattern", {"pattern": "a("}, r"pattern: 'a\(' is not a regular expression: missing \)"),
    ("deny-pattern", {"pattern": "a", "action": "shut"}, "action: unknown value 'shut'"),
    ("deny-pattern", {"pattern": "a", "limit": "0"}, "limit: '0' leaves no room at all"),
    ("deny-pattern", {"pattern": "a", "code": "x"}, "code: 'x' cannot be sent"),
    ("deny-pattern", {"file": "/none/such"}, "file: /none/such cannot be read: No such file"),
    ("deny-pattern", {"words": "a"}, "unknown option of deny-pattern 'words'; known: action, "),
]


@pytest.mark.parametrize(("name", "options", "words"), BAD)
def test_a_bad_option_is_refused_with_a_sentence(
    name: str, options: dict[str, str], words: str
) -> None:
    with pytest.raises(ValueError, match=f"^{words}"):
        check_filter(PluginCall(name, options))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"fine\n\n(x\n", "file: {}:3: '(x' is not a regular expression"),
        (b"# only a comment\n", "there is no pattern in {}; say"),
        (b"\xff\n", "file: {} is not UTF-8 (byte 0)"),
    ],
)
def test_a_bad_file_is_refused_with_its_name_and_line(
    tmp_path: Path, content: bytes, words: str
) -> None:
    file = tmp_path / "denied.txt"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=f"^{re.escape(words.format(file))}"):
        check_filter(PluginCall("deny-pattern", {"file": str(file)}))


@pytest.mark.parametrize("pattern", ["[[a]", "a{99999999999999999999}", "(" * 5000 + ")" * 5000])
def test_no_pattern_at_all_makes_a_traceback(pattern: str) -> None:
    refused: Callable[[], None] = lambda: check_filter(  # noqa: E731
        PluginCall("deny-pattern", {"pattern": pattern})
    )
    with capturedLogs() as logged:
        try:
            refused()
        except ValueError as error:
            assert "is not a regular expression" in str(error)  # noqa: PT017
    assert logged == []
