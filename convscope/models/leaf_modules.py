"""The layers of a network: its modules that stand for one operation each."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

PARAMETRIZATIONS = "parametrizations"  # torch's name of the child that computes a layer's weights


def leaves(network: nn.Module) -> dict[nn.Module, str]:
    """Modules without children but nn.Identity, with their paths in the order of their definition.

    A layer whose weights are computed from others (weight or spectral normalisation, LoRA: see
    torch.nn.utils.parametrize) holds modules that compute them. It counts as one layer.
    """
    return {
        module: name
        for name, module in modules_of(network)
        if is_leaf(module) and not isinstance(module, nn.Identity)
    }


def is_leaf(module: nn.Module) -> bool:
    """Whether a module has no children but those that compute its weights."""
    return all(name == PARAMETRIZATIONS for name, _ in module.named_children())


def modules_of(
    network: nn.Module, path: str = "", seen: set[nn.Module] | None = None
) -> Iterator[tuple[str, nn.Module]]:
    """Each module once with its path, without those that compute weights.

    Nor those that torch.jit has compiled: nothing can watch their calls.
    """
    seen = set() if seen is None else seen
    if network in seen or isinstance(network, torch.jit.ScriptModule):
        return
    seen.add(network)
    yield path, network
    for name, child in network.named_children():
        if name != PARAMETRIZATIONS:
            yield from modules_of(child, f"{path}.{name}" if path else name, seen)
