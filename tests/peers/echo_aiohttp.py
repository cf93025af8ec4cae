"""A plain upstream made with ``aiohttp``: see `tests.peers.test_http_peers`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

from aiohttp import web

from tests.peers.reporting import report


async def echo(request: web.Request) -> web.StreamResponse:
    """Send each piece of the body back as it comes; with ``whole`` all of it with its length."""
    headers = {"X-Method": request.method, "X-Target": request.raw_path}
    if "whole" in request.query:
        return web.Response(body=await request.read(), headers=headers)
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    async for piece in request.content.iter_any():
        await response.write(piece)
    await response.write_eof()
    return response


async def early(request: web.Request) -> web.Response:
    """Refuse without reading."""
    return web.Response(status=413, text="too much")


def routes(folder: Path) -> Iterator[web.AbstractRouteDef]:
    """Say what is where."""
    yield web.route("*", "/echo", echo)
    yield web.post("/early", early)
    yield web.static("/files", folder)


async def main() -> None:
    """Serve until the process is ended."""
    app = web.Application(client_max_size=1 << 30)
    app.add_routes(routes(Path(sys.argv[1])))
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    report("listening", port=runner.addresses[0][1])
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
