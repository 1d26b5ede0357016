"""A clock that waits for the device."""

from __future__ import annotations

import time

import torch


def seconds_now(device: str) -> float:
    """Seconds on a clock of the machine, read when the device has done all it was given.

    GPUs work through a queue: without waiting, the clock would time how fast the queue is filled.
    """
    kind = device.partition(":")[0]
    if kind == "cuda":
        torch.cuda.synchronize(device)
    elif kind == "mps":
        torch.mps.synchronize()
    return time.perf_counter()
