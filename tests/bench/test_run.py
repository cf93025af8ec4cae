"""The benchmark itself runs, however short; what it measures is of no interest here."""

from __future__ import annotations

import pytest
from attrs import evolve

from bench import limits
from bench.__main__ import main
from bench.loadtool import LoadProgram
from bench.machine import choose_cores
from bench.measure import Cores
from bench.processes import BenchError, Tool, cpu_seconds, resident_bytes
from bench.proxies import proxy_named
from bench.results import Results, figures_of
from bench.run import Plan, run
from bench.scenarios import SCENARIOS, Scenario
from bench.screen import lines
from tests.support import require

ANY = Cores((), (), ())
SHORT = 0.25
THROUGH_A_PROXY = [
    "echo-64-c100",
    "echo-1m",
    "up-64",
    "down-1m",
    "wss-64",
    "handshakes",
    "latency",
    "memory",
]

SMALL = [
    evolve(scenario, connections=min(scenario.connections, 20))
    for scenario in SCENARIOS
    if scenario.name != "echo-64-c1000"
]


@pytest.mark.parametrize("scenario", [each for each in SMALL if not each.tls], ids=lambda s: s.name)
def test_the_load_drives_the_upstream_directly(
    program: LoadProgram, upstream: tuple[Tool, int], scenario: Scenario
) -> None:
    tool, port = upstream
    numbers = [port, scenario.connections, scenario.size, scenario.rate or 1]
    with Tool([program.path, scenario.kind, *map(str, numbers)], cores=()) as load:
        load.answer(10)
        done = 0
        while scenario.kind != "idle" and done < 3:
            counted = (tool if scenario.kind == "up" else load).ask()
            done += counted["messages"]
            if scenario.kind in ("closed-loop", "fixed-rate", "handshakes"):
                assert counted["samples"] == counted["messages"]
                assert counted["p50_ns"] <= counted["p99_ns"] <= counted["max_ns"]
        if scenario.kind != "handshakes":
            assert tool.ask()["open"] == scenario.connections


def test_a_message_with_a_wrong_byte_is_noticed(
    program: LoadProgram, corrupting_proxy: int
) -> None:
    command = [program.path, "closed-loop", str(corrupting_proxy), "1", "64"]
    with Tool(command, cores=()) as load:
        load.answer(10)
        with pytest.raises(BenchError, match="other bytes than were sent"):
            load.answer(10)


def test_a_whole_run_through_wsrelay(program: LoadProgram) -> None:
    require(program.tls, "OpenSSL's headers are not installed")
    scenarios = [each for each in SMALL if each.name in THROUGH_A_PROXY]
    document = run(Plan([proxy_named("wsrelay-python")], scenarios, 1, SHORT, ANY), print)
    results = Results(document)
    for scenario in scenarios:
        [raw] = results.raw(scenario.name, "wsrelay-python")
        assert "failed" not in raw, raw
        assert scenario.kind == "idle" or figures_of(raw)["cpu_us"] > 0
    assert document["absent"] == {}
    assert "64 B echo, 100 connections" in "\n".join(lines(results))


@pytest.mark.usefixtures("program")
def test_a_proxy_that_is_not_there_is_listed() -> None:
    gone = evolve(proxy_named("caddy"), missing=lambda: "it is on holiday")
    broken = evolve(gone, name="broken", missing=lambda: None, command=lambda _: ["/bin/false"])
    document = run(Plan([gone, broken], SMALL[:1], 1, SHORT, ANY), print)
    assert document["absent"]["caddy"] == "it is on holiday"
    assert document["absent"]["broken"].startswith("ended with 1")
    assert document["rounds"] == [{"echo-64-c1": {}}]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--proxies", "ngnix"], "There is no proxy 'ngnix'; there are: wsrelay-native,"),
        (["--scenarios", "echo"], "There is no scenario echo; there are: echo-64-c1,"),
        (["--proxy-cores", "9999", "--load-cores", "0"], "There is no core 9999"),
        (["--show", "/nowhere.json"], "/nowhere.json is no result of a run"),
    ],
)
def test_a_bad_command_line_is_refused_in_words(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 1
    assert words in capsys.readouterr().err


def test_cores_are_kept_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def there(*cores: int) -> None:
        monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(cores))

    there(0, 1)
    assert choose_cores(None, None) == Cores((1,), (0,), (0,))
    there(0, 1, 2, 3)
    assert choose_cores(None, None) == Cores((3,), (1, 2), (0,))
    assert choose_cores([0], [2, 3]) == Cores((0,), (3,), (2,))
    there(0)
    with pytest.raises(BenchError, match="one core only"):
        choose_cores(None, None)


def test_a_process_has_cpu_time_and_memory_and_one_that_is_gone_has_not(
    program: LoadProgram,
) -> None:
    with Tool([program.path, "serve"], cores=()) as tool:
        tool.answer(10)
        assert cpu_seconds(tool.pid) > 0
        assert resident_bytes(tool.pid) > 100_000
        pid = tool.pid
    with pytest.raises(BenchError, match="ended while it was measured"):
        cpu_seconds(pid)
    with pytest.raises(BenchError, match="ended while it was measured"):
        resident_bytes(pid)


def test_the_limits_of_one_relay_are_printed(
    program: LoadProgram, capsys: pytest.CaptureFixture[str]
) -> None:
    require(program.tls, "OpenSSL's headers are not installed")
    assert limits.main(["--sessions", "40", "--seconds", "0.6"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("40 idle sessions, opened in")
    assert printed[1].startswith("40 sessions that echo 64 B: ")
    assert [line[:36].rstrip() for line in printed[4:]] == [title for title, _ in limits.LOADS]
