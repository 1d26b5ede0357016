"""Callables that cannot be judged, and odd ones that can: UserError in one line, or the verdict."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convscope.errors import UserError
from convscope.probes import probe

SHAPE = (1, 8)


def changes_shape() -> Callable[[Tensor], Tensor]:
    turn = itertools.count()
    return lambda x: x[..., : 8 - next(turn) % 2]


def every_fifth() -> Callable[[Tensor], Tensor]:
    """A state that shows only now and then."""
    turn = itertools.count(1)
    return lambda x: x * (1 + (next(turn) % 5 == 0))


def meta() -> nn.Module:
    with torch.device("meta"):
        return nn.Linear(8, 8)


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "random": (lambda: lambda x: x + torch.randn_like(x), "random"),
    "dropout": (lambda: nn.Dropout(0.5), "eval"),
    "rarely another": (every_fifth, "same input"),
    "shape changes": (changes_shape, "shape"),
    "NaN": (lambda: lambda x: x / 0 * 0, "NaN"),
    "NaN at negative numbers": (lambda: torch.log, "NaN"),
    "NaN at zero": (lambda: lambda x: x / x.norm(), "NaN"),
    "infinity": (lambda: lambda x: 1 / x.round(), "infinity"),
    "another input shape": (lambda: nn.Conv2d(3, 4, 3), "1×8"),
    "another size": (lambda: nn.Linear(9, 2), "1×8"),
    "nothing": (lambda: lambda x: None, "NoneType"),
    "a tuple": (lambda: lambda x: (x, x), "tuple"),
    "batch lost": (lambda: torch.sum, "()"),
    "batch flattened": (lambda: torch.flatten, "a batch in"),
    "raises": (lambda: lambda x: {}["key\nwith a line"], "KeyError"),
    "exits": (lambda: lambda x: (_ for _ in ()).throw(MemoryError("too large")), "MemoryError"),
    "no callable": (lambda: 3, "callable"),
    "another device": (meta, "meta"),
    "result elsewhere": (lambda: lambda x: x.to("meta"), "a batch in"),
    "empty": (lambda: lambda x: x[..., :0], "a batch in"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.filterwarnings("ignore")
def test_refused_in_one_line(name: str) -> None:
    make, says = REFUSED[name]
    with pytest.raises(UserError) as caught:
        probe(make(), SHAPE)
    assert says in str(caught.value), str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "shape", [(), (3,), (0, 8), (1, -2), (1, 2.5), "1x8", 7, (True, 8), (1 << 20, 1 << 20)]
)
def test_wrong_shapes(shape: Any) -> None:
    with pytest.raises(UserError, match="shape"):
        probe(nn.ReLU(), shape)


def test_wrong_devices() -> None:
    for device in ("cuda:9", "nowhere"):
        with pytest.raises(UserError) as caught:
            probe(nn.ReLU(), SHAPE, device=device)
        assert device.split(":")[0] in str(caught.value) and "\n" not in str(caught.value)


def in_place(x: Tensor) -> Tensor:
    x.mul_(2).add_(1)
    return x


def same_buffer() -> Callable[[Tensor], Tensor]:
    """Gives the same memory at every call."""
    kept = torch.zeros(10_000, dtype=torch.float64)

    def f(x: Tensor) -> Tensor:
        out = kept[: x.numel()].reshape(x.shape)
        return out.copy_(x * 3)

    return f


def float32_matrix() -> Callable[[Tensor], Tensor]:
    weight = torch.randn(8, 8, generator=torch.Generator().manual_seed(0))
    return lambda x: x @ weight


def narrow(dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    weight = torch.randn(1, 1, 3, generator=torch.Generator().manual_seed(0)).to(dtype)
    return lambda x: F.conv1d(F.pad(x.to(dtype), (1, 1), mode="circular"), weight).double()


JUDGED: dict[str, tuple[Callable[[], Any], str, bool]] = {
    "writes into its input": (lambda: in_place, "affine", True),
    "in-place module": (lambda: nn.ReLU(inplace=True), "nonlinear", True),
    "gives the same memory": (same_buffer, "linear", True),
    "float32 only": (float32_matrix, "linear", False),
    "float32 inside": (lambda: narrow(torch.float32), "linear", True),
    "bfloat16 inside": (lambda: narrow(torch.bfloat16), "linear", True),
    "half-precision module": (
        lambda: nn.Conv1d(1, 2, 3, padding=1, padding_mode="circular", bias=False).bfloat16(),
        "linear",
        True,
    ),
    "complex": (lambda: lambda x: torch.fft.fft(x), "linear", False),
    "whole numbers": (lambda: lambda x: (x > 0).long(), "nonlinear", True),
    "overflow far out": (lambda: torch.exp, "nonlinear", True),
    "zero": (lambda: lambda x: 0 * x, "linear", True),
    "cancels to rounding": (
        lambda: (
            lambda x: (
                (x.cumsum(-1) - x.flip(-1).cumsum(-1).flip(-1)).sum(-1, keepdim=True) * 0
                + 1e6 * x
                - 1e6 * x
            )
        ),
        "linear",
        True,
    ),
    "constant": (lambda: lambda x: 0 * x + 4, "affine", True),
    "tiny bias": (lambda: lambda x: x + 1e-7, "affine", True),
    "large bias": (lambda: lambda x: x + 1e6, "affine", True),
    "tiny outputs": (lambda: lambda x: 1e-12 * torch.relu(x), "nonlinear", True),
    "linear but far out": (lambda: lambda x: x.clamp(-5e5, 5e5), "nonlinear", True),
    "linear but near zero": (lambda: lambda x: F.softshrink(x, 1e-6), "nonlinear", True),
    "relu that positive inputs hide": (
        lambda: lambda x: torch.relu(x + 1e5) - 1e5,
        "nonlinear",
        True,
    ),
    "saturates far out": (lambda: lambda x: 1e4 * torch.tanh(x * 1e-4), "nonlinear", True),
    "positive factors of two only": (
        lambda: lambda x: torch.exp2(torch.log2(x.abs() + 1e-300).floor()) * x.sign(),
        "nonlinear",
        True,
    ),
    "mixes samples": (lambda: lambda x: x - x.mean(0), "linear", True),
    "bound method": (lambda: nn.BatchNorm1d(1).eval().forward, "linear", True),
}


@pytest.mark.parametrize("name", JUDGED)
def test_judged_rightly(name: str) -> None:
    make, linearity, equivariant = JUDGED[name]
    found = probe(make(), SHAPE)
    assert (found.linearity, found.translation.equivariant) == (linearity, equivariant), str(found)


def test_precision_is_stated() -> None:
    assert probe(float32_matrix(), SHAPE).linearity_test.precision == "float32"
    assert probe(narrow(torch.bfloat16), SHAPE).linearity_test.precision == "bfloat16"
    assert probe(nn.Linear(8, 8), SHAPE).linearity_test.precision == "float64"


def test_the_module_is_left_as_it_was() -> None:
    net = nn.Sequential(nn.Conv1d(1, 4, 3), nn.BatchNorm1d(4), nn.ReLU(inplace=True)).train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    generator = torch.get_rng_state()
    assert probe(net, (1, 16)).linearity == "nonlinear"
    probe(net.forward, (1, 16))
    assert net.training and all(
        torch.equal(v, before[k]) and v.dtype == before[k].dtype
        for k, v in net.state_dict().items()
    )
    assert torch.equal(generator, torch.get_rng_state())
