"""
Searches for inputs of one target, led by what they make the code do: atheris with libFuzzer.

A process of its own, started by ``python -m tests.fuzz``, as libFuzzer ends the one it runs in.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["wsrelay"]):
    from tests.fuzz.targets import TARGETS, timed


def main(name: str, *arguments: str) -> None:
    """Search until libFuzzer's *arguments* say that it is enough."""
    atheris.Setup([name, *arguments], timed(TARGETS[name]))
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
