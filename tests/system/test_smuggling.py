"""No request of the published collections gets a second one past a relay."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine, Iterator
from typing import Any, NamedTuple

import pytest

from tests.support import PATIENCE, RelayProcess, started_relay
from tests.system.recorder import Recorder
from tests.system.support import LOCAL, check_log_is_calm, lines
from tests.wire.smuggling import HOST, SMUGGLED, Case, Fate, chunked
from tests.wire.smuggling_chunks import corpus

CASES = corpus()
AT_ONCE = 50
"""Connections at a time."""

_STATUS = re.compile(rb"HTTP/1\.1 ([0-9]{3}) ")
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: ([0-9]+)\r\n")


class Answer(NamedTuple):
    status: int
    body: bytes


class Talk(NamedTuple):
    """What a client got."""

    answers: list[Answer]
    has_ended: bool
    """The relay ended the connection."""


@pytest.fixture(scope="module")
def recorder() -> Iterator[Recorder]:
    with Recorder.running() as running:
        yield running


@pytest.fixture(scope="module")
def relay(recorder: Recorder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RelayProcess]:
    config = f"""
[listener:main]
endpoint = {LOCAL}
[route:main]
pool = main
host = r.test
[route:any]
pool = main
[route:files]
host = files.test
static = .
[route:moved]
host = moved.test
redirect = https://r.test
[route:websockets]
host = websockets.test
pool = main
http = no
[route:small]
host = small.test
pool = main
max_body_size = 10
[pool:main]
upstreams = {recorder.url}
max_fails = 0
[log]
access = off
"""
    with started_relay(config, tmp_path_factory.mktemp("relay")) as process:
        yield process
        check_log_is_calm(process.log())


def get(target: bytes) -> bytes:
    return b"GET %b HTTP/1.1\r\n%b\r\n" % (target, HOST)


def marked(case: Case, number: int) -> bytes:
    """Return the bytes of a case with a target of its own in the request line."""
    return case.data.replace(b"/front", b"/front-%d" % number, 1)


async def read_one(reader: asyncio.StreamReader, *, to_head: bool) -> Answer:
    """Read a final answer; those before it are interim."""
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        match = _STATUS.match(head)
        assert match, head
        if not match[1].startswith(b"1"):
            break
    length = _LENGTH.search(head)
    assert length, head
    body = b"" if to_head else await reader.readexactly(int(length[1]))
    return Answer(int(match[1]), body)


async def talk(
    port: int,
    data: bytes,
    count: int,
    head: int = -1,
    pause: Coroutine[Any, Any, bytes] | None = None,
) -> Talk:
    """
    Send *data*, and read until the relay ends the connection or *count* answers are there.

    :param head: which of them answers HEAD, counted from 0.
    :param pause: what to await then, and to send as well.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answers: list[Answer] = []
    try:
        writer.write(data)
        if pause is not None:
            writer.write(await pause)
        while len(answers) < count:
            answers.append(await read_one(reader, to_head=len(answers) == head))
        return Talk(answers, False)
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return Talk(answers, True)
    finally:
        writer.close()


async def try_all(port: int, recorder: Recorder, *, before: bool) -> list[str]:
    """Return what went wrong with each case of the corpus."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(number: int, case: Case) -> str:
        async with places:
            return await in_time(case, try_one(port, recorder, number, case, before=before))

    results = await asyncio.gather(*(one(*each) for each in enumerate(CASES)))
    return [f"{case}: {result}" for case, result in zip(CASES, results, strict=True) if result]


async def in_time(case: Case, trying: Coroutine[Any, Any, str]) -> str:
    try:
        async with asyncio.timeout(PATIENCE):
            return await trying
    except TimeoutError:  # it is for all of them, so the first one will do
        raise AssertionError(f"{case}: neither an answer nor an end") from None


async def try_one(port: int, recorder: Recorder, number: int, case: Case, *, before: bool) -> str:
    first = [get(b"/before-%d" % number)] if before else []
    data = b"".join([*first, marked(case, number), get(b"/after-%d" % number)])
    head = len(first) if case.data.startswith(b"HEAD") else -1
    expected = [200] * len(first) + statuses(case)
    is_last = expected[-1] != 200 or b"HTTP/1.0" in case.data
    result = await talk(port, data, len(expected) + is_last, head)
    if [answer.status for answer in result.answers] != expected or result.has_ended != is_last:
        return f"{result}, not {expected}"
    return complaint(recorder, number, case, before=before)


def statuses(case: Case) -> list[int]:
    """Return what the case, and the request that follows it, are answered with."""
    if case.fate in (Fate.HEAD, Fate.BODY):
        return [400]
    if case.fate is Fate.NEXT:
        return [200, 400]
    if case.status != 200 or b"HTTP/1.0" in case.data:
        return [case.status]
    return [200, 200]


def complaint(recorder: Recorder, number: int, case: Case, *, before: bool) -> str:
    """Say what the upstream saw that it should not have, or not as it should have."""
    befores, fronts, afters = (
        recorder.seen.pop(b"/%b-%d" % (name, number), [])
        for name in (b"before", b"front", b"after")
    )
    if [seen.is_whole for seen in befores] != [True] * before:
        return f"before it: {befores}"
    passes = case.fate in (Fate.PASSES, Fate.NEXT) and case.status == 200
    if passes:
        is_good = [(seen.is_whole, seen.body) for seen in fronts] == [(True, case.body)]
    elif case.fate is Fate.BODY:  # it may have begun to be sent
        is_good = not any(seen.is_whole for seen in fronts) and len(fronts) < 2
    else:
        is_good = not fronts
    is_followed = statuses(case) == [200, 200]
    if not is_good or [seen.is_whole for seen in afters] != [True] * is_followed:
        return f"the upstream saw {fronts}, then {afters}"
    return ""


@pytest.mark.parametrize("before", [False, True], ids=["alone", "in the middle"])
def test_a_case_is_refused_and_nothing_of_it_becomes_a_request(
    relay: RelayProcess, recorder: Recorder, before: bool
) -> None:
    wrong = asyncio.run(try_all(relay.ports["main"], recorder, before=before))
    assert wrong == []
    assert recorder.junk == []
    assert recorder.seen == {}


async def try_late(port: int, recorder: Recorder) -> list[str]:
    """Let the upstream have the first chunk of each body before the rest of it is sent."""
    places = asyncio.Semaphore(AT_ONCE)

    async def rest_of(number: int, body: bytes) -> bytes:
        while not (seen := recorder.seen.get(b"/front-%d" % number)) or seen[0].body != b"good":
            await asyncio.sleep(0.005)
        return body + get(b"/after-%d" % number)

    async def one(number: int, case: Case) -> str:
        head, end, body = marked(case, number).partition(b"\r\n\r\n")
        first = head + end + b"4\r\ngood\r\n"
        async with places:
            result = await talk(port, first, 2, pause=rest_of(number, body))
        if [answer.status for answer in result.answers] != [400] or not result.has_ended:
            return f"{result}, not [400]"
        return complaint(recorder, number, case, before=False)

    cases = [case for case in CASES if case.fate is Fate.BODY]
    assert cases
    tries = [in_time(case, one(number, case)) for number, case in enumerate(cases)]
    results = await asyncio.gather(*tries)
    return [f"{case}: {result}" for case, result in zip(cases, results, strict=True) if result]


def test_a_body_that_turns_bad_is_cut_off_for_the_upstream_too(
    relay: RelayProcess, recorder: Recorder
) -> None:
    assert asyncio.run(try_late(relay.ports["main"], recorder)) == []
    assert recorder.junk == []
    assert recorder.seen == {}


@pytest.mark.parametrize(
    ("host", "status"),
    [(b"files", 405), (b"moved", 308), (b"websockets", 426), (b"small", 413)],
)
@pytest.mark.parametrize("framing", [b"Content-Length", b"Transfer-Encoding"])
def test_a_body_that_nobody_wants_is_no_request_either(
    relay: RelayProcess, recorder: Recorder, host: bytes, status: int, framing: bytes
) -> None:
    body = chunked(SMUGGLED) if framing == b"Transfer-Encoding" else SMUGGLED
    value = b"chunked" if framing == b"Transfer-Encoding" else b"%d" % len(SMUGGLED)
    head = lines(b"POST /front HTTP/1.1", b"Host: %b.test" % host, framing + b": " + value)
    result = asyncio.run(talk(relay.ports["main"], head + body + get(b"/after"), 3))
    assert [answer.status for answer in result.answers] == [status]
    assert result.has_ended
    assert recorder.seen == {}
    assert recorder.junk == []
