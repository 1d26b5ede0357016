"""A convolution with the mean of 2×2 windows as one of stride 2: the same map and gradients."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from torch import Tensor

from convscope.fast import accelerate, strided_means, why_not
from convscope.machine import measurement
from convscope.models.building import build
from convscope.recipe.networks import ConvNet
from convscope.recipe.recipe import Recipe
from convscope.training.metrics import autocast

LAST = torch.channels_last
missing = why_not(torch.bfloat16)
shapes = st.tuples(
    st.integers(1, 3),
    st.integers(1, 4),
    st.integers(1, 4),
    st.sampled_from([1, 3, 5, 7]),
    st.integers(2, 17),
    st.integers(2, 17),
)
LINEAR = ConvNet(16, 3, activation="identity", pool="avg", hidden=(32,))


@given(shape=shapes, seed=st.integers(0, 99), biased=st.booleans())
def test_exact_on_whole_numbers(shape: tuple[int, ...], seed: int, biased: bool) -> None:
    """Outputs and all gradients, of any odd kernel, also on odd maps and smaller ones than it."""
    count, channels, filters, kernel, height, width = shape
    generator = torch.Generator().manual_seed(seed)

    def numbers(*size: int) -> Tensor:
        return torch.randint(-3, 4, size, generator=generator).float()

    inputs = [
        numbers(count, channels, height, width).contiguous(memory_format=LAST),
        numbers(filters, channels, kernel, kernel),
    ]
    inputs += [numbers(filters)] if biased else []
    g = numbers(count, filters, height // 2, width // 2)

    def answers(compute: object) -> list[Tensor]:
        x, weight, *bias = (t.clone().requires_grad_() for t in inputs)
        y = compute(x, weight, bias[0] if bias else None)
        y.backward(g)
        return [y.detach(), *(t.grad for t in (x, weight, *bias) if t.grad is not None)]

    found = answers(strided_means.convolve_and_average)
    wanted = answers(lambda x, w, b: F.avg_pool2d(F.conv2d(x, w, b, padding=kernel // 2), 2))
    assert len(found) == len(wanted) == 3 + biased
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
    assert found[0].is_contiguous(memory_format=LAST)


@pytest.mark.skipif(bool(missing), reason=missing)
@pytest.mark.parametrize(
    ("model", "blocks"),
    [
        (LINEAR, 2),  # images, and 16 channels of 16×16; the third block's map is smaller
        (ConvNet(16, 1, activation="identity", pool="avg", kernel=5), 1),
        (ConvNet(16, 3, activation="relu", pool="avg"), 0),
        (ConvNet(16, 3, activation="identity", pool="max"), 0),
        (ConvNet(16, 3, activation="identity", pool="avg", norm="batch"), 0),
        (ConvNet(16, 2, block_depth=2, activation="identity", pool="avg"), 0),
        (ConvNet(16, 2, activation="identity", pool="avg", pool_sizes=(2, 4)), 1),
    ],
)
def test_only_where_nothing_nonlinear_lies_between(
    monkeypatch: pytest.MonkeyPatch, model: ConvNet, blocks: int
) -> None:
    """In bfloat16 gradients of all parameters are as near to float32's as the library's are.

    Without kernels nothing is averaged.
    """
    calls: list[int] = []
    monkeypatch.setattr(
        strided_means,
        "convolve_and_average",
        lambda *given, original=strided_means.convolve_and_average: (
            calls.append(1) or original(*given)
        ),
    )
    exact, library = (
        measurement.gradient(model, precision, "library") for precision in ("float32", "bfloat16")
    )
    assert not calls
    found = measurement.gradient(model, "bfloat16", "compiled")
    assert len(calls) == blocks
    assert (found - exact).norm() <= 1.5 * (library - exact).norm() + 1e-3 * exact.norm()


@pytest.mark.skipif(bool(missing), reason=missing)
@pytest.mark.parametrize("side", [32, 28, 9])
def test_evaluation_agrees(side: int) -> None:
    net = build(LINEAR, (3, side, side), 10).eval()
    x = torch.randn(8, 3, side, side, generator=torch.Generator().manual_seed(3)).to(
        memory_format=LAST
    )
    with torch.no_grad(), autocast("cpu", "float32"):
        exact = net(x)
        found = accelerate(net, Recipe(kernels="compiled"))(x)
    assert torch.allclose(found, exact, atol=1e-5)
