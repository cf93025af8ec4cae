"""A terminal that is drawn on, and left as it was found."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import termios
import time
import tty
from types import FrameType, TracebackType
from typing import Any, Final, Self, TextIO

__all__ = ["Left", "Screen"]

_ENTER: Final = "\x1b[?1049h\x1b[?25l"
_LEAVE: Final = "\x1b[?25h\x1b[?1049l"
_SIGNALS: Final = (signal.SIGTERM, signal.SIGHUP)
_GLANCE: Final = 0.2
"""Seconds between two looks at the terminal's size."""


class Left(Exception):  # noqa: N818 - it is what somebody does
    """Somebody pressed q, or the terminal is gone."""


class Screen:
    """
    The second screen of a terminal, as a context; keys are heard without Enter.

    However the context ends, by SIGTERM or SIGHUP too, the terminal is as before.
    """

    def __init__(self, keys: int, out: TextIO) -> None:
        """:param keys: the file descriptor of the keys; one that is no terminal is not read."""
        self._keys = keys if os.isatty(keys) else None
        self._out = out
        self._modes: list[Any] = []
        self._handlers: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if self._keys is not None:
            self._modes = termios.tcgetattr(self._keys)
        try:
            self._take()
        except BaseException:
            self._give_back()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._give_back()

    def _take(self) -> None:
        for number in _SIGNALS:
            self._handlers[number] = signal.signal(number, _end)
        if self._keys is not None:
            tty.setcbreak(self._keys)
        self._write(_ENTER)

    def _give_back(self) -> None:
        # The terminal may be gone; then there is nothing to restore.
        with contextlib.suppress(OSError):
            self._write(_LEAVE)
        if self._keys is not None:
            with contextlib.suppress(termios.error, OSError):
                termios.tcsetattr(self._keys, termios.TCSADRAIN, self._modes)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def size(self) -> tuple[int, int]:
        """Return columns and lines, 80 and 24 if the terminal does not know."""
        try:
            columns, lines = os.get_terminal_size(self._out.fileno())
        except OSError:
            columns, lines = 0, 0
        return columns or 80, lines or 24

    def draw(self, lines: list[str]) -> None:
        """Show these lines, which fit the terminal."""
        rows = [f"{line}\x1b[K" for line in lines]
        self._write("\x1b[H" + "\n".join(rows) + "\x1b[J")

    def pause(self, seconds: float, size: tuple[int, int]) -> bool:
        """
        Wait; False, before the time is over, if the terminal's size is another one.

        :param size: what was drawn for.
        :raises Left: somebody pressed q.
        """
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.look_at_keys(min(left, _GLANCE))
            if self.size() != size:
                return False
        return True

    def look_at_keys(self, seconds: float = 0.0) -> None:
        """
        Wait for keys so long.

        :raises Left: one of them was q, or there will be no more.
        """
        if self._keys is None:
            time.sleep(seconds)
        elif select.select([self._keys], [], [], seconds)[0]:
            pressed = os.read(self._keys, 1024)
            if not pressed or b"q" in pressed.lower():
                raise Left

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


def _end(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
