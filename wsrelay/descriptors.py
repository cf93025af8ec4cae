"""
File descriptors: as many as the process may have, and no new clients before they run out.

A relay without any left could not answer whom it has let in: no upstream can be connected to,
no file opened, no operator heard.  So it stops accepting before.  Whoever comes meanwhile
waits in the kernel's queue, and another relay may take them.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from errno import EMFILE, ENFILE, ENOBUFS, ENOMEM
from typing import Any, Final, Protocol

from attrs import define, field
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IDelayedCall

from wsrelay.log import Logger

__all__ = ["SHORT", "Descriptors", "is_shortage", "lowest_free", "raise_limit", "soft_limit"]

log = Logger()

SHORT: Final = (EMFILE, ENFILE, ENOBUFS, ENOMEM)
"""Errors that say that this process, or this machine, has no descriptor or memory left."""

A_CLIENT: Final = 2
"""Descriptors that a client needs: its own, and one of an upstream or of a file."""

PAUSE: Final = 1.0
"""Seconds that nobody is accepted, at least: so that the log says it at most once a second."""

LOOK_EVERY: Final = 0.2
"""Seconds between two looks from then on, whether there are descriptors again."""


def soft_limit() -> int:
    """Return how many descriptors this process may have."""
    return _number(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def raise_limit() -> tuple[int, int]:
    """
    Take as many descriptors as the process may, as nginx and HAProxy do.

    :returns: how many it had, and has now.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError) as error:
            log.warn("the limit of file descriptors cannot be raised: {why}", why=error)
    return _number(soft), soft_limit()


def _number(limit: int) -> int:
    return 2**31 if limit == resource.RLIM_INFINITY else limit


def _reserve_of(limit: int) -> int:
    return min(max(limit // 20, 96), 512, limit // 4)


def lowest_free() -> int | None:
    """Return the lowest number that no descriptor has: all below are used.  None: none is left."""
    try:
        number = os.dup(0)
    except OSError as error:
        return None if error.errno in SHORT else 0
    os.close(number)
    return number


def is_shortage(error: BaseException | None) -> bool:
    """Tell whether a connection could not be made because of this process, not of the other."""
    if isinstance(error, DNSLookupError):  # it does not say why there was no answer
        return lowest_free() is None
    number = error.osError if isinstance(error, ConnectError) else getattr(error, "errno", None)
    return number in SHORT


class Port(Protocol):
    """What Twisted's listening ports have in common."""

    connected: Any
    disconnecting: Any

    def startReading(self) -> None: ...  # noqa: N802  Twisted's
    def stopReading(self) -> None: ...  # noqa: N802  Twisted's


@define(eq=False)
class Descriptors:
    """
    Watches the listening ports, and stops them while descriptors are short.

    :param needs: returns how many the clients who are there have, or will need.
    :param relieve: called when there are too few: gives back what nobody needs now.
    :param limit: returns how many there may be; somebody may change that while we run.
    """

    reactor: Any
    needs: Callable[[], int]
    relieve: Callable[[], object]
    limit: Callable[[], int] = soft_limit
    lowest_free: Callable[[], int | None] = lowest_free
    is_accepting: bool = field(default=True, init=False)
    _own: int = field(default=0, init=False)  # those that have nothing to do with clients
    _ports: set[Port] = field(factory=set, init=False)
    _paused_at: float = field(default=0.0, init=False)
    _timer: IDelayedCall | None = field(default=None, init=False)

    def start(self) -> None:
        """Note what is used before anybody has come."""
        self._own = self.lowest_free() or 0

    def stop(self) -> None:
        """Watch no more: nobody listens any longer."""
        self.is_accepting = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    @property
    def reserve(self) -> int:
        """Those that stay free: for log files, operators, checks, pipes and reloads."""
        return _reserve_of(self.limit())

    @property
    def capacity(self) -> int:
        """How many clients there can be."""
        return max(self.limit() - self.reserve - self._own, 0) // A_CLIENT

    def watch(self, port: Port) -> None:
        """Stop and start a port, too."""
        self._ports.add(port)
        if not self.is_accepting:
            port.stopReading()

    def forget(self, port: Any) -> None:
        """Learn that a port listens no more; any number of times."""
        self._ports.discard(port)

    def accepted(self, number: int) -> None:
        """
        Learn the descriptor of a connection that has been accepted.

        The kernel gives out the lowest one that is free: all below are used.  That does not
        count those above, of clients who came when there were more; nor the upstreams that
        clients will need who have not asked for anything yet.  So both are counted.
        """
        if not self._have_room(number + 1, 2):  # for it and for another one
            self._pause(max(number + 1, self._own + self.needs()))

    def failed(self, error: OSError) -> None:
        """Learn that a connection could not be accepted."""
        log.error("no more clients are let in for now: {why}", why=error.strerror)
        self._stop_ports()

    def _have_room(self, used: int, clients: int) -> bool:
        limit = self.limit()
        needed = max(used, self._own + self.needs()) + A_CLIENT * clients
        return needed + _reserve_of(limit) <= limit

    def _pause(self, used: int) -> None:
        log.error(
            "no more clients are let in: {used} of {limit} file descriptors are used or promised"
            " to clients, and {reserve} stay free; raise the limit (LimitNOFILE= of the unit), or"
            " set max_connections",
            used=used,
            limit=self.limit(),
            reserve=self.reserve,
        )
        self._stop_ports()

    def _stop_ports(self) -> None:
        self.is_accepting = False
        self._paused_at = self.reactor.seconds()
        for port in self._ports:
            port.stopReading()
        self._timer = self.reactor.callLater(PAUSE, self._look)
        self.relieve()

    def _look(self) -> None:
        used = self.lowest_free()
        # Room for several, so that not each one that leaves opens the doors for a moment.
        if used is None or not self._have_room(used, max(2, self.limit() // 200)):
            self._timer = self.reactor.callLater(LOOK_EVERY, self._look)
            return
        self._timer = None
        self.is_accepting = True
        seconds = self.reactor.seconds() - self._paused_at
        log.info("clients are let in again, after {seconds:.1f} s", seconds=seconds)
        for port in self._ports:
            if port.connected and not port.disconnecting:
                port.startReading()
