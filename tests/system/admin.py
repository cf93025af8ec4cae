"""The admin endpoint of a relay, as a program uses it."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from http.client import HTTPMessage
from pathlib import Path
from typing import Any
from urllib.parse import quote

from attrs import define, field, frozen
from prometheus_client.parser import text_string_to_metric_families
from typing_extensions import override

from tests.support import PATIENCE, RelayProcess
from tests.system.support import LOCAL, wait_until

ADMIN = f"[admin]\nlisten = {LOCAL}\n"

Json = dict[str, Any]
Labels = frozenset[tuple[str, str]]


@frozen
class Reply:
    """An answer."""

    status: int
    headers: HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        assert self.headers["Content-Type"] == "application/json", self
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The one sentence of a refusal."""
        sentence: str = self.json["error"]
        assert sentence, self
        return sentence


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._path = path

    @override
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


@define(eq=False)
class Admin:
    """
    Asks one relay, each question on a connection of its own.

    *where* is a port of the loopback or a socket's path; with *token* each question has it.
    """

    where: int | Path
    token: str = ""
    headers: Mapping[str, str] = field(factory=dict)

    @classmethod
    def of(cls, relay: RelayProcess, token: str = "") -> Admin:
        return cls(relay.ports["admin"], token)

    @property
    def url(self) -> str:
        if isinstance(self.where, Path):
            return f"unix:{self.where}"
        return f"http://127.0.0.1:{self.where}"

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Ask; *body* goes as JSON."""
        if isinstance(self.where, Path):
            connection: http.client.HTTPConnection = _UnixConnection(self.where)
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.where, timeout=PATIENCE)
        said = {**self.headers, **(headers or {})}
        if self.token:
            said["Authorization"] = f"Bearer {self.token}"
        if body is not None:
            said["Content-Type"] = "application/json"
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, path, data, said)
            answer = connection.getresponse()
            return Reply(answer.status, answer.msg, answer.read())
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        reply = self.ask("GET", path)
        assert reply.status == 200, reply
        return reply.json

    def order(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        """Give an order that is carried out."""
        reply = self.ask(method, path, body)
        assert reply.status == status, reply
        return reply.json

    # what there is

    def status(self) -> Json:
        found: Json = self.get("/status.json")
        return found

    def pool(self, name: str) -> Json:
        return next(each for each in self.get("/api/pools") if each["name"] == name)

    def upstreams(self, pool: str) -> dict[str, Json]:
        return {each["name"]: each for each in self.pool(pool)["upstreams"]}

    def upstream(self, pool: str, name: str = "a") -> Json:
        return self.upstreams(pool)[name]

    def sessions(self, query: str = "") -> list[Json]:
        found: list[Json] = self.get(f"/api/sessions?{query}")["sessions"]
        return found

    def wait_for(self, pool: str, name: str = "a", **facts: object) -> Json:
        """Wait until what is known of an upstream has these *facts* in it, and return it."""

        def look() -> Json | None:
            found = self.upstreams(pool).get(name, {})
            return found if facts.items() <= found.items() else None

        try:
            known: Json = wait_until(look, f"{pool}/{name}: {facts}")
        except AssertionError as error:
            raise AssertionError(f"{error}; there is {self.upstreams(pool)}") from None
        return known

    def wait_for_check(self, pool: str, words: str, name: str = "a") -> None:
        """Wait for a check of an upstream that says *words*."""
        wait_until(lambda: words in self.upstream(pool, name)["check"]["what"], f"a check: {words}")

    def checks(self, pool: str, name: str = "a", count: int = 3) -> None:
        """Wait until so many more checks of an upstream are over."""
        seen = {str(self.upstream(pool, name)["check"])}

        def look() -> bool:
            seen.add(str(self.upstream(pool, name)["check"]))
            return len(seen) > count

        wait_until(look, "more checks")

    def metrics(self) -> dict[tuple[str, Labels], float]:
        """Return all samples, by name and labels."""
        reply = self.ask("GET", "/metrics")
        assert reply.status == 200, reply
        families = text_string_to_metric_families(reply.body.decode())
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in families
            for sample in family.samples
        }

    def metric(self, name: str, **labels: str) -> float:
        """Return one sample; 0 if it is not there."""
        return self.metrics().get((name, frozenset(labels.items())), 0)


def path_to(pool: str, upstream: str) -> str:
    """Return where an upstream is in the API."""
    return f"/api/pools/{pool}/upstreams/{quote(upstream, safe='')}"
