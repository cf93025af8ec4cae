"""The edge that lets nobody in without a certificate."""

from __future__ import annotations

import ssl
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.examples.support import converse, example, fetch, open_socket, telling, trusting
from tests.peers.certificates import Authority, KeyPair
from tests.peers.upstreams import own_url
from tests.support import RelayProcess, started_relay

pytestmark = pytest.mark.peers

HOST = "devices.example.com"


def in_one_file(pair: KeyPair) -> Path:
    """Put the key behind the certificate."""
    pair.certificate.write_bytes(pair.certificate.read_bytes() + pair.key.read_bytes())
    return pair.certificate


@pytest.fixture
def devices(tmp_path: Path) -> Authority:
    """Give who signs the devices' certificates."""
    return Authority(tmp_path, "devices")


@pytest.fixture
def relay(
    stack: ExitStack, authority: Authority, devices: Authority, tmp_path: Path
) -> RelayProcess:
    """Give the example, in front of an upstream that wants the edge's certificate, too."""
    internal = Authority(tmp_path, "internal")
    directory = tmp_path / "certificates"
    directory.mkdir()
    for name in (HOST, "other.example.com"):
        in_one_file(authority.issue(name)).rename(directory / f"{name}.pem")
    hub = in_one_file(internal.issue("hub.internal"))
    files = ["--certificate", str(hub), "--client-ca", str(internal.certificate())]
    upstream = stack.enter_context(telling("hub", *files))
    replaced = {
        "wss://10.0.0.31:8443": own_url(upstream, "wss"),
        "/etc/wsrelay/certificates": directory,
        "/etc/wsrelay/devices-ca.pem": devices.certificate(),
        "/etc/wsrelay/internal-ca.pem": internal.certificate(),
        "/etc/wsrelay/edge.pem": in_one_file(internal.issue("edge.internal")),
    }
    text = example("client-certificates.ini", replaced)
    return stack.enter_context(started_relay(text, tmp_path))


def test_a_device_is_known_by_its_certificate(
    relay: RelayProcess, authority: Authority, devices: Authority
) -> None:
    tls = trusting(authority.certificate(), certificate=devices.issue("sensor-7"))
    port = relay.ports["devices"]
    forged = {"X-SSL-Client-S-DN": "CN=boss", "X_SSL_Client_S_DN": "CN=boss"}
    with open_socket(port, "/", host=HOST, tls=tls, headers=forged) as client:
        told = converse(client)
    plain = fetch(port, "/", host=HOST, tls=tls, headers=forged).told
    for each in (told, plain):
        assert each.get("X-SSL-Client-Verify") == "SUCCESS"
        assert each.get("X-SSL-Client-S-DN") == "CN=sensor-7"
        assert each.get("X_SSL_Client_S_DN") is None
        assert each.facts["peer"] == "edge.internal"


def test_the_host_is_shown_its_own_certificate(
    relay: RelayProcess, authority: Authority, devices: Authority
) -> None:
    """A name that a certificate does not have fails in this client's own check."""
    tls = trusting(authority.certificate(), certificate=devices.issue("sensor-7"))
    answer = fetch(relay.ports["devices"], "/", host="other.example.com", tls=tls)
    assert answer.status == 404  # another host than the route's


@pytest.mark.parametrize("shown", ["none", "stranger"])
def test_nobody_else_gets_in(
    relay: RelayProcess, authority: Authority, tmp_path: Path, shown: str
) -> None:
    stranger = Authority(tmp_path, "stranger").issue("sensor-7") if shown == "stranger" else None
    tls = trusting(authority.certificate(), certificate=stranger)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        fetch(relay.ports["devices"], "/", host=HOST, tls=tls)
    relay.wait_for_event(event="refused", status=400)


def test_tls_1_2_is_too_old_here(
    relay: RelayProcess, authority: Authority, devices: Authority
) -> None:
    tls = trusting(authority.certificate(), certificate=devices.issue("sensor-7"))
    tls.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError, match="protocol version"):
        fetch(relay.ports["devices"], "/", host=HOST, tls=tls)
