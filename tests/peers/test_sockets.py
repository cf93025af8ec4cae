"""TLS on either leg, and unix sockets: what is around the conversation."""

from __future__ import annotations

import contextlib
import ssl
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.peers.certificates import Authority, KeyPair
from tests.peers.client import Client, Handshake, RefusedError
from tests.peers.clients import AiohttpClient, WebsocketsClient
from tests.peers.upstreams import own_url, relay_ini, run, start_upstream
from tests.support import started_relay

pytestmark = pytest.mark.usefixtures("relayed")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Give a certificate authority that nobody trusts unasked."""
    return Authority(tmp_path)


async def echo(client: type[Client], url: str, tls: ssl.SSLContext | None = None) -> None:
    """Check that a message comes back, one that does not fit into a TLS record too."""
    async with client(Handshake(url=f"{url}/echo", tls=tls)) as peer:
        for message in ("hello", b"\x01" * 300_000):
            await peer.send(message)
            assert await peer.receive() == message


@pytest.fixture
def secure_listener(authority: Authority, tmp_path: Path) -> Iterator[str]:
    """Give the wss URL of a relay with a certificate for 127.0.0.1."""
    pair = authority.issue("127.0.0.1")
    listener = [f"certificate = {pair.certificate}", f"key = {pair.key}"]
    with start_upstream("websockets") as upstream:
        config = relay_ini({"plain": [own_url(upstream)]}, listener=listener)
        with started_relay(config, tmp_path) as relay:
            yield relay.url_of("plain", "wss")


@pytest.mark.parametrize("client", [WebsocketsClient, AiohttpClient])
def test_a_client_that_verifies_the_relay_is_served(
    client: type[Client], secure_listener: str, authority: Authority
) -> None:
    """A client that trusts the authority of the listener's certificate talks over TLS."""
    tls = ssl.create_default_context(cafile=authority.certificate())
    run(echo(client, secure_listener, tls))


def test_a_client_that_does_not_trust_the_relay_leaves(secure_listener: str) -> None:
    """A client that knows nothing of the authority refuses the listener's certificate."""
    with pytest.raises(ssl.SSLCertVerificationError):
        run(echo(WebsocketsClient, secure_listener, ssl.create_default_context()))


@contextlib.contextmanager
def secure_upstream(pair: KeyPair, pool: Sequence[str], directory: Path) -> Iterator[str]:
    """Give the URL of a relay in front of a wss upstream that shows this *pair*."""
    arguments = ["--certificate", str(pair.certificate), "--key", str(pair.key)]
    with start_upstream("websockets", *arguments) as upstream:
        config = relay_ini({"secure": [own_url(upstream, "wss")]}, pool=pool)
        with started_relay(config, directory) as relay:
            yield relay.url


def test_a_trusted_wss_upstream_is_used(authority: Authority, tmp_path: Path) -> None:
    """The relay speaks TLS with an upstream whose certificate ``tls_ca`` has signed."""
    pool = [f"tls_ca = {authority.certificate()}"]
    with secure_upstream(authority.issue("127.0.0.1"), pool, tmp_path) as url:
        run(echo(WebsocketsClient, url))


def test_a_wss_upstream_may_have_another_name(authority: Authority, tmp_path: Path) -> None:
    """``tls_name`` is the name that must stand in the upstream's certificate."""
    pool = [f"tls_ca = {authority.certificate()}", "tls_name = chat.internal"]
    with secure_upstream(authority.issue("chat.internal"), pool, tmp_path) as url:
        run(echo(WebsocketsClient, url))


@pytest.mark.parametrize(
    ("signer", "name"), [("impostor", "127.0.0.1"), ("authority", "chat.internal")]
)
def test_a_wss_upstream_that_cannot_prove_itself_is_not_used(
    signer: str, name: str, authority: Authority, tmp_path: Path
) -> None:
    """A certificate from another authority or for another name makes it a 502."""
    pool = [f"tls_ca = {authority.certificate()}"]
    signers = {"impostor": Authority(tmp_path, "impostor"), "authority": authority}
    with (
        secure_upstream(signers[signer].issue(name), pool, tmp_path) as url,
        pytest.raises(RefusedError) as caught,
    ):
        run(echo(WebsocketsClient, url))
    assert caught.value.status == 502


def test_an_upstream_on_a_unix_socket_is_used(tmp_path: Path) -> None:
    """``unix:/path`` in ``upstreams`` is a socket of this machine."""
    with tempfile.TemporaryDirectory() as short:  # a socket's path has 107 bytes at most
        path = Path(short) / "upstream.sock"
        with start_upstream("websockets", "--unix", str(path)) as upstream:
            upstream.wait_for_event(event="listening")
            with started_relay(relay_ini({"local": [f"unix:{path}"]}), tmp_path) as relay:
                run(echo(WebsocketsClient, relay.url))
