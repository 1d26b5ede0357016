"""Flatten order: from runs to the finding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from convscope import planning as plans
from convscope.chapters.ordering.charts import exact_tables, orders_chart, orders_table
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
from convscope.chapters.ordering.words import paragraphs_of, sentence_of
from convscope.errors import UserError, one_line
from convscope.models import ConvNetModule
from convscope.planning import Arm, Chapter, Context, Request, tuned_rates
from convscope.planning import arms as experiment
from convscope.probes.permutation import FlattenOrder, Trajectory, flatten_orders
from convscope.recipe import label_of
from convscope.report import Finding
from convscope.statistics import equivalence
from convscope.training import Run, network, resident


def chapter(context: Context) -> Chapter:
    """One network under several flatten orders."""
    recipes = recipes_of(context)
    tuned = yield from tuned_rates(context, tuned_arms(context), PRESETS[context.preset].rates)
    rates = {
        name: tuned.rate(recipes[name if name in (EACH, PIXELS) else "natural"].model)
        for name in recipes
    }
    answer = yield [Request(with_rates(context, rates), "final")]
    return finding(context, tuned.pilots, answer.of("final"))


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
