"""All targets: functions of bytes that raise AssertionError, or anything, at a fault."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from tests.fuzz.access import address, htpasswd, jwks, jwt, networks, origin
from tests.fuzz.bodies import body
from tests.fuzz.extensions import extensions
from tests.fuzz.heads import request, response
from tests.fuzz.ini import ini
from tests.fuzz.proxy import proxy
from tests.fuzz.streams import frames, paces

Target = Callable[[bytes], None]

TARGETS: Final[dict[str, Target]] = {
    each.__name__: each
    for each in (
        address,
        body,
        extensions,
        frames,
        htpasswd,
        ini,
        jwks,
        jwt,
        networks,
        origin,
        paces,
        proxy,
        request,
        response,
    )
}
"""By name, which is that of a folder in ``corpus``, too."""

MOST_TIME: Final = 1.0
"""Seconds of this process' own time for an input that is shorter than `LONG`."""

LONG: Final = 64 * 1024


class TooSlow(Exception):  # noqa: N818
    """An input took longer than anybody may make a relay work."""


def timed(target: Target, clock: Callable[[], float] = time.process_time) -> Target:
    """Return *target* with a limit to the time it takes; for searches, never for tests."""

    def run(data: bytes) -> None:
        begin = clock()
        target(data)
        spent = clock() - begin
        if spent > MOST_TIME and len(data) < LONG:
            raise TooSlow(f"{spent:.1f} s for {len(data)} bytes")

    return run
