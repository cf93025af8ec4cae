"""The whole relay as an operator sees it, where it has several workers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Coroutine, Mapping
from typing import Any, Final, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from wsrelay.admin.control import Json, Refused
from wsrelay.admin.relay_control import RelayControl
from wsrelay.admin.waiting import within
from wsrelay.admin.words import date
from wsrelay.log import Logger
from wsrelay.observe.bounds import make_room
from wsrelay.observe.samples import Samples
from wsrelay.workers.crew import Answers, Crew, WorkerFacts
from wsrelay.workers.ledger import Ledger
from wsrelay.workers.merging import (
    Lasting,
    lasting,
    merged_pools,
    merged_sessions,
    merged_status,
    part_of,
)
from wsrelay.workers.numbers import Numbers

__all__ = ["WorkersView", "run", "willing"]

log = Logger()

LOOK_EVERY: Final = 5.0
"""Seconds between two looks at the workers' numbers: what one counts after the last look before
its death is lost."""

LATEST: Final = 10.0
"""Seconds after which a look is given up."""

T = TypeVar("T")


@define(eq=False)
class WorkersView:
    """
    Shows all workers: the half of a `Control` that changes nothing.

    Numbers are those of all workers, the dead included.

    :param own: of the parent's relay, which has all pools and no clients.
    """

    own: RelayControl
    crew: Crew
    _numbers: Numbers = field(factory=Numbers, init=False)
    _statuses: Ledger[Json, Lasting] = field(init=False)
    _is_looking: bool = field(default=False, init=False)
    _timer: IDelayedCall | None = field(default=None, init=False)
    _look: Deferred[None] | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._statuses = Ledger(lasting, _added, Counter())

    # keeping the numbers of the dead

    def start(self) -> None:
        """Look at the workers' numbers now and then, whether somebody wants them or not."""
        self._is_looking = True
        self._plan_look()

    def stop(self) -> None:
        """Look no more."""
        self._is_looking = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._look is not None:
            self._look.cancel()

    def learn(self, number: int, pid: int, status: Json, samples: Samples) -> None:
        """Take the last words of a worker that ends, before they would be asked for again."""
        self._statuses.learn(number, pid, status)
        self._numbers.ledger.learn(number, pid, samples)

    def _plan_look(self, _: object = None) -> None:
        self._look = None
        if self._is_looking:
            self._timer = self.own.service.relay.reactor.callLater(LOOK_EVERY, self._begin_look)

    def _begin_look(self) -> None:
        self._timer = None
        late = TimeoutError(f"no answer within {LATEST:g} seconds")
        look = run(self._learn_all())
        self._look = within(self.own.service.relay.reactor, LATEST, look, late)
        self._look.addErrback(self._look_failed).addCallback(self._plan_look)

    def _look_failed(self, failure: Failure) -> None:
        if self._is_looking:
            log.failure("the workers' numbers could not be learned", failure)

    async def _learn_all(self) -> None:
        await self._learn_samples()
        await self._learn_statuses()

    async def _learn_samples(self) -> None:
        for number, (pid, samples) in await self.ask("samples", sorted(self._numbers.gone)):
            self._numbers.ledger.learn(number, pid, samples)
        self._numbers.ledger.keep(self._living)

    async def _learn_statuses(self) -> set[int]:
        """Return the numbers of those that have answered."""
        answers = await self.ask("status")
        for number, status in answers:
            self._statuses.learn(number, status["pid"], status)
        self._statuses.keep(self._living)
        return {number for number, _ in answers}

    @property
    def _living(self) -> dict[int, int | None]:
        return {each.number: each.pid for each in self.crew.workers}

    @property
    def up(self) -> list[int]:
        """The numbers of the workers that can be asked."""
        return [each.number for each in self.crew.workers if each.state == "up"]

    # what there is

    def status(self) -> Deferred[Json]:
        """Return the state of the whole relay."""

        async def status() -> Json:
            answered = await self._learn_statuses()
            own = self.own.status()
            not_ready = self.not_ready()
            merged = merged_status(own, self._parts(own))
            rows = [self._words(each, answered) for each in self.crew.workers]
            return {**merged, "ready": not not_ready, "not_ready": not_ready, "workers": rows}

        return run(status())

    def not_ready(self) -> str:
        """Say why nobody new should come, from what is known; empty when all is well."""
        if why := self.own.not_ready():
            return why
        if not self.up:
            return "no worker is up"
        said = self._statuses.said
        known = [said[each]["accepting"] for each in self.up if each in said]
        if known and not any(known):
            return "file descriptors are short, and nobody is let in"
        return ""

    def pools(self) -> Deferred[list[Json]]:
        """Return what is known of the pools."""

        async def pools() -> list[Json]:
            await self._learn_statuses()
            own = self.own.status()
            return merged_pools(own, self._parts(own))

        return run(pools())

    def sessions(self, wanted: Mapping[str, str], limit: int) -> Deferred[Json]:
        """List the sessions that match, the oldest first."""
        self.own.sessions(wanted, 0)  # refuses what cannot be asked

        async def sessions() -> Json:
            return merged_sessions(await self.ask("sessions", dict(wanted), limit), limit)

        return run(sessions())

    def metrics(self) -> Deferred[bytes]:
        """Return the metrics of the whole relay."""

        async def metrics() -> bytes:
            from wsrelay.observe.prometheus import render

            await self._learn_samples()
            workers = self.crew.workers
            own: Samples = {
                **self.own.samples(),
                "wsrelay_workers": {(): sum(each.state == "up" for each in workers)},
                "wsrelay_worker_restarts_total": {(): sum(each.restarts for each in workers)},
            }
            return render(self._numbers.merged(own, self.own.service.relay.reactor.seconds()))

        return run(metrics())

    def cluster(self) -> Json:
        """Return what is known of the relays that share with this one."""
        return self.own.cluster()

    def log_since(self, number: int) -> list[Json]:
        """Return the recent lines of the log, in which those of workers are, too."""
        return self.own.log_since(number)

    def _parts(self, own: Json) -> list[Json]:
        return [*self._statuses.said.values(), part_of(self._statuses.retired, own)]

    def _words(self, worker: WorkerFacts, answered: set[int]) -> Json:
        """Say what is known of a worker; its numbers may be those of a moment before."""
        said = self._statuses.said.get(worker.number, {})
        is_late = worker.state == "up" and worker.number not in answered
        return {
            "number": worker.number,
            "pid": worker.pid,
            "state": "late" if is_late else worker.state,
            "since": date(worker.since),
            "restarts": worker.restarts,
            **{key: said.get(key, 0) for key in ("sessions", "requests", "connections")},
            "lag_s": said.get("lag_s"),
            "accepting": said.get("accepting", False),
        }

    # asking

    async def ask(self, method: str, *arguments: Any) -> Answers:
        """Ask all, and return what those answer that do not refuse."""
        return willing(method, await self.crew.ask(method, *arguments))


def willing(method: str, answers: Answers) -> Answers:
    """Leave out who refuses what the parent did not, and tell of it in the log."""
    for number, each in answers:
        if isinstance(each, Refused) and each.status != 409:  # that has done it already
            log.warn(
                "worker {number} refuses to {method}: {why}",
                number=number,
                method=method,
                why=each.message,
            )
    return [(number, each) for number, each in answers if not isinstance(each, Refused)]


def _added(one: Lasting, other: Lasting) -> Lasting:
    for place, number in other.items():
        if place not in one:
            make_room(one)
        one[place] += number
    return one


def run(work: Coroutine[Any, Any, T]) -> Deferred[T]:
    """Begin what takes its time."""
    return Deferred.fromCoroutine(work)
