"""How the bytes of a route's sessions are checked, as relay.ini says it."""

from __future__ import annotations

from functools import lru_cache

from wsrelay.config.model import Rate, RouteConfig
from wsrelay.relay.pump import PumpOptions
from wsrelay.wire.faults import Limits
from wsrelay.wire.frames import ANY_BITS, DEFLATE_BITS
from wsrelay.wire.paces import Pace


def bits_of(agreed: tuple[str, ...]) -> int:
    """Return the reserved bits that the extensions use that both peers agreed upon."""
    if not agreed:
        return 0
    return DEFLATE_BITS if agreed == ("permessage-deflate",) else ANY_BITS


@lru_cache  # all sessions of a route share them
def options_of(route: RouteConfig, bits: int) -> PumpOptions:
    """Return how a pump checks a session of *route*, where extensions use reserved *bits*."""
    up = Limits(
        route.whole_frames,
        route.max_frame_size,
        route.max_message_size_up,
        _pace_of(route.messages),
        _pace_of(route.bytes),
        route.on_excess == "throttle",
    )
    down = Limits(route.whole_frames, route.max_frame_size, route.max_message_size_down)
    return PumpOptions(bits, up, down, route.slow_consumer)


def _pace_of(rate: Rate | None) -> Pace | None:
    if rate is None:
        return None
    burst = rate.per_second if rate.burst is None else rate.burst
    return Pace(rate.per_second, max(float(burst), 1.0))
