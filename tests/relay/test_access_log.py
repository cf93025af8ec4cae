"""The access log: its keys, and lines that nobody can forge."""

from __future__ import annotations

import contextlib
import json
import resource
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs

from tests.relay.pumps import GROUNDS
from tests.relay.support import PING, PONG, TEXT, Conversation, frame_from, frames_in
from tests.relay.world import ROUTE, World
from wsrelay.config.model import LogConfig
from wsrelay.log import Logger
from wsrelay.observe.access_log import AccessLog, FileSink, NoLog, make_access_log
from wsrelay.observe.log_keys import EVENTS, KEYS
from wsrelay.relay.facts import Exchanged, Facts
from wsrelay.relay.pump import Side

HANDSHAKE_KEYS = {
    *("ts", "event", "id", "listener", "route", "pool", "upstream", "client", "host", "path"),
    *("origin", "user_agent", "subprotocol", "extensions", "status", "attempts", "handshake_ms"),
}
HTTP_KEYS = HANDSHAKE_KEYS | {"method", "duration_s", "bytes_up", "bytes_down"}
END_KEYS = HANDSHAKE_KEYS | {
    *("duration_s", "messages_up", "messages_down", "bytes_up", "bytes_down", "rtt_ms"),
    *("close_code", "close_reason", "initiator"),
}
FACTS = Facts(
    "1f2e", "web", "192.0.2.7:50123", "chat", "pool", "a", "chat.example.com", "/chat", "token=x",
    "https://example.com", "browser", "chat.v1", "permessage-deflate", 101, 2, 12.345,
)  # fmt: skip


PLAIN = evolve(FACTS, method="POST", status=404, subprotocol="", extensions="")


ANY_SESSION: Any = None  # the record of an opening says nothing of it


def lines_of(config: LogConfig) -> tuple[AccessLog, list[str]]:
    lines: list[str] = []
    return AccessLog(config, lines.append, now=lambda: 1_700_000_000.25), lines


def json_log() -> tuple[AccessLog, list[str]]:
    return lines_of(LogConfig(format="json"))


Converse = Callable[..., Conversation]


@pytest.fixture(params=GROUNDS)
def converse(request: pytest.FixtureRequest) -> Iterator[Converse]:
    """Give what begins a session with one pump after the other."""
    clock = Clock()
    ground = request.param(clock)
    yield partial(Conversation, ground, clock)
    ground.close()


def ended_session(converse: Converse) -> Any:
    """Return a session that lasted three seconds, with some messages either way."""
    pair = converse()
    pair.say(Side.CLIENT, TEXT, b"hello")
    pair.say(Side.UPSTREAM, TEXT, b"hi")
    pair.say(Side.UPSTREAM, TEXT, b"you")
    pair.advance(3)
    pair.say_close(Side.CLIENT, 4001, b"enough")
    return pair.session


def test_a_session_that_opens_is_one_record_with_what_its_handshake_showed() -> None:
    log, lines = json_log()
    log.session_opened(FACTS, ANY_SESSION)
    assert json.loads(lines[0]) == {
        "ts": "2023-11-14T22:13:20.250Z",
        "event": "open",
        "id": "1f2e",
        "listener": "web",
        "route": "chat",
        "pool": "pool",
        "upstream": "a",
        "client": "192.0.2.7:50123",
        "host": "chat.example.com",
        "path": "/chat",
        "origin": "https://example.com",
        "user_agent": "browser",
        "subprotocol": "chat.v1",
        "extensions": "permessage-deflate",
        "status": 101,
        "attempts": 2,
        "handshake_ms": 12.3,
    }


def test_each_record_has_the_time_at_which_it_was_written() -> None:
    times = iter([1_700_000_000.0005, 1_700_000_000.999, 1_700_000_001.0, 1_699_999_999.5])
    lines: list[str] = []
    log = AccessLog(LogConfig(), lines.append, now=lambda: next(times))
    for _ in range(4):
        log.session_opened(FACTS, ANY_SESSION)
    stamps = [line.partition(" ")[0] for line in lines]
    assert [stamp.removeprefix("2023-11-14T22:13:") for stamp in stamps] == [
        *("20.000Z", "20.999Z", "21.000Z", "19.500Z")
    ]


def test_a_session_that_ends_is_one_record_with_all_keys(converse: Converse) -> None:
    log, lines = json_log()
    log.session_ended(FACTS, ended_session(converse))
    record = json.loads(lines[0])
    assert set(record) == END_KEYS
    assert record["event"] == "end"
    assert record["duration_s"] == 3.0
    assert (record["messages_up"], record["bytes_up"]) == (1, 5)
    assert (record["messages_down"], record["bytes_down"]) == (2, 5)
    assert (record["close_code"], record["close_reason"]) == (4001, "enough")
    assert record["initiator"] == "client"
    assert record["rtt_ms"] is None


def test_the_round_trip_is_the_clients_in_milliseconds(converse: Converse) -> None:
    pair = converse(ROUTE.__class__("chat", "pool", keepalive=10.0, keepalive_timeout=10.0))
    while not pair.client.received:
        pair.advance(0.25)
    (ping,), _ = frames_in(bytes(pair.client.received))
    assert ping.opcode == PING
    sent_at = pair.clock.seconds()
    pair.advance(0.5)
    pair.say(Side.CLIENT, PONG, ping.payload)
    pair.session.abort()
    log, lines = json_log()
    log.session_ended(FACTS, pair.session)
    assert 500 <= json.loads(lines[0])["rtt_ms"] <= 750
    assert pair.clock.seconds() == sent_at + 0.5


def test_a_refused_handshake_is_one_record_and_says_why() -> None:
    log, lines = json_log()
    log.refused(Facts("1f2e", "web", "192.0.2.7:50123", status=400), "Host is missing.")
    record = json.loads(lines[0])
    assert set(record) == HANDSHAKE_KEYS | {"reason"}
    assert (record["event"], record["status"]) == ("refused", 400)
    log.refused(FACTS, "")
    assert set(json.loads(lines[1])) == HANDSHAKE_KEYS


def test_a_plain_request_is_one_record_with_what_passed() -> None:
    log, lines = json_log()
    log.exchanged(PLAIN, Exchanged(bytes_up=7, bytes_down=70, duration=1.23456))
    record = json.loads(lines[0])
    assert set(record) == HTTP_KEYS
    assert record["event"] == "http"
    assert (record["method"], record["status"], record["upstream"]) == ("POST", 404, "a")
    assert (record["bytes_up"], record["bytes_down"]) == (7, 70)
    assert (record["handshake_ms"], record["duration_s"]) == (12.3, 1.235)
    log.exchanged(PLAIN, Exchanged(problem="the client left"))
    record = json.loads(lines[1])
    assert set(record) == HTTP_KEYS | {"reason"}
    assert record["reason"] == "the client left"


def test_a_plain_request_that_is_refused_says_its_method() -> None:
    log, lines = json_log()
    log.refused(PLAIN, "No route leads from this host and path.")
    record = json.loads(lines[0])
    assert set(record) == HANDSHAKE_KEYS | {"reason", "method"}
    assert (record["event"], record["method"]) == ("refused", "POST")


@pytest.mark.parametrize("form", ["json", "text"])
def test_the_query_is_left_out_unless_asked_for(form: Any) -> None:
    log, lines = lines_of(LogConfig(format=form))
    log.session_opened(FACTS, ANY_SESSION)
    log.exchanged(PLAIN, Exchanged())
    log.refused(PLAIN, "")
    assert len(lines) == 3
    assert not [line for line in lines if "token" in line]
    log, lines = lines_of(LogConfig(format=form, redact_query=False))
    log.session_opened(FACTS, ANY_SESSION)
    log.exchanged(PLAIN, Exchanged())
    log.refused(PLAIN, "")
    assert ["/chat?token=x" in line for line in lines] == [True] * 3


def test_text_is_one_readable_line_without_what_is_empty() -> None:
    log, lines = lines_of(LogConfig())
    log.refused(Facts("1f2e", "web", "192.0.2.7:5", status=404, path="/a b"), "No route leads.")
    assert lines == [
        "2023-11-14T22:13:20.250Z refused id=1f2e listener=web client=192.0.2.7:5 "
        'path="/a b" status=404 attempts=0 handshake_ms=0.0 reason="No route leads."'
    ]


HOSTILE = st.text(
    st.one_of(
        st.sampled_from('\n\r\x0b\x0c\x1b\x00\x7f\x85\u2028\u2029\x9b" =\\'),
        st.characters(exclude_categories=["Cs"]),
    )
)


@given(HOSTILE, st.sampled_from(["json", "text"]))
def test_whatever_a_client_sends_a_record_is_one_line_of_printable_ascii(
    words: str, form: Any
) -> None:
    log, lines = lines_of(LogConfig(format=form, redact_query=False))
    facts = Facts(
        "1", "web", "c", host=words, path=words, query=words, origin=words, user_agent=words,
        subprotocol=words, extensions=words, method=words,
    )  # fmt: skip
    log.session_opened(facts, ANY_SESSION)
    log.refused(facts, words)
    log.exchanged(facts, Exchanged(problem=words))
    assert len(lines) == 3
    for line in lines:
        assert len(line.splitlines()) == 1
        assert line.isascii()
        assert line.isprintable()
    if form == "json":
        assert json.loads(lines[0])["user_agent"] == words


@given(HOSTILE, HOSTILE)
def test_no_value_of_a_text_line_can_pass_for_another_key(words: str, more: str) -> None:
    log, lines = lines_of(LogConfig())
    log.session_opened(Facts("1", "web", "c", path=words, user_agent=more, status=101), ANY_SESSION)
    pairs: dict[str, str] = {}
    rest = lines[0].partition(" open ")[2]
    decoder = json.JSONDecoder()
    while rest:
        key, _, rest = rest.partition("=")
        if rest.startswith('"'):
            value, end = decoder.raw_decode(rest)
        else:
            end = (rest + " ").index(" ")
            value = rest[:end]
        assert key not in pairs
        pairs[key], rest = value, rest[end + 1 :]
    assert pairs.get("path", "") == words
    assert pairs.get("user_agent", "") == more
    assert pairs["status"] == "101"


def test_a_close_reason_of_a_peer_cannot_break_the_line(converse: Converse) -> None:
    pair = converse()
    pair.say_close(Side.UPSTREAM, 1000, b"bye\nforged event=end \x1b[2J")
    log, lines = lines_of(LogConfig())
    log.session_ended(FACTS, pair.session)
    assert len(lines[0].splitlines()) == 1
    assert r'close_reason="bye\nforged event=end \u001b[2J"' in lines[0]


def test_the_relay_tells_the_log_of_open_end_and_refusal() -> None:
    log, lines = json_log()
    world = World()
    world.relay.observer = log
    client, upstream = world.establish()
    world.send(client, frame_from(Side.CLIENT, TEXT, b"x"))
    world.reset(upstream)
    world.end(client)
    world.ask(b"nonsense\r\n\r\n")
    records = [json.loads(line) for line in lines]
    assert [each["event"] for each in records] == ["open", "end", "refused"]
    assert records[0]["id"] == records[1]["id"] != records[2]["id"]
    assert (records[1]["close_code"], records[1]["initiator"]) == (1006, "upstream")
    assert records[2]["status"] == 400


def test_the_relay_tells_the_log_of_plain_requests_each_by_an_id_of_its_own() -> None:
    log, lines = json_log()
    world = World()
    world.relay.observer = log
    client = world.ask(b"PUT /chat?token=x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
    upstream = world.accept()
    world.advance(2.0)
    world.send(upstream, b"HTTP/1.1 201 Made\r\nContent-Length: 10\r\n\r\n1234")
    assert lines == []
    world.advance(3.0)
    world.send(upstream, b"567890")
    world.send(client, b"GET /chat HTTP/1.1\r\nHost: a\r\n\r\n")
    world.send(upstream, b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12")
    world.end(client)
    world.end(world.ask(b"GET /chat HTTP/1.1\r\nHost: a\r\n\r\n"))
    records = [json.loads(line) for line in lines]
    wanted = ("event", "method", "status", "bytes_up", "bytes_down", "duration_s", "reason")
    assert [[each.get(key) for key in wanted] for each in records] == [
        ["http", "PUT", 201, 3, 10, 5.0, None],
        ["http", "GET", 200, 0, 2, 0.0, "the client left"],
        ["refused", "GET", 499, None, None, None, "The client left before it was answered."],
    ]
    assert records[0]["handshake_ms"] == 2000
    assert len({each["id"] for each in records}) == 3


# floods


def flooded(log: AccessLog, words: str, times: int) -> None:
    for number in range(times):
        client = f"192.0.2.{7 if number % 4 else 8}:{number}"
        log.refused(Facts("1", "web", client, status=408, refusal=words), "Too slow.")


def limited_log(form: Any = "json") -> tuple[AccessLog, list[str], Clock]:
    lines: list[str] = []
    clock = Clock()
    config = LogConfig(format=form)
    return AccessLog(config, lines.append, lambda: 1_700_000_000.25, reactor=clock), lines, clock


def test_the_table_of_keys_says_what_is_in_the_records(converse: Converse) -> None:
    log, lines, clock = limited_log("json")
    log.session_opened(FACTS, ANY_SESSION)
    session = ended_session(converse)
    log.session_ticked(session)
    log.session_ended(FACTS, session)
    log.exchanged(PLAIN, Exchanged(problem="the client left"))
    log.refused(PLAIN, "why")
    flooded(log, "too-slow", 11)
    clock.advance(1.0)
    found: dict[str, set[str]] = {}
    for record in map(json.loads, lines):
        found.setdefault(record["event"], set()).update(record)
    assert found == {
        event: {name for name, key in KEYS.items() if event in key.events} for event in EVENTS
    }


def test_refusals_without_number_are_ten_records_and_one_that_sums_up() -> None:
    log, lines, clock = limited_log()
    flooded(log, "too-slow", 4012)
    assert len(lines) == 10
    clock.advance(1.0)
    assert len(lines) == 11
    record = json.loads(lines[-1])
    assert record.pop("client_count") in (3001, 3002)
    assert record == {
        "ts": "2023-11-14T22:13:20.250Z",
        "event": "refused-more",
        "reason": "too-slow",
        "count": 4002,
        "seconds": 1.0,
        "client": "192.0.2.7",
    }


def test_each_reason_to_refuse_and_what_upstreams_refuse_has_ten_lines_of_its_own() -> None:
    log, lines, clock = limited_log("text")
    for words in ("too-slow", "full", ""):
        flooded(log, words, 12)
    clock.advance(1.0)
    assert len(lines) == 33
    assert lines[30:] == [
        "2023-11-14T22:13:20.250Z refused-more "
        f"reason={words} count=2 seconds=1.0 client=192.0.2.{client} client_count={count}"
        for words, client, count in (("too-slow", 7, 2), ("full", 7, 2), ("upstream", 7, 2))
    ]


def test_sessions_and_answers_are_never_left_out() -> None:
    log, lines, clock = limited_log()
    for _ in range(100):
        log.session_opened(FACTS, ANY_SESSION)
        log.exchanged(PLAIN, Exchanged())
    clock.advance(1.0)
    assert len(lines) == 200


def test_a_log_that_is_closed_says_first_what_was_left_out() -> None:
    log, lines, clock = limited_log()
    flooded(log, "full", 15)
    log.close()
    assert json.loads(lines[-1])["count"] == 5
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    ("name", "host"),
    [
        ("192.0.2.7:5", "192.0.2.7"),
        ("192.0.2.7", "192.0.2.7"),
        ("[2001:db8::7]:5", "[2001:db8::7]"),
        ("2001:db8::7", "2001:db8::7"),
        ("unix:", "unix:"),
    ],
)
def test_the_one_who_was_refused_most_is_named_without_a_port(name: str, host: str) -> None:
    log, lines, _ = limited_log()
    for _ in range(11):
        log.refused(Facts("1", "web", name, status=503, refusal="full"), "")
    log.close()
    assert json.loads(lines[-1])["client"] == host


# where lines go


def test_a_file_is_appended_to_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_text("before\n")
    log = make_access_log(LogConfig(access=path, format="json"), to_stdout=True)
    log.open()
    log.session_opened(FACTS, ANY_SESSION)
    assert path.read_text().startswith('before\n{"ts":')
    assert path.read_text().count("\n") == 2
    log.close()


def test_reopening_goes_on_in_a_new_file_after_the_old_one_was_moved(tmp_path: Path) -> None:
    path, old = tmp_path / "access.log", tmp_path / "access.log.1"
    sink = FileSink(path)
    sink.open()
    sink.write_line("one")
    path.rename(old)
    sink.write_line("two")
    sink.reopen()
    sink.write_line("three")
    sink.close()
    assert old.read_text() == "one\ntwo\n"
    assert path.read_text() == "three\n"


def test_a_file_that_cannot_be_reopened_is_said_and_the_old_one_kept(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    sink = FileSink(folder / "access.log")
    sink.open()
    folder.rename(tmp_path / "moved")
    with capturedLogs() as events:
        sink.reopen()
    assert [str(each["path"]) for each in events] == [str(folder / "access.log")]
    sink.write_line("still")
    sink.close()
    assert (tmp_path / "moved" / "access.log").read_text() == "still\n"


def test_a_file_that_may_not_be_opened_is_written_by_a_descriptor_that_was_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "access.log"
    with path.open("ab") as passed:
        sink = FileSink(path, passed=passed.fileno())

        def forbidden(*_: object, **__: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "open", forbidden)
        sink.open()
    sink.write_line("one")
    with capturedLogs() as events:
        sink.reopen()  # by then the descriptor may be anything
    assert len(events) == 1
    sink.write_line("two")
    sink.close()
    monkeypatch.undo()
    assert path.read_text() == "one\ntwo\n"


def test_a_file_that_cannot_be_opened_at_the_start_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        FileSink(tmp_path / "nowhere" / "access.log").open()


FULL = Path("/dev/full")


@pytest.fixture
def full() -> Path:
    if not FULL.exists():
        pytest.skip("there is no /dev/full here")
    return FULL


def test_a_full_disk_loses_lines_and_is_said_once(full: Path) -> None:
    sink = FileSink(full)
    sink.open()
    with capturedLogs() as events:
        for number in range(5):
            sink.write_line(f"line {number}")
        with contextlib.suppress(OSError):
            sink.close()
    assert len(events) == 1
    assert events[0]["log_level"].name == "error"


def test_a_line_that_the_disk_has_room_for_in_part_is_not_written_at_all(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    sink = FileSink(path)
    sink.write_line("first")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with capturedLogs() as events:
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 3, limits[1]))
        try:
            sink.write_line("lost")
            sink.write_line("lost")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    sink.write_line("last")
    sink.close()
    assert path.read_text() == "first\nlast\n"
    assert [event["log_level"].name for event in events] == ["error"]


def test_a_full_disk_does_not_keep_the_log_from_being_reopened(full: Path) -> None:
    sink = FileSink(full)
    sink.open()
    with capturedLogs():
        sink.write_line("lost")
        sink.reopen()
        sink.close()


def test_a_full_disk_does_not_keep_the_log_from_being_closed(full: Path) -> None:
    sink = FileSink(full)
    sink.open()
    with capturedLogs():
        sink.write_line("lost")
        sink.close()


def test_a_disk_with_room_again_is_written_again_and_a_new_failure_said_again(
    tmp_path: Path, full: Path
) -> None:
    good = tmp_path / "access.log"
    link = tmp_path / "link.log"
    link.symlink_to(full)
    sink = FileSink(link)
    with capturedLogs() as events:
        sink.write_line("lost")
        link.unlink()
        link.symlink_to(good)
        sink.reopen()
        sink.write_line("written")
        link.unlink()
        link.symlink_to(full)
        sink.reopen()
        sink.write_line("lost again")
        sink.close()
    assert len(events) == 2
    assert good.read_text() == "written\n"


def test_standard_output_and_the_services_own_log_are_the_two_other_places(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "__stdout__", sys.stdout)
    make_access_log(LogConfig(), to_stdout=True).session_opened(FACTS, ANY_SESSION)
    assert " open id=1f2e " in capsys.readouterr().out
    with capturedLogs() as events:
        make_access_log(LogConfig(), to_stdout=False).session_opened(FACTS, ANY_SESSION)
    assert " open id=1f2e " in events[0]["line"]
    assert capsys.readouterr().out == ""


def test_off_says_nothing_at_all(capsys: pytest.CaptureFixture[str], converse: Converse) -> None:
    log = make_access_log(LogConfig(access="off"), to_stdout=True)
    assert isinstance(log, NoLog)
    with capturedLogs() as events:
        log.open()
        log.session_opened(FACTS, ANY_SESSION)
        log.session_ended(FACTS, ended_session(converse))
        log.refused(FACTS, "why")
        log.reopen()
        log.close()
    assert events == []
    assert capsys.readouterr().out == ""


def test_the_level_of_the_log_does_not_silence_the_access_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Logger, "level", LogLevel.error)
    with capturedLogs() as events:
        make_access_log(LogConfig(), to_stdout=False).session_opened(FACTS, ANY_SESSION)
    assert " open id=1f2e " in events[0]["line"]
