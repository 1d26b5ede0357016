"""Estimates, comparisons and verdicts, from runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convscope import lazily

if TYPE_CHECKING:
    from convscope.statistics.comparisons import Difference as Difference
    from convscope.statistics.comparisons import compare as compare
    from convscope.statistics.comparisons import difference_se as difference_se
    from convscope.statistics.comparisons import equivalence as equivalence
    from convscope.statistics.comparisons import paired_difference as paired_difference
    from convscope.statistics.configuration import Configuration as Configuration
    from convscope.statistics.configuration import configurations as configurations
    from convscope.statistics.configuration import grouped as grouped
    from convscope.statistics.contrasts import beats_chance as beats_chance
    from convscope.statistics.contrasts import contrast as contrast
    from convscope.statistics.contrasts import holm as holm
    from convscope.statistics.contrasts import p_above as p_above
    from convscope.statistics.contrasts import p_outside as p_outside
    from convscope.statistics.estimation import Estimate as Estimate
    from convscope.statistics.estimation import estimates as estimates
    from convscope.statistics.estimation import pooled_sd as pooled_sd
    from convscope.statistics.estimation import quantile as quantile
    from convscope.statistics.learning_curves import FALL as FALL
    from convscope.statistics.learning_curves import fall_per_epoch as fall_per_epoch
    from convscope.statistics.learning_curves import judged as judged
    from convscope.statistics.learning_curves import overfits_from as overfits_from
    from convscope.statistics.softmax_regression import SoftmaxOptimum as SoftmaxOptimum
    from convscope.statistics.softmax_regression import affordable_optimum as affordable_optimum
    from convscope.statistics.softmax_regression import softmax_optimum as softmax_optimum
    from convscope.statistics.verdicts import smallest_within_one_se as smallest_within_one_se
    from convscope.statistics.verdicts import sweep_verdict as sweep_verdict

_HOMES = {
    "Configuration": "configuration",
    "Difference": "comparisons",
    "Estimate": "estimation",
    "FALL": "learning_curves",
    "SoftmaxOptimum": "softmax_regression",
    "affordable_optimum": "softmax_regression",
    "beats_chance": "contrasts",
    "compare": "comparisons",
    "configurations": "configuration",
    "contrast": "contrasts",
    "difference_se": "comparisons",
    "equivalence": "comparisons",
    "estimates": "estimation",
    "fall_per_epoch": "learning_curves",
    "grouped": "configuration",
    "holm": "contrasts",
    "judged": "learning_curves",
    "overfits_from": "learning_curves",
    "p_above": "contrasts",
    "p_outside": "contrasts",
    "paired_difference": "comparisons",
    "pooled_sd": "estimation",
    "quantile": "estimation",
    "smallest_within_one_se": "verdicts",
    "softmax_optimum": "softmax_regression",
    "sweep_verdict": "verdicts",
}
if not TYPE_CHECKING:  # else any name would pass for one of the face's
    __getattr__ = lazily(__name__, _HOMES)
