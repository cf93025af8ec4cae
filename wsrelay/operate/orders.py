"""Orders that are done when the relay has answered."""

from __future__ import annotations

import re
from argparse import Namespace
from difflib import get_close_matches
from typing import Any

from wsrelay.operate.client import Client
from wsrelay.operate.console import Console
from wsrelay.operate.facts import Json, items, text
from wsrelay.operate.target import Target, path_of
from wsrelay.operate.troubles import Refused, Trouble

__all__ = ["close", "make_ready", "reload", "send", "set_weight"]

_FEW = 15
"""So many names are all listed when none is like the one that was asked for."""


def make_ready(options: Namespace, relay: Client, console: Console) -> int:
    """Take a drain back."""
    target: Target = options.target
    if target.upstream:
        answer = send(relay, target, "PATCH", target.path(), {"state": "ready"})
    else:
        answer = send(relay, target, "POST", target.path("ready"))
    return _done(console, answer, f"{target} is ready")


def set_weight(options: Namespace, relay: Client, console: Console) -> int:
    """Give an upstream another weight."""
    target: Target = options.target
    answer = send(relay, target, "PATCH", target.path(), {"weight": options.weight})
    return _done(console, answer, f"{target} has weight {options.weight}")


def close(options: Namespace, relay: Client, console: Console) -> int:
    """Close one session."""
    path = path_of("sessions", options.id, code=options.code, reason=options.reason)
    answer = relay.ask("DELETE", path)
    return _done(console, answer, f"session {options.id} is being closed")


def reload(_options: Namespace, relay: Client, console: Console) -> int:
    """Read the configuration again, and say what changed."""
    answer = relay.ask("POST", path_of("reload"))
    if console.as_json:
        return _done(console, answer, "")
    changes = answer.get("changes") if isinstance(answer, dict) else None
    for change in changes if isinstance(changes, list) and changes else ["nothing changed"]:
        console.say(str(change))
    return 0


def _done(console: Console, answer: Json, sentence: str) -> int:
    if console.as_json:
        console.document(answer)
    else:
        console.say(sentence)
    return 0


def send(relay: Client, target: Target, method: str, path: str, body: Any = None) -> Json:
    """
    Send an order about *target* and return the answer.

    :raises Refused: if the relay knows no such target, with the names that come near.
    """
    try:
        answer = relay.ask(method, path, body)
    except Refused as error:
        if error.status != 404 or re.search("did you mean|known:", str(error)):
            raise
        message = f"{str(error).rstrip('.')}{_names(relay, target)}"
        raise Refused(404, message, error.errors, error.answer) from error
    return answer if isinstance(answer, dict) else {}


def _names(relay: Client, target: Target) -> str:
    """Return a hint at the names there are; the refusal stands without it, too."""
    try:
        pools = items(relay.status(), "pools")
    except Trouble:
        return ""
    names = [text(pool, "name") for pool in pools]
    wanted = target.pool
    if target.upstream:
        wanted = f"{target.pool}/{target.upstream}"
        names = [
            f"{text(pool, 'name')}/{text(upstream, 'name')}"
            for pool in pools
            for upstream in items(pool, "upstreams")
        ]
    if near := get_close_matches(wanted, names, n=3):
        return f"; did you mean {' or '.join(near)}?"
    return f"; known: {', '.join(names)}" if 0 < len(names) <= _FEW else ""
