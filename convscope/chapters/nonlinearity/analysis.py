"""Which parts are nonlinear, and what each buys: from runs to the finding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from convscope import planning as plans
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
from convscope.chapters.nonlinearity.words import paragraphs_of, sentence_of
from convscope.data import Dataset
from convscope.errors import one_line
from convscope.models import build
from convscope.planning import Chapter, Context, Request, Wait, tuned_rates
from convscope.planning import arms as experiment
from convscope.probes.affine import Part, parts
from convscope.recipe import ConvNet, Model, SoftmaxRegression, label_of
from convscope.report import Finding
from convscope.statistics import Difference, equivalence
from convscope.training import Run


def measured_parts(model: ConvNet, data: Dataset) -> list[Part]:
    """Each part in place in a freshly built network in training mode, on inputs of the shapes it gets there."""
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
    """Whether a network is the ablated one with some kinds taken out, or its linear network enlarged."""
    if model == without(base, removed_from(base, model)):
        return True
    return model.width > base.width and replace(model, width=base.width) == without(
        base, kinds_of(base)
    )


def split(models: Iterable[Model]) -> dict[ConvNet, list[ConvNet]]:
    """The ablated networks, in their order, and the networks that are arms of each: told from the networks themselves.

    A network with more nonlinear kinds than all those left, and the narrowest of these, is no arm of another one.
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
    name = one_line(context.data.name)
    arms = experiment.arms_of(context, runs)
    softmax = arms.get(SoftmaxRegression())
    # those that failed too: an arm without a finished run must not turn another one into the ablated network
    split_models = split(run.recipe.model for run in (*pilots, *runs))
    groups = [
        (base, [arms[model] for model in models if model in arms])
        for base, models in split_models.items()
    ]
    base, members = groups[0] if groups else (base_of(context), [])
    by_model = {arm.model: arm for arm in members}
    kinds = kinds_of(base)
    full, linear = by_model.get(base), by_model.get(without(base, kinds))
    if full is None or linear is None or full is linear:
        why = (
            "has no nonlinear part"
            if not kinds and full is not None
            else "was not trained to the end both with and without its nonlinear parts"
        )
        sentence = f"On {name} the network to be taken apart ({label_of(base)}) {why}, so nothing can be said about what nonlinearity buys."
        return Finding(
            "nonlinearity",
            TITLE,
            QUESTION,
            "cannot tell",
            sentence,
            {},
            [plans.rates_table(pilots)] if pilots else [],
        )
    measured = measured_parts(base, context.data)
    drop = experiment.compare(full, linear, arms.values())
    alone = {
        kind: experiment.compare(full, by_model[without(base, [kind])], arms.values())
        for kind in kinds
        if without(base, [kind]) in by_model
    }
    linears = [
        arm for arm in arms.values() if isinstance(arm.model, ConvNet) and not kinds_of(arm.model)
    ]
    collapses = {
        run.id: collapsed(context, run, PRESETS[context.preset].checked)
        for arm in linears
        for run in arm.runs
    }
    done = {key: found for key, found in collapses.items() if isinstance(found, Collapsed)}
    against = (
        {arm.model: experiment.compare(arm, softmax, arms.values()) for arm in linears}
        if softmax
        else {}
    )
    verdicts = {model: equivalence(difference, MARGIN) for model, difference in against.items()}
    on_size = list(verdicts.values())
    size_helps = verdict_on_size(on_size)
    numbers = {
        "network": label_of(base),
        "hidden": list(base.hidden),
        "components": [component(part) for part in measured],
        "drop": drop.mean,
        "drop_interval": [drop.low, drop.high],
        "full_accuracy": full.accuracy.mean,
        "linear_accuracy": linear.accuracy.mean,
        "softmax_regression_accuracy": softmax.accuracy.mean if softmax else None,
        "linear_accuracies": {arm.label: arm.accuracy.mean for arm in linears},
        "drops_alone": {kind: experiment.numbers(difference) for kind, difference in alone.items()},
        "against_softmax": {
            label_of(model): {
                **experiment.numbers(difference),
                "margin": MARGIN,
                "verdict": verdicts[model],
            }
            for model, difference in against.items()
        },
        "size_helps": size_helps,
        "collapse_max_error": max((c.max_error for c in done.values()), default=None),
        "collapse_agreement": min(
            (c.agreement for c in done.values() if c.agreement is not None), default=None
        ),
        "collapses": {
            key: {
                "rank": c.rank,
                "max_error": c.max_error,
                "agreement": c.agreement,
                "images": c.checked,
            }
            for key, c in done.items()
        },
        "arms": [arm.numbers() for arm in arms.values()],
        "seeds": full.accuracy.n,
    }
    tables = [
        parts_table(measured),
        arms_table(arms, groups),
        *([collapse_table(linears, collapses, against, verdicts, MARGIN)] if linears else []),
        plans.rates_table(pilots),
    ]
    return Finding(
        "nonlinearity",
        TITLE,
        QUESTION,
        verdict_of(drop),
        sentence_of(name, base, full, drop, alone, linears, softmax, on_size),
        numbers,
        tables=tables,
        charts=[arms_chart(members, base, softmax), *spectrum_chart(linears, collapses)],
        paragraphs=paragraphs_of(
            context, base, full, linear, measured, done, linears, softmax, runs
        ),
        galleries=templates(context, linear, softmax),
        brief=f"nonlinear parts {experiment.buys(drop).replace('buys', 'buy').replace('costs', 'cost')} of test accuracy",
    )


def component(part: Part) -> dict[str, Any]:
    error = part.error if part.error != float("inf") else None
    return {
        "name": part.name,
        "kind": KINDS.get(part.kind, part.kind),
        "affine": part.affine,
        "error": error,
    }


def verdict_of(drop: Difference) -> str:
    """With one seed an arm nobody can tell."""
    if not drop.degrees or drop.low <= 0 <= drop.high:
        return "cannot tell"
    return "nonlinearity buys accuracy" if drop.low > 0 else "nonlinearity costs accuracy"


def verdict_on_size(verdicts: Sequence[str]) -> str:
    """Whether growing the linear network helps, from its comparisons with softmax regression at every size."""
    if "different" in verdicts:
        return "differs from softmax regression at some size"
    if len(verdicts) < 2 or "cannot tell" in verdicts:
        return "cannot tell"
    return "no: every size is equivalent to softmax regression"
