"""``allow`` and ``deny``: which networks may connect."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from typing import Final

from wsrelay.guards.keys import Address

__all__ = ["Networks"]

Network = IPv4Network | IPv6Network

_MAPPED: Final = IPv6Network("::ffff:0:0/96")  # RFC 4291 section 2.5.5.2


class Networks:
    """
    Networks that may connect, and networks that may not; the most specific one decides.

    What is in none of them may connect, unless some are allowed by name.  A network that is
    in both may not.
    """

    def __init__(self, allow: Iterable[Network], deny: Iterable[Network]) -> None:
        """
        Take them in, and remember them by their length.

        :param allow: IPv4 in IPv6 (``::ffff:10.0.0.0/104``) counts as IPv4, here and in *deny*.
        """
        allowed = [_plain(each) for each in allow]
        verdicts = dict.fromkeys(allowed, True) | dict.fromkeys(map(_plain, deny), False)
        self._otherwise = not allowed
        self._v4 = _tables([each for each in verdicts.items() if each[0].version == 4])
        self._v6 = _tables([each for each in verdicts.items() if each[0].version == 6])

    def permit(self, address: Address | None) -> bool:
        """
        Say whether a client may connect.

        A look into a dict for each length that there is: as fast with many networks as with few.

        :param address: None: it has none, and so is in no network.
        """
        if address is None:
            return self._otherwise
        number = int(address)
        for shift, verdicts in self._v4 if isinstance(address, IPv4Address) else self._v6:
            verdict = verdicts.get(number >> shift)
            if verdict is not None:
                return verdict
        return self._otherwise


_Table = tuple[int, dict[int, bool]]
"""Networks of one length: how many bits of an address are left out, and what is said of it."""


def _plain(network: Network) -> Network:
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        return IPv4Network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - 96))
    return network


def _tables(verdicts: Iterable[tuple[Network, bool]]) -> tuple[_Table, ...]:
    """Return the table of each length, the longest first."""
    tables: dict[int, dict[int, bool]] = {}
    for network, verdict in verdicts:
        shift = network.max_prefixlen - network.prefixlen
        tables.setdefault(shift, {})[int(network.network_address) >> shift] = verdict
    return tuple(sorted(tables.items()))
