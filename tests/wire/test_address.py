"""The client's address is what trusted proxies report, and nothing else."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsrelay.wire.address import UNIX, client_address, is_trusted, request_id

TRUSTED = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "address", "chain"),
    [
        # A stranger is believed nothing.
        ("192.0.2.1", [], "192.0.2.1", b"192.0.2.1"),
        ("192.0.2.1", ["198.51.100.9"], "192.0.2.1", b"192.0.2.1"),
        ("192.0.2.1", ["10.0.0.1"], "192.0.2.1", b"192.0.2.1"),
        ("2001:DB8:0::1", ["10.0.0.1"], "2001:db8::1", b"2001:db8::1"),
        ("::ffff:192.0.2.1", [], "192.0.2.1", b"192.0.2.1"),
        ("fe80::1%eth0", [], "fe80::1", b"fe80::1"),
        # A trusted proxy is, for as long as the one who wrote is trusted.
        ("10.0.0.1", [], "10.0.0.1", b"10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1", b"10.0.0.1"),
        ("10.0.0.1", ["192.0.2.1"], "192.0.2.1", b"192.0.2.1, 10.0.0.1"),
        ("::ffff:10.0.0.1", ["192.0.2.1"], "192.0.2.1", b"192.0.2.1, 10.0.0.1"),
        ("fd00::1", ["192.0.2.1"], "192.0.2.1", b"192.0.2.1, fd00::1"),
        (
            "10.0.0.1",
            ["203.0.113.5, 192.0.2.1,10.0.0.2"],
            "192.0.2.1",
            b"203.0.113.5, 192.0.2.1,10.0.0.2, 10.0.0.1",
        ),
        (
            "10.0.0.1",
            ["203.0.113.5, 192.0.2.1", "", "10.0.0.2"],
            "10.0.0.2",
            b"203.0.113.5, 192.0.2.1, 10.0.0.2, 10.0.0.1",
        ),
        (
            "10.0.0.1",
            ["203.0.113.5, 192.0.2.1", "10.0.0.2"],
            "192.0.2.1",
            b"203.0.113.5, 192.0.2.1, 10.0.0.2, 10.0.0.1",
        ),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3", b"10.0.0.3, 10.0.0.2, 10.0.0.1"),
        ("10.0.0.1", ["192.0.2.1, unknown"], "10.0.0.1", b"192.0.2.1, unknown, 10.0.0.1"),
        ("10.0.0.1", ["192.0.2.1, x, 10.0.0.2"], "10.0.0.2", b"192.0.2.1, x, 10.0.0.2, 10.0.0.1"),
        ("10.0.0.1", ["\xe4"], "10.0.0.1", b"\xe4, 10.0.0.1"),
    ],
)
def test_the_chain_is_walked_from_its_trusted_end(
    peer: str, forwarded_for: list[str], address: str, chain: bytes
) -> None:
    assert client_address(peer, forwarded_for, TRUSTED) == (address, chain)


def test_a_unix_socket_has_no_address() -> None:
    assert client_address(None, ["192.0.2.1"], TRUSTED) == ("", None)


@pytest.mark.parametrize(
    ("forwarded_for", "address", "chain"),
    [
        ([], "", None),
        ([""], "", None),
        (["192.0.2.1"], "192.0.2.1", b"192.0.2.1"),
        (["203.0.113.5, 192.0.2.1"], "192.0.2.1", b"203.0.113.5, 192.0.2.1"),
        (["192.0.2.1", "10.0.0.2"], "192.0.2.1", b"192.0.2.1, 10.0.0.2"),
        (["192.0.2.1, unknown"], "", b"192.0.2.1, unknown"),
    ],
)
def test_who_is_trusted_on_a_unix_socket_tells_of_clients_and_adds_nobody(
    forwarded_for: list[str], address: str, chain: bytes | None
) -> None:
    assert client_address(None, forwarded_for, (*TRUSTED, UNIX)) == (address, chain)


def test_to_trust_unix_sockets_is_to_trust_no_address() -> None:
    assert client_address("192.0.2.1", ["198.51.100.9"], (UNIX,)) == ("192.0.2.1", b"192.0.2.1")
    assert not is_trusted("192.0.2.1", (UNIX,))
    assert is_trusted(None, (UNIX,))


@pytest.mark.parametrize(
    ("element", "address"),
    [
        ("192.0.2.1:8080", "192.0.2.1"),
        ("[2001:DB8::1]", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("[::ffff:192.0.2.1]:1", "192.0.2.1"),
        ("\t192.0.2.1 ", "192.0.2.1"),
    ],
)
def test_ports_and_brackets_are_tolerated(element: str, address: str) -> None:
    assert client_address("10.0.0.1", [element], TRUSTED)[0] == address


@pytest.mark.parametrize(
    "element",
    [
        "192.0.2.256",
        "192.0.2",
        "192.0.2.1:",
        "192.0.2.1:123456",
        "192.0.2.1:x",
        "192.0.2.1/32",
        "0x7f.0.0.1",
        "192.0.2.\xb2",
        "[2001:db8::1",
        "2001:db8::1]:80",
        "[2001:db8::1]x",
        "fe80::1%eth0",
        "_hidden",
        '"192.0.2.1"',
        "for=192.0.2.1",
        ":",
    ],
)
def test_what_is_no_address_ends_the_walk(element: str) -> None:
    assert client_address("10.0.0.1", ["192.0.2.1, " + element], TRUSTED)[0] == "10.0.0.1"


@settings(deadline=None)
@given(st.lists(st.text("0123456789abcdef.:[], %x\xff", max_size=20), max_size=4))
def test_any_chain_gives_an_address_and_keeps_the_peer_last(forwarded_for: list[str]) -> None:
    address, chain = client_address("10.0.0.1", forwarded_for, TRUSTED)
    assert str(ip_address(address)) == address
    assert chain is not None
    assert chain.endswith(b"10.0.0.1")


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        ("10.9.9.9", True),
        ("::ffff:10.0.0.1", True),
        ("fd12::1", True),
        ("192.0.2.1", False),
        (None, False),
    ],
)
def test_a_proxy_is_trusted_by_its_network(peer: str | None, expected: bool) -> None:
    assert is_trusted(peer, TRUSTED) is expected
    assert not is_trusted(peer, ())


@pytest.mark.parametrize("value", ["x", "!~", "0af7651916cd43dd8448eb211c80319c", "y" * 128])
def test_a_fit_request_id_is_kept(value: str) -> None:
    assert request_id(value, "new") == value


@pytest.mark.parametrize(
    "value", ["", "a b", "a,b", "\t", "a\n", "\x7f", "\xe4", "\xa0", "y" * 129]
)
def test_any_other_request_id_is_made_anew(value: str) -> None:
    assert request_id(value, "new") == "new"
