"""
A worker's process: ``python -m wsrelay.workers.worker``, started by the parent.

It loads everything, says that it is there, and waits for its orders; as a spare that may be
for days.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any, Final, cast

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.logger import LogLevel, eventAsText, globalLogBeginner
from twisted.python.failure import Failure

from wsrelay import __version__
from wsrelay.admin import desk as _desk  # noqa: F401  loaded now, so that a spare is fast
from wsrelay.clock import follow_monotonic
from wsrelay.log import Logger
from wsrelay.sharing import Region, SharedCommons
from wsrelay.workers.answering import answer
from wsrelay.workers.channel import Channel
from wsrelay.workers.child import HELLO, parent_channel
from wsrelay.workers.orders import Orders
from wsrelay.workers.service import WorkerService, attach_sockets

__all__ = ["main"]

log = Logger()


@define(eq=False)
class Worker:
    """Answers the parent, from the process' beginning to its end."""

    reactor: Any
    channel: Channel
    service: WorkerService | None = field(default=None, init=False)
    _is_leaving: bool = field(default=False, init=False)

    def take(self, name: str, arguments: tuple[Any, ...], descriptors: tuple[int, ...]) -> Any:
        """Do what the parent says; see `Channel.on_call`."""
        if name == "begin":
            (orders,) = arguments
            return self._begin(orders, descriptors)
        if name == "stop":
            self.end()
            return None
        service = self.service
        if service is None:
            raise LookupError(f"{name!r} comes before this worker has its orders")
        if name == "control":
            method, given = arguments
            assert service.desk is not None
            return answer(service.desk.own, method, given)
        if name == "change":
            config, counts, endpoints = arguments
            return Deferred.fromCoroutine(service.follow(config, counts, endpoints, descriptors))
        return _TOLD[name](service, *arguments)

    def _begin(self, orders: Orders, descriptors: tuple[int, ...]) -> None:
        if orders.version != __version__:
            raise RuntimeError(
                f"wsrelay {__version__} was installed while {orders.version} runs; restart wsrelay"
            )
        memory, *others = descriptors
        commons = SharedCommons(Region.attach(os.dup(memory)), orders.number)
        passed = attach_sockets(orders.endpoints, others[orders.has_log :])
        service = WorkerService(orders, self.reactor, commons, self.channel, passed)
        if orders.has_log:
            service.may_use(log_file=others[0])
        service.privilegedStartService()
        service.startService()
        self.service = service

    def lost(self) -> None:
        """End: the parent is gone."""
        if self.service is not None and self.service.running:
            log.error("the parent is gone; this worker drains its sessions and ends")
        self.end()

    def end(self) -> None:
        """End, and the sessions over ``drain_timeout``; any number of times."""
        if self.service is None:
            self._leave()
        elif self.service.running:
            self.service.stopService().addBoth(self._stopped)

    def _stopped(self, result: Any) -> None:
        if isinstance(result, Failure):
            log.failure("the worker did not stop as it should", result)
        self._leave()

    def _leave(self) -> None:
        """End the process, once the answer to the parent is on its way."""
        if not self._is_leaving:
            self._is_leaving = True
            self.reactor.callLater(0.05, self._stop)

    def _stop(self) -> None:
        self.channel.close()  # or the reactor does, and that looks like a failure
        self.reactor.stop()


_TOLD: Final[dict[str, Callable[..., Any]]] = {
    "try": WorkerService.try_change,
    "outcome": WorkerService.outcome,
    "checked": WorkerService.checked,
    "discovered": WorkerService.discovered,
    "freed": WorkerService.freed,
    "reopen_log": WorkerService.reopen_log,
    "hurry": WorkerService.hurry,
}
"""What the parent says, and what it means."""


def _log_to(channel: Channel) -> None:
    """Let the parent write what is logged here; without one, standard error."""

    def observe(event: Any) -> None:
        level, origin = event.get("log_level", LogLevel.info), event.get("log_namespace", "wsrelay")
        if level is LogLevel.info and origin.startswith(("log_legacy", "twisted.")):
            return  # Twisted's own: it has said "starting on" in the parent
        text = eventAsText(event, includeTimestamp=False, includeSystem=False)
        if channel.is_open:
            channel.tell("log", level.name, origin, text)
        elif sys.__stderr__ is not None:
            sys.__stderr__.write(f"wsrelay worker, pid {os.getpid()}: {text}\n")
            sys.__stderr__.flush()

    globalLogBeginner.beginLoggingTo(
        [cast(Any, observe)], redirectStandardIO=False, discardBuffer=True
    )


def main() -> None:
    """Run until the parent says that it is enough, or is gone."""
    from twisted.internet import reactor

    follow_monotonic(reactor)
    anywhere: Any = reactor
    channel = parent_channel(anywhere)
    worker = Worker(anywhere, channel)
    channel.on_call, channel.on_lost = worker.take, worker.lost
    _log_to(channel)
    signal.signal(signal.SIGTERM, lambda *_: anywhere.callFromThread(worker.end))
    channel.tell(HELLO)
    anywhere.run(installSignalHandlers=False)


if __name__ == "__main__":
    main()
