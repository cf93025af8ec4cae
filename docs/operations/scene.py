"""
Processes on loopback, in a folder of their own, and what is waited for: for pages made of what
commands print.

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
from pathlib import Path
from typing import Any, Final

PROJECT: Final = Path(__file__).resolve().parent.parent.parent
PROGRAMS: Final = Path(sys.executable).parent

PATIENCE: Final = 60.0
"""Seconds that anything may take; on a quiet machine nothing takes a tenth of it."""

GLANCE: Final = 0.02
"""Seconds between two looks at the relay."""

ADMIN: Final = 9000
_PORT: Final = re.compile(r"(?<=tcp:)\d{4}|(?<=127\.0\.0\.1:)\d{4}")

Json = dict[str, Any]


class SceneFailed(Exception):  # noqa: N818
    """Something did not happen; says what, and what there was instead."""


class Scene:
    """
    Everything that runs, and the steps of a story that are not commands.

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

    def steps(self) -> dict[str, Callable[..., None]]:
        """Return what the first word of a step stands for."""
        return {
            "until": self._until,
            "pass": self._pass,
            "gone": self._gone,
            "noted": self._noted,
        }

    def step(self, line: str) -> None:
        """
        Do what a line of the story says.

        :raises SceneFailed: it did not happen in time.
        """
        verb, *words = line.split()
        self.steps()[verb](*words)

    # processes

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

    def _signal(self, name: str, number: signal.Signals) -> None:
        process = self._running.pop(name)
        process.send_signal(number)
        process.wait(PATIENCE)

    def _gone(self, name: str) -> None:
        """Wait for the end of a process that a command of the page ends."""
        self._running.pop(name).wait(PATIENCE)

    def _noted(self, name: str, count: str, *words: str) -> None:
        """Wait until so many lines of a log have these words in them."""
        text, path = " ".join(words), self._folder / f"{name}.log"

        def is_so() -> bool:
            lines = path.read_text().splitlines() if path.exists() else []
            return sum(text in line for line in lines) == int(count)

        self._wait(f"{count} times '{text}' in {name}.log", is_so)

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

    def _ask(self, path: str) -> Any:
        url = f"http://127.0.0.1:{self._port(str(ADMIN))}{path}"
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {self._token}"})
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.load(answer)

    def _wait(self, what: str, is_so: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not is_so():
            if time.monotonic() > deadline:
                raise SceneFailed(f"waited in vain for {what}; the end of the log:\n{self._log()}")
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
