"""What the benches share: the machine's line, medians with their spread, a Markdown table."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence


def machine_line() -> str:
    """Machine, versions, and how busy the machine was when the bench began: other work on it makes every figure worse."""
    import PIL
    import torch

    from convscope.device import this_machine

    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    return f"{this_machine()}, Pillow {PIL.__version__}, {torch.get_num_threads()} threads by default; load average at the start {load}"


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median (least to most, n)."""
    return f"{median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f}, n = {len(values)})"


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Turn by turn: both of a turn ran within seconds of each other, so that what else the machine did touches them alike."""
    return [a / b for a, b in zip(above, below, strict=True)]


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
