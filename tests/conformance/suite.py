"""The Autobahn Testsuite, which is a program for Python 2.7: installed, started, read."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from attrs import define

from tests.support import PROJECT, Process

VERSION: Final = "0.8.2"
"""Of autobahntestsuite at PyPI; the later ones there are broken packages of the same cases."""

FOLDER: Final = PROJECT / "build" / "conformance"

_RUN: Final = """\
import site, sys
site.addsitedir(sys.argv.pop(1))
sys.argv[0] = "wstest"
from autobahntestsuite.wstest import run
run()
"""

Verdicts = dict[str, list[Any]]
"""Case -> what the suite says of it: behaviour, behaviour of the close, close code received."""


@define(eq=False)
class Suite:
    """The suite, in a folder of its own."""

    python2: str

    def install(self) -> None:
        """Install it, once; whoever runs this has Python 2.7 with pip."""
        if (FOLDER / "suite" / "autobahntestsuite").is_dir():
            return
        what = f"autobahntestsuite=={VERSION}"
        command = [self.python2, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run(
            [*command, "--target", FOLDER / "suite", what], check=True, stdout=sys.stderr
        )

    def attack(self, urls: Mapping[str, str], cases: Sequence[str]) -> dict[str, Verdicts]:
        """Let it be the client of servers: agent -> URL; returns agent -> verdicts."""
        spec = {
            "servers": [{"agent": agent, "url": url} for agent, url in urls.items()],
            "cases": list(cases),
        }
        folder = self._prepare("servers", spec)
        with self._started("fuzzingclient", folder) as process:
            process.wait(timeout=7200)
        return verdicts_in(folder)

    def wait_for(self, cases: Sequence[str], port: int) -> tuple[Process, Path]:
        """Let it be the server of clients; returns the process, and where its reports will be."""
        spec = {"url": f"ws://127.0.0.1:{port}", "cases": list(cases)}
        folder = self._prepare("clients", spec)
        process = self._started("fuzzingserver", folder)
        process.wait_for_port(port)
        return process, folder

    def _prepare(self, name: str, spec: dict[str, Any]) -> Path:
        folder = FOLDER / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "index.json").unlink(missing_ok=True)
        whole = {"outdir": str(folder), "exclude-cases": [], "exclude-agent-cases": {}, **spec}
        (folder / "spec.json").write_text(json.dumps(whole), "utf-8")
        (FOLDER / "run.py").write_text(_RUN, "utf-8")
        return folder

    def _started(self, mode: str, folder: Path) -> Process:
        words = [self.python2, FOLDER / "run.py", FOLDER / "suite", "-m", mode]
        return Process([*words, "-s", folder / "spec.json"], cwd=folder)


def verdicts_in(folder: Path) -> dict[str, Verdicts]:
    """Read what the suite found: agent -> verdicts."""
    index = json.loads((folder / "index.json").read_text("utf-8"))
    return {
        agent: {
            case: [each["behavior"], each["behaviorClose"], each["remoteCloseCode"]]
            for case, each in cases.items()
        }
        for agent, cases in index.items()
    }


def in_order(cases: Iterable[str]) -> list[str]:
    """Sort cases as the suite numbers them: 2.10 behind 2.9."""
    return sorted(cases, key=lambda case: [int(part) for part in case.split(".")])
