"""What a process says of itself for the metrics page, as plain data that can be passed on."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from typing import Any, Final

from wsrelay.observe.bounds import Departures, UpstreamKey
from wsrelay.observe.lag import Lag
from wsrelay.observe.metrics import Histogram, Metrics
from wsrelay.observe.samples import Labels, Observed, Samples, Value
from wsrelay.observe.traffic import NO_BODIES, NOTHING, Passed, Traffic
from wsrelay.relay.pump import Totals
from wsrelay.relay.relay import Relay

DESCRIPTORS: Final = "/proc/self/fd"

Rows = Iterable[tuple[tuple[object, ...], Any]]
"""The labels' values in order, and a number or a `Histogram`."""


class Exporter:
    """
    Says what was counted, and what the relay is at the moment.

    Counters of upstreams that are long gone are forgotten.
    """

    def __init__(self, relay: Relay, metrics: Metrics, traffic: Traffic, lag: Lag) -> None:
        self._relay = relay
        self._metrics = metrics
        self._traffic = traffic
        self._lag = lag
        self._departures = Departures()

    def samples(self, gone: Collection[UpstreamKey] | None = None) -> Samples:
        """
        Return the samples of every family.

        :param gone: the upstreams to forget: of a worker the parent knows them, so that its
            workers forget them together.  None: this process looks for itself.
        """
        passed = self._traffic.collect(self._relay.sessions.values(), self._relay.exchanges)
        self._forget(self._overdue(passed) if gone is None else gone)
        rows: dict[str, Rows] = {
            **self._counted(),
            **self._passed(passed),
            **self._bodies(passed),
            **self._present(passed),
            **self._doors(),
            **self._cluster(),
            **self._of_the_process(),
        }
        return {name: dict(map(_plain, each)) for name, each in rows.items()}

    def _counted(self) -> dict[str, Rows]:
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

    def _passed(self, passed: Passed) -> dict[str, Rows]:
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

    def _bodies(self, passed: Passed) -> dict[str, Rows]:
        silent = {route.name: NO_BODIES for route in self._relay.config.routes if route.http}
        return {
            "wsrelay_http_bytes_total": [
                ((route, direction), size)
                for route, bodies in {**silent, **passed.route_bodies}.items()
                for direction, size in bodies._asdict().items()
            ]
        }

    def _present(self, passed: Passed) -> dict[str, Rows]:
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

    def _doors(self) -> dict[str, Rows]:
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

    def _cluster(self) -> dict[str, Rows]:
        """Return what is counted of the way to other relays, if there is one."""
        cluster = self._metrics.cluster
        if cluster is None:
            return {}
        return {
            "wsrelay_cluster_up": [((), int(cluster.up))],
            "wsrelay_cluster_relays": [((), cluster.relays)],
            "wsrelay_cluster_errors_total": _by_one_label(cluster.errors),
            "wsrelay_cluster_seconds": [((), cluster.seconds)],
        }

    def _of_the_process(self) -> dict[str, Rows]:
        return {
            "wsrelay_reactor_lag_seconds": [((), self._lag.seconds)],
            "wsrelay_open_fds": _open_descriptors(),
            "wsrelay_max_fds": [((), self._relay.descriptors.limit())],
            "wsrelay_accepting": [((), int(self._relay.descriptors.is_accepting))],
            "wsrelay_workers": [((), 1)],
            "wsrelay_worker_restarts_total": [((), 0)],
            "wsrelay_worker_overflows_total": [((), self._relay.commons.overflows)],
            "wsrelay_worker_sessions": [((0,), len(self._relay.sessions))],
        }

    def _overdue(self, passed: Passed) -> Collection[UpstreamKey]:
        """Return the upstreams that a discovery has long taken away."""
        relay = self._relay
        present = {
            (pool.name, each.name) for pool in relay.pools.values() for each in pool.upstreams
        }
        present.update((pool, upstream) for _, pool, upstream in passed.sessions)
        present.update((pool, upstream) for _, pool, upstream in passed.requests)
        known = {*self._metrics.upstreams, *self._traffic.upstreams}
        return self._departures.overdue(known, present, relay.reactor.seconds())

    def _forget(self, gone: Collection[UpstreamKey]) -> None:
        if gone:
            self._metrics.forget(gone)
            self._traffic.forget(gone)


def _by_direction(totals: Totals) -> Iterator[tuple[str, int, int, int]]:
    binary = totals.client_binary_messages
    yield "up", totals.client_messages - binary, binary, totals.client_payload
    binary = totals.upstream_binary_messages
    yield "down", totals.upstream_messages - binary, binary, totals.upstream_payload


def _by_one_label(numbers: dict[str, Any]) -> Rows:
    return [((label,), number) for label, number in numbers.items()]


def _open_descriptors() -> Rows:
    try:
        return [((), len(os.listdir(DESCRIPTORS)) - 1)]  # without that of the listing itself
    except OSError:  # another system than Linux, or no descriptor left
        return []


def _plain(row: tuple[tuple[object, ...], Any]) -> tuple[Labels, Value]:
    labels, value = row
    if isinstance(value, Histogram):
        value = Observed(value.bounds, tuple(value.counts), value.sum)
    return tuple(map(str, labels)), value
