"""Which relay is meant, and how it is opened."""

import re
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsrelay.operate.address import Address, address_of_endpoint, parse_address
from wsrelay.operate.troubles import BadSetting
from wsrelay.operate.whereabouts import Whereabouts, find

from .stand_in import TOKEN

OTHER = "another-token-than-that"


def found(env: dict[str, str] | None = None, **options: str) -> tuple[str, str]:
    given_options = {"admin": "", "config": "", "token_file": "", **options}
    where: Whereabouts = find(Namespace(**given_options), env or {})
    return str(where.address), where.token


def judged(parse: Callable[[str], Address], text: str) -> tuple[Address | None, str]:
    """Return an address, or None and the sentence why not."""
    try:
        return parse(text), ""
    except ValueError as error:
        return None, str(error)


def write(file: Path, port: int, token: str = "") -> str:
    text = f"[admin]\nlisten = tcp:{port}:interface=127.0.0.1\n"
    if token:
        (file.parent / "token").write_text(token)
        text += "token_file = token\n"
    file.write_text(text)
    return str(file)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
        ("http://127.0.0.1:9000/", "http://127.0.0.1:9000"),
        ("http://relay.example", "http://relay.example:80"),
        ("https://relay.example", "https://relay.example:443"),
        ("https://ops.example/wsrelay/", "https://ops.example:443/wsrelay"),
        ("http://[::1]:9000", "http://[::1]:9000"),
        ("unix:/run/wsrelay/admin.sock", "unix:/run/wsrelay/admin.sock"),
        ("unix:admin.sock", "unix:admin.sock"),
    ],
)
def test_an_address_is_shown_as_it_is_used(url: str, shown: str) -> None:
    assert str(parse_address(url)) == shown


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("127.0.0.1:9000", "is not the URL of an admin endpoint; expected http://127.0.0.1:9000"),
        ("localhost:9000", "is not the URL"),
        ("ws://127.0.0.1:9000", "is not the URL"),
        ("http:127.0.0.1", "is not the URL"),
        ("", "is not the URL"),
        ("unix:", "is not the URL"),
        ("http://", "has no host"),
        ("http://:9000", "has no host"),
        ("http://a:b", "a port that is none"),
        ("http://a:0", "a port that is none"),
        ("http://a:70000", "a port that is none"),
        ("http://me:secret@a", "the URL has a user in it; a relay knows a token only"),
        ("http://a/?x=1", "has more than a host"),
        ("http://a b", "is not a URL"),
        ("http://a\r\nX: y", "is not a URL"),
        ("http://[::1", "has a host or a port that is none"),
    ],
)
def test_an_address_that_is_none_is_told(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)) as caught:
        parse_address(url)
    assert "secret" not in str(caught.value)


@given(st.text())
def test_any_text_is_an_address_or_a_sentence(text: str) -> None:
    for url in (text, f"http://{text}", f"unix:{text}"):
        address, why = judged(parse_address, url)
        if address is None:
            assert "expected" in why or "token only" in why
        else:
            assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("tcp:9000:interface=127.0.0.1", "http://127.0.0.1:9000"),
        ("tcp:port=9000:interface=127.0.0.2:backlog=5", "http://127.0.0.2:9000"),
        ("tcp:9000", "http://127.0.0.1:9000"),
        ("tcp:9000:interface=0.0.0.0", "http://127.0.0.1:9000"),
        ("tcp:9000:interface=", "http://127.0.0.1:9000"),
        ("tcp:9000:interface=10.0.0.1", "http://10.0.0.1:9000"),
        ("tcp:9000:interface=localhost", "http://localhost:9000"),
        ("tcp6:9000", "http://[::1]:9000"),
        (r"tcp6:9000:interface=\:\:1", "http://[::1]:9000"),
        (r"tcp6:9000:interface=\:\:", "http://[::1]:9000"),
        (r"tcp:9000:interface=2001\:db8\:\:7", "http://[2001:db8::7]:9000"),
        ("unix:/run/admin.sock", "unix:/run/admin.sock"),
        ("unix:/run/admin.sock:mode=660", "unix:/run/admin.sock"),
        ("unix:address=/run/admin.sock:lockfile=0", "unix:/run/admin.sock"),
        (r"unix:/run/a\:b.sock", "unix:/run/a:b.sock"),
    ],
)
def test_an_endpoint_that_listens_is_reached_at_an_address(endpoint: str, url: str) -> None:
    assert str(address_of_endpoint(endpoint)) == url


@pytest.mark.parametrize(
    "endpoint",
    ["systemd:domain=INET:index=0", "ssl:443", "tcp:0", "tcp:http", "tcp:", "tcp", "unix:", ""],
)
def test_what_an_endpoint_does_not_tell_has_to_be_said(endpoint: str) -> None:
    with pytest.raises(ValueError, match="say where with --admin URL"):
        address_of_endpoint(endpoint)


@given(st.text())
def test_any_endpoint_is_an_address_or_a_sentence(text: str) -> None:
    for endpoint in (text, f"tcp:{text}", f"tcp6:{text}", f"unix:{text}"):
        address, why = judged(address_of_endpoint, endpoint)
        assert (address is None) == ("--admin" in why)


def test_the_command_line_goes_first_then_the_environment_then_the_usual_file(
    folder: Path,
) -> None:
    write(folder / "relay.ini", 1)
    assert found() == ("http://127.0.0.1:1", "")
    env = {"WSRELAY_CONFIG": write(folder / "named.ini", 2)}
    assert found(env) == ("http://127.0.0.1:2", "")
    env["WSRELAY_ADMIN"] = "http://127.0.0.1:3"
    assert found(env) == ("http://127.0.0.1:3", "")
    config = write(folder / "said.ini", 4)
    assert found(env, config=config) == ("http://127.0.0.1:4", "")
    assert found(env, config=config, admin="http://a:5") == ("http://a:5", "")


def test_the_second_usual_file_is_asked_when_the_first_is_missing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = ("relay.ini", write(folder / "etc.ini", 6))
    monkeypatch.setattr("wsrelay.operate.whereabouts.USUAL_FILES", usual)
    assert found() == ("http://127.0.0.1:6", "")


def test_the_token_is_said_or_set_or_that_of_the_file(folder: Path) -> None:
    config = write(folder / "relay.ini", 1, TOKEN)
    (folder / "other").write_text(f"{OTHER}\n")
    assert found() == ("http://127.0.0.1:1", TOKEN)
    assert found({"WSRELAY_TOKEN": "of-the-environment"})[1] == "of-the-environment"
    assert found({"WSRELAY_TOKEN": "x"}, token_file="other")[1] == OTHER
    assert found(admin="http://a", config=config)[1] == TOKEN


def test_a_token_that_nobody_named_is_not_sent_elsewhere(folder: Path) -> None:
    config = write(folder / "relay.ini", 1, TOKEN)
    assert found(admin="http://a") == ("http://a:80", "")
    assert found({"WSRELAY_CONFIG": config}, admin="http://a") == ("http://a:80", "")
    assert found({"WSRELAY_ADMIN": "http://a"}) == ("http://a:80", "")


def test_the_files_token_need_not_be_readable_for_who_has_another(folder: Path) -> None:
    config = write(folder / "relay.ini", 1, TOKEN)
    (folder / "token").unlink()
    assert found({"WSRELAY_TOKEN": OTHER}, config=config)[1] == OTHER
    with pytest.raises(BadSetting, match=r"\[admin\] token_file: cannot read .*token: No such"):
        found(config=config)


@pytest.mark.parametrize("token", ["two words", "ümlaut", "line\nbreak", "\x00"])
def test_a_token_in_the_environment_that_is_none_is_told(token: str) -> None:
    with pytest.raises(BadSetting, match="WSRELAY_TOKEN: a token is one word"):
        found({"WSRELAY_TOKEN": token}, admin="http://a")


def test_nothing_at_all_is_answered_with_what_to_write() -> None:
    with pytest.raises(BadSetting) as caught:
        found()
    assert str(caught.value) == (
        "nothing says where the relay's admin endpoint is; write [admin] and"
        " listen = tcp:9000:interface=127.0.0.1 into relay.ini and name the file with"
        " --config FILE, or say --admin http://127.0.0.1:9000"
    )


def test_a_file_without_an_admin_endpoint_is_answered_with_what_to_write(folder: Path) -> None:
    (folder / "relay.ini").write_text("[relay]\nlisten = tcp:1\nupstream = ws://a:1\n")
    with pytest.raises(BadSetting) as caught:
        found()
    assert str(caught.value) == (
        "relay.ini: there is no admin endpoint; write [admin] and"
        " listen = tcp:9000:interface=127.0.0.1 into it and restart the relay, or say --admin URL"
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[admin]\nlisten =\n", "relay.ini:2: [admin] listen: has no value"),
        ("[admin]\nlisten = systemd:domain=INET:index=0\n", "relay.ini: [admin] listen: nobody"),
    ],
)
def test_a_file_whose_admin_is_wrong_is_told(folder: Path, text: str, why: str) -> None:
    (folder / "relay.ini").write_text(text)
    with pytest.raises(BadSetting) as caught:
        found()
    assert str(caught.value).startswith(why)


def test_a_named_file_that_is_not_there_is_told() -> None:
    with pytest.raises(BadSetting, match=r"gone\.ini: cannot be read: No such file"):
        found(config="gone.ini")
