"""Keeps a number of processes running, and a spare one that takes a dead one's place."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from wsrelay.log import Logger
from wsrelay.workers.backoff import Backoff
from wsrelay.workers.child import HELLO
from wsrelay.workers.command import Command, python_module
from wsrelay.workers.place import Place, cancel
from wsrelay.workers.process import Stage, Worker, launch

__all__ = ["Stage", "Supervisor", "Worker"]

log = Logger()

TICK: Final = 1.0
"""Seconds between two looks at each process."""

KILLED_WITHIN: Final = 5.0
"""Seconds after the last deadline until nobody waits any longer for what cannot be killed."""

OnCall = Callable[[Worker, str, tuple[Any, ...], tuple[int, ...]], Any]
OnStop = Callable[[Worker], Any]


class Supervisor:
    """
    The processes 0 to *count* - 1, and one that waits.

    Each starts, imports everything, tells `HELLO` over its channel, and is a spare one until a
    number is free.  When one dies, the spare has its number at once, and a new spare starts.
    Those that die young, one after the other, have successors after longer and longer pauses;
    see `wsrelay.workers.backoff`.

    :param on_start: called with a process that has got its number, to give it its orders.  It
        may return a Deferred; when that fails, the process is killed, and dies young.
    :param on_end: called with a process that had a number, before anybody else gets that, and
        with what has become of it.  Returns what is lost with it, for the log ("its 12
        sessions are lost"), or nothing.
    :param on_call: answers what the processes call and tell, but `HELLO`; as `Channel.on_call`.
    """

    def __init__(
        self,
        reactor: Any,
        count: int,
        command: Command | None = None,
        *,
        on_start: Callable[[Worker], Any],
        on_end: Callable[[Worker, str], str | None],
        on_call: OnCall,
    ) -> None:
        self.count = count
        self._reactor = reactor
        self._command = command
        self._on_start = on_start
        self._on_end = on_end
        self._on_call = on_call
        self._on_stop: OnStop = lambda worker: None
        self._patience = 0.0
        self._places: dict[int, Place] = {}
        self._processes: list[Worker] = []
        self._backoff = Backoff()  # of those that die before they have a number
        self._pause: IDelayedCall | None = None
        self._ticking: IDelayedCall | None = None
        self._is_stopping = False
        self._stopped: list[Deferred[None]] = []
        self._last_wait: IDelayedCall | None = None

    @property
    def workers(self) -> list[Worker]:
        """Those that have a number, in order; `Worker.stage` says how far each is."""
        found = [each.worker for each in self._places.values() if each.worker is not None]
        return sorted(found, key=lambda worker: worker.number or 0)

    @property
    def pids(self) -> list[int]:
        """The ids of all processes there are, spare ones too."""
        return [each.pid for each in self._processes]

    def start(self) -> None:
        """Start the processes, as the user that this one is now; in ``startService``."""
        self._ticking = self._reactor.callLater(TICK, self._tick)
        self._fill()

    def set_count(self, count: int, on_stop: OnStop, patience: float) -> None:
        """
        Have more or fewer processes from now on.

        A number that is wanted again while its process leaves is given when that is gone.

        :param on_stop: called with each that is too many, once it has taken its orders; it
            tells it to go.
        :param patience: seconds that they have before they are killed.
        """
        if self._is_stopping:
            return
        self.count, self._on_stop, self._patience = count, on_stop, patience
        self._let_go()
        self._fill()

    def stop(self, on_stop: OnStop, patience: float) -> Deferred[None]:
        """
        Let all go, and start no more.  Those without a number, or orders, have nothing to lose.

        :param on_stop: as `set_count` has it.
        :param patience: seconds that they have before they are killed.
        :returns: fires when all processes are gone.
        """
        done: Deferred[None] = Deferred()
        self._stopped.append(done)
        self._is_stopping = True
        self.count, self._on_stop, self._patience = 0, on_stop, patience
        cancel(self._pause)
        self._let_go()
        for worker in list(self._processes):
            if worker.number is None:
                worker.kill()
        if self._last_wait is None:
            self._last_wait = self._reactor.callLater(patience + KILLED_WITHIN, self._give_up)
        self._finish()
        return done

    def hurry(self, patience: float = 0.0) -> None:
        """Give those that are leaving so many seconds at most."""
        for worker in self.workers:
            if worker.stage is Stage.LEAVING or self._is_too_many(worker):
                worker.kill_within(patience)

    # starting

    def _fill(self) -> None:
        for number in range(self.count):
            self._places.setdefault(number, Place(number))
        while (place := self._empty_place()) and (spare := self._spare()):
            self._give(place, spare)
        while self._pause is None and self._is_short():
            self._launch()

    def _empty_place(self) -> Place | None:
        return next((each for each in self._places.values() if each.is_waiting), None)

    def _spare(self) -> Worker | None:
        return next((each for each in self._processes if each.is_ready), None)

    def _is_short(self) -> bool:
        there = sum(each.number is None and not each.is_killed for each in self._processes)
        wanted = sum(each.is_waiting for each in self._places.values()) + 1
        return there < wanted and not self._is_stopping

    def _launch(self) -> None:
        command = self._command or python_module("wsrelay.workers.worker")
        try:
            worker = launch(self._reactor, command, self._ended)
        except OSError as error:
            pause = self._backoff.died(0.0) or TICK
            log.error(
                "a process cannot be started: {why}; the next attempt is in {pause:g} s",
                why=error,  # it names the program, which this user may not be allowed to run
                pause=pause,
            )
            self._wait(pause)
            return
        if worker.stage is not Stage.ENDED:  # the reactor may have noticed that at once
            self._processes.append(worker)
            worker.channel.on_call = partial(self._called, worker)

    def _wait(self, pause: float) -> None:
        def go_on() -> None:
            self._pause = None
            self._fill()

        self._pause = self._reactor.callLater(pause, go_on)

    def _called(
        self, worker: Worker, name: str, arguments: tuple[Any, ...], descriptors: tuple[int, ...]
    ) -> Any:
        if name != HELLO:
            return self._on_call(worker, name, arguments, descriptors)
        worker.move(Stage.SPARE)
        self._fill()
        return None

    def _give(self, place: Place, worker: Worker) -> None:
        place.worker = worker
        worker.take_number(place.number)
        self._backoff = Backoff()
        done = maybeDeferred(self._on_start, worker)
        done.addCallbacks(partial(self._started, worker), partial(self._failed, worker))

    def _started(self, worker: Worker, _: object) -> None:
        if worker.stage is not Stage.TAKING:  # it has ended meanwhile
            return
        worker.move(Stage.WORKING)
        log.info("{line} is at work", line=str(worker))
        if self._is_too_many(worker):
            self._ask_to_go(worker)

    def _failed(self, worker: Worker, failure: Failure) -> None:
        if worker.channel.is_open:  # otherwise it is dead, or will be
            log.failure("{line} could not be told what to do", failure, line=str(worker))
            worker.kill()

    # ending

    def _is_too_many(self, worker: Worker) -> bool:
        return worker.number is not None and worker.number >= self.count

    def _let_go(self) -> None:
        for place in [each for each in self._places.values() if each.number >= self.count]:
            if place.worker is None:
                cancel(place.pause)
                del self._places[place.number]
            elif place.worker.stage is Stage.WORKING:
                self._ask_to_go(place.worker)
            else:
                place.worker.kill_within(self._patience)

    def _ask_to_go(self, worker: Worker) -> None:
        worker.move(Stage.LEAVING)
        worker.kill_within(self._patience)
        maybeDeferred(self._on_stop, worker).addErrback(partial(self._failed, worker))

    def _ended(self, worker: Worker, fate: str) -> None:
        if worker in self._processes:
            self._processes.remove(worker)
        if worker.number is None:
            self._spare_ended(worker, fate)
        else:
            self._worker_ended(self._places[worker.number], worker, fate)
        self._fill()
        self._finish()

    def _spare_ended(self, worker: Worker, fate: str) -> None:
        if self._is_stopping:
            return
        if self._pause is None and (pause := self._backoff.died(worker.age)):
            self._wait(pause)
        left = self._pause.getTime() - self._reactor.seconds() if self._pause else 0.0
        log.error(
            "{line} {fate}; another one is started {when}",
            line=str(worker),
            fate=fate,
            when=f"in {left:.1f} s" if self._pause else "at once",
        )

    def _worker_ended(self, place: Place, worker: Worker, fate: str) -> None:
        place.worker = None
        lost = self._told(worker, fate)
        said = f"{fate}; {lost}" if lost else fate
        if place.number >= self.count:
            del self._places[place.number]
        if worker.was_let_go or place.number >= self.count:
            log.info("{line} {said}", line=str(worker), said=said)
            return
        pause = place.died(self._reactor, worker.age, self._fill)
        log.error(
            "{line} {said}; another one takes its place {when}",
            line=str(worker),
            said=said,
            when=f"in {pause:g} s" if pause else "now" if self._spare() else "when it has started",
        )

    def _told(self, worker: Worker, fate: str) -> str | None:
        try:
            return self._on_end(worker, fate)
        except Exception:
            log.failure("what {line} has left could not be cleared up", line=str(worker))
            return None

    def _tick(self) -> None:
        self._ticking = self._reactor.callLater(TICK, self._tick)
        for worker in list(self._processes):
            worker.tick()
        self._fill()  # a spare one that is killed is one no more

    def _give_up(self) -> None:
        log.error("{pids} cannot be killed", pids=self.pids)
        self._processes.clear()
        self._finish()

    def _finish(self) -> None:
        if self._processes or not self._is_stopping:
            return
        for timer in (self._ticking, self._last_wait):
            cancel(timer)
        waiting, self._stopped = self._stopped, []
        for each in waiting:
            each.callback(None)
