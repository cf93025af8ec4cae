"""
An upstream made with aiohttp that tells each client what it asked for.

The answer to a plain request, and the first message of a websocket, is a JSON object: ``name``
(of the upstream), ``method``, ``path``, ``headers`` (pairs), ``length`` (of the body) and ``peer``
(common name in the client's certificate).  What a websocket says then is echoed.
"""

from __future__ import annotations

import argparse
import asyncio
import ssl
from typing import Any

from aiohttp import WSMsgType, web

from tests.peers.reporting import report


async def _told(name: str, request: web.Request) -> dict[str, Any]:
    certificate = request.transport.get_extra_info("peercert") if request.transport else None
    subject = dict(pair[0] for pair in (certificate or {}).get("subject", ()))
    return {
        "name": name,
        "method": request.method,
        "path": request.raw_path,
        "headers": [[key.decode(), value.decode("latin-1")] for key, value in request.raw_headers],
        "length": len(await request.read()),
        "peer": subject.get("commonName"),
    }


def application(name: str) -> web.Application:
    """Make the application of the upstream *name*."""

    async def tell(request: web.Request) -> web.StreamResponse:
        told = await _told(name, request)
        socket = web.WebSocketResponse()
        if not socket.can_prepare(request).ok:
            return web.json_response(told)
        await socket.prepare(request)
        await socket.send_json(told)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await socket.send_str(message.data)
        return socket

    made = web.Application(client_max_size=64 * 1024 * 1024)
    made.router.add_route("*", "/{path:.*}", tell)
    return made


def _tls(arguments: argparse.Namespace) -> ssl.SSLContext | None:
    if arguments.certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(arguments.certificate)
    if arguments.client_ca is not None:
        context.load_verify_locations(arguments.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


async def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--certificate", help="chain and key in one file")
    parser.add_argument("--client-ca")
    arguments = parser.parse_args()
    runner = web.AppRunner(application(arguments.name), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", arguments.port, ssl_context=_tls(arguments))
    await site.start()
    report("listening", port=runner.addresses[0][1])
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
