"""What is measured, and what one unit of it is."""

from __future__ import annotations

from typing import Literal

from attrs import frozen

__all__ = ["MIB", "SCENARIOS", "Kind", "Scenario"]

Kind = Literal["closed-loop", "fixed-rate", "up", "down", "idle", "handshakes"]
KIB = 1024
MIB = 1024 * KIB


@frozen
class Scenario:
    """
    One kind of load.

    :ivar unit: what CPU time is divided by.
    :ivar connections: open at a time; for handshakes: under way at a time.
    :ivar size: of a message's payload, in bytes.
    :ivar rate: messages a second over all connections; 0 where the load sets the pace.
    :ivar stretch: how much longer than others it is measured.
    :ivar most_rounds: rounds that take part in; None: all.
    :ivar quick: whether a quick run has it.
    """

    name: str
    title: str
    kind: Kind
    unit: str
    connections: int
    size: int = 64
    rate: int = 0
    tls: bool = False
    stretch: float = 1.0
    most_rounds: int | None = None
    quick: bool = True


def _echo(
    name: str, title: str, connections: int, size: int, *, tls: bool = False, quick: bool = True
) -> Scenario:
    return Scenario(
        name,
        title,
        "closed-loop",
        "round trip",
        connections,
        size,
        tls=tls,
        stretch=2.0 if size == MIB else 1.0,
        quick=quick,
    )


def _stream(name: str, title: str, kind: Kind, size: int) -> Scenario:
    return Scenario(name, title, kind, "message", 8, size)


SCENARIOS = (
    _echo("echo-64-c1", "64 B echo, 1 connection", 1, 64),
    _echo("echo-64-c100", "64 B echo, 100 connections", 100, 64),
    _echo("echo-64-c1000", "64 B echo, 1,000 connections", 1000, 64, quick=False),
    _echo("echo-1k-c1", "1 KiB echo, 1 connection", 1, KIB, quick=False),
    _echo("echo-1k-c100", "1 KiB echo, 100 connections", 100, KIB),
    _echo("echo-1k-c1000", "1 KiB echo, 1,000 connections", 1000, KIB, quick=False),
    _echo("echo-1m", "1 MiB echo, 8 connections", 8, MIB),
    _stream("up-64", "64 B messages to the upstream, 8 connections", "up", 64),
    _stream("up-1m", "1 MiB messages to the upstream, 8 connections", "up", MIB),
    _stream("down-64", "64 B messages to the client, 8 connections", "down", 64),
    _stream("down-1m", "1 MiB messages to the client, 8 connections", "down", MIB),
    _echo("wss-64", "64 B echo over TLS, 100 connections", 100, 64, tls=True),
    _echo("wss-1m", "1 MiB echo over TLS, 8 connections", 8, MIB, tls=True),
    Scenario("handshakes", "connect, 101, close; 16 at a time", "handshakes", "handshake", 16),
    Scenario(
        "latency",
        "64 B echo, 2,000 a second over 100 connections",
        "fixed-rate",
        "round trip",
        100,
        rate=2000,
        stretch=2.5,
    ),
    Scenario(
        "memory", "idle sessions, 1,000 open", "idle", "session", 1000, most_rounds=2, quick=False
    ),
)
"""In the order they are run and shown."""
