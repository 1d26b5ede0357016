"""Random operators of known class: no false verdict; CONVSCOPE_OPERATORS sets how many."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from torch import Tensor

from convscope.probes import probe

COUNT = int(os.environ.get("CONVSCOPE_OPERATORS", "200"))
SAMPLE = 40  # in `make test`
SEED = int(os.environ.get("CONVSCOPE_SEED", "0"))
Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Piece:
    """What is known of one stage: linear or not, how it moves, how far it looks, its padding."""

    function: Function
    linear: bool = True
    moves: str = "with"  # with its input; "every" second or third; "back" to front; "not"
    step: int = 1
    radius: float = 0
    padded: bool = False


def normal(g: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=g, dtype=torch.float64)


def windows(x: Tensor) -> Tensor:
    """Three neighbours of each point, circular: … × N × 3."""
    return torch.stack([x.roll(1, -1), x, x.roll(-1, -1)], dim=-1)


def circular_conv(g: torch.Generator, c: int, n: int) -> Piece:
    weight = normal(g, c, c, int(torch.randint(0, min(3, n // 2), (), generator=g)) * 2 + 1)
    return Piece(
        lambda x: F.conv1d(F.pad(x, (weight.shape[-1] // 2,) * 2, mode="circular"), weight),
        radius=weight.shape[-1] // 2,
    )


def zero_padded_conv(g: torch.Generator, c: int, n: int) -> Piece:
    weight = normal(g, c, c, 3)
    return Piece(lambda x: F.conv1d(x, weight, padding=1), radius=1, padded=True)


def circulant(g: torch.Generator, c: int, n: int) -> Piece:
    row = normal(g, n)
    matrix = torch.stack([row.roll(i) for i in range(n)])
    return Piece(lambda x: x @ matrix, radius=math.inf)


def matrix(g: torch.Generator, c: int, n: int) -> Piece:
    full = normal(g, n, n)
    return Piece(lambda x: x @ full, moves="not")


def fft_filter(g: torch.Generator, c: int, n: int) -> Piece:
    gains = torch.complex(normal(g, n // 2 + 1), normal(g, n // 2 + 1))
    if torch.rand((), generator=g) < 0.5:
        gains = gains * (torch.arange(n // 2 + 1) <= max(1, n // 4))
    return Piece(lambda x: torch.fft.irfft(torch.fft.rfft(x) * gains, n=n), radius=math.inf)


def decimator(g: torch.Generator, c: int, n: int) -> Piece:
    step = int(torch.randint(2, 4, (), generator=g))
    if n % step or n // step < 2:
        return circular_conv(g, c, n)
    first = int(torch.randint(0, step, (), generator=g))
    return Piece(lambda x: x[..., first::step], moves="every", step=step)


def channels(g: torch.Generator, c: int, n: int) -> Piece:
    full = normal(g, c, c)
    return Piece(lambda x: torch.einsum("oi,nil->nol", full, x))


def scaling(g: torch.Generator, c: int, n: int) -> Piece:
    factor = 10 ** float(normal(g, 1).clamp(-3, 3))
    return Piece(lambda x: factor * x)


LINEAR: dict[str, Callable[[torch.Generator, int, int], Piece]] = {
    "circular convolution": circular_conv,
    "zero-padded convolution": zero_padded_conv,
    "circulant matrix": circulant,
    "matrix": matrix,
    "FFT filter": fft_filter,
    "decimator": decimator,
    "channels": channels,
    "cumulative sum": lambda g, c, n: Piece(lambda x: x.cumsum(-1), moves="not"),
    "reversal": lambda g, c, n: Piece(lambda x: x.flip(-1), moves="back"),
    "scaling": scaling,
}
POINTWISE: dict[str, Function] = {
    "relu": torch.relu,
    "leaky": lambda x: F.leaky_relu(x, 0.9),
    "late relu": lambda x: torch.maximum(x, torch.full_like(x, -1e4)),
    "tanh": torch.tanh,
    "weak tanh": lambda x: x + 1e-4 * torch.tanh(x),
    "square": torch.square,
    "cube": lambda x: x**3,
    "abs": torch.abs,
    "gelu": F.gelu,
    "shrink": lambda x: F.softshrink(x, 1e-4),
    "clamp": lambda x: x.clamp(-3e3, 3e3),
    "round": torch.round,
}
NEIGHBOURS: dict[str, Function] = {
    "median": lambda x: windows(x).median(-1).values,
    "maximum": lambda x: windows(x).amax(-1),
    "softmax": lambda x: x.softmax(-1),
    "layer norm": lambda x: F.layer_norm(x, x.shape[-1:]),
    "local norm": lambda x: x / (1e-3 + windows(x).abs().mean(-1)),
    "batch norm": lambda x: F.batch_norm(x, None, None, training=True),
}
NONLINEAR = {**POINTWISE, **NEIGHBOURS}


def channel_bias(g: torch.Generator, c: int, n: int) -> Piece:
    values = normal(g, c, 1)
    return Piece(lambda x: x + values)


def position_bias(g: torch.Generator, c: int, n: int) -> Piece:
    values = normal(g, c, n)
    return Piece(lambda x: x + values, moves="not")


BIASES = {"bias": channel_bias, "bias by position": position_bias}
chains = st.tuples(
    st.lists(st.sampled_from(sorted(LINEAR)), max_size=3),
    st.one_of(
        st.none(), st.none(), st.sampled_from(sorted(NONLINEAR)), st.sampled_from(sorted(BIASES))
    ),
    st.lists(st.sampled_from(sorted(LINEAR)), max_size=2),
)


def known_period(pieces: list[Piece], n: int) -> int | None:
    """The period of a chain on n points, from what is known of its stages (weights are generic)."""
    step = math.prod(p.step for p in pieces)
    if any(p.moves == "not" for p in pieces) or n // step < 2:
        return None
    if sum(p.moves == "back" for p in pieces) % 2 == 0:
        return step
    return (
        n // 2 if n % 2 == 0 and n // 2 % step == 0 else None
    )  # f(x(i+s)) = f(x) moved by −s: the same where 2s = n


Chain = tuple[list[str], str | None, list[str]]
drawn = given(
    chain=chains,
    n=st.sampled_from([6, 8, 9, 12, 15, 16]),
    c=st.integers(1, 2),
    draw=st.integers(0, 2**32),
)
plain = settings(
    max_examples=COUNT,
    derandomize=False,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@seed(SEED)
@settings(plain, max_examples=min(COUNT, SAMPLE))
@drawn
def test_no_false_verdict(chain: Chain, n: int, c: int, draw: int) -> None:
    check_verdict(chain, n, c, draw)


@pytest.mark.slow
@seed(SEED)
@plain
@drawn
def test_no_false_verdict_of_many(chain: Chain, n: int, c: int, draw: int) -> None:
    check_verdict(chain, n, c, draw)


def check_verdict(chain: Chain, n: int, c: int, draw: int) -> None:
    before, special, after = chain
    g = torch.Generator().manual_seed(draw)
    pieces, size = [], n
    for name in [*before, *([special] if special else []), *after]:
        piece = (
            Piece(NONLINEAR[name], linear=False)
            if name in NONLINEAR
            else {**LINEAR, **BIASES}[name](g, c, size)
        )
        pieces.append(piece)
        size //= piece.step

    def chained(x: Tensor) -> Tensor:
        for piece in pieces:
            x = piece.function(x)
        return x

    found = probe(chained, (c, n), seed=draw % 1000)
    shown = f"{before} {special} {after}, {c}×{n}\n{found}"

    expected = "nonlinear" if special in NONLINEAR else "affine" if special else "linear"
    assert found.linearity == expected, shown
    period, moves = known_period(pieces, n), found.translation
    if not any(p.padded for p in pieces):
        assert moves.period == period and moves.border == 0 and not moves.invariant, shown
        assert moves.equivariant == (period == 1 and size == n), shown
        assert (found.impulse_response is not None) == (
            expected == "linear" and period == math.prod(p.step for p in pieces)
        ), shown
    elif period is None:
        assert moves.period is None, shown
    elif special is None and all(p.moves == "with" for p in pieces):
        first = next(i for i, p in enumerate(pieces) if p.padded)
        border = sum(
            p.radius for p in pieces[first:]
        )  # what the first padding spoils, and as far as later stages carry it
        assert moves.equivariant == (border < n / 4) and not moves.circular, shown
        assert moves.border == (border if moves.equivariant else 0), shown
        assert (found.impulse_response is not None) == moves.equivariant, shown
    for example in found.counterexamples:
        assert example.error > example.tolerance
        assert example.replay(chained) == example.error, shown


def test_images_and_modules() -> None:
    """Convolutions with strides and kernels drawn at random: h is the kernel flipped."""
    g = torch.Generator().manual_seed(SEED)
    for trial in range(20):
        kernel = [int(k) for k in 2 * torch.randint(0, 3, (2,), generator=g) + 1]
        stride = [int(s) for s in torch.randint(1, 3, (2,), generator=g)]
        layer = torch.nn.Conv2d(2, 3, (kernel[0], kernel[1]), (stride[0], stride[1]), bias=False)
        pads = (kernel[1] // 2, kernel[1] // 2, kernel[0] // 2, kernel[0] // 2)
        net = torch.nn.Sequential(torch.nn.CircularPad2d(pads), layer)
        found = probe(net, (2, 8, 12), trials=26, seed=trial)
        assert found.linearity == "linear" and found.translation.periods == tuple(stride), str(
            found
        )
        assert (
            found.impulse_response is not None
            and found.convolution.error is not None
            and found.convolution.error < 1e-12
        )
        torch.testing.assert_close(
            found.impulse_response, layer.weight.detach().double().flip(-1, -2)
        )
