"""
The metrics page, in Prometheus' text format.

Import this module where somebody asks for metrics only: prometheus_client takes a tenth of
a second to load, and is not needed before.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.utils import floatToGoString

from wsrelay.observe.bounds import Departures
from wsrelay.observe.families import FAMILIES, Family
from wsrelay.observe.lag import Lag
from wsrelay.observe.metrics import Histogram, Metrics
from wsrelay.observe.traffic import NO_BODIES, NOTHING, Passed, Traffic
from wsrelay.relay.pump import Totals
from wsrelay.relay.relay import Relay

DESCRIPTORS: Final = "/proc/self/fd"

Samples = Iterable[tuple[tuple[object, ...], Any]]
"""The labels' values in order, and a number or a `Histogram`."""

_KINDS: Final[dict[str, Any]] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
}


class Exporter:
    """
    Makes a page of what was counted and of what the relay is at the moment.

    A collector of prometheus_client's, in a registry of its own: nothing of the process'
    other metrics gets in, and several relays in a process stay apart.
    """

    def __init__(self, relay: Relay, metrics: Metrics, traffic: Traffic, lag: Lag) -> None:
        self._relay = relay
        self._metrics = metrics
        self._traffic = traffic
        self._lag = lag
        self._departures = Departures()
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def render(self) -> bytes:
        """Return the page, version 0.0.4 of the format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yield every family; called by the registry."""
        passed = self._traffic.collect(self._relay.sessions.values(), self._relay.exchanges)
        self._forget_gone(passed)
        samples: dict[str, Samples] = {
            **self._counted(),
            **self._passed(passed),
            **self._bodies(passed),
            **self._present(passed),
            **self._doors(),
            **self._of_the_process(),
        }
        for name, family in FAMILIES.items():
            yield _metric(name, family, samples[name])

    def _counted(self) -> dict[str, Samples]:
        metrics = self._metrics
        return {
            "wsrelay_handshakes_total": metrics.handshakes.items(),
            "wsrelay_handshake_seconds": _by_one_label(metrics.handshake_seconds),
            "wsrelay_rejected_total": _by_one_label(metrics.rejected),
            "wsrelay_retries_total": _by_one_label(
                {**dict.fromkeys(self._relay.pools, 0), **metrics.retries}
            ),
            "wsrelay_http_requests_total": metrics.http_requests.items(),
            "wsrelay_http_request_seconds": _by_one_label(metrics.http_request_seconds),
            "wsrelay_session_seconds": [((), metrics.session_seconds)],
            "wsrelay_closes_total": metrics.closes.items(),
            "wsrelay_pings_total": metrics.pings.items(),
            "wsrelay_ping_rtt_seconds": [
                ((side.value,), histogram) for side, histogram in metrics.ping_rtt.items()
            ],
            "wsrelay_health_transitions_total": metrics.health_transitions.items(),
            "wsrelay_published_total": _by_one_label(metrics.published),
            "wsrelay_reloads_total": _by_one_label(metrics.reloads),
        }

    def _passed(self, passed: Passed) -> dict[str, Samples]:
        silent = {route.name: NOTHING for route in self._relay.config.routes}
        messages: list[tuple[tuple[object, ...], int]] = []
        payload: list[tuple[tuple[object, ...], int]] = []
        throttled: list[tuple[tuple[object, ...], int]] = []
        for route, totals in {**silent, **passed.routes}.items():
            for direction, text, binary, size in _by_direction(totals):
                messages.append(((route, direction, "text"), text))
                messages.append(((route, direction, "binary"), binary))
                payload.append(((route, direction), size))
            throttled.append(((route,), totals.throttles))
        everything = passed.everything
        return {
            "wsrelay_messages_total": messages,
            "wsrelay_bytes_total": payload,
            "wsrelay_pauses_total": [
                (("client",), everything.client_pauses),
                (("upstream",), everything.upstream_pauses),
            ],
            "wsrelay_throttled_total": throttled,
            "wsrelay_buffered_bytes": [((), everything.buffered)],
        }

    def _bodies(self, passed: Passed) -> dict[str, Samples]:
        silent = {route.name: NO_BODIES for route in self._relay.config.routes if route.http}
        return {
            "wsrelay_http_bytes_total": [
                ((route, direction), size)
                for route, bodies in {**silent, **passed.route_bodies}.items()
                for direction, size in bodies._asdict().items()
            ]
        }

    def _present(self, passed: Passed) -> dict[str, Samples]:
        pools = self._relay.pools.values()
        upstreams = [(pool, upstream) for pool in pools for upstream in pool.upstreams]
        idle = {
            (route.name, pool.name, upstream.name): 0
            for route in self._relay.config.routes
            for pool, upstream in upstreams
            if route.pool == pool.name
        }
        plain = {route.name for route in self._relay.config.routes if route.http}
        idle_plain = {place: 0 for place in idle if place[0] in plain}
        for route in self._relay.config.routes:
            if route.static is not None:
                idle_plain[route.name, "", ""] = 0
        return {
            "wsrelay_sessions": {**idle, **passed.sessions}.items(),
            "wsrelay_http_requests_in_flight": {**idle_plain, **passed.requests}.items(),
            "wsrelay_upstream_up": [
                ((pool.name, upstream.name), int(upstream.health != "down"))
                for pool, upstream in upstreams
            ],
            "wsrelay_upstream_weight": [
                ((pool.name, upstream.name), upstream.weight) for pool, upstream in upstreams
            ],
            "wsrelay_queue_length": [((pool.name,), len(pool.line)) for pool in pools],
            "wsrelay_draining": [((), int(self._relay.is_draining))],
        }

    def _doors(self) -> dict[str, Samples]:
        relay = self._relay
        limits = {each.config.name: each.config for each in relay.listeners.values()}
        most = {"": relay.config.max_connections}
        most.update((name, each.max_connections) for name, each in limits.items())
        return {
            "wsrelay_connections": _by_one_label(
                {**dict.fromkeys(limits, 0), **relay.doors.by_name()}
            ),
            "wsrelay_max_connections": [
                ((name,), limit) for name, limit in most.items() if limit is not None
            ],
        }

    def _of_the_process(self) -> dict[str, Samples]:
        return {
            "wsrelay_reactor_lag_seconds": [((), self._lag.seconds)],
            "wsrelay_open_fds": _open_descriptors(),
            "wsrelay_max_fds": [((), self._relay.descriptors.limit())],
            "wsrelay_accepting": [((), int(self._relay.descriptors.is_accepting))],
        }

    def _forget_gone(self, passed: Passed) -> None:
        """Let go of counters of upstreams that a discovery has long taken away."""
        relay = self._relay
        present = {
            (pool.name, each.name) for pool in relay.pools.values() for each in pool.upstreams
        }
        present.update((pool, upstream) for _, pool, upstream in passed.sessions)
        present.update((pool, upstream) for _, pool, upstream in passed.requests)
        known = {*self._metrics.upstreams, *self._traffic.upstreams}
        gone = self._departures.overdue(known, present, relay.reactor.seconds())
        if gone:
            self._metrics.forget(gone)
            self._traffic.forget(gone)


def _by_direction(totals: Totals) -> Iterator[tuple[str, int, int, int]]:
    binary = totals.client_binary_messages
    yield "up", totals.client_messages - binary, binary, totals.client_payload
    binary = totals.upstream_binary_messages
    yield "down", totals.upstream_messages - binary, binary, totals.upstream_payload


def _by_one_label(numbers: dict[str, Any]) -> Samples:
    return [((label,), number) for label, number in numbers.items()]


def _open_descriptors() -> Samples:
    try:
        return [((), len(os.listdir(DESCRIPTORS)) - 1)]  # without that of the listing itself
    except OSError:  # another system than Linux, or no descriptor left
        return []


def _metric(name: str, family: Family, samples: Samples) -> Metric:
    metric = _KINDS[family.kind](name, family.help, labels=family.labels)
    for labels, value in samples:
        texts = [str(each) for each in labels]
        if isinstance(value, Histogram):
            metric.add_metric(texts, _buckets(value), value.sum)
        else:
            metric.add_metric(texts, value)
    assert isinstance(metric, Metric)
    return metric


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    bounds = [floatToGoString(each) for each in (*histogram.bounds, float("inf"))]
    return list(zip(bounds, histogram.cumulated(), strict=True))
