"""What a run was made on."""

from __future__ import annotations

import os
import platform
import resource
import ssl
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.configurations import NOFILE
from bench.measure import Cores
from bench.processes import BenchError

__all__ = ["choose_cores", "describe", "raise_file_limit"]


def choose_cores(proxy: Sequence[int] | None, load: Sequence[int] | None) -> Cores:
    """
    Give the proxies one core, and the load others.

    :param proxy: as asked for; None: the last one there is.
    :param load: as asked for; None: all the rest, one of them for the upstream alone.
    :raises BenchError: a core is not there, or there is only one.
    """
    there = sorted(os.sched_getaffinity(0))
    chosen = tuple(proxy or there[-1:])
    rest = tuple(load or (core for core in there if core not in chosen))
    if not rest:
        raise BenchError("There is one core only; proxies and load cannot be kept apart.")
    if missing := [str(core) for core in (*chosen, *rest) if core not in there]:
        raise BenchError(f"There is no core {', '.join(missing)}; there are: {there}.")
    return Cores(chosen, rest[1:] or rest, rest[:1])


def raise_file_limit(needed: int = NOFILE) -> None:
    """
    Raise the limit of open files as far as a run needs.

    :param needed: files that one process opens.
    :raises BenchError: it may not be raised so far.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            raise BenchError(
                f"A run needs {needed} open files, and the limit is {hard}; raise it, for "
                f"example with: ulimit -Hn {needed}"
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def describe(cores: Cores, compiler: str) -> dict[str, Any]:
    """Return the machine, as it stands in the JSON file."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "system": _system(),
        "python": platform.python_version(),
        "openssl": ssl.OPENSSL_VERSION,
        "compiler": compiler,
        "proxy_cores": list(cores.proxy),
        "load_cores": list(cores.load),
        "upstream_cores": list(cores.upstream),
        "load_and_upstream_share_a_core": cores.load == cores.upstream,
        "command": " ".join(["python -m bench", *sys.argv[1:]]),
    }


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return "Linux"
