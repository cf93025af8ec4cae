"""The command line: ``python -m bench --help``."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.compare import changes
from bench.loadtool import BUILD
from bench.machine import choose_cores
from bench.processes import BenchError
from bench.proxies import PROXIES, proxy_named
from bench.results import Results
from bench.run import Plan, run
from bench.scenarios import SCENARIOS, Scenario
from bench.screen import lines

FULL_ROUNDS, FULL_SECONDS = 5, 0.6
QUICK_ROUNDS, QUICK_SECONDS = 1, 0.25


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the benchmark.

    :param argv: without the program's name; None: those of the process.
    :returns: the exit code: 0, it ran; 1, it cannot run here; over 128, a signal ended it.
    """
    arguments = _parser().parse_args(argv)
    try:
        results = _read(arguments.show) if arguments.show else _run(arguments)
        text = list(lines(results))
        if arguments.compare:
            text += ["", *changes(_read(arguments.compare), results)]
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    print("\n".join(text))
    return 0


def _run(arguments: argparse.Namespace) -> Results:
    document = run(_plan(arguments), _tell)
    output: Path = arguments.output
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    _tell(f"{document['took_s']} s; every figure is in {output}")
    return Results(document)


def _read(path: Path) -> Results:
    try:
        return Results(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError) as error:
        raise BenchError(f"{path} is no result of a run: {error}") from error


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _numbers(text: str) -> list[int]:
    return [int(name) for name in _names(text)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Compare wsrelay with other websocket proxies on this machine.",
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="one short round of most scenarios")
    add(
        "--proxies",
        type=_names,
        metavar="NAMES",
        help=f"those to run, with commas: {', '.join(each.name for each in PROXIES)}",
    )
    add(
        "--scenarios",
        type=_names,
        metavar="NAMES",
        help=f"those to run, with commas: {', '.join(each.name for each in SCENARIOS)}",
    )
    add("--rounds", type=int, metavar="N", help=f"default: {FULL_ROUNDS}; quick: {QUICK_ROUNDS}")
    add(
        "--seconds",
        type=float,
        metavar="S",
        help=f"for each figure; default: {FULL_SECONDS}; quick: {QUICK_SECONDS}",
    )
    add("--proxy-cores", type=_numbers, metavar="N", help="default: the last one")
    add("--load-cores", type=_numbers, metavar="N,N", help="default: all the others")
    add("--output", type=Path, metavar="FILE", default=BUILD / "result.json", help="JSON")
    add("--compare", type=Path, metavar="FILE", help="say what changed since that run")
    add("--show", type=Path, metavar="FILE", help="show that run instead of making one")
    return parser


def _plan(arguments: argparse.Namespace) -> Plan:
    quick = arguments.quick
    names = arguments.proxies or [proxy.name for proxy in PROXIES]
    return Plan(
        proxies=[proxy_named(name) for name in names],
        scenarios=_scenarios(arguments.scenarios, quick),
        rounds=arguments.rounds or (QUICK_ROUNDS if quick else FULL_ROUNDS),
        seconds=arguments.seconds or (QUICK_SECONDS if quick else FULL_SECONDS),
        cores=choose_cores(arguments.proxy_cores, arguments.load_cores),
    )


def _scenarios(names: list[str] | None, quick: bool) -> list[Scenario]:
    known = {scenario.name: scenario for scenario in SCENARIOS}
    if names is None:
        return [scenario for scenario in SCENARIOS if scenario.quick or not quick]
    if unknown := [name for name in names if name not in known]:
        raise BenchError(
            f"There is no scenario {', '.join(unknown)}; there are: {', '.join(known)}."
        )
    return [known[name] for name in names]


if __name__ == "__main__":
    # As an exception, so that every process that was started is ended on the way out.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    sys.exit(main())
