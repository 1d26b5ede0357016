"""Receptive fields against published figures, arithmetic and perturbation; an effective field."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convscope.errors import UserError
from convscope.models.building import build
from convscope.models.named import NAMED
from convscope.models.sizes import size_of_module
from convscope.probes.effective import effective_field
from convscope.probes.fields import receptive_field
from convscope.probes.perturbation import reach
from convscope.recipe.networks import ConvNet


def vgg16() -> nn.Sequential:
    """Configuration D of Simonyan & Zisserman 2015, two channels a layer."""
    layers: list[nn.Module] = []
    channels = 3
    for count in (2, 2, 3, 3, 3):
        for _ in range(count):
            layers += [nn.Conv2d(channels, 2, 3, padding=1), nn.ReLU()]
            channels = 2
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


def alexnet() -> nn.Sequential:
    """Krizhevsky 2014 (one weird trick), as in torchvision, two channels a layer."""
    return nn.Sequential(
        *(nn.Conv2d(3, 2, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(2, 2, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(2, 2, 3, padding=1), nn.ReLU(), nn.Conv2d(2, 2, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(2, 2, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2)),
    )


class Residual(nn.Module):
    """The blocks of He et al. 2015: two 3×3 convolutions, or 1×1, 3×3 (with the stride), 1×1."""

    def __init__(self, channels: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        kernels = (1, 3, 1) if bottleneck else (3, 3)
        strides = (1, stride, 1) if bottleneck else (stride, 1)
        width = [channels] + [2] * len(kernels)
        self.convs = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width[i], 2, k, s, k // 2, bias=False), nn.BatchNorm2d(2))
            for i, (k, s) in enumerate(zip(kernels, strides, strict=True))
        )
        self.shortcut = (
            nn.Conv2d(channels, 2, 1, stride) if stride > 1 or channels != 2 else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        out = x
        for i, conv in enumerate(self.convs):
            out = conv(out) if i == 0 else conv(F.relu(out))
        out += self.shortcut(x)
        return F.relu(out)


def resnet(blocks: tuple[int, ...], bottleneck: bool) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(3, 2, 7, 2, 3),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, 1),
    ]
    for stage, count in enumerate(blocks):
        layers += [Residual(2, 2 if stage and not i else 1, bottleneck) for i in range(count)]
    return nn.Sequential(*layers)


@pytest.mark.parametrize(
    ("make", "size", "stride"),
    [
        (vgg16, 212, 32),
        (alexnet, 195, 32),
        (lambda: resnet((2, 2, 2, 2), False), 435, 32),
        (lambda: resnet((3, 4, 6, 3), True), 427, 32),
    ],
    ids=["VGG-16", "AlexNet", "ResNet-18", "ResNet-50"],
)
def test_published_figures(make: Callable[[], nn.Module], size: int, stride: int) -> None:
    """Araujo, Norris & Sim 2019 list 212, 195, 435; ResNet-50 with the stride in 3×3 has 427."""
    last = receptive_field(make(), (3, 224, 224))[-1]
    assert (last.size, last.stride) == (size, stride)


def test_chain_of_3x3() -> None:
    rows = receptive_field(
        nn.Sequential(*(nn.Conv2d(2, 2, 3, padding=1) for _ in range(4))), (2, 32, 32)
    )
    assert [row.size for row in rows] == [3, 5, 7, 9]
    assert [row.start for row in rows] == [-1, -2, -3, -4]
    assert [row.stride for row in rows] == [1, 1, 1, 1]


def test_size_is_not_clipped_to_the_image() -> None:
    rows = receptive_field(
        nn.Sequential(*(nn.Conv2d(1, 1, 3, padding=1) for _ in range(10))), (1, 8, 8)
    )
    assert rows[-1].size == 21


CASES: dict[str, tuple[Callable[[], nn.Module], list[tuple[int, int, int]]]] = {
    "dilation": (
        lambda: nn.Sequential(nn.Conv2d(1, 1, 3, dilation=2, padding=2), nn.Conv2d(1, 1, 3, 2)),
        [(5, 1, -2), (7, 2, -2)],
    ),
    "pooling": (
        lambda: nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(1, 1, 3, padding=1), nn.AvgPool2d(3, 2)),
        [(2, 2, 0), (6, 2, -2), (10, 4, -2)],
    ),
    "circular": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 1, 5, padding=2, padding_mode="circular"), nn.Conv2d(1, 1, 3)
        ),
        [(5, 1, -2), (7, 1, -2)],
    ),
    "reflect": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 1, 5, padding=2, padding_mode="reflect"), nn.Hardswish()
        ),
        [(5, 1, -2), (5, 1, -2)],
    ),
    "padding": (
        lambda: nn.Sequential(nn.ZeroPad2d((3, 1, 3, 1)), nn.Conv2d(1, 1, 2)),
        [(1, 1, -3), (2, 1, -3)],
    ),
    "transposed": (
        lambda: nn.Sequential(nn.Conv2d(1, 1, 2, 2), nn.ConvTranspose2d(1, 1, 2, 2)),
        [(2, 2, 0), (3, 1, -1)],
    ),
    "shuffle": (
        lambda: nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4, 4, 1), nn.Flatten()),
        [(2, 2, 0), (2, 2, 0), (32, 0, 0)],
    ),
    "global": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 1, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 3)
        ),
        [(3, 1, 0), *[(32, 0, 0)] * 3],
    ),
    "group norm": (
        lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.GroupNorm(1, 2)),
        [(3, 1, 0), (32, 0, 0)],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_by_hand(name: str) -> None:
    make, expected = CASES[name]
    assert [
        (r.size, r.stride or 0, r.start) for r in receptive_field(make(), (1, 32, 32))
    ] == expected


class Branches(nn.Module):
    """Branches of 1×1 and dilated 5×5 joined, a channels-last linear layer, every second pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.near, self.far = nn.Conv2d(1, 2, 1), nn.Conv2d(1, 2, 5, padding=4, dilation=2)
        self.mix = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        joined = torch.cat([self.near(x), self.far(x)], dim=1)
        mixed = self.mix(joined.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return mixed[..., ::2, 1::2]


class Gate(nn.Module):
    """Squeeze and excitation: every output depends on the whole input."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 2, 3, padding=1), nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x * torch.sigmoid(self.fc(x.mean((2, 3))))[:, :, None, None]


def test_branches_functions_and_slices() -> None:
    rows = receptive_field(Branches(), (1, 16, 16), check=True)
    assert [r.size for r in rows] == [1, 9, 9, 9]
    assert rows[-1].name == "(output)"
    assert rows[-1].strides == (2, 2) and rows[-1].starts == (-4, -3)
    assert all(
        row.agrees for row in rows if row.name != "mix"
    )  # its channels come last: there is no middle pixel to look at


def test_a_gate_sees_everything() -> None:
    rows = receptive_field(Gate(), (1, 12, 12), check=True)
    assert rows[0].size == 3
    assert rows[-1].whole and rows[-1].size == 12
    assert rows[-1].agrees


@pytest.mark.parametrize("model", ["course-1", "course-2", "shallow-gap", "shallow-flatten"])
def test_own_networks_agree_with_perturbation(model: str) -> None:
    spec = NAMED[model]()
    assert isinstance(spec, ConvNet)
    net = build(ConvNet(**{**vars(spec), "width": 2}), (3, 16, 16), 10)
    table = receptive_field(net, (3, 16, 16), check=True)
    assert all(row.agrees for row in table), str(table)
    assert [r.name for r in table] == [
        layer.name for layer in size_of_module(net, (3, 16, 16)).layers
    ]


def test_one_dimension() -> None:
    rows = receptive_field(
        nn.Sequential(nn.Conv1d(2, 2, 5, 2, 2), nn.MaxPool1d(2), nn.AvgPool1d(3, 1, 1)),
        (2, 64),
        check=True,
    )
    assert [(r.size, r.stride, r.start, r.agrees) for r in rows] == [
        (5, 2, -2, True),
        (7, 4, -2, True),
        (15, 4, -6, True),
    ]


def test_axes_may_differ() -> None:
    row = receptive_field(nn.Conv2d(1, 1, (3, 5), padding=(1, 2)), (1, 8, 12))[0]
    assert row.size == (3, 5) and row.start == (-1, -2) and row.stride == 1


def test_plain_callables_and_unfold() -> None:
    rows = receptive_field(
        lambda x: F.avg_pool2d(F.relu(F.conv2d(x, torch.ones(1, 1, 3, 3))), 2), (1, 8, 8)
    )
    assert [(r.name, r.size, r.stride) for r in rows] == [("(output)", 4, 2)]
    assert receptive_field(lambda x: torch.fft.fft2(x).real, (1, 8, 8))[0].whole


def test_writing_into_a_tensor_is_not_overlooked() -> None:
    def shifted(x: Tensor) -> Tensor:
        out = torch.zeros_like(x)
        out[..., 1:] = x[..., :-1]
        return F.conv2d(out, torch.ones(1, 1, 3, 3))

    assert receptive_field(shifted, (1, 8, 8))[
        0
    ].whole  # not followed: counted as global, never as nothing


def test_reach_is_the_exact_set() -> None:
    mask = reach(
        nn.Sequential(nn.Conv2d(1, 2, 3, padding=2, dilation=2), nn.Tanh(), nn.MaxPool2d(1)),
        (1, 9, 9),
    )
    expected = torch.zeros(9, 9, dtype=torch.bool)
    expected[2:7:2, 2:7:2] = True
    assert torch.equal(mask, expected)


def test_model_is_left_as_it_was() -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(inplace=True), nn.Dropout(0.5)
    )
    before = {k: v.clone() for k, v in net.state_dict().items()}
    receptive_field(net, (1, 8, 8), check=True)
    effective_field(net, (1, 8, 8))
    reach(net, (1, 8, 8))
    assert net.training and all(m.training for m in net.modules())
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in net.parameters())


def test_effective_field_of_a_linear_chain_is_its_kernel() -> None:
    """Three 3×3 convolutions of ones: the gradient is 1 3 6 7 6 3 1 on each axis."""
    net = nn.Sequential(*(nn.Conv2d(1, 1, 3, padding=1, bias=False) for _ in range(3)))
    for p in net.parameters():
        nn.init.ones_(p)
    line = torch.tensor([1.0, 3, 6, 7, 6, 3, 1], dtype=torch.float64) / 7
    found = effective_field(net, (1, 15, 15), samples=4)
    expected = torch.zeros(15, 15, dtype=torch.float64)
    expected[4:11, 4:11] = line[:, None] * line
    torch.testing.assert_close(found.image, expected)
    assert found.area == int((expected > 0.0455).sum()) == 45
    assert found.side == 45**0.5


@pytest.mark.parametrize(("count", "sigma"), [(1, 0.82), (10, 2.58), (40, 5.16)])
def test_untrained_uniform_convolutions_have_luos_gaussian_field(count: int, sigma: float) -> None:
    """Luo et al. 2016: n equal 3×3 kernels give a Gaussian of σ = √(2n/3), so a share of the
    theoretical field that falls as 1/√n."""
    side = 2 * count + 7
    net = nn.Sequential(*(nn.Conv2d(1, 1, 3, padding=1, bias=False) for _ in range(count)))
    for p in net.parameters():
        nn.init.constant_(p, 1 / 9)
    found = effective_field(net, (1, side, side), samples=2)
    assert found.sigma == pytest.approx((2 * count / 3) ** 0.5, rel=1e-9)
    assert round(found.sigma, 2) == sigma
    if count > 1:  # a square that holds 95 % of a Gaussian reaches 2.236 σ to each side
        assert found.square == pytest.approx(2 * 2.236 * found.sigma, rel=0.02)
        middle, x = side // 2, torch.arange(side, dtype=torch.float64)
        gaussian = (-((x - middle) ** 2) / (2 * found.sigma**2)).exp()
        assert float((found.image[middle] - gaussian).abs().max()) < 0.03


def test_the_square_of_an_even_field_is_its_side_but_for_what_it_leaves_out() -> None:
    """Equal weights over s×s pixels: a square of side s·√0.95 holds 95 %."""
    for size, step in ((3, 1), (15, 1), (3, 7)):
        reach = size // 2 * step
        conv = nn.Conv2d(1, 1, size, padding=reach, dilation=step, bias=False)
        nn.init.ones_(conv.weight)
        found = effective_field(conv, (1, 31, 31), samples=1)
        if step == 1:
            assert found.square == pytest.approx(size * 0.95**0.5, abs=1e-6)
        else:  # eight of nine taps lie on the border of the field
            assert 2 * reach < found.square < 2 * reach + 1
        assert found.sigma == pytest.approx(step * ((size**2 - 1) / 12) ** 0.5, abs=1e-9)


def test_one_dimension_has_an_effective_field_too() -> None:
    conv = nn.Conv1d(2, 1, 5, padding=2, bias=False)
    nn.init.ones_(conv.weight)
    found = effective_field(conv, (2, 21), samples=1)
    assert found.square == pytest.approx(5 * 0.95) and found.sigma == pytest.approx(2**0.5)


def test_effective_field_of_a_layer_lies_in_the_theoretical_one() -> None:
    net = build(ConvNet(width=4, depth=2), (3, 16, 16), 10)
    row = next(r for r in receptive_field(net, (3, 16, 16)) if r.name == "blocks.1.pool")
    found = effective_field(
        net, (3, 16, 16), layer="blocks.1.pool", inputs=torch.randn(8, 3, 16, 16)
    )
    assert isinstance(row.size, int) and isinstance(row.start, int)
    first = row.start + 2 * row.stride
    outside = found.image.clone()
    outside[max(0, first) : first + row.size, max(0, first) : first + row.size] = 0
    assert float(outside.abs().max()) == 0 and 1 <= found.area <= row.size**2


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: receptive_field(nn.Conv2d(3, 1, 3), (1, 8, 8)), "1×1×8×8"),
        (lambda: receptive_field(nn.Conv2d(3, 1, 3), (3,)), "(3,)"),
        (lambda: effective_field(nn.Conv2d(1, 1, 3), (1, 8, 8), layer="convv"), "convv"),
        (
            lambda: effective_field(nn.Conv2d(1, 1, 3), (1, 8, 8), inputs=torch.zeros(2, 1, 9, 9)),
            "2×1×9×9",
        ),
        (
            lambda: effective_field(
                nn.Sequential(nn.Conv2d(1, 1, 3), nn.Threshold(1e9, 0.0)), (1, 8, 8)
            ),
            "zero",
        ),
    ],
)
def test_errors_repeat_the_input(call: Callable[[], object], says: str) -> None:
    with pytest.raises(UserError) as caught:
        call()
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_prints_and_json() -> None:
    table = receptive_field(
        nn.Sequential(nn.Conv2d(1, 1, 3), nn.Flatten(), nn.Linear(36, 2)), (1, 8, 8), check=True
    )
    assert str(table).splitlines()[1].split() == ["0", "Conv2d", "3", "1", "0", "agrees"]
    assert table.to_json()["layers"][2]["strides"] == [None, None]
    assert "<table>" in table._repr_html_()
