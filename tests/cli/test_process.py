"""The command as a process of its own: light, and quiet when nobody reads any more."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support import PATIENCE, PROJECT

from .stand_in import environment, pool, serving, status, upstream

LIGHT = """
import sys
from wsrelay.cli import main
code = main()
heavy = [name for name in sys.modules if name.partition(".")[0] in ("twisted", "autobahn", "zope")]
print("loaded:", *heavy)
sys.exit(code)
"""
RUN = "import sys; from wsrelay.cli import main; sys.exit(main())"


def python(text: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", text, *words],
        env=environment(PYTHONPATH=str(PROJECT)),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


@pytest.mark.parametrize(
    "words",
    [
        ["status"],
        ["top", "--count", "1", "--interval", "100ms"],
        ["drain", "--all", "--wait"],
        ["ready", "--all"],
        ["weight", "chat/a", "2"],
        ["rebalance", "chat", "--wait"],
        ["sessions"],
        ["close", "x"],
        ["reload"],
    ],
    ids=lambda words: words[0],
)
def test_no_command_loads_twisted(words: list[str]) -> None:
    with serving() as relay:
        relay.answer("GET /status.json", status(pool("chat", upstream("a")), sessions=0))
        relay.answer("GET /api/sessions", {})
        for line in (
            "POST /api/drain",
            "POST /api/ready",
            "PATCH /api/pools/chat/upstreams/a",
            "POST /api/pools/chat/rebalance",
            "DELETE /api/sessions/x",
            "POST /api/reload",
        ):
            relay.answer(line, {})
        ran = python(LIGHT, *words, "--admin", relay.url)
    assert ran.returncode in (0, 1), ran.stderr  # 1: the relay is ready, so not drained
    assert ran.stdout.splitlines()[-1] == "loaded:"
    assert relay.asked


def test_who_reads_no_more_sees_no_traceback() -> None:
    with serving() as relay:
        relay.answer("GET /status.json", status(*[pool(f"p{i}", upstream("a")) for i in range(99)]))
        words = [sys.executable, "-c", RUN, "top", "--admin", relay.url, "--interval", "100ms"]
        with subprocess.Popen(
            words,
            env=environment(PYTHONPATH=str(PROJECT)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as top:
            assert top.stdout is not None
            assert top.stderr is not None
            top.stdout.read(1)
            top.stdout.close()
            assert top.stderr.read() == b""
            assert top.wait(PATIENCE) == 141
