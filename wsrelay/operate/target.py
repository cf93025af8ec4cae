"""Whom an order is for: an upstream, a pool or the whole relay."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from attrs import frozen

__all__ = ["Target", "parse_target", "parse_upstream", "path_of"]


def path_of(*parts: str, **query: object) -> str:
    """
    Return a path of the API.

    Every part is escaped, for names hold colons and slashes; what the command line had in
    no encoding is sent as it was.  A query of None is left out.
    """
    path = "/api/" + "/".join(quote(part, safe="", errors="surrogateescape") for part in parts)
    said = {name: value for name, value in query.items() if value is not None}
    return path + ("?" + urlencode(said, errors="surrogateescape") if said else "")


@frozen
class Target:
    """An upstream of a pool; a pool, if ``upstream`` is ""; the relay, if both are."""

    pool: str = ""
    upstream: str = ""

    def __str__(self) -> str:
        if self.upstream:
            return f"{self.pool}/{self.upstream}"
        return f"pool {self.pool}" if self.pool else "the relay"

    def path(self, verb: str = "") -> str:
        """Return the path of the API; an upstream has no *verb*."""
        if self.upstream:
            return path_of("pools", self.pool, "upstreams", self.upstream)
        return path_of("pools", self.pool, verb) if self.pool else path_of(verb)


def parse_target(text: str) -> Target:
    """
    Parse ``POOL/UPSTREAM`` or ``POOL``; an upstream's name may hold slashes, a pool's not.

    :raises ValueError: there is a slash with nothing on one side.
    """
    pool, slash, upstream = text.partition("/")
    if not pool or bool(slash) != bool(upstream):
        raise ValueError(text)
    return Target(pool, upstream)


def parse_upstream(text: str) -> Target:
    """
    Parse ``POOL/UPSTREAM``.

    :raises ValueError: it is something else.
    """
    target = parse_target(text)
    if not target.upstream:
        raise ValueError(text)
    return target
