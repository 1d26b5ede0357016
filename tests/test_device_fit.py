"""What a network needs on a device, against sums by hand and against published figures."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import convscope as cs
from convscope.deployment import needs_of
from convscope.deployment.device_graph import Graph, Operator
from convscope.deployment.device_order import Memory, best_order
from convscope.planning import leaves_room
from tests.commands import Cli


class Calls(nn.Module):
    """A network whose forward pass is a function of its layers."""

    def __init__(self, function: Callable[[Any, Tensor], Any], **layers: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


class Residual(nn.Module):
    """As in ResNet-8 of MLPerf Tiny: two convolutions, a 1×1 convolution where the map halves."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.deep = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1),
            nn.BatchNorm2d(outputs),
        )
        self.short = nn.Conv2d(inputs, outputs, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.deep(x) + self.short(x))


def resnet8() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 1, 1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        Residual(16, 16, 1),
        Residual(16, 32, 2),
        Residual(32, 64, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 10),
    )


def test_resnet_8_has_the_published_weights_and_the_activations_of_the_formula() -> None:
    """ST's model zoo states 76.9 KiB of weights; three maps of 16×32×32 are 48 KiB."""
    fit = cs.device_fit(resnet8(), (3, 32, 32))
    assert fit.weight_bytes == 77_360 + 4 * 346 == 78_744  # int8 weights, int32 biases
    assert round(fit.weight_bytes / 1024, 1) == 76.9
    assert fit.peak_bytes == 48 * 1024
    assert fit.peak is not None and fit.peak.name == "3.deep.3"
    assert (fit.peak.inputs, fit.peak.output, fit.peak.held) == (16_384, 16_384, 16_384)
    assert fit.macs == 12_501_632  # as MLPerf Tiny: 12.5 M
    assert not fit.notes


def test_a_chain_by_hand() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, 10)
    )
    fit = cs.device_fit(net, (3, 8, 8))
    assert [(n.kind, n.inputs, n.output, n.held) for n in fit.operators] == [
        ("conv + relu", 192, 512, 0),
        ("max pool", 512, 128, 0),
        ("linear", 128, 10, 0),
    ]
    assert fit.peak_bytes == 704
    assert fit.weight_bytes == 216 + 32 + 1280 + 40
    assert fit.macs == 216 * 64 + 1280
    whole = cs.device_fit(net, (3, 8, 8), fuse_pooling=True)
    assert [n.kind for n in whole.operators] == ["conv + relu + max pool", "linear"]
    assert whole.peak_bytes == 192 + 128
    assert cs.device_fit(net, (3, 8, 8), bits=32).peak_bytes == 4 * 704
    assert cs.device_fit(net, (3, 8, 8), bits=4).weight_bytes == 108 + 32 + 640 + 40


def test_a_skip_is_held_until_the_sum() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        first = m.a(x)
        return m.c(torch.relu(m.b(first))) + first

    net = Calls(
        forward,
        a=nn.Conv2d(1, 4, 1),
        b=nn.Conv2d(4, 2, 1),
        c=nn.Conv2d(2, 4, 1),
    )
    fit = cs.device_fit(net, (1, 4, 4))
    assert [(n.name, n.bytes, n.held) for n in fit.operators] == [
        ("a", 16 + 64, 0),
        ("b", 64 + 32, 0),  # the skip is its input
        ("c", 32 + 64 + 64, 64),
        ("", 64 + 64 + 64, 0),
    ]
    assert fit.peak is not None and fit.peak.kind == "add"
    assert cs.device_fit(net, (1, 4, 4), add_in_place=True).peak_bytes == 160


def test_branches_run_in_the_best_order() -> None:
    """Written: the wide branch's result waits while the other one has its wide middle."""

    def forward(m: Any, x: Tensor) -> Tensor:
        big = m.big(x)
        return torch.cat([big, m.down(torch.relu(m.up(x)))], 1)

    net = Calls(
        forward,
        big=nn.Conv2d(1, 8, 1),
        up=nn.Conv2d(1, 16, 1),
        down=nn.Conv2d(16, 1, 1),
    )
    fit = cs.device_fit(net, (1, 4, 4))
    # up: 1 + 16, down: 16 + 1, and the image is held; big: 1 + 8 with 1 held; sum 9 + 9
    assert [n.name for n in fit.operators] == ["up", "down", "big", ""]
    assert fit.peak_bytes == 16 * (9 + 9)
    # as written, `down` has 16 + 1 and the 8 of `big` wait
    assert fit.written_bytes == 16 * (16 + 1 + 8)


def random_graph(draw: Any) -> Graph:
    """Up to six operators, each of one or two earlier values."""
    count = draw(st.integers(1, 6))
    shapes: dict[int, tuple[int, ...]] = {0: (draw(st.integers(1, 30)),)}
    operators = []
    for i in range(1, count + 1):
        inputs = draw(st.lists(st.integers(0, i - 1), min_size=1, max_size=2, unique=True))
        shapes[i] = (draw(st.integers(1, 30)),)
        over = inputs[0] if draw(st.booleans()) else None
        operators.append(Operator("", "any", tuple(inputs), (i,), over=over))
    read = {value for operator in operators for value in operator.inputs}
    return Graph(tuple(operators), shapes, (0,), tuple(set(shapes) - read - {0}))


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_no_order_has_a_lower_peak_than_the_best_one(data: st.DataObject) -> None:
    graph = random_graph(data.draw)
    memory = Memory(graph, 8)

    def peak(order: Any) -> int:
        return max(moment.total for moment in memory.run(order))

    def possible(order: tuple[int, ...]) -> bool:
        place = {i: k for k, i in enumerate(order)}
        return all(
            value == 0 or place[value - 1] < place[i]
            for i, operator in enumerate(graph.operators)
            for value in operator.inputs
        )

    orders = itertools.permutations(range(len(graph.operators)))
    found = best_order(memory)
    assert found is not None and possible(tuple(found))
    assert peak(found) == min(peak(order) for order in orders if possible(order))


CHOICES = {
    "width": [1, 3, 8],
    "depth": [1, 2, 3],
    "block_depth": [1, 2, 3, 4],
    "growth": [0.5, 1.0, 2.0],
    "kernel": [1, 3],
    "activation": ["relu", "gelu", "identity"],
    "pool": ["max", "avg", "stride", "none"],
    "norm": ["none", "batch", "group", "affine"],
    "skip": [False, True],
    "head": ["flatten", "gap"],
    "hidden": [(), (7,)],
    "order": ["natural", "random", "per-sample"],
    "pixels": ["natural", "random"],
    "stem": ["none", "whiten"],
    "pool_at": ["end", "first"],
}


@settings(max_examples=25, deadline=None)
@given(
    st.fixed_dictionaries({name: st.sampled_from(values) for name, values in CHOICES.items()}),
    st.sampled_from([(3, 11, 8), (1, 9, 16)]),
    st.sampled_from([2, 8, 32]),
)
def test_the_family_by_arithmetic_is_what_its_operators_say(
    fields: dict[str, Any], shape: tuple[int, int, int], bits: int
) -> None:
    if fields["head"] == "gap":
        fields["order"] = "natural"
    model = cs.ConvNet(**fields)
    if not leaves_room(model, shape):
        return
    fit, needs = cs.device_fit(model, shape, bits, num_classes=7), needs_of(model, shape, 7, bits)
    assert (fit.peak_bytes, fit.weight_bytes, fit.macs) == (
        needs.peak_bytes,
        needs.weight_bytes,
        needs.macs,
    )
    assert 2 * fit.macs == cs.size_of(model, shape, 7).flops
    assert not fit.notes


@pytest.mark.parametrize("name", ["softmax", "course-1", "course-2", "shallow-gap"])
def test_named_networks(name: str, cli: Cli) -> None:
    tree = json.loads(cli("inspect", name, "--bits", 8, "--json").out)
    device = tree["device"]
    assert 2 * device["macs"] == tree["flops"]
    assert device["weight_bytes"] >= tree["parameters"]
    assert device["peak_bytes"] == max(one["bytes"] for one in device["operators"])


def test_inspect_shows_where_the_peak_lies(cli: Cli) -> None:
    out = cli("inspect", "shallow-gap", "--bits", 8).out
    (marked,) = [line for line in out.splitlines() if "<- peak" in line]
    assert marked.startswith("blocks.0.convs.0")
    assert "peak memory of the feature maps at 8 bits: 19.0 KiB" in out
    assert "assumed: " in out
    answer = cli("inspect", "softmax", "--bits", 7)
    assert answer.code == 2 and "bits = 7: must be one of 2, 4, 8, 16, 32" in answer.err


def test_networks_of_the_strong_recipe() -> None:
    from convscope.recipes.strong import network

    net = network((3, 32, 32), 10)
    fit = cs.device_fit(net, (3, 32, 32))
    assert (
        2 * fit.macs
        == cs.size_of(cs.Custom("convscope.recipes.strong:network"), (3, 32, 32), 10).flops
    )
    assert fit.peak is not None and fit.peak.name == "blocks.0.conv1"
    assert fit.peak_bytes == 24 * 32 * 32 + 64 * 32 * 32
    assert not fit.notes


def test_shared_weights_are_stored_once_and_slices_are_copies() -> None:
    shared = nn.Conv2d(4, 4, 1, bias=False)

    def forward(m: Any, x: Tensor) -> Tensor:
        left, right = m.conv(m.conv(x)).chunk(2, 1)
        return left * torch.sigmoid(right)

    fit = cs.device_fit(Calls(forward, conv=shared), (4, 2, 2))
    assert fit.weight_bytes == 16 and fit.macs == 2 * 16 * 4
    assert [n.bytes for n in fit.operators] == [32, 32, 32, 16, 24]


def test_recurrent_layers_and_attention_are_counted_in_full() -> None:
    class Rows(nn.Module):
        """An LSTM over the rows of an image."""

        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(8, 5, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.lstm(x[:, 0])[0][:, -1]

    fit = cs.device_fit(Rows(), (1, 6, 8))
    # the first state is zero: what it adds is a constant
    assert fit.macs == 6 * 20 * 8 + 5 * 20 * 5
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    net = Calls(lambda m, x: m.layer(x[:, 0]), layer=layer)
    counted = cs.device_fit(net, (1, 6, 8))
    assert counted.macs == 6 * (8 * 24 + 8 * 8 + 2 * 8 * 16) + 2 * 6 * 6 * 8
    assert not counted.notes and not fit.notes


def test_what_cannot_be_seen_is_said() -> None:
    def outside(m: Any, x: Tensor) -> Tensor:
        return m.fc(x.flatten(1) + torch.from_numpy(np.sort(x.flatten(1).numpy())))

    fit = cs.device_fit(Calls(outside, fc=nn.Linear(16, 2)), (1, 4, 4))
    assert any("outside torch" in note for note in fit.notes)

    def looks(m: Any, x: Tensor) -> Tensor:
        return m.fc(x.flatten(1)) * (2 if float(x.mean()) > 0 else 1)

    fit = cs.device_fit(Calls(looks, fc=nn.Linear(16, 2)), (1, 4, 4))
    assert any("looks at values" in note for note in fit.notes)
    fixed = torch.arange(16.0)
    plain = Calls(lambda m, x: m.fc(x.flatten(1) + fixed), fc=nn.Linear(16, 2))
    assert not cs.device_fit(plain, (1, 4, 4)).notes
    with pytest.raises(cs.UserError, match="does not take 3×4×4 images"):
        cs.device_fit(plain, (3, 4, 4))


def test_in_place_calls_and_the_module_itself_are_left_alone() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        first = F.relu_(m.a(x))
        out = m.b(first)
        out += first
        return out

    net = Calls(forward, a=nn.Conv2d(1, 4, 1), b=nn.Conv2d(4, 4, 1)).train()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    fit = cs.device_fit(net, (1, 4, 4))
    assert [n.kind for n in fit.operators] == ["conv + relu", "conv", "add"]
    assert fit.operators[-1].bytes == 64 + 64  # written over one of them, as the code says
    assert net.training
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
