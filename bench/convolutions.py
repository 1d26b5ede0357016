"""Our convolutions against the library's, one layer after the other.

3×3 ones by Winograd's algorithm (outputs, gradients of inputs, gradients of filters), large kernels
with few filters on blocks of pixels, and 3×3 ones with average pooling as one of stride 2. Each
rate is the best of about half a second of calls, in one process, in turn; 2 floating-point
operations a multiply-add of the definition, whichever way it is computed.

Command: python bench/convolutions.py [--precision bfloat16|float32] [--threads 1]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from figures import machine_line, markdown
from torch import Tensor, nn

from convscope.fast import large_kernels, strided_means, why_not
from convscope.fast.convolutions import (
    WinogradConvolution,
    by_winograd,
    fastest_convolution,
    input_gradient,
)
from convscope.fast.pooling import Pool
from convscope.training import keep_freed_memory

# images, channels, filters, side: layers of works `small` and `nine`, of quick's networks and of
# the strong recipe's
LAYERS = (
    (128, 16, 16, 16),
    (128, 16, 32, 16),
    (128, 32, 32, 32),
    (128, 32, 64, 16),
    (128, 32, 64, 8),
    (128, 64, 64, 3),
    (128, 64, 64, 15),
    (128, 64, 64, 16),
    (128, 64, 128, 8),
    (128, 128, 128, 8),
    (250, 24, 64, 32),
    (250, 64, 256, 16),
    (250, 256, 256, 8),
    (250, 256, 256, 4),
)
HEAD = (
    "channels, filters, map",
    "outputs: library, GFLOP/s",
    "Winograd",
    "gradient of inputs: library",
    "Winograd",
    "gradient of filters: library",
    "Winograd",
    "all three, ratio",
    "error of outputs: library",
    "Winograd",
    "of the gradient of filters: library",
    "Winograd",
)
# filters, kernel: of the receptive-field chapter's wide layers, on three channels of 32×32; the
# first are left to the library
LARGE = ((6, 7), (16, 15), (1, 9), (8, 9), (1, 15), (5, 15), (6, 15))
LARGE_HEAD = (
    "filters, kernel",
    "outputs: library, ms",
    "on blocks",
    "ratio",
    "outputs and gradient of filters: library, ms",
    "on blocks",
    "ratio",
    "used",
)
# channels, filters, side: blocks of a linear network (no activation, average pooling) at widths 4,
# 16 and 32
POOLED = (
    (3, 4, 32),
    (4, 8, 16),
    (8, 16, 8),
    (3, 16, 32),
    (16, 32, 16),
    (32, 64, 8),
    (3, 32, 32),
    (32, 64, 16),
    (64, 128, 8),
)
POOLED_HEAD = (
    "channels, filters, map",
    "outputs: convolution and pooling, ms",
    "as one",
    "ratio",
    "outputs and gradients: convolution and pooling, ms",
    "as one",
    "ratio",
    "used in training",
)
SECONDS = 0.5
FEW = 8  # images, for errors


def best(call: Callable[[], object]) -> float:
    fastest, until = float("inf"), time.perf_counter() + SECONDS
    while time.perf_counter() < until:
        started = time.perf_counter()
        call()
        fastest = min(fastest, time.perf_counter() - started)
    return fastest


def filter_gradient(g: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """By the library."""
    ones, asked = [1, 1], [False, True, False]
    return torch.ops.aten.convolution_backward(
        g, x, weight, None, ones, ones, ones, False, [0, 0], 1, asked
    )[1]


class Context:
    """What Convolution.backward reads."""

    def __init__(self, x: Tensor, weight: Tensor) -> None:
        self.saved_tensors, self.needs_input_grad, self.biased = (x, weight), (False,), False


def row(dtype: torch.dtype, count: int, channels: int, filters: int, side: int) -> list[str]:
    last = torch.channels_last
    x, g = (
        torch.randn(count, c, side, side).to(dtype).contiguous(memory_format=last)
        for c in (channels, filters)
    )
    weight = (torch.randn(filters, channels, 3, 3) / (9 * channels) ** 0.5).contiguous(
        memory_format=last
    )
    low = weight.to(x.dtype)
    pairs: list[tuple[Callable[[], object], Callable[[], object]]] = [
        (lambda: F.conv2d(x, low, padding=1), lambda: by_winograd(x, weight, None, False)),
        (lambda: input_gradient(g, x, low), lambda: by_winograd(g, weight, None, True)),
        (
            lambda: filter_gradient(g, x, low),
            lambda: WinogradConvolution.backward(Context(x, weight), g),
        ),
    ]
    seconds = [(best(library), best(winograd)) for library, winograd in pairs]
    work = 2 * count * side**2 * channels * filters * 9 / 1e9
    rates = [f"{work / one:.0f}" for pair in seconds for one in pair]
    library, winograd = (sum(times) for times in zip(*seconds, strict=True))
    return [
        f"{channels}, {filters}, {side}×{side}",
        *rates,
        f"{library / winograd:.2f}",
        *errors(x[:FEW], g[:FEW], weight),
    ]


def large_row(dtype: torch.dtype, filters: int, kernel: int) -> list[str]:
    last = torch.channels_last
    x, g = (
        torch.randn(128, c, 32, 32).to(dtype).contiguous(memory_format=last) for c in (3, filters)
    )
    conv = nn.Conv2d(3, filters, kernel, padding=kernel // 2)
    bias = conv.bias
    assert bias is not None

    def library() -> Tensor:
        return F.conv2d(
            x, conv.weight.to(x.dtype, memory_format=last), bias.to(x.dtype), padding=kernel // 2
        )

    def blocks() -> Tensor:
        return large_kernels.convolve_on_blocks(x, conv.weight, bias)

    return [
        f"{filters}, {kernel}×{kernel}",
        *compared(library, blocks, g),
        "yes" if large_kernels.gains(conv) else "no",
    ]


def compared(theirs: Callable[[], Tensor], ours: Callable[[], Tensor], g: Tensor) -> list[str]:
    """Milliseconds of both ways and their ratio: of outputs alone, then with gradients."""
    with torch.no_grad():
        outputs = best(theirs), best(ours)
    with torch.enable_grad():
        steps = best(lambda: theirs().backward(g)), best(lambda: ours().backward(g))
    return [
        cell
        for a, b in (outputs, steps)
        for cell in (f"{1000 * a:.2f}", f"{1000 * b:.2f}", f"{a / b:.2f}")
    ]


def pooled_row(dtype: torch.dtype, channels: int, filters: int, side: int) -> list[str]:
    last = torch.channels_last
    x, g = (
        torch.randn(128, c, n, n).to(dtype).contiguous(memory_format=last)
        for c, n in ((channels, side), (filters, side // 2))
    )
    # torch's stubs lack this overload of `to`
    conv = nn.Conv2d(channels, filters, 3, padding=1).to(  # pyright: ignore[reportCallIssue]
        memory_format=last
    )
    x.requires_grad_(channels > 3)  # images have no gradient

    def both() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            return Pool.apply(  # pyright: ignore[reportReturnType]
                fastest_convolution(conv, x, True), "mean", False
            )

    def one() -> Tensor:
        return strided_means.convolve_and_average(x, conv.weight, conv.bias)

    return [
        f"{channels}, {filters}, {side}×{side}",
        *compared(both, one, g),
        "yes" if strided_means.gains(x) else "no",
    ]


def errors(x: Tensor, g: Tensor, weight: Tensor) -> list[str]:
    """Errors of the library in this precision and of Winograd, relative to float64's norm.

    Of the outputs and of the gradient of filters.
    """
    exact = (
        F.conv2d(x.double(), weight.double(), padding=1),
        filter_gradient(g.double(), x.double(), weight.double()),
    )
    low = weight.to(x.dtype)
    outputs = F.conv2d(x, low, padding=1), by_winograd(x, weight, None, False)
    gradients = filter_gradient(g, x, low), WinogradConvolution.backward(Context(x, weight), g)[1]
    pairs = [(found, exact[0]) for found in outputs] + [(found, exact[1]) for found in gradients]
    return [f"{float((found.double() - true).norm() / true.norm()):.1e}" for found, true in pairs]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", choices=("bfloat16", "float32"), default="bfloat16")
    given = parser.parse_args()
    dtype = {"bfloat16": torch.bfloat16, "float32": torch.float32}[given.precision]
    if reason := why_not(dtype, "winograd"):
        print(reason)
        return 1
    keep_freed_memory()
    torch.set_num_threads(given.threads)
    with torch.no_grad():
        rows = [row(dtype, *layer) for layer in LAYERS]
    tables = [
        markdown(HEAD, rows),
        markdown(LARGE_HEAD, [large_row(dtype, *layer) for layer in LARGE]),
    ]
    tables.append(markdown(POOLED_HEAD, [pooled_row(dtype, *layer) for layer in POOLED]))
    print(f"{machine_line()}\n{given.precision}, {given.threads} thread(s)\n")
    print("\n".join(tables))
    return 0


if __name__ == "__main__":
    sys.exit(main())
