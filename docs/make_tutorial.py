"""
Write docs/tutorial.rst: docs/tutorial/story.rst, with what each of its commands prints.

``python docs/make_tutorial.py > docs/tutorial.rst`` does what the story says, on loopback, with
real processes; ``--any-ports`` and what is between the commands are as in make_operations.py.
tests/test_tutorial.py does it again, and compares.
"""

from __future__ import annotations

import re
import shutil
import signal
from pathlib import Path

from make_operations import main
from operations.scene import Scene

HERE = Path(__file__).resolve().parent / "tutorial"


class Terminal(Scene):
    """A reader's terminal: what ends with ``&`` is a job, and ``kill`` knows jobs by number."""

    def __init__(self, folder: Path, any_ports: bool) -> None:
        super().__init__(folder, any_ports)
        self._jobs = 0
        for name in ("upstream.py", "clients.py"):
            shutil.copy(HERE / name, folder / name)
        (folder / "relay.ini").write_text(self.fill((HERE / "relay.ini").read_text()))

    def run(self, command: str) -> str:
        """Do what the shell of a terminal does; return what was printed."""
        if command.endswith(" &"):
            self._jobs += 1
            words = f"exec {command.removesuffix(' &')}"
            self._launch(f"%{self._jobs}", "sh", "-c", words)
        elif command.startswith("kill "):
            number = signal.SIGKILL if " -9 " in command else signal.SIGTERM
            for job in re.findall(r"%\d", command):
                self._signal(job, number)
        else:
            return super().run(command)
        return ""

    def fill(self, text: str) -> str:
        """Put the ports in use into *text*, those of the upstreams' command lines, too."""
        filled = super().fill(text)
        if not self._any_ports:
            return filled
        return re.sub(r"(?<=upstream\.py \w )\d+", lambda found: self._port(found[0]), filled)


if __name__ == "__main__":
    main(HERE / "story.rst", Terminal)
