"""Networks against hand formulas and plain torch: counts, FLOPs, shapes, pooling, skips,
initialisation, the user's own factories."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from convscope.errors import UserError
from convscope.models.building import build
from convscope.models.layers import ACTIVATIONS, MONOTONE, MaxPool, PickOne
from convscope.models.named import NAMED, parse_model
from convscope.models.sizes import parameters_of, size_of, size_of_module
from convscope.recipe.networks import ConvNet, Custom, Model, SoftmaxRegression

CIFAR = (3, 32, 32)


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(UserError) as error:
        call()
    assert str(error.value).isprintable()
    return str(error.value)


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


# --- any module's size, and the user's own networks


class Odd(nn.Module):
    """A convolution used twice, a functional one, a parameter of the module itself, one without
    gradient, batch normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.shared = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.kernel = nn.Parameter(torch.ones(2, 4, 1, 1))
        self.frozen = nn.Parameter(torch.ones(7), requires_grad=False)
        self.fc = nn.Linear(2, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.shared(self.shared(self.norm(self.first(x))))
        return self.fc(self.drop(F.conv2d(x, self.kernel).mean((2, 3))))


def test_any_module_is_counted_exactly() -> None:
    size = size_of_module(Odd(), (3, 8, 8))
    assert size.parameters == (3 * 4 * 9 + 4) + 4 * 4 * 9 + 8 + 8 + (2 * 5 + 5)
    assert size.flops == 2 * 64 * (3 * 4 * 9 + 2 * 4 * 4 * 9 + 4 * 2) + 2 * 2 * 5
    assert size.parameters == sum(layer.parameters for layer in size.layers)
    assert size.flops == sum(layer.flops for layer in size.layers)


@pytest.mark.parametrize("name", [*sorted(NAMED), "whitened"])
def test_flops_by_layers_are_those_of_torchs_counter(name: str) -> None:
    whitened = ConvNet(4, 2, 2, norm="batch", skip=True, head="gap", stem="whiten", pool_at="first")
    model = whitened if name == "whitened" else NAMED[name]()
    net = build(model, CIFAR, 10)
    size = size_of_module(net, CIFAR)
    assert size == size_of_module(net, CIFAR, by_layers=True) == size_of(model, CIFAR, 10)
    assert size.parameters == parameters_of(model, CIFAR, 10)


def test_a_convolution_used_twice_has_its_filters_once() -> None:
    assert size_of_module(Odd(), (3, 8, 8)).filters == 4 + 4


def test_counting_changes_nothing_in_the_module() -> None:
    net = Odd().train()
    net.norm.eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    modes = [module.training for module in net.modules()]
    size_of_module(net, (3, 8, 8))
    assert [module.training for module in net.modules()] == modes
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in net.modules())
    assert all(p.grad is None for p in net.parameters())
    refused(lambda: size_of_module(net, (1, 8, 8)))
    assert [module.training for module in net.modules()] == modes
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in net.modules())


FACTORIES = """
import torch
from torch import nn

def make(in_shape, num_classes, width=4):
    c, h, w = in_shape
    return nn.Sequential(nn.Conv2d(c, width, 3), nn.ReLU(), nn.Flatten(), nn.Linear(width * (h - 2) * (w - 2), num_classes))

def no_module(in_shape, num_classes):
    return 3

def no_arguments():
    return nn.Flatten()

def breaks(in_shape, num_classes):
    raise KeyError("the weights are at home")

def fixed(in_shape, num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(192, num_classes))

broken = nn.Conv2d
"""


@pytest.fixture
def factories(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> str:
    """A module of the user's in the current directory.

    The name is new for each test, because Python keeps modules.
    """
    name = f"factories_{abs(hash(request.node.nodeid))}"
    (tmp_path / f"{name}.py").write_text(FACTORIES)
    (tmp_path / f"{name}_torn.py").write_text("def make(:\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def test_a_users_factory_is_built_and_counted(factories: str) -> None:
    model = Custom(f"{factories}:make", {"width": 6})
    a, b, other = (build(model, (3, 8, 8), 4, seed) for seed in (1, 1, 2))
    assert torch.equal(a.get_parameter("0.weight"), b.get_parameter("0.weight"))
    assert not torch.equal(a.get_parameter("0.weight"), other.get_parameter("0.weight"))
    size = size_of(model, (3, 8, 8), 4)
    assert (size.filters, size.parameters) == (6, 6 * 28 + 4 * 6 * 36 + 4)
    assert size.flops == 2 * (3 * 6 * 9 * 36 + 6 * 36 * 4)
    assert parse_model(f"{factories}:make") == Custom(f"{factories}:make")
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    build(model, (3, 8, 8), 4, seed=1)
    assert torch.equal(torch.rand(3), expected)  # building draws from a generator of its own


@pytest.mark.parametrize(
    ("name", "part"),
    [
        (":mak", "'make'"),
        (":no_module", "int"),
        (":no_arguments", "no_arguments"),
        (":breaks", "the weights are at home"),
        (":broken", "broken"),
        ("_torn:make", "invalid syntax"),
        ("_nowhere:make", "_nowhere"),
    ],
)
def test_factories_that_fail_are_named(factories: str, name: str, part: str) -> None:
    message = refused(lambda: build(Custom(factories + name), CIFAR, 10))
    assert factories + name in message and part in message


def test_images_that_a_module_does_not_take_are_named(factories: str) -> None:
    assert "1×2×2" in refused(lambda: size_of(Custom(f"{factories}:fixed"), (1, 2, 2), 10))


# --- models from the command line


def test_models_by_name_and_change() -> None:
    for name, make in NAMED.items():
        assert parse_model(name) == make()
    assert parse_model("convnet") == ConvNet()
    changed = parse_model(
        "course-2,width=16,skip=false,hidden=64+32,growth=1.5,norm=batch,pool_sizes="
    )
    assert changed == ConvNet(
        width=16, depth=3, block_depth=3, hidden=(64, 32), growth=1.5, norm="batch"
    )


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("resnet", ["'resnet'", "convnet", "package.module:factory"]),
        ("course-3", ["'course-3'", "did you mean 'course-"]),
        ("convnet,widht=16", ["'widht=16'", "'width'"]),
        ("convnet,width", ["'width'"]),
        ("convnet,", ["''"]),
        ("convnet,width=1e3", ["'width=1e3'", "int"]),
        ("convnet,width=0", ["width = 0"]),
        ("convnet,growth=nan", ["growth", "nan", "finite"]),
        ("convnet,skip=yes", ["'skip=yes'", "true or false"]),
        ("convnet,hidden=64+x", ["'hidden=64+x'", "+"]),
        ("convnet,kernel=4", ["kernel = 4"]),
        ("convnet,pool=mean", ["'mean'", "avg"]),
        ("softmax,width=3", ["'softmax,width=3'", "nothing to change"]),
        (":factory", ["':factory'", "package.module:factory"]),
        ("net.py:factory!", ["'net.py:factory!'"]),
        ("convnet,width\n=3", ["\\n", "'width'"]),
    ],
)
def test_bad_model_texts_are_refused(text: str, parts: list[str]) -> None:
    message = refused(lambda: parse_model(text))
    assert [part for part in parts if part not in message] == []


def test_changes_to_a_factory_are_not_dropped_silently(factories: str) -> None:
    try:
        model = parse_model(f"{factories}:make,width=9")
    except UserError as error:
        assert "width=9" in str(error)
    else:
        assert isinstance(model, Custom) and model.arguments == {"width": 9}
