"""One request's wait for an upstream, in its pool's queue."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall

from wsrelay.pools.pool import Pool
from wsrelay.pools.queue import Place
from wsrelay.pools.rounds import Rounds


@define(eq=False)
class Turn:
    """
    Stands in a queue for one request, as often as there is no upstream for it.

    It waits for ``queue_timeout`` in all, and keeps its place while it tries in vain.

    :param phases: where the seconds in the ``queue`` are added up; see `Facts.phases`.
    :param called: called when it is its turn; it does not wait any more then.
    :param gave_up: called when the time is over while it waits.
    """

    reactor: Any
    rounds: Rounds
    pool: Pool
    phases: dict[str, float]
    called: Callable[[], None]
    gave_up: Callable[[], None]
    _place: Place | None = field(default=None, init=False)
    _patience: IDelayedCall | None = field(default=None, init=False)
    _waits_since: float | None = field(default=None, init=False)

    @property
    def is_waiting(self) -> bool:
        """Whether it stands in the queue."""
        return self._waits_since is not None

    @property
    def is_behind(self) -> bool:
        """Whether others stand in the queue, who were there before."""
        return self.pool.config.queue_timeout is not None and len(self.pool.line) > 0

    @property
    def may_wait(self) -> bool:
        """Whether the pool has a queue, and the time there is not over."""
        is_over = self._place is not None and self._patience is None
        return self.pool.config.queue_timeout is not None and not is_over

    def wait(self) -> bool:
        """
        Wait: at the end of the queue, or where it stood before.

        :returns: whether it does; no: as many as may wait do already.
        """
        if self._place is not None:
            self._waits_since = self.reactor.seconds()
            self.rounds.come_back(self.pool, self._place)
            return True
        if self.pool.line.total >= self.pool.config.queue_size:
            return False
        seconds = self.pool.config.queue_timeout
        assert seconds is not None
        self._waits_since = self.reactor.seconds()
        self._patience = self.reactor.callLater(seconds, self._waited_enough)
        self._place = self.rounds.join(self.pool, self._called)
        return True

    def end(self) -> None:
        """Wait no more, for good; any number of times."""
        self._leave()
        if self._patience is not None and self._patience.active():
            self._patience.cancel()

    def _called(self) -> None:
        self._leave()
        self.called()

    def _waited_enough(self) -> None:
        self._patience = None
        if self.is_waiting:  # else a try is under way, and decides
            self._leave()
            self.gave_up()

    def _leave(self) -> None:
        if self._place is not None:
            self._place.leave()
        if self._waits_since is not None:
            waited = self.reactor.seconds() - self._waits_since
            self.phases["queue"] = self.phases.get("queue", 0.0) + waited
        self._waits_since = None
