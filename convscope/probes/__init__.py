"""What an operator is, measured: linearity, translation, impulse response. Any callable on batched tensors.

v = probe(torch.nn.ReLU(), (1, 16, 16))
v.linearity, v.translation.equivariant, v.impulse_response, v.counterexamples
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from convscope.probes.affine import Collapse as Collapse
from convscope.probes.affine import NotAffineError as NotAffineError
from convscope.probes.affine import collapse as collapse
from convscope.probes.convolution import Convolution, convolution
from convscope.probes.fields import effective_field as effective_field
from convscope.probes.fields import receptive_field as receptive_field
from convscope.probes.laws import Counterexample as Counterexample
from convscope.probes.linearity import Linearity, LinearityTest, linearity
from convscope.probes.permutation import flatten_order as flatten_order
from convscope.probes.translation import Translation, translation
from convscope.probes.trials import Operator, Shown, check_shape, show_shape


@dataclass(frozen=True, eq=False)
class Probe(Shown):
    """The verdicts on one operator, each with its evidence."""

    name: str
    shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    linearity: Linearity
    linearity_test: LinearityTest
    translation: Translation
    convolution: Convolution

    @property
    def impulse_response(self) -> Tensor | None:
        """out × in × kernel of a linear operator that is a (strided, transposed) convolution; else None, see convolution.reason."""
        return self.convolution.impulse_response

    @property
    def counterexamples(self) -> tuple[Counterexample, ...]:
        """What broke which law; each can be replayed and saved."""
        return self.linearity_test.counterexamples + self.translation.counterexamples

    def rows(self) -> list[tuple[str, ...]]:
        rows = [(self.name, f"{show_shape(self.shape)} → {show_shape(self.out_shape)}", "")]
        rows += self.linearity_test.rows()
        rows += [(*row, "") for row in self.translation.rows() + self.convolution.rows()]
        for example in self.counterexamples:
            rows.append(
                (
                    f"counterexample to {example.law}",
                    f"{example.support} nonzero inputs",
                    f"error {example.error:.3g}",
                )
            )
        return rows


def probe(
    f: Callable[..., Any],
    shape: Sequence[int],
    *,
    trials: int = 128,
    seed: int = 0,
    device: str | torch.device | None = None,
) -> Probe:
    """Judge a callable on N×C×L or N×C×H×W batches; `shape` is one sample's, (C, L) or (C, H, W).

    Modules are copied and measured in float64 in the mode they are in (training or evaluation); a plain function is called as it is, in
    float64 where it allows. Raises UserError, one line, where a verdict is impossible: the shape is not taken, the output is random, NaN,
    not one tensor, or changes its shape. `trials` is the number for linearity; translation takes an eighth of it at each shift.
    """
    shape = check_shape(
        shape, 2, "one sample's, channels first: (channels, length) or (channels, height, width)"
    )
    operator = Operator(f, shape, device=device, seed=seed)
    lines = linearity(operator, trials=trials, seed=seed)
    moves = translation(operator, trials=max(6, trials // 8), seed=seed)
    assert operator.out_shape is not None
    borders = tuple(axis.border for axis in moves.axes)
    kernel = convolution(operator, lines.verdict, moves.shifts, borders, moves.invariant, seed)
    return Probe(
        operator.name, operator.shape, operator.out_shape, lines.verdict, lines, moves, kernel
    )
