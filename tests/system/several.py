"""Several upstreams that are sockets of the test's own."""

from __future__ import annotations

from attrs import define

from tests.system.support import RawUpstream, Stage, Wire, end_normally, switching, wait_until


@define(eq=False)
class Several:
    """Several upstreams; finds out which of them a client was led to."""

    stage: Stage
    listening: dict[str, RawUpstream]

    def visited(self) -> tuple[str, Wire]:
        """Wait until one of the upstreams has a visitor."""

        def look() -> tuple[str, Wire] | None:
            for name, each in self.listening.items():
                if (wire := each.visitor()) is not None:
                    return name, self.stage.keep(wire)
            return None

        found: tuple[str, Wire] = wait_until(look, "a visit to an upstream")
        return found

    def begin(self, path: bytes, *more: bytes) -> tuple[str, Wire, Wire]:
        client = self.stage.ask(path, *more)
        name, upstream = self.visited()
        upstream.read_head()
        upstream.send(switching())
        assert client.read_head().startswith(b"HTTP/1.1 101 ")
        return name, client, upstream

    def names(self, path: bytes, count: int, *more: bytes) -> list[str]:
        """Return where *count* sessions land, each ended before the next."""
        found = []
        for _ in range(count):
            name, client, upstream = self.begin(path, *more)
            end_normally(client, upstream)
            found.append(name)
        return found

    def is_alone(self) -> bool:
        return all([each.is_alone() for each in self.listening.values()])
