"""
Write docs/plugins.rst from the plugins that ship: their options, and what their classes say.

``python docs/make_plugins.py > docs/plugins.rst``; a test compares the two.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from texts import prose
from twisted.python.reflect import namedAny

from wsrelay.plugins import find_balancers, find_discoveries, find_filters, find_policies

HEAD = """\
Plugins
=======

Balancers, discoveries, policies and filters are plugins: those that ship are named here with all
their options, and `others are a class and a line <balancer.rst>`_.  ``wsrelay balancers``,
``discoveries``, ``policies`` and ``filters`` list those that are installed.

In relay.ini options stand behind the name, ``name option=value …``, without spaces in them.  What
is in parentheses is the default.
"""

BALANCERS = """\
Balancers
---------

``balancer = name option=value …`` of a pool.
"""

DISCOVERIES = """\
Discoveries
-----------

``discover = name option=value …`` of a pool.  What a discovery said last stays in use while it
fails, or says what makes no sense.

A pool of whatever is behind a name, asked for whenever its time to live is over::

    [pool:chat]
    discover = dns name=chat.internal port=9000

Names are asked for as they are written: the search list of ``/etc/resolv.conf`` is not used,
``/etc/hosts`` is.  Of SRV records those with the lowest priority are used, the others are
backups.  A file is read again when it was changed, renamed into its place, or a symlink to it
was turned.
"""

POLICIES = """\
Policies
--------

``policies = name option=value …`` of a route, one a line; `policies <policies.rst>`_ tells how to
use them.
"""

FILTERS = """\
Filters
-------

``filters = name option=value …`` of a route with ``mode = messages``, one a line; `filters
<filters.rst>`_ tells how to use them.
"""


def page() -> str:
    """Return the whole page."""
    parts = [
        (BALANCERS, find_balancers()),
        (DISCOVERIES, find_discoveries()),
        (POLICIES, find_policies()),
        (FILTERS, find_filters()),
    ]
    return "\n".join([HEAD, *("\n".join([head, *section(found)]) for head, found in parts)])


def section(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines about the plugins of one kind."""
    for name, plugin in found.items():
        yield from (f"``{name}``", "~" * (len(name) + 4), "")
        yield from (said_by(plugin), "")
        for option, help_text in plugin.options.items():
            yield from (f"``{option}``", f"    {prose(help_text)}", "")
        if not plugin.options:
            yield from ("It has no options.", "")


def said_by(plugin: Any) -> str:
    """Return what a plugin's class says of itself, without what is for programmers."""
    text = inspect.cleandoc(namedAny(plugin.path).__doc__)
    return text.partition("\n:")[0].strip()


if __name__ == "__main__":
    print(page(), end="")
