"""
Write docs/conformance.rst from docs/conformance.json, which ``make conformance`` writes.

``python docs/make_conformance.py > docs/conformance.rst``; a test compares the two.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

DATA = Path(__file__).with_name("conformance.json")

HEAD = """\
Conformance
===========

The `Autobahn Testsuite <https://github.com/crossbario/autobahn-testsuite>`_ ({suite}) tries an
implementation of websockets in some 500 ways: frames, fragments, UTF-8, pings, closes, reserved
bits, sizes, compression.  Here it tries one with a relay between and without one.  What the relay
adds should not be seen; where something is seen, it is in a table below.

It is the client of an echo server, and the server of an echoing client, both made with
``websockets``.  The relay stands between in three ways: ``frames`` with the native pump,
``frames`` with the Python pump, and ``messages`` with compression on both legs.  OK and
NON-STRICT pass; NON-STRICT is where a broken frame was noticed before what stood in front of it
came back.  INFORMATIONAL is neither.

``make conformance PYTHON2=python2.7`` does it again; the suite is a program for Python 2.7.
All of its chapters 1 to 7 and 10 are tried, and the first of each kind of 9, 12 and 13.
"""

WAYS = {
    "direct": "without a relay",
    "frames": "``frames``, native pump",
    "frames-python": "``frames``, Python pump",
    "messages": "``messages``",
}

PARTS = {
    "servers": "The suite as the client of an echo server",
    "clients": "The suite as the server of an echoing client",
}

KINDS = ("OK", "NON-STRICT", "INFORMATIONAL", "UNIMPLEMENTED", "FAILED")

TAIL = """\
Why some differ
---------------

A bad frame behind a good one (chapters 3 and 4)
    The relay closes at once, as the peer itself does, and which of the two is first to see the bad
    frame decides whether the answer to the good one is on its way already.  These cases differ from
    run to run, without a relay, too.

What fails without a relay, too
    The echo peer's answers to messages of 65,536 fragments (9.3.1 and 9.4.1), and to a fragment
    behind a close frame (7.1.5).

More that pass with ``messages``
    There it is Autobahn that reads what the suite sends, and it is stricter than ``websockets`` in
    UTF-8 and in what follows a close frame; and a message of many fragments arrives in one.
"""


def page() -> str:
    """Return the whole page."""
    found = json.loads(DATA.read_text("utf-8"))
    return "\n".join([HEAD.format(suite=found["suite"]), *lines(found), TAIL])


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines between the beginning and the end."""
    for part, title in PARTS.items():
        verdicts = found[part]
        yield from (title, "-" * len(title), "")
        yield from table(("through", *KINDS), counts(verdicts))
        rows = list(differences(verdicts))
        if rows:
            yield from ("", "What differs from the run without a relay:", "")
            yield from table(("case", "through", "without a relay", "with one"), rows)
        else:
            yield from ("", "Nothing differs.")
        yield ""


def counts(verdicts: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield a row for each way: how many cases ended how."""
    for way, title in WAYS.items():
        ends = Counter(each[0] for each in verdicts[way].values())
        yield (title, *(str(ends[kind]) for kind in KINDS))


def differences(verdicts: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield a row for each case that ends otherwise through a relay."""
    for case in sorted(
        verdicts["direct"], key=lambda case: [int(part) for part in case.split(".")]
    ):
        direct = verdicts["direct"][case]
        for way, title in WAYS.items():
            relayed = verdicts[way].get(case, ["missing", "", None])
            if relayed != direct:
                yield case, title, said(direct), said(relayed)


def said(verdict: list[Any]) -> str:
    """Say how a case ended: the verdict, and the close code that the suite got."""
    return f"{verdict[0]}, {verdict[2]}"


def table(head: tuple[str, ...], rows: Any) -> Iterator[str]:
    """Yield a table."""
    yield from (".. list-table::", "   :header-rows: 1", "")
    for row in (head, *rows):
        yield f"   * - {row[0]}"
        yield from (f"     - {cell}" for cell in row[1:])


if __name__ == "__main__":
    print(page(), end="")
