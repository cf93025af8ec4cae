"""Two networks with a wire between them that can be cut, in namespaces of their own."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator

import pytest
from attrs import define

from tests.support import require, require_program

CLONE_NEWNET = 0x40000000
HERE, THERE = "10.209.77.1", "10.209.77.2"

_libc = ctypes.CDLL(None, use_errno=True)


def _call(what: str, *arguments: int) -> None:
    if getattr(_libc, what)(*arguments):
        raise OSError(ctypes.get_errno(), f"{what} failed")


def _own() -> int:
    """Return a descriptor of the network that this thread is in."""
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def ip(*words: str) -> None:
    """Run ip(8) in the network of this thread."""
    command = shutil.which("ip", path="/usr/sbin:/sbin:/usr/bin:/bin")
    assert command is not None
    subprocess.run([command, *words], check=True, capture_output=True)


@define
class Wire:
    """
    The wire, and both of its ends.

    This thread, what it starts and the sockets that it makes are `HERE`.
    """

    there: int

    @contextlib.contextmanager
    def visit(self) -> Iterator[None]:
        """Be `THERE`: what is started now stays there."""
        home = _own()
        _call("setns", self.there, CLONE_NEWNET)
        try:
            yield
        finally:
            _call("setns", home, CLONE_NEWNET)
            os.close(home)

    def cut(self) -> None:
        """Let every packet be lost, without a word to either side."""
        with self.visit():
            ip("link", "set", "wire1", "down")

    def mend(self) -> None:
        with self.visit():
            ip("link", "set", "wire1", "up")


@contextlib.contextmanager
def wire() -> Iterator[Wire]:
    """
    Put this thread into a network of its own, with a wire to another one.

    A machine that does not allow that skips the test; with ``CI`` set and as root it fails.
    """
    home = _own()
    try:
        require_program("ip")
        try:
            there = _another()
            _call("unshare", CLONE_NEWNET)
        except OSError as error:
            refuse(f"there may be no network namespaces here: {error}")
        ip("link", "set", "lo", "up")
        end = f"/proc/{os.getpid()}/fd/{there}"
        ip("link", "add", "wire0", "type", "veth", "peer", "name", "wire1", "netns", end)
        ip("address", "add", f"{HERE}/24", "dev", "wire0")
        ip("link", "set", "wire0", "up")
        given = Wire(there)
        with given.visit():
            ip("link", "set", "lo", "up")
            ip("address", "add", f"{THERE}/24", "dev", "wire1")
            ip("link", "set", "wire1", "up")
        yield given
        os.close(there)
    finally:
        _call("setns", home, CLONE_NEWNET)
        os.close(home)


def refuse(why: str) -> None:
    """Skip the test, or fail it where everything must be possible."""
    if os.geteuid() == 0:
        require(None, why)
    pytest.skip(why)  # an ordinary user may make no networks, in CI or elsewhere


def _another() -> int:
    """Make a network that lives as long as the descriptor that is returned."""
    found: list[int | OSError] = []

    def make() -> None:
        try:
            _call("unshare", CLONE_NEWNET)
            found.append(_own())
        except OSError as error:
            found.append(error)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    [made] = found
    if isinstance(made, OSError):
        raise made
    return made
