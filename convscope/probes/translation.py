"""How does it move with its input? The condition f(x(i+k))(j) = f(x)(j+k) in exactly that form, periods, borders and invariance.

Shifts of inputs are circular. On an axis of N inputs and M outputs, s is a period if f(x(i + m·s))(j) = f(x)(j + m·s·M/N) for all m; positions
within `border` of either end may break it (zero padding does), as long as the border is narrower than M/4.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from convscope.errors import UserError
from convscope.probes.laws import Counterexample, inside, shrink, sides
from convscope.probes.trials import KINDS, SCALES, Operator, Points, Shown, draw, flat_max

CONDITION = "f(x(i+k))(j) = f(x(i))(j+k)"


@dataclass(frozen=True)
class Axis:
    """One axis of N inputs and M outputs (None: the output has other axes than the input).

    `shift` is (s, t): shifting the input by s shifts the output by t. It is set also where the sizes don't allow a period in the strict
    sense, because windows are not padded (then it holds wherever no window wraps around).
    """

    inputs: int
    outputs: int | None
    period: int | None
    shift: tuple[int, int] | None
    border: int
    invariant: bool
    error: float


@dataclass(frozen=True, eq=False)
class Translation(Shown):
    """`equivariant`: the condition holds for every shift on every axis, inside the border; `circular`: up to the edge too."""

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
        """One an axis; None where an axis has none."""
        return tuple(axis.period for axis in self.axes)

    @property
    def shifts(self) -> tuple[tuple[int, int] | None, ...]:
        """(s, t) an axis: an input shift of s is an output shift of t. The shift map is k → k·t/s for multiples k of s."""
        return tuple(axis.shift for axis in self.axes)

    def rows(self) -> list[tuple[str, ...]]:
        rows = [
            (
                "translation",
                "equivariant" if self.equivariant else f"not equivariant: {self.reason}",
            )
        ]
        rows.append(("invariant", "yes" if self.invariant else "no"))
        for number, axis in enumerate(self.axes, 1):
            moves = (
                f"input shift {axis.shift[0]} → output shift {axis.shift[1]}"
                if axis.shift
                else "no shift of the output"
            )
            border = f", but for {axis.border} at each end" if axis.border else ""
            rows.append(
                (
                    f"axis {number}: {axis.inputs} → {axis.outputs or '·'}",
                    f"period {axis.period or 'none'}; {moves}{border}",
                )
            )
        rows.append(("tolerance", f"{self.tolerance:g}; {self.trials} inputs at each shift"))
        return rows


def translation(operator: Operator, *, trials: int = 16, seed: int = 0) -> Translation:
    """Judge on `trials` inputs of all kinds and magnitudes at shifts that include all divisors of each axis."""
    generator = torch.Generator().manual_seed(seed + 1)
    kinds = [kind for kind in KINDS if kind != "constant"]
    scales = (
        (1.0, 1e3, 1e-3, 10.0, 1e6, 0.1, 1e-6, 1.0, 100.0)
        if operator.precision is not torch.float16
        else (1.0, 10.0, 0.1)
    )
    assert set(scales) <= {*SCALES}
    pick = [kinds[t % len(kinds)] for t in range(trials)]
    x = draw(operator, pick, [scales[t % len(scales)] for t in range(trials)], generator)
    # a little noise everywhere: on exactly equal or zero inputs, rounding decides what a discontinuous function returns
    noise = torch.randn(x.shape, generator=generator, dtype=x.dtype)
    x = x + 1e-3 * noise * flat_max(x).clamp_min(1e-9).reshape(-1, *[1] * (x.ndim - 1))
    base = operator(x)
    finite = operator.refuse_bad(base, flat_max(x))
    if not finite.any():
        raise UserError(
            f"{operator.name} returns numbers that are not finite on all {trials} inputs"
        )
    x, base = x[finite], base[finite]
    spatial = len(operator.shape) - 1
    assert operator.out_shape is not None
    same_rank = len(operator.out_shape) == len(operator.shape)
    axes, breaks = [], []
    for number in range(spatial):
        outputs = operator.out_shape[1 + number] if same_rank else None
        axis, broken = _axis(operator, x, base, number, outputs, generator)
        axes.append(axis)
        breaks.append(broken)
    operator.check_repeats()
    sizes_equal = all(axis.inputs == axis.outputs for axis in axes)
    equivariant = sizes_equal and not any(breaks)
    periods = [axis.period for axis in axes]
    reason, examples = "", ()
    if not equivariant:
        if not sizes_equal:
            ins, outs = (
                operator.shape[1:],
                operator.out_shape[1:] if same_rank else operator.out_shape,
            )
            reason = f"the condition compares outputs of the input's size; {'×'.join(map(str, ins))} points give {'×'.join(map(str, outs)) or 'one number'}"
        else:
            reason = (
                f"{CONDITION} fails for a shift of {next(b for b in breaks if b is not None)[1]}"
            )
        examples = _counterexample(operator, x, axes, breaks, same_rank)
    return Translation(
        equivariant=equivariant,
        circular=equivariant and all(axis.border == 0 for axis in axes),
        invariant=all(axis.invariant for axis in axes),
        period=None if None in periods else max(p for p in periods if p is not None),
        border=max(axis.border for axis in axes),
        axes=tuple(axes),
        reason=reason,
        tolerance=operator.tolerance,
        trials=len(x),
        counterexamples=examples,
    )


Break = tuple[int, int]  # index of the worst input, shift


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
        return Axis(
            1, outputs, 1, (1, outputs) if outputs is not None else None, 0, True, 0.0
        ), None
    divisors = [s for s in range(1, size) if size % s == 0]
    shifts = set(range(1, size))
    if size > 12:
        shifts = {*divisors, size - 1, int(torch.randint(1, size, (), generator=generator))}
    profiles: dict[
        int, tuple[Tensor, Tensor]
    ] = {}  # shift -> error of each output position; of each input, in the middle half
    invariance, moved = 0.0, {}
    extent = flat_max(x)
    for k in sorted(shifts):
        out = operator(x.roll(-k, dim))
        moved[k] = out
        largest = torch.maximum(flat_max(out), flat_max(base))
        error = operator.error(out, base, largest, extent)
        invariance = max(invariance, float(torch.where(error.isfinite(), error, torch.inf).max()))
        if outputs is not None and k * outputs % size == 0:
            shift = k * outputs // size
            profiles[k] = _profile(
                operator.error(out, base.roll(-shift, dim), largest, extent), dim, shift
            )
    invariant = invariance <= operator.tolerance
    border = 0
    period = shift_map = None
    error = torch.inf
    for s in divisors:
        if outputs is None or s * outputs % size:
            continue
        multiples = [k for k in profiles if k % s == 0]
        widths = [
            _border(profiles[k][0], k * outputs // size, operator.tolerance) for k in multiples
        ]
        if all(width is not None for width in widths):
            border = max(width for width in widths if width is not None)
            period, shift_map = s, (s, s * outputs // size)
            kept = [profiles[k][0][inside(outputs, k * outputs // size, border)] for k in multiples]
            error = max(float(part.max()) for part in kept if part.numel())
            break
    broken = None
    if period != 1 and 1 in profiles:
        k = max(
            (
                k
                for k in profiles
                if _border(profiles[k][0], k * (outputs or 0) // size, operator.tolerance) is None
            ),
            key=_near_one,
        )
        broken = (int(profiles[k][1].argmax()), k)
    if shift_map is None and outputs is not None and not invariant and outputs >= 3:
        shift_map = _unpadded(operator, base, moved, x, dim, size, outputs)
    if invariant:
        period = 1
    return Axis(
        size, outputs, period, shift_map, border, invariant, invariance if invariant else error
    ), broken


def _near_one(k: int) -> int:
    return -k


def _profile(error: Tensor, dim: int, shift: int) -> tuple[Tensor, Tensor]:
    """The largest error at each output position, and of each input where no border can excuse it."""
    error = error.movedim(dim, 1).flatten(2) if error.ndim > 2 else error[..., None]
    error = torch.where(error.isfinite(), error, torch.inf)
    size = error.shape[1]
    keep = inside(size, shift, _widest(size))
    middle = error[:, keep] if keep.any() else error
    return error.amax((0, 2)), middle.flatten(1).amax(1)


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


def _unpadded(
    operator: Operator,
    base: Tensor,
    moved: dict[int, Tensor],
    x: Points,
    dim: int,
    size: int,
    outputs: int,
) -> tuple[int, int] | None:
    """The stride of windows that don't fill the axis (no padding, or a remainder): an input shift of s moves outputs by one, none wrapping."""
    border = _widest(outputs)
    for s in range(1, min(size // 2, -(-size // outputs) + 1) + 1):
        out = moved[s] if s in moved else operator(x.roll(-s, dim))
        keep = slice(border, outputs - 1 - border)
        largest = torch.maximum(flat_max(out), flat_max(base))
        before, after = out.movedim(dim, 1)[:, keep], base.roll(-1, dim).movedim(dim, 1)[:, keep]
        if bool((operator.error(before, after, largest, flat_max(x)) <= operator.tolerance).all()):
            return s, 1
    return None


def _counterexample(
    operator: Operator, x: Points, axes: list[Axis], breaks: list[Break | None], same_rank: bool
) -> tuple[Counterexample, ...]:
    """A small input that shows the failure: against the condition where sizes agree, else a shift by one that is no shift of the output."""
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
    left, right, largest, size = sides(
        operator, "equivariance", x, x, {"axis": float(number), "shift": 1.0}
    )
    return operator.error(left, right, largest, size).flatten(1).amax(1)
