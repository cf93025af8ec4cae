"""What the running system says about a configuration, in an operator's words."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.peers.certificates import Authority
from wsrelay.checks import make_checks
from wsrelay.config import ConfigErrors, load
from wsrelay.config.model import ListenerConfig, PoolConfig, UpstreamConfig

CHECKS = make_checks()


@pytest.mark.parametrize(
    "endpoint",
    [
        "tcp:8080",
        "tcp:port=8080",
        "tcp:0:interface=127.0.0.1:backlog=5",
        r"tcp6:8080:interface=\:\:1",
        "unix:/run/r.sock:mode=660",
        f"unix:/{'é' * 53}",
        f"unix:mode=600:address=/{'x' * 106}",
        "unix:/run/r.sock:mode=0600:backlog=5:lockfile=0",
        "systemd:domain=INET:index=0",
        "systemd:domain=INET6:index=12",
        "systemd:domain=UNIX:name=web",
        "systemd:INET:name=web.socket",
    ],
)
def test_a_good_endpoint_is_accepted(endpoint: str) -> None:
    CHECKS.endpoint(endpoint)


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [
        ("tcp:80800", "'80800' is no port; expected 0 to 65535, as in tcp:8080"),
        ("tcp:127.0.0.1:8080", "'127.0.0.1' is no port"),
        ("tcp:8080:interface=127.0.0.2000", "'127.0.0.2000' is no address"),
        ("tcp:8080:interfce=127.0.0.1", "'interfce=127.0.0.1' is not understood"),
        ("tcp6:8080:interface=127.0.0.1", r"expected one as in interface=\:\:1"),
        ("tcp6:80:interface=::", r"are escaped; write tcp6:80:interface=\:\:1, say"),
        ("tcp:80:interface=[2001:db8::1]", r"are escaped; write tcp6:80:interface=\:\:1"),
        ("127.0.0.1:8080", "write tcp:8080:interface=127.0.0.1"),
        ("localhost:8080", "write tcp:8080:interface=localhost"),
        ("*:8080", "write tcp:8080"),
        ("8080", "write tcp:8080"),
        (":8080", "write tcp:8080"),
        ("ssl:8443", "certificate and key on lines of their own"),
        ("udp:53", "is no Twisted server endpoint"),
        (f"unix:/{'x' * 107}", "has 107 bytes at most, and this one has 108; choose a shorter"),
        (f"unix:/{'é' * 54}:mode=660", "and this one has 109; choose a shorter one than /é"),
        (f"unix:address=/{'x' * 107}", "and this one has 108"),
        (rf"unix:/a\:b/{'x' * 107}", "and this one has 112; choose a shorter one than /a:b/x"),
        ("unix:", "'unix:' has no path; write for example tcp:8080"),
        ("unix:mode=660", "'unix:mode=660' has no path"),
        ("unix:/r.sock:mode=999", "'mode=999' makes no sense; expected three digits from 0 to 7"),
        ("unix:/r.sock:mode=rw", "'mode=rw' makes no sense"),
        ("unix:/r.sock:mode=", "'mode=' makes no sense"),
        ("unix:/r.sock:mode=4660", "'mode=4660' makes no sense"),
        ("unix:mode=66:address=/r.sock", "'mode=66' makes no sense"),
        ("unix:/r.sock:backlog=x", "'backlog=x' makes no sense; expected a number"),
        ("unix:/r.sock:lockfile=no", "'lockfile=no' makes no sense; expected 0 or 1"),
        ("unix:/r.sock:owner=www", "'owner=www' is not understood; expected mode=660"),
        ("unix:/r.sock:660", "'660' is not understood; expected mode=660"),
        ("systemd:index=0", "is not understood; write systemd:domain=INET:index=0, with INET"),
        ("systemd:domain=INET", "'systemd:domain=INET' is not understood"),
        ("systemd:domain=INET:index=-1", "is not understood"),
        ("systemd:domain=INET:index=0:name=a", "is not understood"),
        ("systemd:domain=TCP:index=0", "with INET, INET6 or UNIX"),
    ],
)
def test_a_bad_endpoint_is_refused_with_what_to_write(endpoint: str, words: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the words are compared below
        CHECKS.endpoint(endpoint)
    assert words in str(caught.value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder with TLS files, good and bad."""
    pair = Authority(tmp_path).issue("relay.test")
    pair.certificate.rename(tmp_path / "good.pem")
    pair.key.rename(tmp_path / "good.key")
    other = Authority(tmp_path, "other").issue("relay.test")
    other.key.rename(tmp_path / "other.key")
    (tmp_path / "bad").write_text("nothing of use")
    return tmp_path


@pytest.mark.parametrize(
    ("certificate", "key", "words"),
    [
        ("good.pem", "good.pem", "holds no private key in PEM form"),
        ("good.pem", "bad", "holds no private key in PEM form"),
        ("good.pem", "other.key", "does not belong to the certificate"),
        ("bad", "good.key", "holds no certificate in PEM form"),
        ("good.pem", "gone", "cannot read"),
        ("gone", "good.key", "cannot read"),
    ],
)
def test_bad_tls_files_are_named(folder: Path, certificate: str, key: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        CHECKS.listener_tls(ListenerConfig("l", "tcp:1", folder / certificate, folder / key))
    pool = PoolConfig(
        "p",
        (UpstreamConfig("u", "wss://upstream.test"),),
        tls_certificate=folder / certificate,
        tls_key=folder / key,
    )
    if key != "other.key":  # OpenSSL compares them when it connects
        with pytest.raises(ValueError, match=words):
            CHECKS.upstream_tls(pool)


def test_good_tls_files_are_accepted(folder: Path) -> None:
    CHECKS.listener_tls(ListenerConfig("l", "tcp:1", folder / "good.pem", folder / "good.key"))
    CHECKS.upstream_tls(
        PoolConfig(
            "p",
            (UpstreamConfig("u", "wss://upstream.test"), UpstreamConfig("v", "ws://plain.test")),
            tls_ca=folder / "good.pem",
            tls_certificate=folder / "good.pem",
            tls_key=folder / "good.key",
        )
    )


def test_a_certificate_without_its_key_is_one_line_among_all_the_errors(folder: Path) -> None:
    (folder / "relay.ini").write_text(
        "[listener:a]\nendpoint = tcp:8443\ncertificate = good.pem\n"
        "[route:r]\npool = p\nkeepalive = 5x\n[pool:p]\nupstreams = ws://127.0.0.1:1\n"
        "[log]\naccess = nowhere/access.log\n"
    )
    with pytest.raises(ConfigErrors) as caught:
        load(folder / "relay.ini", {}, CHECKS)
    lines = [error.line for error in caught.value.errors]
    assert lines == [3, 6, 10]
    assert "good.pem holds no private key" in str(caught.value)
    assert "there is no folder" in str(caught.value)


def test_a_filter_and_the_file_that_it_names_are_looked_at(tmp_path: Path) -> None:
    (tmp_path / "denied.txt").write_text("fine\na(\n")
    file = tmp_path / "relay.ini"
    file.write_text(
        "[listener:web]\nendpoint = tcp:8080\n[pool:p]\nupstreams = ws://127.0.0.1:3000\n"
        "[route:chat]\npool = p\nmode = messages\nfilters =\n"
        "  log payload=80\n  deny-patern pattern=x\n  deny-pattern file=denied.txt\n"
    )
    with pytest.raises(ConfigErrors) as caught:
        load(file, {}, CHECKS)
    unknown, bad = map(str, caught.value.errors)
    assert unknown.startswith(f"{file}:10: [route:chat] filters: unknown filter 'deny-patern'")
    assert unknown.endswith("did you mean 'deny-pattern'?")
    assert bad.startswith(
        f"{file}:11: [route:chat] filters: file: {tmp_path / 'denied.txt'}:2: 'a(' is not"
    )


CLUSTER = "[relay]\nlisten = tcp:8080\nupstream = ws://127.0.0.1:1\n[cluster]\nredis = {}\n"


def test_a_redis_without_what_talks_to_it_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "hiredis", None)
    file = tmp_path / "relay.ini"
    file.write_text(CLUSTER.format("redis://127.0.0.1"))
    with pytest.raises(
        ConfigErrors, match=r":5: \[cluster\] redis: .*pip install wsrelay\[redis\]"
    ):
        load(file, {}, CHECKS)


def test_the_authorities_of_a_redis_are_looked_at(tmp_path: Path) -> None:
    file = tmp_path / "relay.ini"
    file.write_text(CLUSTER.format("rediss://r1?ca=none.pem"))
    with pytest.raises(ConfigErrors, match=r":5: \[cluster\] redis: .*none\.pem"):
        load(file, {}, CHECKS)
