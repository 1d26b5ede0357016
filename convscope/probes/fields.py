"""Which input pixels does an output see? By arithmetic over the whole graph (propagation.py)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn

from convscope.errors import UserError
from convscope.probes.atoms import InputInterval, State, intervals_of, places_of
from convscope.probes.field_table import OUTPUT, FieldRow, FieldTable
from convscope.probes.layer_outputs import called, first_tensor, layers_of
from convscope.probes.perturbation import Field, checked
from convscope.probes.propagation import CircularPadding, Tracker
from convscope.probes.trials import MAP, check_shape, device_of, name_of, private


def receptive_field(
    model: Callable[..., Any], in_shape: Sequence[int], *, check: bool = False, seed: int = 0
) -> FieldTable:
    """The theoretical receptive field of each layer: size, stride and start, in input pixels.

    model: any graph, with skips, branches and functions in forwards. It runs once, and each tensor
        operation passes the fields on. A module is copied and run in evaluation mode.
    in_shape: one sample's, (C, L) or (C, H, W).
    check: rows and columns of the input are perturbed and compared with the arithmetic.
    seed: of the weights and input of the check.

    Layers are modules without children, in order of execution. A last row "(output)" is added where
    the output is that of no layer, as for a plain callable. Normalisations over the map (group,
    layer, instance) make every output depend on the whole input, and so they are counted.

    Raises UserError where the shape is not taken, where the output does not depend on the input in
    a way that can be followed, and for a check of what is no module. Source: Araujo, Norris and Sim
    2019, Distill.
    """
    in_shape = check_shape(in_shape, 2, MAP)
    network = private(model, shape=in_shape)
    layers = layers_of(network)
    x = torch.full((1, *in_shape), 0.5, device=device_of(network))
    if isinstance(network, nn.Module):
        weights = (p for p in network.parameters() if p.is_floating_point())
        x = x.to(next(weights, x).dtype)
    recorder = _Recorder(Tracker(x), in_shape[1:])
    hooks = [
        module.register_forward_hook(
            lambda m, _, out, n=name: recorder.add(n, type(m).__name__, out)
        )
        for module, name in layers.items()
    ]
    try:
        with torch.no_grad(), CircularPadding(recorder.tracker), recorder.tracker:
            out = called(network, x, name_of(model))
    finally:
        for hook in hooks:
            hook.remove()
    recorder.end(name_of(model), out)
    found = recorder.rows
    if not found:
        raise UserError(
            f"{name_of(model)}: "
            "its output does not depend on its input in a way that can be followed"
        )
    if check and not isinstance(network, nn.Module):
        raise UserError(
            f"{name_of(model)}: only a module's fields can be checked by perturbation, "
            "its weights are set for it"
        )
    if check:
        assert isinstance(network, nn.Module)
        found = checked(network, in_shape, found, recorder.fields, seed)
    return FieldTable(tuple(found), in_shape)


class _Recorder:
    """Rows of the layers as they run; `sizes` are the input's axes."""

    def __init__(self, tracker: Tracker, sizes: tuple[int, ...]) -> None:
        self.tracker, self.sizes = tracker, sizes
        self.rows: list[FieldRow] = []
        self.fields: list[Field] = []  # of the rows, before rounding
        self.last: State | None = None

    def intervals(self, state: State) -> list[InputInterval | None]:
        return intervals_of(state, len(self.sizes))

    def add(self, name: str, kind: str, out: Any) -> None:
        """A row for a layer's output, if that depends on the input."""
        out = first_tensor(out)
        state = self.tracker.state_of(out)
        if state is None:
            return
        assert isinstance(out, Tensor)
        self.last, found = state, self.intervals(state)
        sizes = (
            n if f is None else math.floor(f.size) for f, n in zip(found, self.sizes, strict=True)
        )
        strides = (None if f is None else _number(f) for f in found)
        starts = (0 if f is None else math.ceil(f.start) for f in found)
        outputs = tuple(out.shape[1:])
        gaps = tuple(self.tracker.jumps.get(i, Fraction(1)) for i in range(len(self.sizes)))
        self.fields.append(Field(found, places_of(state, len(self.sizes)), gaps))
        self.rows.append(FieldRow(name, kind, outputs, tuple(sizes), tuple(strides), tuple(starts)))

    def end(self, name: str, out: Any) -> None:
        """A row for the network's output, unless the last layer's says the same."""
        state = self.tracker.state_of(first_tensor(out))
        if state is None:
            return
        if self.last is None or self.intervals(state) != self.intervals(self.last):
            self.add(OUTPUT, name, out)


def _number(interval: InputInterval) -> int | float:
    jump = interval.jump
    return int(jump) if jump.denominator == 1 else float(jump)
