"""``wsrelay drain`` and ``rebalance``: orders that take a while, and watching them."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Callable
from typing import Any, Final

from attrs import define, frozen

from wsrelay.operate.client import Client
from wsrelay.operate.console import Console
from wsrelay.operate.facts import Json, count, items, member, text
from wsrelay.operate.orders import send
from wsrelay.operate.status import progress
from wsrelay.operate.target import Target
from wsrelay.operate.troubles import Unreachable
from wsrelay.operate.units import some

__all__ = ["Look", "drain", "look_at_drain", "look_at_rebalance", "rebalance"]

LOOK_EVERY: Final = 0.5
"""Seconds between two looks at what is under way."""

TELL_EVERY: Final = 2.0
"""Seconds between two lines where there is no terminal to draw one line again."""


@frozen
class Look:
    """How far it is; *over* and not *good* is an end that nobody ordered."""

    sentence: str
    facts: Json
    over: bool = False
    good: bool = True


def drain(options: Namespace, relay: Client, console: Console) -> int:
    """Drain an upstream, a pool or the relay."""
    target: Target = options.target
    if target.upstream:
        answer = send(relay, target, "PATCH", target.path(), {"state": "drain"})
    else:
        answer = send(relay, target, "POST", target.path("drain"))
    if options.wait:
        return _watch(relay, console, lambda status: look_at_drain(status, target))
    return _begun(console, answer, "drain", f"{target} is draining")


def rebalance(options: Namespace, relay: Client, console: Console) -> int:
    """Spread a pool's sessions anew."""
    target: Target = options.target
    answer = send(relay, target, "POST", target.path("rebalance"), {"rate": options.rate})
    if options.wait:
        return _watch(relay, console, lambda status: look_at_rebalance(status, target))
    return _begun(console, answer, "rebalance", f"{target} is rebalanced at {options.rate}")


def _begun(console: Console, answer: Json, key: str, sentence: str) -> int:
    if console.as_json:
        console.document(answer)
        return 0
    facts = answer if "left" in answer else member(answer, key)
    console.say(f"{sentence}: {progress(facts)}" if facts else sentence)
    return 0


def look_at_drain(status: Json, target: Target) -> Look:
    """Say how far a drain is."""
    subject = _subject(status, target)
    if subject is None:
        return Look(f"{target} is not there any more", {}, over=True)
    facts = member(subject, "drain")
    if _taken_back(subject, target, facts):
        return Look(f"{target} is ready again: somebody took the drain back", {}, True, good=False)
    if count(subject, "sessions") and not facts.get("done"):
        return Look(f"{target}: {_how_far(subject, facts)}", facts)
    if requests := count(subject, "requests"):
        return Look(f"{target}: {some(requests, 'plain request')} under way", facts)
    return Look(f"{target} is drained", facts, over=True)


def look_at_rebalance(status: Json, target: Target) -> Look:
    """Say how far a rebalancing is."""
    subject = _subject(status, target)
    if subject is None:
        return Look(f"{target} is not there any more", {}, over=True, good=False)
    facts = member(subject, "rebalance")
    if not facts or facts.get("done"):
        return Look(f"{target} is rebalanced", facts, over=True)
    return Look(f"{target}: {_how_far(subject, facts)}", facts)


def _how_far(subject: Json, facts: Json) -> str:
    return progress(facts) if facts else f"{some(count(subject, 'sessions'), 'session')} left"


def _subject(status: Json, target: Target) -> Json | None:
    if not target.pool:
        return status
    pool = _named(items(status, "pools"), target.pool)
    if pool is None or not target.upstream:
        return pool
    return _named(items(pool, "upstreams"), target.upstream)


def _named(candidates: list[Json], name: str) -> Json | None:
    return next((each for each in candidates if text(each, "name") == name), None)


def _taken_back(subject: Json, target: Target, facts: Json) -> bool:
    if target.upstream:
        return text(subject, "state") == "ready"
    if facts:
        return False
    if not target.pool:
        return subject.get("ready") is True
    upstreams = items(subject, "upstreams")
    return bool(upstreams) and all(text(each, "state") == "ready" for each in upstreams)


def _watch(relay: Client, console: Console, look: Callable[[Json], Look]) -> int:
    """Look again and again until it is over; Ctrl-C ends the looking only."""
    teller = _Teller(console)
    try:
        while True:
            found = look(_status(relay))
            teller.tell(found)
            if found.over:
                return 0 if found.good else 1
            time.sleep(LOOK_EVERY)
    except KeyboardInterrupt:
        teller.end_line()
        console.complain("wsrelay: no longer watching; what was ordered goes on")
        return 130


def _status(relay: Client) -> Json:
    """Return the status, of a relay that may be away for as long as one answer may take."""
    deadline = time.monotonic() + relay.timeout
    while True:
        try:
            return relay.status()
        except Unreachable:
            if time.monotonic() >= deadline:
                raise
            time.sleep(LOOK_EVERY)


@define
class _Teller:
    """Tells how far it is: one line drawn again on a terminal, else a line now and then."""

    console: Console
    _told: Any = None
    _at: float = float("-inf")
    _open: bool = False

    def tell(self, look: Look) -> None:
        news = (look.sentence, look.facts) if self.console.as_json else look.sentence
        if news == self._told or not (look.over or self._is_time()):
            return
        self._told, self._at = news, time.monotonic()
        if self.console.as_json:
            self.console.record({"text": look.sentence, "over": look.over, **look.facts})
        elif self.console.live:
            self._draw(look)
        else:
            self.console.say(look.sentence)

    def end_line(self) -> None:
        if self._open:
            print(file=self.console.out, flush=True)
        self._open = False

    def _is_time(self) -> bool:
        return self.console.live or time.monotonic() - self._at >= TELL_EVERY

    def _draw(self, look: Look) -> None:
        style = self.console.style
        line = style.fit(style.safe(look.sentence))
        print(f"\r{line}\x1b[K", end="\n" if look.over else "", file=self.console.out, flush=True)
        self._open = not look.over
