"""Configurations trained to the end, and the choice among them: by validation alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from convscope.planning import Context, describe_configuration
from convscope.recipe import Recipe
from convscope.statistics import (
    Configuration,
    configurations,
    difference_se,
    grouped,
    smallest_within_one_se,
)
from convscope.training import Run


def candidates(
    finals: Sequence[Run], sweep: Sequence[Run], context: Context
) -> list[Configuration]:
    """The configurations of both chapters, pooled together. What did not finish is left out.

    finals: the runs to the end that this chapter asked for.
    sweep: the runs of the capacity chapter; some may be among `finals`, too.
    """
    runs = {run.id: run for run in (*finals, *sweep)}
    groups = grouped(runs.values(), lambda run: replace(run.recipe, seed=0))
    labels = labels_of(list(groups))
    trained_for = {"best": {run.id for run in finals}, "capacity": {run.id for run in sweep}}
    return [
        replace(one, chapters=chapters_of(one, trained_for))
        for one in configurations(groups, context.data, lambda recipe: labels[recipe]).values()
    ]


def chapters_of(configuration: Configuration, trained_for: dict[str, set[str]]) -> str:
    """As "best", "best and capacity"; `trained_for` holds the ids of each chapter's runs."""
    ids = {run.id for run in configuration.runs}
    return " and ".join(name for name, runs in sorted(trained_for.items()) if ids & runs)


def labels_of(recipes: Sequence[Recipe]) -> dict[Recipe, str]:
    """A name for each configuration, different for each.

    Where networks are named alike, the learning rate or the id of the recipe is added.
    """
    names = {recipe: describe_configuration(recipe) for recipe in recipes}
    added: tuple[Callable[[Recipe], str], ...] = (
        lambda recipe: f", rate {recipe.lr:g}",
        lambda recipe: f", {recipe.id}",
    )
    for more in added:
        count = Counter(names.values())
        names = {
            recipe: name + more(recipe) if count[name] > 1 else name
            for recipe, name in names.items()
        }
    return names


def chosen(found: Sequence[Configuration]) -> tuple[Configuration, Configuration]:
    """(winner, smallest), by validation loss alone: the one-standard-error rule."""
    loss = {one: one.val_loss for one in found}
    return smallest_within_one_se(loss, {one: one.parameters for one in found})


def near(winner: Configuration, found: Sequence[Configuration]) -> list[Configuration]:
    """The others that the validation loss does not tell apart from the winner.

    That is, it is higher than the winner's by two standard errors of the difference at most.
    """
    lowest = winner.val_loss
    return [
        one
        for one in found
        if one is not winner
        and one.val_loss.mean - lowest.mean <= 2 * difference_se(lowest, one.val_loss)
    ]
