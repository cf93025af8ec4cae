"""What relays count together: asked about handshakes that a relay alone would let in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from attrs import frozen
from twisted.internet.defer import Deferred

__all__ = ["Gate", "Limit"]


@frozen
class Limit:
    """
    The limits of one client on one route.

    :param key: the client; see `wsrelay.guards.keys.key_of`.
    :param most: sessions that it may have; None: any number.
    :param rate: handshakes that it may make in a second, and at once; None: any number.
    """

    route: str
    key: bytes
    most: int | None
    rate: tuple[float, float] | None


class Gate(Protocol):
    """Where all relays are asked; whatever happens there, it is one handshake's wait at most."""

    def hold(self, limit: Limit, give_back: Callable[[], None]) -> Callable[[], None]:
        """
        Count a session here, which `ask` is about to be asked about.

        :param give_back: gives it back where this relay counts by itself.
        :returns: what gives it back everywhere; called any number of times.
        """

    def ask(self, limit: Limit) -> Deferred[float] | None:
        """
        Ask whether a client may come.

        :returns: None: nobody can be asked, and this relay decides alone; or what fires with
            0: it may; less: it has too many sessions; more: it may in so many seconds.  It
            does not fail, and fires soon.
        """
