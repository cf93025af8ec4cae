"""
Write docs/compatibility.rst from the tables that answer habits from elsewhere.

``python docs/make_compatibility.py > docs/compatibility.rst``; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Iterator

from wsrelay.config.elsewhere import Habit, Table
from wsrelay.config.guides import GUIDES

HEAD = """\
nginx and HAProxy, directive by directive
=========================================

What the websocket guides of nginx, ``nginx_tcp_proxy_module``, HAProxy and ingress-nginx write,
and the line of relay.ini that does it.  ``[route] path = /chat`` stands for that line in a
``[route:NAME]``.  Names, addresses and numbers are examples; every option is in
`configuration <configuration.rst>`_; `the way from there to here <migration.rst>`_ is a page of its
own.

*none needed*
    it is so anyway

*not yet*
    the line is known, and this version refuses it

*no*
    it cannot be done here

Who writes such a directive into relay.ini gets the same answer as an error::

    $ wsrelay check relay.ini
    relay.ini:9: [route:chat] proxy_read_timeout: unknown option 'proxy_read_timeout'; none is
    needed: idle sessions are pinged on both legs; …

`examples/ <../examples/README.rst>`_ has whole files for these guides; each says which guide it
follows and what differs.  `tried <tried.rst>`_ lists the clients and servers that the tests
talk to.

What the guides warn of
-----------------------

"the connection is closed after 60 seconds"
    Not here: the relay pings both legs every ``keepalive`` (25s).  That also keeps what stands
    between from forgetting the connection.

"400 Bad Request", or a 200 instead of 101
    The lines for Upgrade and Connection were missing.  There are none here.

504 after a minute
    An upstream that does not answer a handshake is given up after
    ``upstream_handshake_timeout`` (10s), one that does not answer a plain request after
    ``http_timeout`` (60s).  The answer's body says so; `behaviour <behaviour.rst>`_ has all
    answers.

"a reconnecting client may reach another process"
    It may, unless the pool has ``sticky = cookie``, ``balancer = hash …`` or ``balancer =
    sticky-sid``.  Even then it does when its process is gone, so sessions that must outlive that
    need a store that the processes share.

"the same port cannot serve HTTP" (``nginx_tcp_proxy_module``)
    It does here: a route with a pool relays plain HTTP, too.

Where nginx's habits mislead
----------------------------

Hosts
    There are no servers with locations in them: each location is a route, and says its
    ``host``.  A route for the very host goes before all that are for any host, whatever their
    paths.  So with ``host = www.example.com`` in the first of these routes alone, nothing of
    that host would reach the second::

        [listener:secure]
        endpoint = tcp:443
        certificates = /etc/wsrelay/certs

        [route:www]
        host = www.example.com
        static = /var/www/html

        [route:www-api]
        host = www.example.com
        path = /api/
        pool = app

        [route:shop]
        host = shop.example.com
        pool = app

        [pool:app]
        upstreams = ws://127.0.0.1:8000

Client certificates
    A listener asks all its clients for one, or none: nginx's ``ssl_verify_client`` of a single
    ``server`` becomes a listener with an address or a port of its own.  Or ``client_certificate =
    optional`` for all hosts, and the upstream of that one looks at ``X-SSL-Client-Verify``.

Regular expressions
    A prefix goes before them, so that what a route gets does not depend on the others'
    expressions.  ``location /`` beside ``location ~ …`` becomes ``path = ~ ^/`` in the last
    route of the file.

Uploads
    Of any size, until ``max_body_size`` says something; nginx stops at 1 MB by itself.
"""

STATES = {"needless": "*none needed*", "never": "*no*"}


def page() -> str:
    """Return the whole page."""
    return "\n".join([HEAD, *("\n".join(section(table)) for table in GUIDES)])


def section(table: Table) -> Iterator[str]:
    """Yield the lines about one guide."""
    yield from (table.title, "-" * len(table.title), "")
    yield from (".. list-table::", "   :header-rows: 1", "")
    yield from ("   * - there", "     - relay.ini", "     - remarks")
    for habit in table.habits:
        yield from row(habit)
    yield ""


def row(habit: Habit) -> Iterator[str]:
    """Yield the lines of one row."""
    yield f"   * - ``{habit.written}``"
    cell = [f"``{line}``" for line in habit.lines]
    if habit.kind in STATES:
        cell.append(STATES[habit.kind])
    yield f"     - | {cell[0]}" if len(cell) > 1 else f"     - {cell[0]}"
    yield from (f"       | {line}" for line in cell[1:])
    yield f"     - {habit.remark}".rstrip()


if __name__ == "__main__":
    print(page(), end="")
