"""Receptive fields by propagation: which interval of input positions each position of a tensor depends on, op by op, whatever the modules are called.

A network runs once; each tensor operation that torch dispatches moves the intervals of its inputs to its outputs (RULES). Operations that are
not known here are tried: if they act on each position alone they are let through, else they count as global.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from convscope.probes.atoms import (
    Atom,
    Dim,
    Field,
    State,
    globally,
    plain_dims,
    spread,
    union,
    viewed,
    window,
)


class Tracker(TorchDispatchMode):
    """Runs with a network's forward; `state_of` tells what is known of a tensor."""

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        self.kept: list[Tensor] = []  # so that an id is never given twice
        self.states: dict[int, State] = {}
        self.written: set[int] = (
            set()
        )  # storages that were written into by parts: their tensors count as global
        axes = tuple(
            (Atom(i, n, Field(Fraction(1), Fraction(1), Fraction(0))),)
            for i, n in enumerate(x.shape[2:])
        )
        self.set(x, (*plain_dims(x.shape[:2]), *axes))

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """torch's own, where it has it: its compiler, a second to import, is not told to stay away from here; nobody compiles a probe."""
        return False

    def set(self, tensor: Tensor, state: State) -> None:
        self.kept.append(tensor)
        self.states[id(tensor)] = state

    def state_of(self, tensor: Any) -> State | None:
        if not isinstance(tensor, Tensor):
            return None
        if tensor.numel() and tensor.untyped_storage().data_ptr() in self.written:
            return plain_dims(tensor.shape)
        return self.states.get(id(tensor))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = [
            a
            for arg in (*args, *kwargs.values())
            for a in (arg if isinstance(arg, list | tuple) else [arg])
        ]
        states = [s for s in map(self.state_of, given) if s is not None]
        out = func(*args, **kwargs)
        if not states:
            return out
        name = func._schema.name.split("::")[1]
        outs = [
            o for o in (out if isinstance(out, list | tuple) else [out]) if isinstance(o, Tensor)
        ]
        pointwise = torch.Tag.pointwise in func.tags or name in POINTWISE
        if (
            func._schema.is_mutable
            and (not pointwise or (len(states) > 1 and _partial(args[0])))
            and name not in ("native_batch_norm",)
        ):
            if isinstance(args[0], Tensor):
                self.written.add(args[0].untyped_storage().data_ptr())
                self.kept.append(args[0])
            return out
        for number, o in enumerate(outs):
            if pointwise:
                self.set(o, union(states, o.shape))
            elif (
                name in RULES
                and self.state_of(args[0] if not isinstance(args[0], list | tuple) else args[0][0])
                is not None
            ):
                self.set(o, RULES[name](self, args, o, number))
            elif name in PRODUCTS:
                self.set(
                    o,
                    _product(
                        self,
                        args[-2:] if name != "addmm" and name != "baddbmm" else args[1:3],
                        o,
                        len(states),
                    ),
                )
            elif len(states) == 1 and _acts_on_positions(func, args, kwargs, o):
                self.set(o, union(states, o.shape))
            else:
                self.set(o, plain_dims(o.shape))
        return out


class CircularPadding(TorchFunctionMode):
    """Circular padding is written into an empty tensor piece by piece; it is followed as one operation instead."""

    def __init__(self, tracker: Tracker) -> None:
        super().__init__()
        self.tracker = tracker

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "") == "pad" and "circular" in (
            *args,
            *(kwargs or {}).values(),
        ):
            state = self.tracker.state_of(args[0])
            if state is not None:
                self.tracker.written.discard(out.untyped_storage().data_ptr())
                self.tracker.set(
                    out,
                    _padded(
                        state, (kwargs or {}).get("pad", args[1] if len(args) > 1 else ()), out
                    ),
                )
        return out


def _partial(tensor: Any) -> bool:
    return (
        isinstance(tensor, Tensor)
        and tensor.untyped_storage().nbytes() > tensor.numel() * tensor.element_size()
    )


def _acts_on_positions(func: Any, args: Any, kwargs: Any, out: Tensor) -> bool:
    """Whether changing one position of the tracked tensor changes the output at that position alone; tried at a few positions."""
    where = next(
        (
            i
            for i, a in enumerate(args)
            if isinstance(a, Tensor) and a.shape == out.shape and a.is_floating_point()
        ),
        None,
    )
    if where is None or func._schema.is_mutable or not out.is_floating_point():
        return False
    x = args[where]
    for place in (0.5, 0.3, 0.9):
        index = (
            (..., *(int(place * (n - 1)) for n in x.shape[2:]))
            if x.ndim > 2
            else (slice(None), int(place * (x.shape[-1] - 1)))
        )
        other = x.clone()
        other[index] = other[index] + 1.0
        changed = func(*args[:where], other, *args[where + 1 :], **kwargs) != out
        changed[index] = False
        if bool(changed.any()):
            return False
    return True


def _list(value: Any, count: int) -> list[int]:
    values = list(value) if isinstance(value, list | tuple) else [value]
    return values * count if len(values) == 1 else values


def _convolution(tracker: Tracker, args: Any, out: Tensor, _: int) -> State:
    x, weight, _bias, stride, pad, dilation, transposed = args[:7]
    state = tracker.state_of(x)
    assert state is not None
    count = weight.ndim - 2
    stride, pad, dilation = _list(stride, count), _list(pad, count), _list(dilation, count)
    dims: list[Dim] = [state[0], (Atom(None, out.shape[1], None),)]
    for i in range(count):
        k, s, p, d, length = weight.shape[2 + i], stride[i], pad[i], dilation[i], out.shape[2 + i]
        if transposed:  # output j comes from inputs (j + p − tap·d) / s
            reach = Fraction((k - 1) * d, s)
            dims.append(spread(state[2 + i], Fraction(s), reach, Fraction(p, s) - reach, length))
        else:
            dims.append(window(state[2 + i], k, s, p, d, length))
    return tuple(dims)


def _pool(tracker: Tracker, args: Any, out: Tensor, _: int) -> State:
    state = tracker.state_of(args[0])
    assert state is not None
    lead = 2 if out.ndim > 3 else 1
    count = out.ndim - lead
    size = _list(args[1], count)
    stride = _list(args[2], count) if len(args) > 2 and args[2] else size
    pad = _list(args[3], count) if len(args) > 3 else [0] * count
    dilation = (
        _list(args[4], count) if len(args) > 4 and not isinstance(args[4], bool) else [1] * count
    )
    spec = zip(size, stride, pad, dilation, out.shape[lead:], strict=True)
    return (
        *state[:lead],
        *(window(dim, *one) for dim, one in zip(state[lead:], spec, strict=True)),
    )


def _adaptive(tracker: Tracker, args: Any, out: Tensor, _: int) -> State:
    state, given = tracker.state_of(args[0]), args[0].shape
    assert state is not None
    dims = list(state)
    for d in range(2, len(state)):
        n, m = given[d], out.shape[d]
        if m == 1 and n > 1:
            dims[d] = ()
        elif n % m == 0:
            dims[d] = window(state[d], n // m, n // m, 0, 1, m)
        else:  # windows floor(jn/m) … ceil((j+1)n/m)
            dims[d] = spread(
                state[d], Fraction(m, n), Fraction(n - 1, m) + 1, -Fraction(m - 1, m), m
            )
    return tuple(dims)


def _padded(state: State, pad: Sequence[int], out: Tensor) -> State:
    dims = list(state)
    for i in range(len(pad) // 2):
        d = len(dims) - 1 - i
        if pad[2 * i] or pad[2 * i + 1]:
            dims[d] = window(state[d], 1, 1, pad[2 * i], 1, out.shape[d])
    return tuple(dims)


def _upsampled(taps: int) -> Callable[[Tracker, Any, Tensor, int], State]:
    def rule(tracker: Tracker, args: Any, out: Tensor, _: int) -> State:
        state, given = tracker.state_of(args[0]), args[0].shape
        assert state is not None
        dims = list(state)
        for d in range(2, len(dims)):
            r = Fraction(out.shape[d], given[d])
            reach, start = (
                (1 - 1 / r, 1 / r - 1)
                if taps == 1
                else (Fraction(taps), -Fraction(taps + 1, 2) + 1 / r / 2)
            )
            dims[d] = spread(state[d], r, reach, start, out.shape[d])
        return tuple(dims)

    return rule


def _unshuffled(tracker: Tracker, args: Any, out: Tensor, _: int) -> State:
    state, r = tracker.state_of(args[0]), args[1]
    assert state is not None
    channels = (Atom(None, out.shape[-3], None),)
    return (
        *state[:-3],
        channels,
        *(window(dim, r, r, 0, 1, n) for dim, n in zip(state[-2:], out.shape[-2:], strict=True)),
    )


def _reduced(tracker: Tracker, args: Any, out: Tensor, _: int) -> State:
    state = tracker.state_of(args[0])
    assert state is not None
    over = (
        args[1]
        if len(args) > 1 and args[1] is not None and args[1] != []
        else list(range(len(state)))
    )
    gone = {d % len(state) for d in (over if isinstance(over, list | tuple) else [over])}
    if out.ndim == len(state):
        return tuple(() if d in gone else dim for d, dim in enumerate(state))
    return tuple(dim for d, dim in enumerate(state) if d not in gone)


def _sliced(tracker: Tracker, args: Any, out: Tensor, _: int) -> State:
    x = args[0]
    state = tracker.state_of(x)
    assert state is not None
    given = [*args[1:], *[None] * (5 - len(args))]  # dimension, start, end, step
    d, start, step = (given[0] or 0) % x.ndim, given[1] or 0, given[3] or 1
    start = min(x.shape[d], start + x.shape[d] if start < 0 else start)
    if start == 0 and step == 1 and out.shape[d] == x.shape[d]:
        return state
    return tuple(
        window(dim, 1, step, -start, 1, out.shape[d]) if i == d else dim
        for i, dim in enumerate(state)
    )


def _split(tracker: Tracker, args: Any, out: Tensor, number: int) -> State:
    x, sizes = args[0], args[1]
    d = (args[2] if len(args) > 2 else 0) % x.ndim
    start = sum(sizes[:number]) if isinstance(sizes, list | tuple) else number * sizes
    return _sliced(tracker, (x, d, start, start + out.shape[d], 1), out, 0)


def _joined(tracker: Tracker, args: Any, out: Tensor, _: int) -> State:
    d = (args[1] if len(args) > 1 else 0) % out.ndim
    states = [s for s in map(tracker.state_of, args[0]) if s is not None]
    if len(states) != len(args[0]) or any(a.axis is not None for s in states for a in s[d]):
        return plain_dims(out.shape)
    alike = [
        tuple((Atom(None, out.shape[d], None),) if i == d else dim for i, dim in enumerate(s))
        for s in states
    ]
    return union(alike, out.shape)


def _permuted(tracker: Tracker, args: Any, out: Tensor, _: int) -> State:
    state = tracker.state_of(args[0])
    assert state is not None
    order = list(range(len(state)))
    if len(args) == 2:
        order = [d % len(state) for d in args[1]]
    elif len(args) == 3 or len(state) == 2:
        a, b = args[1:] if len(args) == 3 else (0, 1)
        order[a], order[b] = order[b], order[a]
    return tuple(state[d] for d in order)


def _viewed(tracker: Tracker, args: Any, out: Tensor, _: int) -> State:
    state = tracker.state_of(args[0])
    assert state is not None
    return viewed(state, out.shape)


def _expanded(tracker: Tracker, args: Any, out: Tensor, _: int) -> State:
    state = tracker.state_of(args[0])
    assert state is not None
    return union([state], out.shape)


def _one_dim(tracker: Tracker, args: Any, out: Tensor, _: int) -> State:
    """unsqueeze, squeeze, select: the others keep their atoms."""
    state, d = tracker.state_of(args[0]), args[1] if len(args) > 1 else None
    assert state is not None
    if out.ndim == len(state) + 1:
        assert isinstance(d, int)
        d = d % out.ndim
        return (*state[:d], (), *state[d:])
    if out.ndim == len(state):
        return state
    gone = (
        {i for i, n in enumerate(args[0].shape) if n == 1}
        if d is None
        else {i % len(state) for i in _list(d, 1)}
    )
    return tuple(
        dim
        for i, dim in enumerate(state)
        if i not in gone or (args[0].shape[i] != 1 and len(state) - out.ndim != len(gone))
    )


def _mixed(dims: Callable[[Any], Iterable[int]]) -> Callable[[Tracker, Any, Tensor, int], State]:
    def rule(tracker: Tracker, args: Any, out: Tensor, number: int) -> State:
        state = tracker.state_of(args[0])
        assert state is not None
        return (
            globally(state, dims(args))
            if out.ndim == len(state) and out.shape == args[0].shape
            else plain_dims(out.shape)
        )

    return rule


def _batch_norm(tracker: Tracker, args: Any, out: Tensor, _: int) -> State:
    state = tracker.state_of(args[0])
    assert state is not None
    if out.shape != args[0].shape:
        return plain_dims(out.shape)
    return (
        globally(state, range(2, len(state))) if args[5] is True else state
    )  # with statistics of its own: instance normalisation


def _product(tracker: Tracker, factors: Any, out: Tensor, tracked: int) -> State:
    """Matrix products: rows of the left factor and columns of the right one stay, what is summed over is global."""
    left, right = map(tracker.state_of, factors)
    if tracked != 1 or (left is None) == (right is None):
        return plain_dims(out.shape)
    kept = left if left is not None else right
    assert kept is not None
    plain = (Atom(None, out.shape[-1 if left is not None else -2], None),)
    return (*kept[:-1], plain) if left is not None else (*kept[:-2], plain, kept[-1])


POINTWISE = {
    "clone",
    "_to_copy",
    "detach",
    "alias",
    "lift_fresh",
    "contiguous",
    "native_dropout",
    "_prelu_kernel",
    "hardswish",
}
PRODUCTS = {"mm", "addmm", "bmm", "baddbmm"}
Rule = Callable[[Tracker, Any, Tensor, int], State]
RULES: dict[str, Rule] = {
    "convolution": _convolution,
    **dict.fromkeys(
        (
            "max_pool2d_with_indices",
            "max_pool3d_with_indices",
            "avg_pool2d",
            "avg_pool3d",
            "avg_pool1d",
            "max_pool2d",
        ),
        _pool,
    ),
    **dict.fromkeys(
        (
            "_adaptive_avg_pool2d",
            "_adaptive_avg_pool3d",
            "adaptive_max_pool2d",
            "adaptive_max_pool3d",
        ),
        _adaptive,
    ),
    **dict.fromkeys(
        ("reflection_pad1d", "reflection_pad2d", "reflection_pad3d", "constant_pad_nd"),
        lambda t, a, o, _: _padded(t.state_of(a[0]) or (), a[1], o),
    ),
    **dict.fromkeys(
        ("replication_pad1d", "replication_pad2d", "replication_pad3d"),
        lambda t, a, o, _: _padded(t.state_of(a[0]) or (), a[1], o),
    ),
    **dict.fromkeys(
        ("upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "pixel_shuffle"),
        _upsampled(1),
    ),
    **dict.fromkeys(
        ("upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d"), _upsampled(2)
    ),
    "upsample_bicubic2d": _upsampled(4),
    "pixel_unshuffle": _unshuffled,
    **dict.fromkeys(
        (
            "mean",
            "sum",
            "amax",
            "amin",
            "max",
            "min",
            "prod",
            "logsumexp",
            "var",
            "std",
            "var_mean",
            "std_mean",
        ),
        _reduced,
    ),
    **dict.fromkeys(
        ("linalg_vector_norm", "norm"), lambda t, a, o, n: _reduced(t, (a[0], *a[2:]), o, n)
    ),
    **dict.fromkeys(("_softmax", "_log_softmax", "cumsum", "cumprod"), _mixed(lambda a: [a[1]])),
    "flip": _mixed(lambda a: a[1]),
    "native_group_norm": _mixed(lambda a: range(1, a[0].ndim)),
    "native_layer_norm": _mixed(lambda a: range(a[0].ndim - len(a[1]), a[0].ndim)),
    **dict.fromkeys(
        ("native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training"),
        _batch_norm,
    ),
    **dict.fromkeys(("view", "_unsafe_view", "reshape", "_reshape_alias"), _viewed),
    **dict.fromkeys(("permute", "transpose", "t"), _permuted),
    **dict.fromkeys(("unsqueeze", "squeeze", "select"), _one_dim),
    "expand": _expanded,
    "slice": _sliced,
    **dict.fromkeys(("split", "split_with_sizes"), _split),
    "cat": _joined,
}
