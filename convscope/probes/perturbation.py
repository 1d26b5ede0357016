"""Which input pixels does an output see? By perturbing them, with all gates open."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from convscope.models import PARAMETRIZATIONS
from convscope.probes.atoms import InputInterval
from convscope.probes.field_table import OUTPUT, FieldRow
from convscope.probes.layer_outputs import LayerOutput, first_tensor, layers_of, middle
from convscope.probes.trials import MAP, check_shape, device_of, private

PERTURBATION = 1e8


def _positive(network: nn.Module, in_shape: Sequence[int], seed: int) -> nn.Module:
    """A copy in float64 with random positive weights and neutral statistics.

    Every path of its graph is open, and nothing cancels.
    """
    own = private(network, torch.float64, shape=in_shape)
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
    return own.eval()


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


def _watched(network: nn.Module, x: Tensor, spatial: int, batch: int = 32) -> list[Tensor]:
    """Middle outputs of all layers in order of execution, then the network's own.

    samples × channels each.
    """
    seen: list[list[Tensor]] = []
    for part in x.split(batch):
        row: list[Tensor] = []

        def keep(_m: nn.Module, _i: Any, out: Any, row: list[Tensor] = row) -> None:
            out = first_tensor(out)
            if isinstance(out, Tensor):
                row.append(middle(out, spatial).clone())

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
    fields: list[list[InputInterval | None]],
    seed: int,
) -> list[FieldRow]:
    """Rows of arithmetic, compared with what perturbing rows and columns of the input changes.

    fields: of the rows, before rounding.

    They come back as they are where layers give no tensor that depends on the input: they cannot
    be told apart then.
    """
    own, spatial = _positive(network, in_shape, seed), len(in_shape) - 1
    base = _base(in_shape, seed)
    lines = []
    for axis, size in enumerate(in_shape[1:]):
        for i in range(size):
            x = base[0].clone()
            x.select(axis + 1, i).add_(PERTURBATION)
            lines.append(x)
    outs = _watched(own, torch.stack([base[0], *lines]).to(device_of(own)), spatial)
    if len(outs) != len(found) + (found[-1].name != OUTPUT):
        return found
    return [
        _compare(row, field, (out[1:] != out[:1]).flatten(1).any(1).cpu(), in_shape)
        for row, field, out in zip(found, fields, outs, strict=False)
    ]


def _compare(
    row: FieldRow, field: list[InputInterval | None], changed: Tensor, in_shape: tuple[int, ...]
) -> FieldRow:
    """The row with what was seen; `changed`: for each row and column of the input in turn."""
    seen, agrees, begin = [], True, 0
    for axis, size in enumerate(in_shape[1:]):
        where = changed[begin : begin + size].nonzero().flatten()
        begin += size
        span = (int(where.min()), int(where.max())) if len(where) else None
        seen.append(span)
        middle = row.outputs[1 + axis] // 2 if len(row.outputs) == len(in_shape) else 0
        agrees = agrees and _is_within(span, field[axis], middle, size)
    return replace(row, seen=tuple(seen), agrees=agrees)


def _is_within(
    span: tuple[int, int] | None, field: InputInterval | None, position: int, size: int
) -> bool:
    """Whether the inputs that changed a position are those of its field, to the pixel.

    Behind upsampling fields differ from position to position: the interval holds each of them, and
    each may be narrower at its ends by the interval's slack.
    """
    if field is None:
        return span == (0, size - 1)
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
