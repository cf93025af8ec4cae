"""
A worker process for tests: quick to start, and as bad as it is told to be.

    python stand_in.py [mute | ends]
"""

from __future__ import annotations

import os
import sys
from typing import Any

from twisted.internet import reactor as _reactor

from wsrelay.workers.child import HELLO, leave_signals_to_the_parent, parent_channel

reactor: Any = _reactor


def main(manner: str) -> None:
    leave_signals_to_the_parent()
    if manner == "ends":
        sys.exit(3)
    channel = parent_channel(reactor)

    def answer(name: str, arguments: tuple[Any, ...], descriptors: tuple[int, ...]) -> object:
        if name == "leave":
            reactor.stop()
        if name == "facts":
            return {
                "descriptors": sorted(map(int, os.listdir("/proc/self/fd"))),
                "path": sys.path,
                "flags": [sys.flags.optimize, sys.flags.dev_mode, sys.warnoptions],
            }
        if name == "fail":
            raise LookupError(*arguments)
        return arguments

    def lost() -> None:
        if reactor.running:
            reactor.stop()

    channel.on_call = answer
    channel.on_lost = lost
    if manner != "mute":
        channel.tell(HELLO)
    reactor.run()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")
