"""Who may come in, and who may not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.admin.support import BEARER, HANDSHAKE, HOST, LOGIN, OWN, TOKEN, Reply, World, logged
from tests.relay.support import CLOSE
from wsrelay.admin.access import is_loopback_host
from wsrelay.admin.site import make_admin_site

FORM = f"token={TOKEN}".encode()
ASKING = [
    ("GET", "/"),
    ("GET", "/status.json"),
    ("GET", "/metrics"),
    ("GET", "/live"),
    ("GET", "/api/pools"),
    ("GET", "/api/sessions"),
    ("DELETE", "/api/sessions/88be0c"),
    ("POST", "/api/drain"),
    ("GET", "/nowhere"),
    ("OPTIONS", "/api/pools"),
]
PROBES = [("GET", "/healthz"), ("GET", "/readyz")]


@pytest.fixture(params=[None, TOKEN], ids=["open", "token"])
def world(request: pytest.FixtureRequest) -> World:
    return World(request.param)


def log_in(world: World, **options: bool) -> tuple[Reply, dict[str, str]]:
    """Log in; return the answer, and the headers that a browser then sends with orders."""
    scheme = "https" if options.get("secure") else "http"
    origin = f"{scheme}://{HOST}"
    reply = world.ask("POST", "/login", {**LOGIN, "Origin": origin}, FORM, **options)
    assert reply.status == 303
    return reply, {"Cookie": reply.headers["Set-Cookie"].partition(";")[0], "Origin": origin}


# strangers


@pytest.mark.parametrize(("method", "path"), ASKING)
def test_with_a_token_nothing_is_answered_without_it(method: str, path: str) -> None:
    world = World(TOKEN)
    reply = world.ask(method, path)
    assert reply.status == 401
    assert reply.headers["WWW-Authenticate"] == "Bearer"
    assert "token" in reply.error
    assert world.control.orders == []


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN}0",
        f"Basic {TOKEN}",
        TOKEN,
        f"Bearer {TOKEN.upper()}",
        "Bearer ü",
    ],
)
def test_a_wrong_token_is_refused_slowly(authorization: str) -> None:
    world = World(TOKEN)
    client = world.connect()
    head = f"GET /status.json HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: {authorization}\r\n\r\n"
    client.send(head.encode())
    world.advance(0.9, client)
    assert client.take() == b""
    world.advance(0.2, client)
    assert client.reply().status == 401


def test_whoever_leaves_before_the_slow_answer_leaves_nothing_behind() -> None:
    world = World(TOKEN)
    client = world.connect()
    client.send(f"GET / HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer no\r\n\r\n".encode())
    assert client.take() == b""
    client.transport.peer_resets()
    client.settle()
    world.assert_at_rest()


def test_the_right_token_is_let_in_at_once_while_others_guess() -> None:
    world = World(TOKEN)
    guessing = [world.connect() for _ in range(20)]
    for client in guessing:
        client.send(f"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {client}\r\n\r\n".encode())
    client = world.connect()
    client.send(
        f"GET /healthz HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()
    )
    assert client.reply().status == 200


def test_wrong_tokens_are_logged_but_not_all_of_them() -> None:
    world = World(TOKEN)
    with logged() as events:
        for _ in range(5):
            world.ask("GET", "/", {"Authorization": "Bearer no"})
        world.advance(10.0)
        world.ask("GET", "/", {"Authorization": "Bearer no"})
    counts = [event["count"] for event in events if "wrong token" in event["log_format"]]
    assert counts == [1, 5]


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_token_opens(scheme: str) -> None:
    world = World(TOKEN)
    reply = world.ask("GET", "/status.json", {"Authorization": f"{scheme} {TOKEN}"})
    assert reply.status == 200
    assert world.ask("POST", "/api/drain", BEARER).status == 200
    assert world.control.orders == [("drain", None)]


def test_the_token_is_not_asked_for_where_there_is_none() -> None:
    world = World()
    assert world.ask("GET", "/status.json").status == 200
    assert world.ask("GET", "/status.json", BEARER).status == 200


@pytest.mark.parametrize(("method", "path"), PROBES)
def test_probes_are_answered_to_anybody(world: World, method: str, path: str) -> None:
    everything = {
        "Host": "10.1.2.3:8404",
        "Origin": "https://evil.example",
        "Sec-Fetch-Site": "cross-site",
        "Authorization": "Bearer no",
    }
    assert world.ask(method, path, everything).status == 200
    assert world.ask(method, path, {"Host": ""}).status == 200


def test_without_a_token_the_endpoint_has_to_be_local() -> None:
    world = World()
    with pytest.raises(ValueError, match="needs a token"):
        make_admin_site(world.control, None, False, world.reactor)
    make_admin_site(world.control, TOKEN, False, world.reactor)


# pages of other origins


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        f"https://{HOST}",
        "http://127.0.0.1",
        "http://127.0.0.1:8405",
        "http://localhost:8404",
        f"{OWN}.evil.example",
        f"{OWN}, {OWN}",
        f"{OWN}/",
    ],
)
@pytest.mark.parametrize(("method", "path"), ASKING)
def test_no_page_of_another_origin_is_answered(
    world: World, origin: str, method: str, path: str
) -> None:
    for headers in (BEARER, {}):
        reply = world.ask(method, path, {**headers, "Origin": origin})
        assert reply.status == 403
        assert "another origin" in reply.error
    assert world.control.orders == []


@pytest.mark.parametrize("site", ["cross-site", "same-site", "Cross-Site", "something-new"])
@pytest.mark.parametrize(("method", "path"), ASKING)
def test_nothing_that_the_browser_calls_cross_site_is_answered(
    world: World, site: str, method: str, path: str
) -> None:
    reply = world.ask(method, path, {**BEARER, "Sec-Fetch-Site": site})
    assert reply.status == 403
    assert "another site" in reply.error
    assert world.control.orders == []


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_our_own_page_is_answered(world: World, site: str) -> None:
    headers = {**BEARER, "Origin": OWN, "Sec-Fetch-Site": site}
    assert world.ask("GET", "/status.json", headers).status == 200
    assert world.ask("POST", "/api/drain", headers).status == 200
    upper = {**BEARER, "Host": "LOCALHOST:8404", "Origin": "http://localhost:8404"}
    assert world.ask("GET", "/status.json", upper).status == 200


def test_an_origin_of_https_is_ours_over_tls_only(world: World) -> None:
    headers = {**BEARER, "Origin": f"https://{HOST}"}
    assert world.ask("GET", "/status.json", headers, secure=True).status == 200
    assert world.ask("GET", "/status.json", {**BEARER, "Origin": OWN}, secure=True).status == 403


VISIT = {
    **BEARER,
    "Sec-Fetch-Site": "cross-site",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Dest": "document",
}


def test_a_link_from_elsewhere_leads_to_the_page_but_to_nothing_else(world: World) -> None:
    reply = world.ask("GET", "/", VISIT)
    assert reply.status == 200
    assert reply.headers["Content-Type"].startswith("text/html")
    assert world.ask("GET", "/status.json", VISIT).status == 403
    assert world.ask("POST", "/", VISIT).status == 403
    assert world.ask("GET", "/", {**VISIT, "Sec-Fetch-Dest": "iframe"}).status == 403
    assert world.ask("GET", "/", {**VISIT, "Sec-Fetch-Mode": "no-cors"}).status == 403


@pytest.mark.parametrize("path", ["/", "/status.json", "/healthz", "/api/nowhere"])
def test_every_answer_keeps_other_origins_away(world: World, path: str) -> None:
    headers = world.ask("GET", path, BEARER).headers
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert not [name for name in headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LocalHost:1",
        "127.0.0.1",
        "127.1.2.3:65535",
        "127.255.255.255",
        "[::1]",
        "[::1]:8404",
    ],
)
def test_without_a_token_a_loopback_name_is_answered(host: str) -> None:
    assert is_loopback_host(host)
    assert World().ask("GET", "/status.json", {"Host": host}).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8404",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "localhost:8404, evil.example",
        "127.0.0.256",
        "127.0.0",
        "127.0.0.1:",
        "::1",
        "[::1",
        "[::2]",
        "10.0.0.1",
        "0.0.0.0",
        "localhost:8404\u2028",
    ],
)
def test_without_a_token_no_other_name_is_answered(host: str) -> None:
    """A page may have made its own name point here."""
    world = World()
    assert not is_loopback_host(host)
    for method, path in ASKING:
        reply = world.ask(method, path, {"Host": host})
        assert reply.status == 403
        assert "loopback" in reply.error
    assert world.ask("GET", "/status.json", {"Host": host}, unix=True).status == 200
    assert World(TOKEN).ask("GET", "/status.json", {**BEARER, "Host": host}).status == 200


@given(st.text())
def test_only_what_begins_like_loopback_is_loopback(text: str) -> None:
    assert not is_loopback_host(f"x{text}")
    assert not is_loopback_host(f"localhost{text}x")


def test_on_a_unix_socket_a_foreign_page_is_still_foreign() -> None:
    reply = World().ask("GET", "/status.json", {"Origin": "https://evil.example"}, unix=True)
    assert reply.status == 403


# logging in


def test_a_browser_gets_a_form_that_tells_nothing_of_the_relay() -> None:
    world = World(TOKEN)
    reply = world.ask("GET", "/", {"Accept": "text/html,*/*;q=0.8"})
    assert reply.status == 401
    assert reply.headers["WWW-Authenticate"] == "Bearer"
    assert reply.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = reply.headers["Content-Security-Policy"]
    assert "script-src 'none'" in policy
    assert "form-action 'self'" in policy
    assert b'type="password"' in reply.body
    assert b"not the token" not in reply.body
    assert b"wsrelay" not in reply.body.lower()
    assert world.ask("GET", "/status.json", {"Accept": "text/html"}).error


def test_logging_in_gives_a_cookie_that_opens_and_is_not_the_token() -> None:
    world = World(TOKEN)
    reply, headers = log_in(world)
    assert reply.headers["Location"] == "/"
    name, value = headers["Cookie"].split("=")
    attributes = reply.headers["Set-Cookie"].split("; ")[1:]
    assert attributes == ["Path=/", "HttpOnly", "SameSite=Strict", "Max-Age=43200"]
    assert TOKEN not in reply.headers["Set-Cookie"]
    assert len(value) >= 32
    assert world.ask("GET", "/status.json", headers).status == 200
    assert world.ask("GET", "/", {"Cookie": f"other=1; {name}={value}"}).status == 200
    assert world.ask("POST", "/api/drain", headers).status == 200


def test_over_tls_the_cookie_is_for_tls_only() -> None:
    reply, _ = log_in(World(TOKEN), secure=True)
    assert reply.headers["Set-Cookie"].endswith("; Secure")


def test_each_login_has_a_value_of_its_own_and_each_process_a_name() -> None:
    world = World(TOKEN)
    first, second = (log_in(world)[1]["Cookie"].split("=") for _ in range(2))
    other = log_in(World(TOKEN))[1]["Cookie"].split("=")
    assert first[0] == second[0] != other[0]
    assert first[1] != second[1]


def test_a_login_of_another_process_is_worth_nothing() -> None:
    _, headers = log_in(World(TOKEN))
    assert World(TOKEN).ask("GET", "/status.json", headers).status == 401


def test_a_login_ends_after_twelve_hours() -> None:
    world = World(TOKEN)
    _, headers = log_in(world)
    world.advance(12 * 3600 - 1)
    assert world.ask("GET", "/status.json", headers).status == 200
    world.advance(1)
    assert world.ask("GET", "/status.json", headers).status == 401


def test_only_so_many_logins_are_kept_and_the_oldest_ends() -> None:
    world = World(TOKEN)
    logins = [log_in(world)[1] for _ in range(101)]
    assert world.ask("GET", "/status.json", logins[0]).status == 401
    assert world.ask("GET", "/status.json", logins[1]).status == 200
    assert world.ask("GET", "/status.json", logins[-1]).status == 200


def test_logging_out_ends_the_login() -> None:
    world = World(TOKEN)
    _, headers = log_in(world)
    _, other = log_in(world)
    reply = world.ask("POST", "/logout", headers)
    assert (reply.status, reply.headers["Location"]) == (303, "/")
    assert "Max-Age=0" in reply.headers["Set-Cookie"]
    assert world.ask("GET", "/status.json", headers).status == 401
    assert world.ask("GET", "/status.json", other).status == 200
    assert world.ask("POST", "/logout", {"Origin": OWN}).status == 303


@pytest.mark.parametrize("body", [b"token=wrong", b"token=", b"", b"token=%C3%BC"])
def test_a_wrong_token_in_the_form_is_answered_slowly_with_the_form(body: bytes) -> None:
    world = World(TOKEN)
    client = world.connect()
    head = (
        f"POST /login HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {len(body)}\r\n"
        "Accept: text/html\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\n"
    )
    client.send(head.encode() + body)
    world.advance(0.9, client)
    assert client.take() == b""
    world.advance(0.2, client)
    reply = client.reply()
    assert reply.status == 401
    assert b"That is not the token." in reply.body
    assert "Set-Cookie" not in reply.headers


def test_no_other_page_logs_in_or_out() -> None:
    world = World(TOKEN)
    foreign = {**LOGIN, "Origin": "https://evil.example"}
    assert world.ask("POST", "/login", foreign, FORM).status == 403
    _, headers = log_in(world)
    for changed in ({"Origin": "http://127.0.0.1:1"}, {"Sec-Fetch-Site": "same-site"}):
        assert world.ask("POST", "/logout", {**headers, **changed}).status == 403
    assert world.ask("GET", "/status.json", headers).status == 200


def test_logging_in_takes_the_form_and_nothing_else() -> None:
    world = World(TOKEN)
    assert world.ask("GET", "/login").status == 405
    assert world.order("POST", "/login", {"token": TOKEN}).status == 415
    assert world.ask("POST", "/login", LOGIN, FORM + b"&" + FORM).status == 400
    assert world.ask("POST", "/login", LOGIN, FORM + b"&more=1").status == 400
    assert World().ask("POST", "/login", LOGIN, FORM).status == 404


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/api/drain"), ("DELETE", "/api/sessions/1"), ("GET", "/live")]
)
def test_a_login_orders_nothing_without_an_origin(method: str, path: str) -> None:
    world = World(TOKEN)
    _, headers = log_in(world)
    del headers["Origin"]
    reply = world.ask(method, path, {**HANDSHAKE, **headers})
    assert (reply.status, world.control.orders) == (403, [])
    assert "Origin" in reply.error
    assert world.ask("GET", "/status.json", headers).status == 200


# websockets


def test_a_websocket_of_another_origin_is_not_opened(world: World) -> None:
    """CORS does not cover websockets."""
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "same-site"},
    ):
        reply = world.ask("GET", "/live", {**HANDSHAKE, **BEARER, **headers})
        assert reply.status == 403
    assert World().ask("GET", "/live", {**HANDSHAKE, "Host": "evil.example"}).status == 403


def test_a_websocket_of_our_own_page_is_opened(world: World) -> None:
    world.watch({**BEARER, "Origin": OWN})


def test_a_login_opens_a_websocket_that_ends_with_it() -> None:
    world = World(TOKEN)
    _, headers = log_in(world)
    client = world.watch(headers)
    world.advance(1.0, client)
    assert len(client.messages()) == 2
    world.ask("POST", "/logout", headers)
    world.advance(1.0, client)
    (frame,) = client.frames()
    assert (frame.opcode, frame.payload[:2]) == (CLOSE, (1008).to_bytes(2, "big"))
