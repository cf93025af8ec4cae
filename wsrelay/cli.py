"""
The ``wsrelay`` command.

Exit codes: 0, all well; 1, the configuration is wrong, or the relay refused; 2, the file
cannot be read, or the command line is wrong; 3, the relay cannot be reached.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from typing import TextIO

import wsrelay
from wsrelay.config import ConfigErrors, ConfigUnreadable, load
from wsrelay.operate.commands import add_commands, add_options, options_given

__all__ = ["command_line", "main"]


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run one command.

    :param argv: without the program's name; None: those of the process.
    :returns: the exit code.
    :raises SystemExit: by argparse, for a bad command line and for ``--help``.
    """
    for stream in (sys.stdout, sys.stderr):
        _print_anything(stream)
    parser = command_line()
    arguments = parser.parse_args(argv)
    if arguments.run is not _operate and (stray := options_given(arguments)):
        parser.error(f"{stray[0]} is for the commands that talk to a running relay")
    code: int = arguments.run(arguments)
    return code


def _print_anything(stream: TextIO) -> None:
    # Names in a configuration are Unicode; the terminal's encoding may not be.
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")


def command_line() -> argparse.ArgumentParser:
    """Return the parser of the command line; docs/commands.rst is made from it, too."""
    parser = argparse.ArgumentParser(
        prog="wsrelay",
        description="Help with a wsrelay service; the service itself is 'twistd wsrelay'.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"wsrelay {wsrelay.__version__}")
    add_options(parser)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    check = commands.add_parser("check", help="say what is wrong with a configuration file")
    check.add_argument("file", metavar="FILE", help="relay.ini")
    check.set_defaults(run=_check)
    for words in ("balancers", "filters", "policies", "discoveries"):
        listing = commands.add_parser(words, help=f"list the installed {words}")
        listing.set_defaults(run=_list, words=words)
    add_commands(commands, _operate)
    return parser


def _check(arguments: argparse.Namespace) -> int:
    # Imported here, so that the command line answers without the reactor's weight.
    from wsrelay.checks import make_checks

    try:
        load(arguments.file, os.environ, make_checks())
    except ConfigUnreadable as error:
        print(error, file=sys.stderr)
        return 2
    except ConfigErrors as error:
        print(error)
        return 1
    print(f"{arguments.file}: ok")
    return 0


def _operate(arguments: argparse.Namespace) -> int:
    from wsrelay.operate.run import run

    return run(arguments)


def _list(arguments: argparse.Namespace) -> int:
    from wsrelay import plugins

    find = getattr(plugins, f"find_{arguments.words}")
    for name, plugin in sorted(find().items()):
        print(name)
        width = max(map(len, plugin.options), default=0)
        for option, meaning in plugin.options.items():
            print(f"    {option:{width}}  {meaning}")
    return 0
