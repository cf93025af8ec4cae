"""The contract that every balancer keeps."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence

from twisted.internet.task import Clock
from twisted.plugin import IPlugin

from wsrelay.interfaces import (
    LEARNS,
    IBalancer,
    IBalancerPlugin,
    IHandshake,
    ILearningBalancer,
    IStickyBalancer,
    IUpstream,
)
from wsrelay.testing.answers import UNDECIDED, ask
from wsrelay.testing.fakes import REQUESTS, FakeUpstream, require_provides
from wsrelay.wire.headers import Headers

__all__ = ["check_balancer_contract"]

HUGE = 10**12


def check_balancer_contract(
    plugin: IBalancerPlugin, options: Mapping[str, str] | None = None
) -> None:
    """
    Check that a balancer does what wsrelay relies on.

    A Deferred that has not fired when ``choose`` returns is cancelled, as it is
    when a client leaves; what it would have chosen stays unchecked.

    :param plugin: as it stands in ``twisted/plugins/``.
    :param options: what stands behind its name in relay.ini.
    :raises AssertionError: it breaks the contract; the text says where.
    """
    require_provides(IPlugin, plugin)
    require_provides(IBalancerPlugin, plugin)
    for check in CHECKS:
        balancer = plugin.create(dict(options or {}), Clock())
        require_provides(IBalancer, balancer)
        check(balancer)


def _check_any_number(balancer: IBalancer) -> None:
    for number in range(1, 9):
        upstreams = _upstreams(number)
        balancer.upstreams_changed(upstreams)
        _choose_often(balancer, upstreams)


def _check_unannounced(balancer: IBalancer) -> None:
    """Offer upstreams that ``upstreams_changed`` never named."""
    _choose_often(balancer, _upstreams(3))
    balancer.upstreams_changed(_upstreams(1))
    _choose_often(balancer, _upstreams(4))
    balancer.upstreams_changed(())
    _choose_often(balancer, _upstreams(2))


def _check_vanishing(balancer: IBalancer) -> None:
    """Take each upstream away, first from the offer alone, then from the pool."""
    upstreams = _upstreams(4)
    balancer.upstreams_changed(upstreams)
    for gone in upstreams:
        rest = tuple(each for each in upstreams if each is not gone)
        _choose_often(balancer, upstreams)
        _choose_often(balancer, rest)
        balancer.upstreams_changed(rest)
        _choose_often(balancer, rest)
        balancer.upstreams_changed(upstreams)


def _check_order(balancer: IBalancer) -> None:
    upstreams = _upstreams(4)
    balancer.upstreams_changed(upstreams)
    for turn in range(len(upstreams)):
        turned = upstreams[turn:] + upstreams[:turn]
        _choose_often(balancer, turned)
        _choose_often(balancer, turned[::-1])


def _check_weights(balancer: IBalancer) -> None:
    upstreams = _upstreams(3)
    for weights in ((1, 1, 1), (5, 1, 1), (1, 1000, 1), (HUGE, HUGE, 1), (1, 1, 1)):
        for upstream, weight in zip(upstreams, weights, strict=True):
            upstream.weight = weight
        _choose_often(balancer, upstreams)
        balancer.upstreams_changed(upstreams)
        _choose_often(balancer, upstreams)


def _check_loads(balancer: IBalancer) -> None:
    upstreams = _upstreams(3)
    balancer.upstreams_changed(upstreams)
    for loads in ((7, 7, 7), (HUGE, HUGE, HUGE), (HUGE, 0, 1), (0, 0, HUGE), (0, 0, 0)):
        for upstream, load in zip(upstreams, loads, strict=True):
            upstream.active = load
        _choose_often(balancer, upstreams)


def _check_finding(balancer: IBalancer) -> None:
    if not IStickyBalancer.providedBy(balancer):
        return
    require_provides(IStickyBalancer, balancer)
    upstreams = _upstreams(3)
    for offered in (upstreams, upstreams[:1], upstreams[1:]):
        _choose_often(balancer, upstreams)
        for request in REQUESTS:
            found = ask("find", balancer.find, request, offered)
            if not any(found is each for each in (None, *offered)):
                raise AssertionError(f"found {found!r}, which is none of {offered!r}")


def _check_learning(balancer: IBalancer) -> None:
    """Show every answer to who asks for one, and bad ones; then it still chooses."""
    if not ILearningBalancer.providedBy(balancer):
        return
    require_provides(ILearningBalancer, balancer)
    upstreams = _upstreams(3)
    for request in REQUESTS:
        ask("wants_answer", balancer.wants_answer, request)
        for headers, body in ANSWERS:
            for status in (200, 204, 500):
                told = (request, upstreams[0], status, headers, body)
                ask("answered", balancer.answered, *told)
    _choose_often(balancer, upstreams[1:])


CHECKS: tuple[Callable[[IBalancer], None], ...] = (
    _check_any_number,
    _check_unannounced,
    _check_vanishing,
    _check_order,
    _check_weights,
    _check_loads,
    _check_finding,
    _check_learning,
)

_GZIP = Headers(((b"Content-Encoding", b"gzip"),))
ANSWERS = (
    (Headers(), b""),
    (Headers(), b'0{"sid":"%FF_x","pingInterval":25000}'),
    (Headers(), b"\xff" * LEARNS),
    (_GZIP, b"not gzip at all"),
    (_GZIP, zlib.compress(b'96:0{"sid":"%FF_x"}2:40')[:-7]),
    (_GZIP, zlib.compress(bytes(1_000_000))),
)


def _upstreams(number: int) -> tuple[FakeUpstream, ...]:
    return tuple(FakeUpstream(f"upstream-{index}") for index in range(number))


def _choose_often(balancer: IBalancer, upstreams: Sequence[FakeUpstream]) -> None:
    for _ in range(len(upstreams) + 1):
        for request in REQUESTS:
            _choose(balancer, request, tuple(upstreams))


def _choose(balancer: IBalancer, request: IHandshake, upstreams: Sequence[IUpstream]) -> None:
    choice = ask("choose", balancer.choose, request, upstreams)
    if choice is UNDECIDED:
        return
    if not any(choice is each for each in upstreams):
        raise AssertionError(f"chose {choice!r}, which is none of {upstreams!r}")
