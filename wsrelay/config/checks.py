"""The questions about a configuration that only the running system can answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from attrs import frozen

from wsrelay.config.model import (
    AdminConfig,
    ClusterConfig,
    ListenerConfig,
    PluginCall,
    PoolConfig,
)

__all__ = ["Checks"]


def _accept(*_anything: object) -> None:
    """Find nothing wrong."""


def _exists(_path: Path) -> bool:
    return True


@frozen
class Checks:
    """
    What `parse` asks while it knows the line; the defaults accept everything.

    Each raises ValueError to refuse; the text is shown to the operator behind
    file, line, section and option.
    """

    balancer: Callable[[PluginCall], None] = _accept
    """Is given a pool's balancer, if relay.ini names one."""

    discovery: Callable[[PluginCall], None] = _accept
    """Is given a pool's ``discover``, its ``path`` absolute, if relay.ini names one."""

    policy: Callable[[PluginCall], None] = _accept
    """Is given each of a route's ``policies``, with the files it names absolute."""

    filter: Callable[[PluginCall], None] = _accept
    """Is given each of a route's ``filters``, with the files it names absolute."""

    endpoint: Callable[[str], None] = _accept
    """Is given each listener's endpoint string, and that of ``[admin]``."""

    admin: Callable[[AdminConfig], None] = _accept
    """Is given ``[admin]``, if it listens."""

    cluster: Callable[[ClusterConfig], None] = _accept
    """Is given ``[cluster]``, if it names a Redis, the ``ca`` of its URL absolute."""

    access_log: Callable[[Path], None] = _accept
    """Is given the file of ``[log] access``."""

    listener_tls: Callable[[ListenerConfig], None] = _accept
    """Is given each listener with TLS; its files exist, ``certificates`` may not."""

    static: Callable[[Path], None] = _accept
    """Is given each route's ``static``."""

    upstream_tls: Callable[[PoolConfig], None] = _accept
    """Is given each pool that is otherwise good; its ``tls_…`` files exist."""

    data_path: Callable[[str], None] = _accept
    """Is given ``data_path``, if relay.ini says one."""

    file_exists: Callable[[Path], bool] = _exists
    """Says whether an absolute path is a file."""
