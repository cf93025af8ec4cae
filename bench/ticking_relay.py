"""
A relay that watches its own reactor: how late is a timer that should come every 5 ms?

``python -m bench.ticking_relay relay.ini`` runs the relay and writes a line of JSON with the
lags of each half second, in milliseconds, to ``lag.jsonl`` in the current folder.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import IO, Any, Final

from wsrelay.checks import make_checks
from wsrelay.config import load
from wsrelay.service import RelayService

STEP: Final = 0.005
REPORT: Final = 0.5


class Ticker:
    """Notes how late each tick is, and reports."""

    def __init__(self, reactor: Any, output: IO[str]) -> None:
        self._reactor = reactor
        self._output = output
        self._lags: list[float] = []
        self._reported_at = self._due = reactor.seconds()
        self._plan()

    def _plan(self) -> None:
        self._due = self._reactor.seconds() + STEP
        self._reactor.callLater(STEP, self._tick)

    def _tick(self) -> None:
        now = self._reactor.seconds()
        self._lags.append(round((now - self._due) * 1000, 3))
        if now - self._reported_at >= REPORT:
            print(json.dumps(self._lags), file=self._output, flush=True)
            self._reported_at = now
            self._lags.clear()
        self._plan()


def main(path: Path) -> None:
    """Run the relay until a signal ends it."""
    from twisted.internet import reactor  # installs one

    whole: Any = reactor
    service = RelayService(load(path, os.environ, make_checks()), whole)
    service.startService()
    with Path("lag.jsonl").open("w", encoding="utf-8") as output:
        Ticker(whole, output)
        whole.run()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
