"""A network with and without its nonlinear parts: the comparisons, the verdict, the numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from convscope.chapters.nonlinearity import factorial as effects
from convscope.chapters.nonlinearity.collapses import Collapsed
from convscope.chapters.nonlinearity.factorial import (
    Factorial,
    arms_by_kinds,
    factorial_of,
    role_of,
)
from convscope.chapters.nonlinearity.plan import KINDS, MARGIN, kinds_of
from convscope.probes.affine import Part
from convscope.recipe import ConvNet, Model, SoftmaxRegression, label_of
from convscope.statistics import (
    Configuration,
    Difference,
    SoftmaxOptimum,
    above_chance,
    accuracy_difference,
    equivalence,
    repeated_word,
)

AT_MOST = f"nonlinearity buys at most {100 * MARGIN:g} points"


@dataclass(frozen=True)
class Ablation:
    """A network with and without its nonlinear parts, and what that does to test accuracy.

    full: the network itself; linear: without all its nonlinear kinds.
    drop: full − linear; its replication is that of the chapter's verdict.
    factorial: all combinations of kinds; role: what tests say of them (`role_of`), and
        role_replication: how often a study of the same size would say so again; None: not known.
    sizes: by factor on the width, the enlarged linear network − the linear network.
    linears: all linear networks of the chapter; softmax: softmax regression.
    against_softmax: each of the linear networks − softmax regression.
    at_chance: the arms of the factorial that do not beat chance.
    """

    base: ConvNet
    full: Configuration
    linear: Configuration
    drop: Difference
    factorial: Factorial
    role: tuple[str, tuple[str, ...]]
    role_replication: float | None
    sizes: Mapping[float, Difference]
    linears: list[Configuration]
    softmax: Configuration | None
    against_softmax: Mapping[Model, Difference]
    at_chance: tuple[Configuration, ...]

    @property
    def learnt(self) -> bool:
        """Whether the complete network learned: else nothing is said of its parts.

        It beats chance; and it beats it by more than MARGIN, or has more than the linear network.
        """
        return self.full not in self.at_chance and not stalled(self.full, self.drop)

    @property
    def chance(self) -> float:
        """The share of the most frequent class among the test images."""
        return chance_of(self.full)

    @property
    def at_most(self) -> bool:
        """Whether no more is shown than that all parts together buy at most the margin."""
        return verdict_of(self) == AT_MOST

    @property
    def size_helps(self) -> str:
        """Whether a larger linear network is better; of networks at chance nothing is told."""
        if {self.full, self.linear} & set(self.at_chance):
            return "cannot tell"
        return size_helps(self.sizes)


def ablation_of(
    base: ConvNet, members: Sequence[Configuration], arms: Mapping[Model, Configuration]
) -> Ablation | None:
    """The comparisons; None where `base` or its linear network is missing, or they are one.

    members: the arms of `base`.
    arms: all configurations of the chapter, over which the seeds' variance is pooled where it is
        homogeneous.
    """
    family, kinds = tuple(arms.values()), kinds_of(base)
    by_kinds = arms_by_kinds(base, members)
    full, linear = by_kinds.get(frozenset(kinds)), by_kinds.get(frozenset())
    if not kinds or full is None or linear is None:
        return None
    factorial = factorial_of(base, by_kinds, family)
    linears = [arm for arm in family if isinstance(arm.model, ConvNet) and not kinds_of(arm.model)]
    softmax = arms.get(SoftmaxRegression())
    at_chance = tuple(arm for arm in by_kinds.values() if not above_chance(arm, family))
    # an arm that has parts and is at chance was trained badly, or is not able to learn
    speaks = all(arm is linear for arm in at_chance)
    drop = factorial.drop
    assert drop is not None
    learnt = full not in at_chance and not stalled(full, drop)

    def again(decide: Callable[[Factorial], Any]) -> float | None:
        return repeated_word(
            [*by_kinds.values()],
            lambda found: decide(replace(factorial, found=found)),
            factorial.found,
        )

    return Ablation(
        base,
        full,
        linear,
        replace(drop, replication=again(lambda one: word_of(one, learnt))),
        factorial,
        role_of(factorial) if speaks else ("", ()),
        again(role_of) if speaks else None,
        {
            arm.convnet.width / base.width: accuracy_difference(arm, linear, family, MARGIN)
            for arm in members
            if arm.convnet.width > base.width
        },
        linears,
        softmax,
        {arm.model: accuracy_difference(arm, softmax, family, MARGIN) for arm in linears}
        if softmax
        else {},
        at_chance,
    )


def chance_of(one: Configuration) -> float:
    """The share of the most frequent class among the test images."""
    labels = one.data.test.labels
    return float(labels.bincount().max()) / max(1, len(labels))


def stalled(full: Configuration, drop: Difference) -> bool:
    """Whether the complete network lies within MARGIN of chance, where the linear one has more.

    It contains networks that do as well as a linear one, so it was not trained well: a difference
    from it tells of the training, not of the parts.
    """
    return drop.mean < 0 and full.test_accuracy.mean <= chance_of(full) + MARGIN


def verdict_of(ablation: Ablation) -> str:
    """In a few words. With one seed per network nobody can tell."""
    return word_of(ablation.factorial, ablation.learnt)


def word_of(factorial: Factorial, learnt: bool) -> str:
    """The verdict: does nonlinearity buy accuracy? What each part does is no part of it.

    learnt: whether the complete network beats chance.

    "buys accuracy" and "costs accuracy": the 95 % interval of the drop excludes 0. "buys at most":
    neither, and a one-sided test at 5 % puts the drop below MARGIN. Else nobody can tell.
    """
    drop = factorial.drop
    assert drop is not None
    if not learnt:
        return "did not learn"
    if sign := drop.sign():
        return f"nonlinearity {'buys' if sign > 0 else 'costs'} accuracy"
    return AT_MOST if drop.below(MARGIN) else "cannot tell"


def size_helps(sizes: Mapping[float, Difference]) -> str:
    """Whether a larger linear network is better: "yes", "no", "it costs" or "cannot tell".

    "no" takes every size's difference to be shown to lie within the margin.
    """
    words = {equivalence(found, MARGIN) for found in sizes.values()}
    different = [d.mean for d in sizes.values() if equivalence(d, MARGIN) == "different"]
    if different:
        return "yes" if max(different) > 0 else "it costs"
    return "no" if words == {"equivalent"} else "cannot tell"


def numbers_of(
    ablation: Ablation,
    measured: Sequence[Part],
    done: Mapping[str, Collapsed],
    optimum: SoftmaxOptimum | None,
    arms: Iterable[Configuration],
) -> dict[str, Any]:
    """For results.json. done: the linear runs that were collapsed into one map, by id."""
    drop, softmax = ablation.drop, ablation.softmax
    word, kinds = ablation.role
    return {
        "network": label_of(ablation.base),
        "hidden": list(ablation.base.hidden),
        "components": [component(part) for part in measured],
        "drop": drop.mean,
        "drop_interval": [drop.low, drop.high],
        "replication": drop.replication,
        "full_accuracy": ablation.full.test_accuracy.mean,
        "linear_accuracy": ablation.linear.test_accuracy.mean,
        "softmax_regression_accuracy": softmax.test_accuracy.mean if softmax else None,
        "linear_accuracies": {arm.label: arm.test_accuracy.mean for arm in ablation.linears},
        **effects.numbers_of(ablation.factorial),
        "role": {
            "word": word,
            "kinds": list(kinds),
            "margin": MARGIN,
            "replication": ablation.role_replication,
        },
        "at_chance": [arm.label for arm in ablation.at_chance],
        "against_softmax": {
            label_of(model): judged(found) for model, found in ablation.against_softmax.items()
        },
        "sizes": {f"{factor:g}": judged(found) for factor, found in ablation.sizes.items()},
        "size_helps": ablation.size_helps,
        "softmax_regression_optimum": asdict(optimum) | {"gap": optimum.gap} if optimum else None,
        "training_losses": {key: one.train_loss for key, one in done.items()},
        "collapse_max_error": max((one.max_error for one in done.values()), default=None),
        "collapse_agreement": min(
            (one.agreement for one in done.values() if one.agreement is not None), default=None
        ),
        "collapses": {
            key: {
                "rank": one.rank,
                "max_error": one.max_error,
                "agreement": one.agreement,
                "images": one.checked,
            }
            for key, one in done.items()
        },
        "arms": [arm.numbers() for arm in arms],
        "seeds": ablation.full.test_accuracy.n,
    }


def judged(difference: Difference) -> dict[str, Any]:
    """A difference with its verdict on equivalence."""
    verdict = equivalence(difference, MARGIN)
    return {**difference.numbers(), "margin": MARGIN, "verdict": verdict}


def component(part: Part) -> dict[str, Any]:
    error = part.error if part.error != float("inf") else None
    return {
        "name": part.name,
        "kind": KINDS.get(part.kind, part.kind),
        "affine": part.affine,
        "error": error,
    }
