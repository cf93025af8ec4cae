"""A section as written -> its options as values, one by one, by the table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from attrs import evolve

from wsrelay.config.blocks import Block, Job, Setting
from wsrelay.config.errors import Place, unknown_name
from wsrelay.config.model import EndpointText, UpstreamConfig
from wsrelay.config.options import Kind, Option
from wsrelay.config.reader import Section, WrittenOption
from wsrelay.config.table import KINDS
from wsrelay.config.values import socket_path

__all__ = ["evaluate", "read_value"]

_VARIABLE = re.compile(r"\$\{([^}]*)\}?")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_UNIX_ENDPOINT = re.compile(r"unix:(?:address=)?(?!/)")
_NAME = re.compile(r"[\w.-]+")


def evaluate(section: Section, job: Job) -> Block | None:
    """Parse a section's options; None, and an error, if there is no such kind of section."""
    place = Place(job.file, section.line, section.header)
    kind_name, colon, name = section.header.partition(":")
    kind = KINDS.get(kind_name)
    if kind is None:
        job.report(place, unknown_name("section", kind_name, KINDS))
        return None
    fault = _name_fault(kind, colon, name)
    if fault:
        job.report(place, fault)
    written = {each.name: place.on(each.name, each.line) for each in section.options.values()}
    return Block(kind.name, name, place, _settings(kind, section, written, job), written)


def _name_fault(kind: Kind, colon: str, name: str) -> str:
    if not kind.named:
        return f"this section has no name; expected [{kind.name}]" if colon else ""
    if not _NAME.fullmatch(name):
        wanted = "a name of letters, digits, '_', '.' and '-'"
        return f"this section needs {wanted}; expected [{kind.form}]"
    if (kind.name, name) == ("listener", "all"):
        return "a route's listener = all means every listener; choose another name"
    return ""


def _settings(
    kind: Kind, section: Section, places: Mapping[str, Place], job: Job
) -> dict[str, Setting]:
    settings = {}
    for written in section.options.values():
        at = places[written.name]
        option = kind.options.get(written.name)
        if option is None:
            job.report(at, _unknown_option(kind, written.name))
        elif setting := _setting(option, written, at, job):
            settings[option.name] = setting
    return settings


_CALLED_HERE: Final = {
    ("listener", "listen"): "endpoint",
    ("relay", "endpoint"): "listen",
    ("admin", "endpoint"): "listen",
    ("pool", "upstream"): "upstreams",
    ("relay", "upstreams"): "upstream",
}
"""(section, option) that has another name there than elsewhere."""


def _unknown_option(kind: Kind, name: str) -> str:
    if here := _CALLED_HERE.get((kind.name, name)):
        return f"unknown option here; it is called {here} in [{kind.form}]"
    homes = [f"[{other.form}]" for other in KINDS.values() if name in other.options]
    if homes:
        return f"unknown option here; it belongs to {' or '.join(homes)}"
    if name in ("ws", "wss", "unix", "tcp", "tcp6", "http", "https"):
        return f"unknown option '{name}'; if this is an item of the list above, indent it"
    from wsrelay.config.guides import answer_to  # only a file with an error needs that

    if answer := answer_to(name):
        return f"unknown option '{name}'; {answer}"
    return unknown_name("option", name, kind.options)


def _setting(option: Option, written: WrittenOption, at: Place, job: Job) -> Setting | None:
    items = written.items
    if not items:
        job.report(at, "has no value; write one, or delete the line")
        return None
    if len(items) > 1 and not option.many:
        job.report(
            at.on(at.option, items[1].line),
            "takes one value, and this indented line would be a second one;"
            " delete it or its indent",
        )
        return None
    return _read_items(option, written, at, job)


def _read_items(option: Option, written: WrittenOption, at: Place, job: Job) -> Setting | None:
    """Parse each item; of a list, the good ones stay."""
    good = []
    for item in written.items:
        place = at.on(at.option, item.line)
        try:
            text = _expand(item.text, job.env)
            if not (option.many and text == option.default):
                good.append((read_value(option, text, job), place))
        except ValueError as error:
            job.report(place, f"{error}{_comment_hint(item.text)}")
    if option.many:
        return Setting(tuple(value for value, _ in good), tuple(place for _, place in good))
    return Setting(good[0][0]) if good else None


def read_value(option: Option, text: str, job: Job) -> Any:
    """
    Parse one value of *option*; relative paths are made absolute.

    :raises ValueError: with the text for the operator.
    """
    value = _anchored(option.parse(text), job.folder)
    if option.must_exist and not job.checks.file_exists(value):
        raise ValueError(f"there is no file {value}")
    return value


def _expand(text: str, env: Mapping[str, str]) -> str:
    """Put the environment's variables in."""

    def variable(match: re.Match[str]) -> str:
        if not match[1] or not match[0].endswith("}"):
            raise ValueError(f"'{match[0]}' is not a variable; expected ${{NAME}}")
        if match[1] not in env:
            raise ValueError(
                f"the environment has no variable {match[1]}; set it, or delete it here"
            )
        return env[match[1]]

    expanded = _VARIABLE.sub(variable, text).strip()
    if not expanded:
        raise ValueError(f"'{text}' is empty in this environment; expected a value")
    if _CONTROL.search(expanded):
        raise ValueError("there is a control character in it; delete it")
    return expanded


def _anchored(value: Any, folder: Path) -> Any:
    """Make relative paths absolute; a socket's may become too long by that."""
    if isinstance(value, Path):
        return folder / value
    if isinstance(value, EndpointText):
        return _anchored_endpoint(value, folder)
    if isinstance(value, UpstreamConfig) and value.scheme == "unix":
        path = socket_path(str(folder / value.socket_path))
        name = path if value.name == value.socket_path else value.name
        return evolve(value, name=name, url=f"unix:{path}")
    return value


def _anchored_endpoint(endpoint: EndpointText, folder: Path) -> str:
    """
    Make the path of a unix endpoint absolute; Twisted escapes colons with a backslash.

    Twisted takes nothing but a plain text for an endpoint, so that is what comes out.
    """
    match = _UNIX_ENDPOINT.match(endpoint)
    if match is None or not endpoint[match.end() :]:
        return str(endpoint)
    beside = str(folder / "x")[:-1].replace("\\", "\\\\").replace(":", "\\:")
    return f"{match[0]}{beside}{endpoint[match.end() :]}"


def _comment_hint(text: str) -> str:
    return " (a comment needs a line of its own)" if re.search(r"\s[#;]", text) else ""
