"""
The native pump: sockets read, frames scanned and sockets written in C (``native/``).

All sockets of all sessions are in one epoll set, a hub, whose descriptor is the only one
that the reactor sees.  When something is ready, one call of `NativeHub.doRead` handles all
of it, and Python hears only of control frames, violations and lost legs.
"""

# ruff: noqa: N802  (camelCase here is Twisted's: these are called by the reactor)

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from select import epoll
from typing import Any, Final

from attrs import define, field, frozen
from twisted.internet.interfaces import IReactorTime, IReadDescriptor, ITransport
from twisted.internet.protocol import connectionDone
from twisted.internet.tcp import Connection as TCPConnection
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from wsrelay.relay._native import ffi, lib
from wsrelay.relay.native_tls import TLSObjects, functions, tls_objects
from wsrelay.relay.published import frame_of
from wsrelay.relay.pump import Pump, PumpOptions, PumpOwner, Side, Totals
from wsrelay.relay.python_pump import PythonPump
from wsrelay.relay.transports import TCPTransport, discard
from wsrelay.wire.faults import Fault, Limits
from wsrelay.wire.paces import Pace

PATIENCE: Final = 0.004
"""Seconds that a turn of the hub may last, waiting included; see ``hub_turn``."""

_SIDES: Final = (Side.CLIENT, Side.UPSTREAM)
_NUMBERS: Final = {Side.CLIENT: 0, Side.UPSTREAM: 1}
_NO_LIMIT: Final = 2**64 - 1

_TOTALS: Final = ffi.new("struct ws_totals *")  # one for all: it is read at once
_TOTALS_IN_ORDER: Final = ffi.cast("uint64_t *", _TOTALS)


@implementer(IReadDescriptor)
class NativeHub:
    """
    Makes native pumps, and is what the reactor calls when one of their sockets is ready.

    It is among the reactor's readers only while there are sessions.

    :param reactor: the one that the sessions' transports belong to.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        # Without one the hub does not wait for more before it goes back to the reactor.
        poller = getattr(reactor, "_poller", None)
        self._reactor_descriptor = poller.fileno() if isinstance(poller, epoll) else -1
        self._hub: Any = None
        self._live = 0

    def __call__(
        self,
        owner: PumpOwner,
        client: ITransport,
        upstream: ITransport,
        options: PumpOptions,
        reactor: IReactorTime,
    ) -> Pump:
        """Join two transports: natively, if nothing but sockets and TLS is below them."""
        legs = _leg_of(client), _leg_of(upstream)
        if None in legs:
            return PythonPump(owner, client, upstream, options, reactor)
        return NativePump(self, owner, legs, options, reactor)

    @property
    def speaks_tls(self) -> bool:
        """Whether legs with TLS are not left to the Python pump."""
        return bool(functions())

    def open(self) -> Any:
        """
        Return the hub in C, made by the first call: not before a daemon has forked.

        :raises OSError: there is no descriptor left, or no memory.
        """
        if self._hub is None:
            hub = lib.hub_new(lib.control_received, lib.violated, lib.leg_lost, lib.leg_slow)
            if hub == ffi.NULL:
                raise OSError(ffi.errno, "the native pump could not be made")
            self._hub = ffi.gc(hub, lib.hub_free)
            self._set_tls()
        return self._hub

    def _set_tls(self) -> None:
        if self.speaks_tls:
            known = ffi.new("struct tls_functions *")
            ffi.cast("void **", known)[0 : len(functions())] = [
                ffi.cast("void *", address) for address in functions()
            ]
            if lib.hub_set_tls(self._hub, known) < 0:
                raise MemoryError

    def began(self) -> None:
        """Learn that a pump runs."""
        self._live += 1
        if self._live == 1:
            self._reactor.addReader(self)

    def ended(self) -> None:
        """Learn that a pump has lost both legs."""
        self._live -= 1
        if self._live == 0:
            self._reactor.removeReader(self)

    def turn(self, patience: float = 0.0) -> int:
        """
        Handle what is ready, and return how many sockets that were.

        :param patience: seconds to stay for what becomes ready soon.
        """
        hub, now = self._hub, self._reactor.seconds()
        return int(lib.hub_turn(hub, now, self._reactor_descriptor, patience))

    # what the reactor calls

    def fileno(self) -> int:
        """Return the epoll set's descriptor, which is readable when a socket is ready."""
        return int(lib.hub_descriptor(self.open()))

    def logPrefix(self) -> str:
        """Name the hub for the log."""
        return "wsrelay"

    def doRead(self) -> None:
        """Handle what is ready, for no longer than until the reactor's next timer."""
        until_timer = self._reactor.timeout()
        self.turn(PATIENCE if until_timer is None else min(PATIENCE, until_timer))

    def connectionLost(self, reason: Failure) -> None:
        """Do nothing: the reactor lets go of everything when it stops."""


@frozen
class _Leg:
    """A transport and what is below it."""

    transport: Any
    socket: TCPConnection  # the transport itself, without TLS
    tls: TLSObjects | None


def _leg_of(transport: Any) -> _Leg | None:
    """Find the socket below a transport; None if somebody has unwritten bytes for it."""
    tls = None
    socket = transport
    if isinstance(transport, TLSMemoryBIOProtocol):
        socket = transport.transport
        tls = tls_objects(transport)
        if tls is None:
            return None
    if not isinstance(socket, TCPConnection) or socket.TLS:
        return None
    if socket.dataBuffer or socket._tempDataBuffer:
        return None
    return _Leg(transport, socket, tls)


@define(eq=False)
class NativePump:
    """Joins two sockets; see `wsrelay.relay.pump.Pump` for every method."""

    hub: NativeHub
    owner: PumpOwner = field(repr=False)  # until both legs are gone
    legs: Any  # of the client and of the upstream
    options: PumpOptions
    reactor: IReactorTime
    _pump: Any = field(init=False)
    _handle: Any = field(init=False)  # lets C find the way back; a circle while a leg lives
    _lost: set[Side] = field(factory=set, init=False)
    _has_begun: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._handle = ffi.new_handle(self)
        descriptors = [leg.socket.fileno() for leg in self.legs]
        up, down = _limits(self.options)
        bits = self.options.bits
        pump = lib.pump_new(self.hub.open(), self._handle, *descriptors, bits, up, down)
        if pump == ffi.NULL:
            raise MemoryError
        self._pump = ffi.gc(pump, lib.pump_free)
        lib.pump_set_patience(pump, self.options.slow or 0.0)
        for side, leg in enumerate(self.legs):
            if leg.tls is not None:
                pointers = (leg.tls.ssl, leg.tls.into, leg.tls.out)
                lib.pump_set_tls(pump, side, *(ffi.cast("void *", each) for each in pointers))

    def start(self, head: bytes, from_client: bytes, from_upstream: bytes) -> None:
        """Take the sockets away from the reactor, and begin."""
        for leg in self.legs:
            leg.socket.stopReading()
        self._has_begun = True
        self.hub.began()
        lib.pump_start(
            self._pump,
            self.reactor.seconds(),
            *(head, len(head)),
            *(from_client, len(from_client)),
            *(from_upstream, len(from_upstream)),
        )

    def received_from(self, side: Side) -> Callable[[bytes], None]:
        """
        Return what takes a read of *side* by the reactor, which does not do that any more.

        But Twisted's TLS, when it has started the session out of a read, goes on to hand
        over the records that stood behind the one with the 101.
        """
        return discard if self._leg(side).tls is None else partial(self._take_over, side)

    def _take_over(self, side: Side, data: bytes) -> None:
        now = self.reactor.seconds()
        lib.pump_take_over(self._pump, now, _NUMBERS[side], data, len(data))

    def lost(self, side: Side) -> None:
        """Let go of a socket that is closed."""
        if side in self._lost:
            return
        self._lost.add(side)
        lib.pump_let_go(self._pump, _NUMBERS[side])
        self.owner.leg_lost(side)
        if len(self._lost) == 2:
            self._handle = None
            del self.owner  # a circle
            if self._has_begun:
                self.hub.ended()

    def send(self, side: Side, frame: bytes) -> None:
        """Send a control frame at the next boundary."""
        lib.pump_send(self._pump, _NUMBERS[side], frame, len(frame))

    def finish(self, side: Side) -> None:
        """Pass no more data to *side*, from the next boundary on."""
        lib.pump_finish(self._pump, _NUMBERS[side])

    def inject(self, side: Side, payload: bytes, is_binary: bool) -> bool:
        """Send a message at the next end of one."""
        frame, now = frame_of(side, payload, is_binary), self.reactor.seconds()
        return bool(lib.pump_inject(self._pump, now, _NUMBERS[side], frame, len(frame)))

    def is_cut(self, side: Side) -> bool:
        """Tell whether *side* waits for the rest of a frame that will not come."""
        return bool(lib.pump_is_cut(self._pump, _NUMBERS[side]))

    def shut(self, side: Side) -> None:
        """End *side*'s sending half once all is written."""
        lib.pump_shut(self._pump, _NUMBERS[side])

    def abort(self, side: Side) -> None:
        """Reset *side*'s connection."""
        if side not in self._lost:
            lib.pump_let_go(self._pump, _NUMBERS[side])
            self._leg(side).transport.abortConnection()

    def messages(self, side: Side) -> int:
        """Count complete data messages from *side*."""
        return int(lib.pump_messages(self._pump, _NUMBERS[side]))

    def binary_messages(self, side: Side) -> int:
        """Count those that are binary."""
        return int(lib.pump_binary_messages(self._pump, _NUMBERS[side]))

    def payload(self, side: Side) -> int:
        """Count payload bytes from *side*."""
        return int(lib.pump_payload(self._pump, _NUMBERS[side]))

    def received(self, side: Side) -> int:
        """Count bytes read from *side*."""
        return int(lib.pump_received(self._pump, _NUMBERS[side]))

    def sent(self, side: Side) -> int:
        """Count bytes that *side*'s socket took."""
        return int(lib.pump_sent(self._pump, _NUMBERS[side]))

    def is_paused(self, side: Side) -> bool:
        """Tell whether *side* is not being read."""
        return bool(lib.pump_is_paused(self._pump, _NUMBERS[side]))

    def is_waiting(self, side: Side) -> bool:
        """Tell whether something for *side* has to wait."""
        return bool(lib.pump_is_waiting(self._pump, _NUMBERS[side]))

    def stalls(self, side: Side) -> int:
        """Count how often *side* had to be waited for."""
        return int(lib.pump_stalls(self._pump, _NUMBERS[side]))

    def totals(self) -> Totals:
        """Return all the numbers at once."""
        lib.pump_totals(self._pump, _TOTALS)
        return Totals._make(ffi.unpack(_TOTALS_IN_ORDER, len(Totals._fields)))

    def last_data(self) -> float:
        """Say when data last moved."""
        return float(lib.pump_last_data(self._pump))

    def close(self, side: Side) -> None:
        """Close a socket that has ended; that tells `lost` in turn."""
        socket = self._leg(side).socket
        if isinstance(socket, TCPTransport):
            socket.ended()
        else:
            socket.connectionLost(connectionDone)

    def _leg(self, side: Side) -> _Leg:
        leg: _Leg = self.legs[_NUMBERS[side]]
        return leg


_: type[Pump] = NativePump  # mypy checks here that the interface is whole


@lru_cache  # all sessions of a route share them
def _limits(options: PumpOptions) -> tuple[Any, Any]:
    return _in_c(options.up), _in_c(options.down)


def _in_c(limits: Limits) -> Any:
    def number(limit: int | None) -> int:
        return _NO_LIMIT if limit is None else min(limit, _NO_LIMIT)

    def pace(pace: Pace | None) -> tuple[float, float]:
        return (0.0, 0.0) if pace is None else (pace.per_second, pace.burst)

    return ffi.new(
        "struct ws_limits *",
        (
            *(number(limits.whole_frames), number(limits.max_frame), number(limits.max_message)),
            *(pace(limits.messages), pace(limits.bytes), limits.throttles),
        ),
    )


# What C calls; an exception must not get there.


@ffi.def_extern()  # type: ignore[untyped-decorator]
def control_received(handle: Any, side: int, frame: Any, size: int) -> None:
    """Hand a control frame to the session."""
    pump: NativePump = ffi.from_handle(handle)
    try:
        pump.owner.control_received(_SIDES[side], ffi.buffer(frame, size)[:])
    except Exception:
        pump.owner.pump_failed()


@ffi.def_extern()  # type: ignore[untyped-decorator]
def violated(handle: Any, side: int, fault: int, detail: int) -> None:
    """Tell the session of a violation."""
    pump: NativePump = ffi.from_handle(handle)
    try:
        limits = (pump.options.up, pump.options.down)[side]
        pump.owner.violated(_SIDES[side], limits.violation(Fault(fault), detail))
    except Exception:
        pump.owner.pump_failed()


@ffi.def_extern()  # type: ignore[untyped-decorator]
def leg_lost(handle: Any, side: int) -> None:
    """Close a socket that has ended."""
    pump: NativePump = ffi.from_handle(handle)
    try:
        pump.close(_SIDES[side])
    except Exception:
        pump.owner.pump_failed()


@ffi.def_extern()  # type: ignore[untyped-decorator]
def leg_slow(handle: Any, side: int) -> None:
    """Tell the session of a leg that takes nothing."""
    pump: NativePump = ffi.from_handle(handle)
    try:
        pump.owner.leg_slow(_SIDES[side])
    except Exception:
        pump.owner.pump_failed()
