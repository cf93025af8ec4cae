"""What the commands print, to the letter, and that nothing others wrote can spoil it."""

from __future__ import annotations

import io
import json
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsrelay.operate.rates import SORTS
from wsrelay.operate.sessions import detail_lines, session_lines
from wsrelay.operate.status import progress as far
from wsrelay.operate.status import status_lines
from wsrelay.operate.table import Cell, Column, table
from wsrelay.operate.text import Style, cut, escape, width
from wsrelay.operate.top import top_lines
from wsrelay.operate.units import milliseconds, pace, size, span

from .stand_in import Relay, pool, progress, run, status, upstream

Output = pytest.CaptureFixture[str]

WHOLE = status(
    pool(
        "chat",
        upstream(
            "127.0.0.1:3000",
            max_connections=50,
            check={"ok": True, "what": "101, pong after 0.4 ms", "ms": 1.2, "at": "…"},
        ),
        upstream(
            "b",
            state="drain",
            health="down",
            health_s=3700,
            sessions=60,
            weight=12,
            rtt_ms=None,
            backup=True,
            drain=progress("upstream chat/b", 100, 40),
            check={"ok": False, "what": "connection refused", "ms": 1.2, "at": "…"},
        ),
        upstream("old", source="gone", last_problem="connection failed: timeout"),
        health_check="websocket",
        sticky="cookie wsrelay",
        rebalance=progress("pool chat", 10, 10, done=True),
    ),
    pool("empty", queue=3, discover="dns"),
    last_reload={
        "at": "2026-11-21T14:00:05Z",
        "ok": True,
        "changes": ["pool chat: upstream old left"],
        "errors": [],
    },
)

SHOWN = """\
wsrelay 0.1.0, pid 4711, up 12s since 2026-11-21T14:00:00Z, ready
/etc/wsrelay/relay.ini, the native pump
12 sessions, 14 connections, 1 opening, 40 handshakes, 3 refused
refused: 2 no-upstream, 1 malformed
listener public: 127.0.0.1:8080
route chat: /chat to pool chat, 12 sessions
last reload at 2026-11-21T14:00:05Z: 1 change
  pool chat: upstream old left

pool chat (least-connections, sticky cookie wsrelay, health check websocket): 68 sessions, queue 0
  upstream        state          health      weight  sessions  handshakes  failures     rtt  last check
  127.0.0.1:3000  ready          up 11s           1      4/50          17         1  0.4 ms  101, pong after 0.4 ms
  b               drain, backup  down 1h 1m      12        60          17         1       -  connection refused
  old             gone           up 11s           1         4          17         1  0.4 ms  last problem: connection failed: timeout
  rebalanced: 10 of 10 sessions closed in 3.1s
  draining b: 40 of 100 sessions closed after 3.1s, at most 27s to go

pool empty (least-connections, discovery dns): 0 sessions, queue 3
  no upstreams
"""  # noqa: E501

SESSION = {
    "id": "88be0c11",
    "listener": "public",
    "route": "chat",
    "pool": "chat",
    "upstream": "a",
    "client": "10.0.0.7:51234",
    "host": "chat.example.com",
    "path": "/chat",
    "origin": "",
    "user_agent": "Mozilla \x1b]0;owned\x07",
    "age_s": 61.0,
    "idle_s": 2.0,
    "messages_up": 1,
    "messages_down": 2,
    "bytes_up": 10,
    "bytes_down": 20480,
    "rtt_ms": 0.8,
    "closing": None,
}

SESSIONS = """\
id        client          upstream    age  idle  messages up  down  bytes up      down     rtt  route  path
88be0c11  10.0.0.7:51234  chat/a    1m 1s  2.0s            1     2      10 B  20.0 KiB  0.8 ms  chat   /chat
"""  # noqa: E501


def test_status_is_laid_out(relay: Relay, capsys: Output) -> None:
    relay.answer("GET /status.json", WHOLE)
    ran = run(capsys, "status")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == SHOWN


PLAIN = {"total": 815, "2xx": 790, "3xx": 12, "4xx": 11, "5xx": 2}
ROUTE = {"host": None, "pool": "", "static": None, "redirect": None, "sessions": 0, "requests": 0}

HTTP_SHOWN = """\
wsrelay 0.1.0, pid 4711, up 12s since 2026-11-21T14:00:00Z, ready
/etc/wsrelay/relay.ini, the native pump
12 sessions, 14 connections, 1 opening, 40 handshakes, 3 refused
refused: 2 no-upstream, 1 malformed
plain HTTP: 2 requests under way, 815 over: 790 2xx, 12 3xx, 11 4xx, 2 5xx
listener public: 127.0.0.1:8080
route web: /web to pool web, 4 sessions, 1 request, 815 over: 790 2xx, 12 3xx, 11 4xx, 2 5xx
route app: /app to files in /srv/www
route old: /old redirects to https://example.com

pool web (least-connections): 8 sessions, 2 requests, queue 0
  upstream  state  health  weight  sessions  requests  handshakes  answered  failures     rtt  last check
  a         ready  up 11s       1         4         2          17       805         1  0.4 ms
  b         ready  up 11s       1         4         0          17         0         1  0.4 ms

pool ws (least-connections): 4 sessions, queue 0
  upstream  state  health  weight  sessions  handshakes  failures     rtt  last check
  c         ready  up 11s       1         4          17         1  0.4 ms
"""  # noqa: E501


def test_plain_http_is_shown_where_there_was_any(relay: Relay, capsys: Output) -> None:
    routes = [
        ROUTE
        | {"name": "web", "path": "/web", "pool": "web", "sessions": 4, "requests": 1}
        | {"http": PLAIN},
        ROUTE | {"name": "app", "path": "/app", "static": "/srv/www"},
        ROUTE | {"name": "old", "path": "/old", "redirect": "https://example.com"},
    ]
    pools = [
        pool("web", upstream("a", requests=2, answered=805), upstream("b")),
        pool("ws", upstream("c")),
    ]
    relay.answer("GET /status.json", status(*pools, requests=2, http=PLAIN, routes=routes))
    assert run(capsys, "status").out == HTTP_SHOWN


def test_a_relay_that_is_leaving_says_so(relay: Relay, capsys: Output) -> None:
    leaving = status(
        ready=False,
        not_ready="the relay is draining",
        drain=progress("the relay", 12, 2),
        last_reload={"at": "then", "ok": False, "changes": [], "errors": ["relay.ini:1: no"]},
        listeners=[{"name": "public", "address": "[::]:443", "tls": True}],
    )
    relay.answer("GET /status.json", leaving)
    assert run(capsys, "status").out.splitlines() == [
        "wsrelay 0.1.0, pid 4711, up 12s since 2026-11-21T14:00:00Z,"
        " not ready: the relay is draining",
        "/etc/wsrelay/relay.ini, the native pump",
        "12 sessions, 14 connections, 1 opening, 40 handshakes, 3 refused",
        "refused: 2 no-upstream, 1 malformed",
        "listener public: [::]:443, TLS",
        "route chat: /chat to pool chat, 12 sessions",
        "last reload at then: refused, 1 error",
        "  relay.ini:1: no",
        "draining: 2 of 12 sessions closed after 3.1s, at most 27s to go",
    ]


def test_a_drain_that_had_nothing_to_close_has_no_line() -> None:
    nothing = progress("x", 0, 0, done=True)
    drained = upstream("a", state="drain", sessions=0, drain=nothing)
    lines = status_lines(status(pool("chat", drained, drain=nothing, rebalance=nothing)), Style())
    assert not [line for line in lines if "close" in line]


def test_how_far_a_drain_is_is_a_short_sentence() -> None:
    under_way = progress("x", 10, 1)
    assert far(under_way) == "1 of 10 sessions closed after 3.1s, at most 27s to go"
    assert far(under_way | {"deadline_s": None}) == "1 of 10 sessions closed after 3.1s"
    assert far(progress("x", 10, 8, done=True)) == "8 of 10 sessions closed in 3.1s"
    assert far(progress("x", 0, 0, done=True)) == "there is nothing to close"


def test_json_is_what_the_relay_said(relay: Relay, capsys: Output) -> None:
    relay.answer("GET /status.json", WHOLE)
    relay.answer("GET /api/sessions", {"total": 1, "sessions": [SESSION]})
    status_said = run(capsys, "status", "--json").out
    sessions_said = run(capsys, "sessions", "--json").out
    assert json.loads(status_said) == WHOLE
    assert list(json.loads(status_said)) == list(WHOLE)
    assert json.loads(sessions_said) == {"total": 1, "sessions": [SESSION]}
    assert "\x1b" not in sessions_said


def test_sessions_are_listed(relay: Relay, capsys: Output) -> None:
    relay.answer("GET /api/sessions", {"total": 1, "sessions": [SESSION]})
    ran = run(capsys, "sessions")
    assert ran.code == 0
    assert ran.out == f"{SESSIONS}1 session\n"


WORKERS = [
    {
        "number": number,
        "pid": 4712 + number,
        "state": state,
        "since": "2026-11-21T14:00:00Z",
        "restarts": number,
        "sessions": 6,
        "connections": 7,
        "lag_s": 0.0004,
        "accepting": number != 2,
    }
    for number, state in enumerate(["up", "late", "up"])
]


def test_workers_are_shown_where_there_are_several(relay: Relay, capsys: Output) -> None:
    relay.answer("GET /status.json", status(workers=WORKERS))
    lines = run(capsys, "status").out.splitlines()
    begin = lines.index("") + 1
    assert lines[begin : begin + 4] == [
        "worker  state   pid  sessions  connections     lag  restarts  since",
        "     0  up     4712         6            7  0.4 ms         0  2026-11-21T14:00:00Z",
        "     1  late   4713         6            7  0.4 ms         1  2026-11-21T14:00:00Z",
        "     2  full   4714         6            7  0.4 ms         2  2026-11-21T14:00:00Z",
    ]
    (head, *_) = top_lines(None, status(workers=WORKERS), "name", Style())
    assert ", 3 workers, 2 of them not up, lag 0.4 ms" in head


def test_sessions_tell_their_worker_where_there_are_several() -> None:
    alone = session_lines({"total": 1, "sessions": [SESSION]}, Style())
    assert "worker" not in alone[0]
    several = session_lines({"total": 1, "sessions": [{**SESSION, "worker": 3}]}, Style())
    heads, row = several[0], several[1]
    assert row[heads.index("worker") :].split()[0] == "3"


def test_it_is_said_when_there_are_more_sessions(relay: Relay, capsys: Output) -> None:
    relay.answer("GET /api/sessions", {"total": 57, "sessions": [SESSION]})
    ran = run(capsys, "sessions", "--limit", "1")
    assert ran.out == f"{SESSIONS}1 of 57 sessions; --limit N shows more\n"


def test_no_sessions_are_no_table(relay: Relay, capsys: Output) -> None:
    relay.answer("GET /api/sessions", {"total": 0, "sessions": []})
    assert run(capsys, "sessions").out == "0 sessions\n"


def test_the_filters_are_the_relays(relay: Relay, capsys: Output) -> None:
    relay.answer("GET /api/sessions", {"total": 0, "sessions": []})
    words = [
        "--pool",
        "a b",
        "--upstream",
        "x/y:1",
        "--route",
        "r",
        "--client",
        "10.",
        "--tag",
        "user:42",
        "--limit",
        "5",
    ]
    run(capsys, "sessions", *words)
    target = "/api/sessions?pool=a+b&upstream=x%2Fy%3A1&route=r&client=10.&tag=user%3A42&limit=5"
    assert relay.asked == [("GET", target, None)]


def test_one_session_is_told_whole(relay: Relay, capsys: Output) -> None:
    leg = {"received": 10, "sent": 20, "rtt_ms": 0.8, "paused": False}
    whole = SESSION | {"legs": {"client": leg, "upstream": {**leg, "paused": True}}, "tls": None}
    relay.answer("GET /api/sessions/88be0c11", whole)
    ran = run(capsys, "sessions", "--id", "88be0c11")
    assert ran.code == 0
    assert ran.out.splitlines() == [
        "session        88be0c11",
        "listener       public",
        "route          chat",
        "pool           chat",
        "upstream       a",
        "client         10.0.0.7:51234",
        "host           chat.example.com",
        "path           /chat",
        "origin         -",
        r"user agent     Mozilla \x1b]0;owned\x07",
        "age            1m 1s",
        "idle           2.0s",
        "messages up    1",
        "messages down  2",
        "bytes up       10",
        "bytes down     20480",
        "rtt            0.8 ms",
        "closing        -",
        "tls            -",
        "",
        "leg       client leg  upstream leg",
        "received  10          10",
        "sent      20          20",
        "rtt       0.8 ms      0.8 ms",
        "paused    no          yes",
    ]


def test_one_session_and_a_filter_do_not_go_together(relay: Relay, capsys: Output) -> None:
    ran = run(capsys, "sessions", "--id", "x", "--pool", "p")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "wsrelay: --id tells about one session; leave --pool out\n"
    assert relay.asked == []


def test_colours_name_what_is_wrong() -> None:
    lines = status_lines(WHOLE, Style(colour=True))
    assert any("\x1b[31mdown 1h 1m\x1b[0m" in line for line in lines)
    assert any("\x1b[33mdrain, backup\x1b[0m" in line for line in lines)
    assert any("\x1b[32mready\x1b[0m" in line for line in lines)


def test_a_table_gives_way_where_it_is_elastic() -> None:
    columns = [Column("name", elastic=True), Column("n", right=True)]
    rows = [[Cell("a-long-name-indeed"), Cell("12")]]
    assert table(columns, rows, Style(columns=14)) == ["name         n", "a-long-na…  12"]
    ascii_only = Style(encoding="ascii", columns=14)
    assert table(columns, rows, ascii_only) == ["name         n", "a-long-...  12"]
    assert table(columns, rows, Style(columns=6)) == ["name", "a-lon…"]


def test_wide_characters_take_two_columns() -> None:
    columns = [Column("name"), Column("n", right=True)]
    assert table(columns, [[Cell("世界"), Cell("1")], [Cell("é"), Cell("22")]], Style()) == [
        "name   n",
        "世界   1",
        "é     22",
    ]


def test_what_an_encoding_lacks_is_escaped() -> None:
    assert Style(encoding="ascii").safe("pöl 世") == r"p\xf6l \u4e16"
    assert Style(encoding="latin-1").safe("pöl 世") == r"pöl \u4e16"
    assert Style().safe("pöl 世") == "pöl 世"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0, "0.0s"),
        (-5, "0.0s"),
        (9.94, "9.9s"),
        (9.96, "10s"),
        (59.4, "59s"),
        (59.6, "1m 0s"),
        (3599.9, "1h 0m"),
        (86400 * 3 + 3600 * 4, "3d 4h"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert span(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1024**2 - 1, "1.0 MiB"),
        (1024**4 * 5, "5.0 TiB"),
        (2**62, "4194304.0 TiB"),
    ],
)
def test_sizes(value: float | None, text: str) -> None:
    assert size(value) == text


def test_small_numbers_have_a_digit_more() -> None:
    assert [milliseconds(each) for each in (None, 0.44, 9.96, 1234.5)] == [
        "-",
        "0.4 ms",
        "10 ms",
        "1234 ms",
    ]
    assert [pace(each) for each in (None, 0.25, 99.96, 12345.6)] == ["-", "0.2", "100", "12346"]


# Any JSON at all: names with control characters, numbers out of bounds, wrong types.

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
STYLES = st.builds(
    Style,
    colour=st.just(False),
    encoding=st.sampled_from(["utf-8", "ascii", "latin-1"]),
    columns=st.none() | st.integers(0, 200),
)


def spoiled(facts: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return *facts* with some of the values, and more keys, as anything."""
    keys = st.sampled_from(sorted(facts)) | st.text()
    return st.dictionaries(keys, JSON, max_size=4).map(lambda some: {**facts, **some})


UPSTREAMS = st.lists(spoiled(upstream("a")), max_size=3)
POOLS = st.lists(
    UPSTREAMS.flatmap(lambda each: spoiled(pool("p") | {"upstreams": each})), max_size=2
)
STATUSES = POOLS.flatmap(lambda pools: spoiled(status() | {"pools": pools}))


def assert_harmless(lines: list[str], style: Style) -> None:
    for line in lines:
        assert line.isprintable(), "something in it could steer a terminal"
        line.encode(style.encoding)


@given(STATUSES, STYLES)
def test_any_status_is_laid_out_and_harmless(facts: dict[str, Any], style: Style) -> None:
    assert_harmless(status_lines(facts, style), style)


@given(st.none() | STATUSES, STATUSES, st.sampled_from(sorted(SORTS)), STYLES)
def test_any_two_looks_are_laid_out_in_the_width(
    before: dict[str, Any] | None, now: dict[str, Any], sort: str, style: Style
) -> None:
    lines = top_lines(before, now, sort, style)
    assert_harmless(lines, style)
    if style.columns is not None:
        assert all(width(line) <= style.columns for line in lines)


@given(st.lists(spoiled(SESSION), max_size=3), JSON, STYLES)
def test_any_sessions_are_laid_out_and_harmless(
    sessions: list[dict[str, Any]], total: Any, style: Style
) -> None:
    assert_harmless(session_lines({"total": total, "sessions": sessions}, style), style)


@given(spoiled(SESSION), JSON, STYLES)
def test_any_session_is_told_and_harmless(facts: dict[str, Any], legs: Any, style: Style) -> None:
    assert_harmless(detail_lines(facts | {"legs": legs}, style), style)


CELLS = st.lists(st.tuples(st.text(), st.text()), min_size=1, max_size=4)


@given(CELLS, STYLES)
def test_every_column_begins_where_its_title_does(
    rows: list[tuple[str, str]], style: Style
) -> None:
    whole = Style(encoding=style.encoding)
    columns = [Column("first"), Column("second")]
    lines = table(columns, [[Cell(a), Cell(f"|{b}")] for a, b in rows], whole)
    starts = {width(line[: line.rindex("  |") + 2]) for line in lines[1:] if line.count("|") == 1}
    assert len(starts) <= 1
    assert starts <= {width(lines[0][: lines[0].index("second")])}


@given(st.text(), st.integers(-1, 30))
def test_a_cut_text_fits_and_begins_as_it_did(text: str, columns: int) -> None:
    safe = escape(text)
    short = cut(safe, columns)
    assert width(short) <= max(columns, 0)
    assert short == safe or safe.startswith(short.removesuffix("…"))


def test_marks_that_take_no_column_are_counted_so() -> None:
    assert width(unicodedata.normalize("NFD", "é")) == 1


def test_what_is_printed_reaches_a_terminal_that_knows_ascii_only(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wsrelay.cli import main

    relay.answer("GET /status.json", status(pool("chat", upstream("世\x1b[2J"))))
    terminal = io.TextIOWrapper(io.BytesIO(), "ascii")
    monkeypatch.setattr("sys.stdout", terminal)
    assert main(["status"]) == 0
    terminal.seek(0)
    assert "  \\u4e16\\x1b[2J  ready" in terminal.read()


def test_the_relays_of_a_cluster_have_a_table() -> None:
    facts = {"version": "0.1.0", "sessions": 3, "handshakes": 5, "age_s": 1.0, "uptime_s": 60.0}
    relays = [
        {**facts, "name": "edge1", "host": "h1", "ready": True},
        {**facts, "name": "edge2", "host": "h2", "ready": False},
    ]
    cluster = {
        "redis": "redis://r1:6379/0",
        "up": True,
        "since_s": 90.0,
        "problem": "",
        "name": "edge2",
        "relays": relays,
    }
    lines = status_lines({**status(), "cluster": cluster}, Style())
    start = lines.index("cluster: redis://r1:6379/0 is there, for 1m 30s")
    assert [line.split()[0] for line in lines[start + 1 : start + 4]] == [
        "relay",
        "edge1",
        "edge2*",
    ]
    assert "not ready" in lines[start + 3]
    away = {**cluster, "up": False, "problem": "Connection refused", "relays": []}
    shown = status_lines({**status(), "cluster": away}, Style())
    assert "cluster: redis://r1:6379/0 is away: Connection refused, for 1m 30s" in shown
