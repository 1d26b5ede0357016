"""The theory's operators, impulse responses, counterexamples that replay, what a probe prints."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convscope.errors import UserError
from convscope.models.building import build
from convscope.probes import probe
from convscope.probes.laws import Counterexample
from convscope.probes.operators import OPERATORS, operator_named
from convscope.recipe.networks import ConvNet


@pytest.mark.parametrize("name", OPERATORS)
def test_theory_table(name: str) -> None:
    """FACTS.md, 'What the theory says': every row, and further operators."""
    known = OPERATORS[name]
    found = probe(known.make(), known.shape)
    assert found.linearity == known.linearity
    assert found.translation.equivariant == known.equivariant
    assert found.translation.period == known.period
    assert found.translation.border == known.border
    assert found.translation.invariant == known.invariant
    assert (found.impulse_response is not None) == known.convolution
    assert found.convolution.error is None or found.convolution.error < 1e-12
    if found.linearity != "linear":
        assert any(c.law != "equivariance" for c in found.counterexamples)
    if (
        not found.translation.equivariant
        and not found.translation.invariant
        and found.translation.period != 1
    ):
        assert any(c.law == "equivariance" for c in found.counterexamples)
    for example in found.counterexamples:
        assert example.replay(known.make()) == example.error > example.tolerance


def test_relu_is_positively_homogeneous_and_not_additive() -> None:
    test = probe(nn.ReLU(), (1, 16, 16)).linearity_test
    assert (
        test.positively_homogeneous
        and not test.negatively_homogeneous
        and not test.additive
        and test.zero_at_zero
    )
    smallest = {c.law: c.support for c in test.counterexamples}
    assert smallest == {"additivity": 2, "negative homogeneity": 1}  # x = δ, y = −δ; x = δ, a = −1
    assert test.trials == 128 and test.scales == (1e-6, 1e6) and test.tolerance == 1e-9


def test_shift_map_of_strides() -> None:
    found = probe(nn.MaxPool2d((2, 4)), (1, 16, 16)).translation
    assert found.periods == (2, 4) and found.period == 4 and found.shifts == ((2, 1), (4, 1))


def test_impulse_response_is_the_flipped_kernel() -> None:
    layer = nn.Conv2d(2, 3, (3, 5), padding=(1, 2), bias=False)
    kernel = layer.weight.detach().double()
    found = probe(layer, (2, 12, 24))
    assert found.translation.border == 2 and not found.translation.circular
    torch.testing.assert_close(found.impulse_response, kernel.flip(-1, -2))
    assert found.convolution.first == (-1, -2)
    line = nn.Conv1d(1, 1, 3, padding=1, padding_mode="circular", bias=False)
    torch.testing.assert_close(
        probe(line, (1, 9)).impulse_response, line.weight.detach().double().flip(-1)
    )


def test_impulse_response_of_strided_transposed_and_unpadded_layers() -> None:
    strided = nn.Conv2d(2, 3, 3, 2, 1, bias=False)
    found = probe(strided, (2, 16, 16))
    assert found.translation.period == 2 and found.convolution.kind == "strided convolution"
    torch.testing.assert_close(
        found.impulse_response, strided.weight.detach().double().flip(-1, -2)
    )
    assert len(found.convolution.phases) == 4
    unpadded = nn.Conv2d(1, 2, 5, bias=False)
    found = probe(unpadded, (1, 16, 16))
    assert found.translation.period is None and found.translation.shifts == ((1, 1), (1, 1))
    torch.testing.assert_close(
        found.impulse_response, unpadded.weight.detach().double().flip(-1, -2)
    )
    assert found.convolution.first == (-4, -4)
    alexnet = nn.Conv1d(
        1, 2, 11, 4, 2, bias=False
    )  # 224 → 55, which no period in the strict sense fits
    found = probe(alexnet, (1, 224))
    assert found.translation.shifts == ((4, 1),)
    torch.testing.assert_close(found.impulse_response, alexnet.weight.detach().double().flip(-1))
    wider = nn.ConvTranspose1d(1, 2, 4, 2, 1, bias=False)
    found = probe(wider, (1, 16))
    assert found.convolution.kind == "transposed convolution"
    assert found.impulse_response is not None and found.convolution.first == (-1,)
    torch.testing.assert_close(
        found.impulse_response, wider.weight.detach().double().transpose(0, 1)
    )


def test_affine_layers_keep_their_linear_part() -> None:
    layer = nn.Conv2d(1, 2, 3, padding=1)
    found = probe(layer, (1, 12, 12))
    assert (
        found.linearity == "affine"
        and found.impulse_response is None
        and "f(0)" in found.convolution.reason
    )
    torch.testing.assert_close(
        found.convolution.linear_part, layer.weight.detach().double().flip(-1, -2)
    )
    assert layer.bias is not None
    torch.testing.assert_close(found.convolution.bias, layer.bias.detach().double())


def test_layers_of_a_network() -> None:
    net = build(ConvNet(width=3, depth=2), (3, 16, 16), 10)
    conv = next(m for m in net.modules() if isinstance(m, nn.Conv2d))
    found = probe(lambda x: conv(x) - conv(torch.zeros_like(x)), (3, 16, 16))
    assert found.linearity == "linear" and found.linearity_test.precision == "float32"
    torch.testing.assert_close(
        found.impulse_response, conv.weight.detach().double().flip(-1, -2), rtol=1e-5, atol=1e-6
    )
    assert probe(net, (3, 16, 16), trials=16).linearity == "nonlinear"


def test_shifted_channels_and_whole_circles() -> None:
    found = probe(lambda x: torch.stack([x[:, 0].roll(1, -1), x[:, 1].roll(-2, -1)], 1), (2, 9))
    assert found.impulse_response is not None and found.convolution.first == (-2,)
    # one range for all channels: h(1) = 1 is a shift to the right, h(−2) = 1 one to the left
    assert found.impulse_response[0, 0].tolist() == [0, 0, 0, 1]
    assert found.impulse_response[1, 1].tolist() == [1, 0, 0, 0]
    even = probe(lambda x: x.roll(4, -1), (1, 8))
    assert (
        even.convolution.first == (-4,)
        and even.impulse_response is not None
        and even.impulse_response.flatten()[0] == 1
    )


@pytest.mark.parametrize(
    ("f", "shape", "taps", "first"),
    [
        (nn.AvgPool2d(2), (1, 16, 16), torch.full((2, 2), 0.25), (-1, -1)),
        (nn.AvgPool2d(2), (1, 15, 15), torch.full((2, 2), 0.25), (-1, -1)),
        (lambda x: x.roll(3, -1), (1, 16), torch.ones(1), (3,)),
        (lambda x: F.interpolate(x, scale_factor=2), (1, 16), torch.ones(2), (0,)),
        (lambda x: x[..., ::2, 1::2], (1, 16, 16), torch.ones(1, 1), (0, -1)),
        # across the seam of the circle: h(−9) = h(7), h(−8) and h(−7)
        (
            lambda x: x.roll(7, -1) + 2 * x.roll(8, -1) + 3 * x.roll(9, -1),
            (1, 16),
            torch.tensor([1.0, 2.0, 3.0]),
            (-9,),
        ),
    ],
)
def test_impulse_responses_are_not_padded(
    f: Callable[[Tensor], Tensor], shape: tuple[int, ...], taps: Tensor, first: tuple[int, ...]
) -> None:
    """From the first index with a value that is not 0 to the last; none is put in the middle."""
    found = probe(f, shape, trials=16)
    assert found.impulse_response is not None
    torch.testing.assert_close(found.impulse_response[0, 0], taps.double())
    assert found.convolution.first == first


@pytest.mark.parametrize(
    ("f", "shape", "kind", "said"),
    [
        (nn.AvgPool2d(2), (1, 16, 16), "periodic", "not equivariant"),
        (nn.AvgPool2d(8), (1, 8, 8), "invariant", "invariant: a circular shift"),
        (nn.MaxPool2d(2), (1, 15, 15), "periodic inside", "period 2 where windows lie inside"),
        (nn.Conv2d(1, 2, 3), (1, 16, 16), "equivariant inside", "equivariant where windows lie"),
        (nn.Conv2d(1, 2, 3, 2), (1, 16, 16), "periodic inside", "period 2 where windows lie"),
        (nn.Conv2d(1, 2, 3, padding=1), (1, 16, 16), "equivariant", "but for 1 at each end"),
        (lambda x: F.interpolate(x, scale_factor=2), (1, 16), "scaled", "not by as many positions"),
        (lambda x: x.cumsum(-1), (1, 16), "not", "not equivariant"),
        # rows are averaged, columns stay: each axis is told by itself
        (lambda x: x.mean(-2, keepdim=True), (1, 8, 12), "scaled", "invariant"),
    ],
)
def test_how_an_operator_moves_in_a_word(
    f: Callable[[Tensor], Tensor], shape: tuple[int, ...], kind: str, said: str
) -> None:
    found = probe(f, shape, trials=16)
    assert found.translation.kind == kind and said in str(found.translation)


def test_without_padding_the_condition_holds_wherever_both_windows_lie_inside() -> None:
    """Exactly: at every position but those whose window would reach over the end."""
    layer = nn.Conv2d(1, 2, 3, bias=False).double()
    x = torch.randn(1, 1, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        out, moved = layer(x), layer(x.roll(-3, -1))  # x(i+3)
    torch.testing.assert_close(moved[..., :-3], out[..., 3:], rtol=1e-12, atol=1e-12)
    assert not torch.allclose(moved[..., -3:], out[..., :3])  # these windows see the other end
    found = probe(layer, (1, 16, 16), trials=16).translation
    assert (found.inside, found.period, found.border) == (1, None, 0)
    assert [axis.shift for axis in found.axes] == [(1, 1), (1, 1)]
    # padded at both ends, in a size that leaves a remainder: its border is told
    padded = probe(nn.Conv1d(1, 1, 11, 4, 2, bias=False), (1, 224), trials=16).translation
    assert padded.kind == "periodic inside" and padded.inside == 4 and padded.border == 1
    # what depends on the position moves nowhere
    late = probe(lambda x: (x + torch.arange(16.0).to(x))[..., 2:], (1, 16), trials=16).translation
    assert late.kind == "not" and late.inside is None


def test_zero_padding_is_judged_inside() -> None:
    for kernel, border in ((3, 1), (5, 2), (7, 3)):
        weight = torch.ones(1, 1, kernel, dtype=torch.float64)
        found = probe(
            lambda x, w=weight, k=kernel: F.conv1d(x, w, padding=k // 2), (1, 16)
        ).translation
        assert (
            found.equivariant
            and found.border == border
            and not found.circular
            and not found.invariant
        )
    wide = probe(
        lambda x: F.conv1d(x, torch.ones(1, 1, 9, dtype=x.dtype), padding=4), (1, 16)
    ).translation
    assert (
        not wide.equivariant and wide.period is None
    )  # a border of 4 of 16 is no longer narrower than a quarter


def test_position_dependence_far_out_is_found() -> None:
    late = torch.arange(16, dtype=torch.float64) * 1e3 + 1e5
    assert not probe(lambda x: torch.minimum(x, late), (1, 16)).translation.equivariant


def test_counterexamples_are_saved_and_replayed(tmp_path: Path) -> None:
    (example,) = [
        c for c in probe(nn.MaxPool2d(2), (1, 8, 8)).counterexamples if c.law == "additivity"
    ]
    example.save(tmp_path / "c.safetensors")
    again = Counterexample.load(tmp_path / "c.safetensors")
    assert (
        torch.equal(again.x, example.x)
        and again.numbers == example.numbers
        and again.shape == (1, 8, 8)
    )
    assert again.replay(nn.MaxPool2d(2)) == example.error
    assert again.replay(nn.AvgPool2d(2)) <= again.tolerance  # the law holds for average pooling
    (tmp_path / "bad.safetensors").write_bytes(b"no header")
    for bad in ("bad.safetensors", "none.safetensors"):
        with pytest.raises(UserError, match=bad):
            Counterexample.load(tmp_path / bad)


def test_shows_itself() -> None:
    found = probe(nn.Conv1d(1, 1, 3, padding=1, bias=False), (1, 16))
    text = str(found)
    assert "linearity" in text and "1×16 → 1×16" in text and "reconstruction error" in text
    tree = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert tree["linearity"] == "linear" and tree["translation"]["axes"][0]["border"] == 1
    assert len(tree["convolution"]["impulse_response"][0][0]) == 3

    def evil(x: torch.Tensor) -> torch.Tensor:
        return x

    evil.__name__ = "<script>alert(1)</script>\n"
    shown = probe(evil, (1, 8))
    assert "<script>" not in shown._repr_html_() and "&lt;script&gt;" in shown._repr_html_()


def test_operator_named() -> None:
    function, shape = operator_named("relu")
    assert probe(function, shape).linearity == "nonlinear"
    with pytest.raises(UserError, match="did you mean 'relu'"):
        operator_named("relou")
