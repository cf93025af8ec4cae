"""
Child processes for tests: started, waited for, always ended.

Nothing here sleeps.  A wait ends when a line is printed, a port accepts or the
child ends, and every wait has a bound.  What a child printed is in the message
of each failure.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import pytest

PROJECT = Path(__file__).resolve().parent.parent
PATIENCE = 20.0
"""Seconds that a wait lasts before the test fails; nothing healthy comes near."""

_SHOWN = 20_000
_PORT_TAKEN = re.compile(r"address (is )?already in use|CannotListenError", re.IGNORECASE)
_ANY_PORT = re.compile(r"\btcp:0\b")
_SECTION = re.compile(r"\[(?:[^:\]]+:)?([^\]]+)\]")

T = TypeVar("T")


def require(found: T | None, missing: str) -> T:
    """
    Return *found*; when it is None or False, skip the test and say what is *missing*.

    Where the environment variable ``CI`` is set everything must be there, so the
    test fails instead.
    """
    if found is not None and found is not False:
        return found
    if os.environ.get("CI"):
        pytest.fail(f"{missing}; with CI set a test may not be skipped for that.")
    pytest.skip(missing)  # a contributor's machine need not have every browser and server


def require_program(*names: str) -> str:
    """Return the path of the first of *names* that is installed (see `require`)."""
    found = next(filter(None, map(shutil.which, names)), None)
    return require(found, f"{' or '.join(names)} is not installed")


@functools.cache
def require_pypi() -> None:
    """Skip the test where pip finds no packages to install (see `require`)."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder]
        done = subprocess.run([*pip, "cffi"], capture_output=True, text=True, timeout=120)
    require(done.returncode == 0, f"pip cannot download anything: {done.stderr}")


_given: deque[int] = deque(maxlen=200)


def free_port() -> int:
    """
    Return a TCP port of the loopback that nobody listened on a moment ago.

    It is another one than the last ones were, which may not be in use yet.
    """
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port not in _given:
            _given.append(port)
            return port


class ProcessFailedError(AssertionError):
    """A child ended or stayed silent when a test needed it; says what it printed."""


class Process:
    """
    A child process whose output is kept, line by line.

    Use it as a context manager: at the end the child is terminated, and killed
    should that not help.  Any thread may wait for its lines.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        cwd: Path = PROJECT,
        env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        """
        Start *command*.

        :param env: added to this process's environment.
        :param pass_fds: descriptors that it has, too, by the same numbers.
        """
        self.command = [str(word) for word in command]
        self._lines: list[str] = []
        self._ended = False
        self._news = threading.Condition()
        self._popen = subprocess.Popen(
            self.command,
            cwd=cwd,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="backslashreplace",
            pass_fds=pass_fds,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

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

    @property
    def returncode(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._popen.poll()

    def log(self) -> str:
        """Return everything printed so far, standard error included."""
        with self._news:
            return "\n".join(self._lines)

    def write_line(self, line: str) -> None:
        """Write *line* to the child's standard input."""
        assert self._popen.stdin is not None
        self._popen.stdin.write(line + "\n")
        self._popen.stdin.flush()

    def wait_for_line(
        self, wanted: Callable[[str], bool], *, start: int = 0, what: str = "a line"
    ) -> tuple[int, str]:
        """
        Wait for a line that is *wanted* and return its index and the line.

        :param start: the index of the first line to look at.
        :param what: what is being waited for, to name it in the failure.
        :raises ProcessFailedError: it was not printed within `PATIENCE`, or the
            child ended first.
        """
        deadline = time.monotonic() + PATIENCE
        with self._news:
            while True:
                for index in range(start, len(self._lines)):
                    if wanted(self._lines[index]):
                        return index, self._lines[index]
                start = max(start, len(self._lines))
                left = deadline - time.monotonic()
                if self._ended or left <= 0:
                    raise ProcessFailedError(self._complaint(f"did not print {what}"))
                self._news.wait(left)

    def wait_for_words(self, words: str, *, start: int = 0) -> str:
        """Wait for a line with *words* in it, and return it; see `wait_for_line`."""
        return self.wait_for_line(lambda line: words in line, start=start, what=f"{words!r}")[1]

    def wait_for_event(self, start: int = 0, /, **facts: object) -> tuple[int, dict[str, Any]]:
        """
        Wait for a line that is a JSON object with these *facts* in it.

        :returns: the line's index and the object.
        """
        index, line = self.wait_for_line(
            lambda line: facts.items() <= event_in(line).items(), start=start, what=f"{facts}"
        )
        return index, event_in(line)

    def wait_for_port(self, port: int) -> None:
        """
        Wait until *port* of 127.0.0.1 accepts connections.

        :raises ProcessFailedError: it did not within `PATIENCE`, or the child ended.
        """
        deadline = time.monotonic() + PATIENCE
        while not _accepts(port):
            if time.monotonic() > deadline:
                raise ProcessFailedError(self._complaint(f"does not listen on port {port}"))
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.wait(0.02)
                raise ProcessFailedError(
                    self._complaint(f"ended before it listened on port {port}")
                )

    def wait(self, timeout: float = PATIENCE) -> int:
        """Wait until the child has ended and return its exit status."""
        status = self._popen.wait(timeout)
        self._reader.join(timeout)
        return status

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._popen.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it at once, so that it closes nothing properly, and wait for its end."""
        self._popen.kill()
        self.wait()

    def stop(self) -> None:
        """End the child, however it resists, and free what belongs to it."""
        if self.returncode is None:
            self.terminate()
            try:
                self._popen.wait(5)
            except subprocess.TimeoutExpired:
                self._popen.kill()
        self.wait()
        assert self._popen.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._popen.stdin.close()

    def _read(self) -> None:
        assert self._popen.stdout is not None
        with self._popen.stdout as output:
            for line in output:
                self._add(line.rstrip("\n"))
        with self._news:
            self._ended = True
            self._news.notify_all()

    def _add(self, line: str) -> None:
        with self._news:
            self._lines.append(line)
            self._news.notify_all()

    def _complaint(self, problem: str) -> str:
        name = " ".join(self.command)
        state = "runs" if self.returncode is None else f"ended with {self.returncode}"
        with self._news:
            printed = "\n".join(self._lines)
        return f"{name} {problem} (it {state}).  It printed:\n{printed[-_SHOWN:]}"


def event_in(line: str) -> dict[str, Any]:
    """Return the JSON object on *line*, or an empty one when it is something else."""
    if not line.startswith("{"):
        return {}
    try:
        event = json.loads(line)
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}


class RelayProcess(Process):
    """
    ``twistd -n wsrelay --config relay.ini`` in a process of its own.

    :ivar ports: section name without its kind -> the port that its first
        ``tcp:0`` became, in the order of the file.
    :ivar file: its relay.ini.
    """

    def __init__(
        self, config_text: str, directory: Path, launcher: Sequence[str | Path] = ()
    ) -> None:
        """
        Start the relay; it is not ready yet: see `started_relay`.

        :param config_text: a whole relay.ini in which each ``tcp:0`` stands for
            a free port.  Let its endpoints say ``interface=127.0.0.1``.
        :param directory: where relay.ini is written and the relay runs.
        :param launcher: the command that becomes the relay, in front of the relay's own.
        """
        self.ports: dict[str, int] = {}
        self.file = directory / "relay.ini"
        self.write(config_text)
        twistd = Path(sys.executable).with_name("twistd")
        options = ["-n", "--pidfile=", "wsrelay", "--config", "relay.ini"]
        super().__init__([*launcher, twistd, *options], cwd=directory)

    @property
    def url(self) -> str:
        """The ``ws://`` URL of the first port, without a slash at its end."""
        return self.url_of(next(iter(self.ports)))

    def url_of(self, section: str, scheme: str = "ws") -> str:
        """Return the URL of the port that stands in *section* (``[listener:section]``)."""
        return f"{scheme}://127.0.0.1:{self.ports[section]}"

    def write(self, config_text: str) -> None:
        """Write another relay.ini; a ``tcp:0`` in a section that has a port is that port."""
        text, self.ports = _with_ports(_with_workers(config_text), self.ports)
        self.file.write_text(text, "utf-8")

    def hang_up(self, wanted: str = "reload: ") -> str:
        """
        Send SIGHUP and return the first line with *wanted* in it that is logged then.

        All lines of a reload are logged when everything is in place.
        """
        with self._news:
            start = len(self._lines)
        self._popen.send_signal(signal.SIGHUP)
        return self.wait_for_words(wanted, start=start)

    def reload(self, config_text: str, wanted: str = "reload: ") -> str:
        """Write another relay.ini and have it read; see `hang_up`."""
        self.write(config_text)
        return self.hang_up(wanted)

    def wait_until_ready(self) -> None:
        """Wait until every port accepts connections, and signals are handled."""
        for port in self.ports.values():
            self.wait_for_port(port)
        self.wait_for_line(lambda line: "is up" in line, what="that the relay is up")


@contextlib.contextmanager
def started_relay(
    config_text: str, directory: Path, launcher: Sequence[str | Path] = ()
) -> Iterator[RelayProcess]:
    """
    Run a relay that is ready (see `RelayProcess`) for as long as the context lasts.

    At the end its log is printed; a traceback in it fails the test.
    Another process may take a free port before the relay does; then other ports are tried.
    """
    for last in (False, False, True):
        with RelayProcess(config_text, directory, launcher) as relay:
            try:
                relay.wait_until_ready()
            except ProcessFailedError:
                if last or not _PORT_TAKEN.search(relay.log()):
                    raise
                continue
            try:
                yield relay
            finally:
                print(relay.log())  # pytest shows it when the test failed
            assert "Traceback" not in relay.log(), "the relay logged an exception"
            return


def _accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def _with_workers(config_text: str) -> str:
    """Ask for as many workers as WSRELAY_WORKERS says: what one process does, several do."""
    count = os.environ.get("WSRELAY_WORKERS")
    if count is None or re.search("^workers *=", config_text, re.MULTILINE):
        return config_text
    if re.search(r"^\[relay\]", config_text, re.MULTILINE):
        return re.sub(r"^\[relay\]", f"[relay]\nworkers = {count}", config_text, flags=re.MULTILINE)
    return f"[relay]\nworkers = {count}\n{config_text}"


def _with_ports(config_text: str, known: Mapping[str, int]) -> tuple[str, dict[str, int]]:
    """
    Put a port in the place of each ``tcp:0``; return the text and the ports.

    :param known: a section's port from before, which it has again; others get a free one.
    """
    ports: dict[str, int] = {}
    section = ""
    lines = []
    for line in config_text.splitlines():
        if match := _SECTION.match(line):
            section = match[1]
        if _ANY_PORT.search(line):
            port = known.get(section) or free_port()
            ports.setdefault(section, port)
            line = _ANY_PORT.sub(f"tcp:{port}", line)
        lines.append(line)
    return "\n".join(lines) + "\n", ports
