"""Winner and smallest on seeds that chose nothing: the figures that the report quotes."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from convscope.chapters.best.choice import (
    MARGIN,
    Selection,
    candidates,
    run_flops,
    training_flops,
)
from convscope.chapters.best.plan import FRESH, PRESETS
from convscope.models import size_of
from convscope.planning import OPTIMIZERS, RATES, Context, preset_model, reference_recipe
from convscope.recipe import Recipe
from convscope.report import BestResult, Table, with_balanced
from convscope.statistics import (
    Configuration,
    Difference,
    accuracy_difference,
    non_inferiority,
)
from convscope.training import Run
from convscope.words import count, texts_beside

TEXTS = texts_beside(__file__)


@dataclass(frozen=True)
class Outcome:
    """What was chosen, and what it comes to on fresh seeds.

    selection: the choice.
    winner, small: on the fresh seeds; on those that chose where there are no others.
    fresh_ones: both, as far as there are fresh seeds.
    """

    selection: Selection
    winner: Configuration
    small: Configuration
    fresh_ones: tuple[Configuration, ...]

    @staticmethod
    def of(context: Context, selection: Selection, runs: Sequence[Run]) -> Outcome:
        """runs: those of the fresh seeds, and perhaps others of an older study."""
        fresh = candidates([run for run in runs if run.recipe.seed >= FRESH], (), context)
        anew = {replace(one.recipe, seed=0): one for one in fresh}

        def quoted(one: Configuration) -> Configuration:
            other = anew.get(replace(one.recipe, seed=0))
            return one if other is None else replace(other, label=one.label, chapters=one.chapters)

        winner, small = quoted(selection.winner), quoted(selection.smallest)
        return Outcome(selection, winner, small, tuple(fresh))

    @functools.cached_property
    def judged(self) -> Selection:
        """The choice once more, knowing from the fresh seeds, too, how much seeds differ."""
        return replace(self.selection, fresh=self.fresh_ones)

    @functools.cached_property
    def near(self) -> list[Configuration]:
        """The candidates that may be better than the winner (`Selection.near`).

        One that has several seeds is compared on the test images with the winner's fresh ones,
        where there are several: these had no part in the choice, and tell how much seeds differ.
        """
        known = self.judged.near
        return [
            one
            for one in self.selection.others
            if (self.may_be_better(one) if self.on_fresh_seeds(one) else one in known)
        ]

    def on_fresh_seeds(self, one: Configuration) -> bool:
        return is_fresh(self.winner) and min(len(self.winner.runs), len(one.runs)) > 1

    def may_be_better(self, one: Configuration) -> bool:
        """Whether it is not shown to be less accurate, at its share of the error of 5 %."""
        every = (*self.selection.found, *self.fresh_ones)
        ahead = accuracy_difference(self.winner, one, [o for o in every if o is not self.winner])
        return not ahead.above(0, self.selection.error)

    @property
    def alone(self) -> bool:
        """Whether the winner is the smallest one, too."""
        return self.selection.smallest is self.selection.winner

    @property
    def fresh(self) -> bool:
        """Whether the figures of both come from seeds that chose nothing."""
        return all(is_fresh(one) for one in (self.winner, self.small))

    @property
    def chance(self) -> float:
        """The accuracy of naming the most frequent class of the test images always."""
        labels = self.winner.data.test.labels
        return float(labels.bincount().max()) / max(1, len(labels))

    @property
    def learnt(self) -> bool:
        """Whether the winner is shown to beat chance."""
        return self.winner.test_accuracy.low > self.chance

    @functools.cached_property
    def compared(self) -> tuple[str, Difference] | None:
        """Whether the smallest is as good ("as good", "worse", "cannot tell"), and the difference
        of test accuracies; None where it is the winner, or where there are no fresh seeds."""
        return (
            None
            if self.alone or not self.fresh
            else non_inferiority(self.small, self.winner, MARGIN)
        )

    @property
    def nearest(self) -> Configuration | None:
        """The smaller candidate of highest validation accuracy; None where none is smaller."""
        most = self.selection.winner.parameters
        smaller = [one for one in self.selection.found if one.parameters < most]
        return max(smaller, key=lambda one: one.val_accuracy.mean, default=None)

    @functools.cached_property
    def behind(self) -> Difference | None:
        """The test accuracy of the nearest smaller one minus the winner's, where it is shown to be
        lower and no smaller one stands beside the winner.

        The smaller one's seeds had a part in the choice. So it looks too good if anything, and can
        be shown to be worse, not to be as good.
        """
        if not self.alone or self.nearest is None or not is_fresh(self.winner):
            return None
        word, difference = non_inferiority(self.nearest, self.winner, MARGIN)
        return difference if word == "worse" else None

    def numbers(self) -> dict[str, Any]:
        """For results.json: test figures of fresh seeds, validation figures of those that chose."""
        chosen = self.selection
        verdict, difference = self.compared or (None, None)
        return {
            "winner": chosen.winner.run.id,
            "smallest": chosen.smallest.run.id,
            "winner_label": chosen.winner.label,
            "smallest_label": chosen.smallest.label,
            **figures(chosen.winner, self.winner, ""),
            **figures(chosen.smallest, self.small, "smallest_"),
            "fresh": self.fresh,
            "replication": None if difference is None else difference.replication,
            "smallest_verdict": "the winner itself" if self.alone else verdict,
            "smallest_difference": None if difference is None else difference.numbers(),
            "not_told_apart": [one.label for one in self.near],
            **({"nearest_smaller": self.behind.numbers()} if self.behind else {}),
        }


def is_fresh(one: Configuration) -> bool:
    return all(run.recipe.seed >= FRESH for run in one.runs)


def figures(chosen: Configuration, quoted: Configuration, prefix: str) -> dict[str, Any]:
    """For results.json; `prefix` goes before every key.

    chosen: on the seeds that chose.
    quoted: the same on those that did not.
    """
    out: dict[str, Any] = {
        f"{prefix}parameters": chosen.parameters,
        f"{prefix}flops": chosen.flops,
        f"{prefix}epochs": chosen.recipe.epochs,
        f"{prefix}schedule": schedule_of(chosen.recipe),
        f"{prefix}seeds": quoted.test_loss.n,
        f"{prefix}runs": [run.id for run in quoted.runs],
    }
    for name, e in (
        ("val_loss", chosen.val_loss),
        ("val_accuracy", chosen.val_accuracy),
        ("test_loss", quoted.test_loss),
        ("test_accuracy", quoted.test_accuracy),
    ):
        out |= {
            f"{prefix}{name}": e.mean,
            f"{prefix}{name}_interval": [e.low, e.high],
            f"{prefix}{name}_se": e.se,
        }
    if (e := quoted.balanced_accuracy) is not None:
        out |= {
            f"{prefix}test_balanced_accuracy": e.mean,
            f"{prefix}test_balanced_accuracy_interval": [e.low, e.high],
        }
    return out


def schedule_of(recipe: Recipe) -> str:
    """How a network is trained: "4 epochs of Muon, a learning rate that falls linearly from …"."""
    rate = f"{RATES[recipe.schedule]} {recipe.lr:g}"
    return f"{count(recipe.epochs, 'epoch')} of {OPTIMIZERS[recipe.optimizer]}, {rate}"


def fresh_table(outcome: Outcome) -> Table:
    """Winner and smallest on the seeds that chose nothing."""
    chosen = [("winner", outcome.winner)]
    chosen += [] if outcome.alone else [("smallest", outcome.small)]
    rows = [
        {
            "network": one.label,
            "role": role,
            "parameters": one.parameters,
            "schedule": schedule_of(one.recipe),
            "test_loss": one.test_loss.mean,
            "test_accuracy": one.test_accuracy.mean,
            "low": one.test_accuracy.low,
            "high": one.test_accuracy.high,
            "seeds": one.test_loss.n,
            **one.balanced_row(),
        }
        for role, one in chosen
    ]
    columns = (
        ("network", "configuration", "text"),
        ("role", "chosen as", "text"),
        ("parameters", "learnable parameters", "int"),
        ("schedule", "trained for", "text"),
        ("test_loss", "test loss", "loss"),
        ("test_accuracy", "test accuracy", "percent"),
        ("low", "95 % from", "percent"),
        ("high", "to", "percent"),
        ("seeds", "seeds", "int"),
    )
    caption = TEXTS.fresh_caption(outcome.fresh, [run.recipe.seed for run in outcome.winner.runs])
    title = "Winner and smallest, the figures to quote"
    return Table("fresh", title, with_balanced(columns, rows), rows, caption)


def given_by(context: Context, selection: Selection) -> BestResult:
    """What other chapters build on: the winner, and what they can afford to train often."""
    winner, part = selection.winner, PRESETS[context.preset].affordable
    # a budget's share of its epochs before it is rounded: rounded, one epoch less of four left
    # nothing within the limit but a network that hardly learns
    share = context.fit.epochs
    reference = reference_recipe(replace(context, fit=replace(context.fit, epochs=1.0)))
    # of the preset's network, also where a device makes the reference recipe's smaller
    size = size_of(preset_model(context), context.data.in_shape, context.data.num_classes)
    most = part * share * run_flops(reference, size.flops, len(context.data.train))
    one = selection.affordable(most)
    reason = ""
    if one is not winner:
        times = training_flops(winner) / most
        reason = TEXTS.not_affordable(winner.label, times, one.label if one else None)
    return BestResult(
        winner.recipe,
        winner.run,
        selection.smallest.recipe,
        one.recipe if one is not None else None,
        reason,
    )
