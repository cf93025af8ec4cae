"""Which networks may connect."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsrelay.guards.keys import Address, address_of
from wsrelay.guards.networks import Networks

Network = IPv4Network | IPv6Network


def may(address: str, allow: str = "", deny: str = "") -> bool:
    networks = Networks(map(ip_network, allow.split()), map(ip_network, deny.split()))
    return networks.permit(address_of(address))


@pytest.mark.parametrize(
    ("address", "allow", "deny", "expected"),
    [
        ("192.0.2.1", "", "", True),
        ("192.0.2.1", "", "192.0.2.0/24", False),
        ("192.0.3.1", "", "192.0.2.0/24", True),
        ("192.0.2.1", "192.0.2.0/24", "", True),
        ("192.0.3.1", "192.0.2.0/24", "", False),
        # the most specific one, whichever way round
        ("10.1.2.3", "10.0.0.0/8", "10.1.0.0/16", False),
        ("10.2.2.3", "10.0.0.0/8", "10.1.0.0/16", True),
        ("10.1.2.3", "10.1.0.0/16", "10.0.0.0/8", True),
        ("10.2.2.3", "10.1.0.0/16", "10.0.0.0/8", False),
        ("10.1.2.3", "10.0.0.0/8 10.1.2.3", "10.1.0.0/16", True),
        # where some are allowed, nobody else is
        ("11.0.0.1", "10.0.0.0/8", "10.1.0.0/16", False),
        ("11.0.0.1", "", "10.1.0.0/16", True),
        # both families
        ("2001:db8::1", "", "2001:db8::/32", False),
        ("2001:db9::1", "", "2001:db8::/32", True),
        ("2001:db8:1::1", "2001:db8:1::/48", "2001:db8::/32", True),
        ("2001:db8::1", "10.0.0.0/8", "", False),
        ("192.0.2.1", "", "::/0", True),
        ("2001:db8::1", "", "0.0.0.0/0", True),
        ("192.0.2.1", "", "0.0.0.0/0", False),
        # IPv4 in IPv6 is IPv4, here and there
        ("::ffff:10.1.2.3", "", "10.0.0.0/8", False),
        ("10.1.2.3", "", "::ffff:10.0.0.0/104", False),
        ("11.1.2.3", "", "::ffff:10.0.0.0/104", True),
        ("10.1.2.3", "", "::ffff:0:0/96", False),
        ("10.1.2.3", "10.0.0.0/8", "::ffff:10.0.0.0/104", False),  # in both
        # no address: a unix socket
        ("", "", "", True),
        ("", "", "0.0.0.0/0 ::/0", True),
        ("", "0.0.0.0/0 ::/0", "", False),
    ],
)
def test_who_may(address: str, allow: str, deny: str, expected: bool) -> None:
    assert may(address, allow, deny) is expected


# few bits, so that networks meet
NUMBERS = st.one_of(
    st.integers(0, 15).map(lambda bits: (4, bits << 28)),
    st.integers(0, 15).map(lambda bits: (4, bits)),
    st.integers(0, 15).map(lambda bits: (6, bits << 124)),
)


@st.composite
def networks(draw: st.DrawFn) -> Network:
    version, number = draw(NUMBERS)
    bits = 32 if version == 4 else 128
    length = draw(st.sampled_from([0, 1, 2, 3, 4, bits - 4, bits - 1, bits]))
    kind: Any = IPv4Network if version == 4 else IPv6Network
    return kind((number >> (bits - length) << (bits - length), length))


ADDRESSES = NUMBERS.map(
    lambda each: ip_address(each[1].to_bytes(4 if each[0] == 4 else 16, "big"))
).filter(lambda each: each.version == 4 or each.ipv4_mapped is None)


@given(st.lists(networks(), max_size=8), st.lists(networks(), max_size=8), ADDRESSES)
def test_it_decides_as_one_who_looks_at_all_of_them(
    allow: Sequence[Network], deny: Sequence[Network], address: Address
) -> None:
    matching = [(each.prefixlen, each not in deny) for each in (*allow, *deny) if address in each]
    expected = max(matching)[1] if matching else not allow
    assert Networks(allow, deny).permit(address) is expected


def test_a_look_does_not_grow_with_the_number_of_networks() -> None:
    """As many steps as there are lengths, however many networks: here two."""
    many = [IPv4Network((number << 12, 20)) for number in range(10_000)]
    permitted = Networks(many, [IPv4Network("10.0.0.0/8")])
    assert len(permitted._v4) == 2
    assert permitted.permit(ip_address("2.112.255.255"))
    assert not permitted.permit(ip_address("2.113.0.0"))
