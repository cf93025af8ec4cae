"""A relay with a session, whose relay.ini is changed under it."""

from __future__ import annotations

from attrs import define

from tests.support import RelayProcess
from tests.system.support import (
    BINARY,
    LOCAL,
    Stage,
    Wire,
    end_normally,
    frame,
    masked,
    read_data,
)

MAIN = f"[listener:main]\nendpoint = {LOCAL}"


def ini_with(url: str, *more: str, main: str = MAIN, pool: str = "") -> str:
    """Return a relay.ini with a listener, a route and a pool, and *more* sections."""
    rows = [
        main,
        "[route:main]\npool = main\nhttp = no",
        f"[pool:main]\nmax_fails = 0\nupstreams = {url}\n{pool}",
        *more,
    ]
    return "\n".join(rows) + "\n"


def listener(name: str, *options: str, endpoint: str = LOCAL) -> str:
    """Return a section."""
    return "\n".join([f"[listener:{name}]", f"endpoint = {endpoint}", *options])


def route(name: str, *options: str) -> str:
    """Return a section for what begins with that name, and leads to pool main."""
    return "\n".join([f"[route:{name}]", f"path = /{name}", "http = no", "pool = main", *options])


@define(eq=False)
class Site:
    """A relay and one session of its route main, which outlives every reload."""

    stage: Stage
    client: Wire
    other: Wire

    @property
    def relay(self) -> RelayProcess:
        return self.stage.relay

    @property
    def url(self) -> str:
        """The upstream's."""
        return self.stage.upstream.url

    def reload(self, *more: str, wanted: str = "reload: ", main: str = MAIN, pool: str = "") -> str:
        """Reload with *more* sections; see `ini_with` and `RelayProcess.reload`."""
        return self.relay.reload(ini_with(self.url, *more, main=main, pool=pool), wanted)

    def check(self) -> None:
        """Check that the session is there."""
        self.client.send(masked(BINARY, b"up"))
        assert read_data(self.other).payload == b"up"
        self.other.send(frame(BINARY, b"down"))
        assert read_data(self.client).payload == b"down"

    def end(self) -> None:
        end_normally(self.client, self.other)
