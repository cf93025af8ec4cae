"""
The pool that holds upstreams.  Pure: time comes in as a callable.

A pool says which upstreams may take a session now; its balancer chooses one of
them; a `Lease` counts the session there until it ends.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any, Protocol

from attrs import evolve, frozen

from wsrelay.commons import ALONE, Commons
from wsrelay.config.model import PoolConfig, UpstreamConfig
from wsrelay.interfaces import IBalancer, IHandshake
from wsrelay.pools.members import Roll
from wsrelay.pools.queue import WaitingLine
from wsrelay.pools.sticky import StickyCookie
from wsrelay.pools.upstream import Change, Health, Lease, Seconds, Source, Upstream

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

__all__ = ["Elsewhere", "Lease", "MemberChanges", "Pool", "Upstream"]

HealthListener = Callable[["Pool", Upstream, Change], None]
CheckListener = Callable[["Pool", Upstream, Health, str, bool], None]
OutcomeListener = Callable[["Pool", Upstream, str | None], None]


@frozen
class MemberChanges:
    """
    What became of a pool's upstreams: those that came, that left, and that differ now.

    *reordered*: those that stayed are in another order.
    """

    added: tuple[Upstream, ...] = ()
    removed: tuple[Upstream, ...] = ()
    changed: tuple[Upstream, ...] = ()
    reordered: bool = False

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed or self.reordered)


@frozen
class Memo:
    """A pool as it is in one process, for another one; see `Pool.memo`."""

    roll: Roll
    is_draining: bool
    states: dict[tuple[str, str], dict[str, Any]]  # by name and URL


def _nobody(*_anything: object) -> None:
    """Be told what nobody listens to."""


class Elsewhere(Protocol):
    """Who may know where a request belongs, when the pool's balancer does not."""

    def ask(self, pool: Pool, request: IHandshake) -> Deferred[None] | None:
        """
        Find out, and tell the balancer; it is asked next, in any case.

        :returns: what is over soon and does not fail; None: there is nothing to wait for.
        """

    def told(self) -> Deferred[None] | None:
        """
        Let all know what the balancer has learnt last, so that who asks next finds it.

        :returns: as `ask`.
        """


class Pool:
    """
    The upstreams of one ``[pool:NAME]`` and the balancer that chooses among them.

    :param balancer: told of the upstreams by whoever makes or changes the pool; see
        `wsrelay.pools.choosing.announce`.
    :param seconds: the monotonic time, in seconds.
    :ivar upstreams: those that it has, in the order of the file.
    :ivar line: the clients that wait for one of them.
    :param commons: what is counted together with other processes.
    :ivar on_health: told when an upstream's health changes; *on_outcome*: how its handshakes
        end, and *on_checked*: what checks found, see `Upstream`.
    :ivar on_freed: told of a place given back while clients of other processes wait for one.
    :ivar elsewhere: asked before the balancer; None: it knows all that is known.
    :ivar is_draining: upstreams that come are drained, too.
    """

    def __init__(
        self,
        config: PoolConfig,
        balancer: IBalancer,
        seconds: Seconds,
        commons: Commons = ALONE,
    ) -> None:
        self.config = config
        self.name = config.name
        self.balancer = balancer
        self.sticky = sticky_of(config)
        self.line = WaitingLine(commons.tally("waiting", config.name))
        self.on_health: HealthListener = _nobody
        self.on_outcome: OutcomeListener = _nobody
        self.on_checked: CheckListener = _nobody
        self.on_freed: Callable[[Pool], None] = _nobody
        self.is_draining = False
        self.elsewhere: Elsewhere | None = None
        self.upstreams: tuple[Upstream, ...] = ()
        self._gone: list[Upstream] = []
        self._seconds = seconds
        self._roll = Roll()
        self._calls = False
        self._commons = commons
        self.set_members("file", config.upstreams)

    # choosing

    def candidates(self, tried: Collection[Upstream] = ()) -> tuple[Upstream, ...]:
        """
        Return those that may take a session now, in configuration order.

        They are ready, do not look down, have room, and are not in *tried*.
        Backups stand in when that leaves no primary.  When every upstream that
        is ready looks down, all of them may be tried: a try may fail, a refusal
        surely does.  Those whose last handshake succeeded go first, as their checks seem
        to be wrong; on the others only a few tries are under way at a time, see
        `Upstream.may_be_tried`.  Empty: nothing may take it.

        :param tried: those that this handshake has failed on.
        """
        up = self._up()
        if up:
            return self._free(up, tried)
        ready = self._ready()
        proven = self._free([each for each in ready if each.is_proven], tried)
        return proven or self._free([each for each in ready if each.may_be_tried], tried)

    def offer(self, tried: Collection[Upstream] = ()) -> tuple[Upstream, ...]:
        """
        Return the `candidates` whose turn it is: one in ``slow_start`` now and then only.

        Called once for each question to the balancer.
        """
        candidates = self.candidates(tried)
        if self.config.slow_start is None:
            return candidates
        return tuple([each for each in candidates if each.takes_turn()]) or candidates

    @property
    def is_down(self) -> bool:
        """Whether no upstream is ready and looks up."""
        return not self._up()

    def is_hopeless(self, tried: Collection[Upstream]) -> bool:
        """Whether all look down, and the last handshake failed on each that is not in *tried*."""
        return self.is_down and not any(each.is_proven for each in self.candidates(tried))

    def _ready(self) -> list[Upstream]:
        return [each for each in self.upstreams if each.state == "ready"]

    def _up(self) -> list[Upstream]:
        # `Upstream.looks_down`, written out: every handshake asks it of all upstreams.
        now = self._seconds()
        return [
            each
            for each in self.upstreams
            if each.state == "ready" and each.checked != "down" and each.down_until <= now
        ]

    def _free(self, upstreams: list[Upstream], tried: Collection[Upstream]) -> tuple[Upstream, ...]:
        free = [each for each in upstreams if each.has_room and each not in tried]
        return tuple([each for each in free if not each.backup]) or tuple(free)

    # waiting

    def call_waiting(self, *, again: bool = False) -> None:
        """
        Call those who wait, one after the other, as long as there is room for one.

        Few at a time try an upstream whose last handshake failed, with ``max_fails = 0`` too.

        :param again: begin a new round: also those are called who have just tried in vain,
            and upstreams that look down may be tried when all do.
        """
        if self._calls or not len(self.line):  # somebody who was called gave a place back
            return
        self._calls = True
        try:
            if again:
                self.line.begin_round()
            for _ in range(len(self.line)):
                room = self.candidates() if again else self._free(self._up(), ())
                if not any(each.may_be_tried for each in room) or not self.line.call_next():
                    break
        finally:
            self._calls = False

    # the upstreams it has

    @property
    def gone(self) -> list[Upstream]:
        """Upstreams that left and still have sessions."""
        self._gone = [each for each in self._gone if each.own]
        return self._gone

    def said(self, source: Source) -> tuple[UpstreamConfig, ...]:
        """Return what a source of upstreams said last."""
        return self._roll.said(source)

    def memo(self) -> Memo:
        """Return what `recall` takes in another process."""
        states = {(each.name, each.url): each.memo() for each in self.upstreams}
        return Memo(self._roll, self.is_draining, states)

    def recall(self, memo: Memo) -> MemberChanges:
        """Have the upstreams that the pool has in another process, as they are there."""
        self._roll, self.is_draining = memo.roll, memo.is_draining
        changes = self._call_roll()
        weights = {each: each.weight for each in self.upstreams}
        for each in self.upstreams:
            if state := memo.states.get((each.name, each.url)):
                each.recall(state)
        differ = [each for each in self.upstreams if each.weight != weights[each]]
        return evolve(changes, changed=(*changes.changed, *differ))

    def set_members(self, source: Source, upstreams: Iterable[UpstreamConfig]) -> MemberChanges:
        """Take all upstreams that a source names now; those of other sources stay."""
        self._roll.say(source, upstreams)
        return self._call_roll()

    def hide(self, name: str) -> MemberChanges:
        """Remove an upstream until its source says something new, or the operator adds it."""
        self._roll.hide(name)
        return self._call_roll()

    def update(self, config: PoolConfig) -> MemberChanges:
        """Take over a new configuration of the same pool; the balancer is the caller's."""
        if config.sticky != self.config.sticky:
            self.sticky = sticky_of(config)
        self.config = config
        for each in (*self.upstreams, *self.gone):
            each.policy = config
        return self.set_members("file", config.upstreams)

    def _call_roll(self) -> MemberChanges:
        """Make `upstreams` what the roll says; the same server stays the same object."""
        known = {(each.name, each.url): each for each in (*self.gone, *self.upstreams)}
        before = self.upstreams
        now, changed = [], []
        for member in self._roll.members().values():
            upstream = known.get((member.config.name, member.config.url))
            if upstream is None:
                upstream = self._new(member.config, member.source)
            else:
                was = (upstream.weight, upstream.max_connections, upstream.backup)
                upstream.update(member.config, self.config, member.source)
                if was != (upstream.weight, upstream.max_connections, upstream.backup):
                    changed.append(upstream)
            now.append(upstream)
        self.upstreams = tuple(now)
        removed = tuple(each for each in before if each not in now)
        for each in removed:
            each.source = "gone"
        self._gone = [each for each in (*self.gone, *removed) if each not in now]
        added = tuple(each for each in now if each not in before)
        stayed = [each for each in now if each in before]
        return MemberChanges(
            added,
            removed,
            tuple(each for each in changed if each in before),
            stayed != [each for each in before if each in now],
        )

    def _new(self, config: UpstreamConfig, source: Source) -> Upstream:
        upstream = Upstream(config, self.config, self._seconds, source, self._commons)
        upstream.on_free = self._freed
        upstream.on_outcome = lambda upstream, why: self.on_outcome(self, upstream, why)
        upstream.on_checked = lambda *check: self.on_checked(self, *check)
        upstream.on_health = self._health_changed
        if self.is_draining:
            upstream.state = "drain"
        return upstream

    def _freed(self) -> None:
        self.call_waiting()
        if self.line.others:
            self.on_freed(self)

    def _health_changed(self, upstream: Upstream, change: Change) -> None:
        self.on_health(self, upstream, change)
        if change.to == "up":
            self.call_waiting(again=True)


def sticky_of(config: PoolConfig) -> StickyCookie | None:
    """Make what ``sticky`` asks for."""
    return None if config.sticky is None else StickyCookie(config.sticky, config.name)
