"""What each relay says of itself every two seconds, and what the others say."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from wsrelay.admin.control import Json, Soon
from wsrelay.cluster.client import Meters, Redis
from wsrelay.cluster.connection import Away
from wsrelay.cluster.keys import Keys
from wsrelay.cluster.scripts import REPORT
from wsrelay.log import Logger

__all__ = ["EVERY", "GOOD_FOR", "Reports"]

log = Logger()

EVERY: Final = 2.0
"""Seconds between two reports."""

GOOD_FOR: Final = 10.0
"""Seconds for which a report is shown."""

LARGEST: Final = 64 * 1024
"""Bytes of a report; of a larger one the single upstreams are left out."""


@frozen
class _Report:
    """What a relay said of itself, and when that was, by this relay's clock."""

    words: Json
    at: float


@define(eq=False)
class Reports:
    """
    The relays of a cluster, as they describe themselves.

    :param name: of this relay.
    :param describe: returns what this relay says of itself, or a Deferred of it.
    :param seconds: the monotonic time.
    """

    name: str
    describe: Callable[[], Soon[Json]]
    keys: Keys
    seconds: Callable[[], float]
    meters: Meters
    redis: Redis | None = None
    _known: dict[str, _Report] = field(factory=dict, init=False)
    _timer: IDelayedCall | None = field(default=None, init=False)

    def relays(self) -> list[Json]:
        """Return what is known of each relay, with its name and the age of that."""
        now = self.seconds()
        return [
            {**each.words, "name": name, "age_s": round(now - each.at, 1)}
            for name, each in sorted(self._known.items())
            if now - each.at < GOOD_FOR
        ]

    def begin(self) -> None:
        """Report now, and every two seconds; Redis is up."""
        self._stop_timer()
        if self.redis is None or not self.redis.is_up:
            return
        self._timer = self.redis.reactor.callLater(EVERY, self.begin)
        described: Deferred[Any] = maybeDeferred(self.describe)
        described.addCallback(self._report)
        described.addErrback(_failed)

    def pause(self) -> None:
        """Report no more; Redis is away, and nobody can be seen."""
        self.meters.relays = 1
        self._stop_timer()

    def leave(self) -> None:
        """Be no more among the relays."""
        self.pause()
        if self.redis is not None:
            self.redis.tell("HDEL", self.keys.reports, self.name)
            self.redis.tell("ZREM", self.keys.fresh, self.name)

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _report(self, words: Json) -> Deferred[Any] | None:
        if self.redis is None or not self.redis.is_up:
            return None
        text = json.dumps(words)
        if len(text) > LARGEST:
            text = json.dumps(_shortened(words))
        keys = (self.keys.reports, self.keys.fresh)
        report = ("EVALSHA", REPORT.sha, 2, *keys, self.name, text, round(GOOD_FOR * 1000))
        return self.redis.call(*report).addCallback(self._take)

    def _take(self, answer: list[Any]) -> None:
        now, known = self.seconds(), {}
        rows = zip(answer[::3], answer[1::3], answer[2::3], strict=True)
        for name, text, age in rows:
            try:
                words = json.loads(text)
            except ValueError:
                continue
            if isinstance(words, dict):
                known[name.decode("utf-8", "replace")] = _Report(words, now - age / 1000)
        self._known = known
        self.meters.relays = max(len(known), 1)


def _shortened(words: Json) -> Json:
    pools = [{**pool, "upstreams": []} for pool in words.get("pools", ())]
    return {**words, "pools": pools}


def _failed(failure: Failure) -> None:
    if not failure.check(Away):
        log.failure("this relay could not be described to others", failure)
