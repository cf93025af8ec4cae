"""Documents of runs that never were."""

from __future__ import annotations

from typing import Any

from attrs import asdict

from bench.results import Results
from bench.scenarios import SCENARIOS

Raw = dict[str, Any]


def raw(cpu_us: float = 10.0, *, units: int = 1000, elapsed: float = 1.0, **more: Any) -> Raw:
    """Return what is measured of a proxy that needs *cpu_us* a unit."""
    cpu = cpu_us * units / 1e6
    return {
        "units": units,
        "elapsed_s": elapsed,
        "proxy_cpu_s": cpu,
        "proxy_core_s": cpu,
        "load_cpu_s": 0.0,
        "upstream_cpu_s": 0.0,
        "load_core_s": 0.0,
        "p50_us": 100.0,
        "p99_us": 200.0,
        **more,
    }


def memory(kib: float) -> Raw:
    """Return what is measured of a proxy that needs so much for each of 100 sessions."""
    return {"sessions": 100, "before_bytes": 5 << 20, "after_bytes": (5 << 20) + kib * 102400}


def run_of(*rounds: dict[str, dict[str, Raw]], **more: Any) -> Results:
    """Return a run with these rounds, each of them scenario -> proxy -> raw figures."""
    used = dict.fromkeys(name for each in rounds for name in each)
    proxies = list(
        dict.fromkeys(name for each in rounds for found in each.values() for name in found)
    )
    document = {
        "date": "2026-01-02T03:04:05+00:00",
        "took_s": 1,
        "seconds": 1.0,
        "machine": {
            "cpu": "A CPU",
            "cores": 2,
            "kernel": "6.1",
            "system": "Linux",
            "python": "3.12.0",
            "openssl": "OpenSSL 3",
            "compiler": "cc",
            "proxy_cores": [1],
            "load_cores": [0],
            "upstream_cores": [0],
            "load_and_upstream_share_a_core": True,
            "command": "python -m bench",
        },
        "proxies": proxies,
        "titles": {name: name.title() for name in proxies},
        "versions": dict.fromkeys(proxies, "1.0"),
        "absent": {"caddy": "caddy is not on the PATH"},
        "scenarios": [asdict(each) for each in SCENARIOS if each.name in used],
        "rounds": list(rounds),
        **more,
    }
    return Results(document)
