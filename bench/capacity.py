"""
What one core carries, beside messages: idle sessions with their pings, and handshakes with TLS.

``python -m bench.capacity`` opens 5,000 sessions through one relay and has it ping them; then it
does handshakes, as many as they go, with TLS and without in turns.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from attrs import evolve

from bench.configurations import relay_ini
from bench.machine import choose_cores, raise_file_limit
from bench.measure import Workbench, started, workbench
from bench.processes import BenchError, cpu_seconds, resident_bytes
from bench.proxies import Proxy, proxy_named, twistd
from bench.records import record
from bench.scenarios import Scenario

SPARE_FILES: Final = 500
SOCKETS: Final = 4
"""Of a session on one machine: two of the relay's, and one of each peer's."""

OURS: Final = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and put the figures into a file if that is asked for."""
    options = _parser().parse_args(arguments)
    try:
        raise_file_limit(2 * options.sessions + SPARE_FILES)
        with workbench(choose_cores(None, None), options.seconds) as bench:
            figures = {
                "idle": idle(bench, options.sessions, options.keepalive),
                "handshakes": handshakes(bench, options.rounds),
            }
            _tell(figures)
            if options.record:
                record(options.record, "capacity", bench, figures)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.capacity", description=__doc__)
    add = parser.add_argument
    add("--sessions", type=int, default=5000, metavar="N", help="idle ones; default: 5000")
    add("--keepalive", type=float, default=25.0, metavar="S", help="between pings; default: 25")
    add("--seconds", type=float, default=5.0, metavar="S", help="for each figure; default: 5")
    add("--rounds", type=int, default=3, metavar="N", help="of handshakes; default: 3")
    add("--record", type=Path, metavar="FILE", help="put the figures into this JSON file")
    return parser


def idle(bench: Workbench, sessions: int, keepalive: float) -> dict[str, float]:
    """
    Open sessions that say nothing, and look at what they take while they are pinged.

    :param keepalive: seconds; the pings are watched for as long, and for a figure's time at least.
    """
    with started(bench, _relay(keepalive)) as running:
        pid = running.child.pid
        bench.warm_up(running)
        bench.wait_for_the_end(running, 0)
        alone = _cpu_share(pid, bench.seconds)
        resident, kernel, files = resident_bytes(pid), _slab_bytes(), _files(pid)
        with bench.load(running.setup, Scenario("", "", "idle", "session", sessions)):
            time.sleep(keepalive)  # so that every session has been pinged once
            pinging = _cpu_share(pid, max(bench.seconds, keepalive))
            return {
                "sessions": sessions,
                "keepalive_s": keepalive,
                "resident_bytes": (resident_bytes(pid) - resident) / sessions,
                "kernel_bytes": (_slab_bytes() - kernel) / sessions * OURS / SOCKETS,
                "files": (_files(pid) - files) / sessions,
                "cpu_share": pinging - alone,
                "cpu_share_alone": alone,
            }


def handshakes(bench: Workbench, rounds: int) -> dict[str, dict[str, float]]:
    """Connect and close as fast as one relay goes; return medians, with TLS and without."""
    kinds = {"plain": False, "tls": True}
    raw: dict[str, list[dict[str, Any]]] = {name: [] for name in kinds}
    with started(bench, proxy_named("wsrelay-native")) as running:
        for _ in range(rounds):
            for name, tls in kinds.items():
                scenario = Scenario("", "", "handshakes", "handshake", 16, tls=tls)
                raw[name].append(bench.measure(running, scenario))
    return {name: _medians(found) for name, found in raw.items()}


def _medians(found: Sequence[dict[str, Any]]) -> dict[str, float]:
    return {
        "cpu_us": statistics.median(each["proxy_cpu_s"] / each["units"] * 1e6 for each in found),
        "per_s": statistics.median(each["units"] / each["elapsed_s"] for each in found),
    }


def _relay(keepalive: float) -> Proxy:
    return evolve(
        proxy_named("wsrelay-native"),
        command=lambda setup: twistd(
            relay_ini(setup, {"data_path": "native"}, route={"keepalive": f"{keepalive:g}s"})
        ),
    )


def _cpu_share(pid: int, seconds: float) -> float:
    """Return which part of a core a process uses."""
    began, before = time.monotonic(), cpu_seconds(pid)
    time.sleep(seconds)
    return (cpu_seconds(pid) - before) / (time.monotonic() - began)


def _files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _slab_bytes() -> int:
    """Return what the kernel holds in small objects, sockets among them, for everybody."""
    lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    return int(lines["Slab"].split()[0]) * 1024


def _tell(figures: dict[str, Any]) -> None:
    found = figures["idle"]
    thousands = found["sessions"] / 1000
    print(
        f"{found['sessions']:,} idle sessions, pinged every {found['keepalive_s']:g} s, each:\n"
        f"  {found['resident_bytes'] / 1024:.1f} KiB of the relay, "
        f"{found['kernel_bytes'] / 1024:.1f} KiB of the kernel, {found['files']:.2f} files;\n"
        f"  a thousand of them: {found['cpu_share'] / thousands * 100:.2f} % of a core"
    )
    for name, each in figures["handshakes"].items():
        print(f"handshakes, {name}: {each['cpu_us']:.0f} µs of CPU, {each['per_s']:.0f} a second")


if __name__ == "__main__":
    sys.exit(main())
