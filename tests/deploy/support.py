"""The files of deploy/, and what a relay of this version understands of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from tests.support import PROJECT
from wsrelay.config.table import KINDS

DEPLOY = PROJECT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"

_SECTION = re.compile(r"\[([a-z]+)")


def understood(text: str) -> str:
    """
    Return a relay.ini without the options that this version knows, but refuses as yet.

    Once the table of options takes their values, they stay.  So does what is merely wrong.
    """
    coming: list[str] = []
    kept = []
    for line in text.splitlines(keepends=True):
        if section := _SECTION.match(line):
            kind = KINDS.get(section[1])
            options = kind.options if kind else {}
            coming = [name for name, option in options.items() if option.only is not None]
        if line.partition(" =")[0] not in coming:
            kept.append(line)
    return "".join(kept)


def documents(path: Path) -> list[dict[str, Any]]:
    """Return what a YAML file says."""
    return list(yaml.safe_load_all(path.read_text("utf-8")))
