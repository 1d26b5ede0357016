"""What tests of the command line share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Cli = Callable[..., Any]
FAST = (  # nothing is measured
    *("--precision", "float32", "--layout", "channels_last"),
    *("--kernels", "library", "--threads", "1"),
)
