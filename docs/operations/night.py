"""
The processes of docs/operations.rst: upstreams, clients and a relay, in a folder of their own.

Nothing sleeps for luck: a step waits until the relay's status says that it has happened.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from operations.certificate import write_certificate

HERE: Final = Path(__file__).resolve().parent
PROJECT: Final = HERE.parent.parent
PROGRAMS: Final = Path(sys.executable).parent

PATIENCE: Final = 60.0
"""Seconds that anything may take; on a quiet machine nothing takes a tenth of it."""

GLANCE: Final = 0.02
"""Seconds between two looks at the relay."""

UPSTREAMS: Final = {"a": 3001, "b": 3002, "c": 3003, "d": 3004, "feed-1": 3010}
ADMIN: Final = 9000
CLIENTS: Final = 8080
_PORT: Final = re.compile(r"(?<=tcp:)\d{4}|(?<=127\.0\.0\.1:)\d{4}")

Json = dict[str, Any]


class NightFailed(Exception):  # noqa: N818
    """Something did not happen; says what, and what there was instead."""


class Night:
    """
    Everything that runs, and the steps of the story that are not commands.

    :param folder: is empty, and where all files are written.
    :param any_ports: take ports that are free now, not those that the story names.
    """

    def __init__(self, folder: Path, any_ports: bool) -> None:
        self._folder = folder
        self._any_ports = any_ports
        self._ports: dict[str, str] = {}
        self._running: dict[str, subprocess.Popen[str]] = {}
        self._names: dict[str, str] = {}
        self._status = 0
        self._token = os.urandom(16).hex()
        (folder / "admin.token").write_text(f"{self._token}\n")
        (folder / "relay.ini").write_text(self.fill((HERE / "relay.ini").read_text()))
        write_certificate(folder / "chat.pem", issuer="Example CA 1")

    def end(self) -> None:
        """End every process, however it resists."""
        for process in self._running.values():
            process.kill()
            process.wait()

    def fill(self, text: str) -> str:
        """Put the ports in use and the names that are known by now into *text*."""
        for name, value in self._names.items():
            text = text.replace(f"{{{name}}}", value)
        return _PORT.sub(lambda match: self._port(match[0]), text) if self._any_ports else text

    def run(self, command: str) -> str:
        """Run a command of the page in a shell; return all that it printed."""
        done = subprocess.run(
            ["sh", "-c", f"(exit {self._status}); {command}"],
            cwd=self._folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
        )
        self._status = done.returncode
        return done.stdout

    def step(self, line: str) -> None:
        """
        Do what a line of the story says.

        :raises NightFailed: it did not happen in time.
        """
        verb, *words = line.split()
        steps: dict[str, Callable[..., None]] = {
            "start": self._start,
            "begin": self._begin,
            "kill": self._kill,
            "stop": self._stop,
            "tell": self._tell,
            "until": self._until,
            "pass": self._pass,
            "renew": self._renew,
            "find": self._find,
            "gone": self._gone,
            "noted": self._noted,
        }
        steps[verb](*words)

    # processes

    def _start(self, *names: str) -> None:
        """Start upstreams and wait until they listen."""
        ports = {name: self._port(str(UPSTREAMS[name])) for name in names}
        for name, port in ports.items():
            self._launch(name, sys.executable, HERE / "upstream.py", port)
        for name, port in ports.items():
            self._wait(f"that {name} listens", partial(_accepts, int(port)))

    def _begin(self) -> None:
        """Start the relay and the clients."""
        self._launch("relay", PROGRAMS / "twistd", "-n", "wsrelay", "--config", "relay.ini")
        log = self._folder / "relay.log"
        self._wait("that the relay is up", lambda: "is up;" in log.read_text())
        self._launch("clients", sys.executable, HERE / "clients.py", self._port(str(CLIENTS)))

    def _launch(self, name: str, *command: Path | str) -> None:
        """Start a process; what it prints goes into a file of its name."""
        with open(self._folder / f"{name}.log", "a") as log:
            self._running[name] = subprocess.Popen(
                command,
                cwd=self._folder,
                env=self._environment(),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
            )

    def _kill(self, name: str) -> None:
        """End a process as kill -9 and the kernel do."""
        self._signal(name, signal.SIGKILL)

    def _stop(self, name: str) -> None:
        """End a process as an init system does."""
        self._signal(name, signal.SIGTERM)

    def _signal(self, name: str, number: signal.Signals) -> None:
        process = self._running.pop(name)
        process.send_signal(number)
        process.wait(PATIENCE)

    def _gone(self, name: str) -> None:
        """Wait for the end of a process that a command of the page ends."""
        self._running.pop(name).wait(PATIENCE)

    # clients

    def _tell(self, *words: str) -> None:
        """Give the clients an order; see clients.py."""
        orders = self._running["clients"].stdin
        assert orders is not None
        print(*words, file=orders, flush=True)

    def _noted(self, name: str, count: str, *words: str) -> None:
        """Wait until so many lines of a log have these words in them."""
        text, path = " ".join(words), self._folder / f"{name}.log"

        def is_so() -> bool:
            return sum(text in line for line in path.read_text().splitlines()) == int(count)

        self._wait(f"{count} times '{text}' in {name}.log", is_so)

    def _find(self, name: str, client: str, messages: str) -> None:
        """Let *name* stand for the session of a client that has had so many answers."""

        def found() -> bool:
            sessions = self._ask(f"/api/sessions?client={client}")["sessions"]
            self._names[name] = sessions[0]["id"] if sessions else ""
            return [each["messages_down"] for each in sessions] == [int(messages)]

        self._wait(f"{messages} answers to {client}", found)

    # the relay

    def _until(self, name: str, key: str, value: str) -> None:
        """Wait until the status says so of an upstream, a pool, or the relay."""

        def is_so() -> bool:
            facts = self._facts(name)
            for part in key.split("."):
                facts = (facts or {}).get(part)
            return json.dumps(facts).strip('"') == value

        self._wait(f"that {key} of {name} is {value}", is_so)

    def _facts(self, name: str) -> Any:
        status = self._ask("/status.json")
        upstreams = [each for pool in status["pools"] for each in pool["upstreams"]]
        named = {each["name"]: each for each in (*status["pools"], *upstreams)}
        return status if name == "relay" else named.get(name)

    def _pass(self, seconds: str) -> None:
        """Let so much time pass, by the relay's clock: that of a ``slow_start``."""
        until = self._ask("/status.json")["uptime_s"] + float(seconds) + 0.2  # it is rounded
        self._wait("that time passes", lambda: self._ask("/status.json")["uptime_s"] >= until)

    def _renew(self) -> None:
        """Put a new certificate into the old one's place."""
        write_certificate(self._folder / "chat.pem", issuer="Example CA 2")

    def _ask(self, path: str) -> Any:
        url = f"http://127.0.0.1:{self._port(str(ADMIN))}{path}"
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {self._token}"})
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.load(answer)

    def _wait(self, what: str, is_so: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not is_so():
            if time.monotonic() > deadline:
                raise NightFailed(f"waited in vain for {what}; the end of the log:\n{self._log()}")
            time.sleep(GLANCE)

    def _log(self) -> str:
        status = self.run("wsrelay status")
        return status + (self._folder / "relay.log").read_text()[-4000:]

    def _port(self, number: str) -> str:
        """Return the port that is used for the one of the story."""
        if not self._any_ports:
            return number
        if number not in self._ports:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self._ports[number] = str(probe.getsockname()[1])
        return self._ports[number]

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if "WSRELAY" not in name}
        path = f"{PROGRAMS}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        return kept | {"PATH": path, "PYTHONPATH": str(PROJECT), "LC_ALL": "C.UTF-8"}


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), PATIENCE).close()
    except OSError:
        return False
    return True
