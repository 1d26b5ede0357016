"""Estimates, comparisons and verdicts, from runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convscope import lazily

if TYPE_CHECKING:
    from convscope.statistics.answers import losses_by_image as losses_by_image
    from convscope.statistics.answers import right_by_image as right_by_image
    from convscope.statistics.by_class import balanced_accuracy as balanced_accuracy
    from convscope.statistics.by_class import imbalance as imbalance
    from convscope.statistics.comparisons import accuracy_difference as accuracy_difference
    from convscope.statistics.comparisons import difference_se as difference_se
    from convscope.statistics.comparisons import equivalence as equivalence
    from convscope.statistics.comparisons import non_inferiority as non_inferiority
    from convscope.statistics.comparisons import paired_difference as paired_difference
    from convscope.statistics.configuration import Configuration as Configuration
    from convscope.statistics.configuration import configurations as configurations
    from convscope.statistics.configuration import grouped as grouped
    from convscope.statistics.crossed_factors import Crossed as Crossed
    from convscope.statistics.crossed_factors import Difference as Difference
    from convscope.statistics.crossed_factors import crossed as crossed
    from convscope.statistics.crossed_factors import joined as joined
    from convscope.statistics.estimation import Estimate as Estimate
    from convscope.statistics.estimation import estimates as estimates
    from convscope.statistics.estimation import pooled_sd as pooled_sd
    from convscope.statistics.estimation import quantile as quantile
    from convscope.statistics.learning_curves import fall_per_epoch as fall_per_epoch
    from convscope.statistics.multiple_tests import above_chance as above_chance
    from convscope.statistics.multiple_tests import crossed_accuracies as crossed_accuracies
    from convscope.statistics.multiple_tests import holm as holm
    from convscope.statistics.multiple_tests import p_above as p_above
    from convscope.statistics.multiple_tests import p_outside as p_outside
    from convscope.statistics.multiple_tests import repeated_word as repeated_word
    from convscope.statistics.network_verdicts import FALL as FALL
    from convscope.statistics.network_verdicts import FLAT as FLAT
    from convscope.statistics.network_verdicts import judged as judged
    from convscope.statistics.question import check_question as check_question
    from convscope.statistics.run_comparisons import Comparison as Comparison
    from convscope.statistics.run_comparisons import check_images as check_images
    from convscope.statistics.run_comparisons import compare as compare
    from convscope.statistics.scaling import Forecast as Forecast
    from convscope.statistics.scaling import Interval as Interval
    from convscope.statistics.scaling import forecast_of as forecast_of
    from convscope.statistics.scaling_law import Cell as Cell
    from convscope.statistics.scaling_law import Law as Law
    from convscope.statistics.softmax_regression import SoftmaxOptimum as SoftmaxOptimum
    from convscope.statistics.softmax_regression import affordable_optimum as affordable_optimum
    from convscope.statistics.softmax_regression import softmax_optimum as softmax_optimum
    from convscope.statistics.suspects import Suspect as Suspect
    from convscope.statistics.suspects import accuracy_without as accuracy_without
    from convscope.statistics.suspects import as_rows as as_rows
    from convscope.statistics.suspects import shares_of as shares_of
    from convscope.statistics.suspects import suspects_of as suspects_of
    from convscope.statistics.verdicts import SweepVerdict as SweepVerdict
    from convscope.statistics.verdicts import smallest_within_one_se as smallest_within_one_se
    from convscope.statistics.verdicts import sweep_verdict as sweep_verdict

_HOMES = {
    "Suspect": "suspects",
    "accuracy_without": "suspects",
    "as_rows": "suspects",
    "shares_of": "suspects",
    "suspects_of": "suspects",
    "balanced_accuracy": "by_class",
    "imbalance": "by_class",
    "Cell": "scaling_law",
    "Comparison": "run_comparisons",
    "Configuration": "configuration",
    "Crossed": "crossed_factors",
    "Difference": "crossed_factors",
    "Estimate": "estimation",
    "FALL": "network_verdicts",
    "FLAT": "network_verdicts",
    "SoftmaxOptimum": "softmax_regression",
    "Forecast": "scaling",
    "Interval": "scaling",
    "Law": "scaling_law",
    "SweepVerdict": "verdicts",
    "above_chance": "multiple_tests",
    "accuracy_difference": "comparisons",
    "affordable_optimum": "softmax_regression",
    "check_images": "run_comparisons",
    "check_question": "question",
    "compare": "run_comparisons",
    "configurations": "configuration",
    "crossed": "crossed_factors",
    "crossed_accuracies": "multiple_tests",
    "difference_se": "comparisons",
    "equivalence": "comparisons",
    "estimates": "estimation",
    "fall_per_epoch": "learning_curves",
    "forecast_of": "scaling",
    "grouped": "configuration",
    "holm": "multiple_tests",
    "joined": "crossed_factors",
    "judged": "network_verdicts",
    "losses_by_image": "answers",
    "non_inferiority": "comparisons",
    "p_above": "multiple_tests",
    "p_outside": "multiple_tests",
    "paired_difference": "comparisons",
    "pooled_sd": "estimation",
    "quantile": "estimation",
    "repeated_word": "multiple_tests",
    "right_by_image": "answers",
    "smallest_within_one_se": "verdicts",
    "softmax_optimum": "softmax_regression",
    "sweep_verdict": "verdicts",
}
if not TYPE_CHECKING:  # else any name would pass for one of the face's
    __getattr__ = lazily(__name__, _HOMES)
