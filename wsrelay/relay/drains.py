"""What is being drained: the relay, pools, upstreams; and how far each is."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Final

from attrs import define, evolve, field, frozen
from twisted.internet.interfaces import IDelayedCall

from wsrelay.config.model import OnLoss, Rate
from wsrelay.http.exchange import Exchange
from wsrelay.log import Logger
from wsrelay.pools.pool import Pool
from wsrelay.pools.upstream import Upstream
from wsrelay.relay.closing import Choice, Chosen, Closing, Terms
from wsrelay.relay.levelling import Levelling
from wsrelay.relay.session import Session
from wsrelay.relay.shares import share_of, turn_of
from wsrelay.wire import close

if TYPE_CHECKING:
    from wsrelay.relay.relay import Relay

log = Logger()

KEPT: Final = 20
"""Closings that are over and still shown."""

STOPPING: Final = "the relay is stopping"


@frozen
class _LastCall:
    """When the plain requests on some upstreams are broken off, and why."""

    terms: Terms
    upstreams: Collection[Upstream]
    timer: IDelayedCall


@define(eq=False)
class Drains:
    """
    The closings of one relay.

    Each has a key, what it is about: a later one for the same takes the earlier one's place.
    """

    relay: Relay
    running: dict[object, Closing] = field(factory=dict, init=False)
    over: dict[object, Closing] = field(factory=dict, init=False)
    _last_calls: dict[object, _LastCall] = field(factory=dict, init=False)
    """When plain requests under way are broken off, by the same keys."""

    # what is drained

    def drain_relay(self) -> Closing:
        """
        Let nobody new in, and close every session.

        Whoever is not answered yet is refused.
        """
        relay = self.relay
        relay.is_draining = True
        # Those who wait go first: they would be called for a place that another gives back.
        # Plain requests that an upstream was asked for are no more than moments old, mostly.
        for search in sorted(relay.searches, key=lambda each: not each.is_waiting):
            if search.upgrades or search.is_waiting:
                search.refuse(503, "The relay is stopping; connect again.", "draining")
        for admission in list(relay.admissions):
            admission.refuse(503, "The relay is stopping; connect again.", "draining")
        relay.close_idle()
        relay.exchanges.drain(relay.config.drain_timeout)
        members = [each for pool in relay.pools.values() for each in _members(pool)]
        terms = self._terms("relay", STOPPING, "drain", members)
        return self._begin(relay, terms, Chosen(lambda _: True))

    def undrain_relay(self) -> None:
        """Let clients in again; sessions that are not closed yet stay."""
        self.relay.is_draining = False
        self.relay.exchanges.call_off()
        self.stop(self.relay)

    def drain_pool(self, pool: Pool) -> Closing:
        """Close the sessions of a pool; the states of its upstreams are the caller's."""
        members = set(_members(pool))
        for upstream in members:
            self._hang_up(upstream)
        terms = self._terms(f"pool {pool.name}", "the pool is drained", "drain", members)
        choice = Chosen(lambda each: each.upstream in members)
        closing = self._begin(pool, terms, choice)
        self._let_requests_end(pool, terms, members)
        return closing

    def drain_upstream(self, pool: Pool, upstream: Upstream) -> Closing:
        """Close the sessions of an upstream; its state is the caller's."""
        self._hang_up(upstream)
        what, reason = _name(pool, upstream), "the upstream is drained"
        terms = self._terms(what, reason, "drain", [upstream])
        choice = Chosen(lambda each: each.upstream is upstream)
        closing = self._begin(upstream, terms, choice)
        self._let_requests_end(upstream, terms, {upstream})
        return closing

    def rebalance(self, pool: Pool, rate: Rate, goals: Mapping[str, int] | None = None) -> Closing:
        """
        Close sessions of the fullest upstreams of a pool until they are level.

        :param rate: this process' own.
        :param goals: see `Levelling`.
        """
        terms = Terms(f"pool {pool.name}", "the pool is rebalanced", "rebalance", None, rate)
        return self._begin(("rebalance", pool), terms, Levelling(pool, goals))

    def lose(self, pool: Pool, upstream: Upstream, how: OnLoss, why: str) -> None:
        """
        Do what a pool says about the sessions of an upstream that is down or gone.

        :param why: ``down`` or ``removed``.
        """
        self._hang_up(upstream)
        is_on_its_way = how == "drain" and upstream in self.running
        if upstream.sessions and not is_on_its_way:
            reason = f"the upstream is {why}"
            terms = self._terms(_name(pool, upstream), reason, why, [upstream])
            self._lose(upstream, terms, how, lambda each: each.upstream is upstream)

    def _hang_up(self, upstream: Upstream) -> None:
        """Close the connections to an upstream that wait for a request."""
        if dialer := self.relay.dialers.get(upstream):
            dialer.idle.close()

    def lose_route(self, name: str, pool: Pool) -> None:
        """
        Do what ``on_removed`` says about the sessions of a route that is gone.

        Those whose upstream is gone, too, end with the others of that one.
        """
        terms = self._terms(f"route {name}", "the route is removed", "removed", _members(pool))
        wants: Callable[[Session], bool] = lambda each: (  # noqa: E731
            each.route.name == name and each.upstream.source != "gone"
        )
        self._lose(("route", name), terms, pool.config.on_removed, wants)

    def _let_requests_end(self, key: object, terms: Terms, upstreams: Collection[Upstream]) -> None:
        """Break off the plain requests that are still under way there when time is over."""
        is_planned = key in self._last_calls  # by an earlier order, which stays
        if terms.timeout is not None and not is_planned and self._requests_of(upstreams):
            timer = self.relay.reactor.callLater(terms.timeout, self._break_off, key)
            self._last_calls[key] = _LastCall(terms, upstreams, timer)

    def _break_off(self, key: object) -> None:
        last_call = self._last_calls.pop(key)
        left = self._requests_of(last_call.upstreams)
        what, reason = last_call.terms.what, last_call.terms.reason
        log.warn("{subject}: aborting {count} plain requests", subject=what, count=len(left))
        for each in left:
            each.break_off(reason.capitalize())

    def request_ended(self) -> None:
        """Forget about the end of those of which none is left."""
        for key, each in list(self._last_calls.items()):
            if not self._requests_of(each.upstreams):
                del self._last_calls[key]
                each.timer.cancel()

    def _requests_of(self, upstreams: Collection[Upstream]) -> list[Exchange]:
        exchanges = [each for each in self.relay.exchanges if isinstance(each, Exchange)]
        return [each for each in exchanges if each.upstream in upstreams]

    def _lose(
        self, key: object, terms: Terms, how: OnLoss, wants: Callable[[Session], bool]
    ) -> None:
        if how == "close":
            terms = evolve(terms, timeout=0.0, rate=None, code=close.SERVICE_RESTART)
        if how != "keep":
            self._begin(key, terms, Chosen(wants))

    def regain_route(self, name: str) -> None:
        """Close no more sessions of a route that is there again."""
        self.stop(("route", name))

    # how far it is

    def stop(self, key: object, *but: str) -> None:
        """Call a closing off, unless it is for one of the reasons in *but*."""
        if key in self.running and self.running[key].terms.why not in but:
            self.running[key].stop()
        if key in self._last_calls and self._last_calls[key].terms.why not in but:
            self._last_calls.pop(key).timer.cancel()

    def hurry(self) -> None:
        """End the drain of the relay at once, if there is one."""
        if self.relay in self.running:
            self.running[self.relay].hurry()

    def find(self, key: object) -> Closing | None:
        """Return the closing about *key*, one that is over too, or None."""
        return self.running.get(key) or self.over.get(key)

    def session_opened(self, session: Session) -> None:
        """Close a session, too, whose handshake was under way when a closing began."""
        taken = [each.session_opened(session) for each in list(self.running.values())]
        upstream, code = session.upstream, session.route.drain_close_code
        if any(taken):
            return
        if upstream.state == "drain":
            session.close(code, "the upstream is drained", "drain")
        elif upstream.source == "gone" and upstream.policy.on_removed != "keep":
            session.close(code, "the upstream is removed", "removed")

    def session_ended(self, session: Session) -> None:
        """Tell the closings of a session's end."""
        for each in list(self.running.values()):
            each.session_ended(session)

    def _terms(self, what: str, reason: str, why: str, upstreams: Iterable[Upstream]) -> Terms:
        """Say how the sessions of some upstreams are closed."""
        timeout, rate = self.relay.config.drain_timeout, self.relay.config.drain_rate
        part = None if rate is None else share_of(rate, upstreams)
        return Terms(what, reason, why, timeout, part)

    def _begin(self, key: object, terms: Terms, choice: Choice) -> Closing:
        """
        Begin to close; in the place of what is under way for the same key.

        An earlier deadline stays: however often it is ordered, a drain ends in time.
        """
        before = self.running.get(key)
        if before is not None and before.seconds_left is not None and terms.timeout is not None:
            terms = evolve(terms, timeout=min(terms.timeout, before.seconds_left))
        if before is not None:
            before.stop()
        terms = evolve(terms, offset=turn_of(self.relay.doors.tally, self.relay.commons.index))
        closing = self.running[key] = Closing(self.relay.reactor, terms, choice)
        closing.done.addCallback(lambda _: self._ended(key, closing))
        closing.begin(self.relay.sessions.values())
        if closing.total:
            log.info("{line}", line=_pace(closing))
        return closing

    def _ended(self, key: object, closing: Closing) -> None:
        if self.running.get(key) is closing:
            del self.running[key]
        self.over.pop(key, None)
        self.over[key] = closing
        for old in list(self.over)[:-KEPT]:
            del self.over[old]
        if closing.total:
            log.info(
                "{subject}: {closed} of {total} sessions closed in {seconds:.1f} seconds ({why})",
                subject=closing.terms.what,
                closed=closing.closed,
                total=closing.total,
                seconds=closing.elapsed,
                why=closing.terms.why,
            )


def _members(pool: Pool) -> list[Upstream]:
    return [*pool.upstreams, *pool.gone]


def _name(pool: Pool, upstream: Upstream) -> str:
    return f"upstream {pool.name}/{upstream.name}"


def _pace(closing: Closing) -> str:
    """Say how the sessions of a closing will end."""
    terms, rate = closing.terms, closing.terms.rate
    text = f"{terms.what}: closing {closing.total} sessions ({terms.why})"
    if rate is None:
        return f"{text} over {terms.timeout:g} seconds"
    text += f" at {rate.per_second:g} a second"
    if terms.timeout is not None and closing.total / rate.per_second > terms.timeout:
        text += f", and what is left after {terms.timeout:g} seconds at once"
    return text
