"""docs/compatibility.rst: every line of relay.ini on it is one that this version takes."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import docutils.core
import pytest
from docutils import nodes

from tests.support import PROJECT
from wsrelay.checks import make_checks
from wsrelay.config import Checks, ConfigErrors, parse
from wsrelay.config.elsewhere import Habit, first_words
from wsrelay.config.guides import GUIDES, answer_to
from wsrelay.config.model import PluginCall
from wsrelay.config.table import KINDS
from wsrelay.plugins import find_policies

PAGE = PROJECT / "docs" / "compatibility.rst"

HABITS = [habit for table in GUIDES for habit in table.habits]
LINES = re.compile(r"\[(\w+)\] (\w+) = (.+)")

WHOLE = {
    "listener": {"endpoint": "tcp:8080"},
    "route": {"path": "/x", "pool": "NAME"},
    "pool": {"upstreams": "ws://10.0.0.9:3000"},
}
"""A small relay.ini: kind of section -> option -> value."""

TLS = {"certificate": "site.pem"}
MORE = {
    "key": TLS,
    "min_tls": TLS,
    "client_ca": TLS,
    "client_certificate": {**TLS, "client_ca": "ca.pem"},
    "tls_key": {"tls_certificate": "edge.pem"},
    "proxy_protocol": {"trusted_proxies": "10.0.0.0/8"},
}
"""What an option needs beside it."""


def test_the_hosts_of_the_page_are_a_good_relay_ini() -> None:
    text = PAGE.read_text("utf-8").partition("the second::\n")[2].partition("Client cert")[0]
    lines = [line.strip() for line in text.splitlines() if line.startswith("        ")]
    config = parse("\n".join(lines).encode(), "relay.ini", Path("/"), {}, Checks())
    assert [each.host for each in config.routes] == [*["www.example.com"] * 2, "shop.example.com"]


def name_of(habit: Habit) -> str:
    return habit.written


def relay_ini(lines: tuple[str, ...]) -> bytes:
    """Return a whole relay.ini with these lines in it."""
    sections = {kind: dict(options) for kind, options in WHOLE.items()}
    for line in lines:
        kind, option, value = LINES.fullmatch(line).groups()  # type: ignore[union-attr]
        section = sections.setdefault(kind, {})
        if option in ("static", "redirect"):
            section.pop("pool", None)
        if option == "pool":
            sections["pool"]["name"] = value
        if option == "discover":
            section.pop("upstreams")
        if kind == "listener" or option.startswith("tls_"):
            for needed, text in MORE.get(option, {}).items():
                section.setdefault(needed, text)
        section[option] = value
    pool = sections["pool"].pop("name", "NAME")
    rows = []
    for kind, options in sections.items():
        name = f":{pool if kind == 'pool' else 'NAME'}" if KINDS[kind].named else ""
        rows.append(f"[{kind}{name}]")
        rows += [f"{option} = {value}" for option, value in options.items()]
    return "\n".join(rows).encode()


def knows_policy(call: PluginCall) -> None:
    """Look at a policy's name and options; the files that it names are not there."""
    unknown = call.options.keys() - find_policies()[call.name].options.keys()
    if unknown:
        raise ValueError(f"{call.name} has no {unknown}")


def errors_of(lines: tuple[str, ...]) -> list[str]:
    real = make_checks()
    checks = Checks(
        balancer=real.balancer,
        discovery=real.discovery,
        endpoint=real.endpoint,
        policy=knows_policy,
    )
    try:
        parse(relay_ini(lines), "relay.ini", Path("/etc/wsrelay"), {}, checks)
    except ConfigErrors as wrong:
        return [error.message for error in wrong.errors]
    return []


def test_the_page_is_made_of_the_tables() -> None:
    """Make it again with: python docs/make_compatibility.py > docs/compatibility.rst."""
    made = runpy.run_path(str(PROJECT / "docs" / "make_compatibility.py"))["page"]()
    assert PAGE.read_text("utf-8") == made


def test_the_error_on_the_page_is_what_one_gets() -> None:
    shown = re.search(r"unknown option .*?; (.*?) …", PAGE.read_text("utf-8"), re.DOTALL)
    answer = answer_to("proxy_read_timeout")
    assert shown is not None
    assert answer is not None
    assert answer.startswith(" ".join(shown[1].split()).rstrip(";"))


def test_every_row_is_on_the_page_as_people_see_it() -> None:
    tree = docutils.core.publish_doctree(PAGE.read_text("utf-8"))
    rows = []
    for body in tree.findall(nodes.tbody):
        for row in body.findall(nodes.row):
            cells = [entry for entry in row.findall(nodes.entry)]
            codes = [tuple(each.astext() for each in cell.findall(nodes.literal)) for cell in cells]
            rows.append((codes[0], codes[1]))
    assert rows == [((habit.written,), habit.lines) for habit in HABITS]


@pytest.mark.parametrize("habit", [h for h in HABITS if h.kind == "says"], ids=name_of)
def test_what_the_page_says_is_taken(habit: Habit) -> None:
    assert errors_of(habit.lines) == []


@pytest.mark.parametrize("habit", HABITS, ids=name_of)
def test_who_writes_a_directive_is_answered(habit: Habit) -> None:
    """Of rows that begin with the same words the first one is the answer."""
    begin = first_words(habit.written)[0]
    first = next(each for each in HABITS if begin in first_words(each.written))
    assert answer_to(habit.written) == first.answer
    assert answer_to(f"{habit.written};") == first.answer


@pytest.mark.parametrize("habit", HABITS, ids=name_of)
def test_options_that_remarks_name_exist(habit: Habit) -> None:
    """A word with an underscore that is no directive of the row is an option of ours."""
    ours = {option for kind in KINDS.values() for option in kind.options}
    named = set(re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", habit.remark))
    theirs = {word for each in HABITS for word in re.findall(r"[a-z_]+", each.written)}
    assert named <= ours | theirs | {"proxy_hide_header"}
