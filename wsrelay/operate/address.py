"""Where an admin endpoint is: from a URL, or from the endpoint string in relay.ini."""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import SplitResult, quote, urlsplit

from attrs import frozen

__all__ = ["Address", "address_of_endpoint", "parse_address"]

_FORMS = "expected http://127.0.0.1:9000, https://HOST or unix:/run/wsrelay/admin.sock"
_SAY = "say where with --admin URL"
_EVERYWHERE = {"", "0.0.0.0"}


@frozen
class Address:
    """
    An admin endpoint.

    ``host`` is without brackets; ``path`` is that of the socket for ``unix``, else what
    stands before the API's own paths.
    """

    scheme: str  # http, https or unix
    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.scheme == "unix":
            return f"unix:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"


def parse_address(url: str) -> Address:
    """
    Parse what ``--admin`` was given.

    :raises ValueError: with the text for the operator.
    """
    if not url.isprintable() or " " in url:
        raise ValueError(f"'{url}' is not a URL; {_FORMS}")
    scheme, _, rest = url.partition(":")
    if scheme == "unix" and rest:
        return Address("unix", path=rest)
    if scheme not in ("http", "https") or not rest.startswith("//"):
        raise ValueError(f"'{url}' is not the URL of an admin endpoint; {_FORMS}")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(f"'{url}' has a host or a port that is none; {_FORMS}") from None
    return _web_address(url, parts, port)


def _web_address(url: str, parts: SplitResult, port: int | None) -> Address:
    if "@" in parts.netloc:
        # What is in it may be a secret, so it is not shown.
        raise ValueError("the URL has a user in it; a relay knows a token only: --token-file FILE")
    if parts.query or parts.fragment:
        raise ValueError(f"'{url}' has more than a host, a port and a path; {_FORMS}")
    if not parts.hostname or port == 0:
        raise ValueError(f"'{url}' has no host, or a port that is none; {_FORMS}")
    base = quote(parts.path.rstrip("/"), safe="/%")
    default = 443 if parts.scheme == "https" else 80
    return Address(parts.scheme, parts.hostname, port or default, base)


def address_of_endpoint(endpoint: str) -> Address:
    """
    Return where an endpoint that listens is reached from this machine.

    :param endpoint: as ``[admin] listen`` has it: ``tcp:9000:interface=127.0.0.1``.
    :raises ValueError: that cannot be told from it; the text is for the operator.
    """
    kind, _, rest = endpoint.partition(":")
    words = _words(rest)
    if kind == "unix" and words.get("address"):
        return Address("unix", path=words["address"])
    if kind not in ("tcp", "tcp6"):
        raise ValueError(f"nobody can tell where '{endpoint}' is reached; {_SAY}")
    port = words.get("port", "")
    if not re.fullmatch("[0-9]{1,5}", port) or not 0 < int(port) < 65536:
        raise ValueError(f"'{endpoint}' names no port; {_SAY}")
    return Address("http", _reachable(kind, words.get("interface", "")), int(port))


def _words(arguments: str) -> dict[str, str]:
    """Read the rest of an endpoint string; what has no name is the port, or the path."""
    words: dict[str, str] = {}
    for index, word in enumerate(re.split(r"(?<!\\):", arguments)):
        name, equals, value = word.partition("=")
        plain = re.sub(r"\\(.)", r"\1", value if equals else word)
        for key in [name] if equals else ["port", "address"] if index == 0 else []:
            words[key] = plain
    return words


def _reachable(kind: str, interface: str) -> str:
    """Return the address to connect to, of one that is listened on."""
    if interface in _EVERYWHERE:
        return "::1" if kind == "tcp6" else "127.0.0.1"
    try:
        return "::1" if ip_address(interface) == ip_address("::") else interface
    except ValueError:
        return interface
