"""Receptive fields by propagation: on which input positions each position of a tensor depends.

A network runs once, whatever its modules are called; each tensor operation that torch dispatches
moves the intervals of its inputs to its outputs (rules.py). Operations that are not known there are
tried: if they act on each position alone they are let through, else they count as global.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from convscope.probes.atoms import Atom, InputInterval, State, plain_dims, union
from convscope.probes.rules import POINTWISE, PRODUCTS, RULES, padded, product

# these look at the shape of a tensor alone
LIKE = {f"{kind}_like" for kind in ("empty", "zeros", "ones", "full", "rand", "randn")}
LIKE |= {f"new_{kind}" for kind in ("empty", "zeros", "ones", "full")}


class Tracker(TorchDispatchMode):
    """Runs with a network's forward; `state_of` tells what is known of a tensor."""

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        self.kept: list[Tensor] = []  # so that an id is never given twice
        self.states: dict[int, State] = {}
        # storages that were written into by parts: their tensors count as global
        self.written: set[int] = set()
        # by axis, the largest distance of neighbouring positions' intervals so far
        self.jumps: dict[int, Fraction] = {}
        itself = InputInterval(Fraction(1), Fraction(1), Fraction(0))
        axes = tuple((Atom(i, n, itself),) for i, n in enumerate(x.shape[2:]))
        self.set(x, (*plain_dims(x.shape[:2]), *axes))

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """torch's own: else its compiler, a second to import, is told to stay away from here."""
        return False

    def set(self, tensor: Tensor, state: State) -> None:
        self.kept.append(tensor)
        self.states[id(tensor)] = state
        for atom in (atom for dim in state for atom in dim):
            if atom.axis is not None and atom.interval is not None:
                known = self.jumps.get(atom.axis, Fraction(0))
                self.jumps[atom.axis] = max(known, atom.interval.jump)

    def state_of(self, tensor: Any) -> State | None:
        if not isinstance(tensor, Tensor):
            return None
        if tensor.numel() and tensor.untyped_storage().data_ptr() in self.written:
            return plain_dims(tensor.shape)
        return self.states.get(id(tensor))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = [a for arg in (*args, *kwargs.values()) for a in _items(arg)]
        states = [s for s in map(self.state_of, given) if s is not None]
        out = func(*args, **kwargs)
        name = func._schema.name.split("::")[1]
        if not states or name in LIKE:
            return out
        pointwise = torch.Tag.pointwise in func.tags or name in POINTWISE
        if func._schema.is_mutable and name != "native_batch_norm":
            others = len(states) > 1 or self.state_of(args[0]) is None  # written into it
            by_parts = others and _partial(args[0])
            if not pointwise or by_parts:
                if isinstance(args[0], Tensor):
                    self.written.add(args[0].untyped_storage().data_ptr())
                    self.kept.append(args[0])
                return out
        outs = [o for o in _items(out) if isinstance(o, Tensor)]
        for number, o in enumerate(outs):
            if pointwise:
                self.set(o, union(states, o.shape))
            elif name in RULES and self.state_of(_items(args[0])[0]) is not None:
                self.set(o, RULES[name](self.state_of, args, o, number))
            elif name in PRODUCTS:
                factors = args[1:3] if name in ("addmm", "baddbmm") else args[-2:]
                self.set(o, product(self.state_of, factors, o, len(states)))
            elif len(states) == 1 and _acts_on_positions(func, args, kwargs, o):
                self.set(o, union(states, o.shape))
            else:
                self.set(o, plain_dims(o.shape))
        return out


class CircularPadding(TorchFunctionMode):
    """Circular padding, written into an empty tensor by parts, is followed as one operation."""

    def __init__(self, tracker: Tracker) -> None:
        super().__init__()
        self.tracker = tracker

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        named = kwargs or {}
        if getattr(func, "__name__", "") == "pad" and "circular" in (*args, *named.values()):
            state = self.tracker.state_of(args[0])
            if state is not None:
                pad = named.get("pad", args[1] if len(args) > 1 else ())
                self.tracker.written.discard(out.untyped_storage().data_ptr())
                self.tracker.set(out, padded(state, pad, out))
        return out


def _items(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else [value]


def _partial(tensor: Any) -> bool:
    """Whether a tensor is a part of its storage."""
    if not isinstance(tensor, Tensor):
        return False
    return tensor.untyped_storage().nbytes() > tensor.numel() * tensor.element_size()


def _acts_on_positions(func: Any, args: Any, kwargs: Any, out: Tensor) -> bool:
    """Whether a change of one position changes the output there alone; tried at a few positions."""

    def alike(a: Any) -> bool:
        return isinstance(a, Tensor) and a.shape == out.shape and a.is_floating_point()

    where = next((i for i, a in enumerate(args) if alike(a)), None)
    if where is None or func._schema.is_mutable or not out.is_floating_point():
        return False
    x = args[where]
    for place in (0.5, 0.3, 0.9):
        index = (slice(None), int(place * (x.shape[-1] - 1)))
        if x.ndim > 2:
            index = (..., *(int(place * (n - 1)) for n in x.shape[2:]))
        other = x.clone()
        other[index] = other[index] + 1.0
        again = func(*args[:where], other, *args[where + 1 :], **kwargs)
        if not isinstance(again, Tensor):
            return False
        changed = again != out
        changed[index] = False
        if bool(changed.any()):
            return False
    return True
