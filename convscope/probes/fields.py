"""Which input pixels does an output see? By arithmetic over the whole graph, by perturbation, and how strongly, by gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

import torch
from torch import Tensor, nn

from convscope.errors import UserError, did_you_mean, one_line
from convscope.probes.atoms import fields_of
from convscope.probes.propagation import CircularPadding, Tracker
from convscope.probes.trials import Shown, check_shape, device_of, name_of, private, show_shape

OUTPUT = "(output)"
PEAK_SHARE = 0.0455  # 1 − 95.45 %: what lies beyond two standard deviations (Luo et al. 2016)
PERTURBATION = 1e8


@dataclass(frozen=True)
class FieldRow:
    """The theoretical receptive field of a layer's outputs, per spatial axis, in input pixels.

    `sizes` are not clipped to the image; `starts` are the leftmost input indices of output 0, negative with padding; `strides` the distance of
    neighbouring outputs' fields. After flattening or global pooling the field is the whole input and has no stride. `outputs` is the output's shape.
    With a check, `seen` are the first and last input index that changed the middle output, `agrees` whether that is what arithmetic says.
    """

    name: str
    kind: str
    outputs: tuple[int, ...]
    sizes: tuple[int, ...]
    strides: tuple[int | float | None, ...]
    starts: tuple[int, ...]
    seen: tuple[tuple[int, int] | None, ...] = ()
    agrees: bool | None = None

    @property
    def size(self) -> int | tuple[int, ...]:
        """One number where the axes agree."""
        return _one(self.sizes)

    @property
    def stride(self) -> Any:
        return _one(self.strides)

    @property
    def start(self) -> int | tuple[int, ...]:
        return _one(self.starts)

    @property
    def whole(self) -> bool:
        return all(stride is None for stride in self.strides)


def _one(values: tuple[Any, ...]) -> Any:
    return values[0] if len(set(values)) == 1 else values


@dataclass(frozen=True)
class FieldTable(Shown, Sequence[FieldRow]):
    """A row a layer, in order of execution."""

    layers: tuple[FieldRow, ...]
    in_shape: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[FieldRow]:
        return iter(self.layers)

    @overload
    def __getitem__(self, index: int) -> FieldRow: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[FieldRow, ...]: ...
    def __getitem__(self, index: int | slice) -> FieldRow | tuple[FieldRow, ...]:
        return self.layers[index]

    def rows(self) -> list[tuple[str, ...]]:
        checked = any(row.agrees is not None for row in self.layers)
        rows = [
            (
                "layer",
                "kind",
                "field",
                "stride",
                "start",
                *(("by perturbation",) if checked else ()),
            )
        ]
        for row in self.layers:
            stride = "–" if row.whole else _show(row.strides)
            field = _show(row.sizes) + (" (whole input)" if row.whole else "")
            seen = (
                "not checked"
                if row.agrees is None
                else "agrees"
                if row.agrees
                else f"differs: {row.seen}"
            )
            rows.append(
                (
                    row.name,
                    row.kind,
                    field,
                    stride,
                    _show(row.starts),
                    *((seen,) if checked else ()),
                )
            )
        return rows


def _show(values: Sequence[int | float | None]) -> str:
    shown = ["–" if v is None else f"{v:g}" for v in values]
    return shown[0] if len(set(shown)) == 1 else "×".join(shown)


def receptive_field(
    model: Callable[..., Any], in_shape: Sequence[int], *, check: bool = False, seed: int = 0
) -> FieldTable:
    """A row a layer (modules without children, in order of execution): name, size, stride, start of the theoretical receptive field.

    Works on any graph, with skips, branches and functions in forwards: the network runs once, and each tensor operation passes the
    fields on. A last row "(output)" is added where the output is that of no layer, as for a plain callable. A module is copied and run in
    evaluation mode. With `check`, rows and columns of the input are perturbed and compared with the arithmetic. Normalisations over the
    map (group, layer, instance) make every output depend on the whole input, and so they are counted.
    """
    in_shape = check_shape(
        in_shape, 2, "one sample's, channels first: (channels, length) or (channels, height, width)"
    )
    network = private(model)
    layers = _leaves(network)
    x = torch.full((1, *in_shape), 0.5, device=device_of(network))
    parameter = (
        next((p for p in network.parameters() if p.is_floating_point()), None)
        if isinstance(network, nn.Module)
        else None
    )
    x = x if parameter is None else x.to(parameter.dtype)
    tracker = Tracker(x)
    found: list[FieldRow] = []
    last: list[Any] = [None]

    def record(name: str, kind: str, out: Any) -> None:
        out = (
            next((o for o in out if isinstance(o, Tensor)), None)
            if isinstance(out, tuple | list)
            else out
        )
        state = tracker.state_of(out)
        if state is None:
            return
        last[0] = state
        fields = fields_of(state, len(in_shape) - 1)
        found.append(
            FieldRow(
                name,
                kind,
                tuple(out.shape[1:]),
                tuple(
                    n if f is None else math.floor(f.size)
                    for f, n in zip(fields, in_shape[1:], strict=True)
                ),
                tuple(
                    None if f is None else int(f.jump) if f.jump.denominator == 1 else float(f.jump)
                    for f in fields
                ),
                tuple(0 if f is None else math.ceil(f.start) for f in fields),
            )
        )

    hooks = [
        m.register_forward_hook(lambda m, _, out, n=name: record(n, type(m).__name__, out))
        for m, name in layers.items()
    ]
    try:
        with torch.no_grad(), CircularPadding(tracker), tracker:
            out = network(x)
    except Exception as error:
        raise UserError(
            f"{name_of(model)} does not take {show_shape(x.shape)} batches: {type(error).__name__}: {one_line(error)}"
        ) from None
    finally:
        for hook in hooks:
            hook.remove()
    out = (
        next((o for o in out if isinstance(o, Tensor)), None)
        if isinstance(out, tuple | list)
        else out
    )
    state = tracker.state_of(out)
    if state is not None and (
        not found or fields_of(state, len(in_shape) - 1) != fields_of(last[0], len(in_shape) - 1)
    ):
        record(OUTPUT, name_of(model), out)
    if not found:
        raise UserError(
            f"{name_of(model)}: its output does not depend on its input in a way that can be followed"
        )
    if check:
        if not isinstance(network, nn.Module):
            raise UserError(
                f"{name_of(model)}: only a module's fields can be checked by perturbation, its weights are set for it"
            )
        found = _checked(network, in_shape, found, seed)
    return FieldTable(tuple(found), in_shape)


def _leaves(network: Callable[..., Any]) -> dict[nn.Module, str]:
    """Modules without children but nn.Identity, as in the table of sizes; the network goes into evaluation mode."""
    if not isinstance(network, nn.Module):
        return {}
    network.eval()
    return {
        m: name
        for name, m in network.named_modules()
        if not any(m.children()) and not isinstance(m, nn.Identity)
    }


def _positive(network: nn.Module, seed: int) -> nn.Module:
    """A copy in float64 with random positive weights and neutral statistics: every path of the graph is open, nothing cancels."""
    own = private(network, torch.float64)
    assert isinstance(own, nn.Module)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in own.parameters():
            fan_in = max(1, p[0].numel() if p.ndim > 1 else 1)
            p.copy_(
                ((0.5 + torch.rand(p.shape, generator=generator, dtype=torch.float64)) / fan_in).to(
                    p.device
                )
            )
        for name, buffer in own.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.fill_(float(name.endswith("var")))
    for p in own.parameters():
        p.requires_grad_(False)
    return own.eval()


def _middle(out: Tensor, spatial: int) -> Tensor:
    """samples × channels of the middle output; of an output without the input's axes, all of it."""
    if out.ndim != spatial + 2:
        return out.flatten(1)
    return out[(..., *(n // 2 for n in out.shape[2:]))]


def _watched(network: nn.Module, x: Tensor, spatial: int, batch: int = 32) -> list[Tensor]:
    """Middle outputs of all layers in order of execution, then the network's own: samples × channels each."""
    seen: list[list[Tensor]] = []
    for part in x.split(batch):
        row: list[Tensor] = []

        def keep(_m: nn.Module, _i: Any, out: Any, row: list[Tensor] = row) -> None:
            out = (
                next((o for o in out if isinstance(o, Tensor)), None)
                if isinstance(out, tuple | list)
                else out
            )
            if isinstance(out, Tensor):
                row.append(_middle(out, spatial).clone())

        hooks = [m.register_forward_hook(keep) for m in _leaves(network)]
        try:
            with torch.no_grad():
                keep(network, None, network(part))
        finally:
            for hook in hooks:
                hook.remove()
        seen.append(row)
    return [torch.cat(parts) for parts in zip(*seen, strict=True)]


def _checked(
    network: nn.Module, in_shape: tuple[int, ...], found: list[FieldRow], seed: int
) -> list[FieldRow]:
    own, spatial = _positive(network, seed), len(in_shape) - 1
    base = 0.01 * (
        0.5
        + torch.rand(
            1, *in_shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
        )
    )
    lines = []
    for axis, size in enumerate(in_shape[1:]):
        for i in range(size):
            x = base[0].clone()
            x.select(axis + 1, i).add_(PERTURBATION)
            lines.append(x)
    outs = _watched(own, torch.stack([base[0], *lines]).to(device_of(own)), spatial)
    if len(outs) != len(found) + (found[-1].name != OUTPUT):
        return (
            found  # layers that give no tensor that depends on the input: rows can't be told apart
        )
    return [
        _compare(row, (out[1:] != out[:1]).flatten(1).any(1).cpu(), in_shape)
        for row, out in zip(found, outs, strict=False)
    ]


def _compare(row: FieldRow, changed: Tensor, in_shape: tuple[int, ...]) -> FieldRow:
    seen, agrees, begin = [], True, 0
    for axis, size in enumerate(in_shape[1:]):
        where = changed[begin : begin + size].nonzero().flatten()
        begin += size
        span = (int(where.min()), int(where.max())) if len(where) else None
        seen.append(span)
        stride = row.strides[axis]
        middle = row.outputs[1 + axis] // 2 if len(row.outputs) == len(in_shape) else 0
        first = 0 if stride is None else row.starts[axis] + middle * stride
        expected = (max(0, math.ceil(first)), min(size, math.floor(first + row.sizes[axis])) - 1)
        agrees = agrees and span == expected
    return replace(row, seen=tuple(seen), agrees=agrees)


def reach(
    model: nn.Module,
    in_shape: Sequence[int],
    *,
    layer: str | None = None,
    batch: int = 64,
    seed: int = 0,
) -> Tensor:
    """Which input pixels can change the middle output of a layer at all: a mask of the input's height × width.

    Each pixel is perturbed alone, in a copy with random positive weights, so that closed gates hide none.
    """
    in_shape = check_shape(in_shape, 2, "one sample's, channels first")
    own, spatial = _positive(model, seed), len(in_shape) - 1
    capture = _Capture(own, layer, name_of(model))
    base = 0.01 * (
        0.5
        + torch.rand(
            1, *in_shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
        )
    )
    pixels = torch.eye(math.prod(in_shape[1:]), dtype=torch.bool).reshape(-1, 1, *in_shape[1:])
    with torch.no_grad():
        before = _middle(capture(base.to(device_of(own))), spatial)
        changed = [
            (_middle(capture((base + PERTURBATION * part).to(device_of(own))), spatial) != before)
            .flatten(1)
            .any(1)
            .cpu()
            for part in pixels.split(batch)
        ]
    return torch.cat(changed).reshape(in_shape[1:])


class _Capture:
    """A network as a function that gives a layer's output (of its first call)."""

    def __init__(self, network: nn.Module, layer: str | None, of: str) -> None:
        self.network, self.of = network, of
        modules = dict(network.named_modules())
        if layer is not None and layer not in modules:
            raise UserError(
                f"layer {one_line(layer)!r} of {of}{did_you_mean(layer, [n for n in modules if n])}"
            )
        self.layer = None if layer is None else modules[layer]

    def __call__(self, x: Tensor) -> Tensor:
        outs: list[Any] = []
        hook = (
            None
            if self.layer is None
            else self.layer.register_forward_hook(lambda _m, _i, out: outs.append(out))
        )
        try:
            last = self.network(x)
        except Exception as error:
            raise UserError(
                f"{self.of} does not take {show_shape(x.shape)} batches: {type(error).__name__}: {one_line(error)}"
            ) from None
        finally:
            if hook is not None:
                hook.remove()
        out = (outs[0] if outs else None) if self.layer is not None else last
        if not isinstance(out, Tensor):
            raise UserError(f"{self.of}: the layer gives no tensor")
        return out


@dataclass(frozen=True, eq=False)
class EffectiveField(Shown):
    """How strongly input pixels act on the middle output: `image` (height × width) has peak 1.

    `area` counts pixels above 4.55 % of the peak, `side` is its square root (Luo et al. 2016).
    """

    layer: str
    image: Tensor
    area: int
    side: float
    samples: int

    def rows(self) -> list[tuple[str, ...]]:
        return [
            ("effective field", self.layer),
            ("pixels above 4.55 % of the peak", f"{self.area} of {self.image.numel()}"),
            ("square root", f"{self.side:.2f}"),
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
    """The mean size of the gradient of a layer's middle output with respect to each pixel, over `inputs` or normally distributed ones.

    Channels of the output are added up with random weights, a new draw for each input; channels of the input by absolute value. A copy in
    float64 and evaluation mode is used, with the weights as they are. Without `layer`, the network's output: for logits, all of them.
    """
    in_shape = check_shape(
        in_shape, 2, "one sample's, channels first: (channels, length) or (channels, height, width)"
    )
    own = private(model, torch.float64)
    if not isinstance(own, nn.Module):
        raise UserError(f"{name_of(model)}: the effective field is that of a torch.nn.Module")
    own.eval().requires_grad_(False)
    capture = _Capture(own, layer, name_of(model))
    generator = torch.Generator().manual_seed(seed)
    if inputs is None:
        inputs = torch.randn(samples, *in_shape, generator=generator, dtype=torch.float64)
    elif tuple(inputs.shape[1:]) != in_shape or len(inputs) == 0:
        raise UserError(f"inputs of {show_shape(inputs.shape)}: samples are {show_shape(in_shape)}")
    image = torch.zeros(in_shape[1:], dtype=torch.float64)
    for part in inputs.split(16):
        x = part.detach().to(device_of(own), torch.float64, copy=True).requires_grad_()
        with torch.enable_grad():
            out = _middle(capture(x * 1.0), len(in_shape) - 1)  # a layer may write into its input
            weights = torch.randn(out.shape, generator=generator, dtype=torch.float64).to(
                out.device
            )
            (gradient,) = torch.autograd.grad((out * weights).sum(), x)
        image += gradient.abs().sum((0, 1)).cpu()
    peak = float(image.max())
    if not math.isfinite(peak) or peak == 0.0:
        raise UserError(
            f"{name_of(model)}: the gradient of {layer or 'its output'} is {'zero' if peak == 0 else 'not finite'} everywhere"
        )
    area = int((image > PEAK_SHARE * peak).sum())
    return EffectiveField(layer or OUTPUT, image / peak, area, area**0.5, len(inputs))
