"""The policies that ship, before a real upstream: who gets in, what goes upstream, until when."""

from __future__ import annotations

import base64
import http.server
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from attrs import define, field

from tests.policies.samples import SECRET, jwk, jwks, private
from tests.policies.samples import token as signed
from tests.support import PATIENCE, Process, RelayProcess, free_port, require_program, started_relay
from tests.system.support import (
    CLOSE,
    LOCAL,
    TEXT,
    RawUpstream,
    Stage,
    close_payload,
    frame,
    masked,
    read_answer,
    read_data,
    switching,
    wait_until,
)


@define(eq=False)
class AuthServer:
    """A server in a thread that answers as a test says, and keeps what it was asked."""

    answers: dict[str, Callable[[http.server.BaseHTTPRequestHandler], None]] = field(factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(factory=list)
    port: int = 0

    def questions(self, path: str) -> list[dict[str, str]]:
        return [headers for each, headers in self.asked if each == path]


@pytest.fixture(scope="module")
def auth() -> Iterator[AuthServer]:
    known = AuthServer()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            known.asked.append((self.path, dict(self.headers.items())))
            known.answers[self.path](self)

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    known.port = server.server_port
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield known
    server.shutdown()
    thread.join(PATIENCE)
    server.server_close()


def says(status: int, body: bytes = b"", **headers: str) -> Callable[[Any], None]:
    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def by_cookie(handler: http.server.BaseHTTPRequestHandler) -> None:
    if handler.headers.get("Cookie") == "sid=ada":
        says(200, b"hello", X_User="ada", X_Tags="user:7", Content_Type="text/plain")(handler)
    elif handler.headers.get("Cookie") == "sid=slow":
        time.sleep(3)
        says(204)(handler)
    elif handler.headers.get("Cookie") == "sid=broken":
        says(500)(handler)
    else:
        says(401, WWW_Authenticate='Basic realm="chat"')(handler)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("relay")


@pytest.fixture(scope="module")
def relay(upstream: RawUpstream, auth: AuthServer, folder: Path) -> Iterator[RelayProcess]:
    hashed = bcrypt.hashpw(b"geheim", bcrypt.gensalt(5)).decode()
    (folder / "users").write_text(f"ada:{hashed.replace('$2b$', '$2y$')}\n")
    (folder / "secret").write_bytes(SECRET)
    auth.answers["/auth?x=1"] = by_cookie
    auth.answers["/keys"] = says(200, jwks(jwk("ed25519", kid="a")))
    here = f"http://127.0.0.1:{auth.port}"
    routes = {
        "asked": f"http-auth url={here}/auth?x=1 pass=X-User tag=X-Tags timeout=500ms",
        "token": "jwt secret_file=secret claim_headers=X-User:sub tags=user:sub leeway=0s"
        " from=header,query:token,subprotocol",
        "keys": f"jwt jwks_url={here}/keys",
        "basic": "basic file=users user_header=X-Remote-User realm=Staff",
        "both": f"basic file=users\n    http-auth url={here}/auth?x=1",
    }
    rows = [f"[listener:main]\nendpoint = {LOCAL}\n[log]\nformat = json"]
    for name, policies in routes.items():
        rows.append(f"[route:{name}]\npath = /{name}\npool = main\npolicies =\n    {policies}")
    rows.append(f"[pool:main]\nmax_fails = 0\nupstreams = {upstream.url}")
    with started_relay("\n".join(rows), folder) as running:
        yield running


def now_token(claims: dict[str, Any] | None = None, **more: Any) -> str:
    return signed({"exp": int(time.time()) + 60, **(claims or {})}, **more)


def basic(user: str, password: str) -> bytes:
    return b"Authorization: Basic " + base64.b64encode(f"{user}:{password}".encode())


def open_session(stage: Stage, path: bytes, *more: bytes) -> list[bytes]:
    """Open a session, let it echo and end it; return the lines of the request upstream."""
    client = stage.ask(path, *more)
    other = stage.accept()
    head = other.read_head().split(b"\r\n")
    other.send(switching())
    assert client.read_head().startswith(b"HTTP/1.1 101 ")
    client.send(masked(TEXT, b"hello"))
    assert read_data(other).payload == b"hello"
    client.send(masked(CLOSE, close_payload(1000)))
    assert read_data(other).close_code == 1000
    other.send(frame(CLOSE, close_payload(1000)))
    assert read_data(client).close_code == 1000
    return head


def refused(stage: Stage, path: bytes, *more: bytes) -> Any:
    answer = read_answer(stage.ask(path, *more))
    assert stage.upstream.visitor() is None
    return answer


def test_another_server_lets_in_and_says_who_it_is(stage: Stage, auth: AuthServer) -> None:
    before = len(auth.asked)
    for _ in range(2):
        head = open_session(stage, b"/asked/room?id=1", b"Cookie: sid=ada", b"X-User: root")
        assert b"X-User: ada" in head
        assert not [line for line in head if b"root" in line]
    [(_, fields)] = auth.asked[before:]  # the second time it was known
    assert fields["X-Original-Uri"] == "/asked/room?id=1"
    assert fields["X-Real-Ip"] == "127.0.0.1"
    assert fields["Host"] == f"127.0.0.1:{auth.port}"
    assert not [name for name in fields if name.lower().startswith("sec-websocket")]
    assert "Upgrade" not in fields


def test_another_server_keeps_out(stage: Stage) -> None:
    answer = refused(stage, b"/asked", b"Cookie: sid=eve")
    assert answer.status == 401
    assert answer.get(b"WWW-Authenticate") == b'Basic realm="chat"'


@pytest.mark.parametrize("cookie", [b"slow", b"broken"])
def test_another_server_that_fails_lets_nobody_in(stage: Stage, cookie: bytes) -> None:
    assert refused(stage, b"/asked", b"Cookie: sid=" + cookie).status == 500
    stage.relay.wait_for_words("policy http-auth of route asked: http://127.0.0.1:")


def test_all_policies_of_a_route_have_to_agree(stage: Stage) -> None:
    assert refused(stage, b"/both", b"Cookie: sid=ada").status == 401
    assert refused(stage, b"/both", basic("ada", "geheim")).status == 401
    open_session(stage, b"/both", b"Cookie: sid=ada", basic("ada", "geheim"))


def test_a_token_lets_in_and_says_who_it_is(stage: Stage) -> None:
    bearer = b"Authorization: Bearer " + now_token({"sub": "Ünal"}).encode()
    head = open_session(stage, b"/token", bearer, b"x_user: root")
    assert "X-User: Ünal".encode() in head
    assert not [line for line in head if b"root" in line]
    assert bearer in head
    answer = refused(stage, b"/token", bearer + b"x")
    assert answer.status == 401
    assert b'error="invalid_token"' in (answer.get(b"WWW-Authenticate") or b"")


def test_a_plain_request_needs_a_token_too(stage: Stage) -> None:
    client = stage.connect()
    client.send(b"GET /token HTTP/1.1\r\nHost: r.test\r\nConnection: close\r\n\r\n")
    assert read_answer(client).status == 401


def test_a_token_among_the_subprotocols_goes_no_further(stage: Stage) -> None:
    offer = f"Sec-WebSocket-Protocol: bearer, {now_token()}, chat".encode()
    client = stage.ask(b"/token", offer)
    other = stage.accept()
    offered = [line for line in other.read_head().split(b"\r\n") if b"Protocol" in line]
    assert offered == [b"Sec-WebSocket-Protocol: bearer, chat"]
    other.send(switching(b"Sec-WebSocket-Protocol: chat"))
    assert b"Sec-WebSocket-Protocol: chat\r\n" in client.read_head()


def test_no_token_gets_into_the_log(stage: Stage) -> None:
    text = now_token()
    open_session(stage, f"/token?token={text}".encode())
    open_session(stage, b"/token", f"Authorization: Bearer {text}".encode())
    refused(stage, f"/token?token={text}x".encode())
    assert text.split(".")[2] not in stage.relay.log()


def test_the_session_ends_with_its_token(stage: Stage) -> None:
    end = int(time.time()) + 2
    client, other = stage.begin(f"/token?token={signed({'exp': end})}".encode())
    for wire in (client, other):
        assert read_data(wire).close_code == 1008
    assert time.time() >= end


def test_keys_are_fetched_once(stage: Stage, auth: AuthServer) -> None:
    for _ in range(3):
        text = now_token({}, key=private("ed25519"), algorithm="EdDSA", kid="a")
        open_session(stage, b"/keys", f"Authorization: Bearer {text}".encode())
    assert len(auth.questions("/keys")) == 1


def test_a_password_lets_in_and_says_who_it_is(stage: Stage) -> None:
    head = open_session(stage, b"/basic", basic("ada", "geheim"), b"X-Remote-User: root")
    assert b"X-Remote-User: ada" in head
    assert not [line for line in head if b"root" in line]
    for credentials in (basic("ada", "x"), basic("eve", "geheim"), b"X-Nothing: 1"):
        answer = refused(stage, b"/basic", credentials)
        assert answer.status == 401
        assert answer.get(b"WWW-Authenticate") == b'Basic realm="Staff", charset="UTF-8"'


def test_curl_logs_in(stage: Stage) -> None:
    url = stage.relay.url_of("main", "http") + "/basic/page"
    command = [
        require_program("curl"),
        "-s",
        "-m",
        "20",
        "-o",
        "-",
        "-w",
        " %{http_code}",
        "--noproxy",
        "*",
    ]
    wrong = subprocess.run([*command, "-u", "ada:x", url], capture_output=True, timeout=30)
    assert wrong.stdout.endswith(b" 401")
    with subprocess.Popen([*command, "-u", "ada:geheim", url], stdout=subprocess.PIPE) as curl:
        other = stage.accept()
        other.read_head()
        other.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        assert curl.communicate(timeout=30)[0] == b"hi 200"


def test_a_changed_file_counts_without_a_reload(stage: Stage, folder: Path) -> None:
    file = folder / "users"
    before = file.read_text()
    open_session(stage, b"/basic", basic("ada", "geheim"))
    file.write_text(before.replace("ada:", "bob:"))
    try:
        wait_until(lambda: _knows_bob(stage), "bob to be let in")
        assert refused(stage, b"/basic", basic("ada", "geheim")).status == 401
    finally:
        file.write_text(before)


def _knows_bob(stage: Stage) -> bool:
    client = stage.connect()
    client.send(b"GET /basic HTTP/1.1\r\nHost: r.test\r\nConnection: close\r\n")
    client.send(basic("bob", "geheim") + b"\r\n\r\n")
    readable, _, _ = select.select([client.sock, stage.upstream.sock], [], [], PATIENCE)
    stage.upstream.is_alone()
    return stage.upstream.sock in readable


# other people's servers and tokens


@pytest.mark.peers
def test_an_aiohttp_server_is_asked(upstream: RawUpstream, tmp_path: Path) -> None:
    program = """
from aiohttp import web
async def auth(request):
    ok = request.headers.get("Authorization") == "Bearer abc"
    return web.Response(status=200 if ok else 403, headers={"X-User": "ada"}, text="x" * 100000)
async def main(app):
    print('{"event": "listens"}', flush=True)
app = web.Application()
app.on_startup.append(main)
app.router.add_get("/auth", auth)
web.run_app(app, host="127.0.0.1", port=PORT, print=None)
"""
    port = free_port()
    with Process([sys.executable, "-c", program.replace("PORT", str(port))]) as server:
        server.wait_for_port(port)
        policy = f"http-auth url=http://127.0.0.1:{port}/auth pass=X-User cache=off"
        text = (
            f"[listener:main]\nendpoint = {LOCAL}\n[route:main]\npool = main\n"
            f"policies = {policy}\n[pool:main]\nupstreams = {upstream.url}\n"
        )
        with started_relay(text, tmp_path) as relay:
            stage = Stage(relay, upstream)
            for _ in range(3):
                head = open_session(stage, b"/", b"Authorization: Bearer abc")
                assert b"X-User: ada" in head
                assert refused(stage, b"/", b"Authorization: Bearer x").status == 403
            stage.close()
