"""
Write docs/configuration.rst from the tables that relay.ini is read with.

``python docs/make_configuration.py > docs/configuration.rst``; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Iterator

from wsrelay.config.options import Kind, Option
from wsrelay.config.table import KINDS
from wsrelay.plugins import find_balancers

HEAD = """\
relay.ini
=========

INI as Python's ``configparser`` reads it, without interpolation: ``;`` and ``#`` begin
comments, a list is one item a line, indented.  ``${NAME}`` in a value is replaced from the
environment.  Paths are relative to the file.

Durations are written ``500ms``, ``3s``, ``5m``, ``1h``, sizes ``512``, ``64KiB``, ``1MiB``,
both ``off`` where that makes sense.

``wsrelay check relay.ini`` says everything that is wrong with a file, a line each, and
``twistd wsrelay`` refuses to start with it.  Options that wsrelay will know but does not act
on yet are errors, too.
"""

BALANCERS = """\
Balancers
---------

``balancer = name option=value …``; ``wsrelay balancers`` lists those that are installed.
"""


def page() -> str:
    """Return the whole page."""
    parts = [HEAD]
    parts += ["\n".join(section(kind)) for kind in KINDS.values() if works(kind)]
    parts += [BALANCERS + "\n" + "\n".join(balancers())]
    return "\n".join(parts)


def works(kind: Kind) -> list[Option]:
    """Return the options of *kind* that do something in this version."""
    return [option for option in kind.options.values() if option.only is None]


def section(kind: Kind) -> Iterator[str]:
    """Yield the lines of one kind of section."""
    title = f"[{kind.form}]"
    yield from (title, "-" * len(title), "")
    for option in works(kind):
        default = f" (``{option.default}``)" if option.default else ""
        many = "; a list" if option.many else ""
        yield f"``{option.name}``{default}"
        yield f"    {option.help}{many}".replace("*", r"\*")
        yield ""


def balancers() -> Iterator[str]:
    """Yield the lines about the shipped balancers."""
    for name, plugin in find_balancers().items():
        yield f"``{name}``"
        for option, help_text in plugin.options.items():
            yield f"    ``{option}``: {help_text}"
            yield ""
        if not plugin.options:
            yield "    no options"
            yield ""


if __name__ == "__main__":
    print(page(), end="")
