"""relay.ini: a configuration, or errors that say where; never a traceback, never silence."""

from __future__ import annotations

import codecs
from pathlib import Path

from wsrelay.config import Checks, ConfigErrors, parse
from wsrelay.config.errors import ConfigError
from wsrelay.config.model import RelayConfig

Outcome = RelayConfig | tuple[ConfigError, ...]


def ini(data: bytes) -> None:
    """Read *data* as a file, and what says the same, or one thing more."""
    found = outcome(data)
    if isinstance(found, RelayConfig):
        check_config(found)
    else:
        check_errors(found, data)
    check_the_unknown_is_found(data)
    assert outcome(data + b"\n; the end") == found
    if b"\r" not in data:
        assert outcome(data.replace(b"\n", b"\r\n")) == found
    if not data.startswith(codecs.BOM_UTF8):
        check_lines_are_counted(data, found)


def outcome(data: bytes) -> Outcome:
    try:
        return parse(data, "relay.ini", Path("/etc/wsrelay"), {"X": "a"}, Checks())
    except ConfigErrors as caught:
        return caught.errors


def check_config(config: RelayConfig) -> None:
    """What is named is there, and what has to be there is."""
    pools = {pool.name for pool in config.pools}
    listeners = {listener.name for listener in config.listeners}
    assert config.routes
    assert listeners
    for route in config.routes:
        assert not route.pool or route.pool in pools
        assert set(route.listeners) <= listeners


def check_errors(errors: tuple[ConfigError, ...], data: bytes) -> None:
    """Each is one line that says which file, and which of its lines there is."""
    last = 1 + data.count(b"\n") + data.count(b"\r")
    assert errors
    for error in errors:
        shown = str(error)
        assert shown.startswith("relay.ini:")
        assert shown.isprintable()
        assert error.message
        assert error.line is None or 1 <= error.line <= last
    lines = [error.line or last + 1 for error in errors]
    assert lines == sorted(lines)


def check_the_unknown_is_found(data: bytes) -> None:
    """A section and an option that nobody knows are errors, whatever stands above them."""
    for more in (b"\n[nonsense]\n", b"\n[log]\nnonsense = 1\n"):
        found = outcome(data + more)
        assert isinstance(found, tuple)
        shown = "\n".join(map(str, found))
        assert "nonsense" in shown or "is not UTF-8" in shown


def check_lines_are_counted(data: bytes, found: Outcome) -> None:
    """A comment above all moves each error one line down, and changes nothing else."""
    moved = outcome(b"# A comment.\n" + data)
    if isinstance(found, RelayConfig):
        assert moved == found
        return
    assert isinstance(moved, tuple)
    assert [where(each, 0) for each in moved] == [where(each, 1) for each in found]


def where(error: ConfigError, down: int) -> tuple[object, ...]:
    line = None if error.line is None else error.line + down
    return line, error.section, error.option
