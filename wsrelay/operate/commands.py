"""The command line of what steers a relay; docs/commands.rst is made from it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, TypeVar

from wsrelay.config.values import duration
from wsrelay.operate.rates import SORTS
from wsrelay.operate.target import Target, parse_target, parse_upstream

__all__ = ["add_commands", "add_options", "options_given"]

T = TypeVar("T")
Commands = Any
"""What ``add_subparsers`` returns; argparse keeps the class for itself."""

_FASTEST = 0.1
"""Seconds between two looks of ``top``: more would be a load of its own."""


def _read(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Let argparse print what *parse* has to say."""

    def read(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return read


OPTIONS: dict[str, dict[str, Any]] = {
    "--admin": {
        "metavar": "URL",
        "help": "the admin endpoint: http://127.0.0.1:9000, https://HOST or"
        " unix:/run/wsrelay/admin.sock; also WSRELAY_ADMIN",
    },
    "--config": {
        "metavar": "FILE",
        "help": "the relay.ini whose [admin] says where it is; also WSRELAY_CONFIG;"
        " else ./relay.ini or /etc/wsrelay/relay.ini",
    },
    "--token-file": {
        "metavar": "FILE",
        "help": "the file with the token; else WSRELAY_TOKEN, or the token_file in relay.ini",
    },
    "--ca": {
        "metavar": "FILE",
        "help": "for https: who signs the endpoint's certificate; else the system's authorities",
    },
    "--timeout": {
        "type": _read(duration),
        "metavar": "TIME",
        "help": "how long to wait for an answer: 10s, for publish and reload 65s",
    },
    "--json": {"action": "store_true", "help": "print JSON"},
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that all these commands have; they stand before or behind a command."""
    group = parser.add_argument_group("a running relay")
    for flag, words in OPTIONS.items():
        flags = ["-c", flag] if flag == "--config" else [flag]
        # A default behind the command would undo what stands before it.
        group.add_argument(*flags, default=argparse.SUPPRESS, **words)


def options_given(arguments: argparse.Namespace) -> list[str]:
    """Return which of these options were given."""
    return [flag for flag in OPTIONS if hasattr(arguments, flag[2:].replace("-", "_"))]


def add_commands(commands: Commands, run: Callable[[argparse.Namespace], int]) -> None:
    """Add the commands; *run* is called with the arguments of whichever was chosen."""

    def add(name: str, text: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = commands.add_parser(
            name, help=text, description=f"{text[0].upper()}{text[1:]}.", allow_abbrev=False
        )
        add_options(parser)
        parser.set_defaults(run=run, command=name)
        return parser

    add("status", "show the relay, its pools and their upstreams")
    _top(add("top", "show what happens right now; q ends it"))
    _drain(
        add("drain", "give an upstream, a pool or the relay no new sessions, and end those it has")
    )
    _ready(add("ready", "take a drain back"))
    _weight(add("weight", "change an upstream's share of new sessions"))
    _rebalance(
        add("rebalance", "end sessions of a pool's busier upstreams, so that they spread anew")
    )
    _sessions(add("sessions", "list sessions, or tell everything about one"))
    _close(add("close", "close a session"))
    _publish(add("publish", "send a message to the clients of all sessions of a kind"))
    add("reload", "read relay.ini again, and say what changed or why it was refused")


def _top(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--interval",
        type=_read(_interval),
        default=1.0,
        metavar="TIME",
        help="between two looks; 1s if not said",
    )
    parser.add_argument(
        "--sort",
        choices=list(SORTS),
        default="pool",
        help="what comes first: pool (the relay's own order, if not said), or the most of another",
    )
    parser.add_argument(
        "--count",
        type=_read(_positive),
        metavar="N",
        help="print N tables, one below the other, and end",
    )


def _drain(parser: argparse.ArgumentParser) -> None:
    _add_target(parser)
    _add_wait(parser, "until it is drained")


def _ready(parser: argparse.ArgumentParser) -> None:
    _add_target(parser)


def _weight(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", type=_read(_upstream), metavar="POOL/UPSTREAM", help="which one")
    parser.add_argument("weight", type=_read(_positive), metavar="N", help="1 or more")


def _rebalance(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", type=_read(_pool), metavar="POOL", help="which one")
    parser.add_argument(
        "--rate", default="10/s", metavar="RATE", help="pace of the closes; 10/s if not said"
    )
    _add_wait(parser, "until it is done")


def _sessions(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--id", metavar="ID", help="tell everything about this one")
    parser.add_argument("--pool", metavar="POOL", help="those of a pool")
    parser.add_argument("--upstream", metavar="UPSTREAM", help="those of an upstream")
    parser.add_argument("--route", metavar="ROUTE", help="those of a route")
    parser.add_argument("--client", metavar="ADDRESS", help="those whose address begins so")
    parser.add_argument("--tag", metavar="TAG", help="those that policies or filters tagged so")
    parser.add_argument(
        "--limit",
        type=_read(_positive),
        metavar="N",
        help="so many at most; the relay's limit is 1000",
    )


def _close(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="as 'wsrelay sessions' lists it")
    parser.add_argument(
        "--code", type=_read(_positive), metavar="N", help="the close code; 1000 if not said"
    )
    parser.add_argument("--reason", metavar="TEXT", help="what both peers are told")


def _publish(parser: argparse.ArgumentParser) -> None:
    to = parser.add_mutually_exclusive_group(required=True)
    to.add_argument("--route", metavar="ROUTE", help="to the sessions of a route")
    to.add_argument("--pool", metavar="POOL", help="to those of a pool")
    to.add_argument("--tag", metavar="TAG", help="to those that policies or filters tagged so")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("text", nargs="?", metavar="TEXT", help="a text message")
    what.add_argument(
        "--binary-file",
        metavar="FILE",
        help="a binary message: what is in a file; - is standard input",
    )


def _add_target(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "target",
        type=_read(_target),
        nargs="?",
        default=Target(),  # --all means this one
        metavar="POOL[/UPSTREAM]",
        help="a pool, or one of its upstreams",
    )
    which.add_argument("--all", action="store_true", help="the whole relay")


def _add_wait(parser: argparse.ArgumentParser, until: str) -> None:
    parser.add_argument(
        "--wait", action="store_true", help=f"watch {until}; Ctrl-C ends the watching only"
    )


def _interval(text: str) -> float:
    seconds = duration(text)
    if seconds < _FASTEST:
        raise ValueError(f"'{text}' is too often; expected 100ms or more")
    return seconds


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text)):
        raise ValueError(f"'{text}' is out of place; expected a whole number, 1 or more")
    return int(text)


def _target(text: str) -> Target:
    return _parsed(parse_target, text, "POOL/UPSTREAM or POOL, as 'wsrelay status' lists them")


def _upstream(text: str) -> Target:
    return _parsed(parse_upstream, text, "POOL/UPSTREAM, as 'wsrelay status' lists them")


def _pool(text: str) -> Target:
    if not text or "/" in text:
        raise ValueError(f"'{text}' is no pool; expected POOL, as 'wsrelay status' lists them")
    return Target(text)


def _parsed(parse: Callable[[str], Target], text: str, form: str) -> Target:
    try:
        return parse(text)
    except ValueError:
        raise ValueError(f"'{text}' names nothing; expected {form}") from None
