"""Node's programs: the client made with ``ws``, and how to start the others."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from typing_extensions import override

from tests.peers.client import Client, Data, Headers, RefusedError
from tests.support import Process, event_in, require, require_program

HERE = Path(__file__).resolve().parent


class NodeClient(Client):
    """A client made with node's ``ws``, in a process of its own."""

    process: Process | None = None

    @override
    async def connect(self) -> None:
        self._next: dict[str, int] = {}
        self.process = node("client_node.mjs")
        self._do(
            url=self.handshake.url,
            subprotocols=self.handshake.subprotocols,
            headers=_merged(self.handshake.headers),
            deflate=self.handshake.deflate,
        )
        opened = await self._event("open", "refused")
        if opened["event"] == "refused":
            raise RefusedError(opened["status"], _pairs(opened["headers"]), opened["body"])
        self.headers = _pairs(opened["headers"])
        self.subprotocol = opened["subprotocol"]
        self.extensions = opened["extensions"]

    @override
    async def send(self, message: Data) -> None:
        self._do(do="send", **_on_wire(message))

    async def send_fragments(self, fragments: Sequence[Data]) -> None:
        """Send a message in these *fragments*."""
        self._do(do="fragments", fragments=[_on_wire(fragment) for fragment in fragments])

    @override
    async def receive(self) -> Data:
        message = await self._event("message")
        if "text" in message:
            return str(message["text"])
        return base64.b64decode(message["base64"])

    @override
    async def ping(self, payload: bytes) -> None:
        self._do(do="ping", payload=payload.decode("latin-1"))
        pong = await self._event("pong")
        assert pong["payload"].encode("latin-1") == payload

    @override
    async def close(self, code: int | None, reason: str) -> None:
        self._do(do="close", code=code, reason=reason)

    @override
    async def closed(self) -> tuple[int, str]:
        end = await self._event("close")
        return end["code"], end["reason"]

    @override
    async def vanish(self) -> None:
        assert self.process is not None
        await asyncio.to_thread(self.process.kill)

    @override
    async def abandon(self) -> None:
        if self.process is not None:
            await asyncio.to_thread(self.process.stop)

    def _do(self, **order: object) -> None:
        assert self.process is not None
        self.process.write_line(json.dumps(order))

    async def _event(self, *kinds: str) -> dict[str, Any]:
        """Return the next event of these kinds that was not returned before."""
        assert self.process is not None
        index, line = await asyncio.to_thread(
            self.process.wait_for_line,
            lambda line: event_in(line).get("event") in kinds,
            start=self._next.get(kinds[0], 0),
            what=f"{kinds}",
        )
        self._next[kinds[0]] = index + 1
        return event_in(line)


def has_node() -> bool:
    """Say whether node and the modules of package.json are there."""
    return shutil.which("node") is not None and not _missing_modules()


def require_node() -> str:
    """Return node's path, having made sure that the modules of package.json are there."""
    program = require_program("node")
    missing = ", ".join(_missing_modules())
    require(not missing, f"npm ci was not run in tests/peers: {missing} missing")
    return program


def node(script: str, *arguments: str) -> Process:
    """Start one of the node scripts beside this file."""
    return Process([require_node(), HERE / script, *arguments])


def _missing_modules() -> list[str]:
    wanted = json.loads((HERE / "package.json").read_text("utf-8"))["dependencies"]
    return [name for name in wanted if not (HERE / "node_modules" / name).is_dir()]


def _pairs(headers: Sequence[Sequence[str]]) -> Headers:
    return [(name, value) for name, value in headers]


def _merged(headers: Headers) -> dict[str, list[str]]:
    """Return *headers* as node takes them."""
    merged: dict[str, list[str]] = {}
    for name, value in headers:
        merged.setdefault(name, []).append(value)
    return merged


def _on_wire(message: Data) -> dict[str, str]:
    if isinstance(message, str):
        return {"text": message}
    return {"base64": base64.b64encode(message).decode("ascii")}
