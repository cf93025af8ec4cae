"""A parent and its workers in one process: real relays in memory, and a crew between them."""

from __future__ import annotations

import pickle
import time
from typing import Any

from attrs import define, evolve, field
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.python.failure import Failure

from tests.relay.world import ROUTE, Reactor, Records, World
from wsrelay.admin.control import Refused
from wsrelay.admin.relay_control import RelayControl
from wsrelay.config.model import (
    AdminConfig,
    ListenerConfig,
    PluginCall,
    PoolConfig,
    RelayConfig,
    UpstreamConfig,
)
from wsrelay.service import RelayService
from wsrelay.workers.answering import answer
from wsrelay.workers.control import WorkersControl
from wsrelay.workers.crew import WorkerFacts

UPSTREAMS = tuple(UpstreamConfig(name, f"ws://192.0.2.1:{port}") for name, port in ("a1", "b2"))
CONFIG = RelayConfig(
    listeners=(ListenerConfig("web", "tcp:8080"),),
    routes=(ROUTE,),
    pools=(PoolConfig("pool", UPSTREAMS, PluginCall("first"), max_fails=0),),
    admin=AdminConfig("tcp:9000:interface=127.0.0.1"),
    data_path="python",
)


class Process(World):
    """A relay in memory with all that counts and answers."""

    def __init__(self, reactor: Reactor) -> None:
        self.reactor = reactor
        self.observer = Records()
        self.transports = []
        self.service = RelayService(CONFIG, reactor)
        self.service.running = True
        assert self.service.desk is not None
        self.control: RelayControl = self.service.desk.control
        self.relay = self.service.relay
        self.pool = self.relay.pools["pool"]
        self.balancer = None
        self.listener = self.relay.make_listener(CONFIG.listeners[0])

    def fill(self, **counts: int) -> None:
        """Bring so many sessions about on each upstream."""
        for name, count in counts.items():
            for each in self.pool.upstreams:
                each.state = "ready" if each.name == name else "down"
            for _ in range(count):
                self.establish()
        for each in self.pool.upstreams:
            each.state = "ready"

    def levels(self) -> dict[str, int]:
        return {each.name: each.sessions for each in self.pool.upstreams}


@define(eq=False)
class FakeCrew:
    """
    Workers that answer what is pickled on its way to them and back.

    :ivar late: numbers of those that do not answer.
    :ivar held: with a list here, answers wait in it until a test fires them.
    """

    reactor: Reactor
    facts: dict[int, WorkerFacts] = field(factory=dict)
    processes: dict[int, Process] = field(factory=dict)
    late: set[int] = field(factory=set)
    held: list[Deferred[None]] | None = None
    asked: list[str] = field(factory=list)
    _pids: int = 100

    @property
    def workers(self) -> list[WorkerFacts]:
        return [self.facts[number] for number in sorted(self.facts)]

    def begin(self, number: int) -> Process:
        """Begin a worker, or another one in the place of one that is dead."""
        self._pids += 1
        before = self.facts.get(number)
        restarts = 0 if before is None else before.restarts + 1
        self.facts[number] = WorkerFacts(number, self._pids, time.time(), "up", restarts)
        self.processes[number] = Process(self.reactor)
        return self.processes[number]

    def die(self, number: int) -> None:
        """Let a worker be killed, and its place wait."""
        del self.processes[number]
        self.facts[number] = evolve(self.facts[number], pid=None, state="waiting")

    def ask(self, method: str, *arguments: Any) -> Deferred[list[tuple[int, Any]]]:
        self.asked.append(method)
        sent = pickle.dumps(arguments)
        answers = [
            self._ask(number, method, pickle.loads(sent))
            for number in self.processes
            if number not in self.late
        ]
        gathered: Deferred[Any] = gatherResults(answers)
        if self.held is None:
            return gathered
        waiting: Deferred[None] = Deferred()
        self.held.append(waiting)
        return waiting.addCallback(lambda _: gathered)

    def _ask(self, number: int, method: str, arguments: Any) -> Deferred[tuple[int, Any]]:
        pid = self.facts[number].pid
        said: Deferred[Any] = maybeDeferred(
            answer, self.processes[number].control, method, arguments
        )

        def passed_on(value: Any) -> tuple[int, Any]:
            if isinstance(value, Failure):
                value.trap(Refused)
                value = value.value
            value = pickle.loads(pickle.dumps(value))
            if method == "samples":
                value = (pid, value[1])
            if method == "status":
                value["pid"] = pid
            return number, value

        return said.addBoth(passed_on)


class Crowd:
    """A parent with its `WorkersControl`, and some workers."""

    def __init__(self, count: int = 2) -> None:
        self.reactor = Reactor()
        self.parent = Process(self.reactor)
        self.crew = FakeCrew(self.reactor)
        self.workers = [self.crew.begin(number) for number in range(count)]
        self.control = WorkersControl(self.parent.control, self.crew)

    def advance(self, seconds: float) -> None:
        until = self.reactor.seconds() + seconds
        while True:
            due = [call.getTime() for call in self.reactor.getDelayedCalls()]
            next_time = min([until, *due])
            self.reactor.advance(max(next_time - self.reactor.seconds(), 0.0))
            for each in self.workers:
                each.settle()
            if next_time >= until:
                return


def now(answer: Any) -> Any:
    """Return an answer that has come; one that failed is raised."""
    results: list[Any] = []
    answer.addBoth(results.append)
    assert results, "there is no answer yet"
    if isinstance(results[0], Failure):
        results[0].raiseException()
    return results[0]
