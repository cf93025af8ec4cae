"""Every section and option of relay.ini but those of a route, in the order of the manual."""

from __future__ import annotations

from pathlib import Path

from wsrelay.config.lines import health_check, plugin_call, sticky, upstream
from wsrelay.config.model import EndpointText
from wsrelay.config.options import Option, kind
from wsrelay.config.redis_url import key_prefix, redis_url
from wsrelay.config.route_table import ROUTE
from wsrelay.config.values import (
    boolean,
    close_code,
    duration,
    duration_or_zero,
    file_path,
    integer,
    network,
    one_of,
    rate_of,
    size,
    word,
    word_or,
)

__all__ = ["KINDS"]


def _access(text: str) -> str | Path:
    if text in ("on", "yes", "no", "true", "false", "text", "json"):
        raise ValueError(f"'{text}' is neither -, off nor a file; a file called so is ./{text}")
    return text if text in ("-", "off") else file_path(text)


_limit = word_or("off", integer(1))

RELAY = [
    Option(
        "listen",
        EndpointText,
        "",
        "short form: endpoints of the listeners default, default-2 …",
        many=True,
    ),
    Option("upstream", upstream, "", "short form: upstreams of the pool default", many=True),
    Option(
        "workers",
        word_or("auto", integer(1, 64), "auto"),
        "1",
        "processes that relay; auto: one for each CPU",
    ),
    Option("drain_timeout", duration_or_zero, "30s", "how long stopping takes"),
    Option(
        "drain_rate",
        word_or("off", rate_of(integer(1))),
        "off",
        "pace of the closes: 10/s; what is left after drain_timeout is closed at once",
    ),
    Option("drain_close_code", close_code, "1012", "code of the closes; a route may override it"),
    Option("max_connections", _limit, "off", "clients over all listeners; beyond: 503"),
    Option(
        "data_path",
        one_of("auto", "native", "python"),
        "auto",
        "which pump relays frames: auto, native or python",
    ),
]

LISTENER = [
    Option("endpoint", EndpointText, "", "Twisted server endpoint: tcp:8080, unix:/run/r.sock …"),
    Option("certificate", file_path, "", "TLS: PEM file, chain included", must_exist=True),
    Option("key", file_path, "", "its key; default: the certificate's file", must_exist=True),
    Option(
        "certificates",
        file_path,
        "",
        "TLS: directory of PEM files, each with chain and key, chosen by SNI",
    ),
    Option(
        "client_ca", file_path, "", "PEM file of who signs client certificates", must_exist=True
    ),
    Option(
        "client_certificate",
        one_of("off", "optional", "required"),
        "off",
        "off, optional or required: whether clients show one",
    ),
    Option("min_tls", one_of("1.2", "1.3"), "1.2", "oldest TLS version: 1.2 or 1.3"),
    Option(
        "proxy_protocol",
        boolean,
        "no",
        "whether connections begin with a PROXY v1 or v2 header, taken from trusted_proxies only",
    ),
    Option(
        "trusted_proxies",
        word_or("unix:", network, "unix:"),
        "none",
        "networks whose X-Forwarded-… and PROXY headers are believed;"
        " unix: for whoever connects through a unix socket",
        many=True,
    ),
    Option("handshake_timeout", duration, "10s", "for the client's request, TLS included"),
    Option("max_header_size", size, "16KiB", "of the client's request"),
    Option("max_connections", _limit, "off", "clients on this listener; beyond: 503"),
    Option("backlog", integer(1, 65535), "1024", "connections that wait to be accepted"),
]

POOL = [
    Option(
        "upstreams",
        upstream,
        "",
        "ws://host:port[/base], wss://… or unix:/path, then"
        " weight=1 max_connections=off backup name=a",
        many=True,
    ),
    Option("balancer", plugin_call, "least-connections", "a plugin: name option=value …"),
    Option(
        "sticky",
        word_or("off", sticky, says_word=False),
        "off",
        "cookie name=wsrelay ttl=session secure=auto same_site=lax secret=…",
    ),
    Option(
        "health_check",
        word_or("off", health_check, says_word=False),
        "off",
        "tcp, http path=/ host=… status=200-399 or websocket path=/ host=… subprotocol=… ping=yes,"
        " each with interval=3s timeout=1s rise=2 fall=5 jitter=10% port=…",
    ),
    Option("max_fails", integer(0), "3", "failures until an upstream counts as down; 0: never"),
    Option("fail_timeout", duration, "10s", "within which they count, and how long it is down"),
    Option(
        "on_down",
        one_of("keep", "drain", "close"),
        "keep",
        "sessions of an upstream that went down",
    ),
    Option(
        "on_removed",
        one_of("keep", "drain", "close"),
        "drain",
        "sessions of an upstream that left the configuration",
    ),
    Option("slow_start", word_or("off", duration), "off", "time to full share once up"),
    Option("queue_timeout", word_or("off", duration), "off", "wait for an upstream"),
    Option("queue_size", integer(1), "1000", "how many clients may wait"),
    Option(
        "discover",
        word_or("off", plugin_call, says_word=False),
        "off",
        "a plugin that finds upstreams: name option=value …",
    ),
    Option("tls_verify", boolean, "yes", "whether a wss:// upstream has to prove who it is"),
    Option("tls_ca", file_path, "", "PEM file of who signs them", must_exist=True),
    Option("tls_name", word, "", "the name that their subjectAltName has to show"),
    Option("tls_certificate", file_path, "", "PEM file to show to them", must_exist=True),
    Option("tls_key", file_path, "", "its key; default: the certificate's file", must_exist=True),
    Option(
        "proxy_protocol",
        one_of("off", "v1", "v2"),
        "off",
        "off, v1 or v2: the header in front of each connection to an upstream",
    ),
]

ADMIN = [
    Option("listen", word_or("off", EndpointText), "off", "endpoint of dashboard and API"),
    Option("token_file", word_or("none", file_path), "none", "who may use them"),
]

LOG = [
    Option("access", _access, "-", "access log: -, off or a file"),
    Option("format", one_of("text", "json"), "text", "its form: text or json"),
    Option(
        "level",
        one_of("debug", "info", "warn", "error", "critical"),
        "info",
        "debug, info, warn, error or critical: the least that the service's log tells",
    ),
    Option("tick", word_or("off", duration), "off", "records of running sessions"),
    Option("redact_query", boolean, "yes", "whether queries are kept out of the log"),
]

CLUSTER = [
    Option(
        "redis",
        word_or("off", redis_url),
        "off",
        "where relays share limits, session tables and orders: redis://[user:password@]host:6379/0,"
        " rediss://host:6379/0?ca=FILE or unix:///path?db=0; see docs/cluster.rst",
    ),
    Option("prefix", key_prefix, "wsrelay", "of the keys there; relays with one share"),
]

KINDS = {
    each.name: each
    for each in (
        kind("relay", RELAY),
        kind("listener", LISTENER, named=True),
        kind("route", ROUTE, named=True),
        kind("pool", POOL, named=True),
        kind("admin", ADMIN),
        kind("log", LOG),
        kind("cluster", CLUSTER),
    )
}
"""Kind of section -> its table."""
