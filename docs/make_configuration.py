"""
Write docs/configuration.rst from the tables that relay.ini is read with.

``python docs/make_configuration.py > docs/configuration.rst``; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from wsrelay.config.options import Kind, Option
from wsrelay.config.table import KINDS
from wsrelay.interfaces import IBalancerPlugin, IDiscoveryPlugin
from wsrelay.plugins import find_balancers, find_discoveries

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

TLS is the listener's business, whatever the endpoint::

    [listener:public]
    endpoint = tcp:443
    certificate = chat.pem
    key = chat.key

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

BALANCERS = """\
Balancers
---------

``balancer = name option=value …``; ``wsrelay balancers`` lists those that are installed.
"""

DISCOVERIES = """\
Discoveries
-----------

``discover = name option=value …``; ``wsrelay discoveries`` lists those that are installed.
What a discovery said last stays in use while it fails, or says what makes no sense.

A pool of whatever is behind a name, asked for whenever its time to live is over::

    [pool:chat]
    discover = dns name=chat.internal port=9000

Names are asked for as they are written: the search list of ``/etc/resolv.conf`` is not used,
``/etc/hosts`` is.  Of SRV records those with the lowest priority are used, the others are
backups.  A file is read again when it was changed, renamed into its place, or a symlink to it
was turned.
"""


def page() -> str:
    """Return the whole page."""
    parts = [HEAD]
    parts += ["\n".join(section(kind)) for kind in KINDS.values() if works(kind)]
    parts += [BALANCERS + "\n" + "\n".join(plugins(find_balancers()))]
    parts += [DISCOVERIES + "\n" + "\n".join(plugins(find_discoveries()))]
    return "\n".join(parts)


def works(kind: Kind) -> list[Option]:
    """Return the options of *kind* that do something in this version."""
    return [option for option in kind.options.values() if option.works]


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


def plugins(found: Mapping[str, IBalancerPlugin | IDiscoveryPlugin]) -> Iterator[str]:
    """Yield the lines about the shipped plugins of one kind."""
    for name, plugin in found.items():
        yield f"``{name}``"
        for option, help_text in plugin.options.items():
            yield f"    ``{option}``: {help_text}"
            yield ""
        if not plugin.options:
            yield "    no options"
            yield ""


if __name__ == "__main__":
    print(page(), end="")
