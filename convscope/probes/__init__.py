"""What an operator is, measured: linearity, translation, impulse response, fields, orders.

Any callable on batched tensors can be asked:

    v = probe(torch.nn.ReLU(), (1, 16, 16))
    v.linearity, v.translation.equivariant, v.impulse_response, v.counterexamples
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from convscope import lazily

if TYPE_CHECKING:
    from convscope.probes.affine import Collapse as Collapse
    from convscope.probes.affine import NotAffineError as NotAffineError
    from convscope.probes.affine import Part as Part
    from convscope.probes.affine import collapse as collapse
    from convscope.probes.affine import parts as parts
    from convscope.probes.effective import EffectiveField as EffectiveField
    from convscope.probes.effective import NoGradient as NoGradient
    from convscope.probes.effective import effective_field as effective_field
    from convscope.probes.fields import receptive_field as receptive_field
    from convscope.probes.known_reasons import reasons as reasons
    from convscope.probes.laws import Counterexample as Counterexample
    from convscope.probes.linearity import LinearityTest as LinearityTest
    from convscope.probes.linearity import measure_linearity as measure_linearity
    from convscope.probes.operators import OPERATORS as OPERATORS
    from convscope.probes.operators import Known as Known
    from convscope.probes.operators import operator_named as operator_named
    from convscope.probes.permutation import FlattenOrder as FlattenOrder
    from convscope.probes.permutation import Trajectory as Trajectory
    from convscope.probes.permutation import flatten_order as flatten_order
    from convscope.probes.permutation import flatten_orders as flatten_orders
    from convscope.probes.probing import Probe as Probe
    from convscope.probes.probing import probe as probe
    from convscope.probes.trials import Operator as Operator
    from convscope.probes.trials import show_shape as show_shape

_HOMES = {
    "Collapse": "affine",
    "Counterexample": "laws",
    "EffectiveField": "effective",
    "NoGradient": "effective",
    "FlattenOrder": "permutation",
    "Known": "operators",
    "LinearityTest": "linearity",
    "NotAffineError": "affine",
    "OPERATORS": "operators",
    "Operator": "trials",
    "Part": "affine",
    "Probe": "probing",
    "Trajectory": "permutation",
    "collapse": "affine",
    "effective_field": "effective",
    "flatten_order": "permutation",
    "flatten_orders": "permutation",
    "measure_linearity": "linearity",
    "operator_named": "operators",
    "parts": "affine",
    "probe": "probing",
    "reasons": "known_reasons",
    "receptive_field": "fields",
    "show_shape": "trials",
}
if not TYPE_CHECKING:  # else any name would pass for one of the face's
    __getattr__ = lazily(__name__, _HOMES)
