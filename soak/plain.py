"""Plain requests through a relay, some on each connection."""

from __future__ import annotations

import asyncio
import ssl
from typing import Final
from urllib.parse import urlsplit

from attrs import define, field

from soak.messages import Expected, WrongMessageError

__all__ = ["Asking"]

PATIENCE: Final = 30.0


@define(eq=False)
class Asking:
    """
    One connection with plain requests, one after the other; the answers are checked.

    :ivar sent: requests; *heard*: good answers.
    :ivar trouble: the first answer that was not good.
    """

    url: str
    tls: ssl.SSLContext | None = None
    sent: int = field(default=0, init=False)
    heard: int = field(default=0, init=False)
    trouble: str = field(default="", init=False)

    async def run(self, end: asyncio.Event, most: int, pause: float, size: int) -> None:
        """Ask *most* times, or until *end* is set."""
        where = urlsplit(self.url)
        try:
            async with asyncio.timeout(PATIENCE):
                reader, writer = await asyncio.open_connection(
                    where.hostname, where.port, ssl=self.tls
                )
        except (OSError, TimeoutError) as error:
            self.trouble = f"{type(error).__name__}: {error}"
            return
        try:
            while not end.is_set() and self.sent < most:
                self.sent += 1
                async with asyncio.timeout(PATIENCE):
                    await self._ask(reader, writer, size)
                self.heard += 1
                await asyncio.sleep(pause)
        except (OSError, EOFError, TimeoutError, ValueError, WrongMessageError) as error:
            self.trouble = f"{type(error).__name__}: {error}"
        finally:
            writer.close()

    async def _ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, size: int
    ) -> None:
        number = self.sent
        writer.write(b"GET /plain/%d/%d HTTP/1.1\r\nHost: soak.test\r\n\r\n" % (number, size))
        status, *rows = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        fields = {
            name.lower(): value for name, _, value in (row.partition(b": ") for row in rows if row)
        }
        body = await reader.readexactly(int(fields[b"content-length"]))
        if b" 200 " not in status:
            raise ValueError(f"{status!r}: {body[:100]!r}")
        Expected(number).take(body)
