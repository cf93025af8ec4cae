"""``policies = basic``: a user's name and password, from a file of htpasswd."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any, Final

import bcrypt
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.threads import deferToThreadPool
from zope.interface import implementer

from wsrelay.config.lines import header_name
from wsrelay.config.values import Parser, duration, word_or
from wsrelay.interfaces import Admit, Deny, IAccessPolicy, IHandshake
from wsrelay.policies.cache import Cache, Digest
from wsrelay.policies.credentials import Ambiguous, authorization
from wsrelay.policies.htpasswd import parse
from wsrelay.policies.options import quotable, read
from wsrelay.policies.shared import Shared
from wsrelay.policies.watched import Watched

__all__ = ["Basic"]

AT_ONCE: Final = 2
"""Threads that check passwords: each keeps a processor busy, and names are resolved in others."""

MOST_WAITING: Final = 100
"""Passwords that are checked or wait for it; whoever comes then is told to come again."""

REMEMBERED: Final = 10_000
"""Passwords that were right."""

LONGEST: Final = 72
"""Bytes of a password that bcrypt looks at; htpasswd and nginx drop the rest as well."""

InThread = Callable[[Callable[..., bool], bytes, bytes], "Deferred[bool]"]

_OPTIONS: Final[Mapping[str, tuple[Parser, Any]]] = {
    "file": (str, None),
    "realm": (quotable, "wsrelay"),
    "cache": (word_or("off", duration, 0.0), 60.0),
    "user_header": (header_name, None),
}


@implementer(IAccessPolicy)
class Basic:
    """
    Lets in who knows a password (RFC 7617).

    bcrypt is slow on purpose, so it runs in threads, for so many at once; who was right is
    remembered.  A user that does not exist takes as long as one that does.

    :param in_thread: calls a function with arguments in a thread, in tests.
    :param options: see docs/policies.rst.
    :raises ValueError: an option is bad, or the file.
    """

    def __init__(self, reactor: Any, *, in_thread: InThread | None = None, **options: str) -> None:
        found = read(options, _OPTIONS, file="users.htpasswd")
        self._reactor = reactor
        self._in_thread = in_thread or self._in_pool
        self._users = Watched(found["file"], parse)
        self._user_header: str | None = found["user_header"]
        self.headers = (self._user_header,) if self._user_header else ()
        self._lifetime: float = found["cache"]
        challenge = f'Basic realm="{found["realm"]}", charset="UTF-8"'
        self._denial = Deny(
            401, [("WWW-Authenticate", challenge)], "Log in with a user's name and password."
        )
        self._digest = Digest()
        self._known: Cache[bool] = Cache(REMEMBERED)
        self._checked: Shared[Admit | Deny | None] = Shared()
        self._turns = DeferredSemaphore(AT_ONCE)

    def admit(self, request: IHandshake) -> Admit | Deny | Deferred[Admit | Deny | None]:
        """Check the password that comes with a request."""
        try:
            sent = authorization("basic", request)
        except Ambiguous as error:
            return Deny(400, body=str(error))
        credentials = None if sent is None else _credentials(sent)
        return self._denial if credentials is None else self._check(*credentials)

    def stop(self) -> None:
        """Check no more."""
        self._checked.stop()

    def _check(self, user: str, password: bytes) -> Admit | Deny | Deferred[Admit | Deny | None]:
        now = self._reactor.seconds()
        users = self._users.value(now)
        hashed = users.get(user)
        key = self._digest.of([user.encode(), password, hashed or b""])
        if hashed is not None and self._known.get(key, now):
            return self._admitted(user)
        if not users:
            return self._denial
        if key not in self._checked and len(self._checked) >= MOST_WAITING:
            busy = "Too many passwords are being checked; try again."
            return Deny(503, [("Retry-After", "1")], busy)
        against = hashed or _somebodys(user, users, self._digest)

        def decide(matches: bool) -> Admit | Deny:
            if not (matches and hashed):
                return self._denial
            self._known.put(key, True, self._reactor.seconds() + self._lifetime)
            return self._admitted(user)

        return self._checked.do(key, lambda: self._compare(password, against).addCallback(decide))

    def _admitted(self, user: str) -> Admit:
        headers = [(name, user) for name in self.headers]
        return Admit(headers=headers, tags=[f"user:{user}"])

    def _compare(self, password: bytes, against: bytes) -> Deferred[Any]:
        """Run bcrypt in its turn, which lasts as long as the thread does, wanted or not."""
        compared: Deferred[bool] = Deferred()

        def begin(_: object) -> Deferred[bool]:
            self._in_thread(_matches, password, against).addBoth(end)
            return compared

        def end(result: Any) -> None:
            self._turns.release()
            compared.callback(result)  # which Twisted drops if it was cancelled

        return self._turns.acquire().addCallback(begin)

    def _in_pool(self, check: Callable[..., bool], *arguments: bytes) -> Deferred[bool]:
        pool = self._reactor.getThreadPool()
        return deferToThreadPool(self._reactor, pool, check, *arguments)


def _matches(password: bytes, hashed: bytes) -> bool:
    """Compare in a thread; bcrypt lets go of Python's lock meanwhile."""
    return bcrypt.checkpw(password[:LONGEST], hashed)


def _credentials(text: str) -> tuple[str, bytes] | None:
    """Return user and password; None if there are none that a file could have."""
    try:
        whole = base64.b64decode(text.encode("latin-1"), validate=True)
        user, colon, password = whole.partition(b":")
        # Where C reads a password it ends at the first NUL: there it would be another one.
        return (user.decode(), password) if colon and b"\0" not in whole else None
    except ValueError:
        return None


def _somebodys(user: str, users: Mapping[str, bytes], digest: Digest) -> bytes:
    """
    Return the hash of anybody, always the same for a *user* that does not exist.

    So the time that it takes tells nothing, even if costs differ from user to user.
    """
    number = int.from_bytes(digest.of([user.encode()])) % len(users)
    return list(users.values())[number]
