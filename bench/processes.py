"""Child processes on cores of their own, and what they have used."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

__all__ = [
    "BenchError",
    "Child",
    "Tool",
    "core_seconds",
    "cpu_seconds",
    "cpu_seconds_each",
    "family",
    "free_port",
    "resident_bytes",
]

START_PATIENCE = 20.0
"""Seconds that a proxy has to listen."""

CPUCLOCK_SCHED = 2
"""Linux: the clock of a process with all its threads, in scheduler time (nanoseconds)."""


class BenchError(Exception):
    """Something that keeps a figure from being taken; its text says what."""


def free_port() -> int:
    """Return a TCP port of the loopback that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def _on_cores(cores: Sequence[int]) -> Iterator[None]:
    # A child inherits the cores, so that no thread of it ever runs elsewhere.
    before = os.sched_getaffinity(0)
    if cores:
        os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Child:
    """
    A process that is ended with the context it is used as.

    :param cores: those that it and its threads may run on; none: all.
    :param log: the file that its output goes to.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        cores: Sequence[int],
        cwd: Path,
        log: Path,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.log = log
        with log.open("wb") as output, _on_cores(cores):
            self._popen = subprocess.Popen(
                [str(word) for word in command],
                cwd=cwd,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._popen.pid

    def check(self) -> None:
        """
        Make sure that it runs.

        :raises BenchError: it has ended; with the last lines that it printed.
        """
        if self._popen.poll() is not None:
            lines = self.log.read_text("utf-8", "replace").strip().splitlines()[-5:]
            raise BenchError(f"ended with {self._popen.returncode}: {' | '.join(lines)}")

    def wait_for_port(self, port: int) -> None:
        """
        Wait until *port* of 127.0.0.1 accepts connections.

        :raises BenchError: it did not within `START_PATIENCE`, or the process ended.
        """
        deadline = time.monotonic() + START_PATIENCE
        while time.monotonic() < deadline:
            self.check()
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return
            time.sleep(0.02)
        raise BenchError(f"did not listen on port {port} within {START_PATIENCE:.0f} s")

    def stop(self) -> None:
        """End it; by force, when asking does not help."""
        if self._popen.poll() is None:
            self._popen.send_signal(signal.SIGTERM)
            try:
                self._popen.wait(1)
            except subprocess.TimeoutExpired:
                self._kill_all()
        self._popen.wait()

    def _kill_all(self) -> None:
        for pid in reversed(family(self.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


class Tool:
    """
    The load program in one of its modes: it is asked by a line, and answers with JSON.

    It ends when its standard input does, so it never outlives this process.
    """

    def __init__(self, command: Sequence[str | Path], *, cores: Sequence[int]) -> None:
        with _on_cores(cores):
            self._popen = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
            )
        self._rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._popen.stdin.close()
        try:
            self._popen.wait(2)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        self._popen.stdout.close()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._popen.pid

    def ask(self, patience: float = 10.0) -> dict[str, Any]:
        """Ask for the counts since the last time (see `answer`)."""
        assert self._popen.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._popen.stdin.write(b"report\n")
        return self.answer(patience)

    def answer(self, patience: float) -> dict[str, Any]:
        """
        Wait for its next line.

        :param patience: seconds.
        :raises BenchError: it reports an error, or stays silent.
        """
        found: dict[str, Any] = json.loads(self._line(time.monotonic() + patience))
        if "error" in found:
            raise BenchError(found["error"])
        return found

    def _line(self, deadline: float) -> bytes:
        assert self._popen.stdout is not None
        while b"\n" not in self._rest:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._popen.stdout], [], [], left)[0]:
                raise BenchError("the load program stayed silent; not all connections got through")
            read = self._popen.stdout.read(65536)
            if not read:
                raise BenchError(f"the load program ended with {self._popen.wait()}")
            self._rest += read
        line, _, self._rest = self._rest.partition(b"\n")
        return line


def family(pid: int) -> list[int]:
    """Return *pid* and all its descendants, parents first."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += map(int, task.read_text().split())
    return found


def cpu_seconds(pid: int) -> float:
    """
    Return the CPU time that a process and its children have used, system calls included.

    :raises BenchError: it is gone.
    """
    return sum(cpu_seconds_each(pid).values())


def cpu_seconds_each(pid: int) -> dict[int, float]:
    """
    Return the same for each of them, by its process id.

    :raises BenchError: one is gone.
    """
    try:
        return {
            each: time.clock_gettime_ns((~each << 3) | CPUCLOCK_SCHED) / 1e9 for each in family(pid)
        }
    except OSError as error:
        raise BenchError(f"process {pid} ended while it was measured") from error


def core_seconds(cores: Iterable[int]) -> float:
    """Return for how long these cores were busy since the machine started, whoever used them."""
    names = {f"cpu{core}" for core in cores}
    lines = (line.split() for line in Path("/proc/stat").read_text().splitlines())
    # proc(5): user nice system idle iowait irq softirq steal
    ticks = sum(
        int(word)
        for name, *words in lines
        if name in names
        for place, word in enumerate(words[:8])
        if place not in (3, 4)
    )
    return ticks / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process and its children; shared pages count in each."""
    return sum(map(_resident, family(pid)))


def _resident(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Rss:"):
                return int(line.split()[1]) * 1024
    except OSError as error:
        raise BenchError(f"process {pid} ended while it was measured") from error
    raise BenchError(f"/proc/{pid}/smaps_rollup has no Rss")
