"""Who is let in by the admin endpoint of a real relay, and how a reload changes that."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support import PATIENCE, PROJECT, RelayProcess, started_relay
from tests.system.actor import Actor, echoes, join
from tests.system.admin import ADMIN, Admin, Reply
from tests.system.support import LOCAL, RawUpstream, Stage, Wire, handshake, wait_until

SECRET = "correct-horse-battery-staple"
OTHER = "another-horse-another-staple"
OPEN = {("GET", "/healthz"), ("GET", "/readyz")}
DOCUMENTED = re.compile(r"^``(GET|POST|PATCH|PUT|DELETE) (/\S*)``$", re.MULTILINE)
BIN = Path(sys.executable).parent

Orders = list[tuple[str, str]]


def documented() -> Orders:
    """Return the methods and paths of docs/api.rst, with names that there are."""
    text = (PROJECT / "docs" / "api.rst").read_text("utf-8")
    names = {"POOL": "main", "NAME": "a", "ID": "0123456789abcdef"}
    found = []
    for method, path in DOCUMENTED.findall(text):
        for word, name in names.items():
            path = path.replace(word, name)
        found.append((method, path))
    return found


@pytest.fixture(scope="module")
def actor() -> Iterator[Actor]:
    found = Actor()
    yield found
    found.close()


def text_with(admin: str, actor: Actor, *more: str) -> str:
    upstreams = "\n".join([f"    {actor.url} name=a", *(f"    {line}" for line in more)])
    return (
        f"[listener:main]\nendpoint = {LOCAL}\n[route:main]\npool = main\n"
        f"[pool:main]\nupstreams =\n{upstreams}\n{admin}"
    )


@pytest.fixture(scope="module")
def relay(actor: Actor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RelayProcess]:
    """Give a relay whose endpoint others could reach."""
    folder = tmp_path_factory.mktemp("relay")
    (folder / "token").write_text(f"{SECRET}\n")
    admin = "[admin]\nlisten = tcp:0:interface=0.0.0.0\ntoken_file = token\n"
    with started_relay(text_with(admin, actor), folder) as running:
        yield running


@pytest.fixture
def admin(relay: RelayProcess) -> Admin:
    return Admin.of(relay, SECRET)


@pytest.fixture
def stranger(relay: RelayProcess) -> Admin:
    return Admin.of(relay)


# ---- with a token


def test_the_documentation_names_all_paths() -> None:
    paths = {path for _, path in documented()}
    assert {"/", "/live", "/status.json", "/metrics", "/api/sessions", "/api/reload"} <= paths
    assert len(documented()) > 15


@pytest.mark.parametrize(("method", "path"), documented())
def test_without_the_token_only_the_probes_answer(
    admin: Admin, stranger: Admin, method: str, path: str
) -> None:
    before = admin.get("/api/pools")
    reply = stranger.ask(method, path)
    if (method, path) in OPEN:
        assert (reply.status, len(reply.body) < 20) == (200, True)
    elif path == "/logout":  # a login that there is not ends for anybody
        assert (reply.status, reply.headers["Location"]) == (303, "/")
    else:
        assert reply.status == 401
        assert reply.headers["WWW-Authenticate"] == "Bearer"
        assert b"main" not in reply.body
    assert facts(admin.get("/api/pools")) == facts(before)


def facts(pools: list[dict[str, object]]) -> list[object]:
    """Return what orders would change."""
    found: list[object] = []
    for pool in pools:
        for each in pool["upstreams"]:  # type: ignore[attr-defined]
            found.append((each["name"], each["state"], each["weight"], each["source"]))
    return found


def test_a_path_that_there_is_not_tells_a_stranger_nothing(stranger: Admin) -> None:
    for path in ("/nothing", "/api", "/api/pools/nope/drain", "/static/../status.json", "//"):
        assert stranger.ask("GET", path).status == 401


def test_a_browser_without_the_token_sees_a_form_and_nothing_else(stranger: Admin) -> None:
    reply = stranger.ask("GET", "/", headers={"Accept": "text/html"})
    assert reply.status == 401
    assert b"<form" in reply.body
    assert b"main" not in re.sub(rb"</?main[^>]*>", b"", reply.body)


def test_a_dashboard_without_the_token_is_not_let_in(stranger: Admin) -> None:
    assert isinstance(stranger.where, int)
    wire = Wire(socket.create_connection(("127.0.0.1", stranger.where)))
    wire.send(handshake(b"/live"))
    assert wire.read_head().startswith(b"HTTP/1.1 401 ")
    wire.close()


def test_a_wrong_token_is_none(stranger: Admin) -> None:
    def ask(header: str) -> int:
        return stranger.ask("GET", "/status.json", headers={"Authorization": header}).status

    headers = [f"Bearer {SECRET}x", f"Bearer {SECRET[:-1]}", "Bearer", f"Basic {SECRET}", SECRET]
    with ThreadPoolExecutor(len(headers)) as threads:  # each answer is late on purpose
        assert list(threads.map(ask, headers)) == [401] * len(headers)


def test_with_the_token_the_host_may_be_any_name_but_the_origin_not(admin: Admin) -> None:
    assert admin.ask("GET", "/status.json", headers={"Host": "relay.example"}).status == 200
    for origin in ("https://evil.example", "null", f"http://127.0.0.1:{1}"):
        reply = admin.ask("POST", "/api/drain", headers={"Origin": origin})
        assert (reply.status, reply.headers["Access-Control-Allow-Origin"]) == (403, None)
    assert admin.status()["drain"] is None


@pytest.mark.parametrize("listen", ["tcp:0", "tcp:0:interface=0.0.0.0", "tcp6:0:interface=\\:\\:"])
def test_an_endpoint_that_others_can_reach_is_refused_without_a_token(
    actor: Actor, tmp_path: Path, listen: str
) -> None:
    file = tmp_path / "relay.ini"
    text = text_with(f"[admin]\nlisten = {listen}\n", actor)
    file.write_text(text)
    number = text.splitlines().index(f"listen = {listen}") + 1
    words = f"relay.ini:{number}: [admin] listen: "
    check = run(BIN / "wsrelay", "check", file)
    assert (check.returncode, check.stderr) == (1, "")
    assert words in check.stdout
    assert "token" in check.stdout


def test_a_relay_with_such_an_endpoint_does_not_start(actor: Actor, tmp_path: Path) -> None:
    (tmp_path / "relay.ini").write_text(text_with("[admin]\nlisten = tcp:0\n", actor))
    words = [BIN / "twistd", "-n", "--pidfile=", "wsrelay", "--config", "relay.ini"]
    start = run(*words, cwd=tmp_path)
    assert start.returncode == 1
    assert "[admin] listen: " in start.stderr
    assert "Traceback" not in start.stdout + start.stderr


def run(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


# ---- on loopback, without one


@pytest.fixture(scope="module")
def local(actor: Actor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Admin]:
    folder = tmp_path_factory.mktemp("local")
    with started_relay(text_with(ADMIN, actor), folder) as running:
        yield Admin.of(running)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost"}, 200),
        ({"Host": "[::1]:8404"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "evil.example:8404"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": "localhost.evil.example"}, 403),
        ({"Host": ""}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "localhost", "Origin": "http://localhost"}, 200),
        ({"Host": "localhost:1", "Origin": "http://localhost:2"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
    ],
)
def test_a_page_from_elsewhere_can_neither_read_nor_order(
    local: Admin, headers: dict[str, str], status: int
) -> None:
    def ask(method: str, path: str) -> Reply:
        return local.ask(method, path, headers=headers)

    for method, path in (("GET", "/status.json"), ("GET", "/metrics"), ("POST", "/api/reload")):
        reply = ask(method, path)
        assert reply.status == status, path
        assert reply.headers["Access-Control-Allow-Origin"] is None
    assert ask("GET", "/healthz").status == 200


# ---- reloads


def order_reload(admin: Admin) -> list[str]:
    """Reload over the endpoint itself, which must answer whatever becomes of it."""
    changes: list[str] = admin.order("POST", "/api/reload")["changes"]
    return changes


def test_a_reload_changes_the_token_and_who_ordered_it_is_told(
    relay: RelayProcess, admin: Admin
) -> None:
    token = relay.file.with_name("token")
    old, new = admin, Admin(admin.where, OTHER)
    token.write_text(OTHER)
    try:
        assert old.ask("GET", "/status.json").status == 200  # not before it is read
        assert order_reload(old) == ["admin token changed"]
        assert old.ask("GET", "/status.json").status == 401
        assert new.ask("GET", "/status.json").status == 200
        token.write_text("short")
        refused = new.ask("POST", "/api/reload")
        assert refused.status == 422
        assert "token" in refused.json["errors"][0]
        assert new.ask("GET", "/status.json").status == 200
    finally:
        token.write_text(SECRET)
        assert "admin token changed" in relay.hang_up()
    assert old.ask("GET", "/status.json").status == 200
    assert new.ask("GET", "/status.json").status == 401


def test_reloads_open_move_and_close_the_endpoint(
    actor: Actor, upstream: RawUpstream, tmp_path: Path
) -> None:
    socket_path = tmp_path / "admin.sock"
    with started_relay(text_with("", actor), tmp_path) as relay:
        stage = Stage(relay, upstream)
        client = join(stage, "/")
        relay.reload(text_with(ADMIN, actor), "reload: admin endpoint opened on tcp:")
        first = Admin.of(relay)
        assert first.status()["sessions"] == 1
        assert first.sessions()[0]["messages_up"] == 0
        # Moved, by who is told so on the connection that ends with it.
        relay.write(text_with(f"[admin]\nlisten = unix:{socket_path}\n", actor, "ws://[::1]:1"))
        changes = order_reload(first)
        assert changes[0] == f"admin endpoint opened on unix:{socket_path}"
        assert changes[1:] == ["pool main: upstream [::1]:1 added"]
        assert refuses(first)
        second = Admin(socket_path)
        assert [each["name"] for each in second.pool("main")["upstreams"]] == ["a", "[::1]:1"]
        assert second.status()["last_reload"]["changes"] == changes
        # To a port that is taken: refused, and all is as it was.
        relay.write(text_with(f"[admin]\nlisten = tcp:{actor.port}:interface=127.0.0.1\n", actor))
        refused = second.ask("POST", "/api/reload")
        assert refused.status == 422
        assert "in use" in refused.json["errors"][0]
        assert len(second.upstreams("main")) == 2
        # Back, to an address of the same port, and closed.
        relay.reload(text_with(ADMIN, actor), "reload: admin endpoint opened on tcp:")
        third = Admin.of(relay)
        assert third.ask("GET", "/readyz").status == 200
        relay.write(text_with("", actor))
        assert order_reload(third) == ["admin endpoint closed"]
        assert refuses(third)
        assert not socket_path.exists()
        echoes(client)
        stage.close()


def test_the_endpoint_may_move_to_another_address_of_its_port(actor: Actor, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(SECRET)
    with started_relay(text_with(ADMIN, actor), tmp_path) as relay:
        admin = Admin.of(relay)
        assert admin.ask("GET", "/status.json").status == 200
        everywhere = "[admin]\nlisten = tcp:0:interface=0.0.0.0\ntoken_file = token\n"
        relay.write(text_with(everywhere, actor))
        assert "admin endpoint opened" in order_reload(admin)[0]
        assert admin.ask("GET", "/status.json").status == 401
        assert Admin.of(relay, SECRET).status()["sessions"] == 0


def refuses(admin: Admin) -> bool:
    try:
        admin.ask("GET", "/healthz")
    except ConnectionRefusedError:
        return True
    return False


def test_what_was_changed_at_runtime_outlives_a_reload(actor: Actor, tmp_path: Path) -> None:
    text = text_with(ADMIN, actor)
    with started_relay(text, tmp_path) as relay:
        admin = Admin.of(relay)
        line = f"{actor.url} name=b"
        admin.order("POST", "/api/pools/main/upstreams", {"upstream": line}, status=201)
        admin.order("PATCH", "/api/pools/main/upstreams/a", {"weight": 5, "state": "drain"})
        assert order_reload(admin) == []
        found = admin.upstreams("main")
        assert (found["a"]["weight"], found["a"]["state"]) == (5, "drain")
        assert found["b"]["source"] == "api"
        wait_until(lambda: admin.status()["last_reload"]["ok"], "the reload to be noted")
