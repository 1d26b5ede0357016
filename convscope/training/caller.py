"""What belongs to the caller of this library: torch's settings and the random generators.

A run sets what it needs and leaves everything as it was, also when it raises.
"""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from convscope.models import seed_others


@contextlib.contextmanager
def own_settings(device: str = "cpu", threads: int | None = None) -> Iterator[None]:
    """Inside, gradients are on, new tensors are float32 on the CPU, and torch uses `threads`.

    Afterwards all that belongs to the caller is as it was: torch's threads, default dtype and
    device, grad and inference mode, and the random generators of torch, numpy and Python.

    device: where the run computes; its generator is kept too.
    threads: of torch on the CPU; None leaves the caller's.
    """
    dtype, num_threads = torch.get_default_dtype(), torch.get_num_threads()
    generators = generator_states(device)
    torch.set_default_dtype(torch.float32)
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        with torch.inference_mode(False), torch.enable_grad(), new_tensors_on_cpu():
            yield
    finally:
        torch.set_default_dtype(dtype)
        # a run, a measurement or the user's module may have changed the number of threads
        if torch.get_num_threads() != num_threads:
            torch.set_num_threads(num_threads)
        restore_generators(generators)


def new_tensors_on_cpu() -> contextlib.AbstractContextManager[object]:
    """Undoes the caller's `torch.set_default_device`; nothing where it was never called."""
    if torch.get_default_device().type == "cpu":
        return contextlib.nullcontext()  # a device context slows every call of torch
    return torch.device("cpu")


def generator_states(device: str) -> dict[str, Any]:
    """The states of all generators that the caller can have used, and of the device's.

    CUDA is started by asking, numpy.random imported: both only where they are in use.
    """
    states: dict[str, Any] = {"torch": torch.get_rng_state(), "python": random.getstate()}
    if "numpy.random" in sys.modules:
        states["numpy"] = np.random.get_state()
    wanted = device.startswith("cuda") and torch.cuda.is_available()
    if wanted or torch.cuda.is_initialized():
        states["cuda"] = torch.cuda.get_rng_state_all()
    if device == "mps" and torch.backends.mps.is_available():
        states["mps"] = torch.mps.get_rng_state()
    return states


def restore_generators(states: dict[str, Any]) -> None:
    torch.set_rng_state(states["torch"])
    random.setstate(states["python"])
    if "numpy" in states:
        np.random.set_state(states["numpy"])
    if "cuda" in states:
        torch.cuda.set_rng_state_all(states["cuda"])
    if "mps" in states:
        torch.mps.set_rng_state(states["mps"])


def seed_generators(device: str, seed: int) -> None:
    """Seed the generators that a run draws from: the CPU's and its device's, and no other GPU's.

    Python's and numpy's, too: a user's module may draw from them.
    """
    torch.default_generator.manual_seed(seed)
    seed_others(seed)
    if device.startswith("cuda"):
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
    elif device == "mps":
        torch.mps.manual_seed(seed)
