"""The targets see faults: each of these breaks something on purpose."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from tests.fuzz import access, extensions, ini, proxy, streams
from tests.fuzz.__main__ import main
from tests.fuzz.corpora import CORPUS, LONGEST, inputs_of, keep
from tests.fuzz.targets import TARGETS, TooSlow, timed
from tests.fuzz.words import dictionary
from wsrelay.wire import body, forward, frames, headers
from wsrelay.wire import request as requests

Break = Callable[[pytest.MonkeyPatch], None]


def cut(module: Any, name: str, wrap: Callable[[Any], Any]) -> Break:
    """Return what puts *wrap* around something."""
    return lambda patch: patch.setattr(module, name, wrap(getattr(module, name)))


def lax_fields(block: bytes) -> headers.Headers:
    lines = [line.partition(b":") for line in block.split(b"\n") if line.strip()]
    return headers.Headers(tuple((name, value.strip()) for name, _, value in lines))


def first_of(function: Any) -> Any:
    return lambda *args: function(*args)[:1]


BREAKS: dict[str, tuple[str, Break]] = {
    "fields with underscores pass": (
        "request",
        cut(forward, "_FROM_STRANGER", lambda _: frozenset()),
    ),
    "hops pass": ("request", cut(forward, "_dropped", lambda _: lambda _headers, more: more)),
    "framing is lost": ("request", cut(forward, "_framing", lambda _: lambda _request: {})),
    "lines end at LF": ("request", cut(requests, "parse_fields", lambda _: lax_fields)),
    "an error is another one": (
        "request",
        cut(requests, "check_framing", lambda _: lambda *_args: {}["x"]),
    ),
    "an answer's length passes beside chunks": (
        "response",
        cut(forward, "_LENGTH", lambda _: frozenset()),
    ),
    "an answer's length is dropped": (
        "response",
        cut(forward, "_length_of", lambda _: lambda _response: {}),
    ),
    "extensions of chunks may hold a bare LF": (
        "body",
        cut(body, "_SIZE_LINE", lambda _: re.compile(rb"([0-9A-Fa-f]{1,15})[^\r]*\r\n", re.DOTALL)),
    ),
    "trailers are framing": ("body", cut(body, "check_trailer", lambda _: lambda _trailer: None)),
    "half a close code passes": ("frames", cut(frames, "CLOSE", lambda _: 99)),
    "payloads are not counted": (
        "frames",
        cut(frames.Scanner, "_begin_frame", lambda _: lambda *_args: None),
    ),
    "messages cost nothing": (
        "paces",
        cut(streams.PacedScanner, "_pay", lambda _: lambda _self, data: data),
    ),
    "a header is whole too early": (
        "proxy",
        cut(proxy, "parse_header", lambda real: lambda data: real(data + b"\r\n")),
    ),
    "a config error has no place": (
        "ini",
        cut(
            ini,
            "outcome",
            lambda real: lambda data: _placeless(real(data)),
        ),
    ),
    "unknown options are ignored": ("ini", cut(ini, "outcome", lambda _: lambda _data: ())),
    "names are read in quotes": (
        "extensions",
        cut(extensions, "extension_names", first_of),
    ),
    "windows are as large as asked": (
        "extensions",
        cut(extensions, "choose", lambda _: lambda _headers: (extensions.Deflate(), b"x")),
    ),
    "a suffix is a subdomain": (
        "origin",
        cut(access.Origins, "_is_below", lambda _: lambda _self, origin: "example" in origin.host),
    ),
    "the first network decides": (
        "networks",
        cut(access.Networks, "permit", lambda _: lambda _self, _address: True),
    ),
    "anybody is believed": (
        "address",
        cut(access, "client_address", lambda real: lambda p, f, t: ("192.0.2.9", b"x")),
    ),
    "hashes are told": (
        "htpasswd",
        cut(
            access,
            "parse_htpasswd",
            lambda _: lambda data: (_ for _ in ()).throw(ValueError(f"line 1: {data!r}")),
        ),
    ),
    "signatures are not looked at": (
        "jwt",
        cut(
            access,
            "verify",
            lambda _: lambda token, *_: access.json.loads(access.padded(token.split(".")[1])),
        ),
    ),
    "secrets come from anywhere": (
        "jwks",
        cut(access, "from_jwks", lambda real: lambda data, secrets: real(data, secrets=True)),
    ),
}


def _placeless(found: Any) -> Any:
    return tuple(evolve(e, line=0) for e in found) if isinstance(found, tuple) else found


def failures(name: str) -> int:
    count = 0
    for data in inputs_of(name).values():
        try:
            TARGETS[name](data)
        except Exception:
            count += 1
    return count


@pytest.mark.parametrize("what", BREAKS)
def test_the_corpus_shows_what_is_broken(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, break_it = BREAKS[what]
    break_it(monkeypatch)
    assert failures(name) > 0


def test_what_adds_nothing_is_not_kept_and_neither_is_what_is_long(tmp_path: Path) -> None:
    def kept(*found: bytes) -> list[bytes]:
        paths = keep("extensions", TARGETS["extensions"], found, tmp_path)
        return [path.read_bytes() for path in paths]

    assert kept(b"permessage-deflate") == [b"permessage-deflate"]
    assert kept(b"permessage-deflate", b"Permessage-Deflate") == []
    assert kept(b"c;d", b"a;b", b'"', b"a, " * LONGEST) == [b'"', b"a;b"]
    assert sorted(inputs_of("extensions", tmp_path).values()) == [
        b'"',
        b"a;b",
        b"permessage-deflate",
    ]


def test_an_input_is_run_again_by_the_folder_that_it_is_in(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["--replay", str(CORPUS / "extensions" / "plain")]) == 0
    assert capsys.readouterr().out == "extensions passes.\n"
    stray = tmp_path / "crash-1"
    stray.write_bytes(b"permessage-deflate")
    assert main(["--replay", str(stray)]) == 2
    assert "say which target it is for: address, body" in capsys.readouterr().err
    assert main(["--replay", str(stray), "extensions"]) == 0
    monkeypatch.setattr(extensions, "extension_names", first_of(extensions.extension_names))
    with pytest.raises(AssertionError):
        main(["--replay", str(CORPUS / "extensions" / "several")])


def test_a_target_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["nonsense"])
    assert "there is no target nonsense; there are address" in capsys.readouterr().err


def test_an_input_that_takes_longer_than_it_may_is_a_fault() -> None:
    times = iter([0.0, 1.0, 5.0, 6.01, 10.0, 20.0])
    limited = timed(lambda data: None, lambda: next(times))
    limited(b"a")
    with pytest.raises(TooSlow, match=r"1\.0 s for 1 bytes"):
        limited(b"a")
    limited(bytes(64 * 1024))


def test_words_are_written_as_libfuzzer_reads_them() -> None:
    assert dictionary([b'a"\n', b""]) == '"\\x61\\x22\\x0a"\n'
