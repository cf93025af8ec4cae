"""
A worker process for tests: quick to start, and as bad as it is told to be.

    python stand_in.py [mute | stubborn]

A mute one never says that it is ready; a stubborn one does not go when it is asked to.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from twisted.internet import reactor as _reactor

from wsrelay.workers.child import HELLO, parent_channel

reactor: Any = _reactor


def main(manner: str) -> None:
    channel = parent_channel(reactor)

    def answer(name: str, arguments: tuple[Any, ...], descriptors: tuple[int, ...]) -> object:
        if name == "leave" and manner != "stubborn":
            reactor.stop()
        return os.fstat(descriptors[0]).st_ino if descriptors else facts()

    def lost() -> None:
        print(f"{os.getpid()} has no parent", flush=True)
        reactor.stop()

    channel.on_call = answer
    channel.on_lost = lost
    if manner != "mute":
        channel.tell(HELLO)
    reactor.run()
    channel.on_lost = lambda: None


def facts() -> dict[str, Any]:
    return {
        "descriptors": {int(each): what_is(each) for each in os.listdir("/proc/self/fd")},
        "path": sys.path,
        "options": [sys.flags.optimize, sys.flags.dev_mode, sys.warnoptions],
    }


def what_is(number: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{number}")
    except OSError:  # the listing's own
        return ""


if __name__ == "__main__":
    main(*sys.argv[1:] or [""])
