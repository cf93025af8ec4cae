"""What only the running system can say about a configuration: plugins, endpoints, TLS files."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.endpoints import serverFromString

from wsrelay.admin.token import read_token
from wsrelay.config.checks import Checks
from wsrelay.config.model import (
    AdminConfig,
    ClusterConfig,
    ListenerConfig,
    PluginCall,
    PoolConfig,
)
from wsrelay.config.values import socket_path
from wsrelay.endpoints import is_local
from wsrelay.operate.address import address_of_endpoint
from wsrelay.plugins import check_balancer, check_discovery, check_filter
from wsrelay.relay.admission import make_policies
from wsrelay.relay.listener_tls import listener_tls
from wsrelay.relay.pumps import why_not_native
from wsrelay.relay.tls import upstream_tls

EXAMPLES: Final = "write for example tcp:8080, tcp:8080:interface=127.0.0.1 or unix:/run/r.sock"

_UNIX_WORDS: Final = {
    "address": r".+",
    "mode": r"0?[0-7]{3}",
    "backlog": r"[0-9]{1,6}",
    "lockfile": r"[01]",
}
_UNIX_HELP: Final = {
    "address": EXAMPLES,
    "mode": "expected three digits from 0 to 7, as chmod has them: mode=660",
    "backlog": "expected a number, as in backlog=100",
    "lockfile": "expected 0 or 1",
}
_SYSTEMD: Final = r"systemd:(?:domain=)?(?:INET6?|UNIX):(?:index=[0-9]{1,4}|name=[^:=]+)"


def make_checks() -> Checks:
    """Make the checks for `wsrelay.config.load`; the reactor is installed by this."""
    return Checks(
        balancer=check_balancer,
        discovery=check_discovery,
        policy=_check_policy,
        filter=check_filter,
        endpoint=_check_endpoint,
        admin=_check_admin,
        cluster=_check_cluster,
        access_log=_check_access_log,
        listener_tls=_check_listener_tls,
        static=_check_static,
        upstream_tls=_check_upstream_tls,
        data_path=_check_data_path,
    )


def _check_policy(call: PluginCall) -> None:
    make_policies((call,), None)


def _check_endpoint(description: str) -> None:
    from twisted.internet import reactor  # installing one earlier would choose it for twistd

    whole: Any = reactor
    _check_tcp(description)
    _check_unix(description)
    if description.startswith("systemd:"):
        _check_systemd(description)
        return
    try:
        serverFromString(whole, description)
    except Exception as error:  # a parser of a plugin may raise anything
        raise ValueError(
            f"'{description}' is no Twisted server endpoint ({error}); {EXAMPLES}"
        ) from error


def _check_tcp(description: str) -> None:
    """Find the mistakes that Twisted finds too late, or says in Python's words."""
    kind, _, rest = description.partition(":")
    if re.fullmatch(r"[\w.\-]*\.[\w.\-]*|localhost|\*|[0-9]*", kind):
        port = rest if rest.isdigit() else kind if kind.isdigit() else "8080"
        host = "" if kind.isdigit() or kind in ("", "*") else f":interface={kind}"
        raise ValueError(f"'{description}' is no endpoint; write tcp:{port}{host}")
    if kind == "ssl":
        raise ValueError("write tcp:PORT here, and certificate and key on lines of their own")
    if kind not in ("tcp", "tcp6"):
        return
    port, *words = re.split(r"(?<!\\):", rest)
    number = port.removeprefix("port=")
    if not number.isdigit() or int(number) > 65535:
        raise ValueError(f"'{number}' is no port; expected 0 to 65535, as in {kind}:8080")
    if re.search(r"interface=\[?[0-9a-f]*:", rest, re.IGNORECASE):
        raise ValueError(
            f"the colons of an IPv6 address are escaped; write tcp6:{number}:interface=\\:\\:1, say"
        )
    for word in words:
        name, _, value = word.partition("=")
        if name not in ("interface", "backlog", "port"):
            raise ValueError(f"'{word}' is not understood; expected interface=ADDRESS")
        if name == "interface":
            _check_interface(value.replace("\\:", ":"), kind)


def _check_unix(description: str) -> None:
    """Find a path that the kernel would not take."""
    if not description.startswith("unix:"):
        return
    try:
        path = address_of_endpoint(description).path
    except ValueError:
        raise ValueError(f"'{description}' has no path; {EXAMPLES}") from None
    socket_path(path)
    for index, word in enumerate(re.split(r"(?<!\\):", description)[1:]):
        name, equals, value = word.partition("=")
        if index == 0 and not equals:
            continue  # the path
        if name not in _UNIX_WORDS:
            raise ValueError(f"'{word}' is not understood; expected mode=660, say")
        if not re.fullmatch(_UNIX_WORDS[name], value):
            raise ValueError(f"'{word}' makes no sense; {_UNIX_HELP[name]}")


def _check_systemd(description: str) -> None:
    """Look at the words: which sockets there are is known only where systemd starts wsrelay."""
    if not re.fullmatch(_SYSTEMD, description):
        raise ValueError(
            f"'{description}' is not understood; write systemd:domain=INET:index=0, with INET,"
            " INET6 or UNIX, and index=NUMBER or name=NAME"
        )


def _check_interface(address: str, kind: str) -> None:
    is_good = isIPv6Address(address) if kind == "tcp6" else isIPAddress(address)
    if not is_good:
        example = r"\:\:1" if kind == "tcp6" else "127.0.0.1"
        raise ValueError(f"'{address}' is no address; expected one as in interface={example}")


def _check_admin(admin: AdminConfig) -> None:
    if admin.token_file is not None:
        read_token(admin.token_file)
    elif not is_local(admin.listen):
        raise ValueError(
            "who is not on this machine needs a token; add token_file = FILE with one in it,"
            " or say tcp:PORT:interface=127.0.0.1"
        )


def _check_cluster(cluster: ClusterConfig) -> None:
    try:
        import_module("hiredis")
    except ImportError as error:
        raise ValueError(
            f"what talks to Redis is not installed ({error}); pip install wsrelay[redis]"
        ) from error
    from twisted.internet import reactor

    from wsrelay.cluster.endpoint import endpoint_of

    endpoint_of(cluster.redis, reactor)


def _check_access_log(path: Path) -> None:
    if not path.parent.is_dir():
        raise ValueError(f"there is no folder {path.parent}; make it first")


def _check_listener_tls(listener: ListenerConfig) -> None:
    listener_tls(listener)


def _check_static(folder: Path) -> None:
    if not folder.is_dir():
        raise ValueError(f"there is no directory {folder}; make it, or name another")


def _check_upstream_tls(pool: PoolConfig) -> None:
    for upstream in pool.upstreams:
        if upstream.scheme == "wss":
            upstream_tls(pool, upstream.host)


def _check_data_path(data_path: str) -> None:
    why_not = why_not_native()
    if data_path == "native" and why_not:
        raise ValueError(f"{why_not}; say auto or python, or install wsrelay where it can be built")
