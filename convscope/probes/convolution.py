"""Is it a convolution, and with which impulse response? L[x](j) = Σ x(i) h(j − i), recovered from unit impulses and checked on random signals.

A linear operator with a shift map (s, t) an axis (inputs shifted by s shift outputs by t) is determined by one impulse a phase p = 0 … s−1:
L[x](j) = Σₚ Σₘ x(m·s + p) gₚ(j − m·t). For t = 1 the phases interleave into one kernel, L[x](j) = Σᵢ x(i) h(s·j − i), a strided convolution;
for s = 1 it is a transposed one; for s = t = 1 a convolution. torch's Conv2d computes a cross-correlation: h is its kernel flipped.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from convscope.probes.trials import Operator, Shown, show_shape

MAX_NUMBERS = 1 << 26  # in all responses together
SIGNALS = 8


@dataclass(frozen=True, eq=False)
class Convolution(Shown):
    """The impulse response h (out × in × kernel) with its first index, or the reason why there is none.

    h[…, n] is h(first + n) on each axis, in units of inputs (of outputs for a transposed convolution). With padded or circular operators
    the kernel is centred: index 0 is in the middle. `linear_part` is the h of f − f(0), which an affine operator has, too.
    `error` is max |x∗h − L[x]| / max |L[x]| over random signals inside the border, not of the phases' noise but of the kernel that is shown.
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
            of = (
                "impulse response"
                if self.impulse_response is not None
                else "impulse response of f − f(0)"
            )
            starts = ", ".join(map(str, self.first))
            rows.append(
                (
                    of,
                    f"{show_shape(self.linear_part.shape)} (out × in × kernel), first index {starts}",
                )
            )
        if self.phases is not None and self.linear_part is None:
            rows.append(
                ("phases", f"{show_shape(self.phases.shape)} (phases × out × in × response)")
            )
        if self.error is not None:
            rows.append(
                ("reconstruction error", f"{self.error:.3g} on {self.signals} random signals")
            )
        return rows


def convolution(
    operator: Operator,
    verdict: str,
    shifts: tuple[tuple[int, int] | None, ...],
    borders: tuple[int, ...],
    invariant: bool,
    seed: int = 0,
) -> Convolution:
    """Recover the impulse response of an operator whose linearity (`verdict`) and shift maps are known."""

    def no(reason: str, strides: tuple[tuple[int, int], ...] = ()) -> Convolution:
        return Convolution(None, reason, None, None, None, None, (), strides, None, 0)

    if verdict == "nonlinear":
        return no("it is not linear, and every convolution is")
    if operator.coupled:
        return no("it mixes the samples of a batch")
    if invariant and any(shift is None for shift in shifts):
        return no("it is invariant: an impulse gives the same output wherever it is")
    if any(shift is None for shift in shifts):
        return no(
            "it is not translation-equivariant: impulses at different places give different responses"
        )
    maps = tuple(shift for shift in shifts if shift is not None)
    assert operator.out_shape is not None
    sizes, outs = operator.shape[1:], operator.out_shape[1:]
    channels = operator.shape[0]
    if math.prod(s for s, _ in maps) * channels * math.prod(operator.out_shape) > MAX_NUMBERS:
        return no("its impulse responses are too large to keep", maps)
    zero = operator(operator.zeros())[0]
    wraps = [
        s * m == t * n for (s, t), n, m in zip(maps, sizes, outs, strict=True)
    ]  # the strict kind, where circular shifts of outputs mean something
    circular = all(wraps)
    centres = tuple(
        (n // 2) // s for (s, _), n in zip(maps, sizes, strict=True)
    )  # blocks m₀ in which the impulses stand
    responses = _responses(operator, zero, maps, centres)
    signals = torch.randn(
        SIGNALS,
        *operator.shape,
        generator=torch.Generator().manual_seed(seed + 2),
        dtype=torch.float64,
    )
    measured = operator(signals) - zero
    largest = float(measured.abs().max())
    allowed = operator.tolerance * (
        1 + operator.floor * float(signals.abs().max()) / max(largest, 1e-300)
    )
    keep = (..., *(slice(b, m - b) for b, m in zip(borders, outs, strict=True)))

    def error_of(responses: Tensor) -> float:
        difference = float(
            (_rebuild(signals, responses, maps, centres, outs, circular) - measured)[keep]
            .abs()
            .max()
        )
        return difference / largest if largest > 0 else difference

    error = error_of(responses)
    if (
        error > allowed and circular and any(borders)
    ):  # responses reach all around, and impulses in the middle don't show their ends
        responses = _patched(operator, zero, responses, maps, centres, borders)
        error = error_of(responses)
    if error > allowed:
        return no(
            f"its response to an impulse does not give its outputs: relative error {error:.3g}",
            maps,
        )
    kernel, first = _kernel(responses, maps, centres, outs, circular, wraps)
    spread = tuple(range(1, zero.ndim))
    bias = (
        zero.mean(spread)
        if bool(
            (zero.amax(spread) - zero.amin(spread)).abs().max()
            <= operator.tolerance * zero.abs().max()
        )
        else zero
    )
    if kernel is None:
        reason = f"it is periodic, with a response of its own for each of {len(responses)} phases: several convolutions"
        return Convolution(None, reason, None, None, bias, responses, (), maps, error, SIGNALS)
    kind = (
        "convolution"
        if all(m == (1, 1) for m in maps)
        else "strided convolution"
        if all(t == 1 for _, t in maps)
        else "transposed convolution"
    )
    if verdict == "affine":
        return Convolution(
            None,
            "it is affine: f(0) is not 0",
            None,
            kernel,
            bias,
            responses,
            first,
            maps,
            error,
            SIGNALS,
        )
    return Convolution(kind, "", kernel, kernel, None, responses, first, maps, error, SIGNALS)


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
    """Σₚ Σₘ x(m·s + p) gₚ(j − m·t) by FFT; circular on the outputs' grid, else with zeros around."""
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
    """The phases as one kernel out × in × …, cut to the indices where it is not zero, and its first index an axis."""
    if any(s > 1 and t > 1 for s, t in maps):
        return None, ()
    kernel = responses.reshape(*(s for s, _ in maps), *responses.shape[1:])
    first = []
    for axis, ((s, t), m0, m) in enumerate(zip(maps, centres, outs, strict=True)):
        # phases of this axis come first; those of the axes before are merged already. gₚ(d), d = j − m₀·t, is h(s·d − p)
        index = torch.arange(m) - m0 * t
        if circular and wraps[axis]:
            index = (index + m // 2) % m - m // 2
        rest = (
            kernel.ndim - len(outs) + axis
        )  # the axis of outputs: phases of later axes stand before it
        taps = torch.cat([s * index - p for p in range(s)])
        merged = torch.cat(list(kernel.unbind(0)), dim=rest - 1)
        if circular and wraps[axis] and s > 1:
            taps = (taps + s * m // 2) % (s * m) - s * m // 2
        order = taps.argsort()
        kernel, taps = merged.index_select(rest - 1, order), taps[order]
        first.append(int(taps[0]))
    small = 1e-12 * float(kernel.abs().max())
    for axis, whole in enumerate(wraps):
        dim = 2 + axis
        others = [d for d in range(kernel.ndim) if d != dim]
        used = (kernel.abs().amax(others) > small).nonzero().flatten() + first[axis]
        if len(used) == 0:
            used = torch.tensor([0])
        low, high = int(used.min()), int(used.max())
        last = first[axis] + kernel.shape[dim] - 1
        if whole:
            radius = max(-low, high)
            low, high = max(-radius, first[axis]), min(radius, last)
        kernel = kernel.narrow(dim, low - first[axis], high - low + 1)
        first[axis] = low
    return kernel.contiguous(), tuple(first)
