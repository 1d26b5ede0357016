"""Weights from disk are put into a network only where they fit it and are numbers."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from convscope.errors import UserError, one_line
from convscope.models import RAISED, fault
from convscope.training.extra_state import state_dict_from


def load_weights(net: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put a recorded state into a network, in place.

    net: the network, as it was built.
    tensors: as `network_state` gave them, perhaps among others.

    Raises UserError where names or shapes are those of another network, and where a parameter is
    not finite or a buffer holds NaN, which those of the built network were or did not.
    """
    before = not_numbers(net)
    try:
        net.load_state_dict(state_dict_from(tensors))
    except RAISED as error:
        raise UserError(f"its weights do not fit the network: {fault(error)}") from error
    if bad := sorted(not_numbers(net) - before):
        raise UserError(f"its weights hold NaN or infinity, in {one_line(bad[0])!r}")


def not_numbers(net: nn.Module) -> set[str]:
    """The names of parameters that are not finite and of buffers that hold NaN."""
    values = {name: value for name, value in net.named_parameters() if not is_lazy(value)}
    found = {name for name, value in values.items() if not torch.isfinite(value).all()}
    buffers = {name: value for name, value in net.named_buffers() if not is_lazy(value)}
    return found | {name for name, value in buffers.items() if torch.isnan(value).any()}


def check_state(net: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put the state of an epoch into a network, from which training is to go on.

    Raises UserError as `load_weights`, and where what the optimiser keeps is not finite or has the
    shape of none of the network's parameters.
    """
    load_weights(net, tensors)
    shapes = {parameter.shape for parameter in net.parameters()}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            if not torch.isfinite(value).all():
                raise UserError(f"its optimiser's state holds NaN or infinity, in {name!r}")
            if value.dim() and value.shape not in shapes:
                raise UserError(f"its optimiser's state does not fit the network, in {name!r}")
