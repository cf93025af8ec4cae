"""
Write docs/configuration.rst from the tables that relay.ini is read with.

``python docs/make_configuration.py > docs/configuration.rst``; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from wsrelay.config.options import Kind, Option
from wsrelay.config.table import KINDS
from wsrelay.interfaces import (
    IAccessPolicyPlugin,
    IBalancerPlugin,
    IDiscoveryPlugin,
    IMessageFilterPlugin,
)
from wsrelay.plugins import find_balancers, find_discoveries, find_filters, find_policies

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

TLS
---

TLS 1.2 and 1.3 are spoken, with ECDHE and AEAD ciphers only, and HTTP/1.1.  Renegotiation is
refused.  Clients that come back resume their sessions, with tickets or, in TLS 1.2, with
session ids.  A reload reads all files again and touches no connection; sessions can be resumed
for two hours, unless the relay restarts, or ``min_tls``, ``client_certificate`` or the
authorities in ``client_ca`` change.  A plain HTTP request on such a listener is answered 400,
which says so.

Several certificates
    ``certificates`` names a directory of

    * ``*.pem``, each with a certificate and then its chain, and with its key, which may also be
      in ``*.key`` beside it,
    * ``*.crt`` with ``*.key``,
    * folders as certbot makes them, with ``fullchain.pem`` and ``privkey.pem``:
      ``certificates = /etc/letsencrypt/live`` will do where the relay's user may read it;
      `operations <operations.rst>`_ has a hook for where it may not.

    Anything else in it is passed over, and so is what begins with a dot.  A file that cannot
    be used is an error, at the start and at a reload, which is refused then; so write a new
    file under another name, ``.new`` say, and rename it.  A reload reads as the user that the
    relay runs as.

    The client's word (SNI) chooses: the very name first, then ``*.example.com`` for one label
    in front, else the default.  That is ``certificate`` if it is given, else the file
    ``default.pem``, else the first by name.  Names are those of ``subjectAltName``; the common
    name counts only where there is none.  If two certificates have a name, the one that is
    valid longer is used, and the log says so.  An expired one is used if there is no other,
    and the log says that, too.

    ::

        [listener:public]
        endpoint = tcp:443
        certificates = certs

Certificates of clients
    With ``client_certificate = required`` a client without a certificate that an authority in
    ``client_ca`` has signed does not get past the TLS handshake.  With ``optional`` it may
    have none, but not a bad one.  The system's authorities do not count.

    ::

        [listener:partners]
        endpoint = tcp:8443
        certificate = api.pem
        client_ca = partners-ca.pem
        client_certificate = required

    Upstreams get ``X-SSL-Client-Verify``, ``SUCCESS`` or ``NONE``, and with ``SUCCESS`` also
    ``X-SSL-Client-S-DN``, the subject as RFC 4514 and nginx write it:
    ``CN=ann,O=Example``.  It is ASCII: ``\\C3\\B6`` stands for an ö in UTF-8.

    What a client says in headers of these names is dropped, on every listener.  What one of
    ``trusted_proxies`` says passes, but not on a listener that asks for certificates itself.

    A certificate that expires ends no connection.  Revocation lists are not looked at: give
    those who may come in certificates of a short life, or an authority of their own.
"""

BALANCERS = """\
Balancers
---------

``balancer = name option=value …``; ``wsrelay balancers`` lists those that are installed.
"""

FILTERS = """\
Filters
-------

``filters = name option=value …``, one a line, where ``mode = messages``; ``wsrelay filters``
lists those that are installed.  `filters.rst <filters.rst>`_ says more about them.
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


POLICIES = """\
Policies
--------

``policies = name option=value …``, one a line; ``wsrelay policies`` lists those that are
installed, and `policies.rst <policies.rst>`_ tells what they do.
"""


def page() -> str:
    """Return the whole page."""
    parts = [HEAD]
    parts += ["\n".join(section(kind)) for kind in KINDS.values() if works(kind)]
    parts += [BALANCERS + "\n" + "\n".join(plugins(find_balancers()))]
    parts += [DISCOVERIES + "\n" + "\n".join(plugins(find_discoveries()))]
    parts += [POLICIES + "\n" + "\n".join(plugins(find_policies()))]
    parts += [FILTERS + "\n" + "\n".join(plugins(find_filters()))]
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


def plugins(
    found: Mapping[
        str, IBalancerPlugin | IDiscoveryPlugin | IAccessPolicyPlugin | IMessageFilterPlugin
    ],
) -> Iterator[str]:
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
