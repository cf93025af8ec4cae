"""The ratios that wsrelay wants to reach, and whether a run did.  Pure."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from bench.results import Metric, Results

__all__ = ["GOALS", "Goal", "Verdict", "subject", "verdicts"]

NGINX = ("nginx",)


@frozen
class Goal:
    """
    One ratio to reach, or stay under.

    :ivar rivals: it has to hold against each of them that ran, so against the best.
    """

    scenario: str
    metric: Metric
    at_most: float
    rivals: tuple[str, ...] = NGINX


GOALS = (
    Goal("echo-64-c100", "cpu_us", 1.0),
    Goal("echo-64-c1000", "cpu_us", 1.0),
    Goal("echo-64-c1", "cpu_us", 1.5),
    Goal("echo-1m", "cpu_us", 0.7),
    Goal("echo-1m", "cpu_us", 1.0, ("haproxy", "caddy")),
    Goal("up-64", "cpu_us", 0.8),
    Goal("up-1m", "cpu_us", 0.8),
    Goal("down-64", "cpu_us", 0.8),
    Goal("down-1m", "cpu_us", 0.8),
    Goal("latency", "p99_us", 1.2),
    Goal("wss-64", "cpu_us", 1.5),
    Goal("wss-1m", "cpu_us", 1.1),
    Goal("handshakes", "cpu_us", 3.0),
    Goal("memory", "bytes", 0.7),
)


@frozen
class Verdict:
    """
    What became of a goal.

    :ivar ratio: the median ratio to the rival that it is worst against.
    :ivar rival: that rival.
    """

    goal: Goal
    ratio: float
    rival: str

    @property
    def met(self) -> bool:
        """Whether the goal is reached."""
        return self.ratio <= self.goal.at_most


def subject(results: Results) -> str | None:
    """Return which wsrelay the goals are checked for: the native one, where it ran."""
    for name in ("wsrelay-native", "wsrelay-python"):
        if name in results.proxies:
            return name
    return None


def verdicts(results: Results) -> Iterator[Verdict]:
    """Check each goal whose figures were taken."""
    name = subject(results)
    if name is None:
        return
    for goal in GOALS:
        ratios = [
            (ratio.median, rival)
            for rival in goal.rivals
            if (ratio := results.ratio(goal.scenario, name, rival, goal.metric))
        ]
        if ratios:
            yield Verdict(goal, *max(ratios))
