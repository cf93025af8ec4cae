"""
The metrics page, in Prometheus' text format.

Import this module where somebody asks for metrics only: prometheus_client takes a tenth of
a second to load, and is not needed before.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import Any, Final

from attrs import frozen
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.utils import floatToGoString

from wsrelay.observe.families import FAMILIES, Family
from wsrelay.observe.samples import Labels, Observed, Samples, Value

_KINDS: Final[dict[str, Any]] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
}


def render(samples: Samples) -> bytes:
    """Return the page, version 0.0.4 of the format."""
    # A registry of its own: nothing of the process' other metrics gets in.
    registry = CollectorRegistry()
    registry.register(_Page(samples))
    return generate_latest(registry)


@frozen(eq=False)
class _Page:
    """A collector of prometheus_client's."""

    samples: Samples

    def collect(self) -> Iterator[Metric]:
        """Yield every family; called by the registry."""
        for name, family in FAMILIES.items():
            yield _metric(name, family, self.samples.get(name, {}))


def _metric(name: str, family: Family, samples: dict[Labels, Value]) -> Metric:
    metric = _KINDS[family.kind](name, family.help, labels=family.labels)
    for labels, value in samples.items():
        if isinstance(value, Observed):
            metric.add_metric(labels, _buckets(value), value.sum)
        else:
            metric.add_metric(labels, value)
    assert isinstance(metric, Metric)
    return metric


def _buckets(observed: Observed) -> list[tuple[str, float]]:
    bounds = [floatToGoString(each) for each in (*observed.bounds, float("inf"))]
    return list(zip(bounds, accumulate(observed.counts), strict=True))
