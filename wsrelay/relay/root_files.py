"""
What root has read, for processes that begin when nobody of the relay is root any more.

``--uid`` drops privileges once the listeners are bound.  Workers begin after that, and again
whenever one has died: keys that only root may read come from the parent, as it has read them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

__all__ = ["read_by_root", "take_from_root", "what_root_has_read"]

T = TypeVar("T")

_read: dict[Path, Any] = {}
_taken: dict[Path, Any] = {}


def read_by_root(path: Path, read: Callable[[Path], T]) -> T:
    """
    Read a file or a directory; what may not be read is what root has read there.

    :raises OSError: as *read* does; it may not be read, and root has not.
    """
    try:
        found = read(path)
    except PermissionError:
        if path in _taken:
            return _taken[path]  # type: ignore[no-any-return]
        raise
    if os.geteuid() == 0:
        _read[path] = found
    return found


def what_root_has_read() -> Mapping[Path, Any]:
    """Return what `take_from_root` takes in another process; it can be pickled."""
    return dict(_read)


def take_from_root(found: Mapping[Path, Any]) -> None:
    """Use what the parent has read."""
    _taken.update(found)
