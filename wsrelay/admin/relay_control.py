"""What the admin endpoint does to a relay."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from attrs import define, field
from twisted.internet.defer import Deferred

from wsrelay.admin.control import Publication, Refused
from wsrelay.admin.relay_view import RelayView
from wsrelay.admin.words import Json, closing_words, session_words
from wsrelay.config.lines import absolute_upstream
from wsrelay.config.model import Rate
from wsrelay.log import Logger
from wsrelay.pools.choosing import announce
from wsrelay.pools.pool import Pool
from wsrelay.pools.upstream import Upstream
from wsrelay.relay.published import RESULTS
from wsrelay.relay.publishing import Publisher
from wsrelay.relay.pump import Side

log = Logger()


def _nobody(*_order: object) -> None:
    """Be told of orders that nobody passes on."""


@define(eq=False)
class RelayControl(RelayView):
    """Shows and steers one relay; a `Control`."""

    ordered: Callable[[str, str, str | None, int | None], None] = field(default=_nobody, init=False)
    """Told of each order about a pool, or an upstream of it: its state or its weight."""
    _publisher: Publisher = field(init=False)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self._publisher = Publisher(self.service.relay.reactor)

    def close_session(self, id: str, code: int, reason: str) -> Json:
        """Close both legs."""
        session = self.session_called(id)
        if session.is_ending:
            raise Refused(409, f"Session {id} is closing already.")
        session.close(code, reason, "admin")
        return session_words(session, self.calendar)

    def publish(self, publication: Publication) -> Deferred[Json]:
        """Send a message to many sessions."""
        sessions = self.sessions_of(publication.kind, publication.name)
        side = Side.UPSTREAM if publication.direction == "up" else Side.CLIENT
        payload, is_binary = publication.payload, publication.is_binary
        return self._publisher.publish(sessions, side, payload, is_binary).addCallback(
            self._published
        )

    def _published(self, results: Counter[str]) -> Json:
        self.counts.published.update(results)
        skipped = {why: results[why] for why in RESULTS if why != "sent" and results[why]}
        return {"sent": results["sent"], "skipped": skipped}

    def change_upstream(self, pool: str, name: str, state: str | None, weight: int | None) -> Json:
        """Set state and weight of an upstream."""
        home, upstream = self.upstream_called(pool, name)
        if weight is not None and weight != upstream.weight:
            self._note(home, upstream, f"weight {upstream.weight} to {weight}")
            upstream.weight = weight
            announce(home)
        if state is not None:
            self._set_state(home, upstream, state)
        self.ordered(pool, name, state, weight)
        return self.upstream_words_of(home, upstream)

    def _set_state(self, pool: Pool, upstream: Upstream, state: str) -> None:
        drains = self.service.relay.drains
        if state != upstream.state:
            self._note(pool, upstream, f"{upstream.state} to {state}")
        if state == "ready":
            was_out, upstream.state = upstream.state != "ready", "ready"
            drains.stop(upstream, "down") if upstream.looks_down else drains.stop(upstream)
            if was_out:
                upstream.begin_slowly()
            pool.call_waiting(again=True)
        elif state == "drain":
            upstream.state = "drain"
            drains.drain_upstream(pool, upstream)
        else:
            upstream.state = "down"
            drains.lose(pool, upstream, pool.config.on_down, "down")

    def _note(self, pool: Pool, upstream: Upstream, change: str) -> None:
        """Log what an operator changes; that an order came, and from where, is logged anyway."""
        log.info(
            "upstream {pool}/{upstream}: {change}, by order",
            pool=pool.name,
            upstream=upstream.name,
            change=change,
        )

    def add_upstream(self, pool: str, line: str) -> Json:
        """Add an upstream."""
        home = self.pool_called(pool)
        try:
            config = absolute_upstream(line)
        except ValueError as error:
            raise Refused(400, f"{error}.") from error
        if any(each.name == config.name for each in home.upstreams):
            what = f"Pool {pool} has an upstream {config.name} already"
            raise Refused(409, f"{what}; give this one another name with name=.")
        changes = home.set_members("api", (*home.said("api"), config))
        self.service.relay.members_changed(home, changes)
        return self.upstream_words_of(*self.upstream_called(pool, config.name))

    def remove_upstream(self, pool: str, name: str) -> Json:
        """Take an upstream away; its sessions end as ``on_removed`` says."""
        home, upstream = self.upstream_called(pool, name)
        self.service.relay.members_changed(home, home.hide(name))
        return self.upstream_words_of(home, upstream)

    def rebalance(self, pool: str, per_second: float) -> Json:
        """Close sessions of the fullest upstreams until they are level."""
        home = self.pool_called(pool)
        closing = self.service.relay.drains.rebalance(home, Rate(per_second))
        return closing_words(closing) or {}

    def drain(self, pool: str | None) -> Json:
        """Drain a pool, or the relay."""
        drains = self.service.relay.drains
        if pool is None:
            return closing_words(drains.drain_relay()) or {}
        home = self.pool_called(pool)
        home.is_draining = True
        for upstream in home.upstreams:
            if upstream.state != "drain":
                self._note(home, upstream, f"{upstream.state} to drain")
            upstream.state = "drain"
        self.ordered(pool, "", "drain", None)
        return closing_words(drains.drain_pool(home)) or {}

    def ready(self, pool: str | None) -> Json:
        """Take a drain back."""
        relay = self.service.relay
        if pool is None:
            if not self.service.running:
                raise Refused(409, "The relay is stopping; that cannot be taken back.")
            relay.drains.undrain_relay()
            return {"ready": not self.not_ready()}
        home = self.pool_called(pool)
        relay.drains.stop(home)
        home.is_draining = False
        for upstream in home.upstreams:
            if upstream.state == "drain":
                self._set_state(home, upstream, "ready")
        self.ordered(pool, "", "ready", None)
        return self.pool_words_of(home)

    def reload(self) -> Deferred[list[str]]:
        """Read relay.ini again."""
        from wsrelay.service import ReloadRefused

        async def reload() -> list[str]:
            try:
                return await self.service.reload()
            except ReloadRefused as error:
                what = "The configuration is refused; nothing has changed."
                raise Refused(422, what, error.errors) from error

        return Deferred.fromCoroutine(reload())
