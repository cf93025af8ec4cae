"""
What a second worker brings: the same load through one worker and through two.

``python -m bench.workers`` takes two kinds of figures.  *Cost*: all workers share one core, and
load and upstream have another; what a round trip costs then in CPU of all the relay's
processes, and how evenly the workers shared it, say what two cores would carry.  *Direct*: each
worker may use a part of a core of its own, so that load and upstream have room beside them and
the workers are the limit; what gets through is compared.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from attrs import evolve

from bench.configurations import relay_ini
from bench.machine import choose_cores, raise_file_limit
from bench.measure import Running, Workbench, started, workbench
from bench.processes import BenchError, Tool, cpu_seconds_each
from bench.proxies import Proxy, proxy_named, twistd
from bench.quota import Quotas
from bench.records import record
from bench.scenarios import Scenario

__all__ = [
    "balance",
    "capacity_ratio",
    "carried",
    "evenness",
    "least_used",
    "main",
    "median",
    "ratio",
    "summary",
    "used_up",
]

SETTLING: Final = 1.0
PATIENCE: Final = 10.0
LOADS: Final = (
    Scenario("echo-c100", "64 B echo, 100 connections", "closed-loop", "trip", 100),
    Scenario("echo-c1000", "64 B echo, 1,000 connections", "closed-loop", "trip", 1000),
    Scenario("paced", "64 B echo, 4,000 a second", "fixed-rate", "trip", 400, rate=4000),
    Scenario("handshakes", "connect, 101, close; 16 at a time", "handshakes", "handshake", 16),
)

Figures = dict[str, Any]
Rounds = Sequence[Mapping[str, Figures]]
"""Each with the figures of both numbers of workers, by that number."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and put the figures into a file if that is asked for."""
    options = _parser().parse_args(arguments)
    try:
        raise_file_limit()
        with workbench(choose_cores(None, None), options.seconds) as bench:
            loads = LOADS[: options.loads]
            limited = [each for each in loads if each.kind != "fixed-rate"]
            figures = {
                "workers": options.workers,
                "share": options.share,
                "titles": {each.name: each.title for each in loads},
                "cost": {each.name: _rounds(bench, options, each, 0.0) for each in loads},
                "direct": {
                    each.name: _rounds(bench, options, each, options.share)
                    for each in limited
                    if options.share
                },
                "limited": [each.name for each in limited],
            }
            print("\n".join(summary(figures)))
            if options.record:
                record(options.record, "workers", bench, figures)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.workers", description=__doc__)
    add = parser.add_argument
    add("--workers", type=int, default=2, metavar="N", help="compared with one; default: 2")
    add("--rounds", type=int, default=5, metavar="N", help="default: 5")
    add("--seconds", type=float, default=2.0, metavar="S", help="for each figure; default: 2")
    add("--loads", type=int, default=len(LOADS), metavar="N", help="only the first N loads")
    add(
        "--share",
        type=float,
        default=0.15,
        metavar="PART",
        help="of a core for each worker in the direct comparison; 0: without it; default: 0.15",
    )
    add("--record", type=Path, metavar="FILE", help="put the figures into this JSON file")
    return parser


def balance(loads: Iterable[float]) -> float:
    """Say how evenly workers share a load: 1, all have the same; 0.5, one of two has it all."""
    each = list(loads)
    return sum(each) / (len(each) * max(each))


def capacity_ratio(one: Figures, several: Figures, workers: int) -> float:
    """
    Say what *workers* on a core each carry, to what one carries.

    The busiest of them is full first, so what its share is above the others' is lost, and so is
    what a message costs more than it does with one worker.
    """
    cheaper: float = one["cpu_us"] / several["cpu_us"]
    return workers * balance(several["worker_cpu_s"]) * cheaper


def summary(figures: Figures) -> list[str]:
    """Return the medians of the rounds, a line for each load."""
    name = str(figures["workers"])
    found = []
    for load, rounds in figures["cost"].items():
        one, several = (median(rounds, each, "cpu_us") for each in ("1", name))
        line = (
            f"{figures['titles'][load]}: {one:.1f} µs with one worker, {several:.1f} with {name}, "
            f"balance {evenness(rounds, name):.2f}"
        )
        if load in figures["limited"]:
            line += f": {name} cores carry {carried(rounds, name):.2f} times one"
        found.append(line)
    for load, rounds in figures["direct"].items():
        found.append(_direct(rounds, figures["titles"][load], figures["share"], name))
    return found


def _direct(rounds: Rounds, title: str, share: float, name: str) -> str:
    one, several = (median(rounds, each, "per_s") for each in ("1", name))
    used = [least_used(rounds, each, share) for each in ("1", name)]
    return (
        f"{title}, {share:.0%} of a core for each: {one:,.0f} a second with one worker, "
        f"{several:,.0f} with {name}: {ratio(rounds, name):.2f} times; they used "
        f"{used[0]:.0%} and {used[1]:.0%} of that at least"
    )


def median(rounds: Rounds, workers: str, metric: str) -> float:
    """Return the median of one figure over the rounds."""
    values: list[float] = [each[workers][metric] for each in rounds]
    return statistics.median(values)


def evenness(rounds: Rounds, workers: str) -> float:
    """Return the median of the balance over the rounds."""
    return statistics.median(balance(each[workers]["worker_cpu_s"]) for each in rounds)


def carried(rounds: Rounds, workers: str) -> float:
    """Return the median of what so many workers carry, to one."""
    number = int(workers)
    return statistics.median(capacity_ratio(each["1"], each[workers], number) for each in rounds)


def ratio(rounds: Rounds, workers: str) -> float:
    """Return the median of what got through with so many workers, to what did with one."""
    ratios: list[float] = [each[workers]["per_s"] / each["1"]["per_s"] for each in rounds]
    return statistics.median(ratios)


def least_used(rounds: Rounds, workers: str, share: float) -> float:
    """Return how much of their shares so many workers used in every round."""
    return min(used_up(each[workers], share) for each in rounds)


def used_up(figures: Figures, share: float) -> float:
    """Return how much of their shares the workers used: 1, and nothing else was the limit."""
    worked: list[float] = figures["worker_cpu_s"]
    used: float = sum(worked) / (len(worked) * share * figures["elapsed_s"])
    return used


def _rounds(
    bench: Workbench, options: argparse.Namespace, load: Scenario, share: float
) -> list[dict[str, Figures]]:
    """Drive one worker and several in turns; which is first changes."""
    turn = [1, options.workers]
    found = []
    for number in range(options.rounds):
        order = turn if number % 2 == 0 else turn[::-1]
        found.append({str(each): _figures(bench, each, load, share) for each in order})
    return found


def _figures(bench: Workbench, workers: int, load: Scenario, share: float) -> Figures:
    # With shares of their own the workers get cores of their own, too, and the rest is the load's.
    cores = evolve(bench.cores, proxy=(), load=(), upstream=()) if share else bench.cores
    with Quotas() as quotas, started(evolve(bench, cores=cores), _relay(workers)) as running:
        bench.warm_up(running)
        bench.wait_for_the_end(running, 0)  # and until all workers, and a spare one, are there
        with evolve(bench, cores=cores).load(running.setup, load) as driver:
            if share:
                _confine(quotas, running, workers, share)
            time.sleep(SETTLING)
            return _between(bench, running, driver, workers)


def _relay(workers: int) -> Proxy:
    options = {"data_path": "native", "workers": workers}
    return evolve(
        proxy_named("wsrelay-native"), command=lambda setup: twistd(relay_ini(setup, options))
    )


def _confine(quotas: Quotas, running: Running, workers: int, share: float) -> None:
    """Give each worker its own core, and its share of it."""
    there, before = sorted(os.sched_getaffinity(0)), cpu_seconds_each(running.child.pid)
    time.sleep(SETTLING)
    worked = _worked_since(before, running)
    for place, pid in enumerate(_busiest(worked, workers)):
        quotas.limit(pid, share)
        os.sched_setaffinity(pid, {there[place % len(there)]})


def _worked_since(before: Mapping[int, float], running: Running) -> dict[int, float]:
    after = cpu_seconds_each(running.child.pid)
    return {pid: used - before.get(pid, 0.0) for pid, used in after.items()}


def _busiest(worked: Mapping[int, float], workers: int) -> list[int]:
    """Tell the workers from the processes that watch them or wait to take a place."""
    return sorted(worked, key=lambda pid: worked[pid], reverse=True)[:workers]


def _between(bench: Workbench, running: Running, driver: Tool, workers: int) -> Figures:
    before, began, trips = cpu_seconds_each(running.child.pid), time.monotonic(), 0
    driver.ask()
    while not trips and time.monotonic() - began < PATIENCE:
        time.sleep(bench.seconds)
        trips = driver.ask()["messages"]
    worked, elapsed = _worked_since(before, running), time.monotonic() - began
    if not trips:
        raise BenchError("nothing got through between the marks")
    return {
        "cpu_us": sum(worked.values()) / trips * 1e6,
        "per_s": trips / elapsed,
        "elapsed_s": elapsed,
        "worker_cpu_s": [worked[pid] for pid in _busiest(worked, workers)],
    }


if __name__ == "__main__":
    sys.exit(main())
