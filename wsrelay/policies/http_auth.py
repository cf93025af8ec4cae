"""``policies = http-auth``: another server decides, as nginx's auth_request has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.web.iweb import IAgent
from zope.interface import implementer

from wsrelay.config.lines import header_name
from wsrelay.config.values import Parser, duration, word_or
from wsrelay.interfaces import Admit, CannotTell, Deny, IAccessPolicy, IHandshake
from wsrelay.policies.asking import Answer, Asker
from wsrelay.policies.cache import Cache, Digest
from wsrelay.policies.credentials import finder
from wsrelay.policies.options import Url, listed, read, web_url
from wsrelay.policies.question import fields_about, lifetime
from wsrelay.policies.shared import Shared

__all__ = ["HttpAuth"]

MOST_READ: Final = 64 * 1024
"""Bytes of an answer's body that are read, to keep the connection; nobody looks at them."""

REMEMBERED: Final = 10_000
"""Answers."""

_OPTIONS: Final[Mapping[str, tuple[Parser, Any]]] = {
    "url": (web_url, None),
    "ca_file": (str, None),
    "timeout": (duration, 4.0),
    "pass": (listed(header_name), ()),
    "tag": (header_name, None),
    "cache": (word_or("off", duration, 0.0), 5.0),
    "cache_key": (listed(finder), ()),
}


@implementer(IAccessPolicy)
class HttpAuth:
    """
    Asks a URL about each client.

    An answer of 2xx lets it in; 401 and 403 keep it out, with their WWW-Authenticate.
    Anything else is a failure, and so is no answer.  Who is asked about by several at a time
    is asked about once; who was let in stays so for a while.

    :param agent: what asks, in tests.
    :param options: see docs/policies.rst.
    :raises ValueError: an option is bad.
    """

    def __init__(self, reactor: Any, *, agent: IAgent | None = None, **options: str) -> None:
        found = read(options, _OPTIONS, url="http://127.0.0.1:9000/auth")
        url: Url = found["url"]
        self._name = url.name
        self._reactor = reactor
        self._asker = Asker(
            reactor,
            url,
            ca_file=found["ca_file"],
            timeout=found["timeout"],
            most=MOST_READ,
            agent=agent,
        )
        self.headers: tuple[str, ...] = found["pass"]
        self._tag: str | None = found["tag"]
        self._longest: float = found["cache"]
        self._key = found["cache_key"]
        self._digest = Digest()
        self._known: Cache[Admit] = Cache(REMEMBERED)
        self._asked: Shared[Admit | Deny | None] = Shared()

    def admit(self, request: IHandshake) -> Admit | Deferred[Admit | Deny | None]:
        """Return what is known of the client, or ask about it."""
        fields = fields_about(request)
        key = self._digest.of(self._parts(request, fields))
        if (known := self._known.get(key, self._reactor.seconds())) is not None:
            return known
        return self._asked.do(key, lambda: self._asker.ask(fields).addCallback(self._answered, key))

    def stop(self) -> None:
        """Ask nobody any more."""
        self._asked.stop()
        self._asker.stop()

    def _parts(self, request: IHandshake, fields: list[tuple[bytes, bytes]]) -> list[bytes]:
        """Return what the answer depends on."""
        if not self._key:
            return [part for field in fields for part in field]
        found = [find(request) for find in self._key]
        return [b"" if each is None else b"=" + each.encode("latin-1") for each in found]

    def _answered(self, answer: Answer, key: bytes) -> Admit | Deny:
        if answer.status in (401, 403):
            challenges = _texts(answer, "WWW-Authenticate")
            return Deny(answer.status, [("WWW-Authenticate", each) for each in challenges])
        if not 200 <= answer.status <= 299:
            what = f"{self._name} answered {answer.status}"
            raise CannotTell(f"{what}; 2xx lets a client in, 401 and 403 keep it out")
        admitted = Admit(headers=self._headers_of(answer), tags=self._tags_of(answer))
        seconds = lifetime(_texts(answer, "Cache-Control"), self._longest)
        if seconds:
            self._known.put(key, admitted, self._reactor.seconds() + seconds)
        return admitted

    def _headers_of(self, answer: Answer) -> list[tuple[str, str]]:
        return [(name, value) for name in self.headers for value in _texts(answer, name)]

    def _tags_of(self, answer: Answer) -> list[str]:
        values = "" if self._tag is None else ",".join(_texts(answer, self._tag))
        return [tag for each in values.split(",") if (tag := each.strip())]


def _texts(answer: Answer, name: str) -> list[str]:
    """Return the values of a header; what they are sent on as is UTF-8, whatever they were."""
    values = answer.headers.getRawHeaders(name.encode(), [])
    return [value.decode("utf-8", "surrogateescape") for value in values]
