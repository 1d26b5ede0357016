"""What fits a device: what the networks need there, what twice the device buys, what fitting costs.

Without a device, only what the candidates need at 8 bits is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from convscope.chapters.best.choice import Selection, selection_of
from convscope.chapters.best.outcome import Outcome
from convscope.chapters.best.plan import FRESH
from convscope.chapters.best.rounded import Rounded, rounded
from convscope.deployment import Needs, needs_of
from convscope.deployment.device_sizes import KIB
from convscope.planning import Context, DeviceLimits, fits_device, limits_of, widest
from convscope.recipe import ConvNet, Recipe
from convscope.report import Table
from convscope.statistics import Configuration, Difference, accuracy_difference, configurations
from convscope.training import Run
from convscope.words import texts_beside

DEVICE_TEXTS = texts_beside(__file__, "device.jinja")

TWICE_WIDTH = 2  # times the winner's filters, at the most, on a device of twice the size


@dataclass(frozen=True)
class Published:
    """A network of the literature, as its authors state it; nothing of it is trained here."""

    network: str
    data: str
    peak_kib: float
    weights_kib: float
    macs: int
    accuracy: float
    int8_accuracy: float
    source: str


# FACTS: stm32ai-modelzoo, image classification; multiply-adds by this package's count
PUBLISHED = Published(
    "ResNet-8 of ST's model zoo",
    "cifar10",
    62.5,
    76.9,
    12_501_632,
    0.8701,
    0.8559,
    "published: STM32 model zoo, image classification, ResNet v1 8 on CIFAR-10",
)


def needs_on_device(one: Configuration, bits: int) -> Needs:
    return needs_of(one.convnet, one.data.in_shape, one.data.num_classes, bits)


def that_fit(
    context: Context, found: Sequence[Configuration]
) -> tuple[list[Configuration], list[Configuration]]:
    """(candidates that fit the device, others, of an earlier study in the same folder)."""
    inside = [one for one in found if fits_device(context, one.convnet)]
    return inside, [one for one in found if one not in inside]


def twice_of(context: Context, recipe: Recipe) -> Recipe | None:
    """The recipe with the widest such network that fits a device of twice the size.

    None without a device, where a time budget leaves no room for it, and where it is not wider.
    """
    limits, model = limits_of(context), recipe.model
    if limits is None or not context.fit.whole or not isinstance(model, ConvNet):
        return None
    wider = widest(context, model, limits.twice(), TWICE_WIDTH * model.width)
    if wider is None or wider.width <= model.width:
        return None
    return replace(recipe, model=wider)


@dataclass(frozen=True)
class Fitted:
    """What a study for a device found.

    limits: of the device.
    winner, small: how they answer at its bits; None where that is not known.
    wider: the winner's network on a device of twice the size, and its accuracy minus the winner's.
    unlimited: the best network of this folder that does not fit, and the winner's accuracy minus
        its own, both on the seeds that chose.
    """

    limits: DeviceLimits
    winner: Rounded | None
    small: Rounded | None
    wider: tuple[Configuration, Difference] | None
    unlimited: tuple[Configuration, Difference] | None


def fitted_of(
    context: Context, outcome: Outcome, fresh: Sequence[Run], outside: Sequence[Configuration]
) -> Fitted | None:
    """None without a device.

    fresh: runs of seeds that chose nothing.
    outside: candidates that do not fit.
    """
    limits = limits_of(context)
    if limits is None:
        return None
    selection, wider, unlimited = outcome.selection, None, None
    other = twice_of(context, selection.winner.recipe)
    if other is not None and outcome.fresh:
        runs = [run for run in fresh if is_fresh_of(run, other)]
        found = configurations({other: runs}, context.data, lambda recipe: label_of(recipe))
        if runs and (one := found.get(other)) is not None:
            wider = one, accuracy_difference(one, outcome.winner, (one, outcome.winner))
    if outside:
        best = selection_of(outside, context).winner
        among = (*selection.found, *outside)
        unlimited = best, accuracy_difference(selection.winner, best, among)
    winner = rounded(context, outcome.winner)
    small = winner if outcome.alone else rounded(context, outcome.small)
    return Fitted(limits, winner, small, wider, unlimited)


def is_fresh_of(run: Run, recipe: Recipe) -> bool:
    return run.recipe.seed >= FRESH and replace(run.recipe, seed=recipe.seed) == recipe


def label_of(recipe: Recipe) -> str:
    from convscope.planning import describe_configuration

    return describe_configuration(recipe)


def sentence_of_device(fitted: Fitted | None, outcome: Outcome) -> str:
    """What fits, in words; empty without a device."""
    if fitted is None:
        return ""
    return DEVICE_TEXTS.fits(
        fitted,
        needs_on_device(outcome.winner, fitted.limits.bits),
        outcome.selection.winner,
        count=len(outcome.selection.found),
    )


def device_numbers(fitted: Fitted | None, outcome: Outcome) -> dict[str, Any]:
    """For results.json: {"device": …}; nothing without a device."""
    if fitted is None:
        return {}
    limits = fitted.limits

    def of(one: Configuration, few: Rounded | None) -> dict[str, Any]:
        known = vars(needs_on_device(one, limits.bits)) | {"accuracy": None, "change": None}
        if few is not None:
            for name in ("accuracy", "change"):
                value = getattr(few, name)
                known |= {name: value.mean, f"{name}_interval": [value.low, value.high]}
        return known

    def beside(pair: tuple[Configuration, Difference] | None) -> dict[str, Any] | None:
        if pair is None:
            return None
        one, difference = pair
        runs = [run.id for run in one.runs]
        needs = vars(needs_on_device(one, limits.bits))
        return {"label": one.label, "runs": runs, **needs, "difference": difference.numbers()}

    return {
        "device": {
            **vars(limits),
            "winner": of(outcome.winner, fitted.winner),
            "smallest": of(outcome.small, fitted.small),
            "twice": beside(fitted.wider),
            "unlimited": beside(fitted.unlimited),
        }
    }


def device_table(context: Context, fitted: Fitted | None, outcome: Outcome) -> list[Table]:
    """Networks on the device beside each other, and a published one where the images are its own.

    No table where there is neither a device nor a published network.
    """
    published = context.data.name == PUBLISHED.data and context.search.bits == 8
    if fitted is None and not published:
        return []
    bits = context.search.bits

    def row(one: Configuration, role: str, few: Rounded | None) -> dict[str, Any]:
        needs, accuracy = needs_on_device(one, bits), one.test_accuracy
        return {
            "network": one.label,
            "role": role,
            "peak_kib": round(needs.peak_bytes / KIB, 1),
            "weights_kib": round(needs.weight_bytes / KIB, 1),
            "macs": needs.macs,
            "accuracy": accuracy.mean,
            "interval": (accuracy.high - accuracy.low) / 2,
            "few_bits": None if few is None else few.accuracy.mean,
            "few_bits_interval": None if few is None else few.accuracy.high - few.accuracy.mean,
        }

    rows = [row(outcome.winner, "winner", fitted.winner if fitted else None)]
    if not outcome.alone:
        rows.append(row(outcome.small, "smallest", fitted.small if fitted else None))
    if fitted is not None and fitted.wider is not None:
        rows.append(row(fitted.wider[0], "on a device of twice the size", None))
    if fitted is not None and fitted.unlimited is not None:
        rows.append(row(fitted.unlimited[0], "does not fit", None))
    if published:
        rows.append(
            {
                "network": PUBLISHED.network,
                "role": PUBLISHED.source,
                "peak_kib": PUBLISHED.peak_kib,
                "weights_kib": PUBLISHED.weights_kib,
                "macs": PUBLISHED.macs,
                "accuracy": PUBLISHED.accuracy,
                "interval": None,
                "few_bits": PUBLISHED.int8_accuracy,
                "few_bits_interval": None,
            }
        )
    columns = (
        ("network", "configuration", "text"),
        ("role", "what it is", "text"),
        ("peak_kib", "peak memory (KiB)", "float"),
        ("weights_kib", "weights (KiB)", "float"),
        ("macs", "multiply-adds", "int"),
        ("accuracy", "test accuracy", "percent"),
        ("interval", "±", "percent"),
        ("few_bits", f"at {bits} bits", "percent"),
        ("few_bits_interval", "±", "percent"),
    )
    caption = DEVICE_TEXTS.table_caption(bits, published, fitted is not None)
    return [Table("device", f"On a device that computes with {bits} bits", columns, rows, caption)]


def device_text(context: Context, fitted: Fitted | None, selection: Selection) -> list[str]:
    """How needs are counted, and what was not trained; nothing without a device."""
    if fitted is None:
        return []
    tried = twice_of(context, selection.winner.recipe) is not None
    return [DEVICE_TEXTS.method(fitted.limits, fitted.wider is not None, tried, context.fit.whole)]
