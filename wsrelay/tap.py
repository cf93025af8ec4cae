"""``twistd wsrelay``: its options, and the service that they make."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from typing import Any

from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred
from twisted.python import usage
from typing_extensions import override

from wsrelay.checks import make_checks
from wsrelay.clock import follow_monotonic
from wsrelay.config import ConfigErrors, ConfigUnreadable, load, short_form
from wsrelay.config.model import (
    AdminConfig,
    HealthCheckConfig,
    ListenerConfig,
    PathRule,
    PoolConfig,
    RelayConfig,
    RouteConfig,
    UpstreamConfig,
)
from wsrelay.demo.service import DASHBOARD_PORT, RELAY_PORT, Demo, free_port, make_demo
from wsrelay.log import Logger, write_stdout
from wsrelay.plugins import find_balancers
from wsrelay.service import CannotStartError, RelayService, ReloadRefused

log = Logger()


class Options(usage.Options):
    """The command line; what it says is in `config` afterwards."""

    optParameters = [  # noqa: RUF012, N815  Twisted's name and form
        ["config", "c", None, "The configuration file, relay.ini."]
    ]
    optFlags = [  # noqa: RUF012, N815  Twisted's name and form
        ["demo", None, "Run a demo on loopback: three upstreams, the relay, and a page to try it."]
    ]
    config: RelayConfig | None = None

    def __init__(self) -> None:
        super().__init__()
        self.listen: list[str] = []
        self.upstream: list[str] = []

    @property
    def longdesc(self) -> str:
        """What ``--help`` says below the options."""
        return (
            "A websocket-aware reverse proxy and load balancer.\n\n"
            "Without a file: --listen tcp:8080 --upstream ws://127.0.0.1:3000\n\n"
            f"Balancers: {', '.join(find_balancers())}"
        )

    def opt_listen(self, endpoint: str) -> None:
        """Listen on a Twisted server endpoint, such as tcp:8080; repeat for more."""
        self.listen.append(endpoint)

    def opt_upstream(self, url: str) -> None:
        """Relay to ws://host:port, wss://host:port or unix:/path; repeat for more."""
        self.upstream.append(url)

    def parseArgs(self, *words: str) -> None:  # noqa: N802  called by usage.Options
        """
        Take no words that belong to no option.

        :raises UsageError: there are some.
        """
        if words:
            raise usage.UsageError(f"'{words[0]}' belongs to no option; say --config {words[0]}.")

    @override
    def postOptions(self) -> None:
        """
        Read the configuration.

        :raises UsageError: the command line makes no sense.
        :raises SystemExit: the configuration is bad; twistd exits with 1 and the text.
        """
        short = bool(self.listen or self.upstream)
        if short + bool(self["demo"]) + (self["config"] is not None) != 1:
            raise usage.UsageError(
                "Say one of: --config relay.ini; --listen with --upstream; --demo."
            )
        if self["demo"]:
            return
        try:
            self.config = self._read(short)
        except ConfigUnreadable as error:
            raise SystemExit(str(error)) from error
        except ConfigErrors as error:
            raise SystemExit(str(error)) from error

    def _read(self, short: bool) -> RelayConfig:
        if short:
            return short_form(self.listen, self.upstream, make_checks())
        return load(self["config"], os.environ, make_checks())


class UnderTwistd(RelayService):
    """
    What a service under twistd does, too: it hears signals.

    SIGTERM and SIGINT are Twisted's: they stop the service, which drains.  A second one
    ends the drain.  SIGHUP opens the access log anew and reloads.

    :param pidfile: to be removed when the service cannot start in the foreground; None in
        the background, where twistd does that and tells its parent, if it gets an exception.
    """

    def __init__(self, *arguments: Any, pidfile: str | None, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._pidfile = pidfile

    @override
    def privilegedStartService(self) -> None:
        try:
            super().privilegedStartService()
        except CannotStartError as error:
            if self._pidfile is None:
                log.error("{why}", why=error)
                raise
            with contextlib.suppress(OSError):
                os.remove(self._pidfile)
            raise SystemExit(f"wsrelay: {error}") from error

    @override
    def startService(self) -> None:
        # The reactor sets its own handlers when it starts, after the services.  Asked for
        # first, so that the signal is heard when the log says that the relay is up.
        self._reactor.callWhenRunning(self._hear, (signal.SIGHUP,), self._hang_up)
        super().startService()

    @override
    def stopService(self) -> Deferred[Any]:
        self._hear((signal.SIGTERM, signal.SIGINT), self.hurry)
        return super().stopService()

    def _hear(self, signals: tuple[signal.Signals, ...], action: Callable[[], None]) -> None:
        for each in signals:
            signal.signal(each, lambda *_: self._reactor.callFromThread(action))

    def _hang_up(self) -> None:
        """Open log files anew, and reload; what is wrong is in the log."""
        self.reopen_log()
        reloaded = self.reload()
        reloaded.addErrback(lambda failure: failure.trap(ReloadRefused))
        reloaded.addErrback(lambda failure: log.failure("SIGHUP: the reload failed", failure))


class TwistdRelayService(UnderTwistd):
    """A relay in one process."""


def makeService(options: Options) -> IService:  # noqa: N802  called by twistd
    """Make what twistd runs."""
    from twisted.internet import reactor

    follow_monotonic(reactor)
    parent: Any = options.parent or {}
    foreground = bool(parent.get("nodaemon"))
    pidfile = (parent.get("pidfile") or "") if foreground else None
    if options["demo"]:
        return _make_demo(reactor, pidfile)
    assert options.config is not None
    # twistd's own log is on standard output only in the foreground without --logfile.
    elsewhere = parent.get("logfile") or parent.get("syslog") or parent.get("logger")
    file = options["config"]
    return _class_for(options.config)(
        options.config,
        reactor,
        to_stdout=foreground and not elsewhere,
        pidfile=pidfile,
        load=None if file is None else _loader(file),
        file=None if file is None else os.path.abspath(file),
    )


def _class_for(config: RelayConfig) -> type[UnderTwistd]:
    if config.workers == 1:
        return TwistdRelayService
    from wsrelay.sharing import RegionError  # only a relay of several needs all that
    from wsrelay.workers.parent import ParentService

    class TwistdParentService(UnderTwistd, ParentService):
        """The parent of a relay of several processes."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            try:
                super().__init__(*arguments, **options)
            except RegionError as error:
                raise SystemExit(f"wsrelay: {error}") from error

    return TwistdParentService


def _loader(file: str) -> Callable[[], RelayConfig]:
    # A daemon changes its folder; the file is found all the same.
    path = os.path.abspath(file)
    return lambda: load(path, os.environ, make_checks(), called=file)


def _make_demo(reactor: Any, pidfile: str | None) -> MultiService:
    """Put a relay in front of the demo's upstreams."""
    relay_port = free_port(RELAY_PORT)
    demo = make_demo(reactor, relay_port)
    dashboard_port = free_port(DASHBOARD_PORT)
    service = MultiService()
    demo.service.setServiceParent(service)
    config = _demo_config(demo, relay_port, dashboard_port)
    relay = TwistdRelayService(config, reactor, pidfile=pidfile)
    relay.setServiceParent(service)
    reactor.callWhenRunning(_say_hello, demo, f"http://127.0.0.1:{dashboard_port}/")
    return service


def _demo_config(demo: Demo, relay_port: int, dashboard_port: int) -> RelayConfig:
    upstreams = tuple(UpstreamConfig(name, url) for name, url in demo.upstream_urls.items())
    return RelayConfig(
        listeners=(ListenerConfig("demo", f"tcp:{relay_port}:interface=127.0.0.1"),),
        routes=(
            RouteConfig("chat", "demo", path=PathRule("exact", "/chat"), http=False),
            RouteConfig("echo", "demo", path=PathRule("exact", "/echo"), http=False),
            RouteConfig("page", "page"),
        ),
        pools=(
            PoolConfig("demo", upstreams, health_check=HealthCheckConfig("tcp")),
            PoolConfig("page", (UpstreamConfig("page", demo.page_upstream),)),
        ),
        drain_timeout=1.0,
        admin=AdminConfig(f"tcp:{dashboard_port}:interface=127.0.0.1"),
    )


def _say_hello(demo: Demo, dashboard_url: str) -> None:
    lines = [
        "",
        "  wsrelay demo: open the page, and another window beside it",
        "",
        f"    page       {demo.page_url}",
        f"    dashboard  {dashboard_url}",
        f"    relay      {demo.relay_url}/chat  {demo.relay_url}/echo",
    ]
    lines += [f"    upstream   {url}  ({name})" for name, url in demo.upstream_urls.items()]
    write_stdout("\n".join([*lines, "", "  Ctrl-C stops it.", ""]))
