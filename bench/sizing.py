"""
How many relays it takes: arithmetic with what one core carries.  Pure.

Every limit gives a number of relays; the greatest of them counts, and one more is there to be
lost.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from attrs import frozen

__all__ = ["HEADERS", "PORTS", "PROFILES", "Core", "Machine", "Need", "Profile", "needs"]

PORTS: Final = 28_232
"""
Ports that Linux connects from by default: 32768 to 60999.

Each is used once for each address and port of an upstream.
"""

HEADERS: Final = 80
"""Bytes around a message: Ethernet, IP, TCP with timestamps, and the frame's own."""

RETURNING: Final = 0.1
"""What part of the relays' CPU clients may take that come back from a drain."""


@frozen
class Core:
    """
    What things cost in CPU, and a session in memory.

    :ivar message_us: one message through the relay, in microseconds.
    :ivar handshake_us: a session's beginning and end.
    :ivar session_us: an idle session for one second, pings included.
    :ivar session_bytes: of an idle session, the kernel's part included.
    """

    message_us: float
    handshake_us: float
    session_us: float
    session_bytes: float


@frozen
class Machine:
    """
    A machine with one relay.

    :ivar cores: each with a worker.
    :ivar use: the part of CPU, memory and network that is planned with.
    :ivar memory: in bytes.
    :ivar files: descriptors of one process.
    :ivar network: bits a second, each way.
    """

    cores: int = 8
    use: float = 0.5
    memory: float = 32 * 2.0**30
    files: int = 1_048_576
    network: float = 10e9


@frozen
class Profile:
    """
    What sessions do.

    :ivar messages: of one session in a second, both ways together.
    :ivar size: of a message, in bytes.
    :ivar lasts: seconds from a session's beginning to its end.
    """

    title: str
    messages: float
    size: int
    lasts: float


PROFILES: Final = (
    Profile("idle, a notification a minute", 1 / 60, 256, 3600.0),
    Profile("chat, a message in 10 s", 0.1, 256, 1800.0),
    Profile("feed, 10 messages a second", 10.0, 256, 1800.0),
)


@frozen
class Need:
    """
    What so many sessions take.

    :ivar busy: cores that are busy all the time, by what with.
    :ivar cores: that there should be, so that only the planned part of them is busy.
    :ivar least: relays that each limit asks for.
    :ivar relays: the most of those, and one to lose.
    :ivar sessions: on each relay, while all are there.
    :ivar memory: that they take on each, in bytes.
    :ivar upstream_addresses: that each relay needs for its ports to do.
    :ivar handshakes: a second, over all relays.
    :ivar drain: seconds over which a relay is drained at least; the clients that come back take a
        tenth of the others' CPU then.
    """

    busy: Mapping[str, float]
    cores: int
    least: Mapping[str, int]
    relays: int
    sessions: int
    memory: float
    upstream_addresses: int
    handshakes: float
    drain: float

    @property
    def first(self) -> str:
        """The limit that bites first."""
        return max(self.least, key=lambda limit: self.least[limit])


def needs(profile: Profile, sessions: int, core: Core, machine: Machine) -> Need:
    """Say what it takes to carry so many sessions, the relay that may be lost included."""
    handshakes = sessions / profile.lasts
    busy = {
        "messages": sessions * profile.messages * core.message_us / 1e6,
        "pings": sessions * core.session_us / 1e6,
        "handshakes": handshakes * core.handshake_us / 1e6,
    }
    least = _least(profile, sessions, sum(busy.values()), core, machine)
    relays = max(least.values()) + 1
    each = math.ceil(sessions / relays)
    others = (relays - 1) * machine.cores * 1e6 / core.handshake_us
    return Need(
        busy=busy,
        cores=math.ceil(sum(busy.values()) / machine.use),
        least=least,
        relays=relays,
        sessions=each,
        memory=each * core.session_bytes,
        upstream_addresses=math.ceil(sessions / (relays - 1) / PORTS),
        handshakes=handshakes,
        drain=each / (RETURNING * others),
    )


def _least(
    profile: Profile, sessions: int, busy: float, core: Core, machine: Machine
) -> dict[str, int]:
    """Return how many relays each limit asks for, with none to lose."""
    bits = sessions * profile.messages * (profile.size + HEADERS) * 8
    workers_files = machine.files * machine.cores
    return {
        "CPU": math.ceil(busy / (machine.cores * machine.use)),
        "memory": math.ceil(sessions * core.session_bytes / (machine.memory * machine.use)),
        "descriptors": math.ceil(2 * sessions / workers_files),
        "network": math.ceil(bits / (machine.network * machine.use)),
    }
