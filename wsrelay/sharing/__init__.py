"""
What the worker processes of one relay count together, in memory that they share.

No reactor, no threads, no C: a memfd, mapped, and record locks of the kernel.
"""

from wsrelay.sharing.commons import SharedCommons
from wsrelay.sharing.region import Region, RegionError, Sizes

__all__ = ["Region", "RegionError", "SharedCommons", "Sizes"]
