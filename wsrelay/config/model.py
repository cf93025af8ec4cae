"""
What relay.ini says, as values.

Everything here is frozen and compared by value, so that a reload can see what
differs.  Durations are seconds, sizes are bytes, ``None`` is ``off``; the
defaults are those of relay.ini.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from attrs import field, frozen

Network = IPv4Network | IPv6Network
Trusted = Network | Literal["unix:"]
"""A trusted proxy: in a network, or whoever connects through a unix socket."""


class EndpointText(str):
    """An endpoint as written; its own type, until relative paths are made absolute."""

    __slots__ = ()


@frozen
class PluginCall:
    """A plugin's name and options as written: ``hash key=ip``."""

    name: str
    options: Mapping[str, str] = field(factory=dict, hash=False)  # a dict has none


@frozen
class Rate:
    """So many a second, and how many may come at once (None: not said)."""

    per_second: float
    burst: int | None = None


@frozen
class LogConfig:
    """``[log]``"""

    access: Literal["-", "off"] | Path = "-"
    format: Literal["text", "json"] = "text"
    level: Literal["debug", "info", "warn", "error", "critical"] = "info"
    tick: float | None = None
    redact_query: bool = True


@frozen
class ListenerConfig:
    """``[listener:NAME]``"""

    name: str
    endpoint: str
    certificate: Path | None = None
    key: Path | None = None
    certificates: Path | None = None  # a directory
    client_ca: Path | None = None
    client_certificate: Literal["off", "optional", "required"] = "off"
    min_tls: Literal["1.2", "1.3"] = "1.2"
    proxy_protocol: bool = False
    trusted_proxies: tuple[Trusted, ...] = ()
    handshake_timeout: float = 10.0
    max_header_size: int = 16 * 1024
    max_connections: int | None = None
    backlog: int = 1024

    @property
    def is_secure(self) -> bool:
        """Whether clients speak TLS here."""
        return self.certificate is not None or self.certificates is not None


@frozen
class PathRule:
    """``path`` of a route: ``/prefix``, ``= /exact`` or ``~ regex``."""

    kind: Literal["exact", "prefix", "regex"] = "prefix"
    value: str = "/"


@frozen(cache_hash=True)
class RouteConfig:
    """``[route:NAME]``; it has one of *pool*, *static* and *redirect*."""

    name: str
    pool: str = ""
    listeners: tuple[str, ...] = ()  # empty: all
    host: str | None = None  # lower case; None: any; may start with "*."
    path: PathRule = PathRule()
    static: Path | None = None  # a directory
    redirect: str | None = None
    http: bool = True
    http_timeout: float | None = 60.0
    max_body_size: int | None = None
    strip_prefix: bool = False
    set_header: tuple[tuple[str, str], ...] = ()
    remove_header: tuple[str, ...] = ()
    host_header: str = "client"  # or "upstream", or the name itself
    mode: Literal["frames", "messages"] = "frames"
    compression: Literal["off", "client", "upstream", "both"] = "client"
    keepalive: float | None = 25.0
    keepalive_timeout: float = 20.0
    ping: Literal["relay", "answer"] = "relay"
    idle_timeout: float | None = None
    idle_close_code: int = 1001
    max_session_age: float | None = None
    session_age_jitter: float = 0.1  # of the age, by which a session may end earlier
    connect_timeout: float = 5.0
    upstream_handshake_timeout: float = 10.0
    close_timeout: float = 5.0
    retries: int = 2
    whole_frames: int = 16 * 1024
    max_frame_size: int | None = None
    max_message_size_up: int | None = 16 * 1024 * 1024
    max_message_size_down: int | None = 16 * 1024 * 1024
    origins: tuple[str, ...] = ()  # empty: any
    allow: tuple[Network, ...] = ()
    deny: tuple[Network, ...] = ()
    connections_per_ip: int | None = None
    handshakes_per_ip: Rate | None = None
    ipv6_prefix: int = 64
    messages: Rate | None = None
    bytes: Rate | None = None
    on_excess: Literal["close", "throttle"] = "close"
    slow_consumer: float | None = None
    policies: tuple[PluginCall, ...] = ()
    policy_timeout: float = 5.0
    filters: tuple[PluginCall, ...] = ()
    filter_timeout: float = 5.0
    on_error: Literal["close", "pass"] = "close"
    drain_close_code: int = 1012


@frozen
class UpstreamConfig:
    """One line of ``upstreams``."""

    name: str
    url: str
    weight: int = 1
    max_connections: int | None = None
    backup: bool = False

    @property
    def scheme(self) -> str:
        """``ws``, ``wss`` or ``unix``."""
        return self.url.partition(":")[0]

    @property
    def host(self) -> str:
        """The host of a ws or wss URL, an IPv6 address without brackets."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """The port, or the scheme's default."""
        return urlsplit(self.url).port or (443 if self.scheme == "wss" else 80)

    @property
    def authority(self) -> str:
        """What Host is for those who ask it itself; a unix socket has no name."""
        return self.url.partition("://")[2].partition("/")[0] or "localhost"

    @cached_property  # every handshake asks
    def base_path(self) -> str:
        """What the path of every request is put behind; no slash at its end."""
        return "" if self.scheme == "unix" else urlsplit(self.url).path.rstrip("/")

    @property
    def socket_path(self) -> str:
        """Where the unix socket is."""
        return self.url.removeprefix("unix:")


@frozen
class HealthCheckConfig:
    """``health_check`` of a pool; what a kind has no use for keeps its default."""

    kind: Literal["tcp", "http", "websocket"]
    interval: float = 3.0
    timeout: float = 1.0
    rise: int = 2
    fall: int = 5
    jitter: float = 0.1  # of the interval, either way
    port: int | None = None  # None: the upstream's own
    path: str = "/"
    host: str | None = None  # None: the upstream's own host and port
    status: tuple[int, int] = (200, 399)  # first and last that are good
    subprotocol: str | None = None
    ping: bool = True


@frozen
class StickyConfig:
    """``sticky = cookie`` of a pool."""

    name: str = "wsrelay"
    ttl: float | None = None  # None: until the browser ends
    secure: Literal["auto", "yes", "no"] = "auto"
    same_site: Literal["lax", "strict", "none"] = "lax"
    secret: str | None = field(default=None, repr=False)  # None: one of this machine's


OnLoss = Literal["keep", "drain", "close"]
"""What becomes of an upstream's sessions when it goes down or away."""


@frozen
class PoolConfig:
    """``[pool:NAME]``"""

    name: str
    upstreams: tuple[UpstreamConfig, ...] = ()  # those of the file; `discover` finds others
    balancer: PluginCall = PluginCall("least-connections")
    sticky: StickyConfig | None = None
    health_check: HealthCheckConfig | None = None
    max_fails: int = 3
    fail_timeout: float = 10.0
    on_down: OnLoss = "keep"
    on_removed: OnLoss = "drain"
    slow_start: float | None = None
    queue_timeout: float | None = None
    queue_size: int = 1000
    discover: PluginCall | None = None
    tls_verify: bool = True
    tls_ca: Path | None = None
    tls_name: str | None = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    proxy_protocol: Literal["off", "v1", "v2"] = "off"


@frozen
class AdminConfig:
    """``[admin]``"""

    listen: str  # an endpoint
    token_file: Path | None = None


@frozen
class RedisUrl:
    """``redis`` of ``[cluster]``: either *host* and *port*, or the *path* of a unix socket."""

    host: str = ""
    port: int = 6379
    path: str = ""
    database: int = 0
    user: str = ""  # empty: the default one
    password: str = field(default="", repr=False)  # empty: none is asked for
    is_secure: bool = False
    ca: Path | None = None  # of who signs its certificate; None: the system's authorities
    verify: bool = True

    def __str__(self) -> str:
        """Say where it is, for logs and the status page: without user and password."""
        if self.path:
            return f"unix://{self.path}?db={self.database}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"redis{'s' * self.is_secure}://{host}:{self.port}/{self.database}"


@frozen
class ClusterConfig:
    """``[cluster]``"""

    redis: RedisUrl
    prefix: str = "wsrelay"


@frozen
class RelayConfig:
    """A whole relay.ini.  Every name that a route mentions exists."""

    listeners: tuple[ListenerConfig, ...]
    routes: tuple[RouteConfig, ...]
    pools: tuple[PoolConfig, ...]
    workers: int | Literal["auto"] = 1
    drain_timeout: float = 30.0
    drain_rate: Rate | None = None
    max_connections: int | None = None
    data_path: Literal["auto", "native", "python"] = "auto"
    log: LogConfig = LogConfig()
    admin: AdminConfig | None = None
    cluster: ClusterConfig | None = None
