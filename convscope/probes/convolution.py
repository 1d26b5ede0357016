"""Is it a convolution, and with which impulse response? L[x](j) = Σ x(i) h(j − i).

The response is recovered from unit impulses and checked on random signals. A linear operator with a
shift map (s, t) per axis (inputs shifted by s shift outputs by t) is determined by one impulse for
each phase p = 0 … s−1: L[x](j) = Σₚ Σₘ x(m·s + p) gₚ(j − m·t).

For t = 1 the phases interleave into one kernel, L[x](j) = Σᵢ x(i) h(s·j − i), a strided
convolution; for s = 1 it is a transposed one; for s = t = 1 a convolution. torch's Conv2d computes
a cross-correlation: h is its kernel flipped.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from convscope.probes.trials import Operator, Shown, show_shape

MAX_NUMBERS = 1 << 26  # in all responses together
SIGNALS = 8


@dataclass(frozen=True, eq=False)
class Convolution(Shown):
    """The impulse response h with its first index, or the reason why there is none.

    kind: "convolution", "strided convolution", "transposed convolution", or None; then `reason`.
    impulse_response: h, out × in × kernel, of a linear operator. h[…, n] is h(first + n) on each
        axis, in units of inputs (of outputs for a transposed convolution). It is what was measured,
        from the first index where a channel is not 0 to the last: no zeros are added, so that index
        0 need not be in the middle. On a circle it is the shortest such range.
    linear_part: the h of f − f(0), which an affine operator has, too; bias: f(0), per channel where
        it is the same everywhere, or None.
    phases: phases × out × in × response; strides: (s, t) per axis.
    error: max |x ∗ h − L[x]| / max |L[x]| over `signals` random signals, inside the border.
    """

    kind: str | None
    reason: str
    impulse_response: Tensor | None
    linear_part: Tensor | None
    bias: Tensor | None
    phases: Tensor | None
    first: tuple[int, ...]
    strides: tuple[tuple[int, int], ...]
    error: float | None
    signals: int

    def rows(self) -> list[tuple[str, ...]]:
        rows = [("convolution", self.kind or f"no: {self.reason}")]
        if self.linear_part is not None:
            of = "impulse response" + (" of f − f(0)" if self.impulse_response is None else "")
            shape, starts = show_shape(self.linear_part.shape), ", ".join(map(str, self.first))
            rows.append((of, f"{shape} (out × in × kernel), first index {starts}"))
        if self.phases is not None and self.linear_part is None:
            shape = show_shape(self.phases.shape)
            rows.append(("phases", f"{shape} (phases × out × in × response)"))
        if self.error is not None:
            signals = f"{self.error:.3g} on {self.signals} random signals"
            rows.append(("reconstruction error", signals))
        return rows


def convolution(
    operator: Operator,
    verdict: str,
    shifts: tuple[tuple[int, int] | None, ...],
    borders: tuple[int, ...],
    invariant: bool,
    seed: int = 0,
) -> Convolution:
    """Recover the impulse response of an operator whose linearity and shift maps are known.

    verdict: "linear", "affine" or "nonlinear".
    shifts: (s, t) per axis, an input shift of s is an output shift of t; None: there is none.
    borders: outputs per axis and end that are left out of the check.
    invariant: whether shifts don't change the output at all; seed: of the random signals.
    """
    reason = _obstacle(operator, verdict, shifts, invariant)
    if reason:
        return _none(reason)
    maps = tuple(shift for shift in shifts if shift is not None)
    assert operator.out_shape is not None
    outs = operator.out_shape[1:]
    numbers = math.prod(s for s, _ in maps) * operator.shape[0] * math.prod(operator.out_shape)
    if numbers > MAX_NUMBERS:
        return _none("its impulse responses are too large to keep", maps)
    zero = operator(operator.zeros())[0]
    grid = _Grid(maps, operator.shape[1:], outs)
    responses = _responses(operator, zero, maps, grid.centres)
    check = _Check(operator, zero, grid, borders, seed)
    error = check.error(responses)
    if error > check.allowed and grid.circular and any(borders):
        # responses reach all around, and impulses in the middle don't show their ends
        responses = _patched(operator, zero, responses, maps, grid.centres, borders)
        error = check.error(responses)
    if error > check.allowed:
        does_not = "its response to an impulse does not give its outputs"
        return _none(f"{does_not}: relative error {error:.3g}", maps)
    kernel, first = _kernel(responses, maps, grid.centres, outs, grid.circular, grid.wraps)
    found = partial(Convolution, phases=responses, strides=maps, error=error, signals=SIGNALS)
    bias = _bias(zero, operator.tolerance)
    if kernel is None:
        reason = (
            "it is periodic, with a response of its own for each of "
            f"{len(responses)} phases: several convolutions"
        )
        return found(None, reason, impulse_response=None, linear_part=None, bias=bias, first=())
    if verdict == "affine":
        reason = "it is affine: f(0) is not 0"
        return found(
            None, reason, impulse_response=None, linear_part=kernel, bias=bias, first=first
        )
    kind = _kind(maps)
    return found(kind, "", impulse_response=kernel, linear_part=kernel, bias=None, first=first)


def _none(reason: str, strides: tuple[tuple[int, int], ...] = ()) -> Convolution:
    return Convolution(None, reason, None, None, None, None, (), strides, None, 0)


def _obstacle(
    operator: Operator, verdict: str, shifts: tuple[tuple[int, int] | None, ...], invariant: bool
) -> str:
    """Why an operator is no convolution, as far as that is known without its responses; or ""."""
    if verdict == "nonlinear":
        return "it is not linear, and every convolution is"
    if operator.coupled:
        return "it mixes the samples of a batch"
    if invariant and any(shift is None for shift in shifts):
        return "it is invariant: an impulse gives the same output wherever it is"
    if any(shift is None for shift in shifts):
        return (
            "it is not translation-equivariant: "
            "impulses at different places give different responses"
        )
    return ""


def _kind(maps: tuple[tuple[int, int], ...]) -> str:
    if all(m == (1, 1) for m in maps):
        return "convolution"
    strided = all(t == 1 for _, t in maps)
    return "strided convolution" if strided else "transposed convolution"


def _bias(zero: Tensor, tolerance: float) -> Tensor:
    """f(0), as one number per channel where it is the same everywhere."""
    space = tuple(range(1, zero.ndim))
    spread = (zero.amax(space) - zero.amin(space)).abs().max()
    return zero.mean(space) if bool(spread <= tolerance * zero.abs().max()) else zero


class _Grid:
    """Where impulses stand, and whether circular shifts of the outputs mean something."""

    def __init__(
        self, maps: tuple[tuple[int, int], ...], sizes: tuple[int, ...], outs: tuple[int, ...]
    ) -> None:
        self.maps, self.outs = maps, outs
        # blocks m₀ in which the impulses stand
        self.centres = tuple((n // 2) // s for (s, _), n in zip(maps, sizes, strict=True))
        # the strict kind, per axis: inputs and outputs go around the circle together
        self.wraps = [s * m == t * n for (s, t), n, m in zip(maps, sizes, outs, strict=True)]
        self.circular = all(self.wraps)


class _Check:
    """Random signals through the operator, to be rebuilt from its responses."""

    def __init__(
        self, operator: Operator, zero: Tensor, grid: _Grid, borders: tuple[int, ...], seed: int
    ) -> None:
        generator = torch.Generator().manual_seed(seed + 2)
        shape = (SIGNALS, *operator.shape)
        self.signals = torch.randn(shape, generator=generator, dtype=torch.float64)
        self.measured, self.grid = operator(self.signals) - zero, grid
        self.largest = float(self.measured.abs().max())
        size = operator.floor * float(self.signals.abs().max()) / max(self.largest, 1e-300)
        self.allowed = operator.tolerance * (1 + size)
        self.inside = (..., *(slice(b, m - b) for b, m in zip(borders, grid.outs, strict=True)))

    def error(self, responses: Tensor) -> float:
        """max |x ∗ h − L[x]| / max |L[x]| inside the border."""
        grid = self.grid
        rebuilt = _rebuild(
            self.signals, responses, grid.maps, grid.centres, grid.outs, grid.circular
        )
        difference = float((rebuilt - self.measured)[self.inside].abs().max())
        return difference / self.largest if self.largest > 0 else difference


def _responses(
    operator: Operator, zero: Tensor, maps: tuple[tuple[int, int], ...], centres: tuple[int, ...]
) -> Tensor:
    """phases × out × in × outputs: responses to impulses at m₀·s + p, minus f(0)."""
    impulses = []
    for phase in itertools.product(*(range(s) for s, _ in maps)):
        for channel in range(operator.shape[0]):
            x = operator.zeros()[0]
            x[
                (channel, *(m * s + p for m, (s, _), p in zip(centres, maps, phase, strict=True)))
            ] = 1.0
            impulses.append(x)
    found = operator(torch.stack(impulses)) - zero
    return found.reshape(-1, operator.shape[0], *found.shape[1:]).transpose(1, 2).contiguous()


def _patched(
    operator: Operator,
    zero: Tensor,
    responses: Tensor,
    maps: tuple[tuple[int, int], ...],
    centres: tuple[int, ...],
    borders: tuple[int, ...],
) -> Tensor:
    """Circular responses, what falls on the border taken from impulses half the circle away."""
    axes, sizes = len(maps), operator.shape[1:]
    half = [(n // 2) // s for (s, _), n in zip(maps, sizes, strict=True)]
    patched = responses.clone()
    for away in itertools.product((False, True), repeat=axes):
        if not any(away):
            continue
        moved = [h if far else 0 for h, far in zip(half, away, strict=True)]
        there = tuple(
            (m + d) % (n // s) for m, d, n, (s, _) in zip(centres, moved, sizes, maps, strict=True)
        )
        aligned = _responses(operator, zero, maps, there).roll(
            [-d * t for d, (_, t) in zip(moved, maps, strict=True)], tuple(range(-axes, 0))
        )
        mask = torch.ones(responses.shape[-axes:], dtype=torch.bool)
        for axis, (far, border) in enumerate(zip(away, borders, strict=True)):
            j = torch.arange(mask.shape[axis])
            edge = (j < border) | (j >= mask.shape[axis] - border)
            mask &= (edge if far else ~edge).reshape([-1 if a == axis else 1 for a in range(axes)])
        patched = torch.where(mask, aligned, patched)
    return patched


def _rebuild(
    x: Tensor,
    responses: Tensor,
    maps: tuple[tuple[int, int], ...],
    centres: tuple[int, ...],
    outs: tuple[int, ...],
    circular: bool,
) -> Tensor:
    """Σₚ Σₘ x(m·s + p) gₚ(j − m·t) by FFT; circular on the outputs' grid, or padded by zeros."""
    dims = tuple(range(-len(maps), 0))
    blocks = [-(-n // s) for (s, _), n in zip(maps, x.shape[2:], strict=True)]
    grid = [
        m if circular else 2 * (m + b * t) for m, b, (_, t) in zip(outs, blocks, maps, strict=True)
    ]
    total = torch.zeros(len(x), responses.shape[1], *grid, dtype=torch.complex128)
    lead = [-m0 * t for m0, (_, t) in zip(centres, maps, strict=True)]
    for phase, response in zip(
        itertools.product(*(range(s) for s, _ in maps)), responses, strict=True
    ):
        part = x[(..., *(slice(p, None, s) for p, (s, _) in zip(phase, maps, strict=True)))]
        spread = torch.zeros(*x.shape[:2], *grid, dtype=x.dtype)
        spread[
            (..., *(slice(0, n * t, t) for n, (_, t) in zip(part.shape[2:], maps, strict=True)))
        ] = part
        wide = torch.zeros(*response.shape[:2], *grid, dtype=x.dtype)
        wide[(..., *(slice(0, m) for m in outs))] = response
        total += torch.einsum(
            "ni...,oi...->no...",
            torch.fft.fftn(spread, dim=dims),
            torch.fft.fftn(wide.roll(lead, dims), dim=dims),
        )
    rebuilt = torch.fft.ifftn(total, dim=dims).real
    return rebuilt[(..., *(slice(0, m) for m in outs))]


def _kernel(
    responses: Tensor,
    maps: tuple[tuple[int, int], ...],
    centres: tuple[int, ...],
    outs: tuple[int, ...],
    circular: bool,
    wraps: list[bool],
) -> tuple[Tensor | None, tuple[int, ...]]:
    """The phases as one kernel out × in × …, and its first index per axis.

    It is cut to the indices where it is not zero; (None, ()) where phases don't interleave.
    """
    if any(s > 1 and t > 1 for s, t in maps):
        return None, ()
    kernel = responses.reshape(*(s for s, _ in maps), *responses.shape[1:])
    first = []
    for axis, ((s, t), m0, m) in enumerate(zip(maps, centres, outs, strict=True)):
        # phases of this axis come first; those of the axes before are merged already
        # gₚ(d), d = j − m₀·t, is h(s·d − p)
        index = torch.arange(m) - m0 * t
        if circular and wraps[axis]:
            index = (index + m // 2) % m - m // 2
        rest = kernel.ndim - len(outs) + axis  # of outputs: phases of later axes stand before it
        taps = torch.cat([s * index - p for p in range(s)])
        merged = torch.cat(list(kernel.unbind(0)), dim=rest - 1)
        if circular and wraps[axis] and s > 1:
            taps = (taps + s * m // 2) % (s * m) - s * m // 2
        order = taps.argsort()
        kernel, taps = merged.index_select(rest - 1, order), taps[order]
        first.append(int(taps[0]))
    return _cut(kernel, first, [circular and wrap for wrap in wraps])


def _cut(kernel: Tensor, first: list[int], wraps: list[bool]) -> tuple[Tensor, tuple[int, ...]]:
    """A kernel without the zeros at its ends; on an axis that wraps around, on its shortest arc."""
    small = 1e-12 * float(kernel.abs().max())
    for axis, whole in enumerate(wraps):
        dim = 2 + axis
        others = [d for d in range(kernel.ndim) if d != dim]
        used = (kernel.abs().amax(others) > small).nonzero().flatten()
        if len(used) == 0:
            used = torch.tensor([-first[axis]])
        size = kernel.shape[dim]
        low, count = int(used[0]), int(used[-1] - used[0]) + 1
        if whole:
            # what is left of the circle when the longest run of zeros is cut out
            gaps = used.roll(-1) - used
            gaps[-1] += size
            last = int(gaps.argmax())
            if size - int(gaps[last]) + 1 < count:
                low, count = int(used[(last + 1) % len(used)]), size - int(gaps[last]) + 1
        kernel = kernel.index_select(dim, (low + torch.arange(count)) % size)
        first[axis] += low
        if whole and 2 * first[axis] + count > size:  # its middle as near to index 0 as it can be
            first[axis] -= size
    return kernel.contiguous(), tuple(first)
