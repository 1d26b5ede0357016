"""The theorem: its proof, and a numerical check on a layer with a known kernel, whose response and reconstruction must agree."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from convscope.probes import probe
from convscope.probes.trials import show_shape

PROOF = [
    "Terms. (S_k x)(i) = x(i+k) is x shifted by k. δ is the unit impulse: δ(0) = 1 and δ(i) = 0 elsewhere. L is linear: L[ax + by] = a L[x] + b L[y]. "
    "The condition: L[x(i+k)](j) = L[x(i)](j+k) for all k, in short L S_k = S_k L. The impulse response is h = L[δ], and (x ∗ h)(j) = Σᵢ x(i) h(j − i).",
    "Claim. A linear L fulfils the condition for all k if and only if L[x] = x ∗ h with h = L[δ].",
    "Condition ⇒ convolution. Every x is a sum of shifted impulses weighted by its values: x = Σᵢ x(i) δᵢ with δᵢ(n) = δ(n − i), that is δᵢ = S₋ᵢ δ.",
    "By linearity L[x](j) = Σᵢ x(i) L[δᵢ](j).",
    "By the condition with k = −i: L[δᵢ](j) = L[S₋ᵢ δ](j) = L[δ](j − i) = h(j − i). So L[x](j) = Σᵢ x(i) h(j − i) = (x ∗ h)(j).",
    "Convolution ⇒ condition. x ∗ h is linear in x, because each term x(i) h(j − i) is. And (S_k x ∗ h)(j) = Σᵢ x(i+k) h(j − i) = Σₙ x(n) h(j + k − n) "
    "= (x ∗ h)(j + k), with n = i + k, which runs through all positions when i does.",
    "For x = δ: (δ ∗ h)(j) = Σᵢ δ(i) h(j − i) = h(j). The input that outputs the filter is the unit impulse δ. ∎",
    "Where it holds. On N points with circular shifts (i + k modulo N) all sums are finite and the claim is exact: the matrices that commute with the circular shift "
    "are the circulant ones. On the integers ℤ it holds for x with finitely many values that are not 0; for infinite sums linearity alone is not enough, L must also be continuous. "
    "With zero padding the condition holds away from the border, where no window reaches over an end.",
    "torch.nn.Conv2d computes y(j) = Σₙ w(n) x(j + n), a cross-correlation. With n = i − j this is Σᵢ x(i) w(−(j − i)): a convolution with h(n) = w(−n), the kernel flipped.",
]
EXACT = 1e-12  # relative, in float64: what a recovered response and a reconstruction must agree to
SIGNALS = 16


@dataclass(frozen=True)
class Check:
    """A circular convolution layer with a random kernel: what its impulse response and its reconstruction differ by, relative; None: none found."""

    kernel: tuple[int, ...]  # out × in × height × width
    kernel_error: float | None
    reconstruction_error: float | None
    taps: list[dict[str, Any]]  # of the one-dimensional example, for the chart
    signal: list[dict[str, Any]]

    @property
    def holds(self) -> bool:
        return all(
            error is not None and error <= EXACT
            for error in (self.kernel_error, self.reconstruction_error)
        )


def check_response() -> Check:
    """Impulses into a layer of known kernel: is the response the flipped kernel, and does it rebuild the layer's output on random signals?"""
    generator = torch.Generator().manual_seed(0)
    layer = nn.Conv2d(3, 4, (3, 5), padding=(1, 2), padding_mode="circular", bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(
            torch.randn(layer.weight.shape, generator=generator, dtype=torch.float64)
        )
    shape = (3, 16, 16)
    found = probe(layer, shape).convolution
    kernel_error = response_error(layer, found.impulse_response, found.first)
    rebuilt_error = None
    if found.impulse_response is not None:
        x = torch.randn(SIGNALS, *shape, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            measured = layer(x)
        rebuilt_error = float(
            (convolve(x, found.impulse_response, found.first) - measured).abs().max()
            / measured.abs().max()
        )
    return Check(tuple(layer.weight.shape), kernel_error, rebuilt_error, *line_example(generator))


def convolve(x: Tensor, h: Tensor, first: tuple[int, ...]) -> Tensor:
    """(x ∗ h)(j) = Σₙ h(n) x(j − n), circular, summed term by term; x N×C×H×W, h K×C×taps×taps with h(first) at its beginning."""
    total = torch.zeros(len(x), h.shape[0], *x.shape[2:], dtype=x.dtype)
    for a, b in itertools.product(range(h.shape[2]), range(h.shape[3])):
        total += torch.einsum(
            "kc,nchw->nkhw", h[:, :, a, b], x.roll((first[0] + a, first[1] + b), (2, 3))
        )
    return total


def line_example(generator: torch.Generator) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """One channel on a circle of 24 points: the kernel beside the response to δ, and a random signal's L[x] beside x ∗ h."""
    size, radius = 24, 2
    w = torch.randn(2 * radius + 1, generator=generator, dtype=torch.float64)

    def operator(x: Tensor) -> Tensor:
        around = nn.functional.pad(x[None, None], (radius, radius), mode="circular")
        return nn.functional.conv1d(around, w[None, None])[0, 0]

    impulse = torch.zeros(size, dtype=torch.float64)
    impulse[0] = 1.0
    h = operator(impulse)
    x = torch.randn(size, generator=generator, dtype=torch.float64)
    j = torch.arange(size)
    rebuilt = (x[None, :] * h[(j[:, None] - j[None, :]) % size]).sum(1)
    indices = range(-radius, radius + 1)
    taps = [{"n": n, "value": float(w[n + radius]), "series": "kernel w(n)"} for n in indices]
    taps += [{"n": n, "value": float(h[n]), "series": "response h(n)"} for n in indices]
    signal = [
        {"position": i, "value": v, "series": "L[x]"} for i, v in enumerate(operator(x).tolist())
    ]
    return taps, signal + [
        {"position": i, "value": v, "series": "x ∗ h"} for i, v in enumerate(rebuilt.tolist())
    ]


def flipped(layer: nn.Conv2d) -> tuple[Tensor, tuple[int, ...]]:
    """The impulse response that a layer's weights and padding say, out × in × taps in float64, and its first index on each axis."""
    weight = layer.weight.detach().to("cpu", torch.float64)
    (out, within), taps, groups = weight.shape[:2], weight.shape[2:], layer.groups
    reach = [d * (k - 1) for k, d in zip(taps, layer.dilation, strict=True)]
    wide = torch.zeros(out, within * groups, *(r + 1 for r in reach), dtype=torch.float64)
    for g in range(groups):
        rows, columns = (
            slice(g * out // groups, (g + 1) * out // groups),
            slice(g * within, (g + 1) * within),
        )
        wide[rows, columns, :: layer.dilation[0], :: layer.dilation[1]] = weight[rows]
    padding = layer.padding
    left = (
        [r // 2 if padding == "same" else 0 for r in reach] if isinstance(padding, str) else padding
    )
    return wide.flip(-2, -1), tuple(int(p) - r for p, r in zip(left, reach, strict=True))


def response_error(
    layer: nn.Conv2d, response: Tensor | None, first: tuple[int, ...]
) -> float | None:
    """Largest difference of a recovered response and the flipped kernel, relative to the largest weight; None where none was recovered."""
    if response is None:
        return None
    expected, start = flipped(layer)
    low = [min(a, b) for a, b in zip(first, start, strict=True)]
    high = [
        max(a + n, b + m)
        for a, n, b, m in zip(first, response.shape[2:], start, expected.shape[2:], strict=True)
    ]
    difference = torch.zeros(
        *expected.shape[:2], *(h - lo for lo, h in zip(low, high, strict=True)), dtype=torch.float64
    )
    for part, at, sign in ((response, first, 1.0), (expected, start, -1.0)):
        window = (
            ...,
            *(slice(a - lo, a - lo + n) for a, lo, n in zip(at, low, part.shape[2:], strict=True)),
        )
        difference[window] += sign * part
    return float(difference.abs().max()) / max(float(expected.abs().max()), 1e-300)


def check_words(check: Check) -> str:
    if check.kernel_error is None or check.reconstruction_error is None:
        return "No impulse response was recovered from a circular convolution, against the theorem."
    verdict = (
        "as the theorem says" if check.holds else f"NOT as the theorem says (more than {EXACT:g})"
    )
    return (
        f"The impulse response of a circular convolution with a random {show_shape(check.kernel)} kernel {against_kernel(check.kernel_error)}, and x ∗ h differs from L[x] by "
        f"{check.reconstruction_error:.1g} of the largest output at most on {SIGNALS} random signals: {verdict}."
    )


def against_kernel(error: float) -> str:
    return (
        f"differs from the flipped kernel by {error:.1g} of the largest weight at most"
        if error
        else "equals the flipped kernel exactly"
    )
