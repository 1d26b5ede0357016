"""Which input pixels does an output see? By perturbing them, with all gates open."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from convscope.models import PARAMETRIZATIONS, RAISED
from convscope.probes.atoms import InputInterval
from convscope.probes.field_table import OUTPUT, FieldRow
from convscope.probes.layer_outputs import LayerOutput, first_tensor, layers_of, middle
from convscope.probes.trials import MAP, check_shape, device_of, private

PERTURBATION = 1e8
ROUNDINGS = 1000


@dataclass(frozen=True)
class Field:
    """What arithmetic says of a layer's output, before rounding.

    intervals: of each axis of the input; None: everything along it.
    places: the dimensions of the output that these axes are; () where they are not.
    gaps: by axis, how far apart positions were before: of an axis that is taken as a whole, fewer
        inputs than that may be lacking at an end.
    """

    intervals: list[InputInterval | None]
    places: tuple[int, ...]
    gaps: tuple[Fraction, ...]


def _positive(
    network: nn.Module,
    in_shape: Sequence[int],
    seed: int,
    dtype: torch.dtype | None = torch.float64,
) -> nn.Module:
    """A copy in `dtype`, or its own, with random positive weights and neutral statistics.

    Every path of its graph is open, and nothing cancels.
    """
    own = private(network, dtype, shape=in_shape)
    assert isinstance(own, nn.Module)
    fix_weights(own)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in own.parameters():
            fan_in = max(1, p[0].numel() if p.ndim > 1 else 1)
            drawn = 0.5 + torch.rand(p.shape, generator=generator, dtype=torch.float64)
            p.copy_((drawn / fan_in).to(p.device))
        for name, buffer in own.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.fill_(float(name.endswith("var")))
    for p in own.parameters():
        p.detach_().requires_grad_(False)
    own.eval()
    return own


def fix_weights(network: nn.Module) -> None:
    """Weights that a network computes from others become parameters, in place.

    Positive parts need not give a positive whole: spectral normalisation divides by a number that
    may be negative.
    """
    for module in network.modules():
        if is_parametrized(module):
            computed = dict(module.named_children())[PARAMETRIZATIONS].named_children()
            weights = {name: getattr(module, name).detach() for name, _ in computed}
            # torch's remove_parametrizations would change the class, which the user's module has
            module.__class__ = type(module).__bases__[0]
            del module._modules[PARAMETRIZATIONS]
            for name, weight in weights.items():
                module.register_parameter(name, nn.Parameter(weight))
        for key, hook in list(module._forward_pre_hooks.items()):
            if isinstance(hook, WeightNorm | SpectralNorm):  # the older form of both
                hook.remove(module)
                del module._forward_pre_hooks[key]


def _base(in_shape: tuple[int, ...], seed: int) -> Tensor:
    """One small positive input, to be perturbed: 1 × in_shape."""
    generator = torch.Generator().manual_seed(seed)
    return 0.01 * (0.5 + torch.rand(1, *in_shape, generator=generator, dtype=torch.float64))


def _watched(
    network: nn.Module, x: Tensor, spatial: int, places: Sequence[tuple[int, ...]], batch: int
) -> list[Tensor]:
    """Middle outputs of all layers in order of execution, then the network's own.

    samples × channels each.

    places: of each output, as of `Field`; batch: samples in one call.
    """
    seen: list[list[Tensor]] = []
    for part in x.split(batch):
        row: list[Tensor] = []

        def keep(_m: nn.Module, _i: Any, out: Any, row: list[Tensor] = row) -> None:
            out = first_tensor(out)
            if isinstance(out, Tensor):
                where = places[len(row)] if len(row) < len(places) else ()
                row.append(middle(out, spatial, where).clone())

        hooks = [m.register_forward_hook(keep) for m in layers_of(network)]
        try:
            with torch.no_grad():
                keep(network, None, network(part))
        finally:
            for hook in hooks:
                hook.remove()
        seen.append(row)
    return [torch.cat(parts) for parts in zip(*seen, strict=True)]


def checked(
    network: nn.Module,
    in_shape: tuple[int, ...],
    found: list[FieldRow],
    fields: list[Field],
    seed: int,
) -> list[FieldRow]:
    """Rows of arithmetic, compared with what perturbing rows and columns of the input changes.

    fields: of the rows, before rounding.

    They come back as they are where layers give no tensor that depends on the input: they cannot
    be told apart then. So they do where the network does not take such weights.
    """
    spatial, base = len(in_shape) - 1, _base(in_shape, seed)
    lines = []
    for axis, size in enumerate(in_shape[1:]):
        for i in range(size):
            x = base[0].clone()
            x.select(axis + 1, i).add_(PERTURBATION)
            lines.append(x)
    rows = found
    for dtype, batch in itertools.product((torch.float64, None), (32, 1)):
        # a forward may ask for float32; another may mix the samples of a batch
        own = _positive(network, in_shape, seed, dtype)
        weights = (p for p in own.parameters() if p.is_floating_point())
        x = torch.stack([base[0], *lines]).to(device_of(own))
        x = x.to(next(weights, x.to(dtype or torch.float32)).dtype)
        try:
            outs = _watched(own, x, spatial, [field.places for field in fields], batch)
        except RAISED:
            continue
        if len(outs) != len(found) + (found[-1].name != OUTPUT):
            break
        rows = [
            _compare(row, field, _changed(out), in_shape)
            for row, field, out in zip(found, fields, outs, strict=False)
        ]
        if batch == 1 or all(row.agrees for row in rows):
            break
    return rows


def _changed(outs: Tensor) -> Tensor:
    """Which of the outputs behind the first one differ from it by more than rounding.

    A matrix product rounds the same row in other ways, depending on where it stands.
    """
    first, others = outs[:1], outs[1:]
    real_or_complex = outs.is_floating_point() or outs.is_complex()
    rounding = ROUNDINGS * torch.finfo(outs.dtype).eps if real_or_complex else 0.0
    tiny = (others - first).abs() <= rounding * first.abs()
    return ((others != first) & ~tiny).flatten(1).any(1).cpu()


def _compare(row: FieldRow, field: Field, changed: Tensor, in_shape: tuple[int, ...]) -> FieldRow:
    """The row with what was seen; `changed`: for each row and column of the input in turn."""
    seen, agrees, begin = [], True, 0
    for axis, size in enumerate(in_shape[1:]):
        where = changed[begin : begin + size].nonzero().flatten()
        begin += size
        span = (int(where.min()), int(where.max())) if len(where) else None
        seen.append(span)
        interval = field.intervals[axis]
        if interval is None:
            lacking = math.ceil(field.gaps[axis]) - 1
            within = span is not None and span[0] <= lacking and span[1] >= size - 1 - lacking
        else:
            middle = row.outputs[field.places[axis] - 1] // 2 if field.places else 0
            within = _is_within(span, interval, middle, size)
        agrees = agrees and within
    return replace(row, seen=tuple(seen), agrees=agrees)


def _is_within(
    span: tuple[int, int] | None, field: InputInterval, position: int, size: int
) -> bool:
    """Whether the inputs that changed a position are those of its field, to the pixel.

    Behind upsampling fields differ from position to position: the interval holds each of them, and
    each may be narrower at its ends by the interval's slack.
    """
    start = field.start + position * field.jump
    first, last = math.ceil(start), math.floor(start + field.size) - 1
    slack = math.ceil(field.slack)
    if span is None:  # the taps of a transposed convolution may skip a position
        return slack > 0
    low, high = max(0, first), min(size, last + 1) - 1
    inner_low, inner_high = max(0, first + slack), min(size - 1, last - slack)
    return low <= span[0] <= inner_low and inner_high <= span[1] <= high


def reach(
    model: nn.Module,
    in_shape: Sequence[int],
    *,
    layer: str | None = None,
    batch: int = 64,
    seed: int = 0,
) -> Tensor:
    """Which input pixels can change the middle output of a layer at all.

    model, in_shape: the network and one sample's shape, channels first.
    layer: its path; without it, the network's output.
    batch: perturbed inputs in one call; seed: of weights and input.

    Returns a mask of the input's height × width. Each pixel is perturbed alone, in a copy with
    random positive weights, so that closed gates hide none. Raises UserError for an unknown layer.
    """
    in_shape = check_shape(in_shape, 2, MAP)
    own, spatial = _positive(model, in_shape, seed), len(in_shape) - 1
    output, device = LayerOutput(own, layer), device_of(own)
    base = _base(in_shape, seed)
    pixels = torch.eye(math.prod(in_shape[1:]), dtype=torch.bool).reshape(-1, 1, *in_shape[1:])
    changed = []
    with torch.no_grad():
        before = middle(output(base.to(device)), spatial)
        for part in pixels.split(batch):
            after = middle(output((base + PERTURBATION * part).to(device)), spatial)
            changed.append((after != before).flatten(1).any(1).cpu())
    return torch.cat(changed).reshape(in_shape[1:])
