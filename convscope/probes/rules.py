"""What each tensor operation does to intervals of input positions: RULES, by its name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from typing import Any

from torch import Tensor

from convscope.probes.atoms import (
    Atom,
    Dim,
    State,
    globally,
    plain_dims,
    spread,
    union,
    viewed,
    window,
)
from convscope.probes.upsampling import interpolated, nearest

StateOf = Callable[[Any], State | None]  # what is known of a tensor; None: it does not depend on x
# state_of, the operation's arguments, one of its outputs and this one's number -> its state
Rule = Callable[[StateOf, Any, Tensor, int], State]


def _list(value: Any, count: int) -> list[int]:
    values = list(value) if isinstance(value, list | tuple) else [value]
    return values * count if len(values) == 1 else values


def _convolution(state_of: StateOf, args: Any, out: Tensor, _: int) -> State:
    x, weight, _bias, stride, pad, dilation, transposed = args[:7]
    state = state_of(x)
    assert state is not None
    count = weight.ndim - 2
    stride, pad, dilation = _list(stride, count), _list(pad, count), _list(dilation, count)
    dims: list[Dim] = [state[0], (Atom(None, out.shape[1], None),)]
    for i in range(count):
        k, s, p, d, length = weight.shape[2 + i], stride[i], pad[i], dilation[i], out.shape[2 + i]
        if transposed:  # output j comes from inputs (j + p − tap·d) / s
            reach = Fraction((k - 1) * d, s)
            start = Fraction(p, s) - reach
            dims.append(spread(state[2 + i], Fraction(s), reach, start, length, max(1, d)))
        else:
            dims.append(window(state[2 + i], k, s, p, d, length))
    return tuple(dims)


def _pool(state_of: StateOf, args: Any, out: Tensor, _: int) -> State:
    state = state_of(args[0])
    assert state is not None
    lead = 2 if out.ndim > 3 else 1
    count = out.ndim - lead
    size = _list(args[1], count)
    stride = _list(args[2], count) if len(args) > 2 and args[2] else size
    pad = _list(args[3], count) if len(args) > 3 else [0] * count
    dilated = len(args) > 4 and not isinstance(args[4], bool)
    dilation = _list(args[4], count) if dilated else [1] * count
    spec = zip(size, stride, pad, dilation, out.shape[lead:], strict=True)
    return (
        *state[:lead],
        *(window(dim, *one) for dim, one in zip(state[lead:], spec, strict=True)),
    )


def _adaptive(state_of: StateOf, args: Any, out: Tensor, _: int) -> State:
    state, given = state_of(args[0]), args[0].shape
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


def padded(state: State, pad: Sequence[int], out: Tensor) -> State:
    dims = list(state)
    for i in range(len(pad) // 2):
        d = len(dims) - 1 - i
        if pad[2 * i] or pad[2 * i + 1]:
            dims[d] = window(state[d], 1, 1, pad[2 * i], 1, out.shape[d])
    return tuple(dims)


def _unshuffled(state_of: StateOf, args: Any, out: Tensor, _: int) -> State:
    state, r = state_of(args[0]), args[1]
    assert state is not None
    channels = (Atom(None, out.shape[-3], None),)
    return (
        *state[:-3],
        channels,
        *(window(dim, r, r, 0, 1, n) for dim, n in zip(state[-2:], out.shape[-2:], strict=True)),
    )


def _reduced(state_of: StateOf, args: Any, out: Tensor, _: int) -> State:
    state = state_of(args[0])
    assert state is not None
    some = len(args) > 1 and args[1] is not None and args[1] != []
    over = args[1] if some else list(range(len(state)))
    gone = {d % len(state) for d in (over if isinstance(over, list | tuple) else [over])}
    if out.ndim == len(state):
        return tuple(() if d in gone else dim for d, dim in enumerate(state))
    return tuple(dim for d, dim in enumerate(state) if d not in gone)


def _sliced(state_of: StateOf, args: Any, out: Tensor, _: int) -> State:
    x = args[0]
    state = state_of(x)
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


def _split(state_of: StateOf, args: Any, out: Tensor, number: int) -> State:
    x, sizes = args[0], args[1]
    d = (args[2] if len(args) > 2 else 0) % x.ndim
    start = sum(sizes[:number]) if isinstance(sizes, list | tuple) else number * sizes
    return _sliced(state_of, (x, d, start, start + out.shape[d], 1), out, 0)


def _joined(state_of: StateOf, args: Any, out: Tensor, _: int) -> State:
    d = (args[1] if len(args) > 1 else 0) % out.ndim
    states = [s for s in map(state_of, args[0]) if s is not None]
    if len(states) != len(args[0]) or any(a.axis is not None for s in states for a in s[d]):
        return plain_dims(out.shape)
    alike = [
        tuple((Atom(None, out.shape[d], None),) if i == d else dim for i, dim in enumerate(s))
        for s in states
    ]
    return union(alike, out.shape)


def _stacked(state_of: StateOf, args: Any, out: Tensor, _: int) -> State:
    d = (args[1] if len(args) > 1 else 0) % out.ndim
    states = [s for s in map(state_of, args[0]) if s is not None]
    if len(states) != len(args[0]):
        return plain_dims(out.shape)
    one = union(states, args[0][0].shape)
    return (*one[:d], (Atom(None, out.shape[d], None),), *one[d:])


def _columns(state_of: StateOf, args: Any, out: Tensor, _: int) -> State:
    """F.unfold: the windows of a map as columns, row by row."""
    x, size, dilation, pad, stride = args[0], *(_list(value, 2) for value in args[1:5])
    state = state_of(x)
    assert state is not None
    places: list[Atom] = []
    for i, n in enumerate(x.shape[-2:]):
        count = (n + 2 * pad[i] - dilation[i] * (size[i] - 1) - 1) // stride[i] + 1
        places += window(state[i - 2], size[i], stride[i], pad[i], dilation[i], count)
    return (*state[:-3], (Atom(None, out.shape[-2], None),), tuple(places))


def _unfolded(state_of: StateOf, args: Any, out: Tensor, _: int) -> State:
    """Tensor.unfold: windows along a dimension, whose taps become a last dimension."""
    state, (d, size, step) = state_of(args[0]), args[1:4]
    assert state is not None
    d %= len(state)
    dims = list(state)
    dims[d] = window(state[d], size, step, 0, 1, out.shape[d])
    return (*dims, (Atom(None, size, None),))


def _rolled(state_of: StateOf, args: Any, out: Tensor, _: int) -> State:
    """What leaves at one end comes in at the other: as with circular padding, that is left out."""
    state = state_of(args[0])
    assert state is not None
    over = args[2] if len(args) > 2 else []
    if not over:
        return plain_dims(out.shape)
    dims = list(state)
    for shift, d in zip(args[1], over, strict=True):
        dims[d] = window(state[d], 1, 1, shift, 1, out.shape[d])
    return tuple(dims)


def _permuted(state_of: StateOf, args: Any, out: Tensor, _: int) -> State:
    state = state_of(args[0])
    assert state is not None
    order = list(range(len(state)))
    if len(args) == 2:
        order = [d % len(state) for d in args[1]]
    elif len(args) == 3 or len(state) == 2:
        a, b = args[1:] if len(args) == 3 else (0, 1)
        order[a], order[b] = order[b], order[a]
    return tuple(state[d] for d in order)


def _as_pairs(state_of: StateOf, args: Any, out: Tensor, _: int) -> State:
    """Complex numbers as pairs of real ones, in a last dimension of their own."""
    state = state_of(args[0])
    assert state is not None
    return (*state, (Atom(None, 2, None),))


def _from_pairs(state_of: StateOf, args: Any, out: Tensor, _: int) -> State:
    state = state_of(args[0])
    assert state is not None
    return state[:-1]


def _viewed(state_of: StateOf, args: Any, out: Tensor, _: int) -> State:
    state = state_of(args[0])
    assert state is not None
    return viewed(state, out.shape)


def _expanded(state_of: StateOf, args: Any, out: Tensor, _: int) -> State:
    state = state_of(args[0])
    assert state is not None
    return union([state], out.shape)


def _one_dim(state_of: StateOf, args: Any, out: Tensor, _: int) -> State:
    """unsqueeze, squeeze, select: the others keep their atoms."""
    state, d = state_of(args[0]), args[1] if len(args) > 1 else None
    assert state is not None
    if out.ndim == len(state) + 1:
        assert isinstance(d, int)
        d = d % out.ndim
        return (*state[:d], (), *state[d:])
    if out.ndim == len(state):
        return state
    ones = {i for i, n in enumerate(args[0].shape) if n == 1}
    gone = ones if d is None else {i % len(state) for i in _list(d, 1)}
    return tuple(
        dim
        for i, dim in enumerate(state)
        if i not in gone or (args[0].shape[i] != 1 and len(state) - out.ndim != len(gone))
    )


def _mixed(dims: Callable[[Any], Iterable[int]]) -> Rule:
    def rule(state_of: StateOf, args: Any, out: Tensor, number: int) -> State:
        state = state_of(args[0])
        assert state is not None
        same = out.ndim == len(state) and out.shape == args[0].shape
        return globally(state, dims(args)) if same else plain_dims(out.shape)

    return rule


def _batch_norm(state_of: StateOf, args: Any, out: Tensor, _: int) -> State:
    state = state_of(args[0])
    assert state is not None
    if out.shape != args[0].shape:
        return plain_dims(out.shape)
    own_statistics = args[5] is True  # instance normalisation
    return globally(state, range(2, len(state))) if own_statistics else state


def product(state_of: StateOf, factors: Any, out: Tensor, tracked: int) -> State:
    """Matrix products: rows of the left factor and columns of the right one stay, others mix."""
    left, right = map(state_of, factors)
    if tracked != 1 or (left is None) == (right is None):
        return plain_dims(out.shape)
    kept = left if left is not None else right
    assert kept is not None
    plain = (Atom(None, out.shape[-1 if left is not None else -2], None),)
    return (*kept[:-1], plain) if left is not None else (*kept[:-2], plain, kept[-1])


def _norm(state_of: StateOf, args: Any, out: Tensor, number: int) -> State:
    """Vector norms: reductions whose second argument is the order of the norm."""
    return _reduced(state_of, (args[0], *args[2:]), out, number)


def _pad(state_of: StateOf, args: Any, out: Tensor, _: int) -> State:
    return padded(state_of(args[0]) or (), args[1], out)


POINTWISE = {"clone", "_to_copy", "detach", "alias", "lift_fresh", "contiguous"}
POINTWISE |= {"native_dropout", "_prelu_kernel", "hardswish"}
POINTWISE |= {"complex", "_conj", "_neg_view", "_conj_physical", "resolve_conj", "resolve_neg"}
PRODUCTS = {"mm", "addmm", "bmm", "baddbmm"}
NAMES: dict[Rule, str] = {  # operations as torch dispatches them
    _convolution: "convolution",
    _pool: "max_pool2d_with_indices max_pool3d_with_indices avg_pool1d avg_pool2d avg_pool3d "
    "max_pool2d",
    _adaptive: "_adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_max_pool2d adaptive_max_pool3d",
    _pad: "reflection_pad1d reflection_pad2d reflection_pad3d constant_pad_nd "
    "replication_pad1d replication_pad2d replication_pad3d",
    nearest(False): "upsample_nearest1d upsample_nearest2d upsample_nearest3d pixel_shuffle",
    nearest(True): "_upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d",
    interpolated(2): "upsample_linear1d upsample_bilinear2d upsample_trilinear3d",
    interpolated(4): "upsample_bicubic2d",
    interpolated(2, filtered=True): "_upsample_bilinear2d_aa",
    interpolated(4, filtered=True): "_upsample_bicubic2d_aa",
    _unshuffled: "pixel_unshuffle",
    _reduced: "mean sum amax amin max min prod logsumexp var std var_mean std_mean",
    _norm: "linalg_vector_norm norm",
    _mixed(lambda args: [args[1]]): "_softmax _log_softmax cumsum cumprod",
    _mixed(lambda args: args[1]): "flip",
    _mixed(lambda args: range(1, args[0].ndim)): "native_group_norm",
    _mixed(lambda args: range(args[0].ndim - len(args[1]), args[0].ndim)): "native_layer_norm",
    _batch_norm: "native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training",
    _viewed: "view _unsafe_view reshape _reshape_alias",
    _permuted: "permute transpose t",
    _one_dim: "unsqueeze squeeze select",
    _expanded: "expand",
    _as_pairs: "view_as_real",
    _from_pairs: "view_as_complex",
    _sliced: "slice",
    _split: "split split_with_sizes",
    _joined: "cat",
    _stacked: "stack",
    _columns: "im2col",
    _unfolded: "unfold",
    _rolled: "roll",
}
RULES = {name: rule for rule, names in NAMES.items() for name in names.split()}
