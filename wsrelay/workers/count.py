"""How many workers ``workers = auto`` means."""

from __future__ import annotations

import os
from contextlib import suppress
from math import ceil
from pathlib import Path
from typing import Final, Literal

__all__ = ["count_of"]

_QUOTA: Final = Path("/sys/fs/cgroup/cpu.max")


def count_of(workers: int | Literal["auto"], quota: Path = _QUOTA) -> int:
    """
    Return the number of processes that relay.

    ``auto`` is one for each CPU that this process may run on; in a container whose share of
    CPU time is limited, one for each CPU's worth of it, rounded up.

    :param quota: the limit's file (Linux, cgroup v2); without it there is none.
    """
    if workers != "auto":
        return workers
    processors = len(os.sched_getaffinity(0))
    with suppress(OSError, ValueError, ZeroDivisionError):
        share, period = quota.read_text().split()
        if share != "max":
            processors = min(processors, ceil(int(share) / int(period)))
    return max(processors, 1)
