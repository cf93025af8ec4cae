"""One section with its values -> its configuration object, if it fits in itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import evolve, fields_dict

from wsrelay.config.blocks import Block, Job
from wsrelay.config.errors import Place
from wsrelay.config.lines import default_name
from wsrelay.config.model import (
    AdminConfig,
    ClusterConfig,
    ListenerConfig,
    LogConfig,
    PathRule,
    PluginCall,
    PoolConfig,
    RedisUrl,
    RouteConfig,
    UpstreamConfig,
)

__all__ = [
    "build_admin",
    "build_cluster",
    "build_listener",
    "build_log",
    "build_pool",
    "build_route",
]


def _picked(block: Block, model: type) -> dict[str, Any]:
    """Return the settings that *model* has under the same name; it knows the defaults."""
    names = fields_dict(model).keys() & block.settings.keys()
    return {name: block.settings[name].value for name in names}


def build_log(block: Block, job: Job) -> LogConfig:
    """Build ``[log]``."""
    log = LogConfig(**_picked(block, LogConfig))
    if isinstance(log.access, Path):
        job.ask(block.at("access"), job.checks.access_log, log.access)
    return log


def build_admin(block: Block, job: Job) -> AdminConfig | None:
    """Build ``[admin]``; None if it does not listen."""
    if block.get("listen") is None:
        return None
    admin = AdminConfig(**_picked(block, AdminConfig))
    job.ask(block.at("listen"), job.checks.endpoint, admin.listen)
    job.ask(block.at("token_file" if admin.token_file else "listen"), job.checks.admin, admin)
    return admin


def build_cluster(block: Block, job: Job) -> ClusterConfig | None:
    """Build ``[cluster]``; None if nothing is shared."""
    url: RedisUrl | None = block.get("redis")
    if url is None:
        return None
    if url.ca is not None:
        url = evolve(url, ca=job.folder / url.ca)
    cluster = ClusterConfig(**_picked(block, ClusterConfig) | {"redis": url})
    job.ask(block.at("redis"), job.checks.cluster, cluster)
    return cluster


def build_listener(block: Block, job: Job) -> ListenerConfig | None:
    """Build a listener; None, and errors, if it has no endpoint."""
    if "endpoint" not in block.written:
        job.report(block.at("endpoint"), "is missing; add endpoint = tcp:8080, say")
    if "endpoint" not in block.settings:
        return None
    job.ask(block.at("endpoint"), job.checks.endpoint, block.get("endpoint"))
    listener = ListenerConfig(
        **{"name": block.name} | _picked(block, ListenerConfig) | _key(block, "", job)
    )
    _check_client_certificates(listener, block, job)
    if listener.proxy_protocol:
        _check_who_is_trusted(listener, block, job)
    if listener.is_secure and bool(listener.certificate) == bool(listener.key):
        place = block.at("certificate" if listener.certificate else "certificates")
        job.ask(place, job.checks.listener_tls, listener)
    return listener


def _check_who_is_trusted(listener: ListenerConfig, block: Block, job: Job) -> None:
    is_unix = re.match("unix:|systemd:.*domain=UNIX", listener.endpoint)
    believed = [each for each in listener.trusted_proxies if (each == "unix:") == bool(is_unix)]
    if not believed:
        wanted = "unix:" if is_unix else "NETWORK"
        what = f"nobody is trusted to send it; add trusted_proxies = {wanted}"
        job.report(block.at("proxy_protocol"), what)


def _check_client_certificates(listener: ListenerConfig, block: Block, job: Job) -> None:
    if listener.client_certificate == "off":
        if listener.client_ca is not None:
            what = "no client is asked for a certificate; add client_certificate = required"
            job.report(block.at("client_ca"), what)
    elif "client_ca" not in block.written:
        what = "nobody is said to sign them; add client_ca = FILE"
        job.report(block.at("client_certificate"), what)
    elif not listener.is_secure:
        what = "there is no TLS here; add certificate = FILE, or certificates = DIRECTORY"
        job.report(block.at("client_certificate"), what)


def _key(block: Block, prefix: str, job: Job) -> dict[str, Any]:
    """Return what ``key`` is, where it is not written: a PEM file may hold both."""
    certificate, key = f"{prefix}certificate", f"{prefix}key"
    if key in block.written and certificate not in block.written:
        job.report(block.at(key), f"there is no {certificate} for it; add {certificate} = FILE")
    return {} if key in block.written else {key: block.get(certificate)}


_SERVING = ("pool", "static", "redirect")


def build_route(block: Block, drain_close_code: int, job: Job) -> RouteConfig | None:
    """Build a route; None, and errors, if nothing serves it."""
    served_by = [name for name in _SERVING if name in block.written]
    if not served_by:
        job.report(block.at("pool"), "is missing; add pool = NAME")
    for name in served_by[1:]:
        job.report(block.at(name), f"{served_by[0]} serves this route already; delete one of them")
    if served_by != ["pool"] and block.get("http") is False:
        job.report(block.at("http"), "without a pool there is nothing but plain HTTP; delete it")
    rule: PathRule = block.get("path", PathRule())
    if block.get("strip_prefix") and rule.kind == "regex":
        job.report(
            block.at("strip_prefix"),
            "a regular expression has no prefix to strip; expected a path without '~'",
        )
    _refuse_repeated_headers(block, job)
    _check_networks(block, job)
    _check_mode(block, job)
    if block.get("on_excess", "close") != "close" and not (
        block.get("messages") or block.get("bytes")
    ):
        what = "there is no rate that it is about; add messages = 10/s, or bytes = 64KiB/s"
        job.report(block.at("on_excess"), what)
    if not block.settings.keys() & set(_SERVING):
        return None
    if "static" in block.settings:
        job.ask(block.at("static"), job.checks.static, block.get("static"))
    values: dict[str, Any] = {"name": block.name, "drain_close_code": drain_close_code}
    if "max_message_size" in block.settings:
        both = block.get("max_message_size")
        values |= {"max_message_size_up": both, "max_message_size_down": both}
    if "listener" in block.settings:
        values["listeners"] = block.get("listener")
    picked = _picked(block, RouteConfig)
    for name, check in (("policies", job.checks.policy), ("filters", job.checks.filter)):
        picked[name] = tuple(_asked(call, place, check, job) for call, place in block.items(name))
    return RouteConfig(**values | picked)


def _asked(
    call: PluginCall, place: Place, check: Callable[[PluginCall], None], job: Job
) -> PluginCall:
    """Return a plugin's call, with the files that it names absolute, after a check."""
    call = anchored(call, job.folder)
    job.ask(place, check, call)
    return call


def anchored(call: PluginCall, folder: Path) -> PluginCall:
    """Make files absolute: the options ``path``, ``file``, and all that end in ``_file``."""
    files = {
        name: str(folder / value)
        for name, value in call.options.items()
        if name in ("path", "file") or name.endswith("_file")
    }
    return PluginCall(call.name, {**call.options, **files})


def _check_networks(block: Block, job: Job) -> None:
    allowed = {network for network, _ in block.items("allow")}
    for network, place in block.items("deny"):
        if network in allowed:
            job.report(place, f"{network} is in allow, too; delete it from one of them")


def _check_mode(block: Block, job: Job) -> None:
    """Refuse what only whole messages make possible, where frames are relayed."""
    if block.get("mode") == "messages":
        if "pool" not in block.written:
            job.report(block.at("mode"), "without a pool there are no messages; delete it")
        return
    if block.get("filters"):
        job.report(block.at("filters"), "frames are relayed unread; add mode = messages")
    elif block.get("on_error", "close") != "close":
        job.report(block.at("on_error"), "there are no filters that it is about; add some")
    if block.get("compression", "client") != "client":
        what = "peers agree on it end to end; add mode = messages, or delete it"
        job.report(block.at("compression"), what)


def _refuse_repeated_headers(block: Block, job: Job) -> None:
    seen: dict[str, Place] = {}
    for (name, _), place in block.items("set_header"):
        first = seen.setdefault(name.lower(), place)
        if first is not place:
            job.report(place, f"'{name}' is set on line {first.line} already; delete one of them")


def build_pool(block: Block, job: Job) -> PoolConfig | None:
    """Build a pool; None, and errors, if it has no upstreams."""
    if not block.written.keys() & {"upstreams", "discover"}:
        job.report(block.at("upstreams"), "is missing; add upstreams = ws://HOST:PORT, one a line")
    _refuse_same_upstreams(block, job)
    _check_balancer(block, job)
    tls_key = _key(block, "tls_", job)
    if not block.settings.keys() & {"upstreams", "discover"}:
        return None
    discover = _discover(block, job)
    pool = PoolConfig(**{"name": block.name} | _picked(block, PoolConfig) | tls_key | discover)
    job.ask(_tls_place(block), job.checks.upstream_tls, pool)
    return pool


def _check_balancer(block: Block, job: Job) -> None:
    if "balancer" in block.settings:
        job.ask(block.at("balancer"), job.checks.balancer, block.get("balancer"))


def _discover(block: Block, job: Job) -> dict[str, Any]:
    """Return what ``discover`` is, with the files that it names absolute."""
    call: PluginCall | None = block.get("discover")
    if call is None:
        return {}
    call = anchored(call, job.folder)
    job.ask(block.at("discover"), job.checks.discovery, call)
    return {"discover": call}


def _refuse_same_upstreams(block: Block, job: Job) -> None:
    names: dict[str, Place] = {}
    urls: dict[str, UpstreamConfig] = {}
    for upstream, place in block.items("upstreams"):
        first = names.setdefault(upstream.name, place)
        twin = urls.setdefault(upstream.url, upstream)
        if first is not place:
            what = f"the name '{upstream.name}' is taken by {_point(first)}"
            job.report(place, f"{what}; give one of them another with name=")
        elif twin is not upstream and not (_is_named(twin) and _is_named(upstream)):
            job.report(place, f"{upstream.url} stands there twice; give both a name with name=")


def _is_named(upstream: UpstreamConfig) -> bool:
    return upstream.name != default_name(upstream.url)


def _point(place: Place) -> str:
    return place.file if place.line is None else f"line {place.line}"


def _tls_place(block: Block) -> Place:
    options = [name for name in block.settings if name.startswith("tls_")]
    return block.at(options[0]) if options else block.place
