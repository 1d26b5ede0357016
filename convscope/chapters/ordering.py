"""Does the order of the flattened activations matter? Exactly, under permuted weights; and statistically, over seeds, with a negative control and a contrast."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from convscope import planning as plans
from convscope.errors import UserError, one_line
from convscope.models import ConvNetModule
from convscope.planning import Arm, Context
from convscope.planning import arms as experiment
from convscope.probes.permutation import FlattenOrder, Trajectory, flatten_orders
from convscope.recipe import ConvNet, Model, Recipe, label_of
from convscope.report import Chart, Finding, Table, charts
from convscope.statistics import Difference, equivalence
from convscope.training import Run, network, resident

TITLE = "Flatten order"
QUESTION = "Does the order of the flattened activations matter?"
MARGIN = 0.03  # of accuracy
EXACT = 1e-8  # relative, over a whole training trajectory in float64
STEPS, BATCH = 50, 32
FIXED = ("natural", "reversed", "random", "channel-last")
EACH, PIXELS = "per-sample", "pixels"
NAMES = {
    "natural": "natural order",
    "reversed": "reversed",
    "random": "random, the same for all images",
    "channel-last": "channel last",
    EACH: "another random order for every image",
    PIXELS: "pixels permuted before the convolutions",
}


@dataclass(frozen=True)
class Preset:
    model: ConvNet
    epochs: int
    rates: tuple[float, ...]
    seeds: int  # at least so many
    images: int | None  # the most training images; None: all


PRESETS = {
    "quick": Preset(ConvNet(8, 3), 3, (2e-3, 8e-3), 3, 15_000),
    "standard": Preset(ConvNet(8, 3), 4, (2e-3, 8e-3), 4, None),
    "full": Preset(ConvNet(32, 3), 30, (1e-3, 2e-3, 4e-3), 8, None),
}


def arm_of(model: Model) -> str | None:
    """Which arm a network is."""
    if not isinstance(model, ConvNet) or model.head != "flatten":
        return None
    return PIXELS if model.pixels == "random" else model.order


def recipes_of(context: Context) -> dict[str, Recipe]:
    preset = PRESETS[context.preset]
    channels, height, width = context.data.in_shape
    # at least 2×2 numbers a channel, where the images leave room: of one number a channel, channel last is the natural order
    model = plans.shallower(preset.model, (channels, height // 2, width // 2))
    models = {name: replace(model, order=name) for name in (*FIXED, EACH)} | {
        PIXELS: replace(model, pixels="random")
    }
    base = replace(
        plans.base_of(context, preset.images),
        epochs=plans.epochs_of(context, preset.epochs),
        schedule="onecycle",
    )
    return {name: replace(base, model=model) for name, model in models.items()}


def seeds_of(context: Context) -> tuple[int, ...]:
    """The study's seeds, and further ones where a comparison of arms that differ in nothing needs more; a time budget's are kept."""
    wanted = PRESETS[context.preset].seeds if context.fit.seeds is None else 0
    more = (seed for seed in range(1000) if seed not in context.seeds)
    return (*context.seeds, *(next(more) for _ in range(wanted - len(context.seeds))))


def with_rates(context: Context, rates: dict[str, float]) -> list[Recipe]:
    return [
        replace(r, lr=rates[name], seed=seed)
        for name, r in recipes_of(context).items()
        for seed in seeds_of(context)
    ]


def tuned_arms(context: Context) -> list[Recipe]:
    """The fixed orders are one network but for the names of its weights, so they share the rate of the natural one."""
    recipes = recipes_of(context)
    return [recipes["natural"], recipes[EACH], recipes[PIXELS]]


def forecast(context: Context) -> list[Recipe]:
    rates = PRESETS[context.preset].rates
    return plans.pilots_of(context, tuned_arms(context), rates) + with_rates(
        context, dict.fromkeys(NAMES, rates[0])
    )


def chapter(context: Context) -> Generator[list[Recipe], list[Run], Finding]:
    recipes = recipes_of(context)
    tuned = yield from plans.tuned(context, tuned_arms(context), PRESETS[context.preset].rates)
    rates = {
        name: tuned.rate(recipes[name if name in (EACH, PIXELS) else "natural"].model)
        for name in recipes
    }
    runs = yield from plans.whole(context, with_rates(context, rates), tuned.early)
    return finding(context, tuned.pilots, runs)


def finding(context: Context, pilots: Sequence[Run], runs: Sequence[Run]) -> Finding:
    name = one_line(context.data.name)
    found = experiment.arms_of(context, runs, lambda model: NAMES[arm_of(model) or "natural"])
    arms = {kind: arm for model, arm in found.items() if (kind := arm_of(model)) is not None}
    natural = arms.get("natural")
    others = [kind for kind in NAMES if kind in arms and kind != "natural"]
    if natural is None or not others:
        sentence = (
            f"On {name} too few of the networks were trained to the end to compare flatten orders."
        )
        return Finding(
            "ordering",
            TITLE,
            QUESTION,
            "cannot tell",
            sentence,
            {},
            [plans.rates_table(pilots)] if pilots else [],
        )
    # the fixed orders are one network but for the names of its weights, so they scatter alike; the other arms need not
    fixed = [arms[kind] for kind in FIXED if kind in arms]
    differences = {
        kind: experiment.compare(
            arms[kind], natural, fixed if kind in FIXED else [natural, arms[kind]]
        )
        for kind in others
    }
    verdicts = {kind: equivalence(differences[kind], MARGIN) for kind in others if kind in FIXED}
    exact = exactness(context, natural)
    largest = max(
        (
            max(t.loss_difference, t.weight_difference)
            for e in exact.values()
            for t in e.trajectories
        ),
        default=None,
    )
    logits = max((e.logits_difference for e in exact.values()), default=None)
    numbers = {
        "network": label_of(natural.model),
        "exact": {
            order: {
                "features": e.features,
                "moved": e.moved,
                "logits_difference": e.logits_difference,
                "trajectories": [
                    {
                        "optimizer": t.optimizer,
                        "steps": t.steps,
                        "loss_difference": t.loss_difference,
                        "weight_difference": t.weight_difference,
                    }
                    for t in e.trajectories
                ],
            }
            for order, e in exact.items()
        },
        "largest_exact_difference": largest,
        "logits_difference": logits,
        "natural_accuracy": natural.accuracy.mean,
        "orders": {
            kind: {
                **experiment.numbers(differences[kind]),
                "accuracy": arms[kind].accuracy.mean,
                "verdict": verdicts.get(kind),
            }
            for kind in others
        },
        "margin": MARGIN,
        "chance": 1 / context.data.num_classes,
        "seeds": natural.accuracy.n,
        "arms": [arm.numbers() for arm in arms.values()],
    }
    return Finding(
        "ordering",
        TITLE,
        QUESTION,
        verdict_of(largest, verdicts),
        sentence_of(name, largest, verdicts, arms, differences),
        numbers,
        tables=[
            *exact_tables(exact),
            orders_table(arms, differences, verdicts),
            plans.rates_table(pilots, {arm.model: arm.label for arm in arms.values()}),
        ],
        charts=[orders_chart(arms)],
        paragraphs=paragraphs_of(context, arms, differences, exact),
        brief=f"flatten order: {verdict_of(largest, verdicts)}",
    )


def exactness(context: Context, natural: Arm) -> dict[str, FlattenOrder]:
    """Logits and whole training trajectories of the trained network under each fixed order with its weights permuted likewise, in float64."""

    def figures() -> dict[str, dict[str, Any]]:
        net, tensors = (
            network(natural.run, data=context.data),
            resident(natural.run.recipe, context.data),
        )
        assert isinstance(net, ConvNetModule)
        count = min(STEPS * BATCH, len(context.data.train))
        images, labels = (
            tensors.inputs("train", slice(0, count)).cpu(),
            tensors.labels["train"][:count].cpu(),
        )
        orders = [order for order in FIXED if order != "natural"]
        batch = min(BATCH, count)
        compared = flatten_orders(
            net.blocks, net.fc, images, labels, orders, steps=STEPS, batch=batch
        )
        return {order: asdict(one) for order, one in zip(orders, compared, strict=True)}

    try:
        found = context.computed("flatten orders", natural.run, figures)
    except (
        UserError
    ):  # weights are missing, or the report is written again on a machine without the device
        return {}
    return {
        order: FlattenOrder(
            **{**tree, "trajectories": tuple(Trajectory(**t) for t in tree["trajectories"])}
        )
        for order, tree in found.items()
    }


def verdict_of(largest: float | None, verdicts: dict[str, str]) -> str:
    if "different" in verdicts.values() or (largest is not None and largest > EXACT):
        return "a difference was found"
    return (
        "order does not matter"
        if largest is not None
        else "no difference found; exactness not checked"
    )


def sentence_of(
    name: str,
    largest: float | None,
    verdicts: dict[str, str],
    arms: dict[str, Arm],
    differences: dict[str, Difference],
) -> str:
    parts = []
    if largest is not None:
        equal = "equal" if largest <= EXACT else "NOT equal"
        parts.append(
            f"with its weights permuted likewise the network's training is {equal} under every fixed order (largest relative difference {largest:.1e} over {STEPS} steps of SGD and of Adam, float64)"
        )
    if verdicts:
        count = sum(1 for v in verdicts.values() if v == "equivalent")
        seeds = arms["natural"].accuracy.n
        text = f"trained from scratch, {count} of {len(verdicts)} other orders are equivalent to the natural one within ± {100 * MARGIN:g} points of test accuracy ({experiment.counted(seeds, 'seed')})"
        unsure = [k for k, v in verdicts.items() if v == "cannot tell"]
        apart = [k for k, v in verdicts.items() if v == "different"]
        text += f", {', '.join(unsure)} can't be told" if unsure else ""
        parts.append(text + (f", {', '.join(apart)} differ" if apart else ""))
    for kind, words in (
        (EACH, "another order for every image"),
        (PIXELS, "the same permutation of the pixels before the convolutions"),
    ):
        if kind in differences:
            parts.append(f"{words} {experiment.buys(differences[kind])}")
    return f"On {name}, {'; '.join(parts)}{experiment.caveat(next(iter(differences.values())))}."


def exact_tables(exact: dict[str, FlattenOrder]) -> list[Table]:
    columns = (
        ("order", "order", "text"),
        ("moved", "positions moved", "int"),
        ("logits", "logits differ by", "text"),
        ("optimizer", "optimiser", "text"),
        ("losses", f"losses over {STEPS} steps differ by", "text"),
        ("weights", "weights differ by", "text"),
    )
    rows = [
        {
            "order": NAMES[order],
            "moved": e.moved,
            "logits": f"{e.logits_difference:.1e}",
            "optimizer": t.optimizer,
            "losses": f"{t.loss_difference:.1e}",
            "weights": f"{t.weight_difference:.1e}",
        }
        for order, e in exact.items()
        for t in e.trajectories
    ]
    caption = "The trained network and its twin whose flattened vector is permuted and whose fully connected layer's columns are permuted likewise, trained side by side in float64: largest relative differences. What is left is rounding: sums are taken in another order."
    return (
        [Table("exact", "The same network under another order", columns, rows, caption)]
        if rows
        else []
    )


def orders_table(
    arms: dict[str, Arm], differences: dict[str, Difference], verdicts: dict[str, str]
) -> Table:
    kinds = {arm.label: kind for kind, arm in arms.items()}

    def against(arm: Arm) -> dict[str, Any]:
        difference = differences.get(kinds[arm.label])
        if difference is None:
            return {}
        return {
            "difference": difference.mean,
            "half": difference.high - difference.mean,
            "verdict": verdicts.get(kinds[arm.label]),
        }

    more = (
        ("difference", "accuracy − natural order", "percent"),
        ("half", "± of it", "percent"),
        ("verdict", f"within ± {100 * MARGIN:g} points", "text"),
    )
    caption = "Each arm trained from scratch over seeds; differences are paired by test image, ± is half of a 95 % interval, and equivalence is that of two one-sided tests at 5 %."
    return experiment.table(
        "orders", "Orders, trained from scratch", arms.values(), more, against, caption
    )


def orders_chart(arms: dict[str, Arm]) -> Chart:
    kinds = {EACH: "negative control", PIXELS: "before the convolutions"}
    rows = [
        {**arm.point(), "arm": arm.label, "kind": kinds.get(kind, "fixed order")}
        for kind, arm in arms.items()
    ]
    told = "; ".join(f"{row['arm']} {100 * row['accuracy']:.1f} %" for row in rows)
    return Chart(
        "orders",
        "Test accuracy by order",
        charts.arms(rows, "kind", ["fixed order", "negative control", "before the convolutions"]),
        f"Test accuracy with 95 % intervals: {told}.",
        "Bars are 95 % intervals from seeds and the finite test set together.",
    )


def paragraphs_of(
    context: Context,
    arms: dict[str, Arm],
    differences: dict[str, Difference],
    exact: dict[str, FlattenOrder],
) -> list[str]:
    natural = arms["natural"]
    recipe = natural.runs[0].recipe
    images = (
        f"{recipe.limit:,} of the {len(context.data.train):,}"
        if recipe.limit
        else f"all {len(context.data.train):,}"
    )
    features = f" ({next(iter(exact.values())).features:,} numbers)" if exact else ""
    out = [
        f"Why order does not matter. A fully connected layer adds up its inputs, each times a weight of its own: a permutation of the flattened vector{features} is a permutation of the weight's columns. Weights "
        "drawn independently from one distribution have the same distribution in every order, and SGD, momentum and Adam treat each weight alike; so training from scratch has the same distribution of outcomes "
        "in every order, as long as the order is the same for all images. Neighbours in the vector mean nothing to the layer.",
        f"Training. {label_of(natural.model)}; {experiment.counted(recipe.epochs, 'epoch')} of {recipe.optimizer} with a one-cycle rate on {images} training images, batches of {recipe.batch}, {experiment.counted(natural.accuracy.n, 'seed')} an arm. The fixed "
        "orders share a learning rate, found for the natural one by pilots; the other two arms have one of their own.",
    ]
    chance = 1 / context.data.num_classes
    if EACH in arms:
        e = arms[EACH].accuracy
        above = "above" if e.low > chance else "below" if e.high < chance else "not told apart from"
        out.append(
            f"Negative control. With another random order for every image only the multiset of activations is left: {experiment.percent(e)}, {above} chance ({100 * chance:.1f} %). "
            "A comparison that could not see this arm fall would prove nothing about the others."
        )
    if PIXELS in differences:
        d = differences[PIXELS]
        out.append(
            f"Contrast. The same random permutation of all images' pixels before the convolutions {experiment.buys(d)}. Convolutions look at neighbours, so that there order can matter: "
            "a fully connected layer could undo the permutation, a convolution can't."
        )
    return out
