"""All verdicts on one operator: linearity, translation, impulse response."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from convscope.probes.convolution import Convolution, convolution
from convscope.probes.laws import Counterexample
from convscope.probes.linearity import Linearity, LinearityTest, measure_linearity
from convscope.probes.translation import Translation, measure_translation
from convscope.probes.trials import MAP, Operator, Shown, check_shape, show_shape


@dataclass(frozen=True, eq=False)
class Probe(Shown):
    """The verdicts on one operator, each with its evidence.

    name: of the callable; shape, out_shape: one sample's, channels first.
    linearity: "linear", "affine" or "nonlinear"; linearity_test: how it was found out.
    translation: equivariance, period, border and invariance.
    convolution: the impulse response, or the reason why there is none.
    """

    name: str
    shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    linearity: Linearity
    linearity_test: LinearityTest
    translation: Translation
    convolution: Convolution

    @property
    def impulse_response(self) -> Tensor | None:
        """out × in × kernel of a linear operator that is a (strided, transposed) convolution.

        None for every other operator; `convolution.reason` says why.
        """
        return self.convolution.impulse_response

    @property
    def counterexamples(self) -> tuple[Counterexample, ...]:
        """What broke which law; each can be replayed and saved."""
        return self.linearity_test.counterexamples + self.translation.counterexamples

    def rows(self) -> list[tuple[str, ...]]:
        rows = [(self.name, f"{show_shape(self.shape)} → {show_shape(self.out_shape)}", "")]
        rows += self.linearity_test.rows()
        rows += [(*row, "") for row in self.translation.rows() + self.convolution.rows()]
        for one in self.counterexamples:
            size = f"{one.support} nonzero inputs"
            rows.append((f"counterexample to {one.law}", size, f"error {one.error:.3g}"))
        return rows


def probe(
    f: Callable[..., Any],
    shape: Sequence[int],
    *,
    trials: int = 128,
    seed: int = 0,
    device: str | torch.device | None = None,
) -> Probe:
    """Judge a callable on tensors by measurement.

    f: takes batches N × C × L or N × C × H × W and returns one tensor. A module is copied and
        measured in float64, in the mode it is in (training or evaluation). A plain function is
        called as it is, in float64 where it allows.
    shape: one sample's, (C, L) or (C, H, W).
    trials: the number for linearity; translation takes an eighth of it at each shift.
    seed: of the random inputs.
    device: where `f` is called; without it, where a module's weights are, else the CPU.

    Raises UserError where a verdict is impossible: the shape is not taken, the output is random,
    NaN, not one tensor, or changes its shape. Definitions and proofs: docs/theory.md.
    """
    shape = check_shape(shape, 2, MAP)
    operator = Operator(f, shape, device=device, seed=seed)
    lines = measure_linearity(operator, trials=trials, seed=seed)
    moves = measure_translation(operator, trials=max(6, trials // 8), seed=seed)
    assert operator.out_shape is not None
    borders = tuple(axis.border for axis in moves.axes)
    kernel = convolution(operator, lines.verdict, moves.shifts, borders, moves.invariant, seed)
    return Probe(
        operator.name, operator.shape, operator.out_shape, lines.verdict, lines, moves, kernel
    )
