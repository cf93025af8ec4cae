"""Work that many wait for, and that is done once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure

__all__ = ["Shared"]

T = TypeVar("T")


@define(eq=False)
class _Work(Generic[T]):
    waiting: list[Deferred[T]] = field(factory=list)
    result: Deferred[Any] | None = None


@define(eq=False)
class Shared(Generic[T]):
    """
    Does the same work once for all who want it at the same time.

    Who does not want it any more cancels a Deferred of their own, and nobody else's; with
    the last one the work itself is cancelled.
    """

    _works: dict[bytes, _Work[T]] = field(factory=dict, init=False)

    def __len__(self) -> int:
        return len(self._works)

    def __contains__(self, key: bytes) -> bool:
        return key in self._works

    def do(self, key: bytes, begin: Callable[[], Deferred[T]]) -> Deferred[T]:
        """Return the result of the work called *key*, which *begin* starts if nobody has."""
        work = self._works.get(key)
        if work is not None:
            return self._join(key, work)
        self._works[key] = work = _Work()
        joined = self._join(key, work)
        work.result = maybeDeferred(begin)
        work.result.addBoth(self._done, key, work)
        return joined

    def stop(self) -> None:
        """Cancel all work; who waits is told so."""
        for work in list(self._works.values()):
            if work.result is not None:
                work.result.cancel()

    def _join(self, key: bytes, work: _Work[T]) -> Deferred[T]:
        def leave(one: Deferred[T]) -> None:
            if one in work.waiting:
                work.waiting.remove(one)
            if not work.waiting and self._works.get(key) is work and work.result is not None:
                work.result.cancel()

        one: Deferred[T] = Deferred(leave)
        work.waiting.append(one)
        return one

    def _done(self, result: T | Failure, key: bytes, work: _Work[T]) -> None:
        if self._works.get(key) is work:
            del self._works[key]
        waiting, work.waiting = work.waiting, []
        for one in waiting:
            if not one.called:  # what another of them did may have cancelled it
                one.callback(result)  # a Failure goes to its errbacks
