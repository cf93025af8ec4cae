"""The pump for ``mode = messages``: every message passes whole, through Autobahn on both legs."""

from __future__ import annotations

from functools import partial

from twisted.internet.interfaces import IReactorTime, ITransport
from typing_extensions import override

from wsrelay.config.model import RouteConfig
from wsrelay.messages.compression import UNCOMPRESSED, Compression
from wsrelay.messages.deflate import LegDeflate
from wsrelay.messages.filters import Filters
from wsrelay.messages.leg import MessageLeg
from wsrelay.messages.paced_leg import message_leg
from wsrelay.messages.protocols import ClientMessages, UpstreamMessages
from wsrelay.relay.pump import Pump, PumpFactory, PumpOptions, PumpOwner, Side
from wsrelay.relay.python_pump import PythonPump
from wsrelay.wire.deflate import Deflate
from wsrelay.wire.faults import Limits
from wsrelay.wire.frames import DEFLATE_BITS
from wsrelay.wire.paced_frames import scanner_of


class MessagePump(PythonPump):
    """
    Joins two Twisted transports; see `wsrelay.relay.pump.Pump` for every method.

    A leg's limits hold for what is on the wire, and its *max_message* once more for what that
    is when it is inflated.

    :param compression: what was agreed on with either peer.
    :param filters: those of the session, if its route has any.
    :param patience: seconds for which the last messages of a leg that is lost may wait, for
        filters and for the other leg, before that one is told.
    """

    __slots__ = ("_filters",)

    _legs: dict[Side, MessageLeg]  # type: ignore[assignment]

    def __init__(
        self,
        owner: PumpOwner,
        client: ITransport,
        upstream: ITransport,
        options: PumpOptions,
        reactor: IReactorTime,
        *,
        compression: Compression = UNCOMPRESSED,
        filters: Filters | None = None,
        patience: float = 0.0,
    ) -> None:
        self._filters = filters
        up = scanner_of(True, _bits(compression.client), options.up)
        down = scanner_of(False, _bits(compression.upstream), options.down)
        near = message_leg(Side.CLIENT, client, up, owner, reactor)
        far = message_leg(Side.UPSTREAM, upstream, down, owner, reactor)
        near.messages = ClientMessages(
            near.write_frame, _deflate(True, compression.client, options.up)
        )
        far.messages = UpstreamMessages(
            far.write_frame, _deflate(False, compression.upstream, options.down)
        )
        near.filters = far.filters = filters
        near.patience = far.patience = patience
        self._join(near, far, options.slow)

    @override
    def _open(self, head: bytes) -> None:
        super()._open(head)
        if self._filters is not None:
            self._filters.opened()

    def inject(self, side: Side, payload: bytes, is_binary: bool) -> bool:
        """
        Send a message of the relay's own to *side* at once; no filter is asked.

        :param payload: a text's is UTF-8.
        :returns: False: it is not sent, as nothing goes there any more, or too much waits.
        """
        leg = self._legs[side]
        if not leg.takes_more:
            return False
        leg.last_data = leg.reactor.seconds()
        leg.say(payload, is_binary)
        return True

    @override
    def finish(self, side: Side) -> None:
        super().finish(side)
        self._end_filters()

    @override
    def shut(self, side: Side) -> None:
        super().shut(side)
        self._end_filters()

    @override
    def abort(self, side: Side) -> None:
        super().abort(side)
        self._legs[side].hurry()
        self._end_filters()

    @override
    def lost(self, side: Side) -> None:
        super().lost(side)
        self._end_filters()

    def _end_filters(self) -> None:
        """Let the filters go when nobody takes messages any more."""
        if self._filters is not None and not any(leg.takes_data for leg in self._legs.values()):
            filters, self._filters = self._filters, None
            filters.end()


def message_pumps(
    route: RouteConfig, compression: Compression, filters: Filters | None = None
) -> PumpFactory:
    """
    Return what makes the pump of one session of a route with ``mode = messages``.

    :param compression: see `wsrelay.messages.compression.agree`.
    """
    # A filter may take its time for a message even though its sender is gone, and the other
    # leg for what came before it.
    patience = max(route.filter_timeout, route.close_timeout)
    return partial(MessagePump, compression=compression, filters=filters, patience=patience)


def _bits(deflate: Deflate | None) -> int:
    return 0 if deflate is None else DEFLATE_BITS


def _deflate(is_server: bool, agreed: Deflate | None, limits: Limits) -> LegDeflate | None:
    return None if agreed is None else LegDeflate(is_server, agreed, limits.max_message)


_: type[Pump] = MessagePump  # mypy checks here that the interface is whole
