"""The parent of a relay of several processes: it keeps the sockets, and relays nothing."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final, Literal, cast

from attrs import define, field
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.logger import Logger as TwistedLogger
from twisted.logger import LogLevel
from twisted.python.failure import Failure
from typing_extensions import override

from wsrelay import __version__
from wsrelay.admin.control import Control, Json, Refused, Soon
from wsrelay.admin.relay_control import RelayControl
from wsrelay.cluster.digest import digest_from
from wsrelay.config.model import RelayConfig, UpstreamConfig
from wsrelay.listeners import Listeners
from wsrelay.log import Logger
from wsrelay.observe.access_log import AccessLog
from wsrelay.pools.pool import Pool, Upstream
from wsrelay.pools.sticky import machine_secret
from wsrelay.pools.upstream import Health
from wsrelay.relay.root_files import what_root_has_read
from wsrelay.service import RelayService, ReloadRefused
from wsrelay.sharing import Region, SharedCommons
from wsrelay.workers.channel import ChannelLost
from wsrelay.workers.control import WorkersControl
from wsrelay.workers.count import count_of
from wsrelay.workers.crew import WorkerFacts
from wsrelay.workers.orders import Orders
from wsrelay.workers.supervisor import Supervisor, Worker
from wsrelay.workers.upstreams import learn_outcome

__all__ = ["ParentService"]

log = Logger()

ROOM: Final = 16
"""Workers that a reload may ask for, at least; twice those of the start, if that is more."""

ANSWERS: Final = 2.0
"""Seconds for a worker to answer what an operator asks."""

BEGINS: Final = 30.0
"""Seconds for a worker to begin, or to change its configuration."""

GRACE: Final = 5.0
"""Seconds beyond ``drain_timeout`` and the longest ``close_timeout`` for a worker to end."""


@define(eq=False)
class _Member:
    """A worker that has its orders, and the listening sockets that it knows."""

    worker: Worker
    endpoints: set[str]
    is_up: bool = field(default=False)


class ParentService(RelayService):
    """
    A relay whose clients are relayed by workers.

    It binds the listeners and never accepts; it checks and discovers upstreams, listens for
    operators, reads the configuration, and tells the workers.

    :param config: with ``workers`` of 2 or more, or ``auto``.
    :param options: see `RelayService`.
    """

    def __init__(self, config: RelayConfig, reactor: Any, **options: Any) -> None:
        count = count_of(config.workers)
        self.room = max(ROOM, 2 * count)
        self._region = Region.create(self.room + 1)
        self._members: dict[int, _Member] = {}
        self._discovered: dict[str, tuple[UpstreamConfig, ...]] = {}
        self._restarts: Counter[int] = Counter()
        self._is_up = False
        super().__init__(config, reactor, commons=SharedCommons(self._region, self.room), **options)
        self.supervisor = Supervisor(
            reactor, count, on_start=self._begin, on_end=self._ended, on_call=self._called
        )

    @override
    def make_listeners(self) -> Listeners:
        return Listeners(self.relay, self._reactor, accepts=False)

    # starting

    @override
    def startService(self) -> None:
        super().startService()
        self.supervisor.start()

    @override
    def describe(self) -> Soon[Json]:
        assert self.desk is not None
        status: Deferred[Json] = maybeDeferred(cast(Any, self.desk.control.status))
        return status.addCallback(partial(digest_from, self))

    @override
    def _say_up(self) -> None:
        """Wait until a worker is."""

    def _begin(self, worker: Worker) -> Deferred[Any]:
        """Give a process its orders; it listens when this fires."""
        sockets = self.listeners.sockets()
        log_file = self._log_file()
        orders = Orders(
            _number(worker),
            self.config,
            self.desk is not None,
            self._to_stdout,
            tuple(sockets),
            {pool.name: pool.memo() for pool in self.relay.pools.values()},
            self.relay.is_draining,
            machine_secret(),
            bool(log_file),
            what_root_has_read(),
        )
        ports = map(_fileno, sockets.values())
        descriptors = [self._region.fileno(), *log_file, *ports]
        member = self._members[_number(worker)] = _Member(worker, set(sockets))
        began = worker.channel.call("begin", orders, descriptors=descriptors, timeout=BEGINS)
        return began.addCallback(self._began, member)

    def _log_file(self) -> list[int]:
        sink = self.access_log.sink if isinstance(self.access_log, AccessLog) else None
        number = None if sink is None else sink.fileno()
        return [] if number is None else [number]

    def _began(self, _: Any, member: _Member) -> None:
        member.is_up = True
        up = sum(each.is_up for each in self._members.values())
        if not self._is_up and up >= self.supervisor.count:
            self._is_up = True
            log.info(
                "wsrelay {version} is up with {count} workers; frames go through {pump}",
                version=__version__,
                count=up,
                pump=self.pumps.words,
            )

    def _ended(self, worker: Worker, fate: str) -> str | None:
        """Forget what a process had that is gone."""
        self._members.pop(_number(worker), None)
        if not worker.was_let_go:
            self._restarts[_number(worker)] += 1
        lost = self.relay.doors.tally.parts[_number(worker)]
        self._region.clear(_number(worker))
        return f"its {lost} clients are lost" if lost else None

    # what workers say

    def _called(
        self, worker: Worker, name: str, arguments: tuple[Any, ...], _: tuple[int, ...]
    ) -> None:
        if name == "log":
            self._log(worker, *arguments)
        elif name == "outcome":
            self._outcome(worker, *arguments)
        elif name == "freed":
            self._tell(name, *arguments, but=worker)
        else:
            raise ValueError(f"a worker says {name}, which means nothing")

    def _log(self, worker: Worker, level: str, namespace: str, text: str) -> None:
        TwistedLogger(namespace).emit(
            LogLevel.levelWithName(level),
            "worker {number}: {text}",
            number="to be" if worker.number is None else worker.number,
            text=text,
        )

    def _outcome(self, worker: Worker, pool: str, name: str, url: str, why: str | None) -> None:
        learn_outcome(self.relay, pool, name, url, why)
        self._tell("outcome", pool, name, url, why, but=worker)

    # what workers are told

    def _tell(self, name: str, *arguments: Any, but: Worker | None = None) -> None:
        for member in self._members.values():
            if member.worker is not but:
                member.worker.channel.tell(name, *arguments)

    @override
    def _pool_changed(self, pool: Pool, *, again: bool = False) -> None:
        pool.on_checked = self._tell_checked
        super()._pool_changed(pool, again=again)
        found = pool.said("discovery")
        if self._discovered.get(pool.name, ()) != found:
            self._discovered[pool.name] = found
            self._tell("discovered", pool.name, found)

    def _tell_checked(
        self, pool: Pool, upstream: Upstream, health: Health, why: str, proves: bool
    ) -> None:
        self._tell("checked", pool.name, upstream.name, upstream.url, health, why, proves)

    @override
    def reopen_log(self) -> None:
        super().reopen_log()
        self._tell("reopen_log")

    # what operators ask; see `wsrelay.workers.crew.Crew`

    @override
    def steer(self, own: RelayControl) -> Control:
        return WorkersControl(own, self)

    @property
    def workers(self) -> Sequence[WorkerFacts]:
        """Those that should be there, and those that leave."""
        there = {_number(worker): worker for worker in self.supervisor.workers}
        numbers = sorted({*range(self.supervisor.count), *there})
        return [self._facts_of(number, there.get(number)) for number in numbers]

    def _facts_of(self, number: int, worker: Worker | None) -> WorkerFacts:
        restarts = self._restarts[number]
        if worker is None:
            return WorkerFacts(number, None, time.time(), "waiting", restarts)
        member = self._members.get(number)
        state: Literal["up", "starting"] = "up" if member and member.is_up else "starting"
        return WorkerFacts(number, worker.pid, time.time() - worker.age, state, restarts)

    def ask(self, method: str, *arguments: Any) -> Deferred[list[tuple[int, Any]]]:
        """
        Ask all workers for the answer of a method of their `RelayControl`.

        Who has not taken its orders yet does it, too, right after that; nobody waits for it.

        :returns: number and answer of each that answers in time; a refusal is an answer.
        """
        asked = []
        for number, each in sorted(self._members.items()):
            call = each.worker.channel.call("control", method, arguments, timeout=ANSWERS)
            call.addBoth(partial(_numbered, number))
            if each.is_up:
                asked.append(call)
        return gatherResults(asked).addCallback(_answers)

    # reload

    @override
    def _loaded(self, config: RelayConfig) -> RelayConfig:
        return config

    @override
    async def ask_others(self, config: RelayConfig) -> None:
        count = count_of(config.workers)
        if count > self.room:
            raise ReloadRefused(
                f"workers = {count}: there is room for {self.room} until wsrelay is restarted"
            )
        asked = [
            each.worker.channel.call("try", config, timeout=BEGINS)
            for each in self._members.values()
        ]
        for each in asked:
            try:
                await each
            except ReloadRefused:
                raise
            except Exception as error:  # it is gone, or too busy; another one takes its place
                log.warn("a worker did not say whether it can change: {why}", why=error)

    @override
    async def tell_others(self, config: RelayConfig) -> None:
        told = [self._change(each, config) for each in self._members.values()]
        await gatherResults(told, consumeErrors=True)
        self.supervisor.set_count(count_of(config.workers), _stop, self._patience)

    def _change(self, member: _Member, config: RelayConfig) -> Deferred[Any]:
        sockets = self.listeners.sockets()
        new = [endpoint for endpoint in sockets if endpoint not in member.endpoints]
        member.endpoints = set(sockets)
        changed = member.worker.channel.call(
            "change",
            config,
            self.desk is not None,
            new,
            descriptors=[_fileno(sockets[endpoint]) for endpoint in new],
            timeout=BEGINS,
        )
        return changed.addCallbacks(
            lambda _: self._tell_discovered(member.worker),
            self._not_changed,
            errbackArgs=(member.worker,),
        )

    def _tell_discovered(self, worker: Worker) -> None:
        """Say it again: a file that a new pool names was read before the worker had the pool."""
        for pool in self.relay.pools.values():
            worker.channel.tell("discovered", pool.name, pool.said("discovery"))

    def _not_changed(self, failure: Failure, worker: Worker) -> None:
        if failure.check(ChannelLost):  # it has ended, and that is in the log
            return
        log.error(
            "worker {number} cannot follow the new configuration and is ended: {why}",
            number=worker.number,
            why=failure.getErrorMessage(),
        )
        worker.kill()

    # stopping

    @override
    def _drained(self) -> Deferred[None]:
        stopped = self.supervisor.stop(_stop, self._patience)
        both = gatherResults([super()._drained(), stopped], consumeErrors=True)
        return both.addCallback(lambda _: self._region.close())

    @property
    def _patience(self) -> float:
        """Seconds for a worker to end."""
        longest = max((each.close_timeout for each in self.config.routes), default=0.0)
        return self.config.drain_timeout + longest + GRACE

    @override
    def hurry(self) -> None:
        super().hurry()
        self._tell("hurry")
        self.supervisor.hurry(GRACE)


def _answers(asked: Iterable[tuple[int, Any]]) -> list[tuple[int, Any]]:
    """Leave out those that did not answer."""
    answers = []
    for number, answer in asked:
        if not isinstance(answer, Failure):
            answers.append((number, answer))
        elif answer.check(Refused):
            answers.append((number, answer.value))
    return answers


def _numbered(number: int, answer: Any) -> tuple[int, Any]:
    return number, answer


def _stop(worker: Worker) -> None:
    worker.channel.tell("stop")


def _number(worker: Worker) -> int:
    """Return the number of a process that has its orders, and so has one."""
    assert worker.number is not None
    return worker.number


def _fileno(port: Any) -> int:
    fileno: Callable[[], int] = port.socket.fileno
    return fileno()
