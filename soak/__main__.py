"""The command line: ``python -m soak --help``."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.processes import BenchError
from soak.run import Soak
from soak.table import lines


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run it, and print the table.

    :returns: the exit code: 0, all is well; 1, messages were lost or something is left over,
        or it could not run.
    """
    parser = argparse.ArgumentParser(prog="python -m soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (10)")
    parser.add_argument(
        "--data-path", choices=("auto", "native", "python"), default="auto", help="the pump (auto)"
    )
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        soak = Soak(Path(folder), arguments.minutes * 60, arguments.data_path, _tell)
        try:
            outcome = asyncio.run(soak.run())
        except BenchError as error:
            _tell(str(error))
            return 1
    print("\n".join(lines(outcome)))
    return 0 if outcome.is_good else 1


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
