"""From runs to candidates: configurations trained to the end with their estimates, and the choice among them, by validation alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from convscope.planning import Context, describe_configuration
from convscope.recipe import Recipe
from convscope.statistics import Estimate, difference_se, pooled, smallest_within_one_se
from convscope.training import Run


@dataclass(frozen=True)
class Candidate:
    """One configuration trained to the end, over its seeds; estimates at each run's best epoch. `chapters` says which one trained it."""

    recipe: Recipe  # of seed 0
    label: str
    chapters: str
    runs: tuple[Run, ...]
    val_loss: Estimate
    val_accuracy: Estimate
    test_loss: Estimate
    test_accuracy: Estimate

    @property
    def parameters(self) -> int:
        return self.runs[0].size["parameters"]

    @property
    def flops(self) -> int:
        return self.runs[0].size["flops"]

    @property
    def run(self) -> Run:
        """The seed with the lowest validation loss."""
        return min(self.runs, key=lambda run: (run.best["val_loss"], run.recipe.seed))


def candidates(finals: Sequence[Run], sweep: Sequence[Run], context: Context) -> list[Candidate]:
    """Configurations of both chapters with their estimates, seeds pooled together. What did not finish is left out."""
    groups: dict[Recipe, dict[str, Run]] = {}
    chapters: dict[Recipe, set[str]] = {}
    for name, runs in (("best", finals), ("capacity", sweep)):
        for run in runs:
            if run.status == "finished" and all(
                run.best.get(f"{split}_loss") is not None for split in ("val", "test")
            ):
                key = replace(run.recipe, seed=0)
                groups.setdefault(key, {})[run.id] = run
                chapters.setdefault(key, set()).add(name)
    seen = {key: tuple(runs.values()) for key, runs in groups.items()}
    if not seen:
        return []
    tables = (
        pooled.losses(seen, context.data, "val"),
        pooled.accuracies(seen, context.data, "val"),
        pooled.losses(seen, context.data, "test"),
        pooled.accuracies(seen, context.data, "test"),
    )
    labels = labels_of(list(seen))
    return [
        Candidate(
            key,
            labels[key],
            " and ".join(sorted(chapters[key])),
            runs,
            *(table[key] for table in tables),
        )
        for key, runs in seen.items()
    ]


def labels_of(recipes: Sequence[Recipe]) -> dict[Recipe, str]:
    """A name for each configuration, different for each: with its rate and its id where the networks are named alike."""
    names = {recipe: describe_configuration(recipe) for recipe in recipes}
    for more in (lambda recipe: f", rate {recipe.lr:g}", lambda recipe: f", {recipe.id}"):
        count = Counter(names.values())
        names = {
            recipe: name + more(recipe) if count[name] > 1 else name
            for recipe, name in names.items()
        }
    return names


def chosen(found: Sequence[Candidate]) -> tuple[Candidate, Candidate]:
    """(winner, smallest): by validation loss alone, docs/concepts.md's one-standard-error rule."""
    by = {candidate.recipe: candidate for candidate in found}
    best, small = smallest_within_one_se(
        {k: c.val_loss for k, c in by.items()}, {k: c.parameters for k, c in by.items()}
    )
    return by[best], by[small]


def near(winner: Candidate, found: Sequence[Candidate]) -> list[Candidate]:
    """The others whose validation loss is within two standard errors of the difference from the winner's."""
    e = winner.val_loss
    others = [c for c in found if c is not winner]
    return [c for c in others if c.val_loss.mean - e.mean <= 2 * difference_se(e, c.val_loss)]
