"""The metrics by name: what kind each is, what it says, and its labels."""

from __future__ import annotations

from typing import Final, Literal

from attrs import frozen


@frozen
class Family:
    """
    One name of the metrics page.

    :param of_several: what stands for all processes of a relay: the sum, the largest or the
        smallest of what each says; or what the parent says, who alone knows.
    """

    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    of_several: Literal["sum", "max", "min", "parent"] = "sum"


FAMILIES: Final = {
    "wsrelay_handshakes_total": Family(
        "counter",
        "Opening handshakes that are over, by the status of the answer; 499: the client left "
        "before. Route, pool and upstream are empty where it did not get that far. What was no "
        "request at all counts here, too.",
        ("listener", "route", "pool", "upstream", "status"),
    ),
    "wsrelay_handshake_seconds": Family(
        "histogram",
        "Time of opening handshakes: until the request was there (request), until the route's "
        "policies had admitted it (policies), in the pool's queue (queue), until the upstream "
        "was connected (connect), until it answered (answer), and as a whole, of those that an "
        "upstream was asked for (total).",
        ("phase",),
    ),
    "wsrelay_rejected_total": Family(
        "counter", "Clients that the relay itself refused, by its reason.", ("reason",)
    ),
    "wsrelay_retries_total": Family(
        "counter",
        "Handshakes and plain requests for which another upstream was tried after one had failed.",
        ("pool",),
    ),
    "wsrelay_http_requests_total": Family(
        "counter",
        "Plain requests that are over, by the status of the answer, whoever gave it; 499: the "
        "client left before there was one. Route, pool and upstream are empty where it did not "
        "get that far, the latter two also for files and redirects.",
        ("listener", "route", "pool", "upstream", "status"),
    ),
    "wsrelay_http_requests_in_flight": Family(
        "gauge",
        "Plain requests under way, until the end of the answer; upstream is empty as long as "
        "none is chosen, and for files.",
        ("route", "pool", "upstream"),
    ),
    "wsrelay_http_request_seconds": Family(
        "histogram",
        "Time of plain requests: the parts of handshakes, where answer ends with the answer's "
        "head, and, of those that an upstream was asked for, from the first byte to the end of "
        "the answer (total).",
        ("phase",),
    ),
    "wsrelay_http_bytes_total": Family(
        "counter",
        "Bytes of bodies, of plain requests (up) and of their answers (down), but for refusals.",
        ("route", "direction"),
    ),
    "wsrelay_sessions": Family("gauge", "Sessions at the moment.", ("route", "pool", "upstream")),
    "wsrelay_session_seconds": Family("histogram", "How long sessions lasted that have ended."),
    "wsrelay_closes_total": Family(
        "counter",
        "Sessions that ended, by close code (1005: a close frame without one, 1006: a lost "
        "connection, other: rare ones that peers chose) and by who ended it: client, upstream, "
        "or relay and why.",
        ("route", "code", "initiator"),
    ),
    "wsrelay_messages_total": Family(
        "counter",
        "Complete data messages; direction up is from the client.",
        ("route", "direction", "type"),
    ),
    "wsrelay_bytes_total": Family(
        "counter",
        "Payload bytes of data frames as they were on the wire; direction up is from the client.",
        ("route", "direction"),
    ),
    "wsrelay_published_total": Family(
        "counter",
        "Messages of the relay's own, by POST /api/publish, counted for each session: sent, or "
        "not, because too much waited already (busy), the session was ending, or its peers use "
        "an extension that the relay does not know. They are in no other count of messages.",
        ("result",),
    ),
    "wsrelay_pauses_total": Family(
        "counter",
        "How often a leg was not read any more because the other one took no more.",
        ("leg",),
    ),
    "wsrelay_throttled_total": Family(
        "counter",
        "Reads of clients of which a part had to wait, because it was over messages or bytes.",
        ("route",),
    ),
    "wsrelay_buffered_bytes": Family(
        "gauge", "Bytes that wait in the relay, unsent or as the beginning of a frame."
    ),
    "wsrelay_pings_total": Family(
        "counter",
        "The relay's own pings: answered, or late, which ends the session.",
        ("leg", "result"),
    ),
    "wsrelay_ping_rtt_seconds": Family(
        "histogram", "Time from a ping of the relay's own to its pong.", ("leg",)
    ),
    "wsrelay_upstream_up": Family(
        "gauge",
        "1, or 0 for an upstream that looks down.",
        ("pool", "upstream"),
        of_several="parent",
    ),
    "wsrelay_upstream_weight": Family(
        "gauge", "The upstream's weight as it is now.", ("pool", "upstream"), of_several="parent"
    ),
    "wsrelay_health_transitions_total": Family(
        "counter",
        "How often an upstream's health became up or down.",
        ("pool", "upstream", "to"),
        of_several="parent",
    ),
    "wsrelay_queue_length": Family("gauge", "Clients that wait for an upstream.", ("pool",)),
    "wsrelay_draining": Family(
        "gauge", "1 while the relay as a whole drains, else 0.", of_several="parent"
    ),
    "wsrelay_reloads_total": Family(
        "counter",
        "Reloads of the configuration, by result: ok or refused.",
        ("result",),
        of_several="parent",
    ),
    "wsrelay_reactor_lag_seconds": Family(
        "gauge",
        "The largest delay of a timer in the last five to ten seconds, of all processes.",
        of_several="max",
    ),
    "wsrelay_open_fds": Family("gauge", "Open file descriptors, of all processes."),
    "wsrelay_max_fds": Family(
        "gauge",
        "How many there may be: the limits of all processes, so that it compares with those open.",
    ),
    "wsrelay_accepting": Family(
        "gauge",
        "1, or 0 while a process lets nobody in because its file descriptors are short.",
        of_several="min",
    ),
    "wsrelay_connections": Family(
        "gauge", "Clients' connections at the moment, sessions included.", ("listener",)
    ),
    "wsrelay_cluster_up": Family(
        "gauge",
        "1, or 0 while the Redis of the cluster is away, for one worker at least; only with "
        "[cluster].",
        of_several="min",
    ),
    "wsrelay_cluster_relays": Family(
        "gauge",
        "Relays that have reported to the cluster lately, this one included.",
        of_several="parent",
    ),
    "wsrelay_cluster_errors_total": Family(
        "counter",
        "Connections to Redis that failed, by how: connect, lost, slow (a late answer), refused "
        "(an error for an answer) or protocol (bytes that are none).",
        ("kind",),
    ),
    "wsrelay_cluster_seconds": Family("histogram", "Time from a command to Redis to its answer."),
    "wsrelay_max_connections": Family(
        "gauge",
        "How many there may be, where that is limited; listener is empty for the whole relay.",
        ("listener",),
        of_several="parent",
    ),
    "wsrelay_workers": Family(
        "gauge", "Processes that serve clients and run.", of_several="parent"
    ),
    "wsrelay_worker_restarts_total": Family(
        "counter", "Workers that ended unasked and were replaced.", of_several="parent"
    ),
    "wsrelay_worker_overflows_total": Family(
        "counter",
        "How often a worker counted for itself alone, because the memory that workers share was "
        "full at that place, or held for too long: limits and tables of the relay are each "
        "worker's own there.",
    ),
    "wsrelay_worker_sessions": Family(
        "gauge",
        "Sessions of each worker at the moment; a relay of one process is worker 0.",
        ("worker",),
        of_several="parent",
    ),
}
