"""All sections together -> a `RelayConfig`: what one says of another is true."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from wsrelay.config.blocks import Block, Job, Setting
from wsrelay.config.build import (
    build_admin,
    build_cluster,
    build_listener,
    build_log,
    build_pool,
    build_route,
)
from wsrelay.config.errors import Place, unknown_name
from wsrelay.config.model import PathRule, RelayConfig
from wsrelay.config.table import KINDS

__all__ = ["assemble"]

Kinds = Mapping[str, dict[str, Block]]


def assemble(blocks: Iterable[Block], job: Job) -> RelayConfig:
    """
    Build the configuration.

    The result is whole only if the job has no errors afterwards.
    """
    kinds = _by_kind(blocks, job)
    relay, log, admin = (_only(kinds[kind], job) for kind in ("relay", "log", "admin"))
    _need_some(kinds, relay, job)
    _refuse_shared_endpoints(kinds, job)
    for block in kinds["route"].values():
        _refuse_dangling_names(block, kinds, job)
    _refuse_shared_paths(kinds, job)
    listeners = [build_listener(block, job) for block in kinds["listener"].values()]
    code = relay.get("drain_close_code", 1012)
    routes = [build_route(block, code, job) for block in kinds["route"].values()]
    pools = [build_pool(block, job) for block in kinds["pool"].values()]
    if "data_path" in relay.settings:
        job.ask(relay.at("data_path"), job.checks.data_path, relay.get("data_path"))
    options: dict[str, Any] = {
        name: relay.settings[name].value
        for name in ("workers", "drain_timeout", "drain_rate", "max_connections", "data_path")
        if name in relay.settings
    }
    return RelayConfig(
        listeners=tuple(filter(None, listeners)),
        routes=tuple(filter(None, routes)),
        pools=tuple(filter(None, pools)),
        log=build_log(log, job),
        admin=build_admin(admin, job),
        cluster=build_cluster(_only(kinds["cluster"], job), job),
        **options,
    )


def _short_blocks(relay: Block) -> list[Block]:
    """Write the short form out: as the sections that it stands for."""
    blocks = []
    for number, (endpoint, place) in enumerate(relay.items("listen"), start=1):
        name = "default" if number == 1 else f"default-{number}"
        blocks.append(_block("listener", name, place, endpoint=Setting(endpoint)))
    if "upstream" in relay.settings:
        place = relay.at("upstream")
        blocks.append(_block("pool", "default", place, upstreams=relay.settings["upstream"]))
        blocks.append(_block("route", "default", place, pool=Setting("default")))
    return blocks


def _block(kind: str, name: str, place: Place, **settings: Setting) -> Block:
    return Block(kind, name, place, settings, dict.fromkeys(settings, place))


def _by_kind(blocks: Iterable[Block], job: Job) -> Kinds:
    """Sort the sections, the short form written out; the first of each name stays."""
    kinds: dict[str, dict[str, Block]] = {name: {} for name in KINDS}
    for block in blocks:
        kinds[block.kind].setdefault(block.name, block)
    relay = _only(kinds["relay"], job)
    for short in _short_blocks(relay):
        block = kinds[short.kind].setdefault(short.name, short)
        if block is not short:
            what = f"{short.place.option} in [relay] makes a {short.kind} '{short.name}' already"
            job.report(block.place, f"{what}; choose another name for this section")
    return kinds


def _only(named: Mapping[str, Block], job: Job) -> Block:
    """Return the section of a kind that has one at most."""
    empty = Block("", "", Place(job.file), {}, {})
    return next(iter(named.values()), empty)


def _need_some(kinds: Kinds, relay: Block, job: Job) -> None:
    whole_file = Place(job.file)
    if not kinds["listener"] and "listen" not in relay.written:
        job.report(
            whole_file,
            "there is no listener; add a [listener:NAME] with an endpoint,"
            " or listen = tcp:8080 to [relay]",
        )
    if not kinds["route"] and "upstream" not in relay.written:
        job.report(
            whole_file,
            "there is no route; add a [route:NAME] and the [pool:NAME] that serves it,"
            " or upstream = ws://HOST:PORT to [relay]",
        )


def _refuse_shared_endpoints(kinds: Kinds, job: Job) -> None:
    seen: dict[str, Block] = {}
    for block in kinds["listener"].values():
        endpoint = block.get("endpoint")
        first = seen.setdefault(endpoint, block) if endpoint else block
        if first is not block:
            _refuse_endpoint(block.at("endpoint"), endpoint, first, job)
    for block in kinds["admin"].values():
        endpoint = block.get("listen")
        if endpoint in seen:
            _refuse_endpoint(block.at("listen"), endpoint, seen[endpoint], job)


def _refuse_endpoint(place: Place, endpoint: str, first: Block, job: Job) -> None:
    message = f"'{endpoint}' is the endpoint of listener '{first.name}' already"
    job.report(place, f"{message}; each needs its own")


def _refuse_dangling_names(route: Block, kinds: Kinds, job: Job) -> None:
    pool = route.get("pool")
    if pool is not None and pool not in kinds["pool"]:
        job.report(route.at("pool"), unknown_name("pool", pool, kinds["pool"]))
    for name, place in route.items("listener"):
        if name not in kinds["listener"]:
            job.report(place, unknown_name("listener", name, kinds["listener"]))


def _refuse_shared_paths(kinds: Kinds, job: Job) -> None:
    """Refuse a route that no request can reach, because another one is just the same."""
    bad = {(error.section, error.option) for error in job.errors}
    seen: dict[tuple[str, str | None, PathRule], Block] = {}
    for block in kinds["route"].values():
        if any((block.place.section, option) in bad for option in ("listener", "host", "path")):
            continue
        rule = block.get("path", PathRule())
        for listener in block.get("listener") or kinds["listener"]:
            first = seen.setdefault((listener, block.get("host"), rule), block)
            if first is not block:
                message = f"route '{first.name}' has the same listener, host and path already"
                place = block.written.get("path", block.place)
                job.report(place, f"{message}; change one of them")
                break
