"""
Write docs/access-log.rst from the table of its keys.

``python docs/make_access_log.py > docs/access-log.rst``; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Iterator

from wsrelay.observe.log_keys import EVENTS, KEYS, Key

HEAD = """\
The access log
==============

One record when a session opens, one when it ends, one for each client that got none, one for
each plain request when its answer is over or it was refused, and with ``tick`` one of each live
session every so often.  ``[log]`` says where they go and in which form::

    [log]
    access = /var/log/wsrelay/access.log
    format = json

With ``format = json`` a record is an object in one line, with the keys below.  ``text`` is a
readable line of the same facts, without the empty ones: ``TIME EVENT key=value …``.

``access = -`` writes to standard output when ``twistd -n`` logs there, beside twistd's own
lines, and into twistd's log otherwise.  Whoever wants to read JSON by machine names a file.
SIGHUP opens that file anew, for logrotate.

Events
------
"""

TAIL = """\
Who ended it
------------

``initiator`` is ``client``, ``upstream``, or ``relay:`` and why: ``drain``, ``down``,
``removed``, ``rebalance``, ``admin``; ``rate`` (``messages``, ``bytes``), ``age``, ``expired`` (a
policy's word, a token say), ``filter``, ``slow`` (``slow_consumer``), ``idle``, ``pong``;
``protocol-client``, ``too-big-upstream`` and the like.

What is left out
----------------

Queries, unless ``redact_query = no``, because tokens live there.

Of the refusals for one `reason <answers.rst>`_ ten are written in a second, so that no crowd
fills a disk.  The others are counted, and summed up at the end of that second by one record
``refused-more``.  Metrics count everybody.  Records of sessions and of requests that were answered
are never left out.  The service's own log is limited likewise: ten lines a second from one cause,
then ``… and 4213 more like it in 1.0 s: …``.
"""


def page() -> str:
    """Return the whole page."""
    return "\n".join([HEAD, *events(), *keys(), TAIL])


def events() -> Iterator[str]:
    """Yield the lines about the values of ``event``."""
    for name, help_text in EVENTS.items():
        yield f"``{name}``"
        yield f"    {help_text}"
        yield ""


def keys() -> Iterator[str]:
    """Yield the table of all keys."""
    yield from ("Keys", "----", "")
    yield from (".. list-table::", "   :header-rows: 1", "   :widths: 22 26 52", "")
    yield from ("   * - key", "     - in records of", "     - what it says")
    for name, key in KEYS.items():
        yield f"   * - ``{name}``"
        yield f"     - {records(key)}"
        yield f"     - {key.help}"
    yield ""


def records(key: Key) -> str:
    """Say in which records a key is."""
    missing = [name for name in EVENTS if name not in key.events]
    if len(missing) > 1:
        return ", ".join(f"``{name}``" for name in key.events)
    return f"all but ``{missing[0]}``" if missing else "all"


if __name__ == "__main__":
    print(page(), end="")
