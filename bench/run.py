"""A whole run: every proxy in turn, scenario after scenario, round after round."""

from __future__ import annotations

import contextlib
import datetime
import time
from collections.abc import Callable, Sequence
from typing import Any

from attrs import asdict, frozen

from bench.machine import describe, raise_file_limit
from bench.measure import Cores, Running, Workbench, started, workbench
from bench.processes import BenchError
from bench.proxies import Proxy
from bench.scenarios import Scenario

__all__ = ["Plan", "run"]

Tell = Callable[[str], None]


@frozen
class Plan:
    """What to run.

    :ivar seconds: that each figure is taken over.
    """

    proxies: Sequence[Proxy]
    scenarios: Sequence[Scenario]
    rounds: int
    seconds: float
    cores: Cores


def run(plan: Plan, tell: Tell) -> dict[str, Any]:
    """
    Run everything and return the document for the JSON file.

    :param tell: is told, line by line, how far it is.
    :raises BenchError: nothing can be measured here.
    """
    raise_file_limit()
    began = time.monotonic()
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    with workbench(plan.cores, plan.seconds) as bench, contextlib.ExitStack() as stack:
        machine = describe(plan.cores, bench.program.compiler)
        running, absent = _start(plan, bench, stack, tell)
        rounds = [_round(bench, running, plan, number, tell) for number in range(plan.rounds)]
    return {
        "date": now,
        "took_s": round(time.monotonic() - began),
        "machine": machine,
        "rounds_asked_for": plan.rounds,
        "seconds": plan.seconds,
        "proxies": [each.proxy.name for each in running],
        "titles": {each.proxy.name: each.proxy.title for each in running},
        "versions": {each.proxy.name: each.proxy.version() for each in running},
        "absent": absent,
        "scenarios": [asdict(scenario) for scenario in plan.scenarios],
        "rounds": rounds,
    }


def _start(
    plan: Plan, bench: Workbench, stack: contextlib.ExitStack, tell: Tell
) -> tuple[list[Running], dict[str, str]]:
    """Start every proxy that is there; return those that run, and why others do not."""
    running: list[Running] = []
    absent: dict[str, str] = {}
    for proxy in plan.proxies:
        reason = proxy.missing()
        if reason is None:
            try:
                running.append(stack.enter_context(started(bench, proxy)))
                continue
            except BenchError as error:
                reason = str(error)
        absent[proxy.name] = reason
        tell(f"without {proxy.name}: {reason}")
    return running, absent


def _round(
    bench: Workbench, running: Sequence[Running], plan: Plan, number: int, tell: Tell
) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for scenario in plan.scenarios:
        if scenario.most_rounds is not None and number >= scenario.most_rounds:
            continue
        tell(f"round {number + 1} of {plan.rounds}: {scenario.title}")
        # Starting with another each time, so that none is always the one behind a heavy one.
        first = number % len(running) if running else 0
        turn = [*running[first:], *running[:first]]
        found[scenario.name] = {each.proxy.name: _figures(bench, each, scenario) for each in turn}
    return found


def _figures(bench: Workbench, running: Running, scenario: Scenario) -> dict[str, Any]:
    try:
        return bench.measure(running, scenario)
    except BenchError as error:
        return {"failed": str(error)}
