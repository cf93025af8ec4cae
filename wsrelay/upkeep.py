"""Keeps a pool's upstreams checked and discovered, for as long as the relay runs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from attrs import define, evolve, field

from wsrelay.config.model import PluginCall, PoolConfig, UpstreamConfig
from wsrelay.discovery.source import Source
from wsrelay.health.check import Result
from wsrelay.health.checker import Checker
from wsrelay.log import Logger
from wsrelay.pools.pool import MemberChanges, Pool
from wsrelay.pools.upstream import Upstream

log = Logger()


@define(eq=False)
class Upkeep:
    """
    The health checks and the discovery of one pool.

    :param members_changed: told what became of the upstreams: `Relay.members_changed`.
    """

    pool: Pool
    reactor: Any
    members_changed: Callable[[Pool, MemberChanges], None]
    checkers: dict[Upstream, Checker] = field(factory=dict, init=False)
    results: dict[Upstream, tuple[Result, float]] = field(factory=dict, init=False)
    """How the last check of each upstream went, and when, in the reactor's seconds."""
    source: Source | None = field(default=None, init=False)
    _terms: PoolConfig | None = field(default=None, init=False)  # those that checks follow
    _discover: PluginCall | None = field(default=None, init=False)
    _good: dict[Upstream, int] = field(factory=dict, init=False)

    def sync(self, *, again: bool = False) -> None:
        """
        Follow the pool: called at the start, and whenever it or its upstreams changed.

        :param again: files have been read again, so that checks over TLS need a new context.
        """
        self._sync_source()
        self._sync_checkers(again)

    def stop(self) -> None:
        """Check and discover no more."""
        for checker in self.checkers.values():
            checker.stop()
        self.checkers.clear()
        if self.source is not None:
            self.source.stop()
        self.source = self._discover = None

    # discovery

    def _sync_source(self) -> None:
        call = self.pool.config.discover
        if call == self._discover:
            return
        self._discover = call
        if self.source is not None:
            self.source.stop()
        self.source = None
        if call is None:
            self._found(())
        else:  # what was found before stays until there is a new answer
            self.source = Source(self.pool.name, call, self.reactor, self._found)
            self.source.start()

    def _found(self, upstreams: tuple[UpstreamConfig, ...]) -> None:
        changes = self.pool.set_members("discovery", upstreams)
        for word, group in (("found", changes.added), ("gone", changes.removed)):
            for each in group:
                log.info(
                    "upstream {pool}/{upstream} is {word}",
                    pool=self.pool.name,
                    upstream=each.name,
                    word=word,
                )
        self.members_changed(self.pool, changes)

    # health checks

    def _sync_checkers(self, again: bool) -> None:
        terms = _what_checks_need(self.pool.config)
        is_new, self._terms = terms != self._terms, terms
        for upstream, checker in list(self.checkers.items()):
            is_stale = is_new or (again and upstream.config.scheme == "wss")
            if is_stale or upstream not in self.pool.upstreams:
                checker.stop()
                del self.checkers[upstream]
        for upstream in [each for each in self.results if each not in self.pool.upstreams]:
            self._forget(upstream)
        for upstream in self.pool.upstreams:
            if self.pool.config.health_check is None:
                self._forget(upstream)
            elif upstream not in self.checkers:
                self._check(upstream)

    def _check(self, upstream: Upstream) -> None:
        report = partial(self._report, upstream)
        try:
            checker = Checker(self.reactor, upstream.config, self.pool.config, report)
        except ValueError as error:
            log.error(
                "upstream {pool}/{upstream} cannot be checked: {why}",
                pool=self.pool.name,
                upstream=upstream.name,
                why=error,
            )
            self._forget(upstream)
            return
        checker.verdict.health = upstream.checked  # what earlier checks said still counts
        self.checkers[upstream] = checker
        checker.start()

    def _forget(self, upstream: Upstream) -> None:
        """Go by what handshakes show alone."""
        self._good.pop(upstream, None)
        self.results.pop(upstream, None)
        if upstream.checked != "unknown":
            upstream.check_found("unknown", "")

    def _report(self, upstream: Upstream, result: Result, flipped: str | None) -> None:
        check = self.pool.config.health_check
        assert check is not None
        self.results[upstream] = result, self.reactor.seconds()
        why = f"{check.kind} check: {result.what}"
        proves = check.kind == "websocket"
        if flipped == "down":
            upstream.check_found("down", why)
        elif flipped == "up":
            upstream.check_found("up", why, proves=proves)
        elif proves and upstream.checked == "up" and upstream.looks_down:
            # Handshakes failed, and checks did not: enough good ones outdate the failures.
            self._good[upstream] = self._good.get(upstream, 0) + 1 if result.ok else 0
            if self._good[upstream] >= check.rise:
                upstream.check_found("up", why, proves=True)
        if not upstream.looks_down:
            self._good.pop(upstream, None)


def _what_checks_need(config: PoolConfig) -> PoolConfig:
    """Return a pool's options without those that health checks do not follow."""
    return evolve(
        PoolConfig(config.name),
        health_check=config.health_check,
        proxy_protocol=config.proxy_protocol,
        tls_verify=config.tls_verify,
        tls_ca=config.tls_ca,
        tls_name=config.tls_name,
        tls_certificate=config.tls_certificate,
        tls_key=config.tls_key,
    )
