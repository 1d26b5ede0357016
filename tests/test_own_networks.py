"""Sizes of any module, the user's own factories, models from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from refusing import refused
from torch import Tensor, nn

from convscope.errors import UserError
from convscope.models.building import build
from convscope.models.named import NAMED, parse_model
from convscope.models.sizes import parameters_of, size_of, size_of_module
from convscope.recipe.networks import ConvNet, Custom

CIFAR = (3, 32, 32)


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
    last = nn.Linear(width * (h - 2) * (w - 2), num_classes)
    return nn.Sequential(nn.Conv2d(c, width, 3), nn.ReLU(), nn.Flatten(), last)

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
