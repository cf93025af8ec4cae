"""
What one Redis carries of what relays with ``[cluster]`` ask it.

``python -m bench.redis_load`` runs a Redis of its own on loopback, loads wsrelay's scripts into it,
and has ``redis-benchmark`` ask what relays ask.  A Redis does one thing after the other, so the CPU
that each takes says how many there can be.
"""

from __future__ import annotations

import argparse
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from attrs import frozen

from bench.machine import choose_cores
from bench.measure import Workbench, workbench
from bench.processes import BenchError, Child, cpu_seconds, free_port
from bench.records import record
from wsrelay.cluster.keys import Keys
from wsrelay.cluster.limits import BATCH, KEPT
from wsrelay.cluster.scripts import ADMIT, ALL, BEAT, COUNT, REPORT, Script

__all__ = ["ASKED", "main"]

KEYS: Final = Keys("bench")
CLIENT: Final = "__rand_int__"
"""What redis-benchmark puts a number in the place of."""

CLIENTS: Final = 100_000
RELAYS: Final = 20
REPORT_BYTES: Final = 1024
PATIENCE: Final = 120.0


@frozen
class Question:
    """
    Something that relays ask.

    :ivar words: the command.
    :ivar parts: that the cost is divided by.
    """

    title: str
    words: tuple[str, ...]
    parts: int = 1


def _script(script: Script, keys: Sequence[str], *arguments: object) -> tuple[str, ...]:
    return ("EVALSHA", script.sha, str(len(keys)), *keys, *map(str, arguments))


def _count(client: str) -> str:
    return f"{KEYS.prefix}:count:chat:{client}"


_KEPT: Final = round(KEPT * 1000)
ASKED: Final = {
    "admit": Question(
        "a handshake: may this address come in, by its count and its rate",
        _script(
            ADMIT,
            [KEYS.alive, _count(CLIENT), f"{KEYS.prefix}:rate:chat:{CLIENT}"],
            *("me", 1, 10, "1000.000", "19000.000", _KEPT),
        ),
    ),
    "count": Question(
        "a session's end: one count is written", _script(COUNT, [_count(CLIENT)], "me", _KEPT, 1)
    ),
    "renewed": Question(
        f"an address' count, written again with {BATCH - 1} others",
        _script(COUNT, [_count(CLIENT)] * BATCH, "me", _KEPT, *[1] * BATCH),
        BATCH,
    ),
    "beat": Question("a process' sign of life", _script(BEAT, [KEYS.alive], "me", 10_000, "")),
    "find": Question(
        "sticky-sid: an id that this relay does not know",
        ("GET", f"{KEYS.prefix}:session:chat:{CLIENT}"),
    ),
    "learn": Question(
        "sticky-sid: an id that it has learnt",
        ("SET", f"{KEYS.prefix}:session:chat:{CLIENT}", "0123456789abcdef", "EX", "120"),
    ),
    "report": Question(
        f"a relay's report, and those of {RELAYS} relays in return, 1 KiB each; for each of them",
        _script(REPORT, [KEYS.reports, KEYS.fresh], "relay-0", "x" * REPORT_BYTES, 600_000),
        RELAYS,
    ),
}
"""By the names under which the figures are recorded."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and put the figures into a file if that is asked for."""
    options = _parser().parse_args(arguments)
    try:
        with workbench(choose_cores(None, None), 1.0) as bench:
            figures = _measured(bench, options.requests)
            for name, each in figures.items():
                print(f"{ASKED[name].title}: {each:.2f} µs")
            if options.record:
                version = _printed("redis-server", "--version").split("v=")[1].split()[0]
                record(options.record, "redis", bench, {"version": version, "cpu_us": figures})
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.redis_load", description=__doc__)
    add = parser.add_argument
    add("--requests", type=int, default=100_000, metavar="N", help="of each kind; default: 100000")
    add("--record", type=Path, metavar="FILE", help="put the figures into this JSON file")
    return parser


def _measured(bench: Workbench, requests: int) -> dict[str, float]:
    missing = [name for name in ("redis-server", "redis-benchmark") if shutil.which(name) is None]
    if missing:
        raise BenchError(f"{' and '.join(missing)} is not on the PATH (Debian: redis-server)")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="wsrelay-redis-") as name:
        command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
        log = Path(name) / "log"
        with Child(command, cores=bench.cores.proxy, cwd=Path(name), log=log) as child:
            child.wait_for_port(port)
            _prepare(port)
            return {
                name: _cpu_us(child, port, each, max(requests // each.parts, 1))
                for name, each in ASKED.items()
            }


def _prepare(port: int) -> None:
    """Load the scripts; make this process known, and as many relays as report."""
    for script in ALL:
        _ask(port, "SCRIPT", "LOAD", script.text)
    _ask(port, *ASKED["beat"].words[:-2], str(3_600_000), "")
    for number in range(RELAYS):
        *words, _, text, kept = ASKED["report"].words
        _ask(port, *words, f"relay-{number}", text, kept)


def _ask(port: int, *words: str) -> None:
    """Ask once, and read enough of the answer to know that it is no error."""
    parts = [word.encode() for word in words]
    request = b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts)
    with socket.create_connection(("127.0.0.1", port), 5) as asked:
        asked.sendall(request)
        answer = asked.recv(4096)
    if answer.startswith(b"-"):
        raise BenchError(f"Redis refused {words[0]}: {answer.decode('utf-8', 'replace').strip()}")


def _cpu_us(child: Child, port: int, question: Question, requests: int) -> float:
    """Return the microseconds of Redis for each part of a question."""
    numbers = [str(number) for number in (port, requests, CLIENTS)]
    flags = [word for pair in zip(("-p", "-n", "-r"), numbers, strict=True) for word in pair]
    before = cpu_seconds(child.pid)
    _printed("redis-benchmark", *flags, "-c", "20", "-q", *question.words)
    return (cpu_seconds(child.pid) - before) / requests / question.parts * 1e6


def _printed(*command: str) -> str:
    ran = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    if ran.returncode or "Error from server" in ran.stdout + ran.stderr:
        raise BenchError(f"{command[0]} failed: {(ran.stdout + ran.stderr).strip()[-300:]}")
    return ran.stdout


if __name__ == "__main__":
    sys.exit(main())
