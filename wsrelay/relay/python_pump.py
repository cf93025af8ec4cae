"""The pump that runs everywhere: frames scanned in Python, written through Twisted."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime, ITransport

from wsrelay.relay.paced_leg import leg_of
from wsrelay.relay.published import frame_of
from wsrelay.relay.pump import Pump, PumpOptions, PumpOwner, Side, Totals
from wsrelay.relay.python_leg import PythonLeg
from wsrelay.relay.slowness import Slowness
from wsrelay.wire.paced_frames import scanner_of


class PythonPump:
    """Joins two Twisted transports; see `wsrelay.relay.pump.Pump` for every method."""

    __slots__ = ("_legs",)

    def __init__(
        self,
        owner: PumpOwner,
        client: ITransport,
        upstream: ITransport,
        options: PumpOptions,
        reactor: IReactorTime,
    ) -> None:
        up = scanner_of(True, options.bits, options.up)
        down = scanner_of(False, options.bits, options.down)
        near = leg_of(Side.CLIENT, client, up, owner, reactor)
        far = leg_of(Side.UPSTREAM, upstream, down, owner, reactor)
        self._join(near, far, options.slow)

    def _join(self, near: PythonLeg, far: PythonLeg, slow: float | None) -> None:
        near.far, far.far = far, near
        if slow is not None:
            near.slowness = Slowness(near, slow)
            far.slowness = Slowness(far, slow)
        near.last_data = far.last_data = near.reactor.seconds()
        self._legs = {Side.CLIENT: near, Side.UPSTREAM: far}

    def start(self, head: bytes, from_client: bytes, from_upstream: bytes) -> None:
        """Begin, with the 101 and what arrived before."""
        self._open(head)
        if from_upstream:
            self._legs[Side.UPSTREAM].receive(from_upstream)
        if from_client:
            self._legs[Side.CLIENT].receive(from_client)

    def _open(self, head: bytes) -> None:
        """Send the 101; from now on there can be more behind it."""
        client = self._legs[Side.CLIENT].transport
        client.write(head)
        client.resumeProducing()  # it may have sent too much too early
        for leg in self._legs.values():
            leg.transport.registerProducer(leg, True)

    def received_from(self, side: Side) -> Callable[[bytes], None]:
        """Return what takes each read of *side*."""
        return self._legs[side].receive

    def lost(self, side: Side) -> None:
        """Let go of a transport that has ended."""
        self._legs[side].lost()

    def send(self, side: Side, frame: bytes) -> None:
        """Send a control frame at the next boundary."""
        self._legs[side].send(frame)

    def finish(self, side: Side) -> None:
        """Pass no more data to *side*, from the next boundary on."""
        leg = self._legs[side]
        leg.finished = True
        leg.published.clear()
        leg.far.update_reading()

    def inject(self, side: Side, payload: bytes, is_binary: bool) -> bool:
        """Send a message at the next end of one."""
        return self._legs[side].inject(frame_of(side, payload, is_binary))

    def is_cut(self, side: Side) -> bool:
        """Tell whether *side* waits for the rest of a frame that will not come."""
        leg = self._legs[side]
        return leg.far.gone and leg.mid_frame

    def shut(self, side: Side) -> None:
        """End *side*'s transport once all is written."""
        leg = self._legs[side]
        if not leg.gone:
            leg.shut()

    def abort(self, side: Side) -> None:
        """End *side*'s transport at once."""
        leg = self._legs[side]
        if not leg.gone:
            leg.abort()

    def messages(self, side: Side) -> int:
        """Count complete data messages from *side*."""
        return self._legs[side].scanner.messages

    def binary_messages(self, side: Side) -> int:
        """Count those that are binary."""
        return self._legs[side].scanner.binary_messages

    def payload(self, side: Side) -> int:
        """Count payload bytes from *side*."""
        return self._legs[side].scanner.payload

    def received(self, side: Side) -> int:
        """Count bytes read from *side*."""
        return self._legs[side].received

    def sent(self, side: Side) -> int:
        """Count bytes given to *side*'s transport."""
        return self._legs[side].sent

    def is_paused(self, side: Side) -> bool:
        """Tell whether *side* is not being read."""
        return self._legs[side].paused

    def is_waiting(self, side: Side) -> bool:
        """Tell whether something for *side* has to wait."""
        leg = self._legs[side]
        return leg.blocked or bool(leg.waiting)

    def stalls(self, side: Side) -> int:
        """Count how often *side* had to be waited for."""
        return self._legs[side].stalls

    def totals(self) -> Totals:
        """Return all the numbers at once."""
        client, upstream = self._legs.values()
        return Totals(
            *(*client.totals(), *upstream.totals()),
            buffered=client.buffered + upstream.buffered,
            throttles=client.throttles,
        )

    def last_data(self) -> float:
        """Say when data last moved."""
        return max(leg.last_data for leg in self._legs.values())


_: type[Pump] = PythonPump  # mypy checks here that the interface is whole
