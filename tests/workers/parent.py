"""
A parent process for tests: runs stand-ins, says what happens as JSON lines, and does as told.

    python parent.py COUNT PATIENCE [MANNER]

PATIENCE is for how many seconds a child may hang; ten times a second that is looked at.  Lines
of its standard input are ``pids``, ``count N PATIENCE`` and ``stop PATIENCE``; after the latter
it ends.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.stdio import StandardIO
from twisted.logger import eventAsText, globalLogBeginner
from twisted.protocols.basic import LineReceiver

from wsrelay.workers import process
from wsrelay.workers import supervisor as supervisor_module
from wsrelay.workers.command import Command, python_module
from wsrelay.workers.supervisor import Supervisor, Worker

reactor: Any = _reactor


def say(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


def give(worker: Worker) -> Any:
    say(event="start", number=worker.number, pid=worker.pid)
    return worker.channel.call("facts").addCallback(
        lambda facts: say(event="works", number=worker.number, pid=worker.pid, facts=facts)
    )


def end(worker: Worker, fate: str) -> str:
    say(event="end", number=worker.number, pid=worker.pid, fate=fate)
    return ""


class Orders(LineReceiver):
    delimiter = b"\n"

    def __init__(self, supervisor: Supervisor) -> None:
        self.supervisor = supervisor

    def lineReceived(self, line: bytes) -> None:  # noqa: N802
        match line.decode().split():
            case ["count", count, patience]:
                self.supervisor.set_count(int(count), self.ask_to_go, float(patience))
            case ["pids"]:
                working = [each.pid for each in self.supervisor.workers]
                say(event="pids", pids=self.supervisor.pids, working=working)
            case ["stop", patience]:
                done = self.supervisor.stop(self.ask_to_go, float(patience))
                done.addCallback(lambda _: (say(event="gone"), reactor.stop()))

    @staticmethod
    def ask_to_go(worker: Worker) -> Any:
        return worker.channel.call("leave")


def main(count: str, patience: str, *manner: str) -> None:
    globalLogBeginner.beginLoggingTo(
        [lambda event: print(eventAsText(event), flush=True)], redirectStandardIO=False
    )
    supervisor_module.TICK = 0.1  # type: ignore[misc]
    process.START_WITHIN = 600  # type: ignore[misc]
    process.ANSWER_WITHIN = int(float(patience) * 10)  # type: ignore[misc]
    here = os.path.dirname(__file__)
    sys.path.append("")
    command = python_module("tests.workers.stand_in")
    command = Command((*command.arguments, *manner), command.environment)
    os.chdir(here)
    supervisor = Supervisor(
        reactor, int(count), command, on_start=give, on_end=end, on_call=lambda *_: None
    )
    StandardIO(Orders(supervisor))
    supervisor.start()
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
