"""Running one of the commands: the relay is found, asked, and every trouble has an exit code."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping
from typing import Final

from wsrelay.operate.client import Client, trust
from wsrelay.operate.console import Console, make_console
from wsrelay.operate.drains import drain, rebalance
from wsrelay.operate.orders import close, make_ready, reload, set_weight
from wsrelay.operate.publish import publish
from wsrelay.operate.sessions import show_sessions
from wsrelay.operate.status import show_status
from wsrelay.operate.top import show_top
from wsrelay.operate.troubles import BadSetting, Refused, Trouble
from wsrelay.operate.whereabouts import find

__all__ = ["run"]

Command = Callable[[Namespace, Client, Console], int]

_COMMANDS: Final[dict[str, Command]] = {
    "status": show_status,
    "top": show_top,
    "drain": drain,
    "ready": make_ready,
    "weight": set_weight,
    "rebalance": rebalance,
    "sessions": show_sessions,
    "close": close,
    "publish": publish,
    "reload": reload,
}

_DEFAULTS: Final = {"admin": "", "config": "", "token_file": "", "ca": "", "timeout": 0.0}
_PATIENCE: Final = {"reload": 65.0, "publish": 65.0}
"""Seconds; the relay says so itself when one of these has lasted 60."""

_INTERRUPTED: Final = 130
_PIPE_CLOSED: Final = 141


def run(arguments: Namespace) -> int:
    """Run a command and return its exit code; see docs/commands.rst for what each means."""
    options = Namespace(**{**_DEFAULTS, "json": False, **vars(arguments)})
    console = make_console(sys.stdout, sys.stderr, os.environ, options.json)
    try:
        return _COMMANDS[options.command](options, _client(options, os.environ), console)
    except Trouble as trouble:
        return _tell(trouble, console)
    except BrokenPipeError:
        # Whoever read has enough; Python would complain about what it could not flush.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        return _PIPE_CLOSED
    except KeyboardInterrupt:
        return _INTERRUPTED


def _client(options: Namespace, env: Mapping[str, str]) -> Client:
    found = find(options, env)
    secure = found.address.scheme == "https"
    if options.ca and not secure:
        raise BadSetting(f"--ca: {found.address} is not https, so nobody signs anything there")
    timeout = options.timeout or _PATIENCE.get(options.command, 10.0)
    tls = trust(options.ca or None) if secure else None
    return Client(found.address, found.token, timeout, tls)


def _tell(trouble: Trouble, console: Console) -> int:
    if isinstance(trouble, Refused) and console.as_json and trouble.answer is not None:
        console.document(trouble.answer)
    console.complain(f"wsrelay: {trouble}")
    for line in trouble.errors if isinstance(trouble, Refused) else ():
        console.complain(line)
    return trouble.exit_code
