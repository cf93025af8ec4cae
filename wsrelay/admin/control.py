"""What the admin endpoint asks of the relay; the relay implements it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol, TypeAlias, TypeVar

from attrs import field, frozen
from twisted.internet.defer import Deferred

__all__ = ["Control", "Json", "Publication", "Refused", "Soon"]

T = TypeVar("T")

Json = dict[str, Any]
"""A JSON object; docs/api.rst says what is in each."""

Soon: TypeAlias = T | Deferred[T]
"""An answer, or one that comes later; see `wsrelay.admin.waiting.settled`."""


class Refused(Exception):  # noqa: N818  the name of what it is
    """
    An order that cannot be carried out.

    :param status: the HTTP status that says so.
    :param message: a sentence for the operator.
    :param errors: one sentence each, where there are several.
    """

    travels: ClassVar = True
    """It goes as it is from one process of a relay to another; see `wsrelay.workers.channel`."""

    def __init__(self, status: int, message: str, errors: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.errors = tuple(errors)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.status, self.message, self.errors)


@frozen
class Publication:
    """
    A message for many sessions.

    :param kind: ``route``, ``pool`` or ``tag``: what *name* is the name of.
    :param direction: ``down``, to the clients, or ``up``, to the upstreams.
    :param payload: a text as UTF-8.
    """

    kind: str
    name: str
    direction: str
    payload: bytes = field(repr=False)
    is_binary: bool


class Control(Protocol):
    """
    The relay as an operator sees and steers it; all of it is called in the reactor's thread.

    Whoever has to ask other processes answers later.  A `Refused` is raised, or comes later,
    too.  Nobody but who called waits for an answer: cancelling it stops nothing.
    """

    def start(self) -> None:
        """Begin, with the relay; called before anything is asked."""

    def stop(self) -> None:
        """End; nothing is asked any more."""

    def status(self) -> Soon[Json]:
        """Return the whole state, for ``/status.json``."""

    def not_ready(self) -> str:
        """Return at once why the relay wants no new clients; empty when it does."""

    def pools(self) -> Soon[list[Json]]:
        """Return what `status` says of the pools."""

    def sessions(self, wanted: Mapping[str, str], limit: int) -> Soon[Json]:
        """
        Return ``{"total": all that match, "sessions": [the first of them]}``.

        :param wanted: ``pool``, ``upstream``, ``route``, ``listener``, or ``client`` (how
            its address begins) to what it has to be.
        :param limit: how many are listed.
        :raises Refused: 400, there is no such key.
        """

    def session(self, id: str) -> Soon[Json]:
        """
        Return all that is known of a session.

        :raises Refused: 404, there is none.
        """

    def close_session(self, id: str, code: int, reason: str) -> Soon[Json]:
        """
        Close both legs of a session.

        :param code: one that may be sent.
        :param reason: at most 123 bytes of UTF-8.
        :raises Refused: 404, there is none; 409, it is closing already.
        """

    def change_upstream(
        self, pool: str, name: str, state: str | None, weight: int | None
    ) -> Soon[Json]:
        """
        Set what an operator wants of an upstream; None: leave it.

        :param state: ``ready``, ``drain`` or ``down``.
        :raises Refused: 404, there is none; 409, not now.
        """

    def add_upstream(self, pool: str, line: str) -> Soon[Json]:
        """
        Add an upstream.

        :param line: as in relay.ini.
        :raises Refused: 400, a bad line; 404, no such pool; 409, the name is taken.
        """

    def remove_upstream(self, pool: str, name: str) -> Soon[Json]:
        """
        Take an upstream away.

        :raises Refused: 404, there is none.
        """

    def rebalance(self, pool: str, per_second: float) -> Soon[Json]:
        """
        Move sessions to where the balancer would put them now.

        :raises Refused: 404, no such pool; 409, it cannot be now.
        """

    def drain(self, pool: str | None) -> Soon[Json]:
        """
        Take no new clients, and close those there are; None: of the whole relay.

        :raises Refused: 404, no such pool.
        """

    def ready(self, pool: str | None) -> Soon[Json]:
        """
        Take `drain` back.

        :raises Refused: 404, no such pool.
        """

    def publish(self, publication: Publication) -> Deferred[Json]:
        """
        Send a message to all live sessions of a route or a pool, or with a tag.

        Fires with ``{"sent": how many, "skipped": {why: how many}}``.

        :raises Refused: 404, no such route or pool.
        """

    def reload(self) -> Deferred[list[str]]:
        """
        Read relay.ini again; fires with what changed, one sentence each.

        It fails with `Refused` (422) when the file is bad; then nothing has changed.
        """

    def metrics(self) -> Soon[bytes]:
        """Return the metrics in Prometheus' text format."""

    def cluster(self) -> Json:
        """Return what is known of the relays that share with this one."""

    def log_since(self, number: int) -> list[Json]:
        """Return the recent lines of the log whose number is greater."""
