"""A network as a graph of operators, by torch's exporter: what exported files are made of."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from convscope.deployment.image_network import ImageNetwork
from convscope.errors import UserError
from convscope.models import RAISED, fault

TRIED = 2  # images: one would be taken for a fixed number


class FromBytes(nn.Module):
    """An image network for uint8 images alone, without checks that a graph cannot hold."""

    mean: Tensor
    scale: Tensor

    def __init__(self, net: ImageNetwork) -> None:
        super().__init__()
        self.network = net.network
        self.register_buffer("mean", net.mean)
        self.register_buffer("scale", net.scale)

    def forward(self, images: Tensor) -> Tensor:
        return self.network((images.to(torch.float32) - self.mean) * self.scale)


def graph_of(net: ImageNetwork, name: str) -> Any:
    """The network for uint8 images N×C×H×W as a `torch.export.ExportedProgram`; N is free.

    net: in eval mode, float32, on the CPU.
    name: of the network, for messages.

    Raises UserError with what torch's exporter says of a network that it does not take.
    """
    images = torch.zeros(TRIED, *net.in_shape, dtype=torch.uint8)
    batch = torch.export.Dim("batch", min=1)
    try:
        with quiet(), torch.no_grad():
            module = FromBytes(net).eval()
            return torch.export.export(module, (images,), dynamic_shapes=({0: batch},))
    except RAISED as error:
        raise not_exported(name, error) from error


def not_exported(name: str, error: BaseException) -> UserError:
    """What an exporter raised, in one line: the sentence that says most."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    said = fault(type(error)(text)) if type(error) in (ValueError, RuntimeError) else ""
    said = said or f"{type(error).__name__}: {text}"
    return UserError(f"model {name}: torch's exporter does not take it: {said[:300]}")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Exporters say much that is of no use here; what they raise is not kept back."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def weights_of(net: ImageNetwork, program: Any) -> dict[str, Tensor]:
    """The tensors of model.safetensors: the network's state, the normalisation, and constants."""
    state = net.network.state_dict()
    found = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    names = stored_names(program)
    given = {**program.state_dict, **program.constants}
    found |= {stored: given[own] for own, stored in names.items() if own in given}
    return {name: value.detach().cpu().contiguous().clone() for name, value in found.items()}


def stored_names(program: Any) -> dict[str, str]:
    """Name of a tensor in the program -> its name in model.safetensors."""
    signature = program.graph_signature
    own = [
        *signature.inputs_to_parameters.values(),
        *signature.inputs_to_buffers.values(),
        *signature.inputs_to_lifted_tensor_constants.values(),
    ]
    return {name: stored_name(name) for name in own}


def stored_name(name: str) -> str:
    """ "network.fc.weight" is "fc.weight", as in the run; the normalisation is "input.mean"."""
    if name.startswith("network."):
        return name.removeprefix("network.")
    return f"input.{name}" if name in ("mean", "scale") else f"constant.{name}"
