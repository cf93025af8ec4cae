"""Who is let in: a route's guards are asked about each request, then its policies."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from wsrelay.config.model import PluginCall, RelayConfig, RouteConfig
from wsrelay.interfaces import Admit, CannotTell, Deny, IAccessPolicy
from wsrelay.log import Logger
from wsrelay.plugins import make_policy
from wsrelay.relay.facts import Facts
from wsrelay.relay.handshake import Handshake
from wsrelay.relay.search import RETRY_AFTER
from wsrelay.relay.transports import nobody

if TYPE_CHECKING:
    from wsrelay.relay.client import ClientConnection
    from wsrelay.relay.relay import Relay

log = Logger()

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

_SENTENCE: Final = 200
"""Characters of a denial's body that the log may have; a longer one is a page."""

RESERVED: Final = frozenset(
    b"host connection upgrade content-length transfer-encoding te trailer expect forwarded"
    b" x-forwarded-for x-forwarded-host x-forwarded-port x-forwarded-proto x-real-ip x-request-id"
    b" x-ssl-client-s-dn x-ssl-client-verify sec-websocket-key sec-websocket-version"
    b" sec-websocket-extensions".split()
)
"""Lower-case names of headers that no policy may set: the relay writes them, or reads them."""


@frozen(eq=False)
class Policies:
    """The policies of one route, by the names that relay.ini calls them."""

    policies: tuple[tuple[str, IAccessPolicy], ...]
    calls: tuple[PluginCall, ...] = ()
    """What they were made of."""
    headers: frozenset[bytes] = field(init=False)
    """
    Lower-case names of what they say upstream, and clients may not.

    With hyphens for underscores, which keeps away what is spelled either way.
    """

    @headers.default
    def _headers(self) -> frozenset[bytes]:
        each = (getattr(policy, "headers", ()) for _, policy in self.policies)
        plain = (name.lower().replace("_", "-") for names in each for name in names)
        return frozenset(name.encode() for name in plain)

    def stop(self) -> None:
        """Let those go that hold something: nobody is asked any more."""
        for name, policy in self.policies:
            try:
                getattr(policy, "stop", nobody)()
            except Exception:
                log.failure("policy {name} could not be stopped", name=name)


def make_all_policies(
    config: RelayConfig, reactor: Any, known: Mapping[str, Policies] | None = None
) -> dict[str, Policies]:
    """
    Make the policies of all routes that have any, by the routes' names.

    :param known: those there are; a route whose ``policies`` are as they were keeps its own.
    :raises ValueError: as `make_policies`.
    """
    made = {}
    for route in config.routes:
        if route.policies:
            old = (known or {}).get(route.name)
            if old is None or old.calls != route.policies:
                old = make_policies(route.policies, reactor)
            made[route.name] = old
    return made


def make_policies(calls: tuple[PluginCall, ...], reactor: Any) -> Policies:
    """
    Make the policies that a route names.

    :raises ValueError: one cannot be made; the text is for the operator.
    """
    made = Policies(tuple((call.name, make_policy(call, reactor)) for call in calls), calls)
    if reserved := made.headers & RESERVED:
        name = min(reserved).decode()
        raise ValueError(f"{name} is the relay's to write, and no policy's; choose another name")
    return made


@define(eq=False)
class Admission:
    """
    Asks the policies of a route about one client, one after the other.

    Either *admitted* is called once, with what the policies say to the upstream, or the
    client is refused, or it leaves; the relay is told of the latter two.
    """

    relay: Relay
    client: ClientConnection
    route: RouteConfig
    policies: Policies
    handshake: Handshake
    facts: Facts
    admitted: Callable[[tuple[tuple[bytes, bytes], ...]], None]
    _left: Iterator[tuple[str, IAccessPolicy]] = field(init=False)
    _name: str = field(default="", init=False)  # of the policy that is asked
    _headers: list[tuple[bytes, bytes]] = field(factory=list, init=False)
    _answer: Deferred[Any] | None = field(default=None, init=False)
    _timer: IDelayedCall | None = field(default=None, init=False)
    _began_at: float = field(init=False)
    _over: bool = field(default=False, init=False)

    def begin(self) -> None:
        """Ask the first policy; called once."""
        self._left = iter(self.policies.policies)
        self._began_at = self.relay.reactor.seconds()
        self.relay.admissions.add(self)
        self.client.left = self._client_left
        self._go_on()

    def refuse(
        self,
        status: int,
        reason: str | bytes,
        refusal: str,
        headers: Sequence[tuple[bytes, bytes]] = RETRY_AFTER,
        detail: str = "",
    ) -> None:
        """
        Answer the client without letting it in.

        :param refusal: see `Facts.refusal`.
        :param detail: for the log, in place of *reason*.
        """
        self._end()
        said = detail or (reason if isinstance(reason, str) else "")
        self.relay.refused_early(self.client, status, said, refusal)
        self.client.answer(status, reason, headers)

    def _client_left(self) -> None:
        self._end()
        reason = "The client left before it was answered."
        self.relay.refused_early(self.client, 499, reason, "client-left")

    def _go_on(self) -> None:
        """Ask the policies that are left, until one takes its time."""
        for name, policy in self._left:
            self._name = name
            try:
                answer = policy.admit(self.handshake)
                if isinstance(answer, Deferred):
                    self._await(answer)
                    return
                self._take(answer)
            except Exception:
                self._failed(Failure())
            if self._over:
                return
        self._end()
        self.facts.phases["policies"] = self.relay.reactor.seconds() - self._began_at
        try:
            self.admitted(tuple(self._headers))
        except Exception:
            log.failure("session {id}: could not go on once it was admitted", id=self.client.id)
            self.client.abort()

    def _await(self, answer: Deferred[Any]) -> None:
        self._answer = answer
        self._timer = self.relay.reactor.callLater(self.route.policy_timeout, self._too_slow)
        answer.addCallback(self._answered)
        answer.addErrback(self._failed)

    def _answered(self, answer: Any) -> None:
        if self._over:
            return
        self._stop_waiting()
        self._take(answer)
        if not self._over:
            self._go_on()

    def _take(self, answer: Any) -> None:
        """Take a policy's answer; what is none counts as a failure."""
        if isinstance(answer, Deny):
            self._deny(answer)
        elif isinstance(answer, Admit):
            self._admit(answer)
        elif answer is not None:
            raise TypeError(f"admit returned {answer!r}; None, Admit or Deny were expected")

    def _deny(self, denial: Deny) -> None:
        if not 300 <= denial.status <= 599:
            raise ValueError(f"{denial.status} denies nothing; 300 to 599 were expected")
        headers = _encoded(denial.headers)
        body = denial.body or "Access to this path is refused."
        detail = f"denied by {self._name}{_why(denial)}"
        self.refuse(denial.status, body, "policy", headers, detail)

    def _admit(self, answer: Admit) -> None:
        if answer.expires_at is not None:
            if answer.expires_at <= time.time():
                reason = "What lets you in has expired; get it anew."
                self.refuse(403, reason, "policy", (), f"{self._name}: expired already")
                return
            before = self.facts.expires_at
            self.facts.expires_at = min(before or answer.expires_at, answer.expires_at)
        headers = _encoded(answer.headers)
        for name, _ in headers:
            if name.lower().replace(b"_", b"-") in RESERVED:
                raise ValueError(f"{name.decode()} is the relay's to write")
        self._headers += headers
        if answer.tags:
            self.facts.tags |= frozenset(map(str, answer.tags))

    def _too_slow(self) -> None:
        log.warn(
            "session {id}: policy {policy} of route {route} did not answer in time",
            id=self.client.id,
            policy=self._name,
            route=self.route.name,
        )
        reason = "Whether you may connect could not be found out in time; try again."
        detail = f"{self._name} did not answer in time"
        self.refuse(504, reason, "policy-failed", RETRY_AFTER, detail)

    def _failed(self, failure: Failure) -> None:
        if self._over:  # what was cancelled says so
            if not failure.check(CancelledError):
                log.debug("policy {policy} failed when it was late", policy=self._name)
            return
        who, route = self.client.id, self.route.name
        if failure.check(CannotTell):
            why = failure.getErrorMessage()
            log.warn(
                "session {id}: policy {policy} of route {route}: {why}",
                id=who,
                policy=self._name,
                route=route,
                why=why,
            )
        else:
            log.failure(
                "session {id}: policy {policy} of route {route} failed",
                failure,
                id=who,
                policy=self._name,
                route=route,
            )
        reason = "Whether you may connect could not be found out; the relay's log says why."
        self.refuse(500, reason, "policy-failed", (), f"{self._name} failed")

    def _end(self) -> None:
        """Wait for nothing any more."""
        self._over = True
        self.client.left = nobody
        self.relay.admissions.discard(self)
        answer = self._answer
        self._stop_waiting()
        if answer is None:
            return
        try:
            answer.cancel()
        except Exception:
            log.failure("policy {policy} could not be called off", policy=self._name)

    def _stop_waiting(self) -> None:
        self._answer = None
        if self._timer is not None and self._timer.active():
            self._timer.cancel()


def _why(denial: Deny) -> str:
    """Return what the client is told, for the log, if it is a sentence and no page."""
    body = denial.body
    if not isinstance(body, str) or not 0 < len(body) <= _SENTENCE or "\n" in body:
        return ""
    return f": {body}"


def _encoded(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    """
    Return a policy's headers as they go on the wire.

    :raises ValueError: one would be no header, or more than one.
    """
    for name, value in headers:
        if not _NAME.fullmatch(name) or _CONTROL.search(value):
            raise ValueError(f"{name!r} cannot be sent with this value: {value!r}")
    return [
        (name.encode(), value.strip().encode("utf-8", "surrogateescape")) for name, value in headers
    ]
