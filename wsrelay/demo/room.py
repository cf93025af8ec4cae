"""
The chat room that the demo's upstreams share: who is in it, and what was said.

Everything here is plain data: time comes in as an argument, and messages leave
through `IMember.deliver`.  Texts travel as JSON objects with a ``type``:

to a member
    ``welcome``, ``said``, ``joined``, ``left``, ``renamed``, ``sessions``,
    ``pong``, ``missed`` and ``error``

from a member
    ``say`` (``text``), ``name`` (``name``) and ``ping`` (``id``, an integer)
"""

from __future__ import annotations

import json
import unicodedata
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from attrs import define

__all__ = ["HISTORY", "MESSAGE_LIMIT", "NAME_LIMIT", "TEXT_LIMIT", "IMember", "Room"]

HISTORY = 50
"""How many of the last messages a newcomer is shown."""

MESSAGE_LIMIT = 4096
"""The largest message a member may send, in bytes."""

NAME_LIMIT = 24
"""The longest name, in characters."""

TEXT_LIMIT = 500
"""The longest text of one message, in characters."""

# These turn the direction of the text around them, names of other people included.
_DIRECTION_MARKS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class IMember(Protocol):
    """A connection that takes part in the chat."""

    upstream: str
    """The name of the upstream that carries it."""

    def deliver(self, payload: bytes) -> None:
        """Send one text message, or skip it.  Must not raise."""


class _RequestError(Exception):
    """What a member sent makes no sense; the text tells the member why."""


@define
class _Person:
    id: int
    name: str
    upstream: str

    def facts(self) -> dict[str, Any]:
        return {"id": self.id, "name": self.name, "upstream": self.upstream}


class Room:
    """
    One room for the whole process, so that people on different upstreams meet.

    :param upstreams: the names of all upstreams, in the order in which they are shown.
    """

    def __init__(self, upstreams: Sequence[str]) -> None:
        self._people: dict[IMember, _Person] = {}
        self._sessions: dict[str, int] = dict.fromkeys(upstreams, 0)
        self._history: deque[dict[str, Any]] = deque(maxlen=HISTORY)
        self._arrivals = 0
        self._last_time = 0.0

    def count_session(self, upstream: str, change: int) -> None:
        """Note that *upstream* has one session more (``1``) or less (``-1``)."""
        self._sessions[upstream] += change

    def announce_sessions(self) -> None:
        """Tell everybody how many sessions and people each upstream has."""
        self._broadcast({"type": "sessions", "counts": self._counts()})

    def join(self, member: IMember, name: str, now: float) -> None:
        """
        Let *member* in: greet it with the history, and tell the others.

        :param name: what it wants to be called; a name is made up when nothing
            usable is left after cleaning.
        :param now: seconds since the epoch.
        """
        self._arrivals += 1
        person = _Person(self._arrivals, _clean_name(name), member.upstream)
        person.name = person.name or f"guest {person.id}"
        self._broadcast(self._notice("joined", person, now, extra=member))
        self._people[member] = person
        history = list(self._history)
        welcome = {"type": "welcome", **person.facts(), "history": history}
        member.deliver(_encode({**welcome, "counts": self._counts()}))

    def leave(self, member: IMember, now: float) -> None:
        """Let *member* go and tell the others; one that is not in is ignored."""
        person = self._people.pop(member, None)
        if person is not None:
            self._broadcast(self._notice("left", person, now))

    def receive(self, member: IMember, payload: bytes, now: float) -> None:
        """
        Do what *member* asks for, or tell it politely why not.

        :param payload: a text message as it came.
        :param now: seconds since the epoch.
        """
        try:
            message = _decode(payload)
            action = self._action(message)
            action(member, message, now)
        except _RequestError as error:
            member.deliver(_encode({"type": "error", "message": str(error)}))

    def _action(self, message: Mapping[str, Any]) -> _Action:
        kind = message.get("type")
        actions: dict[object, _Action] = {"say": self._say, "name": self._name, "ping": self._ping}
        # Only a text can be looked up: what JSON calls an object or a list has no hash.
        if not isinstance(kind, str) or kind not in actions:
            raise _RequestError(f"'type' must be one of: {', '.join(map(str, actions))}.")
        return actions[kind]

    def _say(self, member: IMember, message: Mapping[str, Any], now: float) -> None:
        text = _clean_text(_text_of(message, "text"))
        if not text:
            raise _RequestError("There is nothing to read in this message.")
        facts = self._people[member].facts()
        said = {"type": "said", **facts, "text": text, "time": self._next_time(now)}
        self._history.append(said)
        self._broadcast(said)

    def _name(self, member: IMember, message: Mapping[str, Any], now: float) -> None:
        name = _clean_name(_text_of(message, "name"))
        if not name:
            raise _RequestError("There is nothing to read in this name.")
        person = self._people[member]
        was, person.name = person.name, name
        time = self._next_time(now)
        self._broadcast({"type": "renamed", **person.facts(), "was": was, "time": time})

    def _ping(self, member: IMember, message: Mapping[str, Any], now: float) -> None:
        number = message.get("id")
        if not isinstance(number, int):
            raise _RequestError("'id' must be an integer; it comes back in the answer.")
        member.deliver(_encode({"type": "pong", "id": number}))

    def _notice(
        self, kind: str, person: _Person, now: float, extra: IMember | None = None
    ) -> dict[str, Any]:
        counts = self._counts([extra] if extra else [])
        return {"type": kind, **person.facts(), "time": self._next_time(now), "counts": counts}

    def _counts(self, arriving: Iterable[IMember] = ()) -> dict[str, dict[str, int]]:
        people = Counter(member.upstream for member in (*self._people, *arriving))
        return {
            name: {"sessions": sessions, "people": people[name]}
            for name, sessions in self._sessions.items()
        }

    def _next_time(self, now: float) -> float:
        """Never the same time twice, so that who comes back knows what is new."""
        self._last_time = max(round(now, 6), round(self._last_time + 1e-6, 6))
        return self._last_time

    def _broadcast(self, message: Mapping[str, Any]) -> None:
        payload = _encode(message)
        for member in tuple(self._people):
            member.deliver(payload)


_Action = Callable[[IMember, Mapping[str, Any], float], None]


def _encode(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()


def _decode(payload: bytes) -> Mapping[str, Any]:
    if len(payload) > MESSAGE_LIMIT:
        raise _RequestError(
            f"This message has {len(payload)} bytes; at most {MESSAGE_LIMIT} are allowed."
        )
    try:
        message = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise _RequestError("A message must be one JSON object.") from error
    if not isinstance(message, dict):
        raise _RequestError("A message must be one JSON object.")
    return message


def _text_of(message: Mapping[str, Any], key: str) -> str:
    value = message.get(key)
    if not isinstance(value, str):
        raise _RequestError(f"'{key}' must be a text.")
    return value


def _clean_name(name: str) -> str:
    """One line without control, format or unassigned characters."""
    printable = (" " if unicodedata.category(c)[0] in "CZ" else c for c in name)
    return " ".join("".join(printable).split())[:NAME_LIMIT].rstrip()


def _clean_text(text: str) -> str:
    """Keep lines and joined emoji; drop what a terminal or a page could trip over."""
    kept = (
        c
        for c in text
        if c == "\n" or (unicodedata.category(c) not in ("Cc", "Cs") and c not in _DIRECTION_MARKS)
    )
    return "".join(kept).strip()[:TEXT_LIMIT].rstrip()
