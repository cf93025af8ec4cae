"""
What a balancer's author tests with: fakes, and the contract that every balancer keeps.

.. code-block:: python

    def test_my_balancer_keeps_the_contract() -> None:
        check_balancer_contract(plugin)
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.plugin import IPlugin
from zope.interface import Interface, implementer
from zope.interface.exceptions import Invalid
from zope.interface.verify import verifyObject

from wsrelay.interfaces import (
    LEARNS,
    IBalancer,
    IBalancerPlugin,
    IHandshake,
    ILearningBalancer,
    IStickyBalancer,
    IUpstream,
)
from wsrelay.wire.headers import Headers

__all__ = ["FakeHandshake", "FakeUpstream", "check_balancer_contract"]

HUGE = 10**12


@implementer(IHandshake)
@frozen
class FakeHandshake:
    """A handshake as bare as a client can make it, unless told otherwise."""

    path: str = "/"
    query: str = ""
    headers: Headers = field(factory=Headers)
    cookies: Mapping[str, str] = field(factory=dict)
    client_address: str = ""
    host: str = ""
    route: str = "default"
    subprotocols: tuple[str, ...] = ()
    method: str = "GET"
    is_websocket: bool = True


@implementer(IUpstream)
@define(eq=False)
class FakeUpstream:
    """An upstream that is whatever a test says it is."""

    name: str
    weight: int = 1
    active: int = 0
    url: str = "ws://127.0.0.1:9000"
    max_connections: int | None = None
    state: str = "ready"
    health: str = "up"
    rtt: float | None = None
    backup: bool = False


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
    _require_provides(IPlugin, plugin)
    _require_provides(IBalancerPlugin, plugin)
    for check in CHECKS:
        balancer = plugin.create(dict(options or {}), Clock())
        _require_provides(IBalancer, balancer)
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
    _require_provides(IStickyBalancer, balancer)
    upstreams = _upstreams(3)
    for offered in (upstreams, upstreams[:1], upstreams[1:]):
        _choose_often(balancer, upstreams)
        for request in REQUESTS:
            found = _harmless("find", balancer.find, request, offered)
            if not any(found is each for each in (None, *offered)):
                raise AssertionError(f"found {found!r}, which is none of {offered!r}")


def _check_learning(balancer: IBalancer) -> None:
    """Show every answer to who asks for one, and bad ones; then it still chooses."""
    if not ILearningBalancer.providedBy(balancer):
        return
    _require_provides(ILearningBalancer, balancer)
    upstreams = _upstreams(3)
    for request in REQUESTS:
        _harmless("wants_answer", balancer.wants_answer, request)
        for headers, body in ANSWERS:
            for status in (200, 204, 500):
                told = (request, upstreams[0], status, headers, body)
                _harmless("answered", balancer.answered, *told)
    _choose_often(balancer, upstreams[1:])


def _harmless(name: str, method: Callable[..., object], *arguments: object) -> object:
    try:
        return method(*arguments)
    except Exception as error:
        raise AssertionError(f"{name} raised {error!r} for {arguments!r}") from error


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

REQUESTS = (
    FakeHandshake(),
    FakeHandshake(client_address="2001:db8::1"),
    FakeHandshake(
        path="/chat/r\xf6\xf6m",
        query="room=blue&room=red&&=x&empty",
        headers=Headers(((b"Host", b"chat.example.com"), (b"X-User", b"\xfcnal"))),
        cookies={"user": "ada", "empty": ""},
        client_address="192.0.2.7",
        host="chat.example.com",
        subprotocols=("chat.v2", "chat.v1"),
    ),
    FakeHandshake(path="/socket.io/", query="EIO=4&transport=polling", is_websocket=False),
    FakeHandshake(
        path="/socket.io/",
        query="EIO=4&transport=polling&sid=%FF_x",
        method="POST",
        is_websocket=False,
    ),
    FakeHandshake(path="/echo/007/abc/xhr", method="POST", is_websocket=False),
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
    try:
        choice: object = balancer.choose(request, upstreams)
    except Exception as error:
        raise AssertionError(f"choose raised {error!r} for {request!r}, {upstreams!r}") from error
    if isinstance(choice, Deferred):
        fired: list[object] = []
        choice.addBoth(fired.append)
        if not fired:
            choice.cancel()
            return
        choice = fired[0]
    if not any(choice is each for each in upstreams):
        raise AssertionError(f"chose {choice!r}, which is none of {upstreams!r}")


def _require_provides(interface: type[Interface], candidate: object) -> None:
    try:
        verifyObject(interface, candidate)
    except Invalid as error:
        raise AssertionError(str(error)) from error
