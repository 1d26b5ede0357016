"""Exact sizes of networks: filters, parameters and FLOPs, layer by layer."""

from __future__ import annotations

import contextlib
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from convscope.errors import UserError, one_line
from convscope.models.building import build
from convscope.recipe import Custom, Model

if TYPE_CHECKING:
    from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Layer:
    """A row of the table.

    Output shape without the batch, learnable parameters, FLOPs of one image's forward pass.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    filters: int
    parameters: int
    flops: int


@dataclass(frozen=True)
class Size:
    """Exact size of a network.

    Filters are the output channels of all convolutions, FLOPs 2 × multiply-adds of one image.
    """

    layers: tuple[Layer, ...]
    filters: int
    parameters: int
    flops: int

    def __str__(self) -> str:
        rows = [("layer", "kind", "output", "filters", "parameters", "FLOPs")]
        for r in self.layers:
            shape = "×".join(map(str, r.shape))
            rows.append(
                (
                    r.name,
                    r.kind,
                    shape,
                    f"{r.filters:,}" if r.filters else "",
                    f"{r.parameters:,}",
                    f"{r.flops:,}",
                )
            )
        rows.append(
            ("total", "", "", f"{self.filters:,}", f"{self.parameters:,}", f"{self.flops:,}")
        )
        widths = [max(len(row[i]) for row in rows) for i in range(6)]
        return "\n".join(
            "  ".join(
                cell.ljust(w) if i < 3 else cell.rjust(w)
                for i, (cell, w) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        )


def flop_counter() -> FlopCounterMode:
    from torch.utils.flop_counter import FlopCounterMode

    return FlopCounterMode(display=False)


def defined_flops(layer: nn.Module, output: object) -> int:
    """2 × multiply-adds of a convolution or a fully connected layer; 0 for others."""
    if not isinstance(layer, nn.Conv2d | nn.Linear):
        return 0
    assert isinstance(output, Tensor)
    return 2 * output.numel() * layer.weight[0].numel()


MOST_ALLOCATED = 5_000_000  # parameters


@functools.lru_cache(maxsize=4096)
def parameters_of(model: Model, in_shape: tuple[int, int, int], num_classes: int) -> int:
    """Learnable parameters alone: as `size_of`, without running the network."""
    if isinstance(model, Custom):
        return size_of(model, in_shape, num_classes).parameters
    with torch.device("meta"):
        return sum(
            p.numel() for p in build(model, in_shape, num_classes).parameters() if p.requires_grad
        )


@functools.lru_cache(maxsize=4096)
def size_of(model: Model, in_shape: tuple[int, int, int], num_classes: int) -> Size:
    """Exact size of a model's network, without initialising it.

    A large one takes no memory: it is built on torch's meta device.
    """
    if isinstance(model, Custom):  # a user's factory may not work on the meta device
        return size_of_module(build(model, in_shape, num_classes), in_shape)
    with torch.device("meta"):
        net = build(model, in_shape, num_classes)
        if sum(p.numel() for p in net.parameters()) > MOST_ALLOCATED:
            return size_of_module(net, in_shape, by_layers=True)
    net.to_empty(device="cpu")  # normalisation and activations are slow on the meta device
    with torch.no_grad():
        for value in (*net.parameters(), *net.buffers()):
            value.zero_()  # a permutation's places have to be there
    return size_of_module(net, in_shape, by_layers=True)


def size_of_module(net: nn.Module, in_shape: tuple[int, ...], by_layers: bool = False) -> Size:
    """Size of any network that takes N×(in_shape) batches; mode and buffers are left as they were.

    FLOPs are those of convolutions and matrix products (torch's own counter), whichever way the
    module calls them; `by_layers`: of `nn.Conv2d` and `nn.Linear` alone, by their definition, for
    networks that call no others (torch's counter takes a second to import).
    """
    counter = None if by_layers else flop_counter()
    names = {module: name for name, module in net.named_modules()}
    layers: list[Layer] = []
    seen: set[nn.Parameter] = set()
    started: list[int] = []

    def before(module: nn.Module, _inputs: object) -> None:
        started.append(counter.get_total_flops() if counter else 0)

    def after(module: nn.Module, _inputs: object, output: object) -> None:
        flops = (
            counter.get_total_flops() - started.pop() if counter else defined_flops(module, output)
        )
        own = [p for p in module.parameters() if p.requires_grad and p not in seen]
        seen.update(own)
        shape = tuple(output.shape[1:]) if isinstance(output, Tensor) else ()
        # a layer used twice has its filters once
        again = any(layer.name == names[module] for layer in layers)
        filters = (
            module.out_channels
            if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d) and not again
            else 0
        )
        layers.append(
            Layer(
                names[module],
                type(module).__name__,
                shape,
                filters,
                sum(p.numel() for p in own),
                flops,
            )
        )

    leaves = [m for m in net.modules() if not any(m.children()) and not isinstance(m, nn.Identity)]
    hooks = [
        h
        for m in leaves
        for h in (m.register_forward_pre_hook(before), m.register_forward_hook(after))
    ]
    modes = {module: module.training for module in net.modules()}
    device = next((p.device for p in net.parameters()), torch.device("cpu"))
    net.eval()
    try:
        with torch.no_grad(), counter or contextlib.nullcontext():
            net(torch.zeros(1, *in_shape, device=device))
    except (RuntimeError, ValueError, TypeError) as error:
        raise UserError(
            f"the network does not take {'×'.join(map(str, in_shape))} images: {one_line(error)}"
        ) from None
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes.items():
            module.training = mode
    total = counter.get_total_flops() if counter else sum(r.flops for r in layers)
    rest = total - sum(r.flops for r in layers)
    outside = [p for p in net.parameters() if p.requires_grad and p not in seen]
    if rest or outside:
        layers.append(
            Layer(
                "(outside layers)", type(net).__name__, (), 0, sum(p.numel() for p in outside), rest
            )
        )
    parameters = sum(p.numel() for p in net.parameters() if p.requires_grad)
    return Size(tuple(layers), sum(r.filters for r in layers), parameters, total)
