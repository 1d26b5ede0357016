"""Operators with known verdicts: those of the theory (docs/theory.md) and further ones.

For tests, chapters and `convscope probe NAME`. Each is a function that makes the callable (random
weights from a seed of its own), a sample's shape, and what must be found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convscope.errors import UserError, did_you_mean, one_line


@dataclass(frozen=True)
class Known:
    """`make()` gives the callable; the rest is what a probe on samples of `shape` must find.

    convolution: whether it has an impulse response.
    inside: the shift by whose multiples outputs move along where windows are not padded.
    """

    make: Callable[[], Callable[[Tensor], Tensor]]
    shape: tuple[int, ...]
    linearity: str
    equivariant: bool
    period: int | None
    border: int = 0
    invariant: bool = False
    convolution: bool = False
    title: str = ""
    inside: int | None = None


IMAGE = (1, 16, 16)
LINE = (1, 16)


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _conv(
    channels: tuple[int, int],
    kernel: int,
    mode: Literal["zeros", "circular"] = "zeros",
    stride: int = 1,
    bias: bool = False,
    padding: int | None = None,
) -> nn.Module:
    """padding: in pixels; None: the kernel's radius."""
    pad = kernel // 2 if padding is None else padding
    layer = nn.Conv2d(*channels, kernel, stride, pad, bias=bias, padding_mode=mode).double()
    with torch.no_grad():
        layer.weight.copy_(_random(*layer.weight.shape))
        if layer.bias is not None:
            layer.bias.copy_(_random(channels[1], seed=1))
    return layer


def _norm(training: bool) -> nn.Module:
    layer = nn.BatchNorm2d(2).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([0.5, 2.0]))
        layer.bias.copy_(torch.tensor([1.0, -1.0]))
        assert layer.running_mean is not None
        layer.running_mean.copy_(torch.tensor([0.3, -0.7]))
    return layer.train(training)


def _matrix(circulant: bool) -> Callable[[Tensor], Tensor]:
    row = _random(16)
    matrix = torch.stack([row.roll(i) for i in range(16)]) if circulant else _random(16, 16)
    return lambda x: x @ matrix.to(x.dtype).T


def _by_position(x: Tensor) -> Tensor:
    return x + torch.arange(x.shape[-1], dtype=x.dtype)


def _fft_filter(x: Tensor) -> Tensor:
    """Half of the frequencies of a line, the lower ones."""
    spectrum = torch.fft.rfft(x)
    count = spectrum.shape[-1]
    return torch.fft.irfft(spectrum * (torch.arange(count) <= count // 2), n=x.shape[-1])


OPERATORS: dict[str, Known] = {
    # the operators of the assignment
    "relu": Known(nn.ReLU, IMAGE, "nonlinear", True, 1, title="ReLU"),
    "pick-top-right": Known(
        lambda: lambda x: x[..., ::2, 1::2],
        IMAGE,
        "linear",
        False,
        2,
        convolution=True,
        title="strided pooling that always picks the top-right pixel",
    ),
    "pick-one": Known(
        lambda: lambda x: x[..., ::2, ::2],
        IMAGE,
        "linear",
        False,
        2,
        convolution=True,
        title="strided pooling that keeps one fixed pixel",
    ),
    "bias": Known(
        lambda: lambda x: x + 0.5, IMAGE, "affine", True, 1, title="adding a constant bias"
    ),
    "matrix": Known(
        lambda: _matrix(False),
        LINE,
        "linear",
        False,
        None,
        title="multiplication with a full matrix",
    ),
    # further ones
    "channel-bias": Known(
        lambda: lambda x: x + torch.tensor([[[0.5]], [[-2.0]]], dtype=x.dtype),
        (2, 16, 16),
        "affine",
        True,
        1,
        title="adding a constant bias a channel",
    ),
    "position-bias": Known(
        lambda: _by_position,
        LINE,
        "affine",
        False,
        None,
        title="adding a bias that differs by position",
    ),
    "circulant": Known(
        lambda: _matrix(True),
        LINE,
        "linear",
        True,
        1,
        convolution=True,
        title="multiplication with a circulant matrix",
    ),
    "identity": Known(nn.Identity, IMAGE, "linear", True, 1, convolution=True, title="identity"),
    "circular-conv": Known(
        lambda: _conv((2, 3), 3, "circular"),
        (2, 16, 16),
        "linear",
        True,
        1,
        convolution=True,
        title="3×3 convolution, circular",
    ),
    "zero-padded-conv": Known(
        lambda: _conv((2, 3), 3),
        (2, 16, 16),
        "linear",
        True,
        1,
        border=1,
        convolution=True,
        title="3×3 convolution, zero padding",
    ),
    "unpadded-conv": Known(
        lambda: _conv((1, 2), 3, padding=0),
        IMAGE,
        "linear",
        False,
        None,
        convolution=True,
        title="3×3 convolution, no padding",
        inside=1,
    ),
    "conv-with-bias": Known(
        lambda: _conv((1, 2), 3, "circular", bias=True),
        IMAGE,
        "affine",
        True,
        1,
        title="3×3 convolution with bias",
    ),
    "strided-conv": Known(
        lambda: _conv((1, 2), 3, "circular", 2),
        IMAGE,
        "linear",
        False,
        2,
        convolution=True,
        title="3×3 convolution, stride 2",
    ),
    "max-pool": Known(
        lambda: nn.MaxPool2d(2), IMAGE, "nonlinear", False, 2, title="2×2 max pooling"
    ),
    "avg-pool": Known(
        lambda: nn.AvgPool2d(2),
        IMAGE,
        "linear",
        False,
        2,
        convolution=True,
        title="2×2 average pooling",
    ),
    "max-filter": Known(
        lambda: nn.MaxPool2d(3, 1, 1),
        IMAGE,
        "nonlinear",
        True,
        1,
        border=1,
        title="3×3 max pooling, stride 1",
    ),
    "global-avg-pool": Known(
        lambda: nn.AdaptiveAvgPool2d(1),
        IMAGE,
        "linear",
        False,
        1,
        invariant=True,
        title="global average pooling",
    ),
    "batch-norm-eval": Known(
        lambda: _norm(False),
        (2, 8, 8),
        "affine",
        True,
        1,
        title="batch normalisation, evaluation mode",
    ),
    "batch-norm-train": Known(
        lambda: _norm(True),
        (2, 8, 8),
        "nonlinear",
        True,
        1,
        title="batch normalisation, training mode",
    ),
    "softmax": Known(
        lambda: nn.Softmax(dim=-1), LINE, "nonlinear", True, 1, title="softmax along the axis"
    ),
    "tanh": Known(lambda: torch.tanh, IMAGE, "nonlinear", True, 1, title="tanh"),
    "abs": Known(lambda: torch.abs, IMAGE, "nonlinear", True, 1, title="absolute value"),
    "square": Known(lambda: torch.square, IMAGE, "nonlinear", True, 1, title="square"),
    "cumsum": Known(
        lambda: lambda x: x.cumsum(-1), LINE, "linear", False, None, title="cumulative sum"
    ),
    "reverse": Known(
        lambda: lambda x: x.flip(-1), LINE, "linear", False, 8, title="reversal"
    ),  # half of 16: a shift by 8 is one by −8
    "shift": Known(
        lambda: lambda x: x.roll(3, -1),
        LINE,
        "linear",
        True,
        1,
        convolution=True,
        title="circular shift by 3",
    ),
    "fft-low-pass": Known(
        lambda: _fft_filter,
        LINE,
        "linear",
        True,
        1,
        convolution=True,
        title="low-pass filter by FFT",
    ),
    "upsample": Known(
        lambda: lambda x: F.interpolate(x, scale_factor=2),
        IMAGE,
        "linear",
        False,
        1,
        convolution=True,
        title="nearest-neighbour upsampling",
    ),
}


def operator_named(name: str) -> tuple[Callable[..., Any], tuple[int, ...]]:
    """A built-in operator's callable and its sample shape; UserError for an unknown name."""
    if name not in OPERATORS:
        raise UserError(f"operator {one_line(name)!r}{did_you_mean(name, OPERATORS)}")
    return OPERATORS[name].make(), OPERATORS[name].shape
