"""What the parent tells a worker that begins."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import field, frozen

from wsrelay import __version__
from wsrelay.config.model import RelayConfig
from wsrelay.pools.pool import Memo

__all__ = ["Orders"]


@frozen
class Orders:
    """
    All that a worker needs; the descriptors that go with it are, in this order, that of the
    shared memory, that of the access log if it has one, and those of the listening sockets.

    :param number: the worker's, from 0.
    :param counts: whether what operators want to see is counted.
    :param to_stdout: where ``access = -`` writes; see `wsrelay.service.RelayService`.
    :param endpoints: those of the listening sockets.
    :param pools: the pools as they are, by name.
    :param is_draining: whether the whole relay is drained.
    :param version: the parent's; a package may be exchanged while it runs.
    :param secret: of ``sticky`` cookies; see `wsrelay.pools.sticky.machine_secret`.
    :param has_log: whether there is a descriptor of the access log.
    :param files: see `wsrelay.relay.root_files`.
    """

    number: int
    config: RelayConfig
    counts: bool
    to_stdout: bool
    endpoints: tuple[str, ...]
    pools: Mapping[str, Memo]
    is_draining: bool
    secret: str
    has_log: bool
    files: Mapping[Path, Any] = field(repr=False)
    version: str = __version__
