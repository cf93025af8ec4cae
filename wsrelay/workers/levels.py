"""Which process closes how many sessions, so that a pool gets level and none is closed twice."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

__all__ = ["plan", "split"]

Who = TypeVar("Who", bound=Hashable)


def plan(
    weights: Mapping[str, int], levels: Mapping[Who, Mapping[str, int]]
) -> dict[Who, tuple[int, dict[str, int]]]:
    """
    Return how many sessions each process is to close, and how many to keep on each upstream.

    What all processes have on an upstream above its share by weight is closed, and each
    gives up a part of it as large as its part of the sessions there.

    :param weights: of the upstreams that may take sessions, one at least.
    :param levels: the sessions that each process has on them.
    """
    totals = {name: sum(each.get(name, 0) for each in levels.values()) for name in weights}
    everything, weight = sum(totals.values()), sum(weights.values())
    keeps: dict[Who, dict[str, int]] = {who: {} for who in levels}
    closes = dict.fromkeys(levels, 0)
    for name, total in totals.items():
        share = -(-everything * weights[name] // weight)
        counts = [each.get(name, 0) for each in levels.values()]
        parts = split(max(total - share, 0), counts)
        for who, count, part in zip(levels, counts, parts, strict=True):
            keeps[who][name] = count - part
            closes[who] += part
    return {who: (closes[who], keeps[who]) for who in levels}


def split(amount: int, counts: Sequence[int]) -> list[int]:
    """
    Split an amount in proportion to *counts*, in whole numbers that add up to it.

    :param amount: at most the sum of *counts*; no part is larger than its count.
    """
    total = sum(counts)
    if not total:
        return [0] * len(counts)
    parts = [amount * count // total for count in counts]
    rest = [amount * count % total for count in counts]
    most = sorted(range(len(counts)), key=lambda each: -rest[each])
    for each in most[: amount - sum(parts)]:
        parts[each] += 1
    return parts
