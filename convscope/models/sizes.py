"""Exact sizes of networks: filters, parameters and FLOPs, layer by layer."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from convscope.errors import UserError
from convscope.models.building import build
from convscope.models.faults import RAISED, fault
from convscope.models.leaf_modules import leaves
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


def parameters_of(model: Model, in_shape: tuple[int, int, int], num_classes: int) -> int:
    """Learnable parameters alone: as `size_of`, without running the network."""
    if isinstance(model, Custom):
        return size_of(model, in_shape, num_classes).parameters
    return known_parameters(model, in_shape, num_classes)


@functools.lru_cache(maxsize=4096)
def known_parameters(model: Model, in_shape: tuple[int, int, int], num_classes: int) -> int:
    """`parameters_of` a network of convscope, kept."""
    with torch.device("meta"):
        return sum(
            p.numel() for p in build(model, in_shape, num_classes).parameters() if p.requires_grad
        )


def size_of(model: Model, in_shape: tuple[int, int, int], num_classes: int) -> Size:
    """Exact size of a model's network, without initialising it.

    A large one takes no memory: it is built on torch's meta device.

    model: of a recipe.
    in_shape: channels, height and width of an image.
    num_classes: of the classifier.

    Raises UserError where the network does not take such images.
    """
    if isinstance(model, Custom):  # a user's factory may not work on the meta device
        return size_of_module(build(model, in_shape, num_classes), in_shape)
    return known_size(model, in_shape, num_classes)


@functools.lru_cache(maxsize=4096)
def known_size(model: Model, in_shape: tuple[int, int, int], num_classes: int) -> Size:
    """`size_of` a network of convscope, kept; what a user's factory returns may change."""
    with torch.device("meta"):
        net = build(model, in_shape, num_classes)
        if sum(p.numel() for p in net.parameters()) > MOST_ALLOCATED:
            return size_of_module(net, in_shape, by_layers=True)
    give_zeros(net)  # normalisation and activations are slow on the meta device
    return size_of_module(net, in_shape, by_layers=True)


def give_zeros(net: nn.Module) -> None:
    """Zeros on the CPU in place of a network's tensors on the meta device.

    `Module.to_empty` imports torch's symbolic shapes for it, which takes longer than all else.
    """
    for module in net.modules():
        for name, value in module.named_parameters(recurse=False):
            zeros = torch.zeros(value.shape, dtype=value.dtype)
            setattr(module, name, nn.Parameter(zeros, value.requires_grad))
        for name, value in module.named_buffers(recurse=False):
            setattr(module, name, torch.zeros(value.shape, dtype=value.dtype))


def size_of_module(net: nn.Module, in_shape: tuple[int, ...], by_layers: bool = False) -> Size:
    """Size of any network that takes N×(in_shape) batches; mode and buffers are left as they were.

    net: the network, on any device.
    in_shape: of one sample.
    by_layers: count the FLOPs of `nn.Conv2d` and `nn.Linear` alone, by their definition, for
        networks that call no others; else those of all convolutions and matrix products, whichever
        way the module calls them (torch's own counter, which takes a second to import).

    Raises UserError where the network does not take such a batch.
    """
    counter = None if by_layers else flop_counter()
    recorder = LayerRecorder(net, counter)
    device = next((p.device for p in net.parameters()), torch.device("cpu"))
    modes = {module: module.training for module in net.modules()}
    net.eval()
    try:
        calls = counted_calls(net) if counter else contextlib.nullcontext()
        with calls, recorder, torch.no_grad(), counter or contextlib.nullcontext():
            net(torch.zeros(1, *in_shape, device=device))
    except RAISED as error:
        shape = "×".join(map(str, in_shape))
        raise UserError(f"the network does not take {shape} images: {fault(error)}") from error
    finally:
        for module, mode in modes.items():
            module.training = mode
    layers = recorder.layers
    counted = sum(r.flops for r in layers)
    total = counter.get_total_flops() if counter else counted
    outside = [p for p in net.parameters() if p.requires_grad and p not in recorder.seen]
    if total - counted or outside:
        numel = sum(p.numel() for p in outside)
        layers.append(Layer("(outside layers)", type(net).__name__, (), 0, numel, total - counted))
    parameters = sum(p.numel() for p in net.parameters() if p.requires_grad)
    return Size(tuple(layers), sum(r.filters for r in layers), parameters, total)


@contextlib.contextmanager
def counted_calls(net: nn.Module) -> Iterator[None]:
    """Inside, attention and recurrent layers call matrix products, which torch's counter knows.

    In evaluation mode they have one operation for it all, of which it counts nothing.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel

    kinds = tuple(map(type, net.modules()))
    attends = any(issubclass(kind, ATTENTION) for kind in kinds)
    recurs = any(issubclass(kind, nn.RNNBase) for kind in kinds)
    fast, library = torch.backends.mha.get_fastpath_enabled(), torch._C._get_mkldnn_enabled()
    if attends:
        torch.backends.mha.set_fastpath_enabled(False)
    if recurs:
        torch._C._set_mkldnn_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        torch._C._set_mkldnn_enabled(library)


ATTENTION = (nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerEncoder)


class LayerRecorder:
    """Within it, each call of a network's layers (`leaves`) is recorded.

    layers: in the order of the calls; seen: the parameters that they hold.
    """

    def __init__(self, net: nn.Module, counter: FlopCounterMode | None) -> None:
        self.net, self.counter = net, counter
        self.names = leaves(net)
        self.layers: list[Layer] = []
        self.seen: set[nn.Parameter] = set()
        self.started: list[int] = []

    def __enter__(self) -> None:
        self.hooks = [
            hook
            for m in self.names
            for hook in (
                m.register_forward_pre_hook(self.before),
                m.register_forward_hook(self.after),
            )
        ]

    def __exit__(self, *_: object) -> None:
        for hook in self.hooks:
            hook.remove()

    def before(self, _module: nn.Module, _inputs: object) -> None:
        self.started.append(self.counter.get_total_flops() if self.counter else 0)

    def after(self, module: nn.Module, _inputs: object, output: object) -> None:
        if self.counter:
            flops = self.counter.get_total_flops() - self.started.pop()
        else:
            flops = defined_flops(module, output)
        own = [p for p in module.parameters() if p.requires_grad and p not in self.seen]
        self.seen.update(own)
        name, kind = self.names[module], type(module).__name__
        shape = tuple(output.shape[1:]) if isinstance(output, Tensor) else ()
        # a layer used twice has its filters once
        again = any(layer.name == name for layer in self.layers)
        convolves = isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d)
        filters = module.out_channels if convolves and not again else 0
        numel = sum(p.numel() for p in own)
        self.layers.append(Layer(name, kind, shape, filters, numel, flops))
