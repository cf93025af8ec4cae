"""The files of deploy/."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests.support import PROJECT

DEPLOY = PROJECT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"


def documents(path: Path) -> list[dict[str, Any]]:
    """Return what a YAML file says."""
    return list(yaml.safe_load_all(path.read_text("utf-8")))
