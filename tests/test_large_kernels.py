"""Large kernels with few filters on blocks of pixels: the same convolution and gradients."""

from __future__ import annotations

from dataclasses import replace

import hypothesis.strategies as st
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from torch import Tensor, nn

from convscope.fast import accelerate, large_kernels, why_not
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
    st.integers(1, 8),
    st.sampled_from([1, 3, 5, 7, 9, 15]),
    st.integers(1, 34),
    st.integers(1, 34),
)


def answers(convolve: object, *given: Tensor, g: Tensor) -> list[Tensor]:
    x, weight, bias = (t.clone().requires_grad_() for t in given)
    y = convolve(x, weight, bias)
    y.backward(g)
    return [y.detach(), *(t.grad for t in (x, weight, bias) if t.grad is not None)]


@given(shape=shapes, seed=st.integers(0, 99))
def test_exact_on_whole_numbers(shape: tuple[int, ...], seed: int) -> None:
    """Outputs and all gradients, of any odd kernel on any map.

    Also on one smaller than the kernel, or not a multiple of a block.
    """
    count, channels, filters, kernel, height, width = shape
    generator = torch.Generator().manual_seed(seed)

    def numbers(*size: int) -> Tensor:
        return torch.randint(-3, 4, size, generator=generator).float()

    x, weight, bias = (
        numbers(count, channels, height, width),
        numbers(filters, channels, kernel, kernel),
        numbers(filters),
    )
    g = numbers(count, filters, height, width)
    found = answers(
        large_kernels.convolve_on_blocks, x.contiguous(memory_format=LAST), weight, bias, g=g
    )
    wanted = answers(lambda x, w, b: F.conv2d(x, w, b, padding=kernel // 2), x, weight, bias, g=g)
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
    assert found[0].is_contiguous(memory_format=LAST)


@pytest.mark.parametrize(
    ("conv", "suited"),
    [
        (nn.Conv2d(3, 5, 15, padding=7), True),
        (nn.Conv2d(1, 6, 9, padding=4, bias=False), True),
        (nn.Conv2d(3, 5, 7, padding=3), False),
        (nn.Conv2d(3, 7, 15, padding=7), False),
        (nn.Conv2d(8, 5, 15, padding=7), False),
        (nn.Conv2d(3, 5, 15), False),
        (nn.Conv2d(3, 5, 15, padding=7, stride=2), False),
        (nn.Conv2d(3, 5, 15, padding=14, dilation=2), False),
        (nn.Conv2d(3, 3, 15, padding=7, groups=3), False),
        (nn.Conv2d(3, 5, 15, padding=7, padding_mode="circular"), False),
        (nn.Conv2d(3, 5, (15, 9), padding=(7, 4)), False),
    ],
)
def test_only_what_it_computes_and_what_it_speeds(conv: nn.Conv2d, suited: bool) -> None:
    assert large_kernels.gains(conv) == suited


@pytest.mark.skipif(bool(missing), reason=missing)
@pytest.mark.parametrize("head", ["gap", "flatten"])
def test_a_network_of_the_receptive_field_chapter(
    monkeypatch: pytest.MonkeyPatch, head: str
) -> None:
    """In bfloat16 gradients of all parameters are as near to float32's as the library's are.

    Without kernels nothing is large_kernels.
    """
    model = ConvNet(5, 1, pool="none", head=head, kernel=15)
    calls: list[int] = []
    monkeypatch.setattr(
        large_kernels,
        "convolve_on_blocks",
        lambda *given, original=large_kernels.convolve_on_blocks: (
            calls.append(1) or original(*given)
        ),
    )
    exact = measurement.gradient(model, "float32", "library")
    library = measurement.gradient(model, "bfloat16", "library")
    assert not calls
    found = measurement.gradient(model, "bfloat16", "compiled")
    assert calls == [1]
    assert (found - exact).norm() <= 1.5 * (library - exact).norm() + 1e-3 * exact.norm()


@pytest.mark.skipif(bool(missing), reason=missing)
def test_evaluation_agrees() -> None:
    net = build(replace(ConvNet(5, 1, pool="none", head="gap"), kernel=15), (3, 32, 32), 10).eval()
    x = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(3)).to(memory_format=LAST)
    with torch.no_grad(), autocast("cpu", "float32"):
        exact = net(x)
        found = accelerate(net, Recipe(kernels="compiled"))(x)
    assert torch.allclose(found, exact, atol=1e-5)
