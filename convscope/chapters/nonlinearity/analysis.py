"""Which parts are nonlinear, and what each buys: from runs to the finding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from convscope.chapters.nonlinearity.charts import arms_chart, arms_table, parts_table
from convscope.chapters.nonlinearity.collapses import (
    Collapsed,
    collapse_table,
    collapsed,
    spectrum_chart,
    templates,
)
from convscope.chapters.nonlinearity.plan import (
    KINDS,
    MARGIN,
    PRESETS,
    QUESTION,
    TITLE,
    base_of,
    kinds_of,
    recipes_of,
    removed_from,
    without,
)
from convscope.chapters.nonlinearity.words import brief_of, no_answer, paragraphs_of, sentence_of
from convscope.data import Dataset
from convscope.errors import one_line
from convscope.models import build
from convscope.planning import Chapter, Context, Request, Wait, rates_table, tuned_rates
from convscope.probes.affine import Part, parts
from convscope.recipe import ConvNet, Model, SoftmaxRegression, label_of
from convscope.report import Finding
from convscope.statistics import (
    Configuration,
    Difference,
    accuracy_difference,
    configurations,
    equivalence,
    grouped,
)
from convscope.training import Run


def measured_parts(model: ConvNet, data: Dataset) -> list[Part]:
    """The parts of a freshly built network in training mode.

    Each is measured in place, on inputs of the shapes that it gets there.
    """
    net = build(model, data.in_shape, data.num_classes).train()
    return parts(net, data.in_shape)


def chapter(context: Context) -> Chapter:
    """The network that capacity found, and in large studies the best one, without their parts."""
    preset = PRESETS[context.preset]
    yield Wait(needs=("capacity", "best") if preset.winner_too else ("capacity",))
    bases = [base_of(context)]
    best = context.best if preset.winner_too else None
    if best is not None:
        model = best.winner.recipe.model
        bases += [model] if isinstance(model, ConvNet) and model not in bases else []
    recipes = recipes_of(context, bases)
    tuned = yield from tuned_rates(context, recipes, preset.rates)
    wanted = [
        replace(r, lr=tuned.rate(r.model), seed=seed) for r in recipes for seed in context.seeds
    ]
    answer = yield [Request(wanted, "final")]
    return finding(context, tuned.pilots, answer.of("final"))


# the finding


def is_arm(base: ConvNet, model: ConvNet) -> bool:
    """Whether `model` is `base` with some kinds taken out, or its linear network enlarged."""
    if model == without(base, removed_from(base, model)):
        return True
    return model.width > base.width and replace(model, width=base.width) == without(
        base, kinds_of(base)
    )


def split(models: Iterable[Model]) -> dict[ConvNet, list[ConvNet]]:
    """The ablated networks, in their order, with the networks that are arms of each.

    The network with the most nonlinear kinds, of several the narrowest, is no arm of another
    one: it is an ablated network. The same holds of those that are left without its arms.
    """
    nets = [model for model in dict.fromkeys(models) if isinstance(model, ConvNet)]
    found: dict[ConvNet, list[ConvNet]] = {}
    left = sorted(nets, key=lambda model: (-len(kinds_of(model)), model.width))
    while left:
        base = left[0]
        found[base] = [model for model in nets if is_arm(base, model)]
        left = [model for model in left if model not in found[base]]
    return dict(sorted(found.items(), key=lambda item: nets.index(item[0])))


def finding(context: Context, pilots: Sequence[Run], runs: Sequence[Run]) -> Finding:
    """What the ablations say; `pilots` are the short runs that chose the learning rates."""
    name = one_line(context.data.name)
    groups = grouped(runs, lambda run: run.recipe.model)
    arms = configurations(groups, context.data, label_of)
    # of all runs, failed ones too: else another arm would be taken for the ablated network
    ablated = split(run.recipe.model for run in (*pilots, *runs))
    members = {
        base: [arms[model] for model in models if model in arms] for base, models in ablated.items()
    }
    base = next(iter(ablated), None) or base_of(context)
    ablation = ablation_of(base, members.get(base, []), arms)
    if ablation is None:
        return nothing_to_compare(name, base, base in arms, pilots)
    linears, softmax = ablation.linears, ablation.softmax
    measured = measured_parts(base, context.data)
    collapses = {
        run.id: collapsed(context, run, PRESETS[context.preset].checked)
        for arm in linears
        for run in arm.runs
    }
    done = {key: found for key, found in collapses.items() if isinstance(found, Collapsed)}
    full, linear, drop = ablation.full, ablation.linear, ablation.drop
    against, verdicts = ablation.against_softmax, ablation.verdicts
    on_size = list(verdicts.values())
    collapsed_tables = (
        [collapse_table(linears, collapses, against, verdicts, MARGIN)] if linears else []
    )
    return Finding(
        "nonlinearity",
        TITLE,
        QUESTION,
        verdict_of(drop),
        sentence_of(name, base, full, drop, ablation.alone, linears, softmax, on_size),
        numbers_of(ablation, measured, done, arms.values()),
        tables=[
            parts_table(measured),
            arms_table(arms, list(members.items())),
            *collapsed_tables,
            rates_table(pilots),
        ],
        charts=[
            arms_chart(members[base], base, softmax),
            *spectrum_chart(linears, collapses),
        ],
        paragraphs=paragraphs_of(
            context, base, full, linear, measured, done, linears, on_size, runs
        ),
        galleries=templates(context, linear, softmax),
        brief=brief_of(drop),
    )


def nothing_to_compare(name: str, base: ConvNet, trained: bool, pilots: Sequence[Run]) -> Finding:
    """The finding where the ablated network or its linear network is missing, or they are one."""
    sentence = no_answer(name, base, trained)
    tables = [rates_table(pilots)] if pilots else []
    return Finding("nonlinearity", TITLE, QUESTION, "cannot tell", sentence, {}, tables)


@dataclass(frozen=True)
class Ablation:
    """A network with and without its nonlinear parts, and what that does to test accuracy."""

    base: ConvNet
    full: Configuration  # the network itself
    linear: Configuration  # without all its nonlinear kinds
    drop: Difference  # full − linear
    alone: dict[str, Difference]  # full − the network without one kind, by kind
    linears: list[Configuration]  # all linear networks of the chapter
    softmax: Configuration | None
    against_softmax: dict[Model, Difference]  # each of the linear networks − softmax regression

    @property
    def verdicts(self) -> dict[Model, str]:
        """Whether each linear network is equivalent to softmax regression."""
        return {model: equivalence(d, MARGIN) for model, d in self.against_softmax.items()}


def ablation_of(
    base: ConvNet, members: Sequence[Configuration], arms: dict[Model, Configuration]
) -> Ablation | None:
    """The comparisons; None where `base` or its linear network is missing, or they are one.

    members: the arms of `base`.
    arms: all configurations of the chapter, over which the seeds' variance is pooled.
    """
    by_model, kinds = {arm.model: arm for arm in members}, kinds_of(base)
    full, linear = by_model.get(base), by_model.get(without(base, kinds))
    if full is None or linear is None or full is linear:
        return None
    singles = {kind: by_model.get(without(base, [kind])) for kind in kinds}
    linears = [
        arm for arm in arms.values() if isinstance(arm.model, ConvNet) and not kinds_of(arm.model)
    ]
    softmax = arms.get(SoftmaxRegression())
    return Ablation(
        base,
        full,
        linear,
        accuracy_difference(full, linear, arms.values()),
        {
            kind: accuracy_difference(full, single, arms.values())
            for kind, single in singles.items()
            if single is not None
        },
        linears,
        softmax,
        {arm.model: accuracy_difference(arm, softmax, arms.values()) for arm in linears}
        if softmax
        else {},
    )


def numbers_of(
    ablation: Ablation,
    measured: Sequence[Part],
    done: dict[str, Collapsed],
    arms: Iterable[Configuration],
) -> dict[str, Any]:
    """For results.json. done: the linear runs that were collapsed into one map, by id."""
    drop, softmax, verdicts = ablation.drop, ablation.softmax, ablation.verdicts
    return {
        "network": label_of(ablation.base),
        "hidden": list(ablation.base.hidden),
        "components": [component(part) for part in measured],
        "drop": drop.mean,
        "drop_interval": [drop.low, drop.high],
        "full_accuracy": ablation.full.test_accuracy.mean,
        "linear_accuracy": ablation.linear.test_accuracy.mean,
        "softmax_regression_accuracy": softmax.test_accuracy.mean if softmax else None,
        "linear_accuracies": {arm.label: arm.test_accuracy.mean for arm in ablation.linears},
        "drops_alone": {kind: found.numbers() for kind, found in ablation.alone.items()},
        "against_softmax": {
            label_of(model): {**found.numbers(), "margin": MARGIN, "verdict": verdicts[model]}
            for model, found in ablation.against_softmax.items()
        },
        "size_helps": verdict_on_size(list(verdicts.values())),
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


def component(part: Part) -> dict[str, Any]:
    error = part.error if part.error != float("inf") else None
    return {
        "name": part.name,
        "kind": KINDS.get(part.kind, part.kind),
        "affine": part.affine,
        "error": error,
    }


def verdict_of(drop: Difference) -> str:
    """With one seed per network nobody can tell."""
    if not drop.degrees or drop.low <= 0 <= drop.high:
        return "cannot tell"
    return "nonlinearity buys accuracy" if drop.low > 0 else "nonlinearity costs accuracy"


def verdict_on_size(verdicts: Sequence[str]) -> str:
    """Whether growing the linear network helps.

    verdicts: those on its equivalence to softmax regression, at every size.
    """
    if "different" in verdicts:
        return "differs from softmax regression at some size"
    if len(verdicts) < 2 or "cannot tell" in verdicts:
        return "cannot tell"
    return "no: every size is equivalent to softmax regression"
