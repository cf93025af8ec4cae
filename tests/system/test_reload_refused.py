"""Reloads that are refused, that come all at once, or when nobody should need one any more."""

from __future__ import annotations

import os
import signal
import ssl
from pathlib import Path

import pytest

from tests.peers.certificates import Authority, KeyPair
from tests.support import started_relay
from tests.system.secure import connect_tls
from tests.system.site import MAIN, Site, ini_with, listener, route
from tests.system.support import (
    BINARY,
    RawUpstream,
    Stage,
    answer_close,
    check_ended,
    check_log_is_calm,
    end_normally,
    fd_count,
    handshake,
    masked,
    read_data,
    refuses,
    switching,
    wait_until,
)

NO_FILES = {"a head that does not end": "[relay\n", "nothing": "", "a zero": "\0"}
MISTAKES = {
    "a pool": (route("x").replace("pool = main", "pool = mian"), "unknown pool 'mian'"),
    "an option": ("[relay]\nworkerz = 1", "unknown option 'workerz'"),
    "a balancer": ("[pool:y]\nbalancer = best\nupstreams = ws://127.0.0.1:1", "'best'"),
    "a file": (listener("tls", "certificate = none.pem", "key = none.pem"), "none.pem"),
}


def check_nothing_changed(site: Site) -> None:
    site.relay.write(ini_with(site.url, route("x")))
    site.stage.works()
    site.relay.hang_up("reload: route x added")
    site.stage.works(b"/x")


@pytest.mark.parametrize("name", NO_FILES)
def test_a_file_that_is_no_configuration_changes_nothing(site: Site, name: str) -> None:
    site.relay.file.write_text(NO_FILES[name])
    assert "reload refused: relay.ini:" in site.relay.hang_up("reload refused: ")
    check_nothing_changed(site)


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_changes_nothing_and_its_line_is_logged(site: Site, name: str) -> None:
    content, words = MISTAKES[name]
    line = site.reload(content, wanted="reload refused: ")
    _, _, complaint = line.partition("reload refused: ")
    file, number, text = complaint.split(":", 2)
    assert file == "relay.ini"
    assert words in text
    assert site.relay.file.read_text().splitlines()[int(number) - 1] in content.splitlines()
    check_nothing_changed(site)


def test_every_mistake_is_logged(site: Site) -> None:
    site.reload("[pool:a]\nx = 1", "[pool:b]\ny = 1", wanted="reload refused: ")
    site.relay.wait_for_words("[pool:a] x: unknown option")
    site.relay.wait_for_words("[pool:b] y: unknown option")


def test_a_file_that_cannot_be_read_changes_nothing(site: Site) -> None:
    away = site.relay.file.rename(site.relay.file.with_name("away.ini"))
    assert "No such file" in site.relay.hang_up("reload refused: ")
    site.relay.file.mkdir()
    assert "relay.ini" in site.relay.hang_up("reload refused: ")
    site.stage.works()
    site.relay.file.rmdir()
    away.rename(site.relay.file)
    site.relay.hang_up("reload: nothing changed")
    site.stage.works()


def use(folder: Path, certificate: KeyPair, key: KeyPair) -> None:
    """Put a certificate and a key where relay.ini says."""
    (folder / "relay.pem").write_bytes(certificate.certificate.read_bytes())
    (folder / "relay.key").write_bytes(key.key.read_bytes())


def test_a_key_that_does_not_belong_to_its_certificate_is_refused_until_it_does(
    site: Site, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    old, new = authority.issue("old.test"), authority.issue("new.test")
    context = ssl.create_default_context(cafile=str(authority.certificate()))
    use(tmp_path, old, old)
    tls = listener("tls", "certificate = relay.pem", "key = relay.key")
    site.reload(tls, wanted="reload: listener tls opened")
    client = connect_tls(site.stage, context, name="old.test")
    client.send(handshake())
    other = site.stage.accept()
    other.send(switching())
    client.read_head()
    use(tmp_path, new, old)
    line = site.relay.hang_up("reload refused: ")
    assert "[listener:tls]" in line
    assert "does not belong to the certificate" in line
    connect_tls(site.stage, context, name="old.test")
    use(tmp_path, new, new)
    site.relay.hang_up("reload: ")
    connect_tls(site.stage, context, name="new.test")
    with pytest.raises(ssl.SSLCertVerificationError):
        connect_tls(site.stage, context, name="old.test")
    other.read_head()
    client.send(masked(BINARY, b"since the old one"))
    assert read_data(other).payload == b"since the old one"
    end_normally(client, other)


def test_twenty_signals_in_a_burst_are_one_state_in_the_end(site: Site) -> None:
    descriptors = fd_count(site.relay.pid)
    for number in range(20):
        more = [listener("odd")] if number % 2 else []
        site.relay.write(ini_with(site.url, route(f"x{number}"), *more))
        os.kill(site.relay.pid, signal.SIGHUP)
    site.relay.wait_for_words("reload: route x19 added")
    site.stage.works(b"/x19")
    end_normally(*site.stage.begin(listener="odd"))
    site.reload(wanted="reload: route x19 removed")
    wait_until(lambda: fd_count(site.relay.pid) <= descriptors, "as many descriptors as before")


def test_a_reload_while_the_relay_stops_is_refused_and_harms_nothing(
    upstream: RawUpstream, tmp_path: Path
) -> None:
    rows = "[relay]\ndrain_timeout = 1h\n[log]\naccess = access.log\n"
    with started_relay(ini_with(upstream.url, rows), tmp_path) as relay:
        stage = Stage(relay, upstream)
        pairs = [stage.begin() for _ in range(2)]
        port = relay.ports["main"]
        relay.terminate()
        closed = wait_until(lambda: next((p for p in pairs if p[0].has_data()), None), "a close")
        answer_close(*closed)
        tick = "[relay]\ndrain_timeout = 0s\n[log]\naccess = other.log\ntick = 1s\n"
        text = ini_with(upstream.url, tick, listener("new"))
        line = relay.reload(text, "reload refused: ")
        assert "stopping" in line
        assert refuses(port)
        assert refuses(relay.ports["new"])
        assert not (tmp_path / "other.log").exists()
        (other,) = [pair for pair in pairs if pair is not closed]
        other[0].send(masked(BINARY, b"still served"))
        assert read_data(other[1]).payload == b"still served"
        os.kill(relay.pid, signal.SIGHUP)
        relay.terminate()
        check_ended(relay)
        stage.close()
    check_log_is_calm(relay.log())
    assert (tmp_path / "access.log").read_text().count(" end ") == 2


@pytest.mark.parametrize("content", ["[relay\n", None])
def test_the_access_log_is_opened_anew_although_the_new_file_is_bad(
    upstream: RawUpstream, tmp_path: Path, content: str | None
) -> None:
    file, old = tmp_path / "access.log", tmp_path / "access.log.1"
    with started_relay(ini_with(upstream.url, "[log]\naccess = access.log"), tmp_path) as relay:
        stage = Stage(relay, upstream)
        end_normally(*stage.begin(b"/one"))
        wait_until(lambda: file.read_text().count("\n") == 2, "two lines")
        if content is None:
            relay.file.unlink()
        else:
            relay.file.write_text(content)
        file.rename(old)
        relay.hang_up("reload refused: ")
        end_normally(*stage.begin(b"/two"))
        wait_until(lambda: file.read_text().count("\n") == 2, "two lines in the new file")
        assert old.read_text().count("\n") == 2
        stage.close()


def test_an_access_log_that_cannot_be_written_refuses_the_reload(
    site: Site, tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    descriptors = fd_count(site.relay.pid)
    more = "[log]\naccess = folder", listener("new"), route("x")
    assert "folder" in site.reload(*more, wanted="reload refused: ")
    assert refuses(site.relay.ports["new"])
    assert fd_count(site.relay.pid) == descriptors
    site.stage.works()
    site.reload("[log]\naccess = new.log\nformat = json", wanted="reload: log changed")
    site.stage.works()
    file = tmp_path / "new.log"
    wait_until(lambda: file.read_text().count('"event":"') == 2, "two lines")


def test_another_data_path_is_for_new_sessions(site: Site) -> None:
    main = f"[relay]\ndata_path = %s\n{MAIN}"
    for data_path in ("python", "auto", "python"):
        site.reload(main=main % data_path, wanted="data_path changed")
        site.stage.works()
        site.check()
