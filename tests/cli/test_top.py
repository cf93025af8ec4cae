"""top: what is computed, what is printed, and that the terminal is left as it was."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.admin.support import STATUS
from tests.support import PATIENCE, PROJECT
from wsrelay.operate.rates import Pace, rows_of, total_of
from wsrelay.operate.screen import Screen
from wsrelay.operate.text import Style
from wsrelay.operate.top import top_lines

from .stand_in import Relay, environment, pool, run, serving, status, upstream

Output = pytest.CaptureFixture[str]

BEFORE = status(pool("chat", upstream("a"), upstream("b", rtt_ms=3.0, handshakes=0)), uptime_s=10.0)
NOW = status(
    pool(
        "chat",
        upstream("a", handshakes=19, messages_up=150, messages_down=90, bytes_up=8096),
        upstream("b", handshakes=8, rtt_ms=3.0, state="drain", sessions=9),
    ),
    pool("new", upstream("c", sessions=0, rtt_ms=None, health="unknown")),
    uptime_s=12.0,
    sessions=13,
)

TABLE = """\
wsrelay 0.1.0, up 12s, ready, 13 sessions, lag 0.4 ms
upstream  state  health   sessions  opened/s  messages/s up  down  bytes/s up  down     rtt  failures
all                             13       5.0           25.0   0.0     2.0 KiB   0 B
chat/a    ready  up              4       1.0           25.0   0.0     2.0 KiB   0 B  0.4 ms         1
chat/b    drain  up              9       4.0            0.0   0.0         0 B   0 B  3.0 ms         1
new/c     ready  unknown         0         -              -     -           -     -       -         1
"""  # noqa: E501


BOTH_BEFORE = status(
    pool("web", upstream("a", answered=100), upstream("b", answered=7)), uptime_s=10.0
)
BOTH = status(
    pool("web", upstream("a", answered=150, requests=3), upstream("b", answered=207)),
    uptime_s=12.0,
    sessions=8,
    requests=4,
    http=STATUS["http"],
)

BOTH_TABLE = """\
wsrelay 0.1.0, up 12s, ready, 8 sessions, 4 requests, lag 0.4 ms
upstream  state  health  sessions  requests  opened/s  answered/s  messages/s up  down  bytes/s up  down     rtt  failures
all                             8         3       0.0         125            0.0   0.0         0 B   0 B
web/b     ready  up             4         0       0.0         100            0.0   0.0         0 B   0 B  0.4 ms         1
web/a     ready  up             4         3       0.0        25.0            0.0   0.0         0 B   0 B  0.4 ms         1
"""  # noqa: E501


def paces(before: dict[str, Any] | None, now: dict[str, Any]) -> dict[str, Pace]:
    return {f"{row.pool}/{row.name}": row.pace for row in rows_of(before, now)}


def test_rates_are_by_the_relays_own_clock() -> None:
    found = paces(BEFORE, NOW)
    assert found["chat/a"] == Pace(1.0, 0.0, 25.0, 0.0, 2048.0, 0.0)
    assert found["chat/b"] == Pace(4.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    assert total_of(rows_of(BEFORE, NOW)) == Pace(5.0, 0.0, 25.0, 0.0, 2048.0, 0.0)


def test_what_cannot_be_compared_has_no_rate() -> None:
    unknown = Pace()
    assert paces(BEFORE, NOW)["new/c"] == unknown
    assert paces(None, NOW)["chat/a"] == unknown
    assert paces(BEFORE, NOW | {"uptime_s": 10.0})["chat/a"] == unknown
    assert paces(BEFORE, NOW | {"pid": 1})["chat/a"] == unknown, "the relay was restarted"
    assert paces(BEFORE, NOW | {"started": "later"})["chat/a"] == unknown
    assert total_of(rows_of(None, NOW)) == unknown


def test_a_counter_that_goes_back_has_no_rate() -> None:
    again = status(pool("chat", upstream("a", handshakes=3)), uptime_s=12.0)
    assert paces(BEFORE, again)["chat/a"] == Pace(None, 0.0, 0.0, 0.0, 0.0, 0.0)


@given(st.floats(0.01, 1e6), *[st.lists(st.integers(0, 2**53), min_size=2, max_size=2)] * 2)
def test_a_total_is_the_sum(seconds: float, first: list[int], second: list[int]) -> None:
    before, now = (
        status(
            pool("p", *(upstream(str(i), bytes_up=each) for i, each in enumerate(counters))),
            uptime_s=uptime,
        )
        for counters, uptime in ((first, 0.0), (second, seconds))
    )
    rates = [row.pace.bytes_up for row in rows_of(before, now)]
    known = [rate for rate in rates if rate is not None]
    assert [rate is None for rate in rates] == [b < a for a, b in zip(first, second, strict=True)]
    assert total_of(rows_of(before, now)).bytes_up == (sum(known) if known else None)


def test_a_table_is_printed_where_there_is_no_terminal(
    relay: Relay, capsys: Output, naps: list[float]
) -> None:
    relay.answer("GET /status.json", BEFORE, NOW)
    ran = run(capsys, "top", "--count", "1")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == f"{TABLE}\n"
    assert naps == [1.0]


def test_plain_requests_have_columns_where_there_were_any(
    relay: Relay, capsys: Output, naps: list[float]
) -> None:
    relay.answer("GET /status.json", BOTH_BEFORE, BOTH)
    assert run(capsys, "top", "--count", "1", "--sort", "requests").out == f"{BOTH_TABLE}\n"


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("pool", ["chat/a", "chat/b", "new/c"]),
        ("name", ["chat/a", "chat/b", "new/c"]),
        ("sessions", ["chat/b", "chat/a", "new/c"]),
        ("opened", ["chat/b", "chat/a", "new/c"]),
        ("messages", ["chat/a", "chat/b", "new/c"]),
        ("bytes", ["chat/a", "chat/b", "new/c"]),
        ("rtt", ["chat/b", "chat/a", "new/c"]),
        ("failures", ["chat/a", "chat/b", "new/c"]),
    ],
)
def test_rows_are_sorted(
    relay: Relay, capsys: Output, naps: list[float], sort: str, order: list[str]
) -> None:
    relay.answer("GET /status.json", BEFORE, NOW)
    ran = run(capsys, "top", "--count", "1", "--sort", sort, "--interval", "500ms")
    names = [line.split()[0] for line in ran.out.splitlines()[3:] if line]
    assert names == order
    assert naps == [0.5]


def test_json_is_a_document_a_line(relay: Relay, capsys: Output, naps: list[float]) -> None:
    relay.answer("GET /status.json", BEFORE, NOW)
    ran = run(capsys, "top", "--json", "--count", "2", "--sort", "sessions")
    first, second = map(json.loads, ran.out.splitlines())
    assert first["total"]["bytes_up_per_s"] == 2048.0
    assert [each["name"] for each in first["upstreams"]] == ["b", "a", "c"]
    assert first["upstreams"][1] == {
        "pool": "chat",
        "name": "a",
        "state": "ready",
        "health": "up",
        "sessions": 4,
        "requests": 0,
        "rtt_ms": 0.4,
        "handshakes_per_s": 1.0,
        "answered_per_s": 0.0,
        "messages_up_per_s": 25.0,
        "messages_down_per_s": 0.0,
        "bytes_up_per_s": 2048.0,
        "bytes_down_per_s": 0.0,
    }
    assert second["total"]["bytes_up_per_s"] is None, "no time went by"


def test_a_relay_that_is_away_is_tried_again(
    relay: Relay, capsys: Output, naps: list[float]
) -> None:
    relay.answers["GET /status.json"] = [(200, BEFORE), (502, "<html>"), (200, NOW)]
    ran = run(capsys, "top", "--count", "2")
    assert ran.code == 0
    assert ran.out == f"{TABLE}\n", "the table after the gap has the rates over it"
    assert ran.err.startswith(f"wsrelay: trying again: {relay.url} answered 502, and not in JSON;")


def test_a_relay_that_stays_away_ends_with_that(
    relay: Relay, capsys: Output, naps: list[float]
) -> None:
    relay.answer("GET /status.json", "<html>", status=502)
    assert run(capsys, "top", "--count", "2").code == 3
    ran = run(capsys, "top", "--count", "1", "--json")
    assert ran.code == 3
    assert json.loads(ran.out)["error"].startswith("trying again: ")


def test_a_relay_that_refuses_is_not_asked_again(relay: Relay, capsys: Output) -> None:
    relay.answer("GET /status.json", {}, status=401)
    ran = run(capsys, "top", "--count", "5")
    assert ran.code == 1
    assert len(relay.asked) == 1


def test_a_drain_of_the_relay_is_shown() -> None:
    leaving = NOW | {"drain": {"total": 3, "closed": 1, "left": 2, "elapsed_s": 1, "done": False}}
    assert top_lines(None, leaving, "pool", Style())[1].startswith("draining: 1 of 3 sessions")


# On a terminal.

TOP = "import sys; from wsrelay.cli import main; sys.exit(main())"
SECOND_SCREEN, FIRST_SCREEN = "\x1b[?1049h", "\x1b[?25h\x1b[?1049l"


class Terminal:
    """A pseudo terminal with a command on it."""

    def __init__(self, *words: str, columns: int = 100, lines: int = 24, **env: str) -> None:
        self.near, self.far = pty.openpty()
        self.resize(columns, lines)
        self.modes = termios.tcgetattr(self.far)
        self.shown = ""
        variables = {"TERM": "xterm", "PYTHONPATH": str(PROJECT), **env}
        self.process = subprocess.Popen(
            [sys.executable, "-c", TOP, *words],
            stdin=self.far,
            stdout=self.far,
            stderr=self.far,
            env=environment(**variables),
            start_new_session=True,
        )

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_error: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.near)
        os.close(self.far)

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self.far, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def press(self, keys: bytes) -> None:
        os.write(self.near, keys)

    def wait_for(self, text: str) -> str:
        """Read until *text* is shown; return what was shown since the last time."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.shown:
            left = deadline - time.monotonic()
            assert left > 0, f"{text!r} is not shown, but {self.shown[-2000:]!r}"
            if select.select([self.near], [], [], left)[0]:
                self.shown += os.read(self.near, 65536).decode()
        end = self.shown.index(text) + len(text)
        found, self.shown = self.shown[:end], self.shown[end:]
        return found

    def assert_left_as_it_was(self, code: int) -> None:
        self.wait_for(FIRST_SCREEN)
        assert self.process.wait(PATIENCE) == code
        assert termios.tcgetattr(self.far) == self.modes


@pytest.fixture
def busy() -> Iterator[Relay]:
    with serving() as relay:
        relay.answer("GET /status.json", BEFORE, NOW)
        yield relay


def test_q_leaves_the_terminal_as_it_was(busy: Relay) -> None:
    with Terminal("top", "--admin", busy.url) as terminal:
        terminal.wait_for(SECOND_SCREEN)
        terminal.wait_for("chat/a")
        assert termios.tcgetattr(terminal.far) != terminal.modes
        terminal.press(b"q")
        terminal.assert_left_as_it_was(0)


def test_ctrl_c_leaves_the_terminal_as_it_was(busy: Relay) -> None:
    with Terminal("top", "--admin", busy.url) as terminal:
        terminal.wait_for("chat/a")
        terminal.process.send_signal(signal.SIGINT)
        terminal.assert_left_as_it_was(0)


def test_sigterm_leaves_the_terminal_as_it_was(busy: Relay) -> None:
    with Terminal("top", "--admin", busy.url) as terminal:
        terminal.wait_for("chat/a")
        terminal.process.terminate()
        terminal.assert_left_as_it_was(128 + signal.SIGTERM)


def test_q_is_heard_while_the_relay_does_not_answer() -> None:
    from .stand_in import answering

    with answering(b"", hold=True) as url, Terminal("top", "--admin", url) as terminal:
        terminal.wait_for(SECOND_SCREEN)
        terminal.press(b"q")
        terminal.assert_left_as_it_was(0)


def rows(drawing: str) -> list[str]:
    """Return the rows of one drawing, without colours."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", drawing).split("\r\n")


def drawing(terminal: Terminal) -> list[str]:
    terminal.wait_for("\x1b[H")
    return rows(terminal.wait_for("\x1b[J"))


def test_it_is_drawn_again_when_the_size_changes(busy: Relay) -> None:
    words = ["top", "--admin", busy.url, "--interval", "1h"]
    with Terminal(*words, columns=100, lines=24) as terminal:
        assert [len(row) for row in drawing(terminal)][1] > 60
        terminal.resize(40, 4)
        small = drawing(terminal)
        assert len(small) == 4
        assert max(map(len, small)) <= 40
        assert small[-1] == "… 2 more"


def test_a_refusal_leaves_the_terminal_as_it_was(busy: Relay) -> None:
    busy.answers["GET /status.json"] = [(200, NOW), (401, {})]
    with Terminal("top", "--admin", busy.url, "--interval", "100ms") as terminal:
        terminal.wait_for("chat/a")
        terminal.assert_left_as_it_was(1)


def test_a_relay_that_is_restarted_is_shown_again(busy: Relay) -> None:
    again = (200, NOW | {"version": "9.9"})
    busy.answers["GET /status.json"] = [(200, BEFORE), (200, NOW), (502, "away"), again]
    with Terminal("top", "--admin", busy.url, "--interval", "100ms") as terminal:
        terminal.wait_for("chat/a")
        terminal.wait_for("trying again")
        assert "2.0 KiB" in terminal.wait_for("new/c"), "what was known last stays"
        terminal.wait_for("wsrelay 9.9")


def test_a_dumb_terminal_gets_plain_tables(busy: Relay) -> None:
    words = ["top", "--admin", busy.url, "--count", "1", "--interval", "100ms"]
    with Terminal(*words, TERM="dumb") as terminal:
        assert "\x1b" not in terminal.wait_for("new/c")


@pytest.mark.parametrize(
    ("env", "coloured"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
)
def test_colours_are_for_terminals_that_want_them(
    busy: Relay, env: dict[str, str], coloured: bool
) -> None:
    with Terminal("status", "--admin", busy.url, **env) as terminal:
        assert ("\x1b[32mready\x1b[0m" in terminal.wait_for("3.0 ms")) == coloured


def fail_on(changed: bool) -> None:
    """Raise something unexpected; what a test expects is another thing."""
    assert changed, "the terminal was not taken"
    raise ZeroDivisionError


def read_exactly(fd: int, length: int) -> str:
    found = b""
    while len(found) < length:
        assert select.select([fd], [], [], PATIENCE)[0], f"only {found!r} was written"
        found += os.read(fd, length - len(found))
    return found.decode()


def test_an_exception_leaves_the_terminal_as_it_was() -> None:
    near, far = pty.openpty()
    modes = termios.tcgetattr(far)
    handlers = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP)]
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, near)
        out = stack.enter_context(os.fdopen(far, "w"))
        with pytest.raises(ZeroDivisionError), Screen(far, out):
            fail_on(termios.tcgetattr(far) != modes)
        assert termios.tcgetattr(far) == modes
        assert read_exactly(near, len(f"{SECOND_SCREEN}\x1b[?25l{FIRST_SCREEN}")) == (
            f"{SECOND_SCREEN}\x1b[?25l{FIRST_SCREEN}"
        )
    assert [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP)] == handlers


def test_a_screen_that_cannot_be_entered_restores_what_it_took() -> None:
    near, far = pty.openpty()
    modes = termios.tcgetattr(far)
    handler = signal.getsignal(signal.SIGTERM)
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, near)
        stack.callback(os.close, far)
        reader, writer = os.pipe()
        os.close(reader)
        out = os.fdopen(writer, "w")
        with pytest.raises(BrokenPipeError), Screen(far, out):
            pytest.fail("nothing can be drawn there")
        assert termios.tcgetattr(far) == modes
        with contextlib.suppress(BrokenPipeError):
            out.close()
    assert signal.getsignal(signal.SIGTERM) is handler
