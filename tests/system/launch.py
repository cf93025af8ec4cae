"""
Becomes a relay, after it has prepared what a relay may find: run with a Python of the tests.

``launch.py systemd NAME=ADDRESS … -- COMMAND``
    passes on sockets, as systemd does; an address is ``HOST:PORT``, the path of a unix socket,
    or ``pair`` for one that is connected.

``launch.py former PATH -- COMMAND``
    leaves what a relay with the same process id leaves at *PATH* when it is killed.
"""

from __future__ import annotations

import os
import socket
import sys

FIRST = 3
MODE = 0o640


def make(address: str) -> socket.socket:
    if address == "pair":
        return socket.socketpair()[0]
    if "/" not in address:
        host, _, port = address.rpartition(":")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host.strip("[]"), int(port)), family=family)
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(address)
    os.chmod(address, MODE)
    sock.listen()
    return sock


def pass_on(*named: str) -> None:
    names, addresses = zip(*(each.split("=", 1) for each in named), strict=True)
    # Above their places first, so that none is overwritten.
    passed = [os.dup2(make(each).detach(), 50 + index) for index, each in enumerate(addresses)]
    for index, descriptor in enumerate(passed):
        os.dup2(descriptor, FIRST + index)
        os.close(descriptor)
    os.environ["LISTEN_PID"] = str(os.getpid())
    os.environ["LISTEN_FDS"] = str(len(names))
    os.environ["LISTEN_FDNAMES"] = ":".join(names)


def leave(path: str) -> None:
    make(path).close()
    os.symlink(str(os.getpid()), f"{path}.lock")


if __name__ == "__main__":
    split = sys.argv.index("--")
    what, *arguments = sys.argv[1:split]
    {"systemd": pass_on, "former": leave}[what](*arguments)
    os.execv(sys.argv[split + 1], sys.argv[split + 1 :])
