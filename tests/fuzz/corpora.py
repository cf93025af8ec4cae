"""The inputs that are kept: small files, one an input, in a folder for each target."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from hashlib import sha1
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

CORPUS: Final = Path(__file__).parent / "corpus"
PACKAGE: Final = str(Path(__file__).parents[2] / "wsrelay")

LONGEST: Final = 4096
"""Bytes of an input that is kept."""

MOST: Final = 150
"""Files that are kept for one target."""

Step = tuple[CodeType, int, int]
"""From one line of a function to another."""


def inputs_of(target: str, folder: Path = CORPUS) -> dict[str, bytes]:
    """Return the inputs for a target, by the names of their files."""
    return {path.name: path.read_bytes() for path in sorted((folder / target).glob("*"))}


def steps_of(target: Callable[[bytes], None], data: bytes) -> set[Step]:
    """Return which steps from line to line an input makes the relay's code take."""
    steps: set[Step] = set()
    lines: dict[FrameType, int] = {}

    def trace(frame: FrameType, event: str, _arg: object) -> Any:
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        steps.add((frame.f_code, lines.get(frame, 0), frame.f_lineno))
        lines[frame] = frame.f_lineno
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        target(data)
    finally:
        sys.settrace(before)
    return steps


def keep(
    name: str, target: Callable[[bytes], None], found: Iterable[bytes], folder: Path = CORPUS
) -> list[Path]:
    """
    Keep those inputs that make the code take a step that no other one makes, the short first.

    :returns: the files that were written.
    """
    kept = inputs_of(name, folder)
    known = set().union(*(steps_of(target, data) for data in kept.values()))
    written = []
    for data in sorted(set(found) - set(kept.values()), key=lambda data: (len(data), data)):
        if len(data) > LONGEST or len(kept) + len(written) >= MOST:
            break
        new = steps_of(target, data) - known
        if new:
            known |= new
            written.append(folder / name / sha1(data, usedforsecurity=False).hexdigest()[:12])
            written[-1].parent.mkdir(parents=True, exist_ok=True)
            written[-1].write_bytes(data)
    return written
