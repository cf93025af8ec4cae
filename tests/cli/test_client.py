"""Every way in which a relay does not answer, or answers something else."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from tests.peers.certificates import Authority

from .stand_in import TOKEN, Relay, answering, pool, run, serving, status, upstream

Output = pytest.CaptureFixture[str]
GOOD = status(pool("chat", upstream("a"), upstream("b:1/x")))
OURS = "is that the admin endpoint of a wsrelay?"
RUNNING = "is the relay running, and does its [admin] listen there?"


def fails(capsys: Output, code: int, *words: str) -> str:
    """Run a command that fails with *code*; return the sentence it prints."""
    ran = run(capsys, *words)
    assert (ran.code, ran.out) == (code, "")
    assert ran.err.startswith("wsrelay: ")
    return ran.err.removeprefix("wsrelay: ").rstrip("\n")


def test_a_port_where_nobody_listens(capsys: Output) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    said = fails(capsys, 3, "status", "--admin", url)
    assert said == f"cannot reach {url}: connection refused; {RUNNING}"


def test_a_unix_socket_that_is_not_there(capsys: Output) -> None:
    said = fails(capsys, 3, "status", "--admin", "unix:gone.sock")
    assert said == f"cannot reach unix:gone.sock: no such file or directory; {RUNNING}"


def test_a_unix_socket_whose_path_is_too_long(capsys: Output) -> None:
    said = fails(capsys, 3, "status", "--admin", f"unix:/{'x' * 200}")
    assert "path too long" in said


def test_a_host_that_cannot_be(capsys: Output) -> None:
    said = fails(capsys, 3, "status", "--admin", f"http://{'x' * 70}.invalid")
    assert said.startswith("cannot reach http://xxx")


def test_a_server_that_never_answers(capsys: Output) -> None:
    with answering(b"", hold=True) as url:
        said = fails(capsys, 3, "status", "--admin", url, "--timeout", "100ms")
    assert said == f"{url} did not answer within 0.1 s"


def test_after_an_order_without_an_answer_nobody_knows_whether_it_was_done(
    capsys: Output,
) -> None:
    with answering(b"", hold=True) as url:
        said = fails(capsys, 3, "close", "x", "--admin", url, "--timeout", "100ms")
    assert said == (
        f"{url} did not answer within 0.1 s; whether it was done, 'wsrelay status' may tell"
    )


class _Dripper(threading.Thread):
    """Sends an answer that never ends, a byte at a time, until its client is gone."""

    def __init__(self, listening: socket.socket) -> None:
        super().__init__()
        self.listening = listening
        self.client_left = False

    def run(self) -> None:
        connection, _ = self.listening.accept()
        with connection:
            connection.settimeout(20)
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            connection.settimeout(0.01)
            for _ in range(2000):
                try:
                    connection.sendall(b" ")
                    if connection.recv(1) == b"":
                        self.client_left = True
                        return
                except TimeoutError:
                    continue
                except OSError:
                    self.client_left = True
                    return


def test_an_answer_that_comes_byte_by_byte_does_not_last_for_ever(capsys: Output) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        dripper = _Dripper(listening)
        dripper.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        said = fails(capsys, 3, "status", "--admin", url, "--timeout", "300ms")
        dripper.join(20)
    assert said == f"{url} did not answer within 0.3 s"
    assert dripper.client_left, "the connection stays open after the command gave up"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
    ],
)
def test_half_an_answer(capsys: Output, content: bytes) -> None:
    with answering(content) as url:
        said = fails(capsys, 3, "status", "--admin", url)
    assert said == f"{url} hung up before its answer was whole; {OURS}"


@pytest.mark.parametrize(
    "content", [b"SSH-2.0-OpenSSH_9.6\r\n", b"\x15\x03\x01\x00\x02\x02\x46", b"HTTP/1.1 many\r\n"]
)
def test_something_that_does_not_speak_http(capsys: Output, content: bytes) -> None:
    with answering(content) as url:
        said = fails(capsys, 3, "status", "--admin", url)
    assert said == f"{url} sent something that is no answer in HTTP; {OURS}"


def test_an_answer_without_a_reasonable_end(
    capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsrelay.operate.client.LARGEST", 10)
    with answering(b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 11) as url:
        said = fails(capsys, 3, "status", "--admin", url)
    assert said == f"{url} sent something that is no answer in HTTP; {OURS}"


@pytest.mark.parametrize("code", [200, 302, 404, 500])
@pytest.mark.parametrize(
    "content", ["<!doctype html><p>hello", "", "[" * 100_000, '{"pools": NaN}', "ÿ", "\x00"]
)
def test_an_answer_that_is_no_json(relay: Relay, capsys: Output, code: int, content: str) -> None:
    relay.answer("GET /status.json", content, status=code)
    said = fails(capsys, 3, "status")
    assert said == f"{relay.url} answered {code}, and not in JSON; {OURS}"


@pytest.mark.parametrize("answer", [[], {}, "yes", 3, None, {"pools": 3}])
def test_json_that_is_no_status(relay: Relay, capsys: Output, answer: object) -> None:
    relay.answers["GET /status.json"] = [(200, answer if answer != "yes" else '"yes"')]
    assert fails(capsys, 3, "status") == f"{relay.url} answered with no status; {OURS}"


def test_a_relay_that_wants_a_token(relay: Relay, capsys: Output) -> None:
    relay.answer("GET /status.json", {"error": "no"}, status=401)
    said = fails(capsys, 1, "status")
    assert said == f"{relay.url} wants a token; say --token-file FILE, or set WSRELAY_TOKEN"


def test_a_relay_that_wants_another_token(
    relay: Relay, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay.answer("GET /status.json", "no", status=401)
    monkeypatch.setenv("WSRELAY_TOKEN", TOKEN)
    said = fails(capsys, 1, "status")
    assert said == (
        f"{relay.url} does not take this token; is it the one that its [admin] token_file holds?"
    )
    assert TOKEN not in said


@pytest.mark.parametrize("code", [400, 403, 409, 422, 500, 503])
def test_a_refusal_is_told_in_the_relays_words(relay: Relay, capsys: Output, code: int) -> None:
    relay.answer("POST /api/drain", {"error": "not now, because"}, status=code)
    assert fails(capsys, 1, "drain", "--all") == "not now, because"


@pytest.mark.parametrize("answer", [{}, [], {"error": 3}, {"error": ""}])
def test_a_refusal_without_words_has_its_number(
    relay: Relay, capsys: Output, answer: object
) -> None:
    relay.answer("POST /api/drain", answer, status=500)
    said = fails(capsys, 1, "drain", "--all")
    assert said == f"{relay.url} answered 500 and did not say why; {OURS}"


def test_a_refusal_cannot_steer_the_terminal(relay: Relay, capsys: Output) -> None:
    relay.answer("POST /api/drain", {"error": "a\x1b[2Jb\nc\x9b"}, status=500)
    assert fails(capsys, 1, "drain", "--all") == r"a\x1b[2Jb\nc\x9b"


def test_json_is_printed_of_a_refusal_too(relay: Relay, capsys: Output) -> None:
    relay.answer("POST /api/drain", {"error": "no"}, status=409)
    ran = run(capsys, "drain", "--all", "--json")
    assert (ran.code, ran.out, ran.err) == (1, '{\n  "error": "no"\n}\n', "wsrelay: no\n")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["drain", "chat/bb:1/x"], "did you mean chat/b:1/x?"),
        (["weight", "chaat/a", "2"], "did you mean chat/a?"),
        (["ready", "chad"], "did you mean chat?"),
        (["rebalance", "nothing-like-it"], "known: chat"),
        (["drain", "zzzzzzzz/qqqqqqq"], "known: chat/a, chat/b:1/x"),
    ],
)
def test_a_name_that_is_not_there_is_answered_with_those_that_are(
    relay: Relay, capsys: Output, words: list[str], hint: str
) -> None:
    relay.answer("GET /status.json", GOOD)
    said = fails(capsys, 1, *words)
    assert said.startswith("there is no ")
    assert said.endswith(f"; {hint}")


@pytest.mark.parametrize("words", ["no x; did you mean y?", "unknown pool 'x'; known: a, b."])
def test_a_relay_that_gives_the_hint_itself_is_not_asked_for_it(
    relay: Relay, capsys: Output, words: str
) -> None:
    relay.answer("POST /api/pools/x/drain", {"error": words}, status=404)
    assert fails(capsys, 1, "drain", "x") == words
    assert len(relay.asked) == 1


def test_a_hint_takes_the_place_of_a_full_stop(relay: Relay, capsys: Output) -> None:
    relay.answer("POST /api/pools/x/drain", {"error": "There is no x."}, status=404)
    relay.answer("GET /status.json", GOOD)
    assert fails(capsys, 1, "drain", "x") == "There is no x; known: chat"


def test_a_hint_that_cannot_be_had_spoils_nothing(relay: Relay, capsys: Output) -> None:
    relay.answer("POST /api/pools/x/drain", {"error": "no pool x"}, status=404)
    assert fails(capsys, 1, "drain", "x") == "no pool x"


def test_a_bad_token_file(capsys: Output, folder: Path) -> None:
    (folder / "token").write_text("short")
    said = fails(capsys, 2, "status", "--admin", "http://a", "--token-file", "token")
    assert said.startswith("--token-file: token holds no word of 16 letters or more; write one")


def test_the_token_is_sent(relay: Relay, capsys: Output, folder: Path) -> None:
    relay.answer("GET /status.json", GOOD)
    (folder / "token").write_text(TOKEN)
    assert run(capsys, "status", "--token-file", "token").code == 0
    assert run(capsys, "status").code == 0
    assert relay.tokens == [f"Bearer {TOKEN}", None]


def test_options_may_stand_before_the_command_too(
    relay: Relay, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WSRELAY_ADMIN")
    relay.answer("GET /status.json", GOOD)
    before = run(capsys, "--admin", relay.url, "--json", "status")
    behind = run(capsys, "status", "--admin", relay.url, "--json")
    assert before.out == behind.out
    assert before.code == behind.code == 0
    both = run(capsys, "--admin", "http://a.invalid", "status", "--admin", relay.url)
    assert both.code == 0


def test_a_unix_socket_is_asked_for_the_same(folder: Path, capsys: Output) -> None:
    with serving(unix=folder / "admin.sock") as relay:
        relay.answer("GET /status.json", GOOD)
        (folder / "relay.ini").write_text("[admin]\nlisten = unix:admin.sock:mode=600\n")
        ran = run(capsys, "status")
    assert ran.code == 0
    assert ran.out.startswith("wsrelay 0.1.0, pid 4711")


def test_a_base_path_stands_before_the_apis(relay: Relay, capsys: Output) -> None:
    relay.answer("GET /ops/status.json", GOOD)
    assert run(capsys, "status", "--admin", f"{relay.url}/ops/").code == 0


def test_https_is_checked(capsys: Output, folder: Path) -> None:
    authority = Authority(folder)
    ca = str(authority.certificate())
    with serving(certificate=authority.issue("127.0.0.1")) as relay:
        relay.answer("GET /status.json", GOOD)
        trusted = run(capsys, "status", "--admin", relay.url, "--ca", ca)
        said = fails(capsys, 3, "status", "--admin", relay.url)
    assert (trusted.code, trusted.err) == (0, "")
    assert said.startswith(f"cannot reach {relay.url}: its certificate is not trusted: ")
    assert said.endswith("; --ca FILE names authorities")
    assert len(relay.asked) == 1


def test_https_to_what_speaks_none(relay: Relay, capsys: Output) -> None:
    said = fails(capsys, 3, "status", "--admin", relay.url.replace("http:", "https:"))
    assert ": TLS failed: " in said
    assert said.endswith(OURS)


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "No such file or directory"), (b"", "there is no certificate in it")],
)
def test_a_file_of_authorities_that_is_none(
    capsys: Output, folder: Path, content: bytes | None, why: str
) -> None:
    if content is not None:
        (folder / "ca.pem").write_bytes(content)
    said = fails(capsys, 2, "status", "--admin", "https://a", "--ca", "ca.pem")
    assert said == f"--ca: cannot use ca.pem: {why}"


def test_authorities_are_for_https(capsys: Output) -> None:
    said = fails(capsys, 2, "status", "--admin", "http://a", "--ca", "ca.pem")
    assert said == "--ca: http://a:80 is not https, so nobody signs anything there"
