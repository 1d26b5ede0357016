"""What a user's code sets for the whole process is put back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch


@contextmanager
def settings_kept() -> Iterator[None]:
    """Afterwards torch's settings and the working folder are what they were.

    They are the default dtype and device, threads, gradients, determinism, precision of matrix
    products, anomaly detection. A module of the user's, or its factory, may set them, and all that
    is computed later would follow.
    """
    dtype, device = torch.get_default_dtype(), torch.get_default_device()
    threads = torch.get_num_threads()
    gradients, precision = torch.is_grad_enabled(), torch.get_float32_matmul_precision()
    strict = torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    anomalies = torch.is_anomaly_enabled()
    folder = current_folder()
    try:
        yield
    finally:
        torch.set_default_dtype(dtype)
        if torch.get_default_device() != device:
            # a default of "cpu" that is said slows every call of torch
            torch.set_default_device(None if device.type == "cpu" else device)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        if torch.is_grad_enabled() != gradients:
            torch.set_grad_enabled(gradients)
        if torch.get_float32_matmul_precision() != precision:
            torch.set_float32_matmul_precision(precision)
        if (strict, warns) != (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        ):
            torch.use_deterministic_algorithms(strict, warn_only=warns)
        if torch.is_anomaly_enabled() != anomalies:
            torch.autograd.set_detect_anomaly(anomalies)
        if folder is not None and current_folder() != folder:
            os.chdir(folder)


def current_folder() -> Path | None:
    """The working folder; None where it has been removed."""
    try:
        return Path.cwd()
    except OSError:
        return None
