"""What a Twisted server endpoint string says about where it listens."""

from __future__ import annotations

import re
from ipaddress import ip_address

__all__ = ["is_local"]


def is_local(endpoint: str) -> bool:
    """
    Tell whether only this machine can reach an endpoint.

    True for unix sockets and for TCP on a loopback address; what an endpoint of another
    kind listens on cannot be known, so that is False.
    """
    kind, _, rest = endpoint.partition(":")
    if kind == "unix":
        return True
    if kind not in ("tcp", "tcp6"):
        return False
    for word in re.split(r"(?<!\\):", rest):
        name, _, value = word.partition("=")
        if name == "interface":
            return _is_loopback(value.replace("\\:", ":"))
    return False


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False
