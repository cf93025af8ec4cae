"""The proxies that are compared: which are there, and how each is started."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from attrs import field, frozen

from bench.configurations import CADDY, HAPROXY, NGINX, Setup, relay_ini
from bench.processes import BenchError

__all__ = ["BASE", "PROXIES", "Command", "Proxy", "proxy_named", "twistd"]

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent
BASE = "nginx"
"""The one that the others are compared with."""

Command = Sequence[str | Path]


@frozen
class Proxy:
    """
    One proxy.

    :ivar missing: says why it cannot be run here; None: it can.
    :ivar version: what it calls itself.
    :ivar command: writes its files and returns how it is started.
    :ivar env: what its environment has beside this one's.
    """

    name: str
    title: str
    missing: Callable[[], str | None]
    version: Callable[[], str]
    command: Callable[[Setup], Command]
    env: Mapping[str, str] = field(factory=dict)


def _not_on_path(program: str) -> str | None:
    return None if shutil.which(program) else f"{program} is not on the PATH"


def _first_line(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    return (done.stdout + done.stderr).partition("\n")[0].strip()


def _python(code: str, *arguments: str | Path) -> Command:
    # -P: twistd would otherwise look for plugins in the folder that it is started in.
    return [sys.executable, "-P", "-c", code, *arguments]


def twistd(path: Path) -> Command:
    """Return how wsrelay is started with the file *path*."""
    run = "from twisted.scripts.twistd import run; run()"
    return _python(run, "-n", "--pidfile=", "wsrelay", "--config", path)


def _refusal(data_path: str) -> str | None:
    """Say why wsrelay has no such pump, in the words of its own check."""
    with tempfile.TemporaryDirectory() as folder:
        text = f"[relay]\nlisten = tcp:1\nupstream = ws://127.0.0.1:2\ndata_path = {data_path}\n"
        path = Path(folder) / "relay.ini"
        path.write_text(text, "utf-8")
        command = _python("import sys, wsrelay.cli; sys.exit(wsrelay.cli.main())", "check", path)
        done = subprocess.run(command, capture_output=True, text=True, env=_python_env())
    complaint = (done.stdout + done.stderr).strip().split("\n")[-1]
    return None if done.returncode == 0 else complaint.removeprefix(f"{path}:4: ")


def _python_env() -> dict[str, str]:
    return {"PYTHONPATH": str(PROJECT)}


def _wsrelay(data_path: str) -> Proxy:
    return Proxy(
        f"wsrelay-{data_path}",
        f"wsrelay, {data_path} pump",
        lambda: _refusal(data_path),
        lambda: version("wsrelay"),
        lambda setup: twistd(relay_ini(setup, {"data_path": data_path})),
        _python_env(),
    )


def _autobahn_command(setup: Setup) -> Command:
    ports = [str(port) for port in (setup.port, setup.tls_port, setup.upstream_port)]
    return [sys.executable, HERE / "autobahn_relay.py", *ports, setup.certificate]


def _nginx_command(setup: Setup) -> Command:
    (setup.folder / "temp").mkdir()
    return ["nginx", "-p", setup.folder, "-c", setup.write("nginx.conf", NGINX)]


def _haproxy_command(setup: Setup) -> Command:
    return ["haproxy", "-db", "-f", setup.write("haproxy.cfg", HAPROXY)]


def _caddy_command(setup: Setup) -> Command:
    path = setup.write("Caddyfile", CADDY)
    return ["caddy", "run", "--adapter", "caddyfile", "--config", path]


def _node_missing() -> str | None:
    if not (HERE / "node_modules" / "http-proxy").is_dir():
        return _not_on_path("node") or "npm ci was not run in bench (make bench runs it)"
    return _not_on_path("node")


def _node_version() -> str:
    code = "console.log(require('http-proxy/package.json').version)"
    done = subprocess.run(["node", "-e", code], cwd=HERE, capture_output=True, text=True)
    return f"node {_first_line('node', '--version')}, http-proxy {done.stdout.strip()}"


def _node_command(setup: Setup) -> Command:
    ports = [str(port) for port in (setup.port, setup.tls_port, setup.upstream_port)]
    return ["node", HERE / "node_proxy.mjs", *ports, setup.certificate]


PROXIES = (
    _wsrelay("native"),
    _wsrelay("python"),
    Proxy(
        BASE,
        "nginx",
        lambda: _not_on_path("nginx"),
        lambda: _first_line("nginx", "-v"),
        _nginx_command,
    ),
    Proxy(
        "haproxy",
        "HAProxy",
        lambda: _not_on_path("haproxy"),
        lambda: _first_line("haproxy", "-v"),
        _haproxy_command,
    ),
    Proxy(
        "caddy",
        "Caddy",
        lambda: _not_on_path("caddy"),
        lambda: _first_line("caddy", "version"),
        _caddy_command,
        {"GOMAXPROCS": "1"},
    ),
    Proxy("node", "node http-proxy", _node_missing, _node_version, _node_command),
    Proxy(
        "autobahn",
        "Autobahn, whole messages",
        lambda: None,
        lambda: f"autobahn {version('autobahn')}, twisted {version('twisted')}",
        _autobahn_command,
    ),
)
"""In the order they are driven in every round."""


def proxy_named(name: str) -> Proxy:
    """
    Return the proxy called *name*.

    :raises BenchError: there is none; with the names there are.
    """
    for proxy in PROXIES:
        if proxy.name == name:
            return proxy
    known = ", ".join(proxy.name for proxy in PROXIES)
    raise BenchError(f"There is no proxy '{name}'; there are: {known}.")
