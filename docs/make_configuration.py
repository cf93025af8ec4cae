"""
Write docs/configuration.rst from the tables that relay.ini is read with.

``python docs/make_configuration.py > docs/configuration.rst``; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Iterator

from texts import prose

from wsrelay.config.options import Kind
from wsrelay.config.table import KINDS

HEAD = """\
relay.ini
=========

INI as Python's ``configparser`` reads it, without interpolation: ``;`` and ``#`` begin
comments, a list is one item a line, indented.  ``${NAME}`` in a value is replaced from the
environment.  Paths are relative to the file.

Durations are written ``500ms``, ``3s``, ``5m``, ``1h``, sizes ``512``, ``64KiB``, ``1MiB``,
both ``off`` where that makes sense.

``wsrelay check relay.ini`` says everything that is wrong with a file, a line each, and
``twistd wsrelay`` refuses to start with it.

An endpoint is a Twisted server endpoint string:

``tcp:8080``
    every IPv4 address of this machine

``tcp:8080:interface=127.0.0.1``
    one address

``tcp6:8080:interface=\\:\\:``
    every IPv6 address, and on Linux the IPv4 ones, too; colons are escaped

``unix:/run/wsrelay.sock:mode=660``
    a unix socket, and the mode of its file; without one, 666, everybody on this machine may
    connect.  The file of a relay that was killed is taken over

``systemd:domain=INET:index=0``
    a socket that systemd passed on: ``INET``, ``INET6`` or ``UNIX``, by its number or, as in
    ``systemd:domain=INET:name=web``, by its name (``FileDescriptorName``)

TLS is the listener's business, whatever the endpoint: `TLS <tls.rst>`_.

Who is in front of a listener and may say who the client is stands in ``trusted_proxies``;
from others ``X-Forwarded-…`` is replaced, and a PROXY header not taken::

    [listener:behind-haproxy]
    endpoint = tcp:8080
    proxy_protocol = yes
    trusted_proxies = 10.0.0.5

    [listener:behind-nginx]
    endpoint = unix:/run/wsrelay/nginx.sock:mode=660
    trusted_proxies = unix:
"""


def page() -> str:
    """Return the whole page."""
    parts = [HEAD]
    parts += ["\n".join(section(kind)) for kind in KINDS.values()]
    return "\n".join(parts)


def section(kind: Kind) -> Iterator[str]:
    """Yield the lines of one kind of section."""
    title = f"[{kind.form}]"
    yield from (title, "-" * len(title), "")
    for option in kind.options.values():
        default = f" (``{option.default}``)" if option.default else ""
        many = "; a list" if option.many else ""
        yield f"``{option.name}``{default}"
        yield f"    {prose(option.help)}{many}"
        yield ""


if __name__ == "__main__":
    print(page(), end="")
