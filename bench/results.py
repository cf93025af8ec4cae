"""What raw figures come to: medians, ratios within rounds, and who was the limit.  Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from attrs import frozen

__all__ = ["Limit", "Metric", "Ratio", "Results", "figures_of", "limit_of", "main_metric"]

Metric = Literal["cpu_us", "per_s", "p50_us", "p99_us", "bytes"]
"""CPU per unit, units a second, latencies, resident bytes a session."""

Limit = Literal["proxy", "load", "others", "wake-ups", "rate"]
BUSY = 0.9
"""A core that is busy for so much of the time was the limit."""

DISTURBED = 0.1
"""Other processes that take so much of a core spoil the figure."""

Raw = Mapping[str, Any]


@frozen
class Ratio:
    """A proxy's figure to another's: the median of ratios that were each taken in one round."""

    median: float
    least: float
    most: float
    rounds: int


def main_metric(kind: str) -> Metric:
    """Return what a scenario of this kind is there to show."""
    special: dict[str, Metric] = {"idle": "bytes", "fixed-rate": "p99_us"}
    return special.get(kind, "cpu_us")


def figures_of(raw: Raw) -> dict[Metric, float]:
    """Return the figures that one measurement gives; none for one that failed."""
    if "failed" in raw:
        return {}
    if "sessions" in raw:
        return {"bytes": (raw["after_bytes"] - raw["before_bytes"]) / raw["sessions"]}
    figures: dict[Metric, float] = {
        "cpu_us": raw["proxy_cpu_s"] / raw["units"] * 1e6,
        "per_s": raw["units"] / raw["elapsed_s"],
    }
    if "p50_us" in raw:
        figures |= {"p50_us": raw["p50_us"], "p99_us": raw["p99_us"]}
    return figures


def limit_of(raw: Raw, kind: str, *, shared_core: bool) -> Limit:
    """
    Say what kept the throughput from being higher.

    :param kind: the scenario's.
    :param shared_core: whether load and upstream run on one core.
    :returns: ``rate``, where the load sets the pace; ``proxy``, the only answer with which
        the throughput is the proxy's own; ``load``, generator or echo upstream;
        ``others``, processes that have nothing to do with this but used the same
        cores; or ``wake-ups``: nobody was busy, all waited for messages on their way.
    """
    if kind == "fixed-rate":
        return "rate"
    others = [raw["load_cpu_s"], raw["upstream_cpu_s"]]
    load = sum(others) if shared_core else max(others)
    if raw["proxy_cpu_s"] / raw["elapsed_s"] >= BUSY:
        return "proxy"
    proxy_others = raw["proxy_core_s"] - raw["proxy_cpu_s"]
    load_others = raw["load_core_s"] - sum(others)
    if max(proxy_others, load_others) > DISTURBED * raw["elapsed_s"]:
        return "others"
    return "load" if load / raw["elapsed_s"] >= BUSY else "wake-ups"


@frozen
class Results:
    """
    A finished run, as it stands in its JSON file.

    :ivar rounds: scenario -> proxy -> raw figures, or ``{"failed": why}``; one for each round.
    """

    document: Mapping[str, Any]

    @property
    def rounds(self) -> Sequence[Mapping[str, Mapping[str, Raw]]]:
        """The rounds, in order."""
        rounds: Sequence[Mapping[str, Mapping[str, Raw]]] = self.document["rounds"]
        return rounds

    @property
    def proxies(self) -> Sequence[str]:
        """The proxies that ran, in order."""
        names: Sequence[str] = self.document["proxies"]
        return names

    def raw(self, scenario: str, proxy: str) -> list[Raw]:
        """Return what was measured of one proxy in one scenario."""
        found = (each.get(scenario, {}).get(proxy) for each in self.rounds)
        return [raw for raw in found if raw is not None]

    def failure(self, scenario: str, proxy: str) -> str | None:
        """Say why a proxy has no figures, or None."""
        raws = self.raw(scenario, proxy)
        failures = [raw["failed"] for raw in raws if "failed" in raw]
        return failures[0] if failures and len(failures) == len(raws) else None

    def median(self, scenario: str, proxy: str, metric: Metric) -> float | None:
        """Return the median over the rounds; None where nothing was measured."""
        figures = [figures_of(raw) for raw in self.raw(scenario, proxy)]
        values = [each[metric] for each in figures if metric in each]
        return statistics.median(values) if values else None

    def ratio(self, scenario: str, proxy: str, base: str, metric: Metric) -> Ratio | None:
        """
        Compare two proxies.

        :returns: None where no round has both figures.
        """
        ratios = list(self._ratios(scenario, proxy, base, metric))
        if not ratios:
            return None
        return Ratio(statistics.median(ratios), min(ratios), max(ratios), len(ratios))

    def _ratios(self, scenario: str, proxy: str, base: str, metric: Metric) -> Iterable[float]:
        for each in self.rounds:
            pair = [
                figures_of(each.get(scenario, {}).get(name, {"failed": ""}))
                for name in (proxy, base)
            ]
            if all(metric in figures and figures[metric] > 0 for figures in pair):
                yield pair[0][metric] / pair[1][metric]

    def limit(self, scenario: Mapping[str, Any], proxy: str) -> Limit | None:
        """Return what most rounds were limited by; None for what has no throughput."""
        shared = self.document["machine"]["load_and_upstream_share_a_core"]
        limits = [
            limit_of(raw, scenario["kind"], shared_core=shared)
            for raw in self.raw(scenario["name"], proxy)
            if "units" in raw
        ]
        return statistics.mode(limits) if limits else None
