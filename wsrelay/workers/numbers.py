"""The samples of all processes as those of one relay.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from operator import add
from typing import Any, Final

from attrs import define, field

from wsrelay.observe.bounds import Departures, UpstreamKey, make_room
from wsrelay.observe.families import FAMILIES, Family
from wsrelay.observe.samples import Labels, Observed, Samples, Value
from wsrelay.workers.ledger import Ledger

__all__ = ["Numbers", "lasting_samples", "merged_samples"]

_LIVE: Final = ("wsrelay_sessions", "wsrelay_http_requests_in_flight")
"""Where upstreams stand that have sessions or requests, those that are gone, too."""


def merged_samples(own: Samples, parts: Iterable[Samples]) -> Samples:
    """
    Return the samples of the whole relay.

    :param own: the parent's; of some families they are the whole truth.
    :param parts: the workers'.
    """
    result = {name: dict(each) for name, each in own.items()}
    for part in parts:
        for name, samples in part.items():
            family = FAMILIES[name]
            if family.of_several != "parent":
                _merge(family, result.setdefault(name, {}), samples)
    return result


def lasting_samples(samples: Samples) -> Samples:
    """Return what stays of a worker that is dead: what never falls."""
    return {
        name: each
        for name, each in samples.items()
        if FAMILIES[name].kind != "gauge" and FAMILIES[name].of_several == "sum"
    }


def _merge(family: Family, table: dict[Labels, Value], more: Mapping[Labels, Value]) -> None:
    combine = _COMBINED[family.of_several]
    for labels, value in more.items():
        if labels in table:
            table[labels] = combine(table[labels], value)
        else:
            make_room(table)
            table[labels] = value


def _sum(one: Any, other: Any) -> Value:
    """Add numbers, or histograms; those with other buckets, of another version, are left out."""
    if not isinstance(one, Observed):
        return float(one + other) if isinstance(one + other, float) else int(one + other)
    if one.bounds != other.bounds:
        return one
    counts = tuple(map(add, one.counts, other.counts))
    return Observed(one.bounds, counts, one.sum + other.sum)


_COMBINED: Final[dict[str, Callable[[Any, Any], Value]]] = {"sum": _sum, "max": max, "min": min}


@define(eq=False)
class Numbers:
    """
    The samples of all workers, dead ones included.

    :ivar gone: upstreams whose counters workers are to forget, all together: were each to
        forget them when it has no session there, sums would fall.
    """

    ledger: Ledger[Samples, Samples] = field(init=False)
    gone: frozenset[UpstreamKey] = field(default=frozenset(), init=False)
    _departures: Departures = field(factory=Departures, init=False)

    def __attrs_post_init__(self) -> None:
        both: Callable[[Samples, Samples], Samples] = lambda one, other: (  # noqa: E731
            merged_samples(one, [other])
        )
        self.ledger = Ledger(lasting_samples, both, {})

    def merged(self, own: Samples, now: float) -> Samples:
        """Return the samples of the whole relay; *now*: seconds."""
        self._forget(own, now)
        said = self.ledger.said
        result = merged_samples(own, [self.ledger.retired, *said.values()])
        result["wsrelay_worker_sessions"] = {
            (str(number),): next(iter(each.get("wsrelay_worker_sessions", {}).values()), 0)
            for number, each in said.items()
        }
        return result

    def _forget(self, own: Samples, now: float) -> None:
        """Let go of upstreams that were taken away long ago, as a process alone does."""
        said = self.ledger.said
        present = set(_upstreams_in(own, ["wsrelay_upstream_weight"]))
        for each in said.values():
            present.update(_upstreams_in(each, _LIVE))
        parts = (self.ledger.retired, *said.values())
        known = {key for each in parts for key in _upstreams_in(each, lasting_samples(each))}
        self.gone = self._departures.overdue(known, present, now)
        if self.gone:
            self.ledger.retired = _without(self.ledger.retired, self.gone)
            self.ledger.change(said.keys(), lambda each: _without(each, self.gone))


def _upstreams_in(samples: Samples, families: Iterable[str]) -> Iterable[UpstreamKey]:
    for name in families:
        if "upstream" in FAMILIES[name].labels:
            for labels in samples.get(name, ()):
                key = _upstream_of(name, labels)
                if key[1]:
                    yield key


def _upstream_of(family: str, labels: Labels) -> UpstreamKey:
    place = FAMILIES[family].labels.index("pool")
    return labels[place], labels[place + 1]


def _without(samples: Samples, gone: Container[UpstreamKey]) -> Samples:
    return {
        name: {
            labels: value
            for labels, value in each.items()
            if "upstream" not in FAMILIES[name].labels or _upstream_of(name, labels) not in gone
        }
        for name, each in samples.items()
    }
