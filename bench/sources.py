"""Where the figures of docs/scaling.rst come from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from attrs import frozen

from bench.sizing import Core
from bench.storm import Site

__all__ = ["Sources", "cell"]

NATIVE: Final = "wsrelay, native pump"
CPU: Final = "CPU of the proxy, µs a unit (ratio to nginx)"


@frozen
class Sources:
    """
    What the page is made from.

    :ivar performance: the text of docs/performance.rst.
    :ivar records: docs/scaling.json; see `bench.records`.
    """

    performance: str
    records: Mapping[str, Any]

    def cpu_us(self, row: str) -> float:
        """Return the CPU of one unit, from docs/performance.rst."""
        return float(cell(self.performance, CPU, row, NATIVE).split()[0].replace(",", ""))

    @property
    def tls_us(self) -> float:
        """CPU of a session with TLS, from its beginning to its end."""
        return float(self.records["capacity"]["handshakes"]["tls"]["cpu_us"])

    @property
    def core(self) -> Core:
        """What one core carries, TLS included."""
        idle = self.records["capacity"]["idle"]
        return Core(
            message_us=self.cpu_us("64 B echo, 1,000 connections") / 2,
            handshake_us=self.tls_us,
            session_us=idle["cpu_share"] / idle["sessions"] * 1e6,
            session_bytes=idle["resident_bytes"] + idle["kernel_bytes"],
        )

    @property
    def site(self) -> Site:
        """Where the storms are: relays of one core, TLS."""
        return Site(relays=4, sessions=25_000, capacity=1e6 / self.tls_us)


def cell(page: str, title: str, row: str, column: str) -> str:
    """
    Return a cell of a list-table, by its table's title and the first cells of row and column.

    :raises ValueError: there is none.
    """
    _, found, rest = page.partition(f".. list-table:: {title}\n")
    table = re.split(r"\n(?=\S)", rest, maxsplit=1)[0]
    rows = [
        [each.strip() for each in re.split(r"\n     -", chunk.strip(" -"))]
        for chunk in re.split(r"\n   \*", table)[1:]
    ]
    for each in rows:
        if found and each[0] == row and column in rows[0]:
            return each[rows[0].index(column)]
    raise ValueError(f"There is no {row!r}, {column!r} in the table {title!r}")
