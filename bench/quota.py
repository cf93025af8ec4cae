"""
Less than a core for a process: the kernel's CPU bandwidth limit, by a control group for each.

With it, two workers and their load fit on two cores, and the workers are still the limit.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from bench.processes import BenchError

__all__ = ["Quotas"]

ROOTS: Final = (Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup"))
PERIOD_US: Final = 10_000
"""Short, so that a process that has used its share up does not stand still for long."""

ENDING: Final = 5.0
"""Seconds that workers have to end behind their parent: a group with a process stays."""


class Quotas:
    """
    Control groups that are removed at the end of the context.

    Their processes have to be told to end before; they are waited for.
    """

    def __init__(self, roots: tuple[Path, ...] = ROOTS) -> None:
        self._roots = roots
        self._groups: list[Path] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        deadline = time.monotonic() + ENDING
        for group in self._groups:
            while not _removed(group) and time.monotonic() < deadline:
                time.sleep(0.01)

    def limit(self, pid: int, share: float) -> None:
        """
        Let a process use no more than *share* of one core.

        :raises BenchError: this machine does not let us; with what it said.
        """
        try:
            self._limit(pid, share)
        except OSError as error:
            raise BenchError(f"CPU cannot be limited by control groups here: {error}") from error

    def _limit(self, pid: int, share: float) -> None:
        root = next((root for root in self._roots if root.is_dir()), self._roots[-1])
        group = root / f"wsrelay-bench-{os.getpid()}-{pid}"
        group.mkdir()
        self._groups.append(group)
        quota = int(share * PERIOD_US)
        if (group / "cpu.cfs_quota_us").exists():  # version 1
            (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
            (group / "cpu.cfs_quota_us").write_text(str(quota))
        else:
            (group / "cpu.max").write_text(f"{quota} {PERIOD_US}")
        (group / "cgroup.procs").write_text(str(pid))


def _removed(group: Path) -> bool:
    """Remove a group; return whether it is gone."""
    with contextlib.suppress(OSError):
        group.rmdir()
    return not group.exists()
