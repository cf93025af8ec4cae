"""
Write docs/tried.rst: what the tests talk to, in the versions that are installed here.

``python docs/make_tried.py > docs/tried.rst``, after a run of the whole test suite; a test
compares the page with the versions that are pinned.
"""

from __future__ import annotations

import json
import re
import shutil
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version as of_package
from pathlib import Path

from attrs import frozen

HEAD = """\
What was tried
==============

The clients and servers that wsrelay's tests talk to, in the versions that the whole suite ran
with last, on Linux.  "by" is the test that shows it; with ``CI`` set none of them is skipped.
Other versions are likely to do: nothing here depends on one.

Packages of node are pinned in ``tests/peers/package-lock.json``, and `socketio <socketio.rst>`_
says more about Socket.IO and SockJS.  The other versions are those of one machine (Debian 12).
"""

LOCK = Path(__file__).resolve().parent.parent / "tests" / "peers" / "package-lock.json"


@frozen
class Tried:
    """One client or server: what it is called, its part, and the tests that show it."""

    name: str
    part: str
    tests: tuple[str, ...]
    version: Callable[[], str]


def pinned(package: str) -> str:
    """Return the version of a package of node that the tests' lock file says."""
    packages = json.loads(LOCK.read_text("utf-8"))["packages"]
    return str(packages[f"node_modules/{package}"]["version"])


def printed(program: str, flag: str) -> str:
    """Return the version that a program prints."""
    path = shutil.which(program)
    if path is None:
        raise SystemExit(f"{program} is not installed; the page tells of it, so install it first")
    ran = subprocess.run([path, flag], capture_output=True, text=True, check=True)
    found = re.search(r"\d+(\.\d+)*", ran.stdout or ran.stderr)
    if found is None:
        raise SystemExit(f"{program} {flag} printed no version")
    return found[0]


def of_openssl() -> str:
    """Return the version of the OpenSSL that Python's own ssl has."""
    return ssl.OPENSSL_VERSION.split()[1]


def of_python() -> str:
    """Return Python's version."""
    return ".".join(map(str, sys.version_info[:3]))


_EACH = (
    "tests/peers/test_conversation.py",
    "tests/peers/test_handshake.py",
    "tests/peers/test_ends.py",
)
_STICKY = ("tests/peers/test_stickiness.py",)
_PROXIES = ("tests/peers/test_proxies.py",)
_PLAIN = ("tests/peers/test_http_peers.py",)

TRIED = (
    Tried(
        "Chromium",
        "client",
        ("tests/peers/test_browser.py", "tests/test_example_socketio.py"),
        partial(printed, "chromium", "--version"),
    ),
    Tried("ws (node)", "client, upstream", _EACH, partial(pinned, "ws")),
    Tried("websockets (Python)", "client, upstream", _EACH, partial(of_package, "websockets")),
    Tried(
        "aiohttp (Python)",
        "client, upstream",
        (*_EACH, *_PLAIN),
        partial(of_package, "aiohttp"),
    ),
    Tried(
        "Autobahn (Python)",
        "upstream",
        ("tests/peers/test_browser.py",),
        partial(of_package, "autobahn"),
    ),
    Tried("Socket.IO 4", "upstream", _STICKY, partial(pinned, "socket.io")),
    Tried("Socket.IO 4 client", "client", _STICKY, partial(pinned, "socket.io-client")),
    Tried("Socket.IO 2", "upstream", _STICKY, partial(pinned, "socket.io-2")),
    Tried("Socket.IO 2 client", "client", _STICKY, partial(pinned, "socket.io-client-2")),
    Tried("SockJS", "upstream", _STICKY, partial(pinned, "sockjs")),
    Tried("SockJS client", "client", _STICKY, partial(pinned, "sockjs-client")),
    Tried("node", "runs these", _EACH, partial(printed, "node", "--version")),
    Tried("node's http", "client, upstream", _PLAIN, partial(printed, "node", "--version")),
    Tried("Python's http.client, http.server", "client, upstream", _PLAIN, of_python),
    Tried(
        "curl",
        "client",
        ("tests/peers/test_curl.py", "tests/test_operations.py"),
        partial(printed, "curl", "--version"),
    ),
    Tried(
        "nginx",
        "proxy in front and behind",
        (*_PROXIES, *_PLAIN),
        partial(printed, "nginx", "-v"),
    ),
    Tried(
        "HAProxy",
        "proxy in front and behind",
        (*_PROXIES, "tests/examples/test_haproxy.py"),
        partial(printed, "haproxy", "-v"),
    ),
    Tried(
        "openssl s_client, s_server",
        "client, upstream",
        ("tests/system/test_tls_peers.py",),
        partial(printed, "openssl", "version"),
    ),
    Tried(
        "OpenSSL in Python's ssl",
        "client, upstream",
        ("tests/system/test_tls_clients.py", "tests/system/test_tls.py"),
        of_openssl,
    ),
    Tried(
        "systemd-socket-activate",
        "passes sockets on",
        ("tests/system/test_systemd.py",),
        partial(printed, "systemd-socket-activate", "--version"),
    ),
    Tried("Python", "runs wsrelay", ("tests",), of_python),
    Tried("Twisted", "is what wsrelay stands on", ("tests",), partial(of_package, "twisted")),
)


def page() -> str:
    """Return the whole page."""
    return "\n".join([HEAD, *table()]) + "\n"


def table() -> Iterator[str]:
    """Yield the lines of the table."""
    yield from (".. list-table::", "   :header-rows: 1", "")
    yield from ("   * - what", "     - version", "     - part", "     - by")
    for each in TRIED:
        yield f"   * - {each.name}"
        yield f"     - {each.version()}"
        yield f"     - {each.part}"
        yield "     - " + ", ".join(f"``{test}``" for test in each.tests)


if __name__ == "__main__":
    print(page(), end="")
