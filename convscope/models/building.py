"""From a recipe's model to a network.

Shapes: N images, C channels, H×W pixels; K classes.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

import torch
from torch import nn

from convscope.errors import UserError, did_you_mean, one_line
from convscope.models.convnet import ConvNetModule
from convscope.models.trust import check_trusted
from convscope.recipe import ConvNet, Custom, Model, SoftmaxRegression

MAX_PARAMETERS = 2_000_000_000


def build(
    model: Model, in_shape: tuple[int, int, int], num_classes: int, seed: int = 0
) -> nn.Module:
    """A float32 network with weights drawn from `seed`: N×C×H×W images in, N×K logits out.

    Weights of convolutions and fully connected layers are drawn as He et al. 2015 (fan-in, gain √2;
    gain 1 where no activation follows), biases are zero; a user's module keeps its own
    initialisation under the same seed. Raises UserError where the images don't fit the network or a
    factory can't be had.
    """
    if isinstance(model, Custom):
        return build_custom(model, in_shape, num_classes, seed)
    if isinstance(model, SoftmaxRegression):
        net: nn.Module = nn.Sequential(
            nn.Flatten(), nn.Linear(in_shape[0] * in_shape[1] * in_shape[2], num_classes)
        )
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
    """Refuse a network whose weights alone would need tens of gigabytes, before it is built."""
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
            f"width = {model.width}, depth = {model.depth}: {total:,} parameters on {inputs} "
            f"channels; at most {MAX_PARAMETERS:,}"
        )


def build_custom(
    model: Custom, in_shape: tuple[int, int, int], num_classes: int, seed: int
) -> nn.Module:
    """The network of a user's factory. Raises UserError with whatever the factory raises."""
    check_trusted(model.factory)
    module_name, _, name = model.factory.partition(":")
    # a user's own file beside the shell's prompt, as with python -m
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # the user's code: whatever it raises is named
        raise UserError(
            f"model {model.factory!r}: {type(error).__name__}: {one_line(error)}"
        ) from error
    if not hasattr(module, name):
        public = [n for n in dir(module) if not n.startswith("_")]
        raise UserError(
            f"model {model.factory!r}: {module_name} has no {name!r}{did_you_mean(name, public)}"
        )
    process = os.getpid()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            net = getattr(module, name)(in_shape, num_classes, **model.arguments)
        except Exception as error:
            raise UserError(
                f"model {model.factory!r}: {type(error).__name__}: {one_line(error)}"
            ) from error
    if os.getpid() != process:  # a child that the factory has forked: its parent goes on
        os._exit(1)
    if not isinstance(net, nn.Module):
        raise UserError(
            f"model {model.factory!r}: gave {type(net).__name__}, not a torch.nn.Module"
        )
    return net
