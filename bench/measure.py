"""Drive one proxy with one scenario, and take its figures between two marks."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attrs import frozen

from bench.certificate import write_certificate
from bench.configurations import Setup
from bench.loadtool import LoadProgram, build
from bench.processes import (
    BenchError,
    Child,
    Tool,
    core_seconds,
    cpu_seconds,
    free_port,
    resident_bytes,
)
from bench.proxies import Proxy
from bench.scenarios import Scenario

__all__ = ["Cores", "Running", "Workbench", "started", "workbench"]

OPENING = 60.0
"""Seconds that all connections of a scenario have to open."""

ENDING = 10.0
"""Seconds that a proxy has to end its upstream connections once their clients have gone."""

WARM_UP = 0.25
REST = 1.0
QUIET_SHARE = 0.02
QUIET_STEP = 0.05
MOST_STEPS = 100
WARMING_HANDSHAKES = 200


@frozen
class Cores:
    """
    Which cores run what; an empty tuple: any.

    :ivar upstream: of the echo upstream; the same as ``load`` where there are only two.
    """

    proxy: tuple[int, ...]
    load: tuple[int, ...]
    upstream: tuple[int, ...]


@frozen
class Running:
    """A proxy that runs."""

    proxy: Proxy
    setup: Setup
    child: Child


@frozen
class Workbench:
    """
    What every measurement needs.

    :ivar upstream: the echo upstream, which runs all the time.
    :ivar seconds: between the marks of a scenario that is not stretched.
    """

    program: LoadProgram
    cores: Cores
    folder: Path
    certificate: Path
    upstream: Tool
    upstream_port: int
    seconds: float

    def measure(self, running: Running, scenario: Scenario) -> dict[str, Any]:
        """
        Return the raw figures of one proxy in one scenario.

        :raises BenchError: something did not work; the figures would mean nothing.
        """
        if scenario.tls and not self.program.tls:
            raise BenchError("the load program was built without OpenSSL (libssl-dev)")
        running.child.check()
        stale = self.upstream.ask()["open"]
        if scenario.kind == "idle":
            return self._memory(running.proxy, scenario)
        with self.load(running.setup, scenario) as load:
            time.sleep(WARM_UP)
            before = self._mark(running, load)
            time.sleep(self.seconds * scenario.stretch)
            after = self._mark(running, load)
        self.wait_for_the_end(running, stale)
        return _between(before, after, scenario)

    @contextlib.contextmanager
    def load(self, setup: Setup, scenario: Scenario) -> Iterator[Tool]:
        """Run the load program, all connections open, for as long as the context lasts."""
        port = setup.tls_port if scenario.tls else setup.port
        numbers = [port, scenario.connections, scenario.size, scenario.rate or 1]
        command = [self.program.path, scenario.kind, *map(str, numbers)]
        with Tool(command + ["tls"] * scenario.tls, cores=self.cores.load) as load:
            load.answer(OPENING)
            yield load

    def _mark(self, running: Running, load: Tool) -> dict[str, Any]:
        # The clocks first: what is counted while they are read is counted at both marks.
        clocks = {
            "at": time.monotonic(),
            "proxy_cpu_s": cpu_seconds(running.child.pid),
            "load_cpu_s": cpu_seconds(load.pid),
            "upstream_cpu_s": cpu_seconds(self.upstream.pid),
            "proxy_core_s": core_seconds(self.cores.proxy),
            "load_core_s": core_seconds({*self.cores.load, *self.cores.upstream}),
        }
        return {**clocks, "load": load.ask(), "upstream": self.upstream.ask()}

    def wait_for_the_end(self, running: Running, stale: int) -> None:
        """
        Wait until nothing of a load is left that the next figures would have in them.

        :param stale: how many upstream connections had outlived their clients before.
        :raises BenchError: some outlive their clients for too long.
        """
        deadline = time.monotonic() + ENDING
        while (left := self.upstream.ask()["open"] - stale) > 0 and time.monotonic() < deadline:
            time.sleep(QUIET_STEP)
        if left > 0:
            raise BenchError(f"{left} upstream connections outlive their clients by {ENDING:.0f} s")
        _wait_until_quiet(running.child.pid)

    def _memory(self, proxy: Proxy, scenario: Scenario) -> dict[str, Any]:
        # In a new process: one that had many sessions before would just use their memory again.
        with started(self, proxy) as fresh:
            pid = fresh.child.pid
            self.warm_up(fresh)
            _wait_until_quiet(pid)
            before = resident_bytes(pid)
            with self.load(fresh.setup, scenario):
                time.sleep(REST)
                after = resident_bytes(pid)
        return {"sessions": scenario.connections, "before_bytes": before, "after_bytes": after}

    def warm_up(self, running: Running) -> None:
        """Have a proxy fill its pools, and its interpreter what it keeps, with some handshakes."""
        handshakes = Scenario("", "", "handshakes", "handshake", 16)
        done = 0
        deadline = time.monotonic() + OPENING
        with self.load(running.setup, handshakes) as load:
            while done < WARMING_HANDSHAKES and time.monotonic() < deadline:
                time.sleep(QUIET_STEP)
                done += load.ask()["messages"]


@contextlib.contextmanager
def workbench(cores: Cores, seconds: float) -> Iterator[Workbench]:
    """
    Build the load program and run the echo upstream for as long as the context lasts.

    :param seconds: that each figure is taken over.
    :raises BenchError: nothing can be measured here.
    """
    program = build()
    with (
        tempfile.TemporaryDirectory(prefix="wsrelay-bench-") as name,
        Tool([program.path, "serve"], cores=cores.upstream) as upstream,
    ):
        folder = Path(name)
        folder.chmod(0o755)  # for proxies that give up root's rights
        port = upstream.answer(5)["port"]
        certificate = write_certificate(folder)
        yield Workbench(program, cores, folder, certificate, upstream, port, seconds)


@contextlib.contextmanager
def started(bench: Workbench, proxy: Proxy) -> Iterator[Running]:
    """
    Run a proxy for as long as the context lasts.

    :raises BenchError: it does not start; with what it said.
    """
    folder = bench.folder / f"{proxy.name}-{time.monotonic_ns()}"
    folder.mkdir()
    setup = Setup(folder, free_port(), free_port(), bench.upstream_port, bench.certificate)
    command = proxy.command(setup)
    home = {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    with Child(
        command,
        cores=bench.cores.proxy,
        cwd=folder,
        log=folder / "log",
        env={**home, **proxy.env},
    ) as child:
        child.wait_for_port(setup.port)
        child.wait_for_port(setup.tls_port)
        yield Running(proxy, setup, child)


def _wait_until_quiet(pid: int) -> None:
    """Wait until a process has done away with what the scenario before left it."""
    for _ in range(MOST_STEPS):
        before = cpu_seconds(pid)
        time.sleep(QUIET_STEP)
        if cpu_seconds(pid) - before < QUIET_SHARE * QUIET_STEP:
            return


def _between(before: dict[str, Any], after: dict[str, Any], scenario: Scenario) -> dict[str, Any]:
    counted = after["upstream" if scenario.kind == "up" else "load"]
    # By bytes: of large messages many are only half through at a mark.
    units = (
        counted["messages"] if scenario.kind == "handshakes" else counted["bytes"] / scenario.size
    )
    if not units:
        raise BenchError("nothing got through between the marks")
    figures = {name: after[name] - before[name] for name in before if name.endswith("_s")}
    figures["elapsed_s"] = after["at"] - before["at"]
    figures["units"] = units
    if after["load"]["samples"]:
        times = {name: after["load"][f"{name}_ns"] / 1000 for name in ("p50", "p99", "max")}
        figures.update({f"{name}_us": time for name, time in times.items()})
    return figures
