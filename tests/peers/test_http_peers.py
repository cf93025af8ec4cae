"""
Real clients ask real servers through the relay: every byte arrives, and everybody's own.

The servers have ``/echo``, which sends a body back and tells method and target in headers,
``/early``, which refuses a body unread, and ``/files/``.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import http.client
import io
import json
import random
import shutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from attrs import field, frozen

from tests.peers.nginx import nginx
from tests.peers.node import HERE
from tests.peers.upstreams import own_url
from tests.support import PATIENCE, Process, free_port, require_program, started_relay
from tests.system.support import LOCAL, check_log_is_calm

BODY = random.Random(1).randbytes(3_000_001)
ZIPPED = gzip.compress(BODY[:100_000], mtime=0)
COUNT, CONNECTIONS = 5000, 50

SERVERS = ("aiohttp", "node", "python")
"""Those that echo; the last one speaks HTTP/1.0 and ends each answer by leaving."""

NGINX = """\
        keepalive_timeout 5s 5s;
        listen 127.0.0.1:{port};
        client_max_body_size 1k;
        location /files/ {{ alias {folder}/; gzip_static on; }}
        location /early {{ return 413 "too much"; }}
        location / {{ add_header X-Target $request_uri; return 200; }}
"""


@frozen
class Answer:
    """An answer as a client saw it; the names of *headers* are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=lambda body: f"{len(body)}:{body[:60]!r}")


class Client(ABC):
    """A client that keeps its connections."""

    def __init__(self, url: str) -> None:
        self.url = url

    @abstractmethod
    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        chunked: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Ask once more, and return what was answered."""

    @abstractmethod
    def close(self) -> None:
        """End the connections."""


def pieces(body: bytes | None) -> Iterator[bytes]:
    for at in range(0, len(body or b""), 10_000):
        yield (body or b"")[at : at + 10_000]


class PythonClient(Client):
    """``http.client``: one connection; what is sent before the answer is read is all of it."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=PATIENCE)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        chunked: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        data = pieces(body) if chunked else body
        self.connection.request(method, path, data, dict(headers or {}), encode_chunked=chunked)
        response = self.connection.getresponse()
        fields = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, fields, response.read())

    def close(self) -> None:
        self.connection.close()


class AiohttpClient(Client):
    """``aiohttp``, one session for all of its requests."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.loop = asyncio.new_event_loop()
        self.session: aiohttp.ClientSession | None = None

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        chunked: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        return self.loop.run_until_complete(self._ask(method, path, body, chunked, headers))

    async def _ask(
        self,
        method: str,
        path: str,
        body: bytes | None,
        chunked: bool,
        headers: Mapping[str, str] | None,
    ) -> Answer:
        if self.session is None:
            self.session = aiohttp.ClientSession(self.url, auto_decompress=False)

        async def stream() -> Any:
            for piece in pieces(body):
                yield piece

        data = stream() if chunked else None if body is None else io.BytesIO(body)
        asked = self.session.request(method, path, data=data, headers=headers)
        async with asyncio.timeout(PATIENCE), asked as response:
            fields = {name.lower(): value for name, value in response.headers.items()}
            return Answer(response.status, fields, await response.read())

    def close(self) -> None:
        if self.session is not None:
            self.loop.run_until_complete(self.session.close())
        self.loop.close()


class NodeClient(Client):
    """node, by `how`."""

    how = "agent"

    def __init__(self, url: str) -> None:
        super().__init__(url)
        script = HERE / "ask_node.mjs"
        self.process = Process([require_program("node"), script, self.how, url])
        self.process.wait_for_event(event="ready")
        self._asked = 0

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        chunked: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        data = None if body is None else base64.b64encode(body).decode()
        order = {"method": method, "path": path, "body": data, "chunked": chunked}
        self.process.write_line(json.dumps({**order, "headers": headers or {}}))
        _, answer = self.process.wait_for_event(event="answer", number=self._asked)
        self._asked += 1
        fields = {str(name): str(value) for name, value in answer["headers"]}
        return Answer(answer["status"], fields, base64.b64decode(answer["body"]))

    def ask_often(self, method: str) -> list[Any]:
        """Ask by many connections at once; return what was wrong."""
        order = {"count": COUNT, "connections": CONNECTIONS, "method": method}
        self.process.write_line(json.dumps(order))
        return list(self.process.wait_for_event(event="done")[1]["wrong"])

    def close(self) -> None:
        self.process.stop()


class FetchClient(NodeClient):
    """node's ``fetch``."""

    how = "fetch"


CLIENTS: Mapping[str, type[Client]] = {
    "http.client": PythonClient,
    "aiohttp": AiohttpClient,
    "node agent": NodeClient,
    "node fetch": FetchClient,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("files")
    (made / "big.bin").write_bytes(BODY)
    (made / "page.txt").write_bytes(BODY[:100_000])
    (made / "page.txt.gz").write_bytes(ZIPPED)
    return made


@contextlib.contextmanager
def started_nginx(folder: Path, temp: Path) -> Iterator[int]:
    port = free_port()
    temp.chmod(0o755)
    with nginx(temp, port, NGINX.format(port=port, folder=folder)):
        yield port


@pytest.fixture(scope="module")
def urls(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Give the URL of each server behind one relay."""
    commands: dict[str, list[str | Path]] = {
        "aiohttp": [sys.executable, "-m", "tests.peers.echo_aiohttp", folder],
        "python": [sys.executable, "-m", "tests.peers.echo_python", folder],
    }
    if shutil.which("node"):
        commands["node"] = ["node", HERE / "echo_node.mjs", folder]
    with contextlib.ExitStack() as stack:
        upstreams = {
            kind: own_url(stack.enter_context(Process(command)))
            for kind, command in commands.items()
        }
        if shutil.which("nginx"):
            temp = tmp_path_factory.mktemp("nginx")
            port = stack.enter_context(started_nginx(folder, temp))
            upstreams["nginx"] = f"ws://127.0.0.1:{port}"
        text = "".join(
            f"[listener:{kind}]\nendpoint = {LOCAL}\n"
            f"[route:{kind}]\nlistener = {kind}\npool = {kind}\n"
            f"[pool:{kind}]\nupstreams = {url}\n"
            for kind, url in upstreams.items()
        )
        relay = stack.enter_context(started_relay(text, tmp_path_factory.mktemp("relay")))
        yield {kind: relay.url_of(kind, "http") for kind in upstreams}
        check_log_is_calm(relay.log())


@pytest.fixture(params=CLIENTS)
def connect(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Client]]:
    """Give what makes a client of each kind."""
    if request.param.startswith("node"):
        require_program("node")
    made: list[Client] = []

    def make(url: str) -> Client:
        made.append(CLIENTS[request.param](url))
        return made[-1]

    yield make
    for client in made:
        client.close()


def url_of(urls: Mapping[str, str], kind: str) -> str:
    if kind not in urls:
        require_program(kind)
    return urls[kind]


@pytest.mark.parametrize("server", SERVERS)
def test_bodies_of_every_size_and_framing_come_back(
    connect: Callable[[str], Client], server: str, urls: dict[str, str]
) -> None:
    client = connect(url_of(urls, server))
    for number, size in enumerate((0, 1, 1000, 65_536, len(BODY))):
        for method, chunked in (("POST", False), ("PUT", True)):
            path = f"/echo?n={number}{'&whole' * (number % 2)}"
            answer = client.ask(method, path, BODY[:size], chunked=chunked)
            assert answer.status == 200
            assert answer.body == BODY[:size]
            assert answer.headers["x-method"] == method
            assert answer.headers["x-target"] == path
        answer = client.ask("GET", f"/echo?n={number}")
        assert (answer.headers["x-target"], answer.body) == (f"/echo?n={number}", b"")


@pytest.mark.parametrize("server", [*SERVERS, "nginx"])
def test_files_come_whole(
    connect: Callable[[str], Client], server: str, urls: dict[str, str]
) -> None:
    client = connect(url_of(urls, server))
    for _ in range(2):
        assert client.ask("GET", "/files/big.bin").body == BODY


@pytest.mark.parametrize("server", ["aiohttp", "nginx"])
def test_ranges_and_validators_pass(
    connect: Callable[[str], Client], server: str, urls: dict[str, str]
) -> None:
    client = connect(url_of(urls, server))
    answer = client.ask("GET", "/files/big.bin", headers={"Range": "bytes=1000-1999"})
    assert (answer.status, answer.body) == (206, BODY[1000:2000])
    assert answer.headers["content-range"] == f"bytes 1000-1999/{len(BODY)}"
    known = {"If-None-Match": answer.headers["etag"]}
    answer = client.ask("GET", "/files/big.bin", headers=known)
    assert (answer.status, answer.body) == (304, b"")
    answer = client.ask("HEAD", "/files/big.bin")
    assert (answer.headers["content-length"], answer.body) == (str(len(BODY)), b"")
    assert client.ask("GET", "/files/none").status == 404
    assert client.ask("GET", "/files/big.bin").body == BODY


@pytest.mark.parametrize("server", ["aiohttp", "nginx"])
@pytest.mark.parametrize("kind", ["http.client", "aiohttp"])
def test_a_compressed_body_passes_byte_for_byte(
    kind: str, server: str, urls: dict[str, str]
) -> None:
    client = CLIENTS[kind](url_of(urls, server))
    answer = client.ask("GET", "/files/page.txt", headers={"Accept-Encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.body == ZIPPED
    client.close()


@pytest.mark.parametrize("server", ["aiohttp", "node", "nginx"])
def test_an_early_refusal_is_read_and_the_next_request_answered(
    connect: Callable[[str], Client], server: str, urls: dict[str, str]
) -> None:
    client = connect(url_of(urls, server))
    if isinstance(client, FetchClient):
        pytest.skip("fetch fails when its body is not taken, with or without a relay")
    for _ in range(3):
        answer = client.ask("POST", "/early", BODY[:50_000])
        assert answer.status == 413
        assert client.ask("GET", "/echo?next").headers["x-target"] == "/echo?next"


async def ask_often(url: str, method: str) -> list[Any]:
    """Ask by many connections at once, each number once; return what was wrong."""
    wrong: list[Any] = []
    numbers = iter(range(COUNT))
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)

    async def one(session: aiohttp.ClientSession) -> None:
        for number in numbers:
            target, body = f"/echo?whole&id={number}", b"" if method == "GET" else b"%d" % number
            async with session.request(method, target, data=body or None) as response:
                got = await response.read()
                if (response.headers.get("X-Target"), got) != (target, body):
                    wrong.append((number, response.status, got))

    async with aiohttp.ClientSession(url, connector=connector) as session, asyncio.timeout(60):
        await asyncio.gather(*[one(session) for _ in range(CONNECTIONS)])
    return wrong


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("server", ["aiohttp", "node"])
def test_of_thousands_of_requests_by_fifty_connections_each_gets_its_own_answer(
    server: str, method: str, urls: dict[str, str]
) -> None:
    assert asyncio.run(ask_often(url_of(urls, server), method)) == []


@pytest.mark.parametrize("kind", ["node agent", "node fetch"])
def test_node_gets_thousands_of_answers_by_kept_connections(
    kind: str, urls: dict[str, str]
) -> None:
    client = CLIENTS[kind](url_of(urls, "node"))
    assert isinstance(client, NodeClient)
    try:
        assert client.ask_often("POST") == []
    finally:
        client.close()
