"""What an epoch leaves behind, and how training goes on from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from convscope.training.extra_state import network_state, state_dict_from

# what is known of each image, among a state's tensors: NAME.SPLIT
RIGHT = "right"  # whether it is classified right, eight images to a byte
LOSSES = "losses"  # its cross-entropy, float16
BY_IMAGE = ("val", "test")  # the splits of which this is kept

Row = dict[str, float | int | None]


@dataclass
class State:
    """What an epoch leaves behind: all that the next epoch needs, and how each image came out.

    tensors: contiguous, on the CPU: "net.NAME" of the network's state dict, "extra.NAME" of what
        it holds beside tensors, "optimizer.I.NAME" of the optimiser's state of parameter I,
        "right.SPLIT" and "losses.SPLIT" of the evaluated images of `BY_IMAGE`.
    """

    epoch: int
    tensors: dict[str, Tensor]


def state_of(net: nn.Module, optimizer: torch.optim.Optimizer, epoch: int) -> State:
    """A copy of all that `load_state` needs to go on after this epoch."""
    tensors = network_state(net)
    for i, values in optimizer.state_dict()["state"].items():
        for key, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{i}.{key}"] = value
    return State(epoch, {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()})


def load_state(net: nn.Module, optimizer: torch.optim.Optimizer, state: State) -> None:
    """Put a state into a network and its optimiser, on their device."""
    net.load_state_dict(state_dict_from(state.tensors))
    parameters = [(p, group) for group in optimizer.param_groups for p in group["params"]]
    for name, value in state.tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "optimizer":
            index, _, key = rest.partition(".")
            parameter, group = parameters[int(index)]
            optimizer.state[parameter][key] = home_of(key, value, parameter, group).copy_(value)


def home_of(key: str, value: Tensor, parameter: Tensor, group: dict[str, Any]) -> Tensor:
    """An empty tensor for a value of the optimiser's state, where the optimiser looks for it."""
    if key == "step" and not (group.get("fused") or group.get("capturable")):
        return torch.empty_like(value)  # is read by Python: it stays on the CPU
    if value.shape == parameter.shape:
        # fused kernels walk parameter and state in one order: the state takes its strides
        return torch.empty_like(parameter, dtype=value.dtype)
    return torch.empty_like(value, device=parameter.device)
