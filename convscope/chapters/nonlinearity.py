"""Which parts of the network are nonlinear (measured, in place), and what does each buy?

Each kind of nonlinear part is replaced by a linear one of the same shape, alone and together: the full factorial. With all of them gone the network is one
affine map: it is collapsed into it, enlarged, and compared with softmax regression.
"""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from convscope import planning as plans
from convscope.chapters.collapses import (
    Collapsed,
    collapse_table,
    collapsed,
    spectrum_chart,
    templates,
)
from convscope.data import Dataset
from convscope.errors import one_line
from convscope.models import build
from convscope.planning import Arm, Context
from convscope.planning import arms as experiment
from convscope.probes.affine import Part, parts
from convscope.recipe import ConvNet, Model, Recipe, SoftmaxRegression, hidden_of, label_of
from convscope.report import Chart, Finding, Table, charts
from convscope.statistics import Difference, equivalence
from convscope.training import Run

TITLE = "Nonlinearity"
QUESTION = "Which parts are nonlinear, and what does each of them buy?"
MARGIN = 0.03  # of accuracy: linear networks are equivalent to softmax regression within ± 3 points
ACTIVATION, POOLING, NORMALISATION = "activation", "max pooling", "normalisation"


@dataclass(frozen=True)
class Preset:
    epochs: int
    rates: tuple[float, ...]
    enlarged: tuple[int, ...]  # factors of the linear networks' width
    fallback: ConvNet  # the network where the study has no capacity chapter
    winner_too: bool
    checked: int | None = (
        None  # test images on which a collapsed network is compared with its map; None: all
    )


PRESETS = {
    "quick": Preset(3, (2e-3, 8e-3), (2,), ConvNet(16, 3, hidden=(256,)), False, 2000),
    "standard": Preset(5, (1e-3, 4e-3), (2,), ConvNet(24, 3, hidden=(256,)), False),
    "full": Preset(
        30, (2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3), (2, 4, 8), ConvNet(64, 3, hidden=(256,)), True
    ),
}


# what is replaced by what


def kinds_of(model: ConvNet) -> tuple[str, ...]:
    """The kinds of nonlinear part that the family has and that a recipe can replace; whether they are nonlinear is measured."""
    kinds = [ACTIVATION] if model.activation != "identity" else []
    kinds += [POOLING] if model.pool == "max" and max(model.pools) > 1 else []
    return (*kinds, *([NORMALISATION] if model.norm in ("batch", "group") else []))


def without(model: ConvNet, kinds: Sequence[str]) -> ConvNet:
    """The network with these kinds replaced by linear parts of the same shape: the identity, average pooling, a scale and bias a channel."""
    if ACTIVATION in kinds:
        model = replace(model, activation="identity")
    if POOLING in kinds:
        model = replace(model, pool="avg")
    return replace(model, norm="affine") if NORMALISATION in kinds else model


def removed_from(base: ConvNet, model: ConvNet) -> tuple[str, ...]:
    """Which kinds an arm lacks."""
    return tuple(kind for kind in kinds_of(base) if kind not in kinds_of(model))


def measured_parts(model: ConvNet, data: Dataset) -> list[Part]:
    """Each part in place in a freshly built network in training mode, on inputs of the shapes it gets there."""
    net = build(model, data.in_shape, data.num_classes).train()
    return parts(net, data.in_shape)


KINDS = {
    "Act": ACTIVATION,
    "MaxPool": POOLING,
    "BatchNorm2d": NORMALISATION,
    "GroupNorm": NORMALISATION,
}


# the plan


def base_of(context: Context) -> ConvNet:
    """The network that is ablated: the smallest within one standard error of the capacity sweep's best, where that is known."""
    model = plans.smallest_of_capacity(context)
    return model or plans.shallower(PRESETS[context.preset].fallback, context.data.in_shape)


def arms_of(base: ConvNet, enlarged: Sequence[int]) -> list[Model]:
    kinds = kinds_of(base)
    factorial = [
        without(base, chosen)
        for n in range(len(kinds) + 1)
        for chosen in itertools.combinations(kinds, n)
    ]
    linear = without(base, kinds)
    return [
        *factorial,
        *(replace(linear, width=factor * linear.width) for factor in enlarged),
        SoftmaxRegression(),
    ]


def recipes_of(context: Context, bases: Sequence[ConvNet]) -> list[Recipe]:
    """One recipe an arm; learning rate and seed are filled in later."""
    preset = PRESETS[context.preset]
    models = list(
        dict.fromkeys(model for base in bases for model in arms_of(base, preset.enlarged))
    )
    base = replace(
        plans.base_of(context), epochs=plans.epochs_of(context, preset.epochs), schedule="onecycle"
    )
    return [replace(base, model=model) for model in models]


def forecast(context: Context) -> list[Recipe]:
    preset = PRESETS[context.preset]
    recipes = recipes_of(context, [plans.shallower(preset.fallback, context.data.in_shape)])
    pilots = plans.pilots_of(context, recipes, preset.rates)
    return pilots + [
        replace(recipe, lr=preset.rates[0], seed=seed)
        for recipe in recipes
        for seed in context.seeds
    ]


def chapter(context: Context) -> Generator[list[Recipe], list[Run], Finding]:
    preset = PRESETS[context.preset]
    awaited = ["capacity", *(["best"] if preset.winner_too else [])]
    while any(name in context.chapters and name not in context.findings for name in awaited):
        yield []
    bases = [base_of(context)]
    winner = (
        context.findings["best"].runs.get("winner")
        if preset.winner_too and "best" in context.findings
        else None
    )
    if (
        winner is not None
        and isinstance(winner.recipe.model, ConvNet)
        and winner.recipe.model not in bases
    ):
        bases.append(winner.recipe.model)
    recipes = recipes_of(context, bases)
    tuned = yield from plans.tuned(context, recipes, preset.rates)
    wanted = [
        replace(r, lr=tuned.rate(r.model), seed=seed) for r in recipes for seed in context.seeds
    ]
    runs = yield from plans.whole(context, wanted, tuned.early)
    return finding(context, tuned.pilots, runs)


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


def words_on_size(verdicts: Sequence[str], seeds: int) -> str:
    within, differ = f"within ± {100 * MARGIN:g} points", verdicts.count("different")
    if differ:
        return f"; {differ} of {len(verdicts)} differ{'s' if differ == 1 else ''} from it and {'is' if differ == 1 else 'are'} not shown to be equivalent {within}"
    if "cannot tell" in verdicts:
        return f"; whether that is equivalent {within} can't be told from {experiment.counted(seeds, 'seed')}"
    return f", equivalent {within}" + (
        ", so size does not help beyond that" if len(verdicts) > 1 else ""
    )


def and_join(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def sentence_of(
    name: str,
    base: ConvNet,
    full: Arm,
    drop: Difference,
    alone: dict[str, Difference],
    linears: Sequence[Arm],
    softmax: Arm | None,
    on_size: Sequence[str],
) -> str:
    kinds = and_join(kinds_of(base))
    size = experiment.buys(drop).partition(" ")[2]  # without its sign
    text = f"On {name}, without its {kinds} the network ({label_of(base)}) {'falls' if drop.mean >= 0 else 'rises'} from {experiment.percent(full.accuracy)} test accuracy by {size}"
    if alone and len(kinds_of(base)) > 1:
        text += "; taking out one kind alone costs " + and_join(
            [f"{experiment.points(d)} for {kind}" for kind, d in alone.items()]
        )
    if softmax is not None and linears:
        low, high = min(a.accuracy.mean for a in linears), max(a.accuracy.mean for a in linears)
        ends = f"{100 * low:.1f}", f"{100 * high:.1f}"
        reached = f"{ends[0]} %" if ends[0] == ends[1] else f"{ends[0]} to {ends[1]} %"
        text += f"; {experiment.counted(len(linears), 'linear network')} reach{'es' if len(linears) == 1 else ''} {reached}, softmax regression {experiment.percent(softmax.accuracy)}"
        text += words_on_size(on_size, min(a.accuracy.n for a in (*linears, softmax)))
    return f"{text}{experiment.caveat(drop)}."


def parts_table(measured: Sequence[Part]) -> Table:
    columns = (
        ("part", "part", "text"),
        ("kind", "kind", "text"),
        ("verdict", "measured", "text"),
        ("error", "error of additivity and homogeneity", "float"),
        ("shape", "its input", "text"),
    )
    rows = [
        {
            "part": part.name,
            "kind": KINDS.get(part.kind, part.kind),
            "verdict": "affine" if part.affine else "nonlinear",
            "error": None if part.error == float("inf") else float(f"{part.error:.3g}"),
            "shape": "×".join(map(str, part.in_shape)),
        }
        for part in measured
    ]
    caption = "Each part of the network in place, in training mode, in float64: the largest relative error of g(x + y) = g(x) + g(y) and g(ax) = a g(x), g = f − f(0). An affine part keeps both to rounding."
    return Table("parts", "The network's parts, measured", columns, rows, caption)


def arms_table(arms: dict[Model, Arm], groups: Sequence[tuple[ConvNet, list[Arm]]]) -> Table:
    base_for = {arm.model: base for base, members in reversed(groups) for arm in members}

    def removed(arm: Arm) -> dict[str, Any]:
        base = base_for.get(arm.model)
        if base is None or not isinstance(arm.model, ConvNet):
            return {"removed": "one affine layer"}
        gone = removed_from(base, arm.model)
        factor = arm.model.width / base.width
        return {
            "removed": (and_join(gone) if gone else "nothing")
            + (f", {factor:g} × the width" if factor != 1 else "")
        }

    return experiment.table(
        "arms",
        "The factorial: every kind of nonlinear part taken out alone and together",
        arms.values(),
        (("removed", "taken out", "text"),),
        removed,
        "Taken-out parts are replaced by linear ones of the same shape, so that the number of parameters stays equal.",
    )


def arms_chart(members: Sequence[Arm], base: ConvNet, softmax: Arm | None) -> Chart:
    rows = []
    for arm in members:
        assert isinstance(arm.model, ConvNet)
        gone = removed_from(base, arm.model)
        factor = arm.model.width / base.width
        shown = ("all parts" if not gone else "without " + and_join(gone)) + (
            f", {factor:g} × width" if factor != 1 else ""
        )
        kind = (
            "complete" if not gone else "linear" if not kinds_of(arm.model) else "partly nonlinear"
        )
        rows.append({**arm.point(), "arm": shown, "kind": kind})
    if softmax is not None:
        rows.append({**softmax.point(), "arm": "softmax regression", "kind": "linear"})
    best = max(rows, key=lambda row: row["accuracy"])
    told = "; ".join(f"{row['arm']} {100 * row['accuracy']:.1f} %" for row in rows)
    return Chart(
        "factorial",
        "Test accuracy with nonlinear parts taken out",
        charts.arms(rows, "kind", ["complete", "partly nonlinear", "linear"]),
        f"Test accuracy with 95 % intervals: {told}. The highest is that of {best['arm']}.",
        "Bars are 95 % intervals from seeds and the finite test set together.",
    )


def paragraphs_of(
    context: Context,
    base: ConvNet,
    full: Arm,
    linear: Arm,
    measured: Sequence[Part],
    done: dict[str, Collapsed],
    linears: Sequence[Arm],
    softmax: Arm | None,
    runs: Sequence[Run],
) -> list[str]:
    recipe = full.runs[0].recipe
    nonlinear = [part for part in measured if not part.affine]
    counts = {
        kind: sum(1 for p in nonlinear if KINDS.get(p.kind, p.kind) == kind)
        for kind in dict.fromkeys(KINDS.get(p.kind, p.kind) for p in nonlinear)
    }
    listed = ", ".join(f"{count} × {kind}" for kind, count in counts.items()) or "none"
    origin = (
        "the smallest network within one standard error of the capacity sweep's best"
        if base == plans.smallest_of_capacity(context)
        else "the preset's network"
    )
    seen = (
        f"{recipe.limit:,} training images"
        if recipe.limit
        else f"all {len(context.data.train):,} training images"
    )
    classes, pixels = (
        context.data.num_classes,
        context.data.in_shape[0] * context.data.in_shape[1] * context.data.in_shape[2],
    )
    out = [
        f"The network. {label_of(base)} with fully connected layers of {hidden_of(base)} units before the classifier, {origin}. Of its {len(measured)} parts {len(nonlinear)} "
        f"were measured to be nonlinear in training mode: {listed}.",
        f"Training. Each arm has a learning rate of its own, found by short pilots, and {experiment.counted(recipe.epochs, 'epoch')} of {recipe.optimizer} with a one-cycle rate on {seen}, batches of {recipe.batch}, "
        f"{experiment.counted(len(full.runs), 'seed')}. The replacement keeps shapes and the number of learnable parameters ({full.parameters:,} with, {linear.parameters:,} without).",
        f"Why. A composition of affine maps is affine: with all nonlinear parts gone, each of these networks is one map x ↦ W x + b with a W of {classes} × {pixels:,}, whatever its depth and width. "
        "It is contained in the class of softmax regression, and so its training loss can't go below softmax regression's convex optimum: growing it does not help. Its test accuracy may differ a little "
        "either way, by the path that training takes.",
    ]
    if done:
        worst = max(c.max_error for c in done.values())
        same = min((c.agreement for c in done.values() if c.agreement is not None), default=None)
        agree = f", with {100 * same:g} % of predictions equal" if same is not None else ""
        images = next(iter(done.values())).checked
        out.append(
            f"Collapse. {experiment.counted(len(done), 'trained linear network')} {'was' if len(done) == 1 else 'were'} collapsed into W and b and compared on {images:,} test images, both sides in float64: the logits differ by {worst:.1e} of the largest at most{agree}."
        )
    best = max(arm.accuracy.mean for arm in (*linears, *([softmax] if softmax else [])))
    if context.data.name == "cifar10" and best < 0.6:
        out.append(
            "The studied report. It states a drop of 15 points, from 78 % to about 63 %, for a network without its nonlinear parts. "
            f"No affine map was found to reach that here (the best of {len(linears) + (softmax is not None)} affine models has {100 * best:.1f} %), "
            "so in that report something nonlinear must have stayed in."
        )
    failed = [run for run in runs if run.status != "finished"]
    if failed:
        out.append(
            f"Left out. {experiment.counted(len(failed), 'run')} of the arms did not finish ({', '.join(sorted({run.status for run in failed}))}); their arms have fewer seeds, or none."
        )
    return out
