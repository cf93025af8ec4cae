"""relay.ini -> a whole configuration, or every error with its line."""

from ipaddress import ip_network
from pathlib import Path

import pytest

from wsrelay.config import Checks
from wsrelay.config.model import (
    AdminConfig,
    HealthCheckConfig,
    ListenerConfig,
    LogConfig,
    PathRule,
    PluginCall,
    PoolConfig,
    Rate,
    RelayConfig,
    RouteConfig,
    StickyConfig,
    UpstreamConfig,
)

from .samples import FOLDER, SMALL, WHOLE, errors_of, parsed, with_option


def test_two_lines_are_a_whole_configuration() -> None:
    assert parsed(SMALL) == RelayConfig(
        listeners=(ListenerConfig("default", "tcp:8080"),),
        routes=(RouteConfig("default", "default"),),
        pools=(PoolConfig("default", (UpstreamConfig("127.0.0.1:3000", "ws://127.0.0.1:3000"),)),),
    )


def test_the_short_form_takes_lists() -> None:
    config = parsed("""\
        [relay]
        listen = tcp:1
            tcp:2
            tcp:3
        upstream =
            ws://a:1 weight=2
            ws://b:1
        """)
    assert [(each.name, each.endpoint) for each in config.listeners] == [
        ("default", "tcp:1"),
        ("default-2", "tcp:2"),
        ("default-3", "tcp:3"),
    ]
    assert config.pools[0].upstreams == (
        UpstreamConfig("a:1", "ws://a:1", weight=2),
        UpstreamConfig("b:1", "ws://b:1"),
    )


def test_every_option_that_works_arrives() -> None:
    config = parsed("""\
        [relay]
        drain_timeout = 0s
        drain_close_code = 1001
        data_path = python
        [log]
        access = logs/access.log
        format = json
        level = debug
        redact_query = no
        [listener:web]
        endpoint = tcp:8443
        certificate = tls/web.pem
        key = /keys/web.pem
        min_tls = 1.3
        trusted_proxies = 10.0.0.0/8
            ::1
            unix:
        handshake_timeout = 3s
        max_header_size = 8KiB
        backlog = 5
        [listener:other]
        endpoint = unix:/run/r.sock
        [route:chat]
        listener = web
            other
        host = *.Example.com
        path = = /chat
        pool = chat
        strip_prefix = yes
        set_header = X-A: b
            X-B c
        remove_header =
            Cookie
        host_header = upstream
        keepalive = off
        keepalive_timeout = 1s
        ping = answer
        idle_timeout = 1m
        idle_close_code = 4000
        connect_timeout = 1s
        upstream_handshake_timeout = 2s
        close_timeout = 3s
        retries = 0
        whole_frames = off
        max_frame_size = 1MiB
        max_message_size = 2MiB
        max_message_size_down = off
        drain_close_code = 1013
        [pool:chat]
        upstreams = unix:run/a.sock
            unix:/run/b.sock name=b
        balancer = hash key=ip
        max_fails = 0
        fail_timeout = 1m
        tls_verify = no
        tls_ca = ca.pem
        tls_name = chat.internal
        tls_certificate = client.pem
        """)
    assert config == RelayConfig(
        drain_timeout=0.0,
        data_path="python",
        log=LogConfig(FOLDER / "logs/access.log", "json", "debug", None, False),
        listeners=(
            ListenerConfig(
                "web",
                "tcp:8443",
                certificate=FOLDER / "tls/web.pem",
                key=Path("/keys/web.pem"),
                min_tls="1.3",
                trusted_proxies=(ip_network("10.0.0.0/8"), ip_network("::1"), "unix:"),
                handshake_timeout=3.0,
                max_header_size=8192,
                backlog=5,
            ),
            ListenerConfig("other", "unix:/run/r.sock"),
        ),
        routes=(
            RouteConfig(
                "chat",
                "chat",
                listeners=("web", "other"),
                host="*.example.com",
                path=PathRule("exact", "/chat"),
                strip_prefix=True,
                set_header=(("X-A", "b"), ("X-B", "c")),
                remove_header=("Cookie",),
                host_header="upstream",
                keepalive=None,
                keepalive_timeout=1.0,
                ping="answer",
                idle_timeout=60.0,
                idle_close_code=4000,
                connect_timeout=1.0,
                upstream_handshake_timeout=2.0,
                close_timeout=3.0,
                retries=0,
                whole_frames=0,
                max_frame_size=1024**2,
                max_message_size_up=2 * 1024**2,
                max_message_size_down=None,
                drain_close_code=1013,
            ),
        ),
        pools=(
            PoolConfig(
                "chat",
                (
                    UpstreamConfig("/etc/wsrelay/run/a.sock", "unix:/etc/wsrelay/run/a.sock"),
                    UpstreamConfig("b", "unix:/run/b.sock"),
                ),
                balancer=PluginCall("hash", {"key": "ip"}),
                max_fails=0,
                fail_timeout=60.0,
                tls_verify=False,
                tls_ca=FOLDER / "ca.pem",
                tls_name="chat.internal",
                tls_certificate=FOLDER / "client.pem",
                tls_key=FOLDER / "client.pem",
            ),
        ),
    )


def test_the_drain_close_code_of_relay_is_every_routes_default() -> None:
    text = with_option("relay", "drain_close_code = 1001")
    assert parsed(text).routes[0].drain_close_code == 1001


def test_a_host_header_may_be_a_name() -> None:
    config = parsed(with_option("route:chat", "host_header = chat.internal:80"))
    assert config.routes[0].host_header == "chat.internal:80"


def test_a_certificate_file_may_hold_its_key() -> None:
    (listener,) = parsed(with_option("listener:web", "certificate = all.pem")).listeners
    assert listener.key == listener.certificate == FOLDER / "all.pem"


def test_two_upstreams_on_one_url_need_two_names() -> None:
    good = "upstreams = ws://a:1 name=x\n ws://a:1 name=y\n"
    text = WHOLE.replace("upstreams = ws://127.0.0.1:3000\n", good)
    assert [each.name for each in parsed(text).pools[0].upstreams] == ["x", "y"]


def test_an_unused_pool_is_no_error() -> None:
    config = parsed(f"{WHOLE}[pool:spare]\nupstreams = ws://127.0.0.1:3001\n")
    assert [pool.name for pool in config.pools] == ["chat", "spare"]


def test_a_byte_order_mark_is_skipped() -> None:
    assert parsed("\ufeff" + SMALL) == parsed(SMALL)


def test_routes_may_share_a_path_on_different_listeners_or_hosts() -> None:
    config = parsed("""\
        [listener:a]
        endpoint = tcp:1
        [listener:b]
        endpoint = tcp:2
        [route:a]
        listener = a
        pool = p
        [route:b]
        listener = b
        pool = p
        [route:c]
        host = example.com
        pool = p
        [pool:p]
        upstreams = ws://a:1
        """)
    assert len(config.routes) == 3


def test_variables_come_from_the_environment() -> None:
    text = "[relay]\nlisten = tcp:${PORT}\nupstream = ${SCHEME}://${HOST}:1\n"
    config = parsed(text, {"PORT": "8080", "SCHEME": "ws", "HOST": "chat"})
    assert config.listeners[0].endpoint == "tcp:8080"
    assert config.pools[0].upstreams[0].url == "ws://chat:1"


def test_a_percent_sign_and_a_dollar_are_nothing_special() -> None:
    text = WHOLE.replace(":3000", ":3000/%20%(x)s").replace(
        "pool = chat", "path = /$a\npool = chat"
    )
    config = parsed(text)
    assert config.pools[0].upstreams[0].base_path == "/%20%(x)s"
    assert config.routes[0].path == PathRule("prefix", "/$a")


def test_a_default_that_comes_from_the_environment_is_a_default() -> None:
    text = with_option("listener:web", "trusted_proxies = ${NETS}")
    assert parsed(text, {"NETS": "none"}) == parsed(WHOLE)


TLS = "certificate = /a.pem\n"
ROUTE = "[route:two]\npool = chat\n"
LISTENER = "[listener:two]\nendpoint = tcp:8080\n"
EMPTY_POOL = "[pool:two]\n"

ONE_ERROR = [
    # what stands in the file
    (f"{SMALL}nonsense\n", 4, "[relay] 'nonsense' is no option"),
    (f"listen = tcp:1\n{SMALL}", 1, "every option stands in a section"),
    (f"{SMALL}upstream = ws://b:1\n", 4, "[relay] upstream: is set on line 3 already"),
    (f"{SMALL}[relay]\n", 4, "[relay] this section is on line 1 already"),
    (f"{SMALL}[pol:x]\n", 4, "[pol:x] unknown section 'pol'; did you mean 'pool'?"),
    (f"{SMALL}[DEFAULT]\n", 4, "[DEFAULT] unknown section 'DEFAULT'; known: admin, cluster, list"),
    (f"{SMALL}[log:x]\n", 4, "[log:x] this section has no name; expected [log]"),
    (f"{SMALL}[pool]\nupstreams = ws://b:1\n", 4, "[pool] this section needs a name of letters"),
    (f"{SMALL}[pool:a/b]\nupstreams = ws://b:1\n", 4, "[pool:a/b] this section needs a name of"),
    (f"{SMALL}[listener:all]\nendpoint = tcp:1\n", 4, "[listener:all] a route's listener = all"),
    (f"{SMALL}[log]\nformt = json\n", 5, "[log] formt: unknown option 'formt'; did you mean 'form"),
    (f"{SMALL}keepalive = 3s\n", 4, "unknown option here; it belongs to [route:NAME]"),
    (f"{SMALL}backlog = \n", 4, "[relay] backlog: unknown option here"),
    (with_option("listener:web", "listen = 80"), 2, "it is called endpoint in [listener:NAME]"),
    (f"{SMALL}[admin]\nendpoint = tcp:1\n", 5, "it is called listen in [admin]"),
    (f"{SMALL}endpoint = tcp:1\n", 4, "it is called listen in [relay]"),
    (
        with_option("route:chat", "nginx.ingress.kubernetes.io/limit-rps = 10"),
        4,
        "; say handshakes_per_ip = 10/s in [route:NAME]",
    ),
    (f"{SMALL}workers =\n", 4, "[relay] workers: has no value"),
    (f"{SMALL}workers = 1\n\n   2\n", 6, "[relay] workers: takes one value"),
    (f"{SMALL}workers = many\n", 4, "expected a whole number, 1 to 64, or auto"),
    (f"{SMALL}workers = 1 ; one\n", 4, "or auto (a comment needs a line of its own)"),
    (f"{SMALL}drain_timeout = ${{GONE}}\n", 4, "the environment has no variable GONE"),
    (f"{SMALL}drain_timeout = ${{EMPTY}}\n", 4, "'${EMPTY}' is empty in this environment"),
    (f"{SMALL}drain_timeout = ${{\n", 4, "'${' is not a variable; expected ${NAME}"),
    (f"{SMALL}drain_timeout = ${{}}\n", 4, "'${}' is not a variable; expected ${NAME}"),
    (f"{SMALL}[log]\naccess = a\0b\n", 5, "[log] access: there is a control character in it"),
    (f"{SMALL}[log]\naccess = ${{CONTROL}}\n", 5, "[log] access: there is a control character"),
    # what has to fit within a section
    (with_option("listener:web", "key = /a.pem"), 2, "key: there is no certificate for it"),
    (with_option("listener:web", "client_ca = /a.pem"), 2, "client_ca: no client is asked for a"),
    (with_option("listener:web", "client_certificate = required"), 2, "nobody is said to sign"),
    (
        with_option("listener:web", "client_certificate = required\nclient_ca = /a.pem"),
        2,
        "client_certificate: there is no TLS here",
    ),
    (
        with_option("listener:web", "proxy_protocol = yes"),
        2,
        "nobody is trusted to send it; add trusted_proxies = NETWORK",
    ),
    (
        with_option("listener:web", "proxy_protocol = yes\ntrusted_proxies = unix:"),
        2,
        "nobody is trusted to send it; add trusted_proxies = NETWORK",
    ),
    *(
        (
            with_option(
                "listener:web", "proxy_protocol = yes\ntrusted_proxies = 10.0.0.0/8"
            ).replace("tcp:8080", endpoint),
            2,
            "nobody is trusted to send it; add trusted_proxies = unix:",
        )
        for endpoint in ("unix:/run/r.sock", "systemd:domain=UNIX:index=0")
    ),
    (
        with_option("listener:web", "trusted_proxies = unix"),
        2,
        "'unix' is not a network; expected one like 10.0.0.0/8 or 2001:db8::/32, or unix:",
    ),
    (with_option("route:chat", "static = /www"), 4, "static: pool serves this route already"),
    (with_option("route:chat", "redirect = https://a"), 4, "redirect: pool serves this route"),
    (WHOLE.replace("pool = chat", "static = /w\nhttp = no"), 5, "there is nothing but plain HTTP"),
    (WHOLE.replace("pool = chat", "redirect = https://$host"), 4, "'$host' would be sent as it"),
    (WHOLE.replace("pool = chat", "redirect = https://{uri}"), 4, "'{uri}' would be sent as it"),
    (with_option("pool:chat", "tls_key = /a.pem"), 6, "tls_key: there is no tls_certificate for"),
    (with_option("route:chat", "strip_prefix = yes\npath = ~ x"), 4, "strip_prefix: a regular exp"),
    (with_option("route:chat", "set_header = A: b\n a: c"), 5, "'a' is set on line 4 already"),
    (f"{WHOLE} ws://127.0.0.1:3000/b\n", 7, "the name '127.0.0.1:3000' is taken by line 6"),
    (f"{WHOLE} ws://127.0.0.1:3000 name=b\n", 7, "ws://127.0.0.1:3000 stands there twice"),
    (f"{WHOLE} ws://b:1 name=b\n ws://b:1\n", 8, "ws://b:1 stands there twice"),
    (f"{WHOLE} ws://b:1 name=b\n ws://c:1 name=b\n", 8, "the name 'b' is taken by line 7"),
    (f"{WHOLE} ws//b\n", 7, "[pool:chat] upstreams: 'ws//b' is not an upstream"),
    (f"{WHOLE}{EMPTY_POOL}", 7, "[pool:two] upstreams: is missing"),
    (f"{WHOLE}[listener:two]\nbacklog = 5\n", 7, "[listener:two] endpoint: is missing"),
    (f"{WHOLE}[route:two]\npath = /two\n", 7, "[route:two] pool: is missing"),
    # what has to fit between sections
    (WHOLE.replace("pool = chat", "pool = caht"), 4, "unknown pool 'caht'; did you mean 'chat'?"),
    (
        WHOLE.replace("pool = chat", "pool = x"),
        4,
        "[route:chat] pool: unknown pool 'x'; known: chat",
    ),
    (with_option("route:chat", "listener = web\n wbe"), 5, "unknown listener 'wbe'; did you mean"),
    (f"{WHOLE}{LISTENER}", 8, "[listener:two] endpoint: 'tcp:8080' is the endpoint of listener 'w"),
    (f"{WHOLE}{ROUTE}", 7, "[route:two] route 'chat' has the same listener, host and path alread"),
    (f"{WHOLE}{ROUTE}path = /\n", 9, "[route:two] path: route 'chat' has the same listener, host"),
    (f"{WHOLE}{ROUTE}listener = web\n", 7, "[route:two] route 'chat' has the same listener"),
    (f"{SMALL}[listener:default]\nendpoint = tcp:1\n", 4, "listen in [relay] makes a listener 'de"),
    (f"{SMALL}[pool:default]\nupstreams = ws://a:1\n", 4, "upstream in [relay] makes a pool 'defa"),
    (f"{SMALL}[route:default]\npool = default\n", 4, "upstream in [relay] makes a route 'default'"),
    (f"{SMALL}[listener:two]\nendpoint = tcp:8080\n", 2, "listen: 'tcp:8080' is the endpoint of l"),
    (f"{SMALL}[route:two]\npool = default\n", 3, "[relay] upstream: route 'two' has the same"),
]


@pytest.mark.parametrize(("text", "line", "expected"), ONE_ERROR)
def test_one_mistake_is_one_error_on_its_line(text: str, line: int, expected: str) -> None:
    (error,) = errors_of(text, {"EMPTY": " ", "CONTROL": "a\x1bb"})
    assert error.startswith(f"relay.ini:{line}: ")
    assert expected in error


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("[relay]\nlisten = tcp:1\n", "there is no route; add a [route:NAME]"),
        ("[relay]\nupstream = ws://a:1\n", "there is no listener; add a [listener:NAME]"),
    ],
)
def test_what_is_missing_from_the_whole_file_is_said(text: str, missing: str) -> None:
    (error,) = errors_of(text)
    assert error.startswith(f"relay.ini: {missing}")


def test_an_empty_file_lacks_both() -> None:
    assert len(errors_of("")) == 2


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (b"\xff\xfe[\x00", 1),
        (b"[relay]\n# caf\xe9\n", 2),
        (b"[relay]\r\n\r\n\xe9", 3),
        (b"\xef\xbb\xbf[relay]\r\xe9", 2),
    ],
)
def test_bytes_that_are_not_utf_8_are_found_in_their_line(text: bytes, line: int) -> None:
    (error,) = errors_of(text)
    assert error.startswith(f"relay.ini:{line}: byte 0x")
    assert "is not UTF-8" in error


def test_all_errors_come_at_once_in_the_order_of_the_file() -> None:
    errors = errors_of("""\
        [route:chat]
        pool = gone
        keepalive = 30
        [log]
        format = yaml
        [pool:chat]
        upstreams = ws://a:1 weight=x
            ws://b:1
            ws://c:1 wight=3
        [listener:web]
        """)
    assert [error.partition(" ")[0] for error in errors] == [
        "relay.ini:2:",
        "relay.ini:3:",
        "relay.ini:5:",
        "relay.ini:7:",
        "relay.ini:9:",
        "relay.ini:10:",
    ]


@pytest.mark.parametrize(
    "line",
    ["path = x", "host = a..b", "listener = gone", "path = x\nhost = a..b"],
)
def test_a_route_with_a_bad_condition_is_not_compared_with_others(line: str) -> None:
    errors = errors_of(f"{WHOLE}{ROUTE}{line}\n")
    assert not any("the same listener" in error for error in errors)


@pytest.mark.parametrize(
    ("section", "line", "count"),
    [
        ("listener:web", "endpoint = ${GONE}", 1),
        ("route:chat", "pool = two words", 1),
        ("pool:chat", "upstreams = ws//x", 1),
        ("pool:chat", "tls_certificate = a\0", 1),
    ],
)
def test_what_was_written_wrongly_is_not_also_missing(section: str, line: str, count: int) -> None:
    option = line.partition(" ")[0]
    kept = [each for each in WHOLE.split("\n") if not each.startswith(f"{option} ")]
    assert len(errors_of(with_option(section, line, "\n".join(kept)))) == count


def test_an_error_is_one_printable_line_whatever_is_in_the_file() -> None:
    (error,) = errors_of(f"{SMALL}[\x1b[2J\x85\u2028]\n")
    assert error == (
        "relay.ini:4: [\\x1b[2J\\x85\\u2028] unknown section '\\x1b[2J\\x85\\u2028';"
        " known: admin, cluster, listener, log, pool, relay, route"
    )


def test_two_listeners_without_endpoint_are_not_said_to_share_one() -> None:
    errors = errors_of(f"{SMALL}[listener:a]\n[listener:b]\n")
    assert [error.partition(";")[0] for error in errors] == [
        "relay.ini:4: [listener:a] endpoint: is missing",
        "relay.ini:5: [listener:b] endpoint: is missing",
    ]


def test_a_route_that_clashes_on_two_listeners_is_told_once() -> None:
    text = f"{WHOLE}[listener:two]\nendpoint = tcp:2\n[route:two]\npool = chat\n"
    assert len(errors_of(text)) == 1


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("proxy_pass = http://127.0.0.1:3000", "say pool = backend in [route:NAME]"),
        ("proxy_pass http://127.0.0.1:3000;", "say pool = backend in [route:NAME]"),
        ("proxy_read_timeout = 60s", "none is needed: idle sessions are pinged"),
        ("timeout tunnel 1h", "none is needed: idle sessions are pinged"),
        ("timeout queue = 30s", "say queue_timeout = 30s in [pool:NAME]"),
        ("server_name = a.example.com", "say host = chat.example.com in [route:NAME]"),
        ("client_max_body_size = 1m", "say max_body_size = 10MiB in [route:NAME]"),
        ("ip_hash;", "say balancer = hash key=ip in [pool:NAME]: of the whole address"),
        ("server 10.0.0.1:8001 weight=3;", "say upstreams = ws://10.0.0.1:8001 in [pool:NAME]"),
        ("limit_conn addr 10", "say connections_per_ip = 10 in [route:NAME]: counts websocket"),
        ("worker_processes auto;", "say workers = auto in [relay]"),
        ("errorfile 503 /etc/503.http", "there is nothing like it here: own answers are short"),
        ("timeout of no kind = 1s", "see docs/configuration.rst"),
        ("just words", "'just words' is no option; expected name = value"),
        ("ws://127.0.0.1:3000", "if this is an item of the list above, indent it"),
        ("set_header = X-Real-IP $remote_addr", "'$remote_addr' would be sent as it stands"),
        ("nonsense_of_no_kind = 1", "see docs/configuration.rst"),
    ],
)
def test_habits_from_elsewhere_are_answered(written: str, said: str) -> None:
    text = f"{SMALL}[route:more]\npath = /more\npool = default\n{written}\n"
    (error,) = errors_of(text)
    assert said in error


@pytest.mark.parametrize("upstreams", ["ws://a:1, ws://b:1", "ws://a:1,", "ws://a:1 ws://b:1"])
def test_upstreams_on_one_line_are_told_to_part(upstreams: str) -> None:
    (error,) = errors_of(f"{SMALL}[pool:more]\nupstreams = {upstreams}\n")
    assert "one" in error
    assert "line, indented" in error


def test_access_log_words_are_not_taken_for_files() -> None:
    (error,) = errors_of(f"{SMALL}[log]\naccess = on\n")
    assert "a file called so is ./on" in error


# Health, discovery, the admin endpoint


def test_a_pool_says_how_it_is_watched_and_what_becomes_of_its_sessions() -> None:
    lines = [
        "sticky = cookie ttl=1h",
        "health_check = tcp interval=1s",
        "on_down = close",
        "on_removed = keep",
        "slow_start = 30s",
        "queue_timeout = 3s",
        "queue_size = 5",
    ]
    (pool,) = parsed(with_option("pool:chat", "\n".join(lines))).pools
    assert pool.sticky == StickyConfig(ttl=3600.0)
    assert pool.health_check == HealthCheckConfig("tcp", interval=1.0)
    assert (pool.on_down, pool.on_removed, pool.slow_start) == ("close", "keep", 30.0)
    assert (pool.queue_timeout, pool.queue_size) == (3.0, 5)


def test_a_pool_may_have_nothing_but_a_discovery() -> None:
    text = WHOLE.replace("upstreams = ws://127.0.0.1:3000", "discover = dns name=a.test port=1")
    (pool,) = parsed(text).pools
    assert pool.upstreams == ()
    assert pool.discover == PluginCall("dns", {"name": "a.test", "port": "1"})


def test_the_file_of_a_discovery_is_relative_to_relay_ini() -> None:
    asked: list[PluginCall] = []
    checks = Checks(discovery=asked.append)
    text = with_option("pool:chat", "discover = file path=chat.txt")
    (pool,) = parsed(text, checks=checks).pools
    assert pool.discover == PluginCall("file", {"path": f"{FOLDER}/chat.txt"})
    assert asked == [pool.discover]


def test_what_the_discoverys_check_refuses_is_an_error_at_its_line() -> None:
    def refuse(call: PluginCall) -> None:
        raise ValueError("no such thing")

    text = with_option("pool:chat", "discover = x")
    (error,) = errors_of(text, checks=Checks(discovery=refuse))
    assert error == "relay.ini:6: [pool:chat] discover: no such thing"


def test_the_admin_endpoint_is_off_unless_it_is_asked_for() -> None:
    assert parsed(WHOLE).admin is None
    assert parsed(with_option("admin", "token_file = token")).admin is None


def test_the_admin_endpoint_is_checked_with_its_token() -> None:
    asked: list[object] = []
    checks = Checks(endpoint=asked.append, admin=asked.append)
    lines = "listen = unix:admin.sock\ntoken_file = token"
    admin = parsed(with_option("admin", lines), checks=checks).admin
    assert admin == AdminConfig(f"unix:{FOLDER}/admin.sock", FOLDER / "token")
    assert asked == ["tcp:8080", admin.listen, admin] or asked == [admin.listen, admin, "tcp:8080"]


def test_the_admin_endpoint_is_no_listeners() -> None:
    (error,) = errors_of(with_option("admin", "listen = tcp:8080"))
    assert "[admin] listen: 'tcp:8080' is the endpoint of listener 'web' already" in error


def test_the_pace_of_a_drain() -> None:
    assert parsed(with_option("relay", "drain_rate = 600/m")).drain_rate == Rate(10.0)


@pytest.mark.parametrize("length", [107, 108])
@pytest.mark.parametrize("is_relative", [True, False])
def test_the_path_of_a_socket_fits_an_address_once_it_is_absolute(
    is_relative: bool, length: int
) -> None:
    path = f"{FOLDER}/".ljust(length, "x")
    written = path.removeprefix(f"{FOLDER}/") if is_relative else path
    text = f"{WHOLE}  unix:{written} name=a\n"
    if length == 107:
        assert parsed(text).pools[0].upstreams[1].socket_path == path
        return
    (error,) = errors_of(text)
    assert error == (
        "relay.ini:7: [pool:chat] upstreams: a unix socket's path has 107 bytes at most,"
        f" and this one has 108; choose a shorter one than {path}"
    )


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("filters = log", "filters: frames are relayed unread; add mode = messages"),
        ("on_error = pass", "on_error: there are no filters that it is about; add some"),
        ("on_excess = throttle", "on_excess: there is no rate that it is about; add messages"),
        ("compression = off", "compression: peers agree on it end to end; add mode = messages"),
        ("allow = 10.0.0.0/8\ndeny = 10.0.0.0/8", "deny: 10.0.0.0/8 is in allow, too"),
    ],
)
def test_what_does_not_fit_together_in_a_route_is_refused(lines: str, said: str) -> None:
    (error,) = errors_of(with_option("route:chat", lines))
    assert said in error


def test_a_route_without_a_pool_has_no_messages() -> None:
    text = f"{SMALL}[route:more]\npath = /more\nstatic = /var/www\nmode = messages\n"
    (error,) = errors_of(text)
    assert (
        error == "relay.ini:7: [route:more] mode: without a pool there are no messages; delete it"
    )


def test_policies_and_filters_are_checked_with_the_files_they_name_absolute() -> None:
    asked: list[PluginCall] = []

    def refuse(call: PluginCall) -> None:
        asked.append(call)
        raise ValueError("no such thing")

    text = with_option(
        "route:chat",
        "mode = messages\npolicies =\n  jwt jwks_file=keys.json issuer=a\n  basic file=users\n"
        "filters = deny-pattern path=words",
    )
    errors = errors_of(text, checks=Checks(policy=refuse, filter=refuse))
    assert [error.partition(" ")[0] for error in errors] == [f"relay.ini:{n}:" for n in (6, 7, 8)]
    assert asked == [
        PluginCall("jwt", {"jwks_file": "/etc/wsrelay/keys.json", "issuer": "a"}),
        PluginCall("basic", {"file": "/etc/wsrelay/users"}),
        PluginCall("deny-pattern", {"path": "/etc/wsrelay/words"}),
    ]
    config = parsed(text)
    assert config.routes[0].policies == tuple(asked[:2])
    assert config.routes[0].filters == tuple(asked[2:])
    assert hash(config.routes[0])  # what is made once for each route is found by it
