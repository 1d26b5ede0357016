"""The theorem in numbers: a layer with a known kernel, its impulse response and reconstruction."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from convscope.probes import probe

EXACT = 1e-12  # relative, in float64: a recovered response and a reconstruction agree to so much
SIGNALS = 16


@dataclass(frozen=True)
class Check:
    """A circular convolution layer with a random kernel, against its recovered impulse response.

    Errors are relative; None where no response was found.
    """

    kernel: tuple[int, ...]  # out × in × height × width
    kernel_error: float | None
    reconstruction_error: float | None
    taps: list[dict[str, Any]]  # of the one-dimensional example, for the chart
    signal: list[dict[str, Any]]
    signals: int = SIGNALS
    tolerance: float = EXACT

    @property
    def holds(self) -> bool:
        return all(
            error is not None and error <= EXACT
            for error in (self.kernel_error, self.reconstruction_error)
        )


def check_response() -> Check:
    """Is a layer's response the flipped kernel, and does it rebuild the layer's output?"""
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
        rebuilt = circular_convolution(x, found.impulse_response, found.first)
        rebuilt_error = float((rebuilt - measured).abs().max() / measured.abs().max())
    return Check(tuple(layer.weight.shape), kernel_error, rebuilt_error, *line_example(generator))


def circular_convolution(x: Tensor, h: Tensor, first: tuple[int, ...]) -> Tensor:
    """(x ∗ h)(j) = Σₙ h(n) x(j − n), circular, summed term by term.

    x: N × C × H × W; h: K × C × taps × taps, with h(first) at its beginning.
    """
    total = torch.zeros(len(x), h.shape[0], *x.shape[2:], dtype=x.dtype)
    for a, b in itertools.product(range(h.shape[2]), range(h.shape[3])):
        total += torch.einsum(
            "kc,nchw->nkhw", h[:, :, a, b], x.roll((first[0] + a, first[1] + b), (2, 3))
        )
    return total


def line_example(generator: torch.Generator) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of the chart on a circle of 24 points, in one channel: (taps, signal).

    The kernel beside the response to δ, and a random signal's L[x] beside x ∗ h.
    """
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
        {"position": i, "value": value, "series": series}
        for series, values in (("L[x]", operator(x)), ("x ∗ h", rebuilt))
        for i, value in enumerate(values.tolist())
    ]
    return taps, signal


def flipped(layer: nn.Conv2d) -> tuple[Tensor, tuple[int, ...]]:
    """The impulse response that a layer's weights and padding give, and its first index per axis.

    The response is out × in × taps, in float64.
    """
    weight = layer.weight.detach().to("cpu", torch.float64)
    (out, within), taps, groups = weight.shape[:2], weight.shape[2:], layer.groups
    reach = [d * (k - 1) for k, d in zip(taps, layer.dilation, strict=True)]
    wide = torch.zeros(out, within * groups, *(r + 1 for r in reach), dtype=torch.float64)
    for g in range(groups):
        rows = slice(g * out // groups, (g + 1) * out // groups)
        columns = slice(g * within, (g + 1) * within)
        wide[rows, columns, :: layer.dilation[0], :: layer.dilation[1]] = weight[rows]
    padding = layer.padding
    left = (
        [r // 2 if padding == "same" else 0 for r in reach] if isinstance(padding, str) else padding
    )
    return wide.flip(-2, -1), tuple(int(p) - r for p, r in zip(left, reach, strict=True))


def response_error(
    layer: nn.Conv2d, response: Tensor | None, first: tuple[int, ...]
) -> float | None:
    """The largest difference of a recovered response and the flipped kernel.

    Relative to the largest weight; None where no response was recovered.
    """
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
