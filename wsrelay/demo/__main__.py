"""
One upstream of the demo by itself: ``python -m wsrelay.demo --listen tcp:3000``.

It echoes on ``/echo`` and chats on ``/chat``, with whoever is in the same process, and says its
name in ``X-Upstream``.  deploy/compose and deploy/kubernetes put a relay in front of several.
"""

from __future__ import annotations

import socket
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import Any

from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError

from wsrelay.demo.room import Room
from wsrelay.demo.upstreams import UpstreamFactory
from wsrelay.log import write_stdout


def main(words: Sequence[str]) -> None:
    """Serve until SIGTERM or SIGINT; exit with 1 and a sentence if nobody can listen there."""
    options = _command_line().parse_args(words)
    task.react(lambda reactor: Deferred.fromCoroutine(_serve(reactor, options)))


def _command_line() -> ArgumentParser:
    parser = ArgumentParser(prog="python -m wsrelay.demo", description="One upstream of the demo.")
    parser.add_argument("--listen", required=True, help="a Twisted endpoint, such as tcp:3000")
    parser.add_argument("--name", default=socket.gethostname(), help="default: the machine's")
    return parser


async def _serve(reactor: Any, options: Namespace) -> None:
    factory = UpstreamFactory(reactor, options.name, Room([options.name]))
    try:
        await serverFromString(reactor, options.listen).listen(factory)
    except (ValueError, CannotListenError) as error:
        raise SystemExit(f"wsrelay.demo: cannot listen on {options.listen}: {error}") from error
    write_stdout(f"upstream {options.name} listens on {options.listen}")
    await Deferred[None]()


if __name__ == "__main__":
    main(sys.argv[1:])
