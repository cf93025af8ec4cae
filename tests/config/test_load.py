"""A configuration is read from one file, or comes from the command line."""

import os
from pathlib import Path

import pytest

from wsrelay.config import Checks, ConfigErrors, ConfigUnreadable, load, parse, short_form
from wsrelay.config.model import UpstreamConfig

from .samples import SMALL, parsed


def refused(listen: list[str], upstream: list[str], checks: Checks | None = None) -> list[str]:
    with pytest.raises(ConfigErrors) as caught:
        short_form(listen, upstream, checks or Checks())
    return list(map(str, caught.value.errors))


def test_a_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "relay.ini"
    file.write_text(SMALL)
    assert load(file, {}, Checks()) == parsed(SMALL)


def test_files_are_looked_for_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "relay.ini").write_text(
        f"{SMALL}[listener:tls]\nendpoint = tcp:1\ncertificate = a.pem\n"
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigErrors) as caught:
        load("./conf/relay.ini", {}, Checks())
    there = tmp_path / "conf" / "a.pem"
    assert str(caught.value) == (
        f"./conf/relay.ini:6: [listener:tls] certificate: there is no file {there}"
    )
    there.touch()
    assert load("./conf/relay.ini", {}, Checks()).listeners[0].certificate == there


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("unix:run/r.sock:mode=660", r"unix:{}/run/r.sock:mode=660"),
        ("unix:address=r.sock", r"unix:address={}/r.sock"),
        ("unix:/run/r.sock", "unix:/run/r.sock"),
        ("unix:", "unix:"),
        ("tcp:8081", "tcp:8081"),
    ],
)
def test_a_unix_endpoint_is_relative_to_the_file(tmp_path: Path, written: str, meant: str) -> None:
    folder = tmp_path / r"a:b\c"
    folder.mkdir()
    (folder / "relay.ini").write_text(f"{SMALL}[listener:more]\nendpoint = {written}\n")
    listeners = load(folder / "relay.ini", {}, Checks()).listeners
    endpoints = {each.name: each.endpoint for each in listeners}
    assert type(endpoints["more"]) is str, "Twisted takes no other text"
    assert endpoints["more"] == meant.format(f"{tmp_path}/a\\:b\\\\c")


@pytest.mark.parametrize("name", ["gone.pem", "x" * 300, "."])
def test_a_certificate_that_is_no_file_is_an_error_whatever_its_name(
    tmp_path: Path, name: str
) -> None:
    file = tmp_path / "relay.ini"
    file.write_text(f"{SMALL}[listener:tls]\nendpoint = tcp:1\ncertificate = {name}\n")
    with pytest.raises(ConfigErrors, match=r"relay\.ini:6: .* there is no file"):
        load(file, {}, Checks())


@pytest.mark.parametrize("name", ["gone.ini", ".", "a\0b"])
def test_a_file_that_cannot_be_read_is_named_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigUnreadable) as caught:
        load(name, {}, Checks())
    assert str(caught.value).startswith(f"{name}: cannot be read: ")
    assert not str(caught.value).endswith("None")


def test_the_command_line_is_the_two_line_file() -> None:
    assert short_form(["tcp:8080"], ["ws://127.0.0.1:3000"], Checks()) == parsed(SMALL)


def test_both_options_repeat() -> None:
    config = short_form(["tcp:1", "tcp:2"], ["ws://a:1", "ws://b:1 backup"], Checks())
    assert [listener.name for listener in config.listeners] == ["default", "default-2"]
    assert config.pools[0].upstreams == (
        UpstreamConfig("a:1", "ws://a:1"),
        UpstreamConfig("b:1", "ws://b:1", backup=True),
    )


def test_a_relative_socket_is_in_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = short_form(["tcp:1"], ["unix:a.sock"], Checks())
    assert config.pools[0].upstreams[0].socket_path == os.fspath(tmp_path / "a.sock")


def test_each_error_names_its_argument() -> None:
    def refuse(endpoint: str) -> None:
        raise ValueError(f"no endpoint {endpoint}")

    errors = refused(["x"], ["ws//x", " ", "ws://a:1", "ws://a:1"], Checks(endpoint=refuse))
    assert [error.partition("; ")[0] for error in errors] == [
        "--upstream ws//x: 'ws//x' is not an upstream (did you mean ws://x?)",
        "--upstream: there is nothing behind it",
        "--listen x: no endpoint x",
        "--upstream ws://a:1: the name 'a:1' is taken by --upstream ws://a:1",
    ]


def test_two_equal_endpoints_are_refused() -> None:
    (error,) = refused(["tcp:1", "tcp:1"], ["ws://a:1"])
    assert error.startswith("--listen tcp:1: 'tcp:1' is the endpoint of listener 'default' already")


def test_both_are_needed() -> None:
    assert refused([], []) == [
        "--listen: is missing; add --listen tcp:8080, say",
        "--upstream: is missing; add --upstream ws://HOST:PORT, say",
    ]


def test_a_file_name_with_odd_characters_stays_one_line() -> None:
    with pytest.raises(ConfigErrors) as caught:
        parse(b"x", "a\nb", Path("/"), {}, Checks())
    assert str(caught.value).startswith("a\\nb:1: ")
