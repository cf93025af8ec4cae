"""Which upstreams a pool has, from several sources.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from attrs import define, field, frozen

from wsrelay.config.model import UpstreamConfig
from wsrelay.pools.upstream import Source

__all__ = ["Member", "Roll"]

ORDER: tuple[Source, ...] = ("file", "discovery", "api")


@frozen
class Member:
    """An upstream that a pool should have, and where that is said."""

    config: UpstreamConfig
    source: Source


@define
class Roll:
    """
    What each source says, and what the operator took away again.

    Of two with the same name the one of the file counts, then the discovered one.  An
    upstream that the operator removed stays away until its source says something new
    about it; until then the operator may put another one of its name in its place.
    """

    _said: dict[Source, tuple[UpstreamConfig, ...]] = field(factory=dict)
    _hidden: dict[str, Member] = field(factory=dict)

    def say(self, source: Source, upstreams: Iterable[UpstreamConfig]) -> None:
        """Take all that a source has to say now, in place of what it said before."""
        self._said[source] = tuple(upstreams)
        said = self._all()
        self._hidden = {
            name: member for name, member in self._hidden.items() if said.get(name) == member
        }

    def said(self, source: Source) -> tuple[UpstreamConfig, ...]:
        """Return what a source said last."""
        return self._said.get(source, ())

    def hide(self, name: str) -> None:
        """Take an upstream away, whoever names it."""
        self._said["api"] = tuple(each for each in self.said("api") if each.name != name)
        if member := self._all().get(name):
            self._hidden[name] = member

    def members(self) -> Mapping[str, Member]:
        """Return the upstreams that the pool should have, by name, in order."""
        found = {name: each for name, each in self._all().items() if name not in self._hidden}
        for config in self.said("api"):
            found.setdefault(config.name, Member(config, "api"))
        return found

    def _all(self) -> dict[str, Member]:
        found: dict[str, Member] = {}
        for source in ORDER:
            for config in self.said(source):
                found.setdefault(config.name, Member(config, source))
        return found
