"""The upstream programs as processes, and relays in front of them."""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from attrs import frozen

from tests.peers.node import node
from tests.support import PATIENCE, Process

T = TypeVar("T")

KINDS = ("websockets", "aiohttp", "node")
DIRECT = os.environ.get("WSRELAY_PEERS") == "direct"
"""True: clients connect straight to the upstreams (see the package)."""

_numbers = itertools.count(1)


@frozen
class Session:
    """One request to an upstream, told from all others by its ``id``."""

    url: str
    path: str
    process: Process

    async def saw(self, event: str, **facts: object) -> dict[str, Any]:
        """Wait for the first *event* of this session, check its *facts* and return it."""
        _, found = await asyncio.to_thread(self.process.wait_for_event, event=event, path=self.path)
        assert {name: found[name] for name in facts} == facts
        return found


@frozen
class Upstream:
    """
    A running upstream and the way to it.

    :ivar kind: one of `KINDS`.
    :ivar url: what clients connect to: the relay's, or its own.
    :ivar relay: the relay in front of it, None if it is `DIRECT`.
    """

    kind: str
    process: Process
    url: str
    relay: Process | None = None

    def session(self, path: str) -> Session:
        """Return a new session's place; *path* may have a query."""
        mark = "&" if "?" in path else "?"
        path = f"{path}{mark}id={next(_numbers)}"
        return Session(self.url + path, path, self.process)


def start_upstream(kind: str, *arguments: str) -> Process:
    """Start an upstream of that *kind*; see `own_url` for when it is ready."""
    if kind == "node":
        return node("upstream_node.mjs", *arguments)
    return Process([sys.executable, "-m", f"tests.peers.upstream_{kind}", *arguments])


def own_url(process: Process, scheme: str = "ws") -> str:
    """Wait until the upstream listens and return its URL."""
    _, event = process.wait_for_event(event="listening")
    return f"{scheme}://127.0.0.1:{event['port']}"


def relay_ini(
    pools: Mapping[str, Sequence[str]],
    *,
    relay: Sequence[str] = ("drain_timeout = 1s",),
    listener: Sequence[str] = (),
    route: Sequence[str] = (),
    pool: Sequence[str] = (),
) -> str:
    """
    Return a relay.ini with a listener, a route and a pool for each of *pools*.

    :param pools: name -> lines of ``upstreams``.
    :param relay: lines for ``[relay]``; *listener*, *route* and *pool* for each such section.
    """
    lines = ["[relay]", *relay]
    for name, upstreams in pools.items():
        lines += [f"[listener:{name}]", "endpoint = tcp:0:interface=127.0.0.1", *listener]
        lines += [f"[route:{name}]", f"listener = {name}", f"pool = {name}", *route]
        lines += [f"[pool:{name}]", "upstreams =", *(f"    {line}" for line in upstreams), *pool]
    return "\n".join(lines) + "\n"


def run(conversation: Coroutine[Any, Any, T]) -> T:
    """Run a test's *conversation*; it fails when it takes too long."""

    async def bounded() -> T:
        async with asyncio.timeout(1.5 * PATIENCE):
            return await conversation

    return asyncio.run(bounded())
