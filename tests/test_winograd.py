"""3×3 convolutions by Winograd's algorithms, for bfloat16 and float32: near to the definition,
in bfloat16 exact on whole numbers, and chosen only where they fit and agree."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import hypothesis.strategies as st
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from torch import Tensor, nn

import convscope as cs
from convscope.errors import UserError
from convscope.fast import accelerate, convolutions, shared_library, why_not
from convscope.machine import measurement
from convscope.models.building import build
from convscope.planning.reference import reference_model
from convscope.recipe.networks import ConvNet
from convscope.recipe.recipe import Precision, Recipe
from convscope.training.metrics import autocast
from convscope.training.trained import network

LAST = torch.channels_last
missing, missing_of_float = (
    why_not(dtype, "winograd") for dtype in (torch.bfloat16, torch.float32)
)
needs_bfloat16 = pytest.mark.skipif(bool(missing), reason=missing)
needs_float32 = pytest.mark.skipif(bool(missing_of_float), reason=missing_of_float)
each_dtype = pytest.mark.parametrize(
    "dtype",
    [
        pytest.param(torch.bfloat16, marks=needs_bfloat16),
        pytest.param(torch.float32, marks=needs_float32),
    ],
)
each_precision = pytest.mark.parametrize(
    "precision",
    [
        pytest.param("bfloat16", marks=needs_bfloat16),
        pytest.param("float32", marks=needs_float32),
    ],
)
Answer = tuple[Tensor, Tensor, Tensor, Tensor]  # outputs, gradients by inputs, weights and biases

shapes = st.tuples(
    st.integers(1, 3),
    st.sampled_from([8, 16, 24, 40, 64, 80]),
    st.sampled_from([8, 16, 32, 56, 72, 144]),
    st.integers(1, 19),
    st.integers(1, 19),
)


def whole_numbers(generator: torch.Generator, most: int, *shape: int) -> Tensor:
    return torch.randint(-most, most + 1, shape, generator=generator).float()


any_shapes = st.tuples(
    st.integers(1, 3),
    st.integers(4, 35),
    st.sampled_from([4, 7, 8, 12, 16, 30, 47, 72]),
    st.integers(1, 19),
    st.integers(1, 19),
)


def by_winograd(
    x: Tensor, weight: Tensor, bias: Tensor, g: Tensor, dtype: torch.dtype = torch.bfloat16
) -> Answer:
    x, weight, bias = (
        x.to(dtype).contiguous(memory_format=LAST).requires_grad_(),
        weight.clone().requires_grad_(),
        bias.clone().requires_grad_(),
    )
    y: Tensor = convolutions.WinogradConvolution.apply(x, weight, bias)
    y.backward(g.to(dtype))
    return tuple(t.detach().double() for t in (y, x.grad, weight.grad, bias.grad) if t is not None)


def by_definition(
    x: Tensor, weight: Tensor, bias: Tensor, g: Tensor, dtype: torch.dtype = torch.float64
) -> Answer:
    x, weight, bias = (t.detach().to(dtype).requires_grad_() for t in (x, weight, bias))
    y = F.conv2d(x, weight, bias, padding=1)
    y.backward(g.to(dtype))
    return tuple(t.detach().double() for t in (y, x.grad, weight.grad, bias.grad) if t is not None)


@needs_bfloat16
@given(shape=shapes, seed=st.integers(0, 99), threads=st.sampled_from([1, 2]))
def test_exact_on_whole_numbers(shape: tuple[int, ...], seed: int, threads: int) -> None:
    """Every sum between the transforms is a whole number that bfloat16 holds, so nothing is rounded
    but the results."""
    count, channels, filters, height, width = shape
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(seed)
    x, weight = (
        whole_numbers(generator, 3, count, channels, height, width),
        4 * whole_numbers(generator, 1, filters, channels, 3, 3),
    )
    bias, g = (
        whole_numbers(generator, 9, filters),
        whole_numbers(generator, 3, count, filters, height, width),
    )
    y, dx, dw, db = by_winograd(x, weight, bias, g)
    exact_y, exact_dx, exact_dw, exact_db = by_definition(x, weight, bias, g)
    assert torch.equal(y, exact_y.bfloat16().double()) and torch.equal(
        dx, exact_dx.bfloat16().double()
    )
    assert torch.equal(dw, exact_dw) and torch.equal(db, exact_db)


@needs_bfloat16
@given(shape=shapes, seed=st.integers(0, 99))
def test_about_as_near_to_the_definition_as_the_library(shape: tuple[int, ...], seed: int) -> None:
    count, channels, filters, height, width = shape
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, channels, height, width, generator=generator).bfloat16()
    weight = torch.randn(filters, channels, 3, 3, generator=generator) / (9 * channels) ** 0.5
    bias, g = (
        torch.randn(filters, generator=generator),
        torch.randn(count, filters, height, width, generator=generator).bfloat16(),
    )
    exact = by_definition(x, weight, bias, g)
    library = by_definition(x, weight, bias, g, torch.bfloat16)
    for ours, theirs, true in zip(by_winograd(x, weight, bias, g), library, exact, strict=True):
        assert float((ours - true).norm()) <= 3 * float((theirs - true).norm()) + 0.002 * float(
            true.norm()
        )


@needs_float32
@given(shape=any_shapes, seed=st.integers(0, 99), threads=st.sampled_from([1, 2]))
def test_in_float32_within_a_few_roundings_of_the_definition(
    shape: tuple[int, ...], seed: int, threads: int
) -> None:
    """Any number of channels, any size of the map, however much tiles stand over its edge."""
    count, channels, filters, height, width = shape
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, channels, height, width, generator=generator)
    weight = torch.randn(filters, channels, 3, 3, generator=generator) / (9 * channels) ** 0.5
    bias = torch.randn(filters, generator=generator)
    g = torch.randn(count, filters, height, width, generator=generator)
    exact = by_definition(x, weight, bias, g)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convolutions, "gains", lambda _weight, _x: True)
        found = by_winograd(x, weight, bias, g, torch.float32)
    for ours, true in zip(found, exact, strict=True):
        assert float((ours - true).norm()) <= 5e-6 * float(true.norm())


@each_dtype
def test_threads_share_the_work_without_a_trace(dtype: torch.dtype) -> None:
    x = torch.randn(9, 48, 13, 10).to(dtype).contiguous(memory_format=LAST)
    weight = torch.randn(40, 48, 3, 3)
    answers = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        answers.append(
            convolutions.by_winograd(x, weight.contiguous(memory_format=LAST), None, False)
        )
    assert torch.equal(*answers)


@each_dtype
def test_what_is_not_finite_stays_where_it_is(dtype: torch.dtype) -> None:
    x = torch.zeros(2, 16, 12, 12).to(dtype).contiguous(memory_format=LAST)
    x[1, 3, 6, 6] = float("nan")
    y = convolutions.by_winograd(
        x, torch.ones(16, 16, 3, 3).contiguous(memory_format=LAST), None, False
    )
    assert (
        y[1, :, 5:8, 5:8].isnan().all()
        and y[0].isfinite().all()
        and y[1, :, :4].isfinite().all()
        and y[1, :, 9:].isfinite().all()
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize(
    ("conv", "suits"),
    [
        (nn.Conv2d(64, 64, 3, padding=1), True),
        (nn.Conv2d(64, 64, 3, padding=1, bias=False), True),
        (nn.Conv2d(24, 64, 3, padding=1), True),
        (nn.Conv2d(64, 64, 3), False),
        (nn.Conv2d(64, 64, 5, padding=2), False),
        (nn.Conv2d(64, 64, 3, padding=1, stride=2), False),
        (nn.Conv2d(64, 64, 3, padding=1, groups=2), False),
        (nn.Conv2d(64, 64, 3, padding=2, dilation=2), False),
        (nn.Conv2d(64, 64, 3, padding=1, padding_mode="circular"), False),
        (nn.Conv2d(3, 64, 3, padding=1), False),
        (nn.Conv2d(1024, 16, 3, padding=1), True),
        (nn.Conv2d(16, 1032, 3, padding=1), False),
    ],
)
def test_the_library_keeps_what_does_not_fit(
    conv: nn.Conv2d, suits: bool, dtype: torch.dtype
) -> None:
    x = torch.empty(1, conv.in_channels, 16, 16, dtype=dtype)
    assert convolutions.suits_winograd(conv, x) == suits
    assert not convolutions.suits_winograd(conv, x[:, :, :1])


@pytest.mark.parametrize(
    ("channels", "filters", "bfloat16", "float32"),
    [(64, 65, False, True), (30, 38, False, True), (8, 8, False, True), (3, 8, False, False)],
)
def test_in_float32_it_takes_fewer_channels_and_any_number(
    channels: int, filters: int, bfloat16: bool, float32: bool
) -> None:
    conv = nn.Conv2d(channels, filters, 3, padding=1)
    x = torch.empty(1, channels, 16, 16)
    assert convolutions.suits_winograd(conv, x) == float32
    assert convolutions.suits_winograd(conv, x.bfloat16()) == bfloat16


def test_tiles_far_over_the_edge_are_the_librarys() -> None:
    weight = torch.empty(64, 64, 3, 3)
    for side, in_bfloat16, in_float32 in ((16, True, True), (7, True, True), (5, False, False)):
        x = torch.empty(1, 64, side, side)
        assert convolutions.gains(weight, x.bfloat16()) == in_bfloat16
        assert convolutions.gains(weight, x) == in_float32


@needs_float32
def test_nothing_goes_there_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        convolutions.WinogradConvolution,
        "forward",
        staticmethod(lambda *_: pytest.fail("Winograd's algorithm was asked for")),
    )
    net = build(ConvNet(32, 2, block_depth=2), (3, 32, 32), 10).to(memory_format=LAST)
    x = torch.randn(4, 3, 32, 32).contiguous(memory_format=LAST)
    for kind, dtype in (
        ("library", torch.bfloat16),
        ("compiled", torch.bfloat16),
        ("library", torch.float32),
        ("compiled", torch.float32),
        ("winograd", torch.float64),
    ):
        twin = accelerate(
            net.to(torch.float64 if dtype == torch.float64 else torch.float32), Recipe(kernels=kind)
        )
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            assert twin(x.to(dtype)).isfinite().all()


@each_precision
@pytest.mark.parametrize(
    "model", [ConvNet(32, 3, block_depth=3), replace(reference_model(32), depth=2)]
)
def test_whole_networks_are_about_as_near_to_float32_as_the_library(
    model: ConvNet, precision: Precision
) -> None:
    net = build(model, (3, 32, 32), 10).to(memory_format=LAST)
    images = torch.randn(64, 3, 32, 32, generator=torch.Generator().manual_seed(1)).contiguous(
        memory_format=LAST
    )

    def passed(precision: str, kind: str, training: bool) -> Tensor:
        mine = copy.deepcopy(net).train(training)
        x = images.bfloat16() if precision == "bfloat16" else images
        twin = accelerate(mine, Recipe(kernels=kind))
        with autocast("cpu", precision), torch.set_grad_enabled(training):
            out = twin(x).float()
        if not training:
            return out
        F.cross_entropy(out, torch.arange(64) % 10).backward()
        return torch.cat([p.grad.flatten() for p in mine.parameters() if p.grad is not None])

    for training in (True, False):
        exact = passed("float32", "library", training)
        library, ours = (
            float((passed(precision, kind, training) - exact).norm() / exact.norm())
            for kind in ("compiled", "winograd")
        )
        assert ours < 2.5 * library + 5e-4  # a maximum may be another one


@each_precision
def test_a_run_by_it_learns_as_one_by_the_library(
    precision: Precision, cifar_slice: Path, tmp_path: Path
) -> None:
    recipe = Recipe(
        data=str(cifar_slice),
        model=ConvNet(16, 2, block_depth=2),
        epochs=2,
        precision=precision,
        layout="channels_last",
    )
    runs = {
        kind: cs.train(replace(recipe, kernels=kind), tmp_path) for kind in ("library", "winograd")
    }
    assert runs["library"].recipe.id != runs["winograd"].recipe.id
    assert runs["winograd"].last["train_loss"] == pytest.approx(
        runs["library"].last["train_loss"], abs=0.15 if precision == "bfloat16" else 0.01
    )
    assert network(runs["winograd"]).get_parameter("blocks.1.convs.1.weight").isfinite().all()


# --- choice


@each_precision
@pytest.mark.usefixtures("short_windows")
@pytest.mark.slow
def test_it_is_not_chosen_where_it_answers_wrongly(
    precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert measurement.agrees(precision, "winograd")
    right = convolutions.by_winograd
    monkeypatch.setattr(
        convolutions,
        "by_winograd",
        lambda x, weight, bias, backward: 1.2 * right(x, weight, bias, backward),
    )
    assert not measurement.agrees(precision, "winograd")
    assert measurement.best_numerics("cpu").kernels != "winograd"


@pytest.mark.usefixtures("short_windows")
@pytest.mark.slow
def test_without_the_processor_for_it(
    monkeypatch: pytest.MonkeyPatch, cifar_slice: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr(shared_library, "has_winograd", lambda _dtype: False)
    assert measurement.best_numerics("cpu").kernels in ("library", "compiled")
    with pytest.raises(
        UserError,
        match=r"kernels = winograd: .* AVX-512 BF16; kernels = library needs nothing",
    ):
        cs.train(Recipe(data=str(cifar_slice), epochs=1, kernels="winograd"), tmp_path)
