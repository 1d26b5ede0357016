"""Copies of modules, also of those that Python's deepcopy refuses."""

from __future__ import annotations

import contextlib
import copy
import types
from collections import OrderedDict
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer

WHOLE = (list, tuple, set, dict, OrderedDict)  # whose items are copied one by one


def copied(module: nn.Module) -> nn.Module:
    """A copy of a module with tensors of its own, uncompiled (see `uncompiled`).

    Where deepcopy refuses, it is copied part by part, and also where it holds a function that
    closes over modules: deepcopy would leave that with the module's own. The old form of weight
    normalisation holds a weight with a gradient's history: that is copied without the history. What
    cannot be copied at all, as a lock or an open file, is shared with the module. Raises what
    deepcopy raises where a module cannot be taken apart either.
    """
    module = inner(module)
    # deepcopy makes plain tensors of the buffers of lazy layers
    lazy = [b for b in module.buffers() if isinstance(b, UninitializedBuffer)]
    fresh: Any = UninitializedBuffer  # torch's stubs lack its arguments
    memo = {id(b): fresh(device=b.device, dtype=b.dtype) for b in lazy}
    try:
        if not any(map(holds_closure, module.modules())):
            return uncompiled(copy.deepcopy(module, dict(memo)))
    except Exception:
        if isinstance(module, torch.jit.ScriptModule):
            raise
    return uncompiled(cast("nn.Module", part_of(module, dict[int, Any](memo))))


def holds_closure(module: nn.Module) -> bool:
    """Whether a module has an attribute, or a list of such, that is a function over modules."""
    if isinstance(module, torch.jit.ScriptModule):
        return False
    found: list[Any] = list(vars(module).values())
    for value in list(found):
        if type(value) in WHOLE:
            found += value.values() if isinstance(value, dict) else value
    return any(
        isinstance(inside, nn.Module | Tensor)
        for value in found
        if isinstance(value, types.FunctionType)
        for inside in contents_of(value)
    )


def contents_of(function: types.FunctionType) -> list[Any]:
    """What a function closes over, of the variables that are bound, and its default values."""
    found: list[Any] = list(function.__defaults__ or ())
    for cell in function.__closure__ or ():
        with contextlib.suppress(ValueError):  # an empty one
            found.append(cell.cell_contents)
    return found


def part_of(value: Any, memo: dict[int, Any]) -> Any:
    """A copy of what a module holds; `memo` has the copies so far, by the id of the original."""
    if id(value) in memo:
        return memo[id(value)]
    own: Any
    if isinstance(value, nn.Module) and (bare := inner(value)) is not value:
        own = memo[id(value)] = part_of(bare, memo)
    elif isinstance(value, nn.Module) and not isinstance(value, torch.jit.ScriptModule):
        own = memo[id(value)] = object.__new__(type(value))
        for name, item in vars(value).items():
            own.__dict__[name] = part_of(item, memo)
    elif isinstance(value, Tensor) and not value.is_leaf:
        own = memo[id(value)] = value.detach().clone()
    elif isinstance(value, torch.Generator):
        own = memo[id(value)] = torch.Generator(value.device)
        own.set_state(value.get_state())
    elif isinstance(value, types.MethodType):  # a hook may be a method of a module
        own = types.MethodType(value.__func__, part_of(value.__self__, memo))
    elif isinstance(value, types.FunctionType) and contents_of(value):
        own = function_of(value, memo)
    elif type(value) in WHOLE:
        own = whole(value, memo)
    else:
        own = copy_or_share(value, memo)
    return own


def function_of(function: types.FunctionType, memo: dict[int, Any]) -> types.FunctionType:
    """A function that closes over copies."""
    cells = tuple(types.CellType() for _ in function.__closure__ or ())
    name, code = function.__name__, function.__code__
    own = types.FunctionType(code, function.__globals__, name, None, cells or None)
    memo[id(function)] = own
    for cell, old in zip(cells, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # an empty one stays empty
            cell.cell_contents = part_of(old.cell_contents, memo)
    own.__defaults__ = part_of(function.__defaults__, memo)
    own.__kwdefaults__ = function.__kwdefaults__
    own.__dict__.update(function.__dict__)
    return own


def whole(value: Any, memo: dict[int, Any]) -> Any:
    """A copy of a container, item by item."""
    if isinstance(value, dict):
        own = memo[id(value)] = type(value)()
        for key, item in value.items():
            own[key] = part_of(item, memo)
        return own
    if isinstance(value, list):
        own = memo[id(value)] = []
        own += [part_of(item, memo) for item in value]
        return own
    return type(value)(part_of(item, memo) for item in value)


def copy_or_share(value: Any, memo: dict[int, Any]) -> Any:
    """Python's copy; where there is none, the thing itself."""
    trial = dict(memo)  # a copy that fails leaves halves of things behind
    try:
        own = copy.deepcopy(value, trial)
    except Exception:
        return value
    memo.update(trial)
    return own


def uncompiled(net: nn.Module) -> nn.Module:
    """The module itself, for one that `torch.compile` returned or that holds such modules.

    A compiled module computes the same up to rounding, hides its layers, and its compiler is not
    to be had on every machine. Parameters stay the same objects; paths lose "_orig_mod".
    """
    net = inner(net)
    for module in net.modules():
        for name, child in list(module._modules.items()):
            if child is not None and (bare := inner(child)) is not child:
                module._modules[name] = bare
    for module in net.modules():
        if getattr(module, "_compiled_call_impl", None) is not None:  # by Module.compile()
            module._compiled_call_impl = None
    return net


def inner(module: nn.Module) -> nn.Module:
    """What a compiled module was made of; another module itself."""
    # torch._dynamo.eval_frame.OptimizedModule, which takes a second to import
    while type(module).__name__ == "OptimizedModule":
        module = cast("nn.Module", module._modules["_orig_mod"])
    return module
