"""The worker's side of what `wsrelay.workers.supervisor` expects."""

from __future__ import annotations

import socket
from typing import Any, Final

from wsrelay.workers.channel import Channel

__all__ = ["CONTROL", "HELLO", "parent_channel"]

CONTROL: Final = 3
"""The descriptor of the connection to the parent."""

HELLO: Final = "hello"
"""What a process tells when it has imported everything and can be given its orders."""


def parent_channel(reactor: Any) -> Channel:
    """
    Return the connection to the parent; to be called once.

    Set `on_call` and `on_lost`, then ``tell(HELLO)``.  When it is lost, the parent is dead.

    :raises OSError: nobody has started this process as a worker.
    """
    sock = socket.socket(fileno=CONTROL)
    sock.set_inheritable(False)
    return Channel(reactor, sock, "the parent")
