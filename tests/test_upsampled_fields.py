"""Receptive fields behind upsampling: what perturbation sees lies within them, to the pixel."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from refusing import refused
from torch import Tensor, nn

from convscope.probes import collapse, probe, receptive_field
from convscope.probes.atoms import InputInterval
from convscope.probes.perturbation import _is_within

SHAPE = (1, 12, 12)


class Resized(nn.Module):
    def __init__(self, **how: Any) -> None:
        super().__init__()
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, **self.how)


def conv(stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(1, 1, 3, stride, 1)


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bilinear", "bicubic"])
def test_interpolation(mode: str) -> None:
    ways: list[dict[str, Any]] = [{"scale_factor": s} for s in (2, 3, 1.5, 0.5, 1.7)]
    ways.append({"size": (17, 7)})
    more = [{}] if mode.startswith("n") else [{}, {"align_corners": True}, {"antialias": True}]
    for way, how in itertools.product(ways, more):
        net = nn.Sequential(conv(), Resized(mode=mode, **way, **how), conv())
        assert all(row.agrees for row in receptive_field(net, SHAPE, check=True)), (way, how)


def test_transposed_convolutions() -> None:
    for k, s, p, d in itertools.product((1, 2, 3, 4), (1, 2, 3), (0, 1), (1, 2)):
        if p > d * (k - 1) // 2:
            continue
        net = nn.Sequential(conv(2), nn.ConvTranspose2d(1, 1, k, s, p, dilation=d), conv(), conv(2))
        table = receptive_field(net, SHAPE, check=True)
        assert all(row.agrees for row in table), (k, s, p, d, table)


@pytest.mark.parametrize(
    ("mode", "size"), [("nearest", 1), ("nearest-exact", 1), ("bilinear", 2), ("bicubic", 4)]
)
def test_a_doubled_map_has_the_fields_of_its_taps(mode: str, size: int) -> None:
    (row,) = receptive_field(Resized(scale_factor=2, mode=mode), SHAPE)
    assert (row.size, row.stride) == (size, 0.5)


class Called(nn.Module):
    def __init__(self, call: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.call = call

    def forward(self, x: Tensor) -> Tensor:
        return self.call(x)


def windows_of(x: Tensor) -> Tensor:
    """A 3×3 window around each pixel, by F.unfold, summed."""
    return F.unfold(x, 3, padding=1).sum(1, keepdim=True).unflatten(2, x.shape[2:])


def patches_of(x: Tensor) -> Tensor:
    """Patches of 4×4 every 2 pixels, by Tensor.unfold, summed."""
    return x.unfold(2, 4, 2).unfold(3, 4, 2).sum((-2, -1))


@pytest.mark.parametrize(
    ("call", "size", "stride"),
    [
        (windows_of, 3, 1),
        (patches_of, 4, 2),
        (lambda x: torch.stack([x, F.avg_pool2d(x, 3, 1, 1)]).sum(0), 3, 1),
        (lambda x: F.avg_pool2d(x.roll((1, 1), (2, 3)), 3, 1, 1), 3, 1),
        (lambda x: x[:, :, ::2, ::2], 1, 2),
        (lambda x: torch.einsum("nchw,oc->nohw", x, torch.ones(3, 1, dtype=x.dtype)), 1, 1),
    ],
)
def test_functions_of_windows(call: Callable[[Tensor], Tensor], size: int, stride: int) -> None:
    (row,) = receptive_field(Called(call), SHAPE, check=True)
    assert (row.size, row.stride, row.agrees) == (size, stride, True)


class ChannelsLast(nn.Module):
    """As ConvNeXt: layers over channels, which stand behind height and width."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 3, 3, 1, 1), nn.LayerNorm(3)
        self.linear = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.norm(self.conv(x).permute(0, 2, 3, 1))).mean((1, 2))


class Written(nn.Module):
    """A map that is put together from parts."""

    def forward(self, x: Tensor) -> Tensor:
        out = torch.zeros_like(x)
        out[:, :, 1:] = x[:, :, :-1]
        return F.avg_pool2d(out, 3, 1, 1)


@pytest.mark.parametrize(
    "net",
    [
        ChannelsLast(),
        nn.Sequential(nn.Conv2d(1, 1, 1, 2), nn.AdaptiveAvgPool2d(1)),
        nn.Sequential(nn.Conv2d(1, 1, 3, 2), nn.Conv2d(1, 1, 3, 2), nn.Flatten()),
        nn.Sequential(conv(), nn.BatchNorm2d(1, track_running_stats=False), nn.ReLU()),
        Called(lambda x: x[:, :, ::3, ::3].mean((2, 3))),
    ],
)
def test_no_false_alarm(net: nn.Module) -> None:
    table = receptive_field(net, (1, 16, 16), check=True)
    assert all(row.agrees for row in table), str(table)
    assert "differs" not in str(table)


def test_dropout_is_a_matter_of_each_pixel() -> None:
    (row,) = receptive_field(Called(lambda x: F.avg_pool2d(F.dropout(x, 0.5), 3, 1, 1)), SHAPE)
    assert row.size == 3


def test_a_map_written_by_parts_counts_as_a_whole() -> None:
    (row,) = receptive_field(Written(), SHAPE)
    assert row.whole


def test_networks_for_float32_alone_are_checked() -> None:
    net = nn.Sequential(conv(), Called(lambda x: F.avg_pool2d(x, 3, 1, 1).float()), conv())
    assert all(row.agrees for row in receptive_field(net, SHAPE, check=True))
    assert "not affine: 1" in refused(
        lambda: collapse(nn.Sequential(nn.Flatten(), Called(lambda x: x.float().relu())), SHAPE)
    )


def test_outputs_of_one_number_and_recurrent_layers() -> None:
    lengths = Called(lambda x: x.flatten(1).abs().sum(1))
    assert probe(lengths, SHAPE, trials=8).linearity == "nonlinear"
    assert receptive_field(lengths, SHAPE, check=True)[0].whole
    recurrent = nn.LSTM(12, 4, batch_first=True)
    rows = Called(lambda x: recurrent(x[:, 0])[0])
    assert receptive_field(rows, SHAPE)[0].whole


def test_the_check_can_fail() -> None:
    from fractions import Fraction as Q

    exact = InputInterval(Q(3), Q(1), Q(-1))
    loose = InputInterval(Q(5, 2), Q(1, 2), Q(-1, 2), Q(1))
    assert _is_within((3, 5), exact, 4, 12)
    assert not any(_is_within(span, exact, 4, 12) for span in ((3, 4), (2, 5), (3, 6), None))
    assert _is_within((2, 3), loose, 4, 12) and _is_within((2, 2), loose, 4, 12)
    assert not any(_is_within(span, loose, 4, 12) for span in ((1, 3), (2, 4), (0, 0)))
