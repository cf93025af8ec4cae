"""docs/security.rst: its example is a good relay.ini, and its defaults are the defaults."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support import PROJECT
from wsrelay.config import Checks, parse
from wsrelay.config.table import KINDS

PAGE = (PROJECT / "docs" / "security.rst").read_text("utf-8")
OPTIONS = {name: option for kind in KINDS.values() for name, option in kind.options.items()}


def part(title: str) -> str:
    """Return the text of a section."""
    return re.split(r"\n[^\n]+\n-+\n", PAGE.partition(f"\n{title}\n")[2].partition("\n\n")[2])[0]


def test_the_example_guards_a_route_with_all_that_it_names() -> None:
    text = part("What has to be said").partition("::\n\n")[2]
    lines = [line[4:] for line in text.splitlines() if line.startswith("    ") or not line]
    config = parse("\n".join(lines).encode(), "relay.ini", Path("/"), {}, Checks())
    (route,) = config.routes
    assert route.origins == ("same-host",)
    assert route.slow_consumer == 30.0
    assert config.listeners[0].max_connections == 50_000


def test_what_is_on_by_itself_is_the_default() -> None:
    said = re.findall(r"``(\w+) = (\S+?)``", part("What is on without being asked for, and why"))
    assert len(said) >= 6
    for name, value in said:
        assert OPTIONS[name].default == value, name


def test_what_has_to_be_said_is_off_by_default() -> None:
    named = re.findall(r"(?m)^((?:``\w+``(?:, )?)+)$", part("What has to be said"))
    options = [name for line in named for name in re.findall(r"\w+", line)]
    assert {"origins", "allow", "messages", "policies", "max_connections"} <= set(options)
    for name in options:
        assert OPTIONS[name].default in ("off", "any", "none", "close"), name
