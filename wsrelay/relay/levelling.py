"""Which sessions to close so that the upstreams of a pool carry what is fair."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from math import ceil

from attrs import define, field

from wsrelay.pools.pool import Pool
from wsrelay.pools.upstream import Upstream
from wsrelay.relay.session import Session


@define(eq=False)
class Levelling:
    """
    Sessions of the fullest upstreams, until no upstream has more than its share.

    A share is by weight, of all sessions of the pool, among the upstreams that may take
    new ones.  Clients that come back go where the balancer sends them; so no more
    sessions are closed than stood above the shares at the beginning.

    :param goals: what is fair of one process among several, which does not know what the
        others have: how many sessions it is to keep on each upstream; see
        `wsrelay.workers.levels`.  When one of these upstreams takes nobody any more, the
        plan is void and nothing more is closed.
    """

    pool: Pool
    goals: Mapping[str, int] | None = None
    _sessions: dict[Upstream, list[Session]] = field(factory=dict, init=False)
    _closed: dict[Upstream, list[Session]] = field(factory=dict, init=False)
    left: int = field(default=0, init=False)
    """How many sessions may still be closed."""
    spared: int = field(default=0, init=False)
    """How many need not be closed after all: it was level sooner than planned."""

    def begin(self, sessions: Iterable[Session]) -> None:
        """Sort them by upstream, and count those above the shares."""
        for upstream in takers_of(self.pool):
            self._sessions[upstream] = []
        for session in sessions:
            if session.upstream in self._sessions and not session.is_ending:
                self._sessions[session.upstream].append(session)
        for each in self._sessions.values():
            random.shuffle(each)
        self.left = sum(max(each, 0) for each in self._excess().values())

    def next(self) -> Session | None:
        """Return a session of the upstream that is farthest above its share."""
        while self.left > 0:
            excess = self._excess()
            fullest = max(excess, key=excess.__getitem__, default=None)
            if fullest is None or excess[fullest] <= 0:
                break
            if not self._sessions[fullest]:  # those that it has now came later, or end anyway
                del self._sessions[fullest]
                continue
            session = self._sessions[fullest].pop()
            if not session.is_ending:
                self.left -= 1
                self._closed.setdefault(fullest, []).append(session)
                return session
        self._spare()
        return None

    def _spare(self) -> None:
        self.spared += self.left
        self.left = 0

    def opened(self, session: Session) -> bool:
        """Leave new sessions where they are."""
        return False

    def ended(self, session: Session) -> None:
        """Need nothing: the upstream's count says it."""

    def _excess(self) -> dict[Upstream, int]:
        """Say how many sessions each has above its share, those that end not counted."""
        shares = self._shares(takers_of(self.pool))
        return {
            each: each.sessions - self._ending(each) - share
            for each, share in shares.items()
            if each in self._sessions
        }

    def _shares(self, takers: list[Upstream]) -> dict[Upstream, int]:
        if self.goals is not None:
            known = {each.name: each for each in takers}
            if not self.goals.keys() <= known.keys():
                return {}
            return {known[name]: goal for name, goal in self.goals.items()}
        sessions = sum([each.sessions for each in takers])
        weights = sum([each.weight for each in takers])
        return {each: ceil(sessions * each.weight / weights) for each in takers}

    def _ending(self, upstream: Upstream) -> int:
        """Count those that were told to close and are not gone yet."""
        told = [each for each in self._closed.get(upstream, ()) if not each.is_over]
        self._closed[upstream] = told
        return len(told)


def takers_of(pool: Pool) -> list[Upstream]:
    """Return the upstreams that may take new sessions: all that share those of the pool."""
    up = [each for each in pool.upstreams if each.state == "ready" and not each.looks_down]
    return [each for each in up if not each.backup] or up
