"""
How far one relay goes: many sessions in one process, and how late its reactor gets.

``python -m bench.limits`` opens 9,000 sessions, has all of them echo, and then measures the
reactor's lag under the heaviest loads of the benchmark.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

from attrs import evolve

from bench.configurations import Setup, relay_ini
from bench.machine import choose_cores, raise_file_limit
from bench.measure import Running, Workbench, started, workbench
from bench.processes import BenchError, resident_bytes
from bench.proxies import Command, proxy_named
from bench.scenarios import MIB, Scenario

PATIENCE: Final = 10.0
"""Seconds that a report of the relay's reactor is waited for."""

LOADS: Final = (
    ("nothing to do", None),
    ("64 B echo, 1,000 connections", Scenario("", "", "closed-loop", "round trip", 1000)),
    ("1 MiB messages up, 500 connections", Scenario("", "", "up", "message", 500, MIB)),
    ("64 B messages up, 500 connections", Scenario("", "", "up", "message", 500)),
    ("1 MiB echo over TLS, 100", Scenario("", "", "closed-loop", "trip", 100, MIB, tls=True)),
    ("handshakes, 64 at a time", Scenario("", "", "handshakes", "handshake", 64)),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print."""
    options = _parser().parse_args(arguments)
    raise_file_limit()
    with workbench(choose_cores(None, None), 1.0) as bench:
        try:
            _many(bench, options.sessions, options.seconds)
            _lags(bench, options.seconds)
        except BenchError as error:
            print(f"bench: {error}", file=sys.stderr)
            return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.limits", description=__doc__)
    add = parser.add_argument
    add("--sessions", type=int, default=9000, metavar="N", help="default: 9000")
    add("--seconds", type=float, default=4.0, metavar="S", help="for each figure; default: 4")
    return parser


def _many(bench: Workbench, count: int, seconds: float) -> None:
    """Open *count* sessions in one process, let them rest, and then echo on all of them."""
    with started(bench, proxy_named("wsrelay-native")) as running:
        before = resident_bytes(running.child.pid)
        began = time.monotonic()
        with _driven(bench, running, Scenario("", "", "idle", "session", count)):
            opened = time.monotonic() - began
            time.sleep(seconds / 2)
            each = (resident_bytes(running.child.pid) - before) / count / 1024
            print(f"{count:,} idle sessions, opened in {opened:.1f} s: {each:.1f} KiB each")
        with _driven(bench, running, Scenario("", "", "closed-loop", "trip", count)) as load:
            time.sleep(seconds / 4)
            load.ask()
            time.sleep(seconds)
            trips = load.ask()["messages"]
            print(f"{count:,} sessions that echo 64 B: {trips / seconds:,.0f} round trips a second")


def _lags(bench: Workbench, seconds: float) -> None:
    """Print how late a timer of the relay's reactor comes under each load."""
    relay = evolve(proxy_named("wsrelay-native"), command=_ticking)
    print("\nlag of the reactor, ms                 median     99 %      most")
    for title, scenario in LOADS:
        with started(bench, relay) as running:
            with _driven(bench, running, scenario):
                time.sleep(seconds / 2)
                skipped = len(_reports(running))
                time.sleep(seconds)
                reports = _later_reports(running, skipped)
            lags = sorted(lag for report in reports for lag in report)
            middle, late = lags[len(lags) // 2], lags[len(lags) * 99 // 100]
            print(f"{title:<36} {middle:>8.2f} {late:>8.2f}  {lags[-1]:>8.2f}", flush=True)


def _ticking(setup: Setup) -> Command:
    path = relay_ini(setup, {"data_path": "native"})
    return [sys.executable, "-P", "-m", "bench.ticking_relay", path]


def _later_reports(running: Running, skipped: int) -> list[list[float]]:
    """
    Return the reports behind the first *skipped*, at least one.

    :raises BenchError: there is none, although they come twice a second.
    """
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if reports := _reports(running)[skipped:]:
            return reports
        running.child.check()
        time.sleep(0.05)
    raise BenchError(f"the relay's reactor did not get to a report within {PATIENCE:.0f} s")


def _reports(running: Running) -> list[list[float]]:
    lines = (running.setup.folder / "lag.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines if line.endswith("]")]


@contextlib.contextmanager
def _driven(bench: Workbench, running: Running, scenario: Scenario | None) -> Iterator[Any]:
    if scenario is None:
        yield None
        return
    with bench.load(running.setup, scenario) as load:
        yield load


if __name__ == "__main__":
    sys.exit(main())
