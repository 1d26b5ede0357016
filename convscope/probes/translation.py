"""How does it move with its input? The condition f(x(i+k))(j) = f(x)(j+k) in exactly that form.

Shifts of inputs are circular. On an axis of N inputs and M outputs, s is a period if
f(x(i + m·s))(j) = f(x)(j + m·s·M/N) for all m. Positions within `border` of either end may break
it (zero padding does), as long as the border is narrower than M/4.

Windows that are not padded give fewer outputs than inputs, and circular shifts of the two do not
match. There the condition is asked of the positions at which both windows lie inside the input:
f(x(i+s))(j) = f(x)(j+1) for all j but the last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from convscope.errors import UserError
from convscope.probes.laws import Counterexample, inside, shrink, sides
from convscope.probes.trials import KINDS, SCALES, Operator, Points, Shown, draw, flat_max

CONDITION = "f(x(i+k))(j) = f(x(i))(j+k)"


@dataclass(frozen=True)
class Axis:
    """One axis of an operator.

    inputs, outputs: its sizes; no outputs where the output has other axes than the input.
    period: the smallest shift by whose multiples the output moves along; None: there is none.
    shift: (s, t), an input shift of s is an output shift of t. It is set, too, where the sizes
        allow no period because windows are not padded. Then it holds at the positions at which
        both windows lie inside the input.
    border: outputs at each end that may break the condition.
    invariant: whether the output does not change at all; error: the largest relative one inside.
    """

    inputs: int
    outputs: int | None
    period: int | None
    shift: tuple[int, int] | None
    border: int
    invariant: bool
    error: float

    def row(self, number: int) -> tuple[str, str]:
        """The axis, the first of them being number 1, in the table that a probe prints."""
        sizes = f"axis {number}: {self.inputs} → {self.outputs or '·'}"
        border = f", but for {self.border} at each end" if self.border else ""
        if self.invariant:
            return sizes, "invariant"
        if self.shift is None:
            return sizes, f"period {self.period or 'none'}; no shift of the output"
        moves = f"input shift {self.shift[0]} → output shift {self.shift[1]}"
        if self.period is None:
            return sizes, f"period {self.shift[0]} where windows lie inside; {moves}{border}"
        return sizes, f"period {self.period}; {moves}{border}"


Kind = Literal[
    "equivariant", "invariant", "equivariant inside", "scaled", "periodic", "periodic inside", "not"
]


@dataclass(frozen=True, eq=False)
class Translation(Shown):
    """How an operator moves with its input, over all axes.

    equivariant: the condition holds for every shift on every axis, inside the border.
    circular: it holds up to the edge, too; invariant: the output does not change at all.
    period, border: the largest over the axes (None: an axis has no period).
    reason: why it is not equivariant; counterexamples: an input that shows it, made small.
        Equivariant means under circular shifts: see `kind` for operators that move otherwise.
    tolerance: relative; trials: inputs at each shift.
    """

    equivariant: bool
    circular: bool
    invariant: bool
    period: int | None
    border: int
    axes: tuple[Axis, ...]
    reason: str
    tolerance: float
    trials: int
    counterexamples: tuple[Counterexample, ...]

    @property
    def periods(self) -> tuple[int | None, ...]:
        """One per axis; None where an axis has none."""
        return tuple(axis.period for axis in self.axes)

    @property
    def shifts(self) -> tuple[tuple[int, int] | None, ...]:
        """(s, t) per axis: an input shift of k, a multiple of s, is an output shift of k·t/s."""
        return tuple(axis.shift for axis in self.axes)

    @property
    def inside(self) -> int | None:
        """The shift by whose multiples outputs move along where windows lie inside the input.

        It is that of windows that are not padded: 1 for a convolution, s for stride s, the largest
        over the axes. None where the condition holds around the circle, too (then there is a
        period), or not even inside.
        """
        steps = [axis.shift[0] for axis in self.axes if axis.shift is not None]
        fits = all(axis.shift is not None or axis.invariant for axis in self.axes)
        return max(steps) if self.period is None and fits and steps else None

    @property
    def kind(self) -> Kind:
        """How it moves, in a word.

        equivariant, invariant: as above.
        equivariant inside: it is where windows lie inside the input, which is not padded.
        scaled: every shift moves the output along or leaves it, but not by as many positions.
        periodic: only shifts by multiples of `period` shift the output along.
        periodic inside: the same by multiples of `inside`, where windows lie inside the input.
        not: no shift by less than the input's length does.
        """
        if self.equivariant:
            return "equivariant"
        if self.invariant:
            return "invariant"
        if self.period is not None:
            return "scaled" if self.period == 1 else "periodic"
        if self.inside is not None:
            return "equivariant inside" if self.inside == 1 else "periodic inside"
        return "not"

    def rows(self) -> list[tuple[str, ...]]:
        verdict = {
            "equivariant": "equivariant",
            "invariant": "invariant: a circular shift of the input does not change the output",
            "equivariant inside": "equivariant where windows lie inside the input, without padding",
            "scaled": "every shift moves the output along, but not by as many positions",
        }.get(self.kind, f"not equivariant: {self.reason}")
        rows = [("translation", verdict), ("invariant", "yes" if self.invariant else "no")]
        rows += [axis.row(number) for number, axis in enumerate(self.axes, 1)]
        rows.append(("tolerance", f"{self.tolerance:g}; {self.trials} inputs at each shift"))
        return rows


def measure_translation(operator: Operator, *, trials: int = 16, seed: int = 0) -> Translation:
    """Judge how an operator moves with its input, at shifts that include all divisors of each axis.

    operator: the callable, made safe to measure.
    trials: inputs at each shift, of all kinds and magnitudes; seed: of the inputs.

    Raises UserError where the callable returns no finite numbers.
    """
    generator = torch.Generator().manual_seed(seed + 1)
    x, base = _inputs(operator, trials, generator)
    assert operator.out_shape is not None
    same_rank = len(operator.out_shape) == len(operator.shape)
    axes, breaks = [], []
    for number in range(len(operator.shape) - 1):
        outputs = operator.out_shape[1 + number] if same_rank else None
        axis, broken = _axis(operator, x, base, number, outputs, generator)
        axes.append(axis)
        breaks.append(broken)
    operator.check_repeats()
    equivariant = all(axis.inputs == axis.outputs for axis in axes) and not any(breaks)
    periods = [axis.period for axis in axes]
    return Translation(
        equivariant=equivariant,
        circular=equivariant and all(axis.border == 0 for axis in axes),
        invariant=all(axis.invariant for axis in axes),
        period=None if None in periods else max(p for p in periods if p is not None),
        border=max(axis.border for axis in axes),
        axes=tuple(axes),
        reason="" if equivariant else _reason(operator, axes, breaks),
        tolerance=operator.tolerance,
        trials=len(x),
        counterexamples=()
        if equivariant
        else _counterexample(operator, x, axes, breaks, same_rank),
    )


def _inputs(operator: Operator, trials: int, generator: torch.Generator) -> tuple[Points, Tensor]:
    """Inputs of all kinds but the constant ones, and their outputs; those with finite outputs."""
    kinds = [kind for kind in KINDS if kind != "constant"]
    half = operator.precision is torch.float16
    scales = (1.0, 10.0, 0.1) if half else (1.0, 1e3, 1e-3, 10.0, 1e6, 0.1, 1e-6, 1.0, 100.0)
    assert set(scales) <= {*SCALES}
    pick = [kinds[t % len(kinds)] for t in range(trials)]
    x = draw(operator, pick, [scales[t % len(scales)] for t in range(trials)], generator)
    # a little noise everywhere: on exactly equal or zero inputs, rounding decides what a
    # discontinuous function returns
    noise = torch.randn(x.shape, generator=generator, dtype=x.dtype)
    x = x + 1e-3 * noise * flat_max(x).clamp_min(1e-9).reshape(-1, *[1] * (x.ndim - 1))
    base = operator(x)
    finite = operator.refuse_bad(base, flat_max(x))
    if not finite.any():
        raise UserError(
            f"{operator.name} returns numbers that are not finite on all {trials} inputs"
        )
    return x[finite], base[finite]


Break = tuple[int, int]  # index of the worst input, shift


def _reason(operator: Operator, axes: list[Axis], breaks: list[Break | None]) -> str:
    """Why the operator is not equivariant."""
    if all(axis.inputs == axis.outputs for axis in axes):
        shift = next(b for b in breaks if b is not None)[1]
        return f"{CONDITION} fails for a shift of {shift}"
    assert operator.out_shape is not None
    same_rank = len(operator.out_shape) == len(operator.shape)
    outs = operator.out_shape[1:] if same_rank else operator.out_shape
    return (
        "the condition compares outputs of the input's size; "
        f"{'×'.join(map(str, operator.shape[1:]))} points give "
        f"{'×'.join(map(str, outs)) or 'one number'}"
    )


def _axis(
    operator: Operator,
    x: Points,
    base: Tensor,
    number: int,
    outputs: int | None,
    generator: torch.Generator,
) -> tuple[Axis, Break | None]:
    """One axis, and where shifts by less than all break the condition (None: nowhere inside)."""
    size = operator.shape[1 + number]
    dim = number - (len(operator.shape) - 1)
    if size == 1:
        shift_map = (1, outputs) if outputs is not None else None
        return Axis(1, outputs, 1, shift_map, 0, True, 0.0), None
    divisors = [s for s in range(1, size) if size % s == 0]
    shifts = set(range(1, size))
    if size > 12:
        shifts = {*divisors, size - 1, int(torch.randint(1, size, (), generator=generator))}
    seen = _Shifts(operator, x, base, dim, size, outputs, {})
    invariance = max(0.0, *(seen.look(k) for k in sorted(shifts)))
    invariant = invariance <= operator.tolerance
    strict = next((found for s in divisors if (found := seen.period(s)) is not None), None)
    period, border, error = strict or (None, 0, torch.inf)
    shift_map = None if period is None else (period, seen.output_shift(period))
    broken = None
    if period != 1 and 1 in seen.profiles:
        k = min(k for k in seen.profiles if seen.border(k) is None)
        broken = (int(seen.profiles[k].of_inputs.argmax()), k)
    if shift_map is None and outputs is not None and not invariant and outputs >= 3:
        shift_map, inner = seen.unpadded(outputs)
        border = inner if outputs != size else 0
    if invariant:
        period, error = 1, invariance
    return Axis(size, outputs, period, shift_map, border, invariant, error), broken


class _Profile(NamedTuple):
    """The largest error at each output position, and of each input where no border excuses it."""

    of_positions: Tensor
    of_inputs: Tensor


@dataclass(frozen=True)
class _Shifts:
    """What shifts along one axis do; `profiles` are those by which outputs can move, too."""

    operator: Operator
    x: Points
    base: Tensor
    dim: int
    size: int
    outputs: int | None
    profiles: dict[int, _Profile]

    def output_shift(self, shift: int) -> int:
        return shift * (self.outputs or 0) // self.size

    def errors(self, out: Tensor, expected: Tensor) -> Tensor:
        largest = torch.maximum(flat_max(out), flat_max(self.base))
        return self.operator.error(out, expected, largest, flat_max(self.x))

    def look(self, shift: int) -> float:
        """Measure one shift; returns how far the operator is from being invariant to it."""
        out = self.operator(self.x.roll(-shift, self.dim))
        if self.outputs is not None and shift * self.outputs % self.size == 0:
            moved = self.output_shift(shift)
            error = self.errors(out, self.base.roll(-moved, self.dim))
            self.profiles[shift] = _profile(error, self.dim, moved)
        error = self.errors(out, self.base)
        return float(torch.where(error.isfinite(), error, torch.inf).max())

    def border(self, shift: int) -> int | None:
        """The width of the border outside of which the shift keeps the condition."""
        errors = self.profiles[shift].of_positions
        return _border(errors, self.output_shift(shift), self.operator.tolerance)

    def period(self, s: int) -> tuple[int, int, float] | None:
        """(s, border, largest error inside) where all multiples of s keep the condition."""
        if self.outputs is None or s * self.outputs % self.size:
            return None
        multiples = [k for k in self.profiles if k % s == 0]
        widths = [self.border(k) for k in multiples]
        if any(width is None for width in widths):
            return None
        border = max(width for width in widths if width is not None)
        kept = [
            self.profiles[k].of_positions[inside(self.outputs, self.output_shift(k), border)]
            for k in multiples
        ]
        return s, border, max(float(part.max()) for part in kept if part.numel())

    def unpadded(self, outputs: int) -> tuple[tuple[int, int] | None, int]:
        """(s, 1) with the stride s of windows that don't fill the axis, and the border.

        They are not padded, or leave a remainder. An input shift of s moves outputs by one, and
        none of them wraps around. (None, 0) where no s does.
        """
        for s in range(1, min(self.size // 2, -(-self.size // outputs) + 1) + 1):
            out = self.operator(self.x.roll(-s, self.dim))
            error = self.errors(out, self.base.roll(-1, self.dim)).movedim(self.dim, 1).flatten(2)
            kept = (error <= self.operator.tolerance).all(2).all(0)[: outputs - 1]
            for border in range(_widest(outputs) + 1):
                if bool(kept[border : outputs - 1 - border].all()):
                    return (s, 1), border
        return None, 0


def _profile(error: Tensor, dim: int, shift: int) -> _Profile:
    error = error.movedim(dim, 1).flatten(2) if error.ndim > 2 else error[..., None]
    error = torch.where(error.isfinite(), error, torch.inf)
    size = error.shape[1]
    keep = inside(size, shift, _widest(size))
    middle = error[:, keep] if keep.any() else error
    return _Profile(error.amax((0, 2)), middle.flatten(1).amax(1))


def _widest(size: int) -> int:
    """The widest border that may be left out of judgement: narrower than a quarter."""
    return (size + 3) // 4 - 1


def _border(profile: Tensor, shift: int, tolerance: float) -> int | None:
    """Width of the border that explains all failing positions; None if there is none so narrow."""
    size = len(profile)
    j = torch.arange(size)
    edge = torch.minimum(j, size - 1 - j)
    width = (torch.minimum(edge, edge[(j + shift) % size]) + 1)[~(profile <= tolerance)]
    if width.numel() == 0:
        return 0
    needed = int(width.max())
    return needed if needed <= _widest(size) and bool(inside(size, shift, needed).any()) else None


def _counterexample(
    operator: Operator, x: Points, axes: list[Axis], breaks: list[Break | None], same_rank: bool
) -> tuple[Counterexample, ...]:
    """A small input that shows the failure.

    It is against the condition where sizes agree; else a shift by one that shifts no output.
    """
    for number, (axis, broken) in enumerate(zip(axes, breaks, strict=True)):
        if broken is not None and axis.inputs == axis.outputs:
            worst, k = broken
            numbers = {
                "axis": float(number),
                "shift": float(k),
                "output_shift": float(k),
                "border": float(_widest(axis.inputs)),
            }
            return (shrink(operator, "equivariance", CONDITION, x[worst], None, numbers),)
    for number, axis in enumerate(axes):
        if same_rank and axis.period != 1 and axis.inputs > 1:
            numbers = {"axis": float(number), "shift": 1.0}
            statement = "f(x(i+1)) is f(x) shifted by some t"
            with_error = _no_shift_errors(operator, x, number)
            worst = int(with_error.argmax())
            if float(with_error[worst]) > operator.tolerance:
                return (shrink(operator, "equivariance", statement, x[worst], None, numbers),)
    return ()


def _no_shift_errors(operator: Operator, x: Points, number: int) -> Tensor:
    both = sides(operator, "equivariance", x, x, {"axis": float(number), "shift": 1.0})
    return operator.error(*both).flatten(1).amax(1)
