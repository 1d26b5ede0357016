"""The best trained network: its layers and its predictions under shifts, kept with the study."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from convscope.chapters.convolution.layers import measure_layers
from convscope.chapters.convolution.shifts import FLOPS, measure_shifts
from convscope.errors import UserError, one_line
from convscope.planning import Context
from convscope.recipe import label_of
from convscope.training import (
    Run,
    is_out_of_memory,
    network,
    note_missing,
    note_unreadable,
)


@dataclass(frozen=True)
class NetworkMeasures:
    """What was measured on the best trained network.

    `why` says why there is none, `shifts_why` why its predictions could not be taken.
    """

    run: Run | None
    label: str
    why: str = ""
    layers: tuple[dict[str, Any], ...] = ()
    left_out: tuple[str, ...] = ()
    images: int = 0
    shifts: tuple[dict[str, Any], ...] = ()
    shifts_why: str = ""


def measure_network(context: Context, run: Run | None, why: str) -> NetworkMeasures:
    """Layers and shifts of a run's best weights; without a run, or weights, the reason."""
    if run is None:
        return NetworkMeasures(None, "", why)
    label, shape = one_line(label_of(run.recipe.model)), context.data.in_shape
    try:
        layers, left_out = kept(
            context, f"layers of {run.id}", lambda: measure_layers(rebuilt(run), shape)
        )
    except UserError as error:
        note_unreadable("layers", run, error)
        return NetworkMeasures(
            None, label, f"the best network ({label}) cannot be looked at: {error}"
        )
    images, shifts, shifts_why = 0, [], ""
    try:
        flops = FLOPS[context.preset]
        images, shifts = kept(
            context,
            f"shifts of {run.id}",
            lambda: measure_shifts(rebuilt(run), run, context.data, flops),
        )
    except (UserError, MemoryError, RuntimeError) as error:
        if not isinstance(error, UserError) and not is_out_of_memory(error):
            raise
        note_missing(f"shifts of run {run.id}: {one_line(error)}")
        shifts_why = one_line(error)
    return NetworkMeasures(
        run, label, "", tuple(layers), tuple(left_out), images, tuple(shifts), shifts_why
    )


def kept(context: Context, key: str, what: Callable[[], list[Any]]) -> list[Any]:
    """A measurement that is kept with the study, so that its report is quickly written again."""
    found = context.measure(f"convolution: {key}", what)
    return what() if found is None else found


def rebuilt(run: Run) -> nn.Module:
    """The trained network.

    Raises UserError where its weights are gone, or its factory makes another network than it did.
    """
    try:
        return network(run)
    except (OSError, RuntimeError) as error:
        raise UserError(one_line(error)) from None


def network_numbers(net: NetworkMeasures) -> dict[str, Any]:
    if net.run is None:
        return {"verdict": "cannot tell", "why": net.why}
    errors = [layer["kernel_error"] for layer in net.layers if layer["kernel_error"] is not None]
    return {
        "run": net.run.id,
        "label": net.label,
        "layers": list(net.layers),
        "left_out": list(net.left_out),
        "kernel_error": max(errors, default=None),
        "images": net.images,
        "shifts_why": net.shifts_why,
    }
