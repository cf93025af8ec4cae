"""Asks a relay that `tests.faults.probed` runs what it holds."""

from __future__ import annotations

import json
import socket
from collections import Counter
from pathlib import Path
from typing import Any

from attrs import define, field, frozen

from tests.support import PATIENCE


@define(eq=False)
class Probe:
    """Asks a relay that `probed.py` runs; one connection, made when there are descriptors."""

    path: Path
    _file: Any = field(init=False)

    def __attrs_post_init__(self) -> None:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(PATIENCE)
            sock.connect(str(self.path))
            self._file = sock.makefile("rw")

    def ask(self, **question: Any) -> dict[str, Any]:
        self._file.write(json.dumps(question) + "\n")
        self._file.flush()
        found: dict[str, Any] = json.loads(self._file.readline())
        return found

    def jump(self, seconds: float) -> None:
        """Set the clock ahead, or back."""
        self.ask(jump=seconds)

    def close(self) -> None:
        self._file.close()


@frozen
class Held:
    """What a relay holds: counted, so that what is left over has a name."""

    descriptors: int
    timers: Counter[str]
    objects: Counter[str]

    def is_more_than(self, other: Held) -> str:
        """Say what it has that *other* has not; empty: nothing."""
        found = [*(self.timers - other.timers), *(self.objects - other.objects)]
        if self.descriptors > other.descriptors:
            found.append(f"{self.descriptors - other.descriptors} descriptors")
        return ", ".join(found)
