"""
Asks a pool's balancer, which may be anybody's code and may answer later.

Whatever a balancer does, it costs no more than the handshake it was asked for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Collection
from functools import partial
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from wsrelay.commons import ALONE, Commons
from wsrelay.config.model import PoolConfig
from wsrelay.interfaces import IBalancer, IHandshake, ISharingBalancer, IStickyBalancer, IUpstream
from wsrelay.log import Logger
from wsrelay.plugins import make_balancer
from wsrelay.pools.pool import Pool, Upstream

__all__ = [
    "BalancerFailed",
    "BalancerRefused",
    "NoUpstream",
    "announce",
    "choose",
    "make_pool",
    "make_pools_balancer",
]

log = Logger()


class NoUpstream(Exception):  # noqa: N818 - says what is so, as the 503 does
    """Nothing may take the client now; it waits, or is answered with 503."""


class BalancerRefused(Exception):  # noqa: N818
    """The balancer wants nobody to take the client; answered with 503."""


class BalancerFailed(Exception):  # noqa: N818
    """The balancer raised or chose none of those offered; logged, and answered with 500."""


def make_pool(config: PoolConfig, reactor: IReactorTime, commons: Commons = ALONE) -> Pool:
    """
    Make a pool with its balancer, and announce its upstreams to the balancer.

    :param commons: what it counts together with other processes.
    :raises ValueError: the balancer is unknown or an option of its is bad.
    """
    balancer = make_pools_balancer(config, reactor, commons)
    pool = Pool(config, balancer, reactor.seconds, commons)
    announce(pool)
    return pool


def make_pools_balancer(config: PoolConfig, reactor: IReactorTime, commons: Commons) -> IBalancer:
    """
    Make the balancer of a pool.

    :raises ValueError: see `make_pool`.
    """
    balancer = make_balancer(config.balancer, reactor)
    if ISharingBalancer.providedBy(balancer):
        cast(Any, balancer).share(partial(commons.memory, config.name))
    return balancer


def announce(pool: Pool) -> None:
    """Tell the balancer all upstreams: at the start, and when the set or a weight changes."""
    try:
        pool.balancer.upstreams_changed(pool.upstreams)
    except Exception:
        log.failure(
            "the balancer of pool {pool} failed in upstreams_changed; it stays in use",
            pool=pool.name,
        )


def choose(
    pool: Pool, handshake: IHandshake, tried: Collection[Upstream] = ()
) -> Upstream | Deferred[Upstream]:
    """
    Choose an upstream for a client; nearly every balancer answers at once.

    :param tried: those that this handshake has failed on.
    :returns: the upstream; or, when the balancer answers later, a Deferred of
        it.  That waits without limit: the caller cancels it when the client
        leaves or has waited long enough, which cancels the balancer's own.  An
        upstream that may no longer take the client by then is not returned:
        the balancer is asked again.  Call `Upstream.take` at once.
    :raises NoUpstream: nothing may take the client.
    :raises BalancerRefused: the balancer refused it.
    :raises BalancerFailed: a fault of the balancer, already logged.  All come
        out of the call, or through the Deferred.
    """
    if pool.elsewhere is not None:
        asked = pool.elsewhere.ask(pool, handshake)
        if asked is not None:
            return Deferred.fromCoroutine(_choose_after(asked, pool, handshake, tried))
    return _choose(pool, handshake, tried)


async def _choose_after(
    asked: Awaitable[None], pool: Pool, handshake: IHandshake, tried: Collection[Upstream]
) -> Upstream:
    await asked
    choice = _choose(pool, handshake, tried)
    return await choice if isinstance(choice, Deferred) else choice


def _choose(
    pool: Pool, handshake: IHandshake, tried: Collection[Upstream]
) -> Upstream | Deferred[Upstream]:
    """Choose with what is known here."""
    if pool.sticky is not None:
        known = pool.sticky.find(handshake.cookies, pool.candidates(tried))
        if known is not None:
            return known
    if pool.config.slow_start is not None and IStickyBalancer.providedBy(pool.balancer):
        found = _found(pool, handshake, tried)
        if found is not None:
            return found
    offered = pool.offer(tried)
    if not offered:
        raise NoUpstream(f"No upstream of pool {pool.name!r} may take a connection now.")
    try:
        choice = pool.balancer.choose(handshake, offered)
    except Exception as error:
        raise _failed(pool) from error
    if isinstance(choice, Deferred):
        return Deferred.fromCoroutine(_wait(pool, handshake, tried, offered, choice))
    return _checked(pool, offered, choice)


def _found(pool: Pool, handshake: IHandshake, tried: Collection[Upstream]) -> Upstream | None:
    """Return where a request belongs, in a pool whose `offer` is not all `candidates`."""
    candidates = pool.candidates(tried)
    try:
        found = cast(IStickyBalancer, pool.balancer).find(handshake, candidates)
    except Exception as error:
        raise _failed(pool, word="find") from error
    return None if found is None else _checked(pool, candidates, found)


def _failed(pool: Pool, failure: Failure | None = None, word: str = "choose") -> BalancerFailed:
    log.failure("the balancer of pool {pool} failed in {word}", failure, pool=pool.name, word=word)
    return BalancerFailed(f"The balancer of pool {pool.name!r} failed.")


def _checked(pool: Pool, offered: tuple[Upstream, ...], choice: object) -> Upstream:
    """Return *choice* if it was offered."""
    if isinstance(choice, Upstream) and choice in offered:
        return choice
    if choice is None:
        raise BalancerRefused(f"The balancer of pool {pool.name!r} refused the connection.")
    log.error(
        "the balancer of pool {pool} chose {choice!r}, which was not offered",
        pool=pool.name,
        choice=choice,
    )
    raise BalancerFailed(f"The balancer of pool {pool.name!r} chose what was not offered.")


async def _wait(
    pool: Pool,
    handshake: IHandshake,
    tried: Collection[Upstream],
    offered: tuple[Upstream, ...],
    pending: Deferred[IUpstream | None],
) -> Upstream:
    chosen = _checked(pool, offered, await _at_arms_length(pool, pending))
    if chosen in pool.candidates(tried):
        return chosen
    again = choose(pool, handshake, tried)
    return await again if isinstance(again, Deferred) else again


def _at_arms_length(pool: Pool, pending: Deferred[IUpstream | None]) -> Deferred[IUpstream | None]:
    """
    Return a Deferred of our own for the balancer's *pending*.

    That one is in strange hands: it may fire after the client has gone, and its
    canceller may raise.  It is never left with an error that nobody handles.
    """

    def cancel(_: object) -> None:
        answer.errback(CancelledError())
        try:
            pending.cancel()
        except Exception:
            log.failure("the balancer of pool {pool} cannot cancel its choice", pool=pool.name)

    def arrived(choice: IUpstream | None) -> None:
        if not answer.called:
            answer.callback(choice)

    def broke(failure: Failure) -> None:
        if not answer.called:
            answer.errback(_failed(pool, failure))

    answer: Deferred[IUpstream | None] = Deferred(cancel)
    pending.addCallbacks(arrived, broke)
    return answer
