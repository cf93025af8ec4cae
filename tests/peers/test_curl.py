"""curl talks plain HTTP through the relay, in the ways that browsers and scripts do."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.examples.support import telling
from tests.peers.upstreams import own_url
from tests.support import PATIENCE, require_program, started_relay
from tests.system.support import LOCAL

MEGABYTES = b"0123456789abcdef" * (3 * 65536)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give a relay: files below /files/, an upstream for everything else."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "files").mkdir()
    (folder / "files" / "big.txt").write_bytes(MEGABYTES)
    with telling("u") as upstream:
        text = (
            f"[listener:main]\nendpoint = {LOCAL}\n"
            f"[route:files]\npath = /files/\nstatic = {folder}\n"
            f"[route:all]\npool = u\n[pool:u]\nupstreams = {own_url(upstream)}\n"
        )
        with started_relay(text, folder) as relay:
            yield relay.url.replace("ws:", "http:")


def curl(*arguments: str, data: bytes = b"") -> bytes:
    command = [require_program("curl"), "-sS", "--fail", "--max-time", f"{PATIENCE:g}", *arguments]
    ran = subprocess.run(command, input=data, capture_output=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_an_upload_waits_for_100_continue_and_arrives_whole(url: str) -> None:
    """curl sends ``Expect: 100-continue`` before a body over a megabyte."""
    told = json.loads(curl("--data-binary", "@-", f"{url}/up", data=MEGABYTES))
    assert (told["method"], told["length"]) == ("POST", len(MEGABYTES))
    assert "100-continue" in [value for name, value in told["headers"] if name == "Expect"]


def test_an_upload_of_unknown_length_arrives_whole(url: str) -> None:
    told = json.loads(curl("-T", "-", f"{url}/up", data=MEGABYTES))
    assert (told["method"], told["length"]) == ("PUT", len(MEGABYTES))
    assert ["Transfer-Encoding", "chunked"] in told["headers"]


def test_requests_follow_each_other_on_one_connection(url: str) -> None:
    written = curl(
        "-w", "%{num_connects} ", f"{url}/one", f"{url}/two", "-o", "/dev/null", "-o", "/dev/null"
    )
    assert written.split() == [b"1", b"0"]


def test_head_and_an_end_of_the_connection_are_understood(url: str) -> None:
    head = curl("-I", "-H", "Connection: close", f"{url}/one")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in head.lower()


def test_http_1_0_is_answered_as_such(url: str) -> None:
    assert json.loads(curl("--http1.0", f"{url}/old"))["path"] == "/old"


def test_a_broken_download_is_continued(url: str, tmp_path: Path) -> None:
    begun = tmp_path / "big.txt"
    begun.write_bytes(MEGABYTES[:1_000_000])
    curl("-C", "-", "-o", str(begun), f"{url}/files/big.txt")
    assert begun.read_bytes() == MEGABYTES
