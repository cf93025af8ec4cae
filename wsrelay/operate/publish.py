"""``wsrelay publish``: a message for many clients."""

from __future__ import annotations

import sys
from argparse import Namespace
from base64 import b64encode
from typing import Final

from wsrelay.operate.client import Client
from wsrelay.operate.console import Console
from wsrelay.operate.facts import Json, count, member
from wsrelay.operate.target import path_of
from wsrelay.operate.troubles import BadSetting
from wsrelay.operate.units import some

__all__ = ["publish"]

LARGEST: Final = 64 * 1024
"""Bytes of a file, of which the relay takes not even so many."""


def publish(options: Namespace, relay: Client, console: Console) -> int:
    """Send a message, and say to how many."""
    answer = relay.ask("POST", path_of("publish"), _receivers(options) | _message(options))
    if console.as_json:
        console.document(answer)
    else:
        console.say(_sentence(answer if isinstance(answer, dict) else {}))
    return 0


def _receivers(options: Namespace) -> Json:
    named = {kind: getattr(options, kind) for kind in ("route", "pool", "tag")}
    return {kind: name for kind, name in named.items() if name is not None}


def _message(options: Namespace) -> Json:
    if options.binary_file is None:
        return {"text": options.text}
    return {"binary": b64encode(_content(options.binary_file)).decode()}


def _content(path: str) -> bytes:
    """Read the file, or as much of it as is too much for the relay to say so."""
    try:
        if path == "-":
            return sys.stdin.buffer.read(LARGEST)
        with open(path, "rb") as file:
            return file.read(LARGEST)
    except OSError as error:
        raise BadSetting(f"--binary-file: cannot read {path}: {error.strerror}") from error


def _sentence(answer: Json) -> str:
    skipped = member(answer, "skipped")
    sent = f"sent to {some(count(answer, 'sent'), 'session')}"
    reasons = ", ".join(f"{count(skipped, why)} {why}" for why in skipped)
    return f"{sent}; not sent to {reasons}" if reasons else sent
