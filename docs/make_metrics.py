"""
Write docs/metrics.rst from the table of metrics.

``python docs/make_metrics.py > docs/metrics.rst``; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Iterator

from wsrelay.observe.families import FAMILIES, Family

HEAD = """\
Metrics
=======

``GET /metrics`` of the admin endpoint is a page for Prometheus; `monitoring <monitoring.rst>`_
has it scraped, drawn and watched.  Counters cost a handshake or a plain request a few
microseconds and a frame nothing: the pumps count anyway, and are asked at most once a second.

Plain requests count in ``wsrelay_http_…``, and none of them in ``wsrelay_handshakes_total``;
what could not be read as a request at all counts there, as it may have been either.  Those that
the relay refused are in ``wsrelay_rejected_total``, too; `answers <answers.rst>`_ has the values
of its ``reason``.  A request counts when its answer is over, its bytes as they pass.  Requests for
files and redirects have no pool.

No label is anything that a client sent.  Of the close codes that peers choose, 3000 to 4999,
the first fifty are counted apart, the others as ``other``.  An upstream that a discovery or a
reload took away loses its gauges at once, and its counters after an hour.  A family has
10,000 label sets at most; then the oldest goes, which looks like a counter that began anew.
Phases are ``request policies queue connect answer total``; ``total`` is of handshakes and
requests that an upstream was asked for: what is refused at once would make the others look
fast.  Bytes are those of the `access log <access-log.rst>`_.

All of them
-----------
"""


def page() -> str:
    """Return the whole page."""
    return "\n".join([HEAD, *(line for name in FAMILIES for line in entry(name, FAMILIES[name]))])


def entry(name: str, family: Family) -> Iterator[str]:
    """Yield the lines about one metric."""
    labels = f" of ``{' '.join(family.labels)}``" if family.labels else ""
    yield f"``{name}``"
    yield f"    *{family.kind}{'*' if not labels else f'*{labels}'}"
    yield ""
    yield f"    {family.help}"
    yield ""


if __name__ == "__main__":
    print(page(), end="")
