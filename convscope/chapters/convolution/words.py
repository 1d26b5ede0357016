"""The chapter's sentences and paragraphs: typed numbers for texts.jinja."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from convscope.chapters.convolution.network import NetworkMeasures
from convscope.chapters.convolution.operators import ASKED, Measured
from convscope.chapters.convolution.shifts import BORDERS
from convscope.chapters.convolution.theorem import Check
from convscope.words import texts_beside

TEXTS = texts_beside(__file__)

PROOF_STEPS = (
    "terms",
    "claim",
    "sum_of_impulses",
    "linearity",
    "condition",
    "converse",
    "impulse",
    "domain",
    "torch",
)


class Between(NamedTuple):
    """A number with its 95 % interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Moved:
    """What a shift by some pixels does, mean of four directions; `change` is that of accuracy.

    `change` is None where there are too few images for an interval.
    """

    pixels: int
    unchanged: Between
    change: Between | None

    @property
    def fall(self) -> Between | None:
        """The change with its sign turned: how much accuracy is lost."""
        if self.change is None:
            return None
        return Between(-self.change.mean, -self.change.high, -self.change.low)


class LayerKind(NamedTuple):
    """What layers of one kind have in common; `mode` is named where the kind has two."""

    kind: str
    mode: str
    linearity: str
    moves: str | None
    period: int | None
    inside: int | None
    border: int | None
    times: int = 1


def moved_by(net: NetworkMeasures, border: str) -> list[Moved]:
    """The shifts by one pixel and more, for one way to fill the border."""
    return [
        Moved(
            row["pixels"],
            Between(row["unchanged"], row["unchanged_low"], row["unchanged_high"]),
            None
            if row["change_low"] is None
            else Between(row["change"], row["change_low"], row["change_high"]),
        )
        for row in net.shifts
        if row["border"] == border and row["pixels"] > 0
    ]


def layer_kinds(layers: Sequence[dict[str, Any]]) -> list[LayerKind]:
    """Layers that are one class and were measured to be alike, counted, in order of execution."""
    both = {layer["kind"] for layer in layers if layer["mode"] == "training"}
    counted = Counter(
        LayerKind(
            layer["kind"],
            layer["mode"] if layer["kind"] in both else "",
            layer["linearity"],
            layer["moves"],
            None if layer["equivariant"] else layer["period"],
            layer["inside"],
            layer["border"],
        )
        for layer in layers
    )
    return [kind._replace(times=count) for kind, count in counted.items()]


def sentence_of(measured: Sequence[Measured], net: NetworkMeasures) -> str:
    """The chapter's answer: operators against the theory, and the best network under shifts."""
    differing = [one for one in measured if one.differs]
    asked = [one for one in measured if one.name in ASKED]
    agree = len(measured) - len(differing)
    operators = TEXTS.operators_sentence(agree, len(measured), differing, asked)
    return f"{operators} {TEXTS.network_sentence(net, moved_by(net, BORDERS[0]))}"


def shift_words(net: NetworkMeasures, borders: Sequence[str] = BORDERS) -> str:
    """What shifts do, by the smallest and by the largest one, for these ways to fill the border."""
    found = {border: moved_by(net, border) for border in borders}
    told = [
        TEXTS.shift_words(border, moved, net.images) for border, moved in found.items() if moved
    ]
    return " ".join(told)


def paragraphs_of(measured: Sequence[Measured], check: Check, net: NetworkMeasures) -> list[str]:
    """The method: the check of the theorem, the trials, the layers and the shifts."""
    paragraphs = [TEXTS.words_paragraph(), TEXTS.theorem_paragraph(check)]
    test = next((one.found.linearity_test for one in measured if one.found is not None), None)
    if test is not None:
        paragraphs += [TEXTS.operators_paragraph(test), TEXTS.edges_paragraph()]
    if net.run is None:
        return [*paragraphs, TEXTS.no_network_paragraph(net.why)]
    convolutions = sum(layer["convolution"] for layer in net.layers)
    errors = [layer["kernel_error"] for layer in net.layers if layer["kernel_error"] is not None]
    kinds = layer_kinds(net.layers)
    paragraphs.append(TEXTS.layers_paragraph(net, kinds, convolutions, errors))
    if net.shifts_why:
        paragraphs.append(TEXTS.shifts_unknown_paragraph(net.shifts_why))
    elif moved_by(net, BORDERS[0]):
        most = max(row["pixels"] for row in net.shifts)
        further = BORDERS[1:]  # the answer tells of the first
        paragraphs.append(TEXTS.shifts_paragraph(net.images, most, shift_words(net, further)))
    return paragraphs


def proof_of() -> list[str]:
    """The steps of the proof of the theorem (docs/theory.md, section 1)."""
    return [getattr(TEXTS, f"proof_{step}")() for step in PROOF_STEPS]
