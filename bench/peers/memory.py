"""Jobs for convscope's workers: how much memory has their process held at most, in bytes?

They are a module of their own, so that workers can import it.
"""

from __future__ import annotations

import resource


def peak(_report: object) -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def peak_with_torch(_report: object) -> int:
    """Of a process that has imported torch and done nothing yet."""
    import torch  # noqa: F401

    return peak(None)
