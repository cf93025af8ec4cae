"""What counts as one client."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network

from hypothesis import given
from hypothesis import strategies as st

from wsrelay.guards.keys import address_of, key_of

V6 = st.integers(0, 2**128 - 1).map(IPv6Address)


def same(one: str, other: str, ipv6_prefix: int = 64) -> bool:
    keys = []
    for text in (one, other):
        address = address_of(text)
        assert address is not None
        keys.append(key_of(address, ipv6_prefix))
    return keys[0] == keys[1]


def test_of_ipv4_every_address_is_a_client() -> None:
    assert same("192.0.2.1", "192.0.2.1")
    assert not same("192.0.2.1", "192.0.2.2")


def test_of_ipv6_every_network_is_a_client() -> None:
    assert same("2001:db8:1:2::1", "2001:db8:1:2:ffff::9")
    assert not same("2001:db8:1:2::1", "2001:db8:1:3::1")


def test_ipv4_in_ipv6_is_ipv4() -> None:
    assert same("::ffff:192.0.2.1", "192.0.2.1")
    assert not same("::ffff:192.0.2.1", "::ffff:192.0.2.2")


def test_the_zone_of_an_address_makes_no_difference() -> None:
    assert same("fe80::1%eth0", "fe80::1%eth1", 128)


def test_without_an_address_there_is_no_client() -> None:
    assert address_of("") is None


@given(V6, st.integers(0, 127), st.integers(1, 128))
def test_two_are_the_same_client_if_one_network_of_that_length_has_both(
    one: IPv6Address, bit: int, prefix: int
) -> None:
    other = IPv6Address(int(one) ^ (1 << bit))
    network = IPv6Network((int(one), prefix), strict=False)
    assert (key_of(one, prefix) == key_of(other, prefix)) == (other in network)


@given(V6, st.integers(1, 128), st.integers(1, 128))
def test_another_length_is_never_mixed_up_with_it(
    address: IPv6Address, one: int, other: int
) -> None:
    assert (key_of(address, one) == key_of(address, other)) == (one == other)


@given(V6, st.integers(0, 2**32 - 1).map(IPv4Address), st.integers(1, 128))
def test_ipv4_and_ipv6_are_never_mixed_up(six: IPv6Address, four: IPv4Address, length: int) -> None:
    assert key_of(six, length) != key_of(four, length)
