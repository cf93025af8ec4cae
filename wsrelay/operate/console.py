"""Where a command prints to, and in what form."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from typing import Any, TextIO

from attrs import field, frozen

from wsrelay.operate.text import Style

__all__ = ["Console", "make_console"]


@frozen
class Console:
    """
    Standard output and standard error.

    ``live`` says that the former is a terminal which can move its cursor.
    """

    out: TextIO
    err: TextIO
    style: Style = field(factory=Style)
    as_json: bool = False
    live: bool = False

    def say(self, text: str) -> None:
        """Print one line; nothing in it steers the terminal."""
        self.lines([self.style.safe(text)])

    def lines(self, lines: list[str]) -> None:
        """Print lines that are laid out, and escaped, already."""
        print(*lines, sep="\n", file=self.out, flush=True)

    def document(self, value: Any) -> None:
        """Print JSON for people and programs."""
        print(json.dumps(value, indent=2), file=self.out, flush=True)

    def record(self, value: Any) -> None:
        """Print JSON on one line, for what goes on and on."""
        print(json.dumps(value), file=self.out, flush=True)

    def complain(self, text: str) -> None:
        """Print one line to standard error."""
        print(self.style.safe(text), file=self.err, flush=True)


def make_console(out: TextIO, err: TextIO, env: Mapping[str, str], as_json: bool) -> Console:
    """Find out what *out* can show; https://no-color.org is heeded."""
    terminal = out.isatty()
    live = terminal and env.get("TERM", "dumb") != "dumb"
    columns = shutil.get_terminal_size().columns if terminal else None
    style = Style(live and not env.get("NO_COLOR"), out.encoding or "utf-8", columns)
    return Console(out, err, style, as_json, live)
