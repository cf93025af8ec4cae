"""A relay with the relay.ini of deploy/kubernetes, and upstreams that a name server knows."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import define
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.deploy.manifests import container_of, ports_of, pre_stop, relay_ini, the
from tests.support import PATIENCE, Process, RelayProcess, free_port, started_relay
from tests.system.admin import Admin
from tests.system.support import LOCAL, wait_until
from tests.system.test_discovery import NameServer

RELAY = the("Deployment", "wsrelay")
UPSTREAMS = the("Deployment", "upstreams")
TOKEN = "0123456789abcdef0123456789abcdef"
NAMES = "upstreams.chat.svc.cluster.test"
PODS = ("amber", "cobalt", "jade")
SESSIONS = 12


@define
class Pods:
    """
    The upstreams' pods on loopback, and what the name server says of them.

    By ``dns`` they are three addresses with one port, by ``srv`` three ports of one name.
    """

    places: dict[str, tuple[str, int]]
    name_server: NameServer

    @property
    def port(self) -> int:
        """The one port that ``dns`` wants."""
        return next(iter(self.places.values()))[1]

    def are_known(self, *names: str) -> None:
        """Have the name server know these pods only."""
        places = [self.places[each] for each in names]
        records = {
            NAMES: [["A", address] for address, _ in places],
            f"_ws._tcp.{NAMES}": [["SRV", 0, 1, port, "localhost"] for _, port in places],
        }
        self.name_server.order(records=records)


@pytest.fixture(params=["dns", "srv"])
def discovery(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.fixture
def pods(discovery: str) -> Iterator[Pods]:
    if discovery == "dns":
        port = free_port()
        places = {name: (f"127.0.0.{number}", port) for number, name in enumerate(PODS, 1)}
    else:
        places = {name: ("127.0.0.1", free_port()) for name in PODS}
    command = container_of(UPSTREAMS)["command"]
    assert command[0] == "python"
    with contextlib.ExitStack() as stack:
        for name, (address, port) in places.items():
            here = [each.replace("tcp:3000", f"tcp:{port}:interface={address}") for each in command]
            pod = stack.enter_context(Process([sys.executable, *here[1:], "--name", name]))
            pod.wait_for_words("listens")
        served = stack.enter_context(Process([sys.executable, "-m", "tests.discovery.dns_server"]))
        yield Pods(places, NameServer(served))


@pytest.fixture
def relay(
    discovery: str, pods: Pods, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RelayProcess]:
    """Run the relay of a pod, with shorter times and what is elsewhere here."""
    pods.are_known(*PODS)
    monkeypatch.setenv("POD_NAMESPACE", "chat")
    (tmp_path / "token").write_text(TOKEN)
    text = relay_ini()
    if discovery == "srv":
        text = re.sub(r"(?m)^discover = dns .*\n", "", text)
        text = text.replace("; discover = srv", "discover = srv")
    ports = ports_of(RELAY)
    for written, here in (
        (f"= tcp:{ports['public']}\n", f"= {LOCAL}\n"),
        (f"= tcp:{ports['admin']}\n", f"= {LOCAL}\n"),
        ("/etc/wsrelay-admin/token", "token"),
        (".cluster.local", ".cluster.test"),
        (" every=5s", f" every=1s resolver=127.0.0.1:{pods.name_server.port}"),
        ("drain_timeout = 60s", "drain_timeout = 2s"),
    ):
        assert written in text, written
        text = text.replace(written, here)
    with started_relay(text.replace("port=3000", f"port={pods.port}"), tmp_path) as running:
        admin = Admin.of(running, TOKEN)
        wait_until(lambda: len(admin.upstreams("upstreams")) == len(PODS), "that all are found")
        yield running


def readiness(relay: RelayProcess) -> int:
    return Admin.of(relay).ask("GET", "/readyz").status  # as the kubelet asks, without a token


@contextlib.contextmanager
def visitor(relay: RelayProcess) -> Iterator[ClientConnection]:
    with connect(f"{relay.url}/echo") as client:
        client.send("hello")
        assert client.recv(10) == "hello"
        yield client


def upstream_of(client: ClientConnection) -> str:
    assert client.response is not None
    return client.response.headers["X-Upstream"]


def code_at_the_end_of(client: ClientConnection) -> int:
    with pytest.raises(ConnectionClosed) as ended:
        client.recv(PATIENCE)
    assert ended.value.rcvd is not None
    return ended.value.rcvd.code


def test_all_pods_of_the_headless_service_get_sessions_and_one_that_goes_is_drained(
    relay: RelayProcess, pods: Pods
) -> None:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(visitor(relay)) for _ in range(SESSIONS)]
        assert {upstream_of(each) for each in clients} == set(PODS)
        pods.are_known("cobalt", "jade")
        for client in clients:
            if upstream_of(client) == "amber":
                assert code_at_the_end_of(client) == 1012
            else:
                client.send("still here")
                assert client.recv(10) == "still here"


@pytest.fixture
def in_the_container(tmp_path: Path) -> dict[str, str]:
    """Return what a command of the pod's has for its environment, with a sleep that is over."""
    programs = tmp_path / "programs"
    programs.mkdir()
    sleep = programs / "sleep"
    sleep.write_text('#!/bin/sh\necho "slept $*"\n')
    sleep.chmod(0o755)
    found = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": found}


@pytest.mark.parametrize("discovery", ["dns"], indirect=True)
def test_what_runs_before_a_stop_sends_everybody_away_and_ends_when_they_are_gone(
    relay: RelayProcess, in_the_container: dict[str, str]
) -> None:
    assert readiness(relay) == 200
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(visitor(relay)) for _ in range(SESSIONS)]
        with subprocess.Popen(
            pre_stop(RELAY),
            cwd=relay.file.parent,  # as the image's folder is relay.ini's
            env=in_the_container,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as command:
            wait_until(lambda: readiness(relay) == 503, "that the relay is not ready")
            with pytest.raises(InvalidStatus) as refused, connect(f"{relay.url}/echo"):
                pass
            assert refused.value.response.status_code == 503
            said, _ = command.communicate(timeout=PATIENCE)
        assert Admin.of(relay, TOKEN).status()["sessions"] == 0, said
        assert command.returncode == 0, said
        assert said.startswith("slept 5\n")
        assert said.endswith("the relay is drained\n")
        assert {code_at_the_end_of(each) for each in clients} == {1012}
    assert readiness(relay) == 503
    relay.terminate()
    relay.wait()
