"""What an epoch leaves behind, and how training goes on from it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

RIGHT = "right.test"  # the name of these booleans, eight to a byte, among a state's tensors

Row = dict[str, float | int | None]


@dataclass
class State:
    """What an epoch leaves behind: everything that the next one needs, and which test images were right (`RIGHT`). Tensors are on the CPU, contiguous."""

    epoch: int
    tensors: dict[str, Tensor]


def state_of(net: nn.Module, optimizer: torch.optim.Optimizer, epoch: int) -> State:
    tensors = {f"net.{name}": value for name, value in net.state_dict().items()}
    for i, values in optimizer.state_dict()["state"].items():
        for key, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{i}.{key}"] = value
    return State(epoch, {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()})


def load_state(net: nn.Module, optimizer: torch.optim.Optimizer, state: State) -> None:
    net.load_state_dict(
        {k.removeprefix("net."): v for k, v in state.tensors.items() if k.startswith("net.")}
    )
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for name, value in state.tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "optimizer":
            index, _, key = rest.partition(".")
            parameter = parameters[int(index)]
            # fused kernels walk parameter and state in one order: the state takes the parameter's strides
            home = (
                torch.empty_like(parameter, dtype=value.dtype)
                if value.shape == parameter.shape
                else torch.empty_like(value)
            )
            optimizer.state[parameter][key] = home.copy_(value)
