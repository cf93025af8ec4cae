"""
Becomes a relay, after it has prepared what a relay may find: run with a Python of the tests.

``launch.py systemd NAME=ADDRESS … -- COMMAND``
    passes on sockets, as systemd does; an address is ``HOST:PORT``, the path of a unix socket,
    or ``pair`` for one that is connected.

``launch.py former PATH -- COMMAND``
    leaves what a relay with the same process id leaves at *PATH* when it is killed.

``launch.py restricted -- COMMAND``
    gives up what deploy/systemd/wsrelay.service takes away: every capability but the one for
    low ports, new privileges, and memory that is written and run.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import sys

FIRST = 3
MODE = 0o640
BIND_SERVICE = 10  # capability(7)
CAPABILITIES = 64
DROP, NO_NEW_PRIVILEGES, NO_WRITE_EXECUTE = 24, 38, 65  # prctl(2)


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


def give_up() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() == 0:
        for number in range(CAPABILITIES):
            if number != BIND_SERVICE:
                libc.prctl(DROP, number, 0, 0, 0)  # fails for those that the kernel has not
    for what in (NO_NEW_PRIVILEGES, NO_WRITE_EXECUTE):
        if libc.prctl(what, 1, 0, 0, 0) != 0:
            code = ctypes.get_errno()
            if (what, code) != (NO_WRITE_EXECUTE, errno.EINVAL):  # Linux before 6.3
                raise OSError(code, os.strerror(code))


if __name__ == "__main__":
    split = sys.argv.index("--")
    what, *arguments = sys.argv[1:split]
    {"systemd": pass_on, "former": leave, "restricted": give_up}[what](*arguments)
    os.execv(sys.argv[split + 1], sys.argv[split + 1 :])
