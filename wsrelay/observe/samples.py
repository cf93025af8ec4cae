"""What stands on a metrics page, as plain data: it is pickled from process to process."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Labels", "Observed", "Samples", "Value"]


class Observed(NamedTuple):
    """
    What a histogram counted.

    :ivar bounds: upper bounds of the buckets, rising.
    :ivar counts: how many were in each, one more for those above the last bound.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float


Labels = tuple[str, ...]
"""The labels' values, in the order of the `Family`."""

Value = float | Observed
Samples = dict[str, dict[Labels, Value]]
"""By the names of the families."""
