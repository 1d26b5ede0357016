"""What makes a user's network worth less than it looks: said in the log, before it is trained."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from convscope.errors import one_line
from convscope.models import (
    RAISED,
    build,
    copied,
    first_call,
    is_out_of_memory,
    modules_of,
    seeded,
)
from convscope.recipe import Recipe
from convscope.training.checks import is_ours, name_of
from convscope.training.extra_state import network_state
from convscope.training.soundness import load_weights

if TYPE_CHECKING:
    from convscope.training.tensors import Tensors

IMAGES = 4  # on which a network is tried

_told: set[str] = set()


def say_doubts(net: nn.Module | None, tensors: Tensors, recipe: Recipe) -> None:
    """Say once in a process what is doubtful about a user's network; the network stays as it is.

    net: None where it does not fit into memory.
    """
    if net is None or is_ours(recipe.model):
        return
    try:
        for text in doubts_of(net, tensors, recipe):
            said = f"model {name_of(recipe)}: {text}"
            if said not in _told:
                _told.add(said)
                logging.getLogger("convscope").warning("%s", said)
    except RAISED as error:  # the run itself will meet what is wrong, and names it
        if is_out_of_memory(error):
            raise


def doubts_of(net: nn.Module, tensors: Tensors, recipe: Recipe) -> Iterator[str]:
    """Sentences on a network that the recipe's factory has just made.

    net: on the CPU; a copy of it is tried on a few training images.
    """
    if name := untrained(net):
        yield (
            f"{one_line(name)} has weights that are not registered, and so neither trained nor "
            "kept; make it an nn.Parameter, or put the modules into nn.ModuleList or nn.ModuleDict"
        )
    own = copied(net)
    own.eval()
    some = torch.arange(min(IMAGES, tensors.count("train")), device=tensors.mean.device)
    x = tensors.inputs("train", some)
    like = next((p for p in own.parameters() if p.is_floating_point()), x)
    x = x.to(like.device, like.dtype)
    with torch.no_grad(), seeded(recipe.seed):
        first, second = own(x.clone()), own(x.clone())
    if are_probabilities(first):
        yield (
            "returns probabilities, and their softmax is taken once more; return the logits, "
            "what stands before the softmax"
        )
    if differ(first, second):
        yield (
            "gives other logits for the same images in evaluation mode; a dropout in a forward is "
            "F.dropout(x, training=self.training)"
        )
    with torch.no_grad(), seeded(recipe.seed):
        own.train()
        own(x.clone())
        own.eval()
    again = build(recipe.model, tensors.in_shape, tensors.num_classes, recipe.seed)
    if set(own.state_dict()) - set(again.state_dict()):  # weights that a first call makes
        first_call(again, tensors.in_shape, name_of(recipe))
    load_weights(again, network_state(own))
    again.eval()
    answers: list[Tensor] = []
    for one in (own, again):
        with torch.no_grad(), seeded(recipe.seed):
            answers.append(one(x.clone()))
    if differ(*answers):
        yield (
            "keeps what it learns outside its state dict: read back, it is another network; make "
            "that a buffer, or give it by get_extra_state and set_extra_state"
        )


def untrained(net: nn.Module) -> str:
    """The attribute of a module that holds trainable weights which no parameter is; or nothing."""
    known = {id(p) for p in net.parameters()}
    for path, module in modules_of(net):
        for name, value in vars(module).items():
            items = value.values() if isinstance(value, dict) else value
            parts = items if isinstance(value, list | tuple | dict) else [value]
            if name.startswith("_") or not any(holds_others(part, known) for part in parts):
                continue
            return f"{path}.{name}" if path else name
    return ""


def holds_others(value: object, known: set[int]) -> bool:
    """Whether it is a trainable leaf, or a module of some, that is not among those known."""
    if isinstance(value, nn.Module):
        return any(p.requires_grad and id(p) not in known for p in value.parameters())
    leaf = isinstance(value, Tensor) and value.is_leaf and value.requires_grad
    return leaf and id(value) not in known


def are_probabilities(out: Tensor) -> bool:
    """Whether each row has no negative number and adds up to 1."""
    sums = out.float().sum(1)
    return bool((out >= 0).all() and torch.allclose(sums, torch.ones_like(sums), atol=1e-3))


def differ(a: Tensor, b: Tensor) -> bool:
    """Whether two answers differ by more than rounding."""
    scale = float(a.abs().max())
    return not torch.allclose(a, b, rtol=1e-3, atol=1e-4 * scale + 1e-7, equal_nan=True)
