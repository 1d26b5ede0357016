"""Flatten order: from runs to the finding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from convscope.chapters.ordering.answers import change_of, headlines_of, nothing_told
from convscope.chapters.ordering.charts import exact_tables, orders_chart, orders_table
from convscope.chapters.ordering.experiment import POOLED, Experiment, judged_orders
from convscope.chapters.ordering.plan import (
    BATCH,
    EACH,
    EXACT,
    FIXED,
    MARGIN,
    NAMES,
    PIXELS,
    PRESETS,
    QUESTION,
    STEPS,
    TITLE,
    arm_of,
    recipes_of,
    tuned_arms,
    with_rates,
)
from convscope.chapters.ordering.words import (
    brief_of,
    no_answer,
    paragraphs_of,
    proof_of,
    sentence_of,
)
from convscope.data import Dataset
from convscope.errors import UserError, one_line
from convscope.models import ConvNetModule
from convscope.planning import Chapter, Context, Request, preset_of, rates_table, tuned_rates
from convscope.probes.permutation import FlattenOrder, Trajectory, flatten_orders
from convscope.recipe import Model, label_of
from convscope.report import Finding
from convscope.statistics import (
    Configuration,
    Difference,
    accuracy_difference,
    configurations,
    grouped,
)
from convscope.training import Run, network, note_unreadable, resident


def chapter(context: Context) -> Chapter:
    """One network under several flatten orders."""
    recipes = recipes_of(context)
    tuned = yield from tuned_rates(
        context, tuned_arms(context), preset_of(context, "ordering", PRESETS).rates
    )
    rates = {
        name: tuned.rate(recipes[name if name in (EACH, PIXELS) else "natural"].model)
        for name in recipes
    }
    answer = yield [Request(with_rates(context, rates), "final")]
    return finding(context, tuned.pilots, answer.of("final"))


def finding(context: Context, pilots: Sequence[Run], runs: Sequence[Run]) -> Finding:
    """What the orders do; `pilots` are the short runs that chose the learning rates."""
    name = one_line(context.data.name)
    arms = arms_among(context, runs)
    others = [kind for kind in NAMES if kind in arms and kind != "natural"]
    if "natural" not in arms or not others:
        tables = [rates_table(pilots)] if pilots else []
        return Finding(
            "ordering",
            TITLE,
            QUESTION,
            "cannot tell",
            no_answer(name),
            {},
            tables,
            headlines=nothing_told(),
        )
    exact = exactness(context, arms["natural"])
    largest = largest_of(exact)
    proved = largest is not None and largest <= EXACT
    differences = {kind: difference_from_natural(kind, arms, proved) for kind in others}
    chance = chance_of(context.data)
    shown = judged_orders(arms, differences, chance)
    verdict = verdict_of(largest, shown)
    return Finding(
        "ordering",
        TITLE,
        QUESTION,
        verdict,
        sentence_of(name, largest, shown, arms, differences, chance),
        numbers_of(arms, differences, shown, exact, chance),
        tables=[
            *exact_tables(exact),
            orders_table(arms, differences, shown.verdicts),
            rates_table(pilots, {arm.model: arm.label for arm in arms.values()}),
        ],
        charts=[orders_chart(arms)],
        paragraphs=paragraphs_of(context, arms, differences, exact, chance),
        brief=brief_of(verdict),
        proof=proof_of(),
        headlines=headlines_of(largest, shown, arms, chance),
        change=change_of(shown, arms),
        lead="orders",
        explains=("Proof and experiment", "Negative control", "Contrast"),
    )


def arms_among(context: Context, runs: Sequence[Run]) -> dict[str, Configuration]:
    """The configurations by their order, PIXELS and EACH among them."""

    def label(model: Model) -> str:
        return NAMES[arm_of(model) or "natural"]

    groups = grouped(runs, lambda run: run.recipe.model)
    found = configurations(groups, context.data, label)
    return {kind: arm for model, arm in found.items() if (kind := arm_of(model)) is not None}


def difference_from_natural(kind: str, arms: dict[str, Configuration], proved: bool) -> Difference:
    """Test accuracy in this order minus that in the natural one.

    proved: whether the fixed orders are found to be one network but for the names of its weights.
        Then they scatter alike, and where enough seeds tell it, they share one variance; the other
        arms need not.
    """
    arm, natural = arms[kind], arms["natural"]
    if kind in FIXED:
        family = [arms[fixed] for fixed in FIXED if fixed in arms]
        enough = sum(len(one.runs) - 1 for one in family) >= POOLED
        return accuracy_difference(arm, natural, family, MARGIN, alike=proved and enough)
    return accuracy_difference(arm, natural, [natural, arm])


def largest_of(exact: dict[str, FlattenOrder]) -> float | None:
    """The largest relative difference of losses or weights; None where nothing was compared."""
    trajectories = (one for found in exact.values() for one in found.trajectories)
    return max(
        (max(one.loss_difference, one.weight_difference) for one in trajectories), default=None
    )


def numbers_of(
    arms: dict[str, Configuration],
    differences: dict[str, Difference],
    shown: Experiment,
    exact: dict[str, FlattenOrder],
    chance: float,
) -> dict[str, Any]:
    """For results.json; dictionaries are by order.

    `proof` and `experiment` are told apart: the first is a theorem that was checked on the trained
    network, the second statistics of networks trained from scratch.
    """
    natural, largest = arms["natural"], largest_of(exact)
    return {
        "network": label_of(natural.model),
        "exact": {order: numbers_of_order(found) for order, found in exact.items()},
        "proof": "not checked" if largest is None else "equal" if largest <= EXACT else "not equal",
        "experiment": shown.word,
        "experiment_lacks": list(shown.missing),
        "largest_exact_difference": largest,
        "logits_difference": max((one.logits_difference for one in exact.values()), default=None),
        "natural_accuracy": natural.test_accuracy.mean,
        "orders": {
            kind: {
                **difference.numbers(),
                "accuracy": arms[kind].test_accuracy.mean,
                "verdict": shown.verdicts.get(kind),
            }
            for kind, difference in differences.items()
        },
        "margin": MARGIN,
        "chance": chance,
        "seeds": natural.test_accuracy.n,
        "arms": [arm.numbers() for arm in arms.values()],
    }


def numbers_of_order(found: FlattenOrder) -> dict[str, Any]:
    return {
        "features": found.features,
        "moved": found.moved,
        "logits_difference": found.logits_difference,
        "trajectories": [
            {
                "optimizer": one.optimizer,
                "steps": one.steps,
                "loss_difference": one.loss_difference,
                "weight_difference": one.weight_difference,
            }
            for one in found.trajectories
        ],
    }


def exactness(context: Context, natural: Configuration) -> dict[str, FlattenOrder]:
    """What each fixed order changes where the weights are permuted with it, in float64.

    Logits and whole training trajectories of the trained network are compared. Empty where the
    weights cannot be read, or the report is written again on a machine without the device.
    """
    try:
        found = context.computed(
            "flatten orders", natural.run, lambda: figures_of(natural.run, context.data)
        )
    except UserError as error:
        note_unreadable("logits and training with permuted weights", natural.run, error)
        return {}
    return {
        order: FlattenOrder(
            **{**tree, "trajectories": tuple(Trajectory(**one) for one in tree["trajectories"])}
        )
        for order, tree in found.items()
    }


def figures_of(run: Run, data: Dataset) -> dict[str, dict[str, Any]]:
    """The comparisons as plain values, by order."""
    net, tensors = network(run, data=data), resident(run.recipe, data)
    assert isinstance(net, ConvNetModule)
    count = min(STEPS * BATCH, len(data.train))
    images = tensors.inputs("train", slice(0, count)).cpu()
    labels = tensors.labels["train"][:count].cpu()
    orders = [order for order in FIXED if order != "natural"]
    compared = flatten_orders(
        net.blocks, net.fc, images, labels, orders, steps=STEPS, batch=min(BATCH, count)
    )
    return {order: asdict(one) for order, one in zip(orders, compared, strict=True)}


def chance_of(data: Dataset) -> float:
    """The test accuracy of always naming the most frequent class of the test images."""
    counts = data.test.labels.bincount(minlength=data.num_classes)
    return float(counts.max()) / max(1, len(data.test))


def verdict_of(largest: float | None, shown: Experiment) -> str:
    """The chapter's verdict: that of proof and experiment where both speak, else of each by itself.

    largest: the largest relative difference under permuted weights; None: not checked.
    shown: what the orders that were trained from scratch show.
    """
    if shown.word == "a difference was found" or (largest is not None and largest > EXACT):
        return "a difference was found"
    if shown.word == "cannot tell":
        proved = largest is not None
        return (
            "cannot tell by experiment; proved with permuted weights" if proved else "cannot tell"
        )
    if largest is None:
        return "no difference found; exactness not checked"
    return "order does not matter"
