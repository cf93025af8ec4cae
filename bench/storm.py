"""
Losing one relay of several: when its clients are back, and what that asks of the others.  Pure.

The same seed gives the same storm.  What is in the model: each relay left does one handshake
after the other, *capacity* a second, behind an accept queue that drops who finds it full; the
kernel of a client that was dropped tries again after 1, 2, 4 … seconds; a client gives up after
its *patience* and waits as its backoff says.  A handshake that nobody waits for any more
costs as much as another.  What is not: networks, the clients' own speed, and other traffic.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random
from typing import Final, Literal

from attrs import define, field, frozen

__all__ = [
    "FULL_JITTER",
    "IMMEDIATE",
    "KINDS",
    "SOCKET_IO",
    "SPREAD_OUT",
    "Backoff",
    "Loss",
    "Site",
    "Storm",
    "simulate",
]

Kind = Literal["closed", "offered", "served", "dropped", "refused", "expired"]
KINDS: Final[tuple[Kind, ...]] = (
    "closed",
    "offered",
    "served",
    "dropped",
    "refused",
    "expired",
)
"""
What is counted.

``closed``: sessions that the lost relay ended; ``offered``: connections that were tried;
and what became of these: ``served``; ``dropped`` by a full accept queue; ``refused`` by the lost
relay, or not even that, as long as the front sends clients there; ``expired``: done when the
client had given up.
"""

FIRST_SYN: Final = 1.0
"""Seconds until a client's kernel sends its SYN again; twice as long each time (RFC 6298)."""

BUSY: Final = 0.5
"""Relays that do so much of what they can have handshakes before messages."""

LOST: Final = 0
"""The number of the relay that is lost."""


@frozen
class Backoff:
    """
    How long a client waits before it connects again.

    :ivar first: seconds; twice as long after each failure, up to *most*.
    :ivar spread: ``none``; ``around``: half of it more or less, as Socket.IO does; ``full``:
        anything from nothing up to it.
    """

    title: str
    first: float
    most: float
    spread: Literal["none", "around", "full"] = "none"

    def wait(self, failures: int, draw: float) -> float:
        """
        Return the seconds to wait.

        :param failures: since the client was connected.
        :param draw: a random number from 0 to 1.
        """
        doubled = self.first * 2.0 ** min(failures, 32)
        if self.spread == "full":
            return draw * min(doubled, self.most)
        return min(doubled * (0.5 + draw if self.spread == "around" else 1.0), self.most)


IMMEDIATE: Final = Backoff("at once, again and again", 0.05, 0.05)
"""A loop without a pause: a round trip lies between its attempts."""

SOCKET_IO: Final = Backoff("Socket.IO's defaults", 1.0, 5.0, "around")
FULL_JITTER: Final = Backoff("full jitter, 1 s doubled up to 30 s", 1.0, 30.0, "full")
SPREAD_OUT: Final = Backoff("full jitter, 30 s from the first on", 30.0, 30.0, "full")


@frozen
class Loss:
    """
    How the sessions of the lost relay end.

    :ivar timeout: ``drain_timeout``, in seconds; 0: it is killed.
    :ivar rate: ``drain_rate``, sessions a second; None: evenly over *timeout*.
    """

    timeout: float = 0.0
    rate: float | None = None

    def at(self, number: int, count: int) -> float:
        """Return when session *number* of *count* is closed, in seconds from the beginning."""
        if self.rate is None:
            return number * self.timeout / count
        return min(number / self.rate, self.timeout)


@frozen
class Site:
    """
    Relays side by side, before one of them is lost.

    :ivar relays: with the one that is lost; two at least.
    :ivar sessions: of each.
    :ivar capacity: handshakes that one relay does in a second.
    :ivar backlog: clients that wait to be accepted by one relay.
    :ivar patience: seconds until a client gives up.
    :ivar way: seconds that a SYN is on its way at most; some come at once.
    :ivar blind: seconds for which whatever stands in front goes on sending clients to the lost
        relay, where they are refused.
    :ivar silent: whether the lost relay does not even refuse, as a machine without power; a
        client that is sent there waits until it gives up.
    """

    relays: int = field()
    sessions: int
    capacity: float
    backlog: int = 1024
    patience: float = 10.0
    way: float = 0.2
    blind: float = 0.0
    silent: bool = False

    @relays.validator
    def _are_enough(self, attribute: object, relays: int) -> None:
        if relays < 2:
            raise ValueError("Two relays are needed at least: one that is lost, and one that stays")

    @property
    def left(self) -> float:
        """Handshakes a second of the relays that stay."""
        return self.capacity * (self.relays - 1)


@frozen
class Storm:
    """
    What came of it.

    :ivar step: seconds that each count is over.
    :ivar counts: for each of `KINDS` one number a step.
    :ivar away: seconds from the close of a session until its client was back, sorted.
    :ivar waiting: clients that are not back at the end.
    :ivar back_at: when the last one was back; None: one is not.
    """

    site: Site
    step: float
    counts: Mapping[Kind, Sequence[int]]
    away: Sequence[float]
    waiting: int
    back_at: float | None

    def total(self, kind: Kind) -> int:
        """Return how many there were of one kind."""
        return sum(self.counts[kind])

    def load(self, kind: Kind = "offered") -> list[float]:
        """Return for each step how much there was, as a part of what the relays left can do."""
        return [each / (self.site.left * self.step) for each in self.counts[kind]]

    @property
    def peak(self) -> float:
        """The most that was offered in a step, as a part of what the relays left can do."""
        return max(self.load())

    @property
    def busy(self) -> float:
        """Seconds in which handshakes took more than half of what the relays left can do."""
        done = zip(self.load("served"), self.load("expired"), strict=True)
        return self.step * sum(served + expired >= BUSY for served, expired in done)


@define(eq=False)
class _Attempt:
    """A connection that a client tries to make, since *since*; its SYN was sent *syns* times."""

    client: int
    failures: int
    since: float
    relay: int
    syns: int = 0


@define(eq=False)
class _Run:
    site: Site
    loss: Loss
    backoff: Backoff
    random: Random
    step: float
    counts: dict[Kind, Counter[int]] = field(factory=lambda: {kind: Counter() for kind in KINDS})
    back: dict[int, float] = field(factory=dict)  # client -> when
    _queue: list[tuple[float, int, _Attempt]] = field(factory=list)  # when they reach a relay
    _sent: int = 0  # keeps those of one moment in their order
    _free_at: list[float] = field(factory=list)  # when each relay has nothing more to do

    def begin(self) -> None:
        self._free_at = [0.0] * self.site.relays
        for client in range(self.site.sessions):
            at = self.closed_at(client)
            self._count("closed", at)
            self._connect(client, at, 0)

    def closed_at(self, client: int) -> float:
        return self.loss.at(client, self.site.sessions)

    def next(self, until: float) -> bool:
        """Have the next attempt reach a relay; return whether there was one in time."""
        if not self._queue or self._queue[0][0] >= until:
            return False
        now, _, attempt = heapq.heappop(self._queue)
        self._count("offered", now)
        if attempt.relay == LOST:
            self._count("refused", now)
            if self.site.silent:
                self._give_up(attempt)
            else:
                self._connect(attempt.client, now, attempt.failures + 1)
        elif self._waiting(attempt.relay, now) >= self.site.backlog:
            self._drop(attempt, now)
        else:
            self._take(attempt, now)
        return True

    def _waiting(self, relay: int, now: float) -> int:
        left = (self._free_at[relay] - now) * self.site.capacity
        return math.ceil(left - 1e-6)  # the rest is what rounding left

    def _take(self, attempt: _Attempt, now: float) -> None:
        done = max(self._free_at[attempt.relay], now) + 1 / self.site.capacity
        self._free_at[attempt.relay] = done
        if done <= attempt.since + self.site.patience:
            self._count("served", done)
            self.back[attempt.client] = done
        else:
            self._count("expired", done)
            self._give_up(attempt)

    def _drop(self, attempt: _Attempt, now: float) -> None:
        self._count("dropped", now)
        again = now + FIRST_SYN * 2.0**attempt.syns
        attempt.syns += 1
        if again < attempt.since + self.site.patience:
            self._send(attempt, again)
        else:
            self._give_up(attempt)

    def _give_up(self, attempt: _Attempt) -> None:
        given_up = attempt.since + self.site.patience
        self._connect(attempt.client, given_up, attempt.failures + 1)

    def _connect(self, client: int, now: float, failures: int) -> None:
        since = now + self.backoff.wait(failures, self.random.random())
        first = LOST if since < self.site.blind else LOST + 1
        relay = self.random.randrange(first, self.site.relays)
        way = self.random.random() * self.site.way
        self._send(_Attempt(client, failures, since, relay), since + way)

    def _send(self, attempt: _Attempt, arrives: float) -> None:
        self._sent += 1
        heapq.heappush(self._queue, (arrives, self._sent, attempt))

    def _count(self, kind: Kind, at: float) -> None:
        self.counts[kind][int(at / self.step)] += 1


def simulate(
    site: Site,
    loss: Loss,
    backoff: Backoff,
    *,
    seed: int = 0,
    until: float = 600.0,
    step: float = 1.0,
) -> Storm:
    """
    Lose one relay at time 0, and follow its clients.

    :param until: seconds; whoever is not back by then is not followed further.
    :param step: seconds that each count is over.
    """
    run = _Run(site, loss, backoff, Random(seed), step)
    run.begin()
    while run.next(until):
        pass
    steps = range(1 + max(max(counter, default=0) for counter in run.counts.values()))
    waiting = site.sessions - len(run.back)
    return Storm(
        site,
        step,
        {kind: [counter[each] for each in steps] for kind, counter in run.counts.items()},
        sorted(at - run.closed_at(client) for client, at in run.back.items()),
        waiting,
        max(run.back.values(), default=0.0) if not waiting else None,
    )
