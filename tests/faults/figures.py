"""What a test of this folder found, for docs/faults.rst."""

from __future__ import annotations

import json
import os
from pathlib import Path

from attrs import asdict, define

RECORD = "FAULTS_RECORD"


@define
class Figures:
    """
    The figures of one scenario with one pump.

    *noticed*: seconds from the harm until what docs/make_faults.py says of the scenario;
    None where there is nothing to wait for.  *messages*: of the sessions that were not hit,
    both ways.  Memory is in bytes.
    """

    scenario: str
    pump: str
    hit: int = 0
    not_hit: int = 0
    messages: int = 0
    losses: int = 0
    noticed: float | None = None
    descriptors: tuple[int, int] = (0, 0)
    timers: tuple[int, int] = (0, 0)
    memory: tuple[int, int] = (0, 0)


def record(figures: Figures) -> None:
    """Put them into the file that `RECORD` names, if there is one, in the place of older ones."""
    if RECORD not in os.environ:
        return
    file = Path(os.environ[RECORD])
    known = json.loads(file.read_text("utf-8")) if file.exists() else []
    key = figures.scenario, figures.pump
    rows = [each for each in known if (each["scenario"], each["pump"]) != key]
    rows.append(asdict(figures))
    rows.sort(key=lambda each: (each["scenario"], each["pump"]))
    file.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
