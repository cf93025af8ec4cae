"""What the tests of the configuration share."""

from pathlib import Path
from textwrap import dedent

import pytest

from wsrelay.config import Checks, ConfigErrors, parse
from wsrelay.config.model import RelayConfig

FOLDER = Path("/etc/wsrelay")

SMALL = """\
[relay]
listen = tcp:8080
upstream = ws://127.0.0.1:3000
"""

WHOLE = """\
[listener:web]
endpoint = tcp:8080
[route:chat]
pool = chat
[pool:chat]
upstreams = ws://127.0.0.1:3000
"""


def parsed(
    text: str, env: dict[str, str] | None = None, checks: Checks | None = None
) -> RelayConfig:
    return parse(dedent(text).encode(), "relay.ini", FOLDER, env or {}, checks or Checks())


def errors_of(
    text: str | bytes, env: dict[str, str] | None = None, checks: Checks | None = None
) -> list[str]:
    """The lines that the operator sees."""
    raw = text if isinstance(text, bytes) else dedent(text).encode()
    with pytest.raises(ConfigErrors) as caught:
        parse(raw, "relay.ini", FOLDER, env or {}, checks or Checks())
    assert str(caught.value).split("\n") == [str(error) for error in caught.value.errors]
    return [str(error) for error in caught.value.errors]


def with_option(section: str, line: str, text: str = WHOLE) -> str:
    """WHOLE with one more line, the first of its section; a section that is not there is added."""
    header = f"[{section}]\n"
    if header not in text:
        return f"{text}{header}{line}\n"
    return text.replace(header, f"{header}{line}\n")
