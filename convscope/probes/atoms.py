"""Intervals of input positions, carried through a tensor's dimensions.

What windows, views, joins and upsampling do to them. A tensor's dimension is a product of atoms in
row-major order, as in a view: flattening H × W gives a dimension of the atoms (H, W), unflattening
gives them back. An atom of an input axis carries an InputInterval. Where its positions depend on
everything along that axis it carries None, and so does an axis without atom.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction


@dataclass(frozen=True)
class InputInterval:
    """Position j depends on the inputs start + j·jump … start + j·jump + size − 1.

    Fractions after upsampling, where this is an upper bound: `slack` is how many inputs a
    position's field may lack at each end.
    """

    size: Fraction
    jump: Fraction
    start: Fraction
    slack: Fraction = Fraction(0)


@dataclass(frozen=True)
class Atom:
    """A factor of a tensor's dimension."""

    axis: int | None  # of the input's spatial axes
    length: int
    interval: InputInterval | None


Dim = tuple[Atom, ...]
State = tuple[Dim, ...]  # of a tensor, a Dim for each dimension


def window(dim: Dim, size: int, stride: int, pad: int, dilation: int, length: int) -> Dim:
    """A window of `size` taps moved along a dimension, which gives `length` positions."""
    dim = settle(dim)
    if len(dim) != 1:
        return (Atom(None, length, None),)
    (atom,), f = dim, dim[0].interval
    if f is not None:
        f = InputInterval(
            f.size + (size - 1) * dilation * f.jump,
            f.jump * stride,
            f.start - pad * f.jump,
            f.slack,
        )
    return (Atom(atom.axis, length, f),)


def spread(
    dim: Dim, ratio: Fraction, reach: Fraction, start: Fraction, length: int, slack: int = 1
) -> Dim:
    """Upsampling: position j depends on j/ratio + start … j/ratio + start + reach of `dim`.

    slack: how many positions at each end may be lacking for some j.
    """
    dim = settle(dim)
    if len(dim) != 1:
        return (Atom(None, length, None),)
    f = dim[0].interval
    if f is not None:
        f = InputInterval(
            f.size + reach * f.jump,
            f.jump / ratio,
            f.start + start * f.jump,
            f.slack + slack * f.jump,
        )
    return (Atom(dim[0].axis, length, f),)


def settle(dim: Dim) -> Dim:
    """An axis followed by plain atoms, as in a pixel shuffle of views, is the axis repeated."""
    if len(dim) > 1 and dim[0].axis is not None and all(a.axis is None for a in dim[1:]):
        r = math.prod(a.length for a in dim[1:])
        return spread(
            dim[:1], Fraction(r), Fraction(r - 1, r), -Fraction(r - 1, r), dim[0].length * r
        )
    return dim


def intervals_of(state: State, axes: int) -> list[InputInterval | None]:
    """The interval of each input axis; None: everything along it."""
    found: list[InputInterval | None] = [None] * axes
    for dim in map(settle, state):
        if len(dim) == 1 and dim[0].axis is not None:
            found[dim[0].axis] = dim[0].interval
    return found


def places_of(state: State, axes: int) -> tuple[int, ...]:
    """The dimension of the tensor that each input axis is; () unless each is one by itself."""
    found = {settle(dim)[0].axis: d for d, dim in enumerate(state) if len(settle(dim)) == 1 and dim}
    return tuple(found[i] for i in range(axes)) if set(range(axes)) <= found.keys() else ()


def plain_dims(shape: Iterable[int]) -> State:
    return tuple((Atom(None, n, None),) for n in shape)


def globally(state: State, dims: Iterable[int]) -> State:
    """The same tensor, its positions along these dimensions depending on all of them."""
    mixed = {d % len(state) for d in dims}
    return tuple(
        tuple(replace(a, interval=None) for a in dim) if d in mixed else dim
        for d, dim in enumerate(state)
    )


def union(states: Sequence[State], shape: Sequence[int]) -> State:
    """Element by element, with broadcasting: the hull of the operands' intervals."""
    padded = [((),) * (len(shape) - len(s)) + s for s in states]
    axes = [{a.axis for dim in s for a in dim if a.axis is not None} for s in states]
    # an axis that one operand does not have is global, as one that is broadcast or regrouped
    whole = set().union(*axes) - set.intersection(*axes)
    out: list[Dim] = []
    for d, length in enumerate(shape):
        dims = [s[d] for s in padded if math.prod(a.length for a in s[d]) == length and s[d]]
        narrow = [s[d] for s in padded if s[d] and s[d] not in dims]
        whole |= {a.axis for dim in narrow for a in dim if a.axis is not None}
        if dims:
            dim, mixed = merged(dims)
            whole |= mixed
        else:
            dim = (Atom(None, length, None),) if length != 1 else ()
        out.append(dim)
    return tuple(
        tuple(replace(a, interval=None) if a.axis in whole else a for a in dim) for dim in out
    )


def merged(dims: Sequence[Dim]) -> tuple[Dim, set[int]]:
    """One dimension of all operands, and the axes on which their atoms are not the same."""
    best = max(dims, key=lambda dim: sum(a.axis is not None for a in dim))
    mixed: set[int] = set()
    for other in dims:
        if [(a.axis, a.length) for a in other] == [(a.axis, a.length) for a in best]:
            pairs = zip(best, other, strict=True)
            best = tuple(replace(a, interval=hull(a.interval, b.interval)) for a, b in pairs)
        else:
            mixed |= {a.axis for a in (*best, *other) if a.axis is not None}
    return best, mixed


def hull(a: InputInterval | None, b: InputInterval | None) -> InputInterval | None:
    if a is None or b is None or a.jump != b.jump:
        return None
    start, end = min(a.start, b.start), max(a.start + a.size, b.start + b.size)
    return InputInterval(end - start, a.jump, start, max(a.slack, b.slack))


def viewed(state: State, shape: Sequence[int]) -> State:
    """Regroup atoms to another shape of as many numbers; what cannot be followed is global."""
    if len(state) == len(shape) and all(
        math.prod(a.length for a in dim) == n for dim, n in zip(state, shape, strict=True)
    ):
        return state
    rest = [a for dim in state for a in dim if a.length != 1]
    out: list[Dim] = []
    for length in shape:
        dim: list[Atom] = []
        need = length
        while need > 1:
            if not rest:
                return plain_dims(shape)
            atom = rest.pop(0)
            if atom.length > need:
                if atom.length % need:
                    return plain_dims(shape)
                inner = atom.length // need
                rest.insert(0, Atom(None, inner, None))
                (atom,) = window((atom,), inner, inner, 0, 1, need)
            elif need % atom.length:
                return plain_dims(shape)
            dim.append(atom)
            need //= atom.length
        out.append(tuple(dim))
    return tuple(out)
