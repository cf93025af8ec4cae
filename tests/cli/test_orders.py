"""Orders are sent as the API wants them, told, and those that take a while are watched."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsrelay.operate.client import Client
from wsrelay.operate.console import Console
from wsrelay.operate.drains import look_at_drain, look_at_rebalance
from wsrelay.operate.target import Target, parse_target, path_of
from wsrelay.operate.text import Style
from wsrelay.operate.troubles import Unreachable

from .stand_in import Relay, pool, progress, run, status, upstream

Output = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("words", "asked", "said"),
    [
        (
            ["drain", "chat/10.0.0.1:3000"],
            ("PATCH", "/api/pools/chat/upstreams/10.0.0.1%3A3000", {"state": "drain"}),
            "chat/10.0.0.1:3000 is draining",
        ),
        (
            ["drain", "chat//run/a b.sock"],
            ("PATCH", "/api/pools/chat/upstreams/%2Frun%2Fa%20b.sock", {"state": "drain"}),
            "chat//run/a b.sock is draining",
        ),
        (["drain", "pöl"], ("POST", "/api/pools/p%C3%B6l/drain", {}), "pool pöl is draining"),
        (["drain", "--all"], ("POST", "/api/drain", {}), "the relay is draining"),
        (
            ["ready", "chat/a"],
            ("PATCH", "/api/pools/chat/upstreams/a", {"state": "ready"}),
            "chat/a is ready",
        ),
        (["ready", "chat"], ("POST", "/api/pools/chat/ready", {}), "pool chat is ready"),
        (["ready", "--all"], ("POST", "/api/ready", {}), "the relay is ready"),
        (
            ["weight", "chat/a", "3"],
            ("PATCH", "/api/pools/chat/upstreams/a", {"weight": 3}),
            "chat/a has weight 3",
        ),
        (
            ["rebalance", "chat"],
            ("POST", "/api/pools/chat/rebalance", {"rate": "10/s"}),
            "pool chat is rebalanced at 10/s",
        ),
        (
            ["rebalance", "chat", "--rate", "600/m"],
            ("POST", "/api/pools/chat/rebalance", {"rate": "600/m"}),
            "pool chat is rebalanced at 600/m",
        ),
        (
            ["publish", "--route", "chat", "hello wörld"],
            ("POST", "/api/publish", {"route": "chat", "text": "hello wörld"}),
            "sent to 0 sessions",
        ),
        (
            ["publish", "--pool", "chat", ""],
            ("POST", "/api/publish", {"pool": "chat", "text": ""}),
            "sent to 0 sessions",
        ),
        (["close", "88be"], ("DELETE", "/api/sessions/88be", None), "session 88be is being closed"),
        (
            ["close", "a/b?", "--code", "4000", "--reason", "go & rest"],
            ("DELETE", "/api/sessions/a%2Fb%3F?code=4000&reason=go+%26+rest", None),
            "session a/b? is being closed",
        ),
    ],
)
def test_an_order_is_sent_and_told(
    relay: Relay, capsys: Output, words: list[str], asked: tuple[str, str, Any], said: str
) -> None:
    relay.answer(f"{asked[0]} {asked[1].partition('?')[0]}", {})
    ran = run(capsys, *words)
    assert (ran.code, ran.out, ran.err) == (0, f"{said}\n", "")
    assert relay.asked == [asked]


@pytest.mark.parametrize(
    "words",
    [
        ["drain"],
        ["drain", "chat", "--all"],
        ["drain", "/a"],
        ["drain", "chat/"],
        ["drain", ""],
        ["ready"],
        ["weight", "chat", "3"],
        ["weight", "chat/a"],
        ["weight", "chat/a", "0"],
        ["weight", "chat/a", "-1"],
        ["weight", "chat/a", "1.5"],
        ["weight", "chat/a", "²"],
        ["rebalance", "chat/a"],
        ["rebalance"],
        ["close"],
        ["close", "x", "--code", "normal"],
        ["publish", "hello"],
        ["publish", "--route", "chat"],
        ["publish", "--route", "chat", "--tag", "x", "hello"],
        ["publish", "--route", "chat", "--binary-file", "x", "hello"],
        ["sessions", "--limit", "0"],
        ["top", "--interval", "1"],
        ["top", "--interval", "10ms"],
        ["top", "--sort", "height"],
        ["top", "--count", "0"],
        ["status", "--timeout", "soon"],
        ["--json", "check", "relay.ini"],
        ["--admin", "http://a", "balancers"],
        ["status", "--tim", "3s"],
    ],
)
def test_a_bad_command_line_asks_nobody(relay: Relay, capsys: Output, words: list[str]) -> None:
    ran = run(capsys, *words)
    assert (ran.code, ran.out) == (2, "")
    assert "error: " in ran.err
    assert relay.asked == []


@given(st.text(min_size=1).filter(lambda text: "/" not in text), st.text(min_size=1))
def test_a_target_splits_at_its_first_slash(pool_name: str, name: str) -> None:
    assert parse_target(f"{pool_name}/{name}") == Target(pool_name, name)
    assert parse_target(pool_name) == Target(pool_name)


def test_what_the_command_line_had_in_no_encoding_is_sent_as_it_was() -> None:
    broken = b"a\xff".decode("utf-8", "surrogateescape")
    assert path_of("sessions", broken, pool=broken) == "/api/sessions/a%FF?pool=a%FF"


@pytest.mark.parametrize("answer", [progress("x", 100, 40), {"drain": progress("x", 100, 40)}])
def test_the_begin_of_a_drain_is_told_with_its_numbers(
    relay: Relay, capsys: Output, answer: dict[str, Any]
) -> None:
    relay.answer("POST /api/drain", answer)
    assert run(capsys, "drain", "--all").out == (
        "the relay is draining: 40 of 100 sessions closed after 3.1s, at most 27s to go\n"
    )


def test_a_published_message_may_be_a_file_or_standard_input(
    relay: Relay, capsys: Output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay.answer("POST /api/publish", {"sent": 1, "skipped": {}})
    (tmp_path / "message").write_bytes(b"\x00\xff")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"piped")))
    for name, content in ((str(tmp_path / "message"), b"\x00\xff"), ("-", b"piped")):
        relay.asked.clear()
        assert run(capsys, "publish", "--tag", "x", "--binary-file", name).out == (
            "sent to 1 session\n"
        )
        body = {"tag": "x", "binary": base64.b64encode(content).decode()}
        assert relay.asked == [("POST", "/api/publish", body)]


def test_a_message_that_cannot_be_read_is_not_published(relay: Relay, capsys: Output) -> None:
    ran = run(capsys, "publish", "--tag", "x", "--binary-file", "/nowhere")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == ("wsrelay: --binary-file: cannot read /nowhere: No such file or directory\n")
    assert relay.asked == []


def test_no_more_of_a_file_is_read_than_is_too_much(relay: Relay, capsys: Output) -> None:
    relay.answer("POST /api/publish", {"error": "The body is over 65536 bytes."}, status=413)
    ran = run(capsys, "publish", "--tag", "x", "--binary-file", "/dev/zero")
    assert (ran.code, ran.err) == (1, "wsrelay: The body is over 65536 bytes.\n")
    ((_, _, body),) = relay.asked
    assert len(body["binary"]) > 65_536


def test_those_that_did_not_get_a_message_are_told_by_the_reason(
    relay: Relay, capsys: Output
) -> None:
    answer = {"sent": 12, "skipped": {"busy": 2, "ending": 1}}
    relay.answer("POST /api/publish", answer)
    words = ["publish", "--route", "chat", "hello"]
    assert run(capsys, *words).out == "sent to 12 sessions; not sent to 2 busy, 1 ending\n"
    assert json.loads(run(capsys, *words, "--json").out) == answer


def test_json_of_an_order_is_the_answer(relay: Relay, capsys: Output) -> None:
    relay.answer("POST /api/drain", progress("x", 100, 40))
    relay.answer("POST /api/reload", {"changes": ["one"]})
    assert json.loads(run(capsys, "drain", "--all", "--json").out) == progress("x", 100, 40)
    assert json.loads(run(capsys, "reload", "--json").out) == {"changes": ["one"]}


@pytest.mark.parametrize("answer", [[], None, 3, {"changes": "all"}, {"changes": []}])
def test_an_answer_without_more_words_is_enough(
    relay: Relay, capsys: Output, answer: object
) -> None:
    relay.answer("POST /api/reload", answer)
    relay.answer("POST /api/drain", answer)
    assert run(capsys, "reload").out == "nothing changed\n"
    assert run(capsys, "drain", "--all").out == "the relay is draining\n"


def test_an_answer_without_content_is_enough(relay: Relay, capsys: Output) -> None:
    relay.answer("DELETE /api/sessions/x", "", status=204)
    assert run(capsys, "close", "x").code == 0


def test_a_reload_tells_each_change(relay: Relay, capsys: Output) -> None:
    relay.answer("POST /api/reload", {"changes": ["pool a is new", "pool b left\x1b[2J"]})
    ran = run(capsys, "reload")
    assert (ran.code, ran.out) == (0, "pool a is new\npool b left\\x1b[2J\n")


def test_a_refused_reload_tells_every_error(relay: Relay, capsys: Output) -> None:
    errors = ["relay.ini:12: [pool:chat] a", "relay.ini:13: b"]
    answer = {"error": "relay.ini is wrong", "errors": errors}
    relay.answer("POST /api/reload", answer, status=422)
    ran = run(capsys, "reload")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.splitlines() == ["wsrelay: relay.ini is wrong", *errors]


def test_a_reload_may_take_longer(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    waited = []

    def ask(client: Client, *_question: object) -> dict[str, Any]:
        waited.append(client.timeout)
        return {}

    from wsrelay.cli import main

    monkeypatch.setattr(Client, "ask", ask)
    for words in (["reload"], ["drain", "--all"], ["reload", "--timeout", "5s"]):
        assert main(words) == 0
    assert waited == [65.0, 10.0, 5.0]


# Watching.

CHAT = Target("chat")
A = Target("chat", "a")


def looks(*upstreams: dict[str, Any], **more: Any) -> dict[str, Any]:
    return status(pool("chat", *upstreams, **more))


HALF = progress("upstream chat/a", 100, 40)
DONE = progress("upstream chat/a", 100, 100, done=True)


@pytest.mark.parametrize(
    ("facts", "target", "sentence", "over", "good"),
    [
        (
            looks(upstream("a", state="drain", drain=HALF, sessions=60)),
            A,
            "chat/a: 40 of 100 sessions closed after 3.1s, at most 27s to go",
            False,
            True,
        ),
        (looks(upstream("a", state="drain")), A, "chat/a: 4 sessions left", False, True),
        (
            looks(upstream("a", state="drain", drain=DONE, sessions=1)),
            A,
            "chat/a is drained",
            True,
            True,
        ),
        (looks(upstream("a", state="drain", sessions=0)), A, "chat/a is drained", True, True),
        (
            looks(upstream("a", state="drain", drain=DONE, sessions=0, requests=1)),
            A,
            "chat/a: 1 plain request under way",
            False,
            True,
        ),
        (
            looks(upstream("a", state="drain", drain=HALF, sessions=60, requests=1)),
            A,
            "chat/a: 40 of 100 sessions closed",
            False,
            True,
        ),
        (looks(), A, "chat/a is not there any more", True, True),
        (
            looks(upstream("a", drain=HALF)),
            A,
            "chat/a is ready again: somebody took the drain back",
            True,
            False,
        ),
        (looks(drain=HALF, sessions=60), CHAT, "pool chat: 40 of 100", False, True),
        (looks(drain=DONE, sessions=60), CHAT, "pool chat is drained", True, True),
        (looks(sessions=0), CHAT, "pool chat is drained", True, True),
        (looks(sessions=0, requests=2), CHAT, "pool chat: 2 plain requests under way", False, True),
        (
            looks(upstream("a", state="drain"), upstream("b")),
            CHAT,
            "pool chat: 8 sessions left",
            False,
            True,
        ),
        (looks(upstream("a"), upstream("b")), CHAT, "pool chat is ready again", True, False),
        (status(drain=HALF), Target(), "the relay: 40 of 100 sessions", False, True),
        (status(ready=False), Target(), "the relay: 12 sessions left", False, True),
        (status(ready=False, sessions=0), Target(), "the relay is drained", True, True),
        (status(ready=False, sessions=0, requests=3), Target(), "the relay: 3 plain", False, True),
        (status(), Target(), "the relay is ready again", True, False),
    ],
)
def test_how_far_a_drain_is(
    facts: dict[str, Any], target: Target, sentence: str, over: bool, good: bool
) -> None:
    found = look_at_drain(facts, target)
    assert found.sentence.startswith(sentence)
    assert (found.over, found.good) == (over, good)


@pytest.mark.parametrize(
    ("facts", "sentence", "over", "good"),
    [
        (looks(rebalance=HALF), "pool chat: 40 of 100 sessions closed", False, True),
        (looks(rebalance=DONE), "pool chat is rebalanced", True, True),
        (looks(), "pool chat is rebalanced", True, True),
        (status(), "pool chat is not there any more", True, False),
    ],
)
def test_how_far_a_rebalancing_is(
    facts: dict[str, Any], sentence: str, over: bool, good: bool
) -> None:
    found = look_at_rebalance(facts, CHAT)
    assert found.sentence.startswith(sentence)
    assert (found.over, found.good) == (over, good)


def draining(closed: int, done: bool = False) -> dict[str, Any]:
    facts = progress("upstream chat/a", 10, closed, done)
    return looks(upstream("a", state="drain", drain=facts, sessions=10 - closed))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let time pass by sleeping only; the list is what was slept."""
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    monkeypatch.setattr("time.monotonic", lambda: sum(slept))
    return slept


def test_a_drain_is_watched_until_it_is_done(
    relay: Relay, capsys: Output, clock: list[float]
) -> None:
    relay.answer("PATCH /api/pools/chat/upstreams/a", {})
    looked = [draining(closed) for closed in (0, 0, 1, 2, 3, 4, 4, 5)]
    relay.answer("GET /status.json", *looked, draining(10, done=True))
    ran = run(capsys, "drain", "chat/a", "--wait")
    assert ran.code == 0
    assert [line.partition(" sessions")[0] for line in ran.out.splitlines()] == [
        "chat/a: 0 of 10",
        "chat/a: 3 of 10",  # 2 s later
        "chat/a is drained",
    ]
    assert clock == [0.5] * 8


def test_a_watched_drain_that_is_taken_back_fails(
    relay: Relay, capsys: Output, clock: list[float]
) -> None:
    relay.answer("PATCH /api/pools/chat/upstreams/a", {})
    relay.answer("GET /status.json", draining(1), looks(upstream("a")))
    ran = run(capsys, "drain", "chat/a", "--wait")
    assert ran.code == 1
    assert ran.out.endswith("chat/a is ready again: somebody took the drain back\n")


def test_watching_in_json_is_a_document_a_line(
    relay: Relay, capsys: Output, clock: list[float]
) -> None:
    relay.answer("POST /api/pools/chat/rebalance", {})
    relay.answer("GET /status.json", looks(rebalance=HALF), looks(rebalance=DONE))
    ran = run(capsys, "rebalance", "chat", "--wait", "--json")
    lines = [json.loads(line) for line in ran.out.splitlines()]
    assert [(line["over"], line["closed"]) for line in lines] == [(False, 40), (True, 100)]


def test_ctrl_c_ends_the_watching_only(
    relay: Relay, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    def press(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", press)
    relay.answer("POST /api/drain", {})
    relay.answer("GET /status.json", status(drain=HALF, ready=False))
    ran = run(capsys, "drain", "--all", "--wait")
    assert ran.code == 130
    assert ran.err == "wsrelay: no longer watching; what was ordered goes on\n"
    assert [asked[0] for asked in relay.asked] == ["POST", "GET"]


def failing(times: int, then: dict[str, Any]) -> Callable[[Client], dict[str, Any]]:
    """Return a relay's status that cannot be had so many times."""
    left = [times]

    def look(_client: Client) -> dict[str, Any]:
        left[0] -= 1
        if left[0] >= 0:
            raise Unreachable("cannot reach it")
        return then

    return look


def test_a_relay_that_is_away_for_a_while_is_waited_for(
    relay: Relay, capsys: Output, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    relay.answer("POST /api/drain", {})
    monkeypatch.setattr(Client, "status", failing(20, status(sessions=0, ready=False)))
    assert run(capsys, "drain", "--all", "--wait").out == "the relay is drained\n"


def test_a_relay_that_stays_away_ends_the_watching(
    relay: Relay, capsys: Output, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    relay.answer("POST /api/drain", {})
    monkeypatch.setattr(Client, "status", failing(1000, {}))
    ran = run(capsys, "drain", "--all", "--wait")
    assert (ran.code, ran.err) == (3, "wsrelay: cannot reach it\n")
    assert sum(clock) == 10


def test_a_terminal_gets_one_line_drawn_again(relay: Relay, clock: list[float]) -> None:
    from argparse import Namespace

    from wsrelay.operate.address import parse_address
    from wsrelay.operate.drains import drain

    relay.answer("PATCH /api/pools/chat/upstreams/a", {})
    relay.answer("GET /status.json", draining(1), draining(1), draining(2), draining(10, True))
    out = io.StringIO()
    console = Console(out, io.StringIO(), Style(columns=30), live=True)
    code = drain(Namespace(target=A, wait=True), Client(parse_address(relay.url)), console)
    assert code == 0
    assert out.getvalue() == (
        "\rchat/a: 1 of 10 sessions clos…\x1b[K"
        "\rchat/a: 2 of 10 sessions clos…\x1b[K"
        "\rchat/a is drained\x1b[K\n"
    )
