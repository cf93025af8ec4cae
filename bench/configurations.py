"""
How each proxy is set up.

Every one has a plain listener and one with TLS, one worker, no access log, and
otherwise its defaults and what its own websocket guide says.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from string import Template

from attrs import asdict, frozen

__all__ = ["CADDY", "HAPROXY", "NGINX", "Setup", "relay_ini"]

Options = Mapping[str, object]

NOFILE = 8192
"""Open files that a proxy is given: four for each of 1,000 sessions, and then some."""


@frozen
class Setup:
    """
    What one instance of a proxy is told.

    :ivar folder: its own, for its files.
    :ivar certificate: a PEM file with certificate and key.
    """

    folder: Path
    port: int
    tls_port: int
    upstream_port: int
    certificate: Path

    def write(self, name: str, template: Template, **more: object) -> Path:
        """Write the file *name* with everything filled in, and return its path."""
        path = self.folder / name
        path.write_text(template.substitute(asdict(self), nofile=NOFILE, **more), "utf-8")
        return path


WSRELAY = Template("""\
[relay]
$relay

[listener:plain]
endpoint = tcp:$port:interface=127.0.0.1
$listener

[listener:tls]
endpoint = tcp:$tls_port:interface=127.0.0.1
certificate = $certificate

[route:all]
pool = echo
$route

[pool:echo]
upstreams = ws://127.0.0.1:$upstream_port

[log]
access = off
""")

NGINX = Template("""\
daemon off;
worker_processes 1;
worker_rlimit_nofile $nofile;
pid nginx.pid;
error_log stderr crit;
events {
    worker_connections $nofile;
}
http {
    access_log off;
    client_body_temp_path temp;
    proxy_temp_path temp;
    fastcgi_temp_path temp;
    uwsgi_temp_path temp;
    scgi_temp_path temp;
    map $$http_upgrade $$connection_upgrade {
        default upgrade;
        '' close;
    }
    server {
        listen 127.0.0.1:$port backlog=1024;
        listen 127.0.0.1:$tls_port ssl backlog=1024;
        ssl_certificate $certificate;
        ssl_certificate_key $certificate;
        ssl_protocols TLSv1.2 TLSv1.3;
        location / {
            proxy_pass http://127.0.0.1:$upstream_port;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $$http_upgrade;
            proxy_set_header Connection $$connection_upgrade;
            proxy_set_header Host $$host;
            proxy_read_timeout 1h;
            proxy_send_timeout 1h;
        }
    }
}
""")

HAPROXY = Template("""\
global
    nbthread 1
    maxconn 3000
defaults
    mode http
    timeout connect 5s
    timeout client 1m
    timeout server 1m
    timeout tunnel 1h
frontend all
    bind 127.0.0.1:$port backlog 1024
    bind 127.0.0.1:$tls_port backlog 1024 ssl crt $certificate
    default_backend echo
backend echo
    server echo 127.0.0.1:$upstream_port
""")

CADDY = Template("""\
{
    admin off
    auto_https off
    storage file_system $folder
    log {
        level ERROR
    }
}
http://127.0.0.1:$port {
    bind 127.0.0.1
    reverse_proxy 127.0.0.1:$upstream_port
}
https://127.0.0.1:$tls_port {
    bind 127.0.0.1
    tls $certificate $certificate
    reverse_proxy 127.0.0.1:$upstream_port
}
""")


def relay_ini(setup: Setup, relay: Options, **more: Options) -> Path:
    """
    Write wsrelay's file.

    :param relay: options of ``[relay]``.
    :param more: ``listener`` and ``route``: those of the plain listener and of the route.
    """
    sections = {"relay": relay, "listener": {}, "route": {}, **more}
    texts = {name: _lines(options) for name, options in sections.items()}
    return setup.write("relay.ini", WSRELAY, **texts)


def _lines(options: Options) -> str:
    return "\n".join(f"{name} = {value}" for name, value in options.items())
