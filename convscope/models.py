"""From a recipe's model to a network, and its exact size: filters, parameters and FLOPs, layer by layer.

Shapes: N images, C channels, H×W pixels; K classes. The networks of the literature are functions in NAMED, each with its source.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from convscope import fused, kernels
from convscope.blocks import Block
from convscope.layers import Act, PermutePixels, Whiten, ordering
from convscope.recipe import ConvNet, Custom, Model, SoftmaxRegression, UserError, did_you_mean, one_line

if TYPE_CHECKING:
    from torch.utils.flop_counter import FlopCounterMode

MAX_PARAMETERS = 2_000_000_000
# The networks of the literature and of the course, each with its source. A model is named on the command line as one of these or
# as package.module:factory.
NAMED: dict[str, Callable[[], Model]] = {
    # multinomial logistic regression on pixels: 37–41 % on CIFAR-10 (Krizhevsky 2009)
    "softmax": SoftmaxRegression,
    # first architecture of the course: each convolution with ReLU and 2×2 max pooling, then fully connected layers
    "course-1": lambda: ConvNet(width=32, depth=3, hidden=(128,)),
    # second architecture of the course: blocks of three convolutions, a skip connection in each, one fully connected layer
    "course-2": lambda: ConvNet(width=32, depth=3, block_depth=3, skip=True),
    # the shallow networks of the course: 61,618 and 618 parameters on 3×32×32
    "shallow-flatten": lambda: ConvNet(width=6, depth=1, pool="none"),
    "shallow-gap": lambda: ConvNet(width=16, depth=1, pool="none", head="gap"),
    # five-layer CNN of Nakkiran et al. 2019 (Deep Double Descent, appendix B) at k = 64: 1,558,026 parameters
    "double-descent": lambda: ConvNet(width=64, depth=4, norm="batch", pool_sizes=(1, 2, 2, 8)),
}


class ConvNetModule(nn.Module):
    """The network of a `ConvNet` recipe: N×C×H×W -> N×K logits."""

    def __init__(self, spec: ConvNet, in_shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__()
        channels, height, width = in_shape
        self.pixels = PermutePixels(height, width) if spec.pixels == "random" else nn.Identity()
        self.stem: nn.Module = nn.Identity()
        if spec.stem == "whiten":
            if min(height, width) < 2:
                raise UserError(f"stem = whiten: takes patches of 2×2 pixels; the images have {height}×{width}")
            self.stem = stem = Whiten(channels)
            channels, height, width = stem.out_channels, height - 1, width - 1
        blocks = []
        for d, (out, pool) in enumerate(zip(spec.channels, spec.pools, strict=True), 1):
            if height // pool < 1 or width // pool < 1:
                fits = sum(1 for _ in iter_fitting(spec, in_shape))
                raise UserError(
                    f"depth = {spec.depth}: block {d} would pool a {height}×{width} feature map by {pool}, below 1×1; "
                    f"depth at most {fits} for {in_shape[1]}×{in_shape[2]} images, or pool = none"
                )
            blocks.append(Block(spec, channels, out, pool))
            channels, height, width = out, height // pool, width // pool
        self.blocks = nn.Sequential(*blocks)
        self.gap = spec.head == "gap"
        features = channels if self.gap else channels * height * width
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()) if self.gap else nn.Flatten()
        self.order = ordering(spec.order, (channels, height, width))
        layers: list[nn.Module] = []
        for size in spec.hidden:
            layers += [nn.Linear(features, size), Act(spec.activation)]
            features = size
        self.fc = nn.Sequential(*layers, nn.Linear(features, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(self.pixels(x))
        if not kernels.active(x):
            return self.fc(self.order(self.head(self.blocks(x))))
        last = self.blocks[-1]
        assert isinstance(last, Block)
        for i in range(len(self.blocks) - 1):
            x = self.blocks[i](x)
        if self.gap and isinstance(last.pool, nn.Identity):
            return self.fc(last.average(x))
        x = last(x)
        if not kernels.active(x):
            return self.fc(self.order(self.head(x)))
        x = fused.GlobalPool.apply(x, False) if self.gap else fused.Flatten.apply(x)
        return self.fc(self.order(x))


def iter_fitting(spec: ConvNet, in_shape: tuple[int, int, int]):
    height, width = (side - (spec.stem == "whiten") for side in in_shape[1:])
    for pool in spec.pools:
        height, width = height // pool, width // pool
        if height < 1 or width < 1:
            return
        yield height, width


def build(model: Model, in_shape: tuple[int, int, int], num_classes: int, seed: int = 0) -> nn.Module:
    """A float32 network with weights drawn from `seed`: N×C×H×W images in, N×K logits out.

    Weights of convolutions and fully connected layers are drawn as He et al. 2015 (fan-in, gain √2; gain 1 where no
    activation follows), biases are zero; a user's module keeps its own initialisation under the same seed.
    Raises UserError where the images don't fit the network or a factory can't be had.
    """
    if isinstance(model, Custom):
        return build_custom(model, in_shape, num_classes, seed)
    if isinstance(model, SoftmaxRegression):
        net: nn.Module = nn.Sequential(nn.Flatten(), nn.Linear(in_shape[0] * in_shape[1] * in_shape[2], num_classes))
    else:
        check_memory(model, in_shape)
        net = ConvNetModule(model, in_shape, num_classes)
    generator = torch.Generator().manual_seed(seed)
    layers = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    linear = isinstance(model, SoftmaxRegression) or model.activation == "identity"
    for layer in layers:
        if layer.weight.is_meta:
            continue
        gain = 1.0 if linear or layer is layers[-1] else 2.0**0.5
        fan_in = layer.weight[0].numel()
        with torch.no_grad():
            layer.weight.normal_(0.0, gain / fan_in**0.5, generator=generator)
            if layer.bias is not None:
                layer.bias.zero_()
    return net


def check_memory(model: ConvNet, in_shape: tuple[int, int, int]) -> None:
    """Refuse a network whose weights alone would need tens of gigabytes, before anything is allocated."""
    inputs, total, previous = in_shape[0], 0, in_shape[0]
    for channels in model.channels:
        total += model.kernel**2 * channels * (previous + channels * (model.block_depth - 1))
        previous = channels
    height, width = (side - (model.stem == "whiten") for side in in_shape[1:])
    for pool in model.pools:
        height, width = height // pool, width // pool
    features = previous if model.head == "gap" else previous * height * width
    for hidden in model.hidden:
        total, features = total + features * hidden, hidden
    if total > MAX_PARAMETERS:
        raise UserError(
            f"width = {model.width}, depth = {model.depth}: {total:,} parameters on {inputs} channels; at most {MAX_PARAMETERS:,}"
        )


def build_custom(model: Custom, in_shape: tuple[int, int, int], num_classes: int, seed: int) -> nn.Module:
    module_name, _, name = model.factory.partition(":")
    if str(Path.cwd()) not in sys.path:  # a user's own file beside the shell's prompt, as with python -m
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # the user's code: whatever it raises is named
        raise UserError(f"model {model.factory!r}: {type(error).__name__}: {one_line(error)}") from error
    if not hasattr(module, name):
        public = [n for n in dir(module) if not n.startswith("_")]
        raise UserError(f"model {model.factory!r}: {module_name} has no {name!r}{did_you_mean(name, public)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            net = getattr(module, name)(in_shape, num_classes, **model.arguments)
        except Exception as error:
            raise UserError(f"model {model.factory!r}: {type(error).__name__}: {one_line(error)}") from error
    if not isinstance(net, nn.Module):
        raise UserError(f"model {model.factory!r}: gave {type(net).__name__}, not a torch.nn.Module")
    return net


def parse_model(text: str) -> Model:
    """A model from the command line: a known name, package.module:factory, or name with changes as `course-2,width=16`."""
    name, *changes = text.split(",")
    if ":" in name:
        return Custom(name, dict(parse_argument(change) for change in changes))
    if name not in NAMED and name != "convnet":
        raise UserError(f"model {one_line(name)!r}{did_you_mean(name, ['convnet', *NAMED])}; or package.module:factory")
    model = ConvNet() if name == "convnet" else NAMED[name]()
    if not changes:
        return model
    if not isinstance(model, ConvNet):
        raise UserError(f"model {one_line(text)!r}: {name} has nothing to change")
    return replace(model, **dict(parse_change(model, change) for change in changes))


def parse_argument(change: str) -> tuple[str, object]:
    """name=value of a factory's argument; the value is JSON, or a text where it is not."""
    key, equals, value = change.partition("=")
    if not equals or not key.isidentifier():
        raise UserError(f"model option {one_line(change)!r}: write name=value")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def parse_change(model: ConvNet, change: str) -> tuple[str, object]:
    key, equals, value = change.partition("=")
    known = vars(model)
    if not equals or key not in known:
        raise UserError(f"model option {one_line(change)!r}{did_you_mean(key, known)}")
    current = known[key]
    try:
        if isinstance(current, bool):
            return key, {"true": True, "false": False}[value.lower()]
        if isinstance(current, tuple):
            return key, tuple(int(item) for item in value.split("+") if item)
        return key, type(current)(value)
    except (KeyError, ValueError):
        expected = (
            "true or false"
            if isinstance(current, bool)
            else "sizes joined by +"
            if isinstance(current, tuple)
            else type(current).__name__
        )
        raise UserError(f"model option {one_line(change)!r}: {key} takes {expected}") from None


@dataclass(frozen=True)
class Layer:
    """A row of the table: output shape without the batch, learnable parameters, FLOPs of one image's forward pass."""

    name: str
    kind: str
    shape: tuple[int, ...]
    filters: int
    parameters: int
    flops: int


@dataclass(frozen=True)
class Size:
    """Exact size of a network: filters are the output channels of all convolutions, FLOPs 2 × multiply-adds of one image."""

    layers: tuple[Layer, ...]
    filters: int
    parameters: int
    flops: int

    def __str__(self) -> str:
        rows = [("layer", "kind", "output", "filters", "parameters", "FLOPs")]
        for r in self.layers:
            shape = "×".join(map(str, r.shape))
            rows.append((r.name, r.kind, shape, f"{r.filters:,}" if r.filters else "", f"{r.parameters:,}", f"{r.flops:,}"))
        rows.append(("total", "", "", f"{self.filters:,}", f"{self.parameters:,}", f"{self.flops:,}"))
        widths = [max(len(row[i]) for row in rows) for i in range(6)]
        return "\n".join(
            "  ".join(
                cell.ljust(w) if i < 3 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
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
        return sum(p.numel() for p in build(model, in_shape, num_classes).parameters() if p.requires_grad)


@functools.lru_cache(maxsize=4096)
def size_of(model: Model, in_shape: tuple[int, int, int], num_classes: int) -> Size:
    """Size of a model's network: exact, without initialising it, and of a large one without memory, on torch's meta device."""
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
    """Size of any network that takes N×(in_shape) batches; its mode and buffers are left as they were.

    FLOPs are those of convolutions and matrix products (torch's own counter), whichever way the module calls them; `by_layers`: of `nn.Conv2d` and
    `nn.Linear` alone, by their definition, for networks that call no others (torch's counter takes a second to import).
    """
    counter = None if by_layers else flop_counter()
    names = {module: name for name, module in net.named_modules()}
    layers: list[Layer] = []
    seen: set[nn.Parameter] = set()
    started: list[int] = []

    def before(module: nn.Module, _inputs: object) -> None:
        started.append(counter.get_total_flops() if counter else 0)

    def after(module: nn.Module, _inputs: object, output: object) -> None:
        flops = counter.get_total_flops() - started.pop() if counter else defined_flops(module, output)
        own = [p for p in module.parameters() if p.requires_grad and p not in seen]
        seen.update(own)
        shape = tuple(output.shape[1:]) if isinstance(output, Tensor) else ()
        again = any(layer.name == names[module] for layer in layers)  # a layer used twice has its filters once
        filters = module.out_channels if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d) and not again else 0
        layers.append(Layer(names[module], type(module).__name__, shape, filters, sum(p.numel() for p in own), flops))

    leaves = [m for m in net.modules() if not any(m.children()) and not isinstance(m, nn.Identity)]
    hooks = [h for m in leaves for h in (m.register_forward_pre_hook(before), m.register_forward_hook(after))]
    modes = {module: module.training for module in net.modules()}
    device = next((p.device for p in net.parameters()), torch.device("cpu"))
    net.eval()
    try:
        with torch.no_grad(), counter or contextlib.nullcontext():
            net(torch.zeros(1, *in_shape, device=device))
    except (RuntimeError, ValueError, TypeError) as error:
        raise UserError(f"the network does not take {'×'.join(map(str, in_shape))} images: {one_line(error)}") from None
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes.items():
            module.training = mode
    total = counter.get_total_flops() if counter else sum(r.flops for r in layers)
    rest = total - sum(r.flops for r in layers)
    outside = [p for p in net.parameters() if p.requires_grad and p not in seen]
    if rest or outside:
        layers.append(Layer("(outside layers)", type(net).__name__, (), 0, sum(p.numel() for p in outside), rest))
    parameters = sum(p.numel() for p in net.parameters() if p.requires_grad)
    return Size(tuple(layers), sum(r.filters for r in layers), parameters, total)
