"""docs/operations.rst: the night is lived through again, and every command prints the same."""

from __future__ import annotations

import difflib
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import PROJECT, require_program
from wsrelay.cli import command_line

PAGE = PROJECT / "docs" / "operations.rst"
MAKE = PROJECT / "docs" / "make_operations.py"
REMEDY = "If that is meant: python docs/make_operations.py > docs/operations.rst"

PROMPT = "    $ "
BLOCK = ".. code-block:: console"
LONGEST = 300.0
"""Seconds; the night takes about 25 on a quiet machine."""

ALIKE = [
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d{4})", "TIME"),
    (r"\b[0-9a-f]{16}\b", "ID"),
    (r"\bpid \d+", "pid N"),
    (r"(?<=tcp:)\d+|(?<=127\.0\.0\.[12]:)\d+|(?<=TCP Port )\d+", "PORT"),
    (r"/\S*/wsrelay-\w+/", "FOLDER/"),
    (r"wsrelay \d\S*,", "wsrelay VERSION,"),
    (r"relay\.ini, the (native|Python) pump.*", "relay.ini, a pump"),
    (r"\[[\w.]+#(\w+)\]", r"[\1]"),  # which module it was
    (r" rtt_ms=\S+", ""),
    (r"(?<=_ms=)[\d.]+|(?<=duration_s=)[\d.]+", "N"),
    (r"\b\d+(\.\d+)? ms\b", "-"),  # there is a round trip after the first ping only
    (r"(?<= in )[\d.]+ seconds", "T"),
    (r"(?<=issuer=CN) = ", "="),  # as OpenSSL's version writes it
    (r"(?<=queue )[1-9]\d*", "N"),  # one or the other may be trying just then
    (r"(?<=\S) {2,}", "  "),
]
"""What differs from run to run, and what stands for it."""

DURATION = re.compile(r"\b(\d+(\.\d+)?s|\d+[mhd] \d+[smhd])\b")
PROGRESS = re.compile(r"\b\d+ (of \d+ sessions closed after)")
TRIES = re.compile(r"(feed-1  \w+  \w+ T  \d+  \d+  \d+)  \d+")


def alike(page: str) -> list[str]:
    """Return the page's lines without what differs from run to run."""
    lines: list[str] = []
    for line in page.splitlines():
        for pattern, stands in ALIKE:
            line = re.sub(pattern, stands, line)
        if " = " not in line:  # durations in relay.ini are its own
            line = DURATION.sub("T", line)
        line = PROGRESS.sub(r"N \1", line)
        line = TRIES.sub(r"\1  N", line)  # those who wait try as long as they wait
        if "N of" not in line or line not in lines[-1:]:  # progress is told now and then
            lines.append(line)
    return lines


def differences(page: str, made: str) -> str:
    """Return what differs between two pages, as a diff."""
    return "\n".join(difflib.unified_diff(alike(page), alike(made), "page", "now", lineterm=""))


def page_made_now(make: Path) -> str:
    with subprocess.Popen(
        [sys.executable, make, "--any-ports"],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as making:
        try:
            page, complaint = making.communicate(timeout=LONGEST)
        finally:
            making.terminate()  # which ends what it has started
    if making.returncode:
        pytest.fail(complaint, pytrace=False)
    return page


@pytest.mark.peers
def test_every_command_prints_what_the_page_says() -> None:
    for program in ("curl", "openssl"):
        require_program(program)
    changes = differences(PAGE.read_text("utf-8"), page_made_now(MAKE))
    if changes:
        pytest.fail(f"{changes}\n{REMEDY}", pytrace=False)


def outside(page: str) -> list[str]:
    """Return a page's lines without what commands printed."""
    lines, in_block = [], False
    for line in page.splitlines():
        if line == BLOCK or (line and not line.startswith("    ")):
            in_block = line == BLOCK
        if line and (not in_block or line == BLOCK or line.startswith(PROMPT)):
            lines.append(re.sub(r"\b[0-9a-f]{16}\b", "ID", line))
    return lines


class Nobody:
    """A night in which nothing happens."""

    def step(self, line: str) -> None:
        """Do nothing."""

    def fill(self, text: str) -> str:
        return text.replace("{flooder}", "ID")

    def run(self, command: str) -> str:
        return ""


def made_from(story: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.syspath_prepend(MAKE.parent)
    lines_of = runpy.run_path(str(MAKE))["lines_of"]
    return "\n".join(lines_of(story, Nobody()))


def test_the_page_is_made_of_the_story(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever changes the page's own words does so in docs/operations/story.rst."""
    story = (MAKE.parent / "operations" / "story.rst").read_text("utf-8")
    page = PAGE.read_text("utf-8")
    assert outside(page) == outside(made_from(story, monkeypatch)), REMEDY
    assert ".. night:" not in page


def test_the_steps_between_leave_nothing_but_one_empty_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    story = "one\n\n.. night: a\n.. night: b\n\ntwo\n\n    $ c\n\n.. night: d\n\n    $ e\n\nthree"
    expected = "one\n\ntwo\n\n    $ c\n\n    $ e\n\nthree"
    assert made_from(story, monkeypatch) == expected


def test_the_commands_are_those_that_there_are() -> None:
    page = PAGE.read_text("utf-8")
    shown = re.findall(r"(?m)^    \$ wsrelay ([^|\n]*)", page)
    shown += re.findall(r"``wsrelay ((?:[a-z]+ )[^`]*)``", page.replace("\n", " "))
    assert len(shown) > 20
    for command in shown:
        line = command.replace("rate 5/s", "rate=5/s")
        words = ["1" if word == "N" else word for word in shlex.split(line)]
        command_line().parse_args(words)


ROW = "      b         ready  up 12s    1        10          20         3  0.2 ms  opened"
PROGRESSES = [
    "    chat/c: 1 of 10 sessions closed after 0.0s, at most 3.0s to go",
    "    chat/c: 7 of 10 sessions closed after 2.0s, at most 1.0s to go",
]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            ROW,
            "      b         ready  up 3m 5s       1        10          20         3     -  opened",
        ),
        ("\n".join(PROGRESSES), PROGRESSES[1]),
        (
            "2026-11-21T15:31:11+0000 [wsrelay.relay.relay#warn] a1b2c3d4e5f60718 is down",
            "2027-01-02T01:02:03-0100 [wsrelay.pools#warn] 00b2c3d4e5f60718 is down",
        ),
        ("    listen = tcp:9000:interface=127.0.0.1", "    listen = tcp:41234:interface=127.0.0.1"),
        (
            "      feed-1    ready  down 1.0s  1   0   6   26  0.6 ms  last",
            "      feed-1    ready  down 11s   1   0   6    3       -  last",
        ),
    ],
)
def test_what_differs_from_run_to_run_is_no_difference(one: str, other: str) -> None:
    assert not differences(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (ROW, ROW.replace("ready", "drain")),
        (ROW, ROW.replace("up", "down")),
        (ROW, ROW.replace(" 10 ", " 11 ")),
        (ROW, ROW.replace("  3  ", "  4  ")),
        (ROW, ROW.replace("opened", "open")),
        (ROW, f"{ROW}\n{ROW}"),
        (PROGRESSES[0], PROGRESSES[0].replace("of 10", "of 11")),
        (PROGRESSES[0], PROGRESSES[0].replace("after", "in")),
        ("10 of 10 sessions closed in 1.8s", "9 of 10 sessions closed in 1.8s"),
        ("[wsrelay.relay.relay#warn] is down", "[wsrelay.relay.relay#info] is down"),
        ("    drain_timeout = 3s", "    drain_timeout = 5s"),
        ("0 sessions, queue 0", "0 sessions, queue 6"),
        ("close_code=1011", "close_code=1006"),
    ],
)
def test_what_is_another_state_count_or_sentence_is_one(one: str, other: str) -> None:
    assert differences(one, other)
