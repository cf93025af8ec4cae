"""How a Python program is started that finds the same modules as this one."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Final

from attrs import frozen

__all__ = ["Command", "python_module"]

_PATH: Final = "WSRELAY_SYS_PATH"

_BOOT: Final = (
    "import signal; "
    "[signal.signal(each, signal.SIG_IGN) for each in (signal.SIGINT, signal.SIGHUP)]; "
    "import json, os, runpy, sys; "
    f"sys.path[:] = json.loads(os.environ.pop({_PATH!r})); "
    "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)

_FLAGS: Final = {
    "dont_write_bytecode": "-B",
    "no_site": "-S",
    "no_user_site": "-s",
    "ignore_environment": "-E",
    "isolated": "-I",
}


@frozen
class Command:
    """A program with its arguments, the first of which is its file, and its environment."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str]


def python_module(name: str) -> Command:
    """
    Return the command that runs a module as ``python -m`` would.

    The new interpreter has the options of this one, and this one's ``sys.path`` as it is now,
    whatever has been put there; its current folder is in it only if it is in ours.  ``-m``
    alone would put it first.

    What a terminal sends to all processes of it is ignored there from the beginning: the parent
    says what is to be done.  Twisted leaves a signal that is ignored already as it is.
    """
    path = [entry or os.getcwd() for entry in sys.path]
    return Command(
        (sys.executable, "-P", *_options(), "-c", _BOOT, name),
        {**os.environ, _PATH: json.dumps(path)},
    )


def _options() -> Iterator[str]:
    if sys.flags.optimize:
        yield "-" + "O" * sys.flags.optimize
    if sys.flags.bytes_warning:
        yield "-" + "b" * sys.flags.bytes_warning
    for flag, option in _FLAGS.items():
        if getattr(sys.flags, flag):
            yield option
    for each in sys.warnoptions:
        yield f"-W{each}"
    for key, value in sys._xoptions.items():
        yield from ("-X", key if value is True else f"{key}={value}")
