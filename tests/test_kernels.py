"""Compiled kernels against the library: whole networks and single operations."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from torch import Tensor, nn

import convscope as cs
from convscope.fast import accelerate, operations, pooling, why_not
from convscope.machine import measurement
from convscope.models.building import build
from convscope.recipe.networks import ConvNet
from convscope.recipe.recipe import Recipe
from convscope.training.evaluation import predict
from convscope.training.loop import fit
from convscope.training.metrics import autocast
from convscope.training.tensors import to_device

LAST = torch.channels_last
missing = why_not(torch.bfloat16)
needs_compiler = pytest.mark.skipif(bool(missing), reason=f"no compiled kernels: {missing}")


def images(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return x.to(dtype).contiguous(memory_format=LAST)


def randomised(net: nn.Module) -> nn.Module:
    """Biases, scales and running statistics as no network begins with."""
    generator = torch.Generator().manual_seed(5)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data = 1 + 0.3 * torch.randn(module.weight.shape, generator=generator)
            module.running_mean.normal_(generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
        if isinstance(bias := getattr(module, "bias", None), Tensor):
            bias.data = 0.2 * torch.randn(bias.shape, generator=generator)
    return net.to(memory_format=LAST)


def passed(
    net: nn.Module, x: Tensor, precision: str, kind: str, training: bool = True
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Logits, all gradients as one vector, and buffers after one pass of a copy."""
    net = copy.deepcopy(net).train(training)
    twin = accelerate(net, Recipe(kernels=kind))
    with autocast("cpu", precision), torch.set_grad_enabled(training):
        out = twin(x).float()
    if training:
        F.cross_entropy(out, torch.arange(len(x)) % out.shape[1]).backward()
    gradients = [p.grad.flatten() for p in net.parameters() if p.grad is not None]
    return (
        out.detach(),
        torch.cat(gradients or [torch.zeros(1)]),
        [buffer.float() for buffer in net.buffers()],
    )


def distance(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm().clamp(min=1e-9))


models = st.builds(
    ConvNet,
    width=st.sampled_from([1, 2, 3, 4, 5, 7, 8, 12, 16, 18, 33]),
    depth=st.integers(1, 3),
    block_depth=st.integers(1, 3),
    kernel=st.sampled_from([3, 3, 5]),
    activation=st.sampled_from(["relu", "relu", "identity", "tanh", "gelu"]),
    pool=st.sampled_from(["max", "max", "avg", "stride", "none"]),
    norm=st.sampled_from(["none", "none", "batch", "affine"]),
    skip=st.booleans(),
    head=st.sampled_from(["flatten", "gap"]),
    hidden=st.sampled_from([(), (9,)]),
    stem=st.sampled_from(["none", "none", "whiten"]),
    pool_at=st.sampled_from(["end", "end", "first"]),
)
dilated = st.tuples(models, st.sampled_from([1, 1, 2, 3])).map(
    lambda drawn: replace(drawn[0], dilations=(drawn[1],) * drawn[0].depth)
)


drawn = given(
    model=dilated,
    shape=st.sampled_from([(6, 3, 32, 32), (5, 1, 28, 28), (4, 4, 22, 14), (3, 3, 17, 19)]),
    threads=st.sampled_from([1, 2]),
)


@needs_compiler
@settings(max_examples=12)
@drawn
def test_networks_by_compiled_kernels_are_the_librarys(
    model: ConvNet, shape: tuple[int, ...], threads: int
) -> None:
    check_network(model, shape, threads)


@pytest.mark.slow
@needs_compiler
@drawn
def test_more_networks_by_compiled_kernels_are_the_librarys(
    model: ConvNet, shape: tuple[int, ...], threads: int
) -> None:
    check_network(model, shape, threads)


def check_network(model: ConvNet, shape: tuple[int, ...], threads: int) -> None:
    net, x = randomised(build(model, shape[1:], 10)), images(*shape)
    torch.set_num_threads(threads)
    for training in (True, False):
        out, gradient, buffers = passed(net, x, "float32", "library", training)
        other_out, other_gradient, other_buffers = passed(net, x, "float32", "compiled", training)
        torch.testing.assert_close(other_out, out, rtol=2e-4, atol=2e-4 * float(out.abs().max()))
        # two values of a window that differ by rounding alone may change places: rare, and the
        # gradient differs a little
        assert distance(other_gradient, gradient) < 0.01
        for one, other in zip(buffers, other_buffers, strict=True):
            torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-5)


@needs_compiler
@pytest.mark.parametrize(
    "model",
    [
        ConvNet(16, 3),
        ConvNet(2, 3),
        ConvNet(6, 3, pool="avg"),
        ConvNet(8, 2, block_depth=2, norm="batch", skip=True),
        ConvNet(9, 1, pool="none", head="gap"),
    ],
)
def test_in_bfloat16_they_are_as_near_to_float32_as_the_library(model: ConvNet) -> None:
    net, x = randomised(build(model, (3, 32, 32), 10)), images(96, 3, 32, 32)
    out, gradient, _ = passed(net, x, "float32", "library")
    found = {kind: passed(net, x.bfloat16(), "bfloat16", kind) for kind in ("library", "compiled")}
    assert distance(found["compiled"][0], out) < 1.5 * distance(found["library"][0], out) + 1e-3
    assert (
        distance(found["compiled"][1], gradient)
        < 1.5 * distance(found["library"][1], gradient) + 1e-3
    )


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "shape",
    [(2, 1, 4, 6), (1, 3, 2, 2), (3, 8, 8, 8), (2, 20, 7, 9), (2, 64, 4, 4), (1, 130, 5, 4)],
)
def test_pooling_is_the_librarys_to_the_bit(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = images(*shape, dtype=dtype)
    x[0, 0, 0, 0] = -float("inf")
    x[0, 0, 0, 1] = x[0, 0, 1, 0]  # a tie
    for relu in (False, True):
        one, two = (x.clone(memory_format=torch.preserve_format).requires_grad_() for _ in range(2))
        y, expected = (
            pooling.Pool.apply(one, "max", relu),
            F.max_pool2d(F.relu(two) if relu else two, 2),
        )
        assert torch.equal(y, expected)
        g = images(*y.shape, seed=3, dtype=dtype)
        y.backward(g), expected.backward(g)
        assert torch.equal(one.grad, two.grad)
        one, two = (x.clamp(min=-5).requires_grad_() for _ in range(2))
        y, expected = (
            pooling.Pool.apply(one, "mean", relu),
            F.avg_pool2d(F.relu(two.float()) if relu else two.float(), 2),
        )
        torch.testing.assert_close(
            y.float(), expected, rtol=1e-2 if dtype == torch.bfloat16 else 1e-6, atol=1e-6
        )
        y.backward(g), expected.backward(g.float())
        torch.testing.assert_close(one.grad, two.grad, rtol=1e-6, atol=0)


@needs_compiler
@pytest.mark.parametrize("value", [float("nan"), -float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_not_finite_is_passed_on(value: float, dtype: torch.dtype) -> None:
    x = images(2, 3, 8, 8, dtype=dtype)
    x[1, 2, 5, 4] = value
    for y in (
        pooling.Pool.apply(x, "max", True),
        pooling.Pool.apply(x, "max", False),
        pooling.Pool.apply(x, "mean", True),
    ):
        assert not y[1, 2, 2, 2].isfinite() and int((~y.isfinite()).sum()) == 1
    assert not pooling.GlobalPool.apply(x, True)[1, 2].isfinite()
    weight = torch.full((8, 3, 3, 3), value)
    assert (
        not operations.FirstBlock.apply(
            images(1, 3, 8, 8, dtype=dtype).abs(), weight, torch.zeros(8), False
        )
        .isfinite()
        .any()
    )


@needs_compiler
def test_normalisation_of_far_values_loses_nothing_to_cancellation() -> None:
    x = 1000 + images(64, 5, 8, 8) * torch.tensor([0.1, 1.0, 10.0, 1e-2, 3.0])[:, None, None]
    norm = nn.BatchNorm2d(5)
    y, mean, variance = operations.Normalise.apply(
        x.contiguous(memory_format=LAST), norm.weight, norm.bias, None, norm.eps, ""
    )
    exact = x.double()
    torch.testing.assert_close(mean.double(), exact.mean((0, 2, 3)), rtol=1e-6, atol=0)
    torch.testing.assert_close(
        variance.double(), exact.var((0, 2, 3), correction=0), rtol=1e-4, atol=0
    )
    torch.testing.assert_close(
        y, F.batch_norm(x.double(), None, None, training=True).float(), rtol=1e-3, atol=5e-3
    )


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("channels", [1, 5, 64, 700])
def test_normalisation_with_gelu(channels: int, dtype: torch.dtype) -> None:
    """Outputs, gradients of inputs, scale and shift, and evaluation, far into both tails."""
    tolerance = (
        {"rtol": 1e-4, "atol": 2e-5} if dtype == torch.float32 else {"rtol": 2e-2, "atol": 2e-2}
    )
    norm = nn.BatchNorm2d(channels)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        (
            norm.weight.uniform_(0.5, 8, generator=generator),
            norm.bias.uniform_(-3, 3, generator=generator),
        )
    same = copy.deepcopy(norm).double()
    x, g = (images(6, channels, 6, 8, seed=seed, dtype=dtype) for seed in (1, 2))
    one, two = (
        x.clone(memory_format=torch.preserve_format).requires_grad_(),
        x.double().requires_grad_(),
    )
    y, exact = operations.batch_norm(norm, one, None, "gelu"), F.gelu(same(two), approximate="tanh")
    torch.testing.assert_close(y.double(), exact, **tolerance)
    y.backward(g), exact.backward(g.double())
    found = (one.grad, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var)
    wanted = (two.grad, same.weight.grad, same.bias.grad, same.running_mean, same.running_var)
    for a, b in zip(found, wanted, strict=True):
        assert a is not None and b is not None
        assert (a.double() - b).norm() <= (1e-5 if dtype == torch.float32 else 1e-2) * b.norm()
    norm.eval(), same.eval()
    with torch.no_grad():
        exact = F.gelu(same(x.double()), approximate="tanh")
        torch.testing.assert_close(
            operations.batch_norm(
                norm, x.clone(memory_format=torch.preserve_format), None, "gelu"
            ).double(),
            exact,
            **tolerance,
        )
    exact = F.gelu(x.double(), approximate="tanh")
    torch.testing.assert_close(operations.activate(x, "gelu").double(), exact, **tolerance)


def test_networks_outside_of_training_never_use_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("operations", "pooling"):
        monkeypatch.setattr(
            f"convscope.fast.{name}.kernels_for",
            lambda _dtype: pytest.fail("a compiled kernel was asked for"),
        )
    net = build(ConvNet(4, 2), (3, 8, 8), 3)
    net(images(2, 3, 8, 8))
    twin = accelerate(net, Recipe(kernels="compiled"))
    net(images(2, 3, 8, 8))  # having a twin changes nothing
    twin(torch.randn(2, 3, 8, 8))  # contiguous
    twin.double()(images(2, 3, 8, 8).double())


@needs_compiler
def test_a_run_by_compiled_kernels_is_another_run_with_about_the_same_result(
    cifar_slice: Path,
) -> None:
    data = cs.load(cifar_slice)
    recipe = Recipe(data=str(cifar_slice), model=ConvNet(8, 2), epochs=2, precision="float32")
    losses: dict[str, list[Any]] = {}
    for kind in ("library", "compiled"):
        one = replace(recipe, kernels=kind)
        net, tensors = build(one.model, data.in_shape, data.num_classes, 0), to_device(data, one)
        rows: list[Any] = []
        fit(net, tensors, one, lambda row, _state, rows=rows: rows.append(row))
        losses[kind] = [row["val_loss"] for row in rows]
        assert predict(net, tensors, "test", one).shape == (len(data.test), data.num_classes)
    assert losses["compiled"] == pytest.approx(losses["library"], rel=2e-3)
    assert recipe.id != replace(recipe, kernels="compiled").id


@needs_compiler
def test_kernels_that_answer_wrongly_are_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert measurement.agrees("bfloat16", "compiled") and measurement.agrees("float32", "compiled")
    monkeypatch.setattr(
        operations.Flatten,
        "backward",
        staticmethod(lambda ctx, g: torch.zeros(ctx.shape, dtype=g.dtype)),
    )
    assert not measurement.agrees("float32", "compiled")
