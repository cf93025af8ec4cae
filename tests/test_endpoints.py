"""Who can reach an endpoint."""

import pytest

from wsrelay.endpoints import is_local


@pytest.mark.parametrize(
    "endpoint",
    [
        "unix:/run/a.sock",
        "tcp:1:interface=127.0.0.1",
        "tcp:port=1:interface=127.1.2.3:backlog=5",
        r"tcp6:1:interface=\:\:1",
    ],
)
def test_what_only_this_machine_reaches(endpoint: str) -> None:
    assert is_local(endpoint)


@pytest.mark.parametrize(
    "endpoint",
    [
        "tcp:1",
        "tcp:1:interface=0.0.0.0",
        "tcp:1:interface=10.0.0.1",
        r"tcp6:1:interface=\:\:",
        "tcp:1:interface=localhost",
        "systemd:domain=INET:index=0",
        "fd:name=127.0.0.1",
    ],
)
def test_what_others_may_reach(endpoint: str) -> None:
    assert not is_local(endpoint)
