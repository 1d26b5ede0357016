"""What the chapters' plans have in common: epochs that suit the data and the budget, learning rates from pilots, the strong recipe."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from convscope.findings import Context, Table
from convscope.labels import label_of
from convscope.recipe import ConvNet, Model, Recipe
from convscope.record import Run

REFERENCE_IMAGES = 45_000  # presets give epochs for a training split of so many images
TRAIN_SAMPLE = 5_000  # training images evaluated after each epoch
MOST_EPOCHS = 60
MOST_EXTENSIONS = 2  # how often a grid of learning rates is extended where its best rate lies at an end
LOWEST_RATE, HIGHEST_RATE = 1e-5, 0.128


def epochs_of(context: Context, epochs: int) -> int:
    """Fewer images make an epoch shorter: the number of epochs grows with the square root of what is missing to REFERENCE_IMAGES.

    Under a time budget it shrinks by the budget's factor.
    """
    scale = math.sqrt(REFERENCE_IMAGES / max(1, len(context.data.train)))
    return max(1, min(MOST_EPOCHS, math.floor(max(epochs, round(epochs * scale)) * context.fit.epochs)))


def base_of(context: Context, most: int | None = None, sample: int | None = TRAIN_SAMPLE) -> Recipe:
    """The study's base recipe on as many training images as a time budget leaves, `most` at the most.

    Training figures are taken from a sample (None: all): no verdict but capacity's rests on them, and all images would take a quarter of a run's time.
    """
    limit = min(images_of(context) or len(context.data.train), most or len(context.data.train))
    return replace(
        context.base,
        limit=limit if limit < len(context.data.train) else None,
        train_sample=sample if sample is not None and limit > sample else None,
    )


def images_of(context: Context) -> int | None:
    """How many training images a time budget leaves, a batch at least; None: all."""
    if context.fit.images == 1.0:
        return None
    return min(len(context.data.train), max(context.base.batch, round(context.fit.images * len(context.data.train))))


def fits(model: ConvNet, in_shape: tuple[int, int, int]) -> bool:
    """Whether every pooling of the network leaves a feature map of at least 1×1."""
    return (min(in_shape[1:]) - (model.stem == "whiten")) // math.prod(model.pools) >= 1


def shallower(model: ConvNet, in_shape: tuple[int, int, int]) -> ConvNet:
    """The network with as many blocks as the images leave room for."""
    while model.depth > 1 and not fits(model, in_shape):
        model = replace(model, depth=model.depth - 1, pool_sizes=model.pool_sizes[: model.depth - 1])
    return model


def smallest_of_capacity(context: Context) -> ConvNet | None:
    """The smallest network within one standard error of the capacity sweep's best; None where that chapter has not found one."""
    finding = context.findings.get("capacity")
    smallest = finding.numbers.get("smallest_within_one_se") if finding is not None else None
    if finding is None or smallest is None:
        return None
    model = finding.runs[smallest["runs"][0]].recipe.model
    return model if isinstance(model, ConvNet) else None


# the strong recipe: a whitening stem and pooling behind each block's first convolution (Page 2019; Jordan 2024, arXiv 2404.00498), batch normalisation,
# skips, Muon with a rate that falls linearly (Jordan et al. 2024), label smoothing (Szegedy et al. 2016), flips and shifts


SMALLEST_WHITENED = 4  # pixels a side: the stem makes a map one smaller


@dataclass(frozen=True)
class Strong:
    model: ConvNet
    epochs: int
    crop: int = 0


def strong_model(width: int, block_depth: int = 2) -> ConvNet:
    return ConvNet(width, 3, block_depth, norm="batch", skip=True, head="gap", stem="whiten", pool_at="first")


STRONG = {
    "quick": Strong(strong_model(16), 4, crop=2),
    "standard": Strong(strong_model(64), 7, crop=2),
    "full": Strong(strong_model(128, block_depth=3), 40, crop=4),
}


OPTIMIZERS = {"muon": "Muon", "adamw": "AdamW", "adam": "Adam", "sgd": "SGD with Nesterov momentum"}
RATES = {
    "constant": "a learning rate of", "linear": "a learning rate that falls linearly from", "cosine": "a learning rate that falls as a cosine from",
    "onecycle": "a one-cycle learning rate of at most",
}  # fmt: skip


def strong_of(context: Context) -> Recipe:
    """The strong recipe of a preset, with the study's first seed: the search begins with it, and capacity shows it beside its sweep."""
    strong = STRONG[context.preset]
    model = strong.model if min(context.data.in_shape[1:]) >= SMALLEST_WHITENED else replace(strong.model, stem="none")
    model = shallower(model, context.data.in_shape)
    return replace(
        base_of(context), model=model, epochs=epochs_of(context, strong.epochs), lr=0.12, schedule="linear", optimizer="muon",
        weight_decay=1e-2, label_smoothing=0.1, flip=True, crop=strong.crop, seed=context.seeds[0],
    )  # fmt: skip


# learning rates: a short run for each network and rate


@dataclass(frozen=True)
class Tuned:
    """The learning rate of each model with the lowest validation loss of its pilots (`fallback` where none finished), and the pilots.

    `early`: runs of the next request that came in answer to an extension of the grid (see `whole`).
    """

    rates: Mapping[Model, float]
    pilots: tuple[Run, ...]
    fallback: float
    early: tuple[Run, ...] = ()

    def rate(self, model: Model) -> float:
        return self.rates.get(model, self.fallback)


def pilots_of(context: Context, recipes: Iterable[Recipe], rates: Sequence[float]) -> list[Recipe]:
    """One short run for each recipe's model and each rate, judged on validation: one epoch on a quarter of the training images, or a quarter of the epochs on small sets."""
    available = images_of(context) or len(context.data.train)
    out = []
    for recipe in recipes:
        own = recipe.limit or available
        limit = min(available // 4, own) if available >= 20_000 else own
        short = replace(
            recipe, epochs=1 if available >= 20_000 else max(1, recipe.epochs // 4), limit=limit if limit < len(context.data.train) else None,
            evaluate=("val",), seed=context.seeds[0],
        )  # fmt: skip
        out += [replace(short, lr=rate) for rate in rates]
    return out


def tuned(context: Context, recipes: Sequence[Recipe], rates: Sequence[float]) -> Generator[list[Recipe], list[Run], Tuned]:
    """Pilots of every recipe's model; where the best rate lies at an end of the grid, the grid is extended beyond it. Use with `yield from`."""
    runs = yield pilots_of(context, recipes, rates)
    early: list[Run] = []
    for _ in range(MOST_EXTENSIONS):
        beyond = beyond_the_grid(runs)
        if not beyond or early:
            break
        answer = yield beyond
        runs = [*runs, *(run for run in answer if is_pilot(run))]
        early = [run for run in answer if not is_pilot(run)]
    return Tuned(chosen_rates(runs), tuple(runs), min(rates), tuple(early))


def ends(series: Sequence[ConvNet]) -> list[ConvNet]:
    """The narrowest and the widest of networks that differ in width alone."""
    ordered = sorted(series, key=lambda model: model.width)
    return [*ordered[:1], *ordered[1:][-1:]]


def transferred(rates: Mapping[Model, float], series: Sequence[ConvNet]) -> dict[Model, float]:
    """A rate for every network of a series that differs in width alone, from those that have one: a straight line between neighbours in log rate over
    log width, the nearest one's beyond them; nothing where none has one. bench/transfer.py compares it with pilots at every width."""
    known = sorted((math.log(model.width), math.log(rates[model])) for model in series if model in rates)
    if not known:
        return {}
    out: dict[Model, float] = {}
    for model in series:
        x = math.log(model.width)
        below = max((point for point in known if point[0] <= x), default=known[0])
        above = min((point for point in known if point[0] >= x), default=known[-1])
        part = (x - below[0]) / (above[0] - below[0]) if above[0] > below[0] else 0.0
        out[model] = rates[model] if model in rates else float(f"{math.exp(below[1] + part * (above[1] - below[1])):.2g}")
    return out


def whole(context: Context, recipes: list[Recipe], early: Sequence[Run] = ()) -> Generator[list[Recipe], list[Run], list[Run]]:
    """The runs of these recipes. Use with `yield from`, and give it the `early` of what was tuned.

    In a report that is written again requests are answered in their recorded order. Where pilots were lost, an extension of the grid that was asked for then may
    not be asked for now: then it is answered here, and skipped. Or one is asked for now that was not then: then these runs came early, and are not asked for again.
    """
    if early:
        return list(early)
    runs = yield recipes
    for _ in range(0 if context.live else MOST_EXTENSIONS):
        if any(not is_pilot(run) for run in runs):
            break
        runs = yield recipes
    return [run for run in runs if not is_pilot(run)]


def is_pilot(run: Run) -> bool:
    return "test" not in run.recipe.evaluate


def beyond_the_grid(pilots: Sequence[Run]) -> list[Recipe]:
    """For each network whose best rate so far is the lowest or highest one tried, the pilot at half or twice that rate."""
    tried: dict[Model, list[float]] = {}
    recipes: dict[Model, Recipe] = {}
    for run in pilots:
        tried.setdefault(run.recipe.model, []).append(run.recipe.lr)
        recipes[run.recipe.model] = run.recipe
    more = []
    for model, best in chosen_rates(pilots).items():
        rate = best / 2 if best == min(tried[model]) else 2 * best if best == max(tried[model]) else None
        if rate is not None and LOWEST_RATE <= rate <= HIGHEST_RATE:
            more.append(replace(recipes[model], lr=rate))
    return more


def chosen_rates(pilots: Iterable[Run]) -> dict[Model, float]:
    """For each network the learning rate with the lowest validation loss of its pilots."""
    best: dict[Model, tuple[float, float]] = {}
    for run in pilots:
        if run.status != "finished":
            continue
        model, loss = run.recipe.model, run.best["val_loss"]
        if model not in best or loss < best[model][0]:
            best[model] = (loss, run.recipe.lr)
    return {model: rate for model, (_, rate) in best.items()}


def rates_table(pilots: Sequence[Run], labels: Mapping[Model, str] | None = None) -> Table:
    """Every rate that was tried and the loss it led to; `labels` names the networks where their own description does not tell them apart."""
    rates = sorted({run.recipe.lr for run in pilots})
    tried: dict[Model, list[float]] = {}
    columns = (
        ("network", "network", "text"),
        *((f"{rate:g}", f"{rate:g}", "loss") for rate in rates),
        ("chosen", "chosen", "float"),
    )
    rows: dict[Model, dict[str, Any]] = {}
    chosen = chosen_rates(pilots)
    for run in pilots:
        model = run.recipe.model
        row = rows.setdefault(model, {"network": (labels or {}).get(model) or label_of(model), "chosen": chosen.get(model)})
        tried.setdefault(model, []).append(run.recipe.lr)
        row[f"{run.recipe.lr:g}"] = run.best["val_loss"] if run.status == "finished" else None
    at_end = sum(1 for model, rate in chosen.items() if rate in (min(tried[model]), max(tried[model])))
    caption = (
        "Validation loss after each pilot, a column a learning rate. "
        f"{at_end} of {len(chosen)} chosen rates lie at an end of the grid, so a rate beyond it might suit {'that network' if at_end == 1 else 'these'} still better."
        if at_end
        else "Validation loss after each pilot, a column a learning rate. No chosen rate lies at an end of the grid."
    )
    return Table("learning_rates", "Learning rates tried", columns, list(rows.values()), caption)
