"""What a relay says of itself to the others: some numbers, and its pools."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from wsrelay import __version__
from wsrelay.admin.control import Json
from wsrelay.pools.pool import Pool

if TYPE_CHECKING:
    from wsrelay.service import RelayService

__all__ = ["digest_from", "digest_of"]


def digest_of(service: RelayService) -> Json:
    """Describe a relay of one process; see docs/api.rst, ``GET /api/cluster``."""
    relay, desk = service.relay, service.desk
    counts = {} if desk is None else desk.metrics.handshakes
    total = sum(counts.values())
    opened = sum(n for (*_, status), n in counts.items() if status == 101)
    not_ready = "" if desk is None else desk.own.not_ready()
    return {
        **_who(service),
        "ready": not not_ready,
        "not_ready": not_ready,
        "draining": relay.is_draining,
        "connections": relay.doors.inside,
        "sessions": len(relay.sessions),
        "requests": len(relay.exchanges),
        "handshakes": opened,
        "refused": total - opened,
        "pools": [_pool_words(each) for each in relay.pools.values()],
    }


def digest_from(service: RelayService, status: Json) -> Json:
    """Describe a relay of several processes, of which *status* tells."""
    names = ("connections", "sessions", "requests", "handshakes", "refused", "ready", "not_ready")
    pools = [
        {
            "name": pool["name"],
            "sessions": pool["sessions"],
            "upstreams": [
                {name: each[name] for name in ("name", "state", "health", "weight", "sessions")}
                for each in pool["upstreams"]
            ],
        }
        for pool in status["pools"]
    ]
    told = {name: status[name] for name in names}
    return {**_who(service), **told, "draining": service.relay.is_draining, "pools": pools}


def _who(service: RelayService) -> Json:
    desk = service.desk
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "version": __version__,
        "uptime_s": round(service.uptime, 1),
        "listeners": [address for _, address in service.listeners.addresses()],
        "admin": "" if desk is None else desk.address,
    }


def _pool_words(pool: Pool) -> Json:
    return {
        "name": pool.name,
        "sessions": sum(each.sessions for each in (*pool.upstreams, *pool.gone)),
        "upstreams": [
            {
                "name": each.name,
                "state": each.state,
                "health": each.health,
                "weight": each.weight,
                "sessions": each.sessions,
            }
            for each in pool.upstreams
        ],
    }
