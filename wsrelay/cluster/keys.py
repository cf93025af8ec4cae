"""The names of the keys, all under one prefix, and who takes part.  Pure."""

from __future__ import annotations

import os
import socket
from ipaddress import IPv4Address, IPv6Address

from attrs import frozen

__all__ = ["Keys", "new_name"]


@frozen
class Keys:
    """
    The keys of relays that share.

    :param prefix: relays with another one share nothing with these.
    """

    prefix: str

    @property
    def alive(self) -> str:
        """Sorted set: participant to when it counts as dead, in milliseconds of Redis' clock."""
        return f"{self.prefix}:alive"

    def count(self, route: str, key: bytes) -> str:
        """Hash: participant to how many sessions one client has there."""
        return f"{self.prefix}:count:{route}:{_words(key)}"

    def rate(self, route: str, key: bytes) -> str:
        """String: when one client's bucket is full, in microseconds of Redis' clock."""
        return f"{self.prefix}:rate:{route}:{_words(key)}"

    def session(self, pool: str, id: str) -> bytes:
        """String: the mark of the upstream that has an Engine.IO session."""
        return f"{self.prefix}:session:{pool}:{id}".encode("utf-8", "surrogatepass")

    @property
    def orders(self) -> str:
        """Hash: what an order is about to the order; its messages go by the same name."""
        return f"{self.prefix}:orders"

    @property
    def reports(self) -> str:
        """Hash: relay to what it says of itself."""
        return f"{self.prefix}:reports"

    @property
    def fresh(self) -> str:
        """Sorted set: relay to when its report counts as old."""
        return f"{self.prefix}:fresh"


def _words(key: bytes) -> str:
    """Write a client's key as an operator knows it; see `wsrelay.guards.keys.key_of`."""
    if len(key) == 4:
        return str(IPv4Address(key))
    return f"{IPv6Address(key[:16])}/{key[16]}"


def new_name(worker: int | None = None) -> str:
    """
    Return what this process is called among all that take part: host, pid, and what no other has.

    :param worker: its number, where a relay has several processes.
    """
    number = "" if worker is None else f"-{worker}"
    return f"{socket.gethostname()}-{os.getpid()}{number}-{os.urandom(4).hex()}"
