"""From a recipe's model to a network.

Shapes: N images, C channels, H×W pixels; K classes.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import os
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy

from convscope.errors import UserError, did_you_mean, one_line
from convscope.models.convnet import ConvNetModule
from convscope.models.copies import uncompiled
from convscope.models.faults import RAISED, fault, is_out_of_memory
from convscope.models.opened import check_import, keep_import, say_what_is_missing, watched
from convscope.models.settings import settings_kept
from convscope.models.sources import (
    check_sources,
    drop_old_bytecode,
    look_beside_the_prompt,
    note_imported,
)
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
    """The network of a user's factory. Raises UserError with whatever the factory raises.

    Lazy layers get their weights from a first call on empty images, under the same seed. What
    torch.compile returned is taken as the module that it was made of. Settings of the process that
    the user's code changes are put back.
    """
    shown = f"model {model.factory!r}"
    opened: set[Path] = set()
    with seeded(seed):
        with settings_kept():
            factory = imported(model, shown, opened)
        # settings of their own: a module is imported once, a factory called often
        with settings_kept(), watched(opened):
            net = made_by(factory, (in_shape, num_classes), model, shown)
        note_seeding(model.factory, seed)
        say_what_is_missing(model, opened)
        net = uncompiled(net)
        check_modes(net, shown)
        if any(p.is_meta for p in net.parameters()):
            raise UserError(f"{shown}: its weights are on the meta device; give them values")
        if any(p.is_floating_point() and p.dtype != torch.float32 for p in net.parameters()):
            net.float()  # complex weights stay what they are
        if has_lazy_weights(net):
            first_call(net, in_shape, model.factory)
    return net


def imported(model: Custom, shown: str, opened: set[Path]) -> Any:
    """What a recipe names as its factory; opened: takes the files that its import reads.

    Raises UserError with whatever its module raises.
    """
    check_trusted(model.factory)
    module_name, _, name = model.factory.partition(":")
    look_beside_the_prompt()
    check_sources(model)
    check_import(model.factory)
    drop_old_bytecode(model.factory)
    importlib.import_module("numpy.random")  # a user's code may draw from it: it is seeded
    new = module_name not in sys.modules
    try:
        # what a module draws while it is imported is alike in each process
        with seeded(0), watched(opened):
            module = importlib.import_module(module_name)
    except RAISED as error:  # the user's code: whatever it raises is named
        raise UserError(f"{shown}: {fault(error)}") from error
    note_imported(model.factory)
    if new:
        keep_import(model.factory, opened)
    if not hasattr(module, name):
        public = [n for n in dir(module) if not n.startswith("_")]
        raise UserError(f"{shown}: {module_name} has no {name!r}{did_you_mean(name, public)}")
    factory = getattr(module, name)
    if isinstance(factory, nn.Module):
        raise UserError(
            f"{shown}: is a network, and a factory is expected: a function of (in_shape, "
            "num_classes) that returns a new one"
        )
    if not callable(factory):
        raise UserError(
            f"{shown}: is of type {type(factory).__name__}, and a factory is expected: a function "
            "of (in_shape, num_classes) that returns a torch.nn.Module"
        )
    return factory


def made_by(
    factory: Any, given: tuple[tuple[int, int, int], int], model: Custom, shown: str
) -> nn.Module:
    """What a factory returns. Raises UserError with whatever it raises."""
    check_call(factory, given, model.arguments, shown)
    process = os.getpid()
    try:
        net = factory(*given, **model.arguments)
    except RAISED as error:
        hint = ""
        if isinstance(error, TypeError):
            hint = f"; it is called with in_shape = {given[0]}, num_classes = {given[1]}"
        raise UserError(f"{shown}: {fault(error)}{hint}") from error
    finally:
        if os.getpid() != process:  # a child that the factory has forked: its parent goes on
            os._exit(1)
    if isinstance(net, nn.Module):
        return net
    if isinstance(net, type):
        raise UserError(f"{shown}: gave the class {net.__name__}; return {net.__name__}(…)")
    kind = "nothing" if net is None else type(net).__name__
    raise UserError(f"{shown}: gave {kind}; return one torch.nn.Module")


def check_call(factory: Any, given: Sequence[object], named: Mapping[str, Any], shown: str) -> None:
    """UserError where a factory cannot be called as factories are."""
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):  # not every callable tells its parameters
        return
    try:
        signature.bind(*given, **named)
    except TypeError as error:
        call = ", ".join(("in_shape", "num_classes", *(f"{name}=…" for name in named)))
        takes = one_line(signature.replace(return_annotation=inspect.Signature.empty))
        raise UserError(
            f"{shown}: takes {takes}, and is called with ({call}): {error}; write a function of "
            "these that returns the module"
        ) from None


def check_modes(net: nn.Module, shown: str) -> None:
    """UserError for a network that has no modes of training and evaluation, as an exported one."""
    modes = {module: module.training for module in net.modules()}
    try:
        net.eval()
        net.train()
    except RAISED as error:
        raise UserError(
            f"{shown}: cannot be put into evaluation and training mode: {fault(error)}; return the "
            "module itself, as it is before it is exported"
        ) from error
    finally:
        for module, mode in modes.items():
            module.training = mode


_told: set[str] = set()


def note_seeding(factory: str, seed: int) -> None:
    """Say once, in the log, that a factory has set torch's seed."""
    if torch.initial_seed() != seed and factory not in _told:
        _told.add(factory)
        logging.getLogger("convscope").warning(
            "model %s: its factory sets torch's seed: all seeds begin with the same weights; "
            "leave torch.manual_seed out",
            factory,
        )


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, torch, numpy and Python draw from `seed`.

    Afterwards their generators, torch's of the CPU, go on as before.
    """
    python, with_numpy = random.getstate(), "numpy.random" in sys.modules
    numpy = np.random.get_state() if with_numpy else None
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            seed_others(seed)
            yield
    finally:
        random.setstate(python)
        if numpy is not None:
            np.random.set_state(numpy)


def seed_others(seed: int) -> None:
    """Seed the generators of Python and, where it is in use, of numpy."""
    random.seed(seed)
    if "numpy.random" in sys.modules:
        np.random.seed(seed % 2**32)


def has_lazy_weights(net: nn.Module) -> bool:
    """Whether weights are missing until the first call (torch.nn.LazyLinear and others)."""
    return any(is_lazy(value) for value in (*net.parameters(), *net.buffers()))


def first_call(net: nn.Module, in_shape: Sequence[int], name: str, images: int = 2) -> object:
    """What a network returns for empty images in eval mode; its modes are left as they were.

    Raises UserError with whatever it raises, unless that is a lack of memory.
    """
    modes = {module: module.training for module in net.modules()}
    device = next((p.device for p in net.parameters()), None)
    try:
        net.eval()
        with torch.no_grad():
            return net(torch.zeros(images, *in_shape, device=device))
    except RAISED as error:
        if is_out_of_memory(error):
            raise
        shape = "×".join(map(str, in_shape))
        raise UserError(f"model {name}: does not take {shape} images: {fault(error)}") from error
    finally:
        for module, mode in modes.items():
            module.training = mode
