"""Flatten order: in words, from numbers."""

from __future__ import annotations

from convscope.chapters.ordering.plan import EACH, EXACT, MARGIN, PIXELS, STEPS
from convscope.planning import Context
from convscope.probes.permutation import FlattenOrder
from convscope.recipe import label_of
from convscope.statistics import Configuration, Difference
from convscope.words import buys_or_costs, count, one_seed_caveat, percent


def sentence_of(
    name: str,
    largest: float | None,
    verdicts: dict[str, str],
    arms: dict[str, Configuration],
    differences: dict[str, Difference],
) -> str:
    parts = []
    if largest is not None:
        equal = "equal" if largest <= EXACT else "NOT equal"
        parts.append(
            f"with its weights permuted likewise the network's training is {equal} under every fixed order (largest relative difference {largest:.1e} over {STEPS} steps of SGD and of Adam, float64)"
        )
    if verdicts:
        equal_orders = sum(1 for v in verdicts.values() if v == "equivalent")
        seeds = arms["natural"].test_accuracy.n
        text = f"trained from scratch, {equal_orders} of {len(verdicts)} other orders are equivalent to the natural one within ± {100 * MARGIN:g} points of test accuracy ({count(seeds, 'seed')})"
        unsure = [k for k, v in verdicts.items() if v == "cannot tell"]
        apart = [k for k, v in verdicts.items() if v == "different"]
        text += f", {', '.join(unsure)} can't be told" if unsure else ""
        parts.append(text + (f", {', '.join(apart)} differ" if apart else ""))
    for kind, words in (
        (EACH, "another order for every image"),
        (PIXELS, "the same permutation of the pixels before the convolutions"),
    ):
        if kind in differences:
            parts.append(f"{words} {buys_or_costs(differences[kind])}")
    return (
        f"On {name}, {'; '.join(parts)}{one_seed_caveat(next(iter(differences.values())).degrees)}."
    )


def paragraphs_of(
    context: Context,
    arms: dict[str, Configuration],
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
        f"Training. {label_of(natural.model)}; {count(recipe.epochs, 'epoch')} of {recipe.optimizer} with a one-cycle rate on {images} training images, batches of {recipe.batch}, {count(natural.test_accuracy.n, 'seed')} an arm. The fixed "
        "orders share a learning rate, found for the natural one by pilots; the other two arms have one of their own.",
    ]
    chance = 1 / context.data.num_classes
    if EACH in arms:
        e = arms[EACH].test_accuracy
        above = "above" if e.low > chance else "below" if e.high < chance else "not told apart from"
        out.append(
            f"Negative control. With another random order for every image only the multiset of activations is left: {percent(e)}, {above} chance ({100 * chance:.1f} %). "
            "A comparison that could not see this arm fall would prove nothing about the others."
        )
    if PIXELS in differences:
        d = differences[PIXELS]
        out.append(
            f"Contrast. The same random permutation of all images' pixels before the convolutions {buys_or_costs(d)}. Convolutions look at neighbours, so that there order can matter: "
            "a fully connected layer could undo the permutation, a convolution can't."
        )
    return out
