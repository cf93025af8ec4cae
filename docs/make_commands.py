"""
Write docs/commands.rst from the command line's parser.

``python docs/make_commands.py > docs/commands.rst``; a test compares the two.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from typing import Any

from texts import prose

from wsrelay.cli import command_line
from wsrelay.operate.commands import OPTIONS

HEAD = """\
Commands
========

``wsrelay check``, ``balancers`` and the like look at files and at what is installed.  The
others talk to a relay that runs, over its admin endpoint, which relay.ini opens::

    [admin]
    listen = tcp:9000:interface=127.0.0.1

The relay is found by, in this order, ``--admin``, ``--config``, the environment's
``WSRELAY_ADMIN`` and ``WSRELAY_CONFIG``, ``relay.ini`` in the current folder and
``/etc/wsrelay/relay.ini``; of a file only ``[admin]`` is looked at.  The token is that of
``--token-file``, else the environment's ``WSRELAY_TOKEN``, else that of the file's
``token_file``; the token of a file that nobody named goes to that file's own endpoint only.

============  ==============================================================================
exit code     means
============  ==============================================================================
0             it is done
1             the relay refused, and said why; of ``check``: the file has errors
2             the command line, or a file that it needs, is wrong
3             the relay cannot be reached, did not answer in time, or something else answered
130           Ctrl-C; what was ordered goes on
141           nobody reads what is printed any more
============  ==============================================================================

What is printed is coloured on terminals, unless the environment has ``NO_COLOR``.  Names that
hold control characters, or characters that the terminal's encoding lacks, are shown with
escapes.
"""

SHARED = """\
Options of the commands that talk to a relay
--------------------------------------------

They stand before the command or behind it.
"""

MORE = {
    "status": """\
The line of an upstream ends with what its last health check found; where there are no checks,
with the last problem that a handshake or a request had, however long ago.  Where there was
plain HTTP, *requests* are those under way, and *answered* those that the upstream has answered.
``--json`` prints ``status.json`` as the relay has it.""",
    "top": """\
Rates are by the relay's own clock.  Without a terminal, and with ``--count``, tables are
printed one below the other; with ``--json`` a document a line.  A relay that is away is tried
again; if it is away at the end, the exit code is 3.""",
    "drain": """\
An upstream's name may hold slashes: what counts is the first one.  ``--wait`` waits
for the answers to plain requests, too; those that are still under way after ``drain_timeout``,
streams of events say, are broken off.  The exit code is 0 then, and 1 when somebody took the drain
back meanwhile.""",
    "publish": """\
Prints to how many sessions, and to how many not and why: ``ending``, ``busy`` (too much waits
for that client already), ``extension`` (one that the relay does not know).  A message has less
than 64 KiB; docs/api says more.""",
    "reload": """\
Prints every change, a line each, or ``nothing changed``.  A refused one is told with all
errors; the relay goes on with the configuration that it had.""",
}


def page() -> str:
    """Return the whole page."""
    parts = [HEAD, SHARED, *_options(_shared())]
    commands = _commands()
    for name, help_text in _helps(commands).items():
        parser = commands.choices[name]
        sentence = f"{help_text[0].upper()}{help_text[1:]}."
        parts += [*_title(name), _usage(name, parser), "", sentence, ""]
        parts += [MORE[name], ""] if name in MORE else []
        parts += _options(_own(parser))
    return "\n".join(parts)


def _commands() -> Any:
    return next(each for each in command_line()._actions if each.nargs == argparse.PARSER)


def _helps(commands: Any) -> dict[str, str]:
    return {each.dest: each.help for each in commands._choices_actions}


def _shared() -> list[argparse.Action]:
    return [each for each in command_line()._actions if set(each.option_strings) & set(OPTIONS)]


def _own(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    shared = {"-h", *OPTIONS}
    return [each for each in parser._actions if not shared & set(each.option_strings)]


def _title(name: str) -> Iterator[str]:
    title = f"wsrelay {name}"
    yield from (title, "-" * len(title), "")


def _usage(name: str, parser: argparse.ArgumentParser) -> str:
    words = [_shown(each) for each in _own(parser) if not each.option_strings]
    optional = [f"[{_shown(each)}]" for each in _own(parser) if each.option_strings]
    return f"``{' '.join(['wsrelay', name, *words, *optional])}``"


def _shown(action: argparse.Action) -> str:
    flag = ", ".join(action.option_strings)
    value = action.metavar or ("|".join(action.choices) if action.choices else "")
    return " ".join(filter(None, (flag, str(value) if action.nargs != 0 else "")))


def _options(actions: Iterable[argparse.Action]) -> Iterator[str]:
    for action in actions:
        yield f"``{_shown(action)}``"
        yield f"    {prose(action.help or '')}"
        yield ""


if __name__ == "__main__":
    print(page(), end="")
