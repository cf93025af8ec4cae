"""
The storm of `bench.storm`, once in reality: how near is the model?

``python -m bench.reconnects`` runs two relays with clients on one of them, drains or kills that
one, and has the clients connect to the other as their backoff says.  The same is simulated, and
the two curves of who is back are compared.  The other one has a part of a core only
and a short queue, so that a thousand clients are a crowd for it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, zip_longest
from pathlib import Path
from random import Random
from typing import Any, Final

from attrs import define, evolve, field, frozen

from bench.configurations import relay_ini
from bench.machine import choose_cores, raise_file_limit
from bench.measure import Running, Workbench, started, workbench
from bench.processes import BenchError
from bench.proxies import Proxy, proxy_named, twistd
from bench.quota import Quotas
from bench.records import record
from bench.storm import (
    FULL_JITTER,
    IMMEDIATE,
    KINDS,
    SOCKET_IO,
    Backoff,
    Kind,
    Loss,
    Site,
    simulate,
)

__all__ = ["distance", "main"]

STEP: Final = 0.5
PATIENCE: Final = 10.0
"""Seconds until a client gives up."""

LONGEST: Final = 120.0
CLOSE, PING, PONG = 0x88, 0x89, 0x8A
NO_MASK: Final = bytes(4)
KEY: Final = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="


@frozen
class Trial:
    """One way to lose a relay."""

    title: str
    loss: Loss
    backoff: Backoff


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, simulate, print, and put the figures into a file if that is asked for."""
    options = _parser().parse_args(arguments)
    try:
        raise_file_limit()
        with workbench(choose_cores(None, None), 1.0) as bench:
            stage = Stage(bench, options.sessions, options.share, options.backlog)
            capacity = stage.capacity()
            print(f"all at once: {capacity:.0f} handshakes a second")
            trials = _trials(options.sessions, options.rate)[: options.trials]
            found = [_figures(stage, each, capacity) for each in trials]
            print("\n".join(map(_line, found)))
            if options.record:
                figures = {"capacity": capacity, "trials": found, "backlog": options.backlog}
                record(options.record, "reconnects", bench, figures)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.reconnects", description=__doc__)
    add = parser.add_argument
    add("--sessions", type=int, default=1000, metavar="N", help="default: 1000")
    add("--rate", type=float, default=100.0, metavar="N", help="drain_rate; default: 100 a second")
    add(
        "--share",
        type=float,
        default=0.15,
        metavar="PART",
        help="of a core for the relay that stays, so that so few clients are a crowd for it; "
        "0: all of it; default: 0.15",
    )
    add("--backlog", type=int, default=256, metavar="N", help="of that relay; default: 256")
    add("--trials", type=int, metavar="N", help="only the first N of four")
    add("--record", type=Path, metavar="FILE", help="put the figures into this JSON file")
    return parser


def _trials(sessions: int, rate: float) -> list[Trial]:
    over = sessions / rate
    return [
        Trial(f"drain_rate {rate:g}/s; Socket.IO's", Loss(2 * over, rate), SOCKET_IO),
        Trial(f"drained over {over:g} s; Socket.IO's", Loss(over), SOCKET_IO),
        Trial("killed; Socket.IO's defaults", Loss(), SOCKET_IO),
        Trial("killed; full jitter from 1 s up to 30 s", Loss(), FULL_JITTER),
    ]


def distance(one: Sequence[int], other: Sequence[int]) -> float:
    """
    Say how far two curves are apart where they are furthest, as a part of all.

    :param one: counts a step, as *other*; one may be shorter.
    """
    pairs = zip_longest(one, other, fillvalue=0)
    gaps = accumulate(mine - theirs for mine, theirs in pairs)
    return max(map(abs, gaps), default=0) / max(sum(one), sum(other), 1)


def _figures(stage: Stage, trial: Trial, capacity: float) -> dict[str, Any]:
    crowd, sessions = stage.play(trial), stage.sessions
    site = Site(2, sessions, capacity, backlog=stage.backlog, patience=PATIENCE, way=0.0)
    storm = simulate(site, trial.loss, trial.backoff, step=STEP)
    return {
        "title": trial.title,
        "sessions": sessions,
        "step_s": STEP,
        "measured": {kind: crowd.counts_of(kind) for kind in ("closed", "offered", "served")},
        "simulated": {kind: storm.counts[kind] for kind in ("closed", "offered", "served")},
        "measured_back_s": max(crowd.back),
        "simulated_back_s": storm.back_at,
        "measured_away_s": sorted(crowd.away)[sessions // 2],
        "simulated_away_s": storm.away[sessions // 2],
        "distance": distance(crowd.counts_of("served"), storm.counts["served"]),
    }


def _line(each: dict[str, Any]) -> str:
    return (
        f"{each['title']}: all back after {each['measured_back_s']:.1f} s (simulated: "
        f"{each['simulated_back_s']:.1f} s), half were away {each['measured_away_s']:.2f} s at "
        f"most ({each['simulated_away_s']:.2f} s); the curves are at most "
        f"{each['distance']:.1%} apart"
    )


@frozen
class Stage:
    """
    Two relays, and what is the same in all trials.

    :ivar share: of a core for the relay that stays; 0: all of it.
    :ivar backlog: of that relay.
    """

    bench: Workbench
    sessions: int
    share: float
    backlog: int

    def capacity(self) -> float:
        """Return how many handshakes the relay that stays does in a second: all come at once."""
        patient = evolve(self, backlog=self.sessions)
        return self.sessions / max(patient.play(Trial("", Loss(), IMMEDIATE)).back)

    def play(self, trial: Trial) -> _Crowd:
        """Lose the one relay, and return what its clients saw when they are with the other."""
        with started(self.bench, _relay(trial.loss)) as lost, self._that_stays() as stays:

            def lose() -> None:
                drains = trial.loss.timeout > 0
                os.kill(lost.child.pid, signal.SIGTERM if drains else signal.SIGKILL)

            crowd = _Crowd(lost.setup.port, stays.setup.port, trial.backoff, self.sessions)
            asyncio.run(asyncio.wait_for(crowd.live(lose), LONGEST + trial.loss.timeout))
            return crowd

    @contextlib.contextmanager
    def _that_stays(self) -> Iterator[Running]:
        with Quotas() as quotas, started(self.bench, _relay(Loss(), self.backlog)) as stays:
            if self.share:
                quotas.limit(stays.child.pid, self.share)
            yield stays


def _relay(loss: Loss, backlog: int = 1024) -> Proxy:
    options = {"data_path": "native", "drain_timeout": f"{loss.timeout or 1:g}s"}
    if loss.rate is not None:
        options["drain_rate"] = f"{loss.rate:g}/s"
    listener = {"backlog": backlog}
    return evolve(
        proxy_named("wsrelay-native"),
        command=lambda setup: twistd(relay_ini(setup, options, listener=listener)),
    )


@define(eq=False)
class _Crowd:
    """Clients that are all on one relay, and go to the other when that one ends."""

    lost_port: int
    port: int
    backoff: Backoff
    sessions: int
    random: Random = field(factory=lambda: Random(0))
    counts: dict[Kind, Counter[int]] = field(factory=lambda: {kind: Counter() for kind in KINDS})
    back: list[float] = field(factory=list)
    away: list[float] = field(factory=list)
    _began: float = 0.0
    _kept: list[asyncio.StreamWriter] = field(factory=list)  # who is dropped is closed

    async def live(self, lose: Callable[[], None]) -> None:
        """Open all sessions, lose the relay, and wait until everybody is back."""
        opened = [await _connect(self.lost_port) for _ in range(self.sessions)]
        self._began = time.monotonic()
        lose()
        await asyncio.gather(*(self._follow(*each) for each in opened))
        for writer in self._kept:
            writer.close()
        closed = (writer.wait_closed() for writer in self._kept)
        await asyncio.gather(*closed, return_exceptions=True)

    def counts_of(self, kind: Kind) -> list[int]:
        """Return the counts of one kind a step."""
        counter = self.counts[kind]
        return [counter[step] for step in range(1 + max(counter, default=0))]

    async def _follow(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _until_closed(reader, writer)
        closed_at = self._note("closed")
        failures = 0
        while True:
            await asyncio.sleep(self.backoff.wait(failures, self.random.random()))
            self._note("offered")
            try:
                _, writer = await asyncio.wait_for(_connect(self.port), PATIENCE)
                break
            except (OSError, EOFError):  # TimeoutError is an OSError
                failures += 1
        back = self._note("served")
        self._kept.append(writer)
        self.back.append(back)
        self.away.append(back - closed_at)

    def _note(self, kind: Kind) -> float:
        at = time.monotonic() - self._began
        self.counts[kind][int(at / STEP)] += 1
        return at


async def _connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        f"GET /echo HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: Upgrade\r\n"
        f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n{KEY}\r\n\r\n".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 101"):
        raise ConnectionRefusedError(head.decode("latin-1").partition("\r\n")[0])
    return reader, writer


async def _until_closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer pings until a close frame or the end comes; answer that, too, and close."""
    try:
        kind = 0
        while kind != CLOSE:
            kind, length = await reader.readexactly(2)  # control frames have one byte of length
            payload = await reader.readexactly(length)
            answer = {PING: PONG, CLOSE: CLOSE}.get(kind)
            if answer is not None:
                writer.write(bytes([answer, 0x80 | length]) + NO_MASK + payload)
    except (OSError, EOFError):
        pass
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


if __name__ == "__main__":
    sys.exit(main())
