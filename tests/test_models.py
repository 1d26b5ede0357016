"""Networks against hand formulas and plain torch: counts, FLOPs, shapes, pooling, skips,
initialisation."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from refusing import refused
from torch import Tensor, nn

from convscope.models.building import build
from convscope.models.layers import ACTIVATIONS, MONOTONE, MaxPool, PickOne
from convscope.models.named import NAMED
from convscope.models.sizes import size_of
from convscope.probes.fields import receptive_field
from convscope.recipe.networks import ConvNet, Model, SoftmaxRegression

CIFAR = (3, 32, 32)


# --- exact sizes


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        (NAMED["shallow-gap"](), 618),
        (NAMED["shallow-flatten"](), 61_618),
        (NAMED["softmax"](), 30_730),
        (NAMED["double-descent"](), 1_558_026),
        (ConvNet(width=32, depth=3), 113_738),
        (ConvNet(width=32, depth=1, pool="none"), 328_586),
        (ConvNet(width=64, depth=3), 411_786),
    ],
)
def test_parameters_are_the_known_numbers(model: Model, parameters: int) -> None:
    assert size_of(model, CIFAR, 10).parameters == parameters
    assert sum(p.numel() for p in build(model, CIFAR, 10).parameters()) == parameters


def test_filters_and_flops_of_a_network_by_hand() -> None:
    size = size_of(ConvNet(width=32, depth=3), CIFAR, 10)
    assert size.filters == 32 + 64 + 128
    assert size.flops == 2 * (
        3 * 32 * 9 * 1024 + 32 * 64 * 9 * 256 + 64 * 128 * 9 * 64 + 128 * 16 * 10
    )
    assert size_of(SoftmaxRegression(), CIFAR, 10).flops == 2 * 3072 * 10
    assert size.flops == sum(layer.flops for layer in size.layers)
    assert size.parameters == sum(layer.parameters for layer in size.layers)
    text = str(size)
    assert "113,738" in text and "total" in text and "32×32×32" in text


@st.composite
def networks(draw: st.DrawFn) -> tuple[ConvNet, tuple[int, int, int], int]:
    depth = draw(st.integers(1, 4))
    model = ConvNet(
        width=draw(st.integers(1, 6)),
        depth=depth,
        block_depth=draw(st.integers(1, 3)),
        growth=draw(st.sampled_from([0.5, 1.0, 1.5, 2.0])),
        kernel=draw(st.sampled_from([1, 3, 5])),
        activation=draw(st.sampled_from(sorted(ACTIVATIONS))),
        pool=draw(st.sampled_from(["max", "avg", "stride", "none"])),
        pool_sizes=tuple(
            draw(st.just([]) | st.lists(st.integers(1, 3), min_size=depth, max_size=depth))
        ),
        norm=draw(st.sampled_from(["none", "batch", "group"])),
        skip=draw(st.booleans()),
        head=draw(st.sampled_from(["flatten", "gap"])),
        hidden=tuple(draw(st.lists(st.integers(1, 7), max_size=2))),
        dilations=tuple(
            draw(st.just([]) | st.lists(st.integers(1, 4), min_size=depth, max_size=depth))
        ),
    )
    return (
        model,
        (draw(st.integers(1, 4)), draw(st.integers(3, 19)), draw(st.integers(3, 19))),
        draw(st.integers(2, 11)),
    )


def by_hand(
    model: ConvNet, in_shape: tuple[int, int, int], classes: int
) -> tuple[int, int, int] | None:
    """(filters, parameters, FLOPs) counted without torch; None where a feature map would vanish."""
    channels, height, width = in_shape
    filters = parameters = flops = 0
    for block in range(model.depth):
        out = max(1, round(model.width * model.growth**block))
        for _ in range(model.block_depth):
            filters += out
            parameters += (
                channels * out * model.kernel**2 + out + (0 if model.norm == "none" else 2 * out)
            )
            flops += 2 * channels * out * model.kernel**2 * height * width
            channels = out
        pool = 1 if model.pool == "none" else model.pool_sizes[block] if model.pool_sizes else 2
        height, width = height // pool, width // pool
        if not height or not width:
            return None
    sizes = [channels * (1 if model.head == "gap" else height * width), *model.hidden, classes]
    for a, b in itertools.pairwise(sizes):
        parameters += a * b + b
        flops += 2 * a * b
    return filters, parameters, flops


@given(networks())
@settings(max_examples=100)
def test_sizes_and_shapes_of_random_networks(
    drawn: tuple[ConvNet, tuple[int, int, int], int],
) -> None:
    model, in_shape, classes = drawn
    expected = by_hand(model, in_shape, classes)
    if expected is None:
        assert f"depth = {model.depth}" in refused(lambda: build(model, in_shape, classes))
        refused(lambda: size_of(model, in_shape, classes))
        return
    size = size_of(model, in_shape, classes)
    assert (size.filters, size.parameters, size.flops) == expected
    with torch.no_grad():
        assert build(model, in_shape, classes)(torch.randn(3, *in_shape)).shape == (3, classes)


def test_dilation_changes_the_field_and_nothing_else() -> None:
    """Parameters, filters and FLOPs are equal, and the convolution is torch's dilated one."""
    plain = ConvNet(6, 1, pool="none")
    sizes = {size_of(replace(plain, dilations=(d,)), CIFAR, 10) for d in (1, 2, 3, 7)}
    assert len({(size.filters, size.parameters, size.flops) for size in sizes}) == 1
    x, fields = torch.randn(2, *CIFAR, generator=torch.Generator().manual_seed(0)), []
    for d in (1, 2, 3, 7):
        net = build(replace(plain, dilations=(d,)), CIFAR, 10, seed=3)
        conv = net.get_submodule("blocks.0.convs.0")
        weight, bias = conv.get_parameter("weight"), conv.get_parameter("bias")
        expected = F.relu(F.conv2d(x, weight, bias, padding=d, dilation=d))
        torch.testing.assert_close(net.get_submodule("blocks")(x), expected)
        first = build(plain, CIFAR, 10, seed=3).state_dict()["blocks.0.convs.0.weight"]
        assert torch.equal(weight, first)
        fields.append(next(row.size for row in receptive_field(net, CIFAR)))
    assert fields == [3, 5, 7, 15]


@pytest.mark.parametrize("pool", ["max", "avg", "stride"])
def test_too_deep_for_the_images_names_the_depth_that_fits(pool: str) -> None:
    message = refused(lambda: build(ConvNet(width=1, depth=7, pool=pool), CIFAR, 10))
    assert "depth = 7" in message and "depth at most 5" in message and "32×32" in message
    build(ConvNet(width=1, depth=5, pool=pool), CIFAR, 10)
    build(ConvNet(width=1, depth=7, pool="none"), CIFAR, 10)


def test_a_network_beyond_memory_is_refused_before_it_is_built() -> None:
    assert "65536" in refused(
        lambda: build(ConvNet(width=65_536, depth=8, growth=1.0), (3, 512, 512), 10)
    )


# --- forward against plain torch


def reference(net: nn.Module, model: ConvNet, x: Tensor) -> Tensor:
    """The network of a recipe in plain torch, with the weights of `net`.

    The activation always stands before the pooling.
    """
    weights = dict(net.named_parameters())
    act = ACTIVATIONS[model.activation]
    pools = {
        "max": F.max_pool2d,
        "avg": F.avg_pool2d,
        "stride": lambda x, size: first_of_each_window(x, size),
    }
    for b, pool in enumerate(model.pools):
        first = None
        for i in range(model.block_depth):
            x = F.conv2d(
                x,
                weights[f"blocks.{b}.convs.{i}.weight"],
                weights[f"blocks.{b}.convs.{i}.bias"],
                padding=model.kernel // 2,
            )
            if i == model.block_depth - 1:
                x = x + first if model.skip and first is not None else x
            x = act(x)
            first = x if first is None else first
        x = pools[model.pool](x, pool) if pool > 1 else x
    x = x.mean((2, 3)) if model.head == "gap" else x.flatten(1)
    linear = [weights[name] for name in weights if name.startswith("fc")]
    for i in range(0, len(linear), 2):
        x = F.linear(act(x) if i else x, linear[i], linear[i + 1])
    return x


def first_of_each_window(x: Tensor, size: int) -> Tensor:
    return x.unfold(2, size, size).unfold(3, size, size)[..., 0, 0]


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("pool", ["max", "avg", "stride", "none"])
def test_forward_equals_plain_torch(activation: str, pool: str) -> None:
    x = torch.randn(4, 3, 13, 10, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for block_depth, skip in ((1, False), (1, True), (2, True), (3, True), (3, False)):
        model = ConvNet(
            width=4,
            depth=2,
            block_depth=block_depth,
            kernel=5,
            activation=activation,
            pool=pool,
            skip=skip,
            hidden=(7,),
            head="gap" if skip else "flatten",
        )
        net = build(model, (3, 13, 10), 5).double()
        for p in net.parameters():  # biases are zero at the start
            p.data = p.data + 0.1
        with torch.no_grad():
            torch.testing.assert_close(net(x), reference(net, model, x), rtol=1e-12, atol=1e-12)


def test_a_skip_adds_the_first_activation_to_the_input_of_the_last_one() -> None:
    net = build(
        ConvNet(width=4, depth=1, block_depth=3, skip=True, pool="none", head="gap"), (3, 8, 8), 2
    ).double()
    for conv in net.get_submodule("blocks.0.convs")[1:]:
        conv.weight.data.zero_()
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    first = F.relu(F.conv2d(x, net.get_parameter("blocks.0.convs.0.weight"), padding=1))
    fc = net.get_submodule("fc")
    torch.testing.assert_close(
        net(x), fc(first.mean((2, 3)))
    )  # the branch gives zero, the skip alone is left


# --- pooling


@pytest.mark.parametrize("name", sorted(MONOTONE))
@pytest.mark.parametrize("size", [(8, 8), (7, 9)])
def test_monotone_activations_commute_with_max_pooling(name: str, size: tuple[int, int]) -> None:
    x = torch.randn(3, 4, *size, generator=torch.Generator().manual_seed(3))
    act = ACTIVATIONS[name]
    assert torch.equal(act(MaxPool(2)(x)), MaxPool(2)(act(x)))


def test_the_activations_that_are_not_monotone_do_not_commute() -> None:
    x = torch.linspace(-3, 0, 64).reshape(1, 1, 8, 8)
    for name in set(ACTIVATIONS) - MONOTONE:
        act = ACTIVATIONS[name]
        assert not torch.equal(act(MaxPool(2)(x)), MaxPool(2)(act(x)))


@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize("shape", [(12, 12), (13, 10), (4, 7)])
def test_strided_pooling_keeps_the_first_pixel_of_each_window(
    size: int, shape: tuple[int, int]
) -> None:
    x = torch.arange(2 * shape[0] * shape[1], dtype=torch.float32).reshape(1, 2, *shape)
    assert torch.equal(PickOne(size)(x), first_of_each_window(x, size))
    assert PickOne(size)(x).shape == F.max_pool2d(x, size).shape
    assert torch.equal(
        PickOne(size)(2 * x - 3 * x.flip(-1)), 2 * PickOne(size)(x) - 3 * PickOne(size)(x.flip(-1))
    )


# --- initialisation


@pytest.mark.parametrize(
    "model",
    [
        ConvNet(width=8, norm="batch"),
        SoftmaxRegression(),
        ConvNet(width=8, hidden=(16,), head="gap"),
    ],
)
def test_the_seed_decides_the_weights(model: Model) -> None:
    first, again, other = (build(model, CIFAR, 10, seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    weights = [name for name in first if name.endswith("weight") and first[name].ndim > 1]
    assert weights and not any(torch.equal(first[name], other[name]) for name in weights)


@pytest.mark.parametrize(("activation", "gain"), [("relu", math.sqrt(2)), ("identity", 1.0)])
def test_weights_are_he_normal_and_biases_zero(activation: str, gain: float) -> None:
    net = build(ConvNet(width=64, depth=3, hidden=(128,), activation=activation), CIFAR, 100)
    layers = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == 5
    for layer in layers:
        fan_in, count = layer.weight[0].numel(), layer.weight.numel()
        expected = (1.0 if layer is layers[-1] else gain) / math.sqrt(fan_in)
        assert layer.weight.std().item() == pytest.approx(
            expected, rel=4 / math.sqrt(2 * count)
        )  # 4 standard errors
        assert abs(layer.weight.mean().item()) < 4 * expected / math.sqrt(count)
        assert layer.bias is not None and not layer.bias.any()
