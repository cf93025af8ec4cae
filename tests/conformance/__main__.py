"""
Run the suite through a relay and without one, and write down what it said.

``make conformance PYTHON2=python2.7``; a full run takes an hour.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.conformance.suite import VERSION, Suite, Verdicts, verdicts_in
from tests.support import Process, RelayProcess, free_port, started_relay

WAYS = {
    "frames": "data_path = auto",
    "frames-python": "data_path = python",
    "messages": "data_path = auto",
}
"""How a relay stands between, beside "direct": without one."""

CASES = ",".join(
    (
        *(f"{part}.*" for part in (1, 2, 3, 4, 5, 6, 7, 10)),
        *(f"9.{part}.1" for part in range(1, 9)),
        *(f"12.{part}.{case}" for part in range(1, 6) for case in (1, 2)),
        *(f"13.{part}.{case}" for part in range(1, 8) for case in (1, 2)),
    )
)
"""Of chapters 9, 12 and 13, which try sizes and compression in 270 ways, the first ones.  The
suite hangs at a case that it does not know."""


def relay_ini(way: str, upstream: str) -> str:
    """
    Return a relay.ini that stands back: the suite sends and awaits its own pings.

    As a server it wants its own port in Host.
    """
    mode = "messages\ncompression = both" if way == "messages" else "frames"
    return f"""
[relay]
{WAYS[way]}
[listener:web]
endpoint = tcp:0:interface=127.0.0.1
[route:all]
pool = all
mode = {mode}
keepalive = off
host_header = upstream
max_message_size = 32MiB
[pool:all]
upstreams = {upstream}
[log]
access = off
"""


def with_relays(stack: ExitStack, upstream: str) -> dict[str, RelayProcess]:
    """Start a relay for each way in front of *upstream*."""
    relays = {}
    for way in WAYS:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        relays[way] = stack.enter_context(started_relay(relay_ini(way, upstream), folder))
    return relays


def python(*words: str) -> Process:
    """Start a module of this folder."""
    return Process([sys.executable, "-m", "tests.conformance.echo", *words])


def against_servers(suite: Suite, cases: list[str]) -> dict[str, Verdicts]:
    """Let the suite be the client of an echo server."""
    with ExitStack() as stack:
        server = stack.enter_context(python("serve"))
        upstream = f"ws://127.0.0.1:{server.wait_for_event(event='listening')[1]['port']}"
        relays = with_relays(stack, upstream)
        urls = {"direct": upstream} | {way: relay.url for way, relay in relays.items()}
        return suite.attack(urls, cases)


def against_clients(suite: Suite, cases: list[str]) -> dict[str, Verdicts]:
    """Let the suite be the upstream of an echoing client."""
    port = free_port()
    process, folder = suite.wait_for(cases, port)
    with ExitStack() as stack:
        stack.enter_context(process)
        upstream = f"ws://127.0.0.1:{port}"
        relays = with_relays(stack, upstream)
        urls = {"direct": upstream} | {way: relay.url for way, relay in relays.items()}
        for agent, url in urls.items():
            with python(url, agent) as client:
                if client.wait(timeout=7200) != 0:
                    raise SystemExit(f"{agent} did not get through: {client.log()}")
        return verdicts_in(folder)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("--python2", default="python2.7", help="a Python 2.7 with pip")
    parser.add_argument("--out", type=Path, required=True, help="where the verdicts go, as JSON")
    parser.add_argument("--cases", default=CASES, help="the suite's, with commas")
    arguments = parser.parse_args()
    suite = Suite(arguments.python2)
    suite.install()
    cases = arguments.cases.split(",")
    found = {
        "suite": VERSION,
        "servers": against_servers(suite, cases),
        "clients": against_clients(suite, cases),
    }
    arguments.out.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
