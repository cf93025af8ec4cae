"""
``probed.py SOCKET NOFILE LOG COMMAND …``: becomes twistd, in a process that can be asked.

Who connects to the unix socket writes lines of JSON and reads one for each:
``{"ask": "held"}`` is answered with the timers and objects that there are,
``{"jump": 7200}`` sets the clock that this process sees, ahead or back by so many seconds.
NOFILE is the limit of open descriptors; 0: what it is.  LOG is a file that the service's log
goes to beside standard output, as twistd would write it; ``-``: none.
"""

from __future__ import annotations

import gc
import json
import resource
import sys
import time
from collections import Counter
from functools import partial
from typing import Any

OWN = ("wsrelay.relay.", "wsrelay.http.", "wsrelay.pools.")
KEPT = (".Change", ".PumpOptions", ".Totals", ".Limits")
"""Ends of the names of what is kept on purpose: a history of each upstream, and caches."""


class SetClock:
    """The time of day as somebody sets it; in place before Twisted takes hold of `time.time`."""

    def __init__(self) -> None:
        self.offset = 0.0
        self._true = time.time

    def __call__(self) -> float:
        return self._true() + self.offset


def name_of(function: Any) -> str:
    """Name what a timer calls."""
    while isinstance(function, partial):
        function = function.func
    return str(getattr(function, "__qualname__", type(function).__name__))


def held(reactor: Any) -> dict[str, Any]:
    gc.collect()
    kinds = (type(each) for each in gc.get_objects())
    names = (f"{kind.__module__}.{kind.__qualname__}" for kind in kinds)
    return {
        "timers": Counter(name_of(call.func) for call in reactor.getDelayedCalls()),
        "objects": Counter(
            name for name in names if name.startswith(OWN) and not name.endswith(KEPT)
        ),
    }


def serve(path: str, clock: SetClock) -> None:
    """Listen for questions."""
    from twisted.internet import reactor
    from twisted.internet.protocol import Factory
    from twisted.protocols.basic import LineOnlyReceiver

    class Answering(LineOnlyReceiver):
        delimiter = b"\n"

        def lineReceived(self, line: bytes) -> None:  # noqa: N802  Twisted's
            question = json.loads(line)
            clock.offset += question.get("jump", 0.0)
            self.sendLine(json.dumps(held(reactor) if "ask" in question else {}).encode())

    listen: Any = reactor
    listen.listenUNIX(path, Factory.forProtocol(Answering))


def write_log(path: str) -> None:
    """Do what ``twistd --logfile`` does."""
    from twisted.logger import globalLogPublisher, textFileLogObserver
    from twisted.python.logfile import LogFile

    globalLogPublisher.addObserver(textFileLogObserver(LogFile.fromFullPath(path)))


def main() -> None:
    path, limit, log, *command = sys.argv[1:]
    if int(limit):
        resource.setrlimit(resource.RLIMIT_NOFILE, (int(limit), int(limit)))
    time.time = clock = SetClock()
    serve(path, clock)
    if log != "-":
        write_log(log)
    sys.argv = command
    from twisted.scripts.twistd import run

    run()


if __name__ == "__main__":
    main()
