"""A reactor that a test turns by hand, with real sockets and processes that are none."""

from __future__ import annotations

import itertools
import os
import select
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.task import Clock
from twisted.logger import LogEvent, capturedLogs, formatEvent
from twisted.python.failure import Failure

from wsrelay.workers.channel import Channel
from wsrelay.workers.child import CONTROL, HELLO


class World(Clock):
    """Time moves with `advance`, sockets with `turn`."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[Any] = []
        self.writers: list[Any] = []
        self.started: list[Fake] = []
        self.cannot_start: list[OSError] = []
        self._pids = itertools.count(101)

    def addReader(self, reader: Any) -> None:  # noqa: N802
        if reader not in self.readers:
            self.readers.append(reader)

    def addWriter(self, writer: Any) -> None:  # noqa: N802
        if writer not in self.writers:
            self.writers.append(writer)

    def removeReader(self, reader: Any) -> None:  # noqa: N802
        if reader in self.readers:
            self.readers.remove(reader)

    def removeWriter(self, writer: Any) -> None:  # noqa: N802
        if writer in self.writers:
            self.writers.remove(writer)

    def close(self) -> None:
        """End all that a test has left."""
        for each in self.started:
            each.channel.close()
            each.protocol.channel.close()

    def turn(self) -> int:
        """Let sockets be read and written until nothing moves; return how often one did."""
        for count in range(100_000):
            if not self._turn_once():
                return count
        raise AssertionError("sockets never come to rest")

    def _turn_once(self) -> bool:
        readable, writable, _ = select.select(self.readers, self.writers, [], 0)
        for each in readable:
            if each in self.readers:
                each.doRead()
        for each in writable:
            if each in self.writers:
                each.doWrite()
        return bool(readable or writable)

    def seconds_pass(self, count: int) -> None:
        for _ in range(count):
            self.advance(1)
            self.turn()

    def spawnProcess(  # noqa: N802
        self,
        protocol: Any,
        executable: str,
        arguments: Sequence[str],
        env: Mapping[str, str],
        childFDs: Mapping[int, int],  # noqa: N803
    ) -> Fake:
        if self.cannot_start:
            raise self.cannot_start.pop(0)
        end = socket.socket(fileno=os.dup(childFDs[CONTROL]))
        fake = Fake(next(self._pids), protocol, Channel(self, end, "the parent"))
        self.started.append(fake)
        protocol.makeConnection(fake)
        return fake


@define(eq=False)
class Fake:
    """A process that does what a test says; also the transport of its protocol."""

    pid: int
    protocol: Any
    channel: Channel
    has_ended: bool = False
    cannot_be_killed: bool = False
    signals: list[str] = field(factory=list)

    def signalProcess(self, name: str) -> None:  # noqa: N802
        self.signals.append(name)
        if self.has_ended:
            raise ProcessExitedAlready
        if not self.cannot_be_killed:
            self.dies()

    def hello(self) -> None:
        self.channel.tell(HELLO)

    def hang(self) -> None:
        """Read nothing any more."""
        self.channel._reactor.removeReader(self.channel._stream)

    def dies(self, *, signal: int | None = 9, code: int | None = None) -> None:
        assert not self.has_ended
        self.has_ended = True
        self.channel.close()
        error = ProcessDone(0) if code == 0 else ProcessTerminated(code, signal, 0)
        self.protocol.processEnded(Failure(error))


def result_of(deferred: Deferred[Any]) -> Any:
    """Return what there is by now: a result, a failure's exception, or None for nothing yet."""
    found: list[Any] = []
    deferred.addCallbacks(found.append, lambda failure: found.append(failure.value))
    return found[0] if found else None


@contextmanager
def lines() -> Iterator[list[str]]:
    """Collect what is logged, as text, errors too."""
    said: list[str] = []
    with capturedLogs() as events:
        yield said
    said.extend(map(text_of, events))


def text_of(event: LogEvent) -> str:
    return formatEvent(event)


def open_descriptors() -> set[str]:
    """Return those of this process; what they are is part of it."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{name} {os.readlink(f'/proc/self/fd/{name}')}")
        except OSError:  # the listing's own
            continue
    return found
