"""Every command and snippet of README.rst, as it stands there."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection, serve

from tests.support import PATIENCE, PROJECT, Process, RelayProcess, free_port, started_relay

README = (PROJECT / "README.rst").read_text("utf-8")


def blocks(language: str, page: str = README) -> list[str]:
    """Return the code blocks of *language*, unindented, in order."""
    found = re.findall(rf"\.\. code-block:: {language}\n\n((?:    .*\n|\n)+)", page)
    return [re.sub(r"(?m)^    ", "", block).strip("\n") + "\n" for block in found]


def commands() -> list[str]:
    """Return every command that README.rst shows."""
    return re.findall(r"(?m)^\$ (.*)$", "\n".join(blocks("console")))


def program(name: str) -> Path:
    """Return the path of an installed script."""
    return Path(sys.executable).with_name(name)


def _echo(connection: ServerConnection) -> None:
    for message in connection:
        connection.send(message)


@contextlib.contextmanager
def echo_upstream(**options: Any) -> Iterator[int]:
    """Run an echoing upstream in a thread, with *options* of `serve`, and give its port."""
    with serve(_echo, "127.0.0.1", 0, **options) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.socket.getsockname()[1]
        server.shutdown()
        thread.join()


def assert_it_echoes(url: str) -> None:
    with connect(url) as client:
        client.send("hello")
        assert client.recv(10) == "hello"


def test_these_are_all_the_commands() -> None:
    """A command that is added to the page needs a test here."""
    assert commands() == [
        "make run",
        "pip install .",  # tests/test_packaging.py
        "wsrelay check relay.ini",
        "twistd -n wsrelay --config relay.ini",
        "twistd -n wsrelay --listen tcp:8080 --upstream ws://127.0.0.1:3000",
        "wsrelay status",
        "wsrelay drain chat/10.0.0.1:3000",
        "wsrelay reload",
    ]


@pytest.mark.peers
def test_make_run_starts_the_demo_and_prints_its_addresses() -> None:
    # This environment has wsrelay, whoever put it there: -o makes nothing on its account.
    command = ["make", "-o", f"{sys.prefix}/.wsrelay", "run", f"VENV={sys.prefix}"]
    with Process(command) as demo:
        _, page = demo.wait_for_line(lambda line: " page " in line, what="the page's address")
        _, relay = demo.wait_for_line(lambda line: " relay " in line, what="the relay's address")
        url = page.split()[1]
        assert url.startswith("http://127.0.0.1:")
        assert urlsplit(url).port == urlsplit(relay.split()[2]).port, "one port for all of it"
        with urlopen(url, timeout=PATIENCE) as answer:
            assert b"<title>wsrelay demo</title>" in answer.read()
        assert_it_echoes(relay.split()[2])


def test_make_test_runs_the_tests() -> None:
    command = ["make", "--no-print-directory", "--dry-run", "test"]
    # Not as a part of the make that runs these tests: its options are none of our business.
    environment = {
        name: value
        for name, value in os.environ.items()
        if "MAKE" not in name and name not in ("PYTEST_ARGS", "WORKERS")
    }
    planned = subprocess.run(
        command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=True
    )
    last = planned.stdout.splitlines()[-1].strip()
    assert last == ".venv/bin/python -m pytest --numprocesses 2 --dist loadfile"


def test_check_says_ok_for_the_two_line_relay_ini(tmp_path: Path) -> None:
    (tmp_path / "relay.ini").write_text(blocks("ini")[0])
    checked = subprocess.run(
        [program("wsrelay"), "check", "relay.ini"], cwd=tmp_path, capture_output=True, text=True
    )
    assert (checked.returncode, checked.stdout) == (0, "relay.ini: ok\n")


@pytest.mark.peers
def test_the_two_line_relay_ini_relays(tmp_path: Path) -> None:
    with echo_upstream() as port:
        text = blocks("ini")[0].replace("tcp:8080", "tcp:0").replace(":3000", f":{port}")
        with started_relay(text, tmp_path) as relay:
            assert_it_echoes(relay.url)


@pytest.mark.peers
def test_the_command_line_without_a_file_relays(tmp_path: Path) -> None:
    listen = free_port()
    with echo_upstream() as port:
        line = commands()[4].replace("tcp:8080", f"tcp:{listen}").replace(":3000", f":{port}")
        name, *arguments = line.replace("-n ", "-n --pidfile= ").split()
        with Process([program(name), *arguments], cwd=tmp_path) as relay:
            relay.wait_for_port(listen)
            assert_it_echoes(f"ws://127.0.0.1:{listen}")


def test_the_longer_relay_ini_is_good(tmp_path: Path) -> None:
    (tmp_path / "relay.ini").write_text(blocks("ini")[1])
    checked = subprocess.run(
        [program("wsrelay"), "check", "relay.ini"], cwd=tmp_path, capture_output=True, text=True
    )
    assert checked.stdout == "relay.ini: ok\n"


@pytest.mark.peers
def test_the_relay_ini_with_an_admin_endpoint_is_seen_and_steered(tmp_path: Path) -> None:
    admin = free_port()
    with echo_upstream() as port:
        text = blocks("ini")[2].replace("tcp:8080", "tcp:0").replace("tcp:9000", f"tcp:{admin}")
        text = text.replace("10.0.0.1:3000", f"127.0.0.1:{port} name=10.0.0.1:3000")
        with started_relay(text, tmp_path) as relay:
            assert_it_echoes(f"{relay.url}/chat")
            status, drain, reload = (_operate(line, tmp_path) for line in commands()[5:])
    assert "pool chat (least-connections, sticky cookie, health check websocket)" in status
    assert "chat/10.0.0.1:3000 is draining" in drain
    assert reload == "nothing changed\n"


def _operate(line: str, folder: Path) -> str:
    name, *arguments = line.split()
    ran = subprocess.run(
        [program(name), *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return ran.stdout


def test_the_balancer_is_under_30_lines() -> None:
    lengths = [len(block.splitlines()) for block in blocks("python")]
    assert len(lengths) == 2
    assert sum(lengths) < 30


def test_the_balancer_keeps_the_contract_as_the_page_of_plugins_tests_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, acme__tenants=blocks("python")[0])
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("acme", "acme.tenants"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    [code] = blocks("python", (PROJECT / "docs" / "balancer.rst").read_text("utf-8"))
    names: dict[str, Any] = {}
    exec(code, names)
    names["test_it_keeps_the_contract"]()


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, **files: str) -> None:
    """Write files, each called by its path with ``__`` for a slash, where Python finds them."""
    for name, text in files.items():
        file = folder / f"{name.replace('__', '/')}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))


@pytest.mark.peers
def test_the_balancer_is_found_and_chooses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    balancer, plugin = blocks("python")
    install(tmp_path, monkeypatch, acme__tenants=balancer, twisted__plugins__acme_balancers=plugin)
    listed = subprocess.run(
        [program("wsrelay"), "balancers"], capture_output=True, text=True, check=True
    )
    assert "by-tenant\n    header  who it is\n" in listed.stdout
    with echo_upstream() as red, echo_upstream() as blue:
        text = f"""
            [relay]
            listen = tcp:0:interface=127.0.0.1
            [route:all]
            pool = tenants
            [pool:tenants]
            upstreams =
              ws://127.0.0.1:{red} name=red
              ws://127.0.0.1:{blue} name=blue
            balancer = by-tenant header=X-Tenant
            [log]
            format = json
        """
        with (
            _relay(text, tmp_path) as relay,
            connect(relay.url, additional_headers={"X-Tenant": "blue"}),
        ):
            relay.wait_for_event(event="open", upstream="blue")


def _relay(text: str, folder: Path) -> contextlib.AbstractContextManager[RelayProcess]:
    return started_relay(re.sub(r"(?m)^ {12}", "", text), folder)
