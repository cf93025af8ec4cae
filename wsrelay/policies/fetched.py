"""The keys that a URL answers with, which change now and then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from wsrelay.discovery.trouble import Trouble
from wsrelay.interfaces import CannotTell
from wsrelay.policies.asking import Answer, Asker
from wsrelay.policies.keys import Key
from wsrelay.policies.shared import Shared

__all__ = ["MOST_READ", "FetchedKeys"]

Keys = tuple[Key, ...]

MOST_READ: Final = 256 * 1024
"""Bytes of a key set."""

RETRY: Final = 10.0
"""Seconds between two questions, whoever asks for whatever key."""

FIRST_RETRY: Final = 1.0
"""The same, as long as there was no answer at all."""

_WORK: Final = b"fetch"


class FetchedKeys:
    """
    Keys that are fetched when they are needed, and again when they are old.

    A key that is not among them is looked for at most every `RETRY` seconds.  When they cannot
    be fetched, those from before stay in use, and the log says why.

    :param parse: makes the keys of a body.
    :param ttl: seconds that they are good for.
    """

    def __init__(
        self, reactor: Any, asker: Asker, name: str, parse: Callable[[bytes], Keys], ttl: float
    ) -> None:
        self._reactor = reactor
        self._asker = asker
        self._name = name
        self._parse = parse
        self._ttl = ttl
        self._trouble = Trouble(name)
        self._keys: Keys = ()
        self._fetched_at = self._tried_at = float("-inf")
        self._fetches: Shared[Keys] = Shared()

    def find(self, kid: str | None) -> Keys | Deferred[Keys]:
        """
        Return the keys, of which one is hopefully called *kid*.

        :raises CannotTell: there are none, nor were there any; so does the Deferred.
        """
        now = self._reactor.seconds()
        is_fresh = now - self._fetched_at < self._ttl
        if self._keys and is_fresh and (kid is None or any(kid == key.kid for key in self._keys)):
            return self._keys
        if now - self._tried_at >= (RETRY if self._keys else FIRST_RETRY):
            # One that nobody cancels: clients that come and go must not keep a new key away.
            self._fetches.do(_WORK, self._fetch).addErrback(lambda _: None)
        if _WORK in self._fetches:
            return self._fetches.do(_WORK, self._fetch)
        if not self._keys:
            raise CannotTell(self._trouble.text)
        return self._keys

    def stop(self) -> None:
        """Fetch no more."""
        self._fetches.stop()
        self._asker.stop()

    def _fetch(self) -> Deferred[Keys]:
        self._tried_at = self._reactor.seconds()
        asked = self._asker.ask([(b"Accept", b"application/json")])
        taken = asked.addCallback(self._take)
        taken.addErrback(self._failed)
        return taken

    def _take(self, answer: Answer) -> Keys:
        if answer.status != 200 or answer.body is None:
            what = "too much" if answer.body is None else str(answer.status)
            raise CannotTell(f"{self._name} answered {what}; expected 200 and a key set")
        try:
            self._keys = self._parse(answer.body)
        except ValueError as error:
            raise CannotTell(f"what {self._name} answered {error}") from error
        self._fetched_at = self._reactor.seconds()
        self._trouble.clear()
        return self._keys

    def _failed(self, failure: Failure) -> Any:
        """Go on with the keys from before, if there are any."""
        self._trouble.say(failure.getErrorMessage() or "the question was called off")
        return self._keys or failure
