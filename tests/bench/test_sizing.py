"""Arithmetic that somebody buys machines by."""

from __future__ import annotations

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from bench.sizing import HEADERS, PORTS, PROFILES, Core, Machine, Profile, needs

CORE = Core(message_us=10.0, handshake_us=1000.0, session_us=200.0, session_bytes=20_000.0)
MACHINE = Machine(cores=4, use=0.5, memory=16e9, files=100_000, network=1e9)
QUIET = Profile("quiet", 0.0, 100, 3600.0)
PROFILE = st.sampled_from(PROFILES)


def test_cores_are_what_messages_pings_and_handshakes_take() -> None:
    need = needs(Profile("", 0.5, 100, 100.0), 100_000, CORE, MACHINE)
    assert need.busy == {"messages": 0.5, "pings": 20.0, "handshakes": 1.0}
    assert need.cores == 43
    assert need.least["CPU"] == 11  # 21.5 on machines that may use 2
    assert (need.first, need.relays) == ("CPU", 12)
    assert need.sessions == 8334
    assert need.memory == 8334 * 20_000
    assert need.handshakes == 1000
    # 11 relays with 4 cores do 44,000 handshakes a second; a tenth of it is theirs.
    assert need.drain == pytest.approx(8334 / 4400)


@pytest.mark.parametrize(
    ("limit", "core", "machine", "profile", "relays"),
    [
        ("memory", evolve(CORE, session_bytes=1e6), MACHINE, QUIET, 13),
        ("descriptors", evolve(CORE, session_us=0.0), evolve(MACHINE, files=1000), QUIET, 50),
        ("network", evolve(CORE, message_us=0.0), MACHINE, Profile("", 10.0, 920, 1e9), 16),
    ],
)
def test_another_limit_may_bite_first(
    limit: str, core: Core, machine: Machine, profile: Profile, relays: int
) -> None:
    need = needs(profile, 100_000, core, machine)
    assert need.first == limit
    assert need.least[limit] == relays
    assert need.relays == relays + 1


def test_headers_count_as_much_as_payloads() -> None:
    need = needs(Profile("", 10.0, 100_000 - HEADERS, 1e9), 1000, CORE, MACHINE)
    assert need.least["network"] == 16


def test_an_upstream_address_has_ports_for_so_many_sessions_of_a_relay() -> None:
    one = needs(QUIET, PORTS, CORE, MACHINE)
    assert one.relays > 2  # each has less
    assert one.upstream_addresses == 1
    strong = evolve(CORE, session_us=0.0, session_bytes=1.0)
    machine = evolve(MACHINE, files=10_000_000)
    assert needs(QUIET, PORTS, strong, machine).upstream_addresses == 1
    assert needs(QUIET, PORTS + 1, strong, machine).upstream_addresses == 2


@given(PROFILE, st.integers(1, 20_000_000))
def test_what_is_left_when_one_is_lost_carries_all(profile: Profile, sessions: int) -> None:
    need = needs(profile, sessions, CORE, MACHINE)
    left = need.relays - 1
    assert sum(need.busy.values()) <= left * MACHINE.cores * MACHINE.use + 1e-6
    assert sessions * CORE.session_bytes <= left * MACHINE.memory * MACHINE.use
    assert 2 * sessions <= left * MACHINE.files * MACHINE.cores
    assert sessions <= left * need.upstream_addresses * PORTS


@given(PROFILE, st.integers(1, 10_000_000))
def test_more_sessions_never_take_fewer_relays(profile: Profile, sessions: int) -> None:
    assert (
        needs(profile, sessions, CORE, MACHINE).relays
        <= needs(profile, sessions * 2, CORE, MACHINE).relays
    )
