"""The page about the endpoint says what the endpoint does."""

from __future__ import annotations

import json
import re
import shlex
import textwrap
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.admin.support import TOKEN, World
from tests.support import PROJECT

PAGE = (PROJECT / "docs" / "api.rst").read_text("utf-8")
HEADING = re.compile(r"^``(GET|POST|PATCH|DELETE) (/\S*)``$", re.MULTILINE)
EXAMPLE = re.compile(r"^( +)\$ (curl -s (?:.*\\\n)*.*)\n((?:\1.*\n)+)", re.MULTILINE)


def examples() -> list[tuple[str, str]]:
    """Return each command with what it prints."""
    return [
        (command.replace("\\\n", ""), textwrap.dedent(printed))
        for _, command, printed in EXAMPLE.findall(PAGE)
    ]


def run(command: str) -> tuple[int, bytes]:
    """Do what curl would."""
    words = shlex.split(command)[2:]
    method, headers, body = "GET", {}, b""
    while len(words) > 1:
        option, value, *words = words
        if option == "-X":
            method = value
        elif option == "-H":
            name, _, headers[name] = value.partition(": ")
        else:
            assert option == "-d", command
            body = value.encode()
    url = urlsplit(words[0])
    target = f"{url.path}?{url.query}" if url.query else url.path
    reply = World().ask(method, target, {"Host": url.netloc, **headers}, body)
    return reply.status, reply.body


def shorten(value: Any, wanted: Any) -> Any:
    """Leave out of *value* the keys that *wanted* does not show."""
    if isinstance(wanted, dict):
        return {key: shorten(value[key], wanted[key]) for key in wanted}
    return value


def test_every_route_is_on_the_page_and_every_path_of_the_page_is_a_route() -> None:
    routes = [
        f"{route.method} {re.sub('{.*?}', lambda name: name[0][1:-1].upper(), route.pattern)}"
        for route in World(TOKEN).site.table.routes
    ]
    assert sorted(routes) == sorted(f"{method} {path}" for method, path in HEADING.findall(PAGE))


@pytest.mark.parametrize(("command", "printed"), examples(), ids=range(len(examples())))
def test_an_example_prints_what_the_page_says(command: str, printed: str) -> None:
    status, body = run(command)
    assert status in (200, 201)
    if printed[0] not in "{[":
        assert body.decode() == printed.strip()
        return
    wanted = json.loads(printed)
    assert shorten(json.loads(body), wanted) == wanted


def test_there_are_examples() -> None:
    assert len(examples()) >= 12
