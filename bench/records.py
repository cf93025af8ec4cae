"""Figures that docs/scaling.rst is made from: a JSON file with one entry for each measurement."""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.machine import describe
from bench.measure import Workbench

__all__ = ["record", "recorded"]


def record(path: Path, name: str, bench: Workbench, figures: Mapping[str, Any]) -> None:
    """Put *figures* under *name* into the file, with what they were taken on."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    document = recorded(path) if path.exists() else {}
    document[name] = {
        "date": now,
        "wsrelay": version("wsrelay"),
        "machine": describe(bench.cores, bench.program.compiler) | {"command": _command()},
        **figures,
    }
    path.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", "utf-8")


def recorded(path: Path) -> dict[str, Any]:
    """Return all that is in the file."""
    document: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return document


def _command() -> str:
    return " ".join([f"python -m bench.{Path(sys.argv[0]).stem}", *sys.argv[1:]])
