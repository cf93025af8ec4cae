"""One worker process, as its parent sees it."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from typing import Any, Final

from twisted.internet.error import ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure
from typing_extensions import override

from wsrelay.log import Logger
from wsrelay.workers.channel import PING, Channel, pair
from wsrelay.workers.child import CONTROL
from wsrelay.workers.command import Command

__all__ = ["Stage", "Worker", "launch"]

log = Logger()

START_WITHIN: Final = 60
"""Seconds that a process has to import everything, and again to take its orders."""

ANSWER_WITHIN: Final = 30
"""Seconds that a process may go without answering before it is taken for dead."""

CLOSED_FOR: Final = 1.0
"""Seconds that a process may live on after its end of the connection was closed."""


class Stage(Enum):
    """How far a process has come."""

    STARTING = "starting"
    SPARE = "spare"
    TAKING = "taking its orders"
    WORKING = "working"
    LEAVING = "leaving"
    ENDED = "ended"


_MOVES: Final = {
    Stage.STARTING: {Stage.SPARE, Stage.ENDED},
    Stage.SPARE: {Stage.TAKING, Stage.ENDED},
    Stage.TAKING: {Stage.WORKING, Stage.ENDED},
    Stage.WORKING: {Stage.LEAVING, Stage.ENDED},
    Stage.LEAVING: {Stage.ENDED},
    Stage.ENDED: set[Stage](),
}


class Worker(ProcessProtocol):
    """
    A process: a spare one until it has a number.

    Seconds are counted in ticks: those in which the parent itself was stopped, or the machine
    was suspended, do not count.

    :param on_ended: called once, with what has become of it: "was killed by signal 9 (SIGKILL)".
    """

    def __init__(
        self, reactor: Any, sock: socket.socket, on_ended: Callable[[Worker, str], None]
    ) -> None:
        self.number: int | None = None
        self.pid = 0
        self.stage = Stage.STARTING
        self.is_killed = False
        self.was_let_go = False
        self.since: float = reactor.seconds()
        self.channel = Channel(reactor, sock, "a new process")
        self.channel.on_lost = self._lost
        self._reactor = reactor
        self._on_ended = on_ended
        self._timer: IDelayedCall | None = None
        self._ticks = 0
        self._is_asked = False
        self._missed = 0

    def __str__(self) -> str:
        what = "a spare process" if self.number is None else f"worker {self.number}"
        return f"{what} (pid {self.pid})"

    @property
    def is_ready(self) -> bool:
        """Whether it can be given a number."""
        return self.stage is Stage.SPARE and self.channel.is_open and not self.is_killed

    @property
    def age(self) -> float:
        """The seconds since it was started, or got its number."""
        return float(self._reactor.seconds() - self.since)

    def move(self, to: Stage) -> None:
        """
        Go on to the next stage.

        :raises RuntimeError: it is none of those that can follow.
        """
        if to not in _MOVES[self.stage]:
            raise RuntimeError(f"{self} cannot be {to.value}: it is {self.stage.value}")
        self.stage = to
        self._ticks = 0

    def take_number(self, number: int) -> None:
        """Become a worker."""
        self.move(Stage.TAKING)
        self.number = number
        self.since = self._reactor.seconds()
        self.channel.label = f"worker {number}"

    def tick(self) -> None:
        """Count a second, and kill the process when it is taken for dead."""
        if not self.is_killed and (why := self._is_dead()):
            self.kill(why)

    def _is_dead(self) -> str:
        self._ticks += 1
        if self.stage is Stage.STARTING:
            late = self._ticks > START_WITHIN
            return f"it has not begun to work within {START_WITHIN} s" if late else ""
        if self.stage is Stage.TAKING and self._ticks > START_WITHIN:
            return f"it has not taken its orders within {START_WITHIN} s"
        if not self._is_asked:
            self._ask()
            return ""
        self._missed += 1
        late = self._missed >= ANSWER_WITHIN
        return f"it has not answered for {ANSWER_WITHIN} s" if late else ""

    def _ask(self) -> None:
        def answered(_: object) -> None:
            self._is_asked = False

        self._is_asked = True
        self._missed = 0
        # Without an answer the connection is lost, and `_lost` knows.
        self.channel.call(PING, timeout=None).addCallbacks(answered, lambda _: None)

    def kill_within(self, seconds: float, why: str = "its time is over") -> None:
        """Let it go on for so long at most; an earlier end stays as it is."""
        end = self._reactor.seconds() + seconds
        if self.stage is Stage.ENDED:
            return
        if self._timer is not None and self._timer.active():
            if self._timer.getTime() <= end:
                return
            self._timer.cancel()
        self._timer = self._reactor.callLater(seconds, self.kill, why)

    def kill(self, why: str = "") -> None:
        """End it at once; *why* goes to the log.  Any number of times."""
        if self.is_killed or self.stage is Stage.ENDED:
            return
        self.is_killed = True
        if why:
            log.error("{line} is killed: {why}", line=str(self), why=why)
        assert self.transport is not None
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess("KILL")

    def _lost(self) -> None:
        # Most often because it has died: then it has ended in a moment.
        if self.stage not in (Stage.ENDED, Stage.LEAVING):
            self.kill_within(CLOSED_FOR, "its connection is closed")

    # what the reactor calls

    @override
    def connectionMade(self) -> None:
        assert self.transport is not None
        self.pid = self.transport.pid

    @override
    def processEnded(self, reason: Failure) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self.was_let_go = self.stage is Stage.LEAVING
        self.move(Stage.ENDED)
        self.channel.close()
        self._on_ended(self, _fate(reason.value))


def launch(reactor: Any, command: Command, on_ended: Callable[[Worker, str], None]) -> Worker:
    """
    Start a process with its own end of a channel as descriptor 3.

    It has this process' standard output and error, nothing to read, and no other descriptors.

    :raises OSError: it cannot be started.
    """
    with open(os.devnull, "rb") as nothing:
        ours, theirs = pair()
        worker = Worker(reactor, ours, on_ended)
        try:
            reactor.spawnProcess(
                worker,
                command.arguments[0],
                command.arguments,
                env=command.environment,
                childFDs={0: nothing.fileno(), 1: 1, 2: 2, CONTROL: theirs.fileno()},
            )
        except OSError:
            worker.stage = Stage.ENDED
            worker.channel.close()
            raise
        finally:
            theirs.close()
    return worker


def _fate(error: BaseException | None) -> str:
    if not isinstance(error, ProcessTerminated):
        return "has ended"
    if error.signal is None:
        return f"has ended with exit code {error.exitCode}"
    try:
        return f"was killed by signal {error.signal} ({signal.Signals(error.signal).name})"
    except ValueError:  # a real-time signal
        return f"was killed by signal {error.signal}"
