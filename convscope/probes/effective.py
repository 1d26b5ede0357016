"""How strongly does an output see each input pixel? By gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from convscope.errors import UserError
from convscope.probes.field_table import OUTPUT
from convscope.probes.layer_outputs import LayerOutput, middle
from convscope.probes.trials import (
    MAP,
    Shown,
    check_shape,
    device_of,
    inputs_for,
    name_of,
    private,
)

PEAK_SHARE = 0.0455  # 1 − 95.45 %: what lies beyond two standard deviations (Luo et al. 2016)

HELD = 0.95  # the share of the gradient that the centred square holds


class NoGradient(UserError):
    """No gradient, or none that is finite, reaches the pixels."""


@dataclass(frozen=True, eq=False)
class EffectiveField(Shown):
    """How strongly input pixels act on the middle output of a layer.

    layer: its path; image: height × width, with peak 1.
    area: the number of pixels above 4.55 % of the peak; side: its square root (Luo et al. 2016).
    samples: inputs over which the mean is taken.
    sigma: the gradient's standard deviation in pixels: the square root of its second moment about
        its centre of mass, the mean of both axes.
    square: the side of the square around the centre of mass that holds 95 % of the gradient.
    """

    layer: str
    image: Tensor
    area: int
    side: float
    samples: int
    sigma: float = math.nan
    square: float = math.nan

    def rows(self) -> list[tuple[str, ...]]:
        return [
            ("effective field", self.layer),
            (
                f"pixels above {100 * PEAK_SHARE:g} % of the peak",
                f"{self.area} of {self.image.numel()}",
            ),
            ("square root", f"{self.side:.2f}"),
            ("standard deviation", f"{self.sigma:.2f}"),
            (f"side of the square with {100 * HELD:g} %", f"{self.square:.2f}"),
            ("inputs", str(self.samples)),
        ]


def effective_field(
    model: nn.Module,
    in_shape: Sequence[int],
    *,
    layer: str | None = None,
    inputs: Tensor | None = None,
    samples: int = 64,
    seed: int = 0,
) -> EffectiveField:
    """The mean size of the gradient of a layer's middle output with respect to each input pixel.

    model: a copy in float64 and evaluation mode is used, with the weights as they are.
    in_shape: one sample's, channels first.
    layer: its path; without it, the network's output, of logits all of them.
    inputs: N × in_shape; without them, `samples` normally distributed ones.
    seed: of these, and of the weights by which channels of the output are added up, a new draw for
        each input. Channels of the input are added up by absolute value.

    Raises UserError for an unknown layer, inputs of another shape, and a gradient that is zero or
    not finite. Source: Luo, Li, Urtasun and Zemel 2016, NeurIPS.
    """
    in_shape = check_shape(in_shape, 2, MAP)
    own = private(model, torch.float64, shape=in_shape)
    if not isinstance(own, nn.Module):
        raise UserError(f"{name_of(model)}: the effective field is that of a torch.nn.Module")
    own.eval()
    for parameter in own.parameters():
        parameter.detach_().requires_grad_(False)
    output = LayerOutput(own, layer)
    generator = torch.Generator().manual_seed(seed)
    inputs = inputs_for(in_shape, inputs, samples, generator)
    image = torch.zeros(in_shape[1:], dtype=torch.float64)
    for part in inputs.split(16):
        x = part.detach().to(device_of(own), torch.float64, copy=True).requires_grad_()
        with torch.enable_grad():
            out = middle(output(x * 1.0), len(in_shape) - 1)  # a layer may write into its input
            weights = torch.randn(out.shape, generator=generator, dtype=torch.float64)
            (gradient,) = torch.autograd.grad((out * weights.to(out.device)).sum(), x)
        image += gradient.abs().sum((0, 1)).cpu()
    peak = float(image.max())
    if not math.isfinite(peak) or peak == 0.0:
        size = "zero" if peak == 0 else "not finite"
        raise NoGradient(
            f"{name_of(model)}: the gradient of {layer or 'its output'} is {size} everywhere"
        )
    area = int((image > PEAK_SHARE * peak).sum())
    image /= peak
    sigma, square = sigma_of(image), square_of(image, HELD)
    return EffectiveField(
        layer or OUTPUT, image, area, area**0.5, len(inputs), sigma=sigma, square=square
    )


def profiles_of(image: Tensor) -> list[Tensor]:
    """What lies at each place of each axis, summed over the other axes; each adds up to 1."""
    axes = range(image.ndim)
    sums = (image.sum([other for other in axes if other != axis]) for axis in axes)
    return [(image if image.ndim == 1 else part) / image.sum() for part in sums]


def centres_of(image: Tensor) -> list[float]:
    """The centre of mass, a number for each axis."""
    return [float(part @ torch.arange(len(part)).to(part)) for part in profiles_of(image)]


def sigma_of(image: Tensor) -> float:
    """The root of the second moment about the centre of mass, the mean of the axes' moments."""
    moments = [
        float(part @ (torch.arange(len(part)).to(part) - centre) ** 2)
        for part, centre in zip(profiles_of(image), centres_of(image), strict=True)
    ]
    return math.sqrt(math.fsum(moments) / len(moments))


def square_of(image: Tensor, held: float) -> float:
    """The side of the square around the centre of mass that holds this share of the image.

    A pixel is a square of side 1 over which its value is spread evenly, so that the side is a
    number and not a count. What lies beyond the image's border is not there, and is not missed.
    """
    centres = centres_of(image)

    def inside(side: float) -> float:
        part = image
        for size, centre in zip(image.shape, centres, strict=True):
            places = torch.arange(size).to(image)
            low, high = places - 0.5, places + 0.5
            covered = high.clamp(max=centre + side / 2) - low.clamp(min=centre - side / 2)
            part = torch.tensordot(covered.clamp(min=0), part, dims=1)
        return float(part / image.sum())

    low, high = 0.0, 2.0 * max(image.shape)
    for _ in range(50):
        half = (low + high) / 2
        low, high = (half, high) if inside(half) < held else (low, half)
    return high
