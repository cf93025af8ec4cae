"""The whole relay as an operator steers it, where it has several workers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define
from twisted.internet.defer import Deferred

from wsrelay.admin.control import Json, Publication, Refused
from wsrelay.log import Logger
from wsrelay.relay.levelling import takers_of
from wsrelay.workers.crew import Answers, Crew, WorkerFacts
from wsrelay.workers.levels import plan
from wsrelay.workers.merging import (
    merged_closing,
    merged_pool,
    merged_publication,
    merged_upstream,
)
from wsrelay.workers.view import WorkersView, run, willing

__all__ = ["Crew", "WorkerFacts", "WorkersControl"]

log = Logger()


@define(eq=False)
class WorkersControl(WorkersView):
    """
    Shows and steers all workers; a `Control`.

    Orders go to the parent's own relay first, which refuses what cannot be.
    """

    # sessions

    def session(self, id: str) -> Deferred[Json]:
        """Return all that is known of a session."""
        return run(self._of_one("session", id))

    def close_session(self, id: str, code: int, reason: str) -> Deferred[Json]:
        """Close both legs of a session."""
        return run(self._of_one("close_session", id, code, reason))

    def publish(self, publication: Publication) -> Deferred[Json]:
        """Send a message to many sessions."""
        self.own.sessions_of(publication.kind, publication.name)  # refuses what there is not

        async def publish() -> Json:
            answers = await self.crew.ask("publish", publication)
            merged = merged_publication([each for _, each in willing("publish", answers)])
            late = len(self.up) - len(answers)
            return {**merged, "late": late} if late > 0 else merged

        return run(publish())

    # pools

    def change_upstream(
        self, pool: str, name: str, state: str | None, weight: int | None
    ) -> Deferred[Json]:
        """Set state and weight of an upstream."""
        words = self.own.change_upstream(pool, name, state, weight)
        return self._order(words, merged_upstream, "change_upstream", pool, name, state, weight)

    def add_upstream(self, pool: str, line: str) -> Deferred[Json]:
        """Add an upstream."""
        words = self.own.add_upstream(pool, line)
        return self._order(words, merged_upstream, "add_upstream", pool, line)

    def remove_upstream(self, pool: str, name: str) -> Deferred[Json]:
        """Take an upstream away."""
        words = self.own.remove_upstream(pool, name)
        return self._order(words, merged_upstream, "remove_upstream", pool, name)

    def rebalance(self, pool: str, per_second: float) -> Deferred[Json]:
        """Close sessions of the fullest upstreams until the pool is level."""
        home = self.own.pool_called(pool)

        async def rebalance() -> Json:
            levels = {each["who"]: each["sessions"] for _, each in await self.ask("levels", pool)}
            goals = plan({each.name: each.weight for each in takers_of(home)}, levels)
            total = sum(closes for closes, _ in goals.values())
            orders = {
                who: (per_second * closes / total, keeps)
                for who, (closes, keeps) in goals.items()
                if closes
            }
            words = self.own.rebalance(pool, per_second)
            return await self._order(words, _closing, "level", pool, orders)

        return run(rebalance())

    def drain(self, pool: str | None) -> Deferred[Json]:
        """Drain a pool, or the relay."""
        return self._order(self.own.drain(pool), _closing, "drain", pool)

    def ready(self, pool: str | None) -> Deferred[Json]:
        """Take a drain back."""
        words = self.own.ready(pool)
        if pool is None:
            merge: Callable[[Json, list[Json]], Json] = lambda *_: (  # noqa: E731
                {"ready": not self.not_ready()}
            )
            return self._order(words, merge, "ready", None)
        return self._order(words, merged_pool, "ready", pool)

    def reload(self) -> Deferred[list[str]]:
        """Read relay.ini again; the parent's service sees to its workers."""
        return self.own.reload()

    # asking

    async def _of_one(self, method: str, id: str, *arguments: Any) -> Json:
        """Ask all about a session, which one of them may have."""
        answers: Answers = await self.crew.ask(method, id, *arguments)
        for number, each in answers:
            if not isinstance(each, Refused):
                return {**each, "worker": number}
            if each.status != 404:
                raise each
        if len(answers) < len(self.up):
            what = f"Not all workers have answered, and no other has a session {id}; ask again."
            raise Refused(503, what)
        raise Refused(404, f"There is no session {id}; it may have ended.")

    def _order(
        self, own: Json, merge: Callable[[Json, list[Json]], Json], method: str, *arguments: Any
    ) -> Deferred[Json]:
        """Let all workers do what the parent has done, and merge what they say of it."""

        async def order() -> Json:
            answers = await self.crew.ask(method, *arguments)
            late = len(self.up) - len(answers)
            if late > 0:
                log.warn("{late} workers have not done {method} yet", late=late, method=method)
            return merge(own, [each for _, each in willing(method, answers)])

        return run(order())


def _closing(own: Json, parts: list[Json]) -> Json:
    return merged_closing([own or None, *parts]) or {}
