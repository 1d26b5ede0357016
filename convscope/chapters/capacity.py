"""How many filters, layers and parameters do these images need; where do networks underfit, where overfit?

Widths × depths × seeds are trained alike, each network with a learning rate of its own chosen on validation; the verdicts are those of
docs/concepts.md. A stronger network with blocks, batch normalisation and augmentation stands beside the sweep for comparison.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

from convscope import charts, curves
from convscope.curves import Network
from convscope.findings import Chart, Context, Finding, Table
from convscope.recipe import ConvNet, Recipe, UserError, one_line
from convscope.record import Run
from convscope.stats import Estimate, smallest_within_one_se, sweep_verdict

TITLE = "Capacity"
QUESTION = "How many filters, layers and parameters do these images need; where do networks underfit, where do they overfit?"
REFERENCE_IMAGES = 45_000  # presets give epochs for a training split of so many images
MOST_EPOCHS = 60
MOST_EXTENSIONS = 2  # how often a grid of learning rates is extended where its best rate lies at an end
LOWEST_RATE, HIGHEST_RATE = 1e-5, 3.2e-2


@dataclass(frozen=True)
class Preset:
    widths: dict[int, tuple[int, ...]]  # depth -> widths
    epochs: int
    rates: tuple[float, ...]  # learning rates tried in the pilots
    hidden: tuple[int, ...]
    strong: ConvNet
    strong_epochs: int
    strong_seeds: int


PRESETS: dict[str, Preset] = {
    "quick": Preset(
        widths={1: (8,), 2: (16,), 3: (1, 2, 4, 8, 16)},
        epochs=7,
        rates=(1e-3, 2e-3, 4e-3),
        hidden=(256,),
        strong=ConvNet(16, 3, block_depth=2, norm="batch", skip=True),
        strong_epochs=3,
        strong_seeds=1,
    ),
    "standard": Preset(
        widths=dict.fromkeys((1, 2, 3), (2, 4, 8, 16, 32, 64)),
        epochs=12,
        rates=(5e-4, 1e-3, 2e-3, 4e-3),
        hidden=(256,),
        strong=ConvNet(32, 3, block_depth=3, norm="batch", skip=True),
        strong_epochs=15,
        strong_seeds=3,
    ),
    "full": Preset(
        widths=dict.fromkeys((1, 2, 3, 4), (2, 4, 8, 16, 32, 64, 128)),
        epochs=30,
        rates=(2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3),
        hidden=(256,),
        strong=ConvNet(64, 3, block_depth=3, norm="batch", skip=True),
        strong_epochs=40,
        strong_seeds=5,
    ),
}


def models_of(context: Context) -> list[ConvNet]:
    """The sweep's networks that fit the images, by depth and width."""
    preset = PRESETS[context.preset]
    models = []
    for depth, widths in preset.widths.items():
        if min(context.data.in_shape[1:]) >> depth >= 1:
            models += [ConvNet(width, depth, hidden=preset.hidden) for width in widths]
    if not models:
        raise UserError(
            f"images of {context.data.in_shape[1]}×{context.data.in_shape[2]} pixels leave no room for a convolution with pooling"
        )
    return models


def epochs_of(context: Context, epochs: int) -> int:
    """Fewer images make an epoch shorter: the number of epochs grows with the square root of what is missing to REFERENCE_IMAGES."""
    scale = math.sqrt(REFERENCE_IMAGES / max(1, len(context.data.train)))
    return min(MOST_EPOCHS, max(epochs, round(epochs * scale)))


def pilots_of(context: Context) -> list[Recipe]:
    """One short run for each network and learning rate: a quarter of the training images (all, of small sets), one epoch, judged on validation."""
    preset = PRESETS[context.preset]
    count = len(context.data.train)
    limit = count // 4 if count >= 20_000 else None
    epochs = 1 if limit else max(1, epochs_of(context, preset.epochs) // 4)
    short = replace(context.base, epochs=epochs, limit=limit, evaluate=("val",), seed=context.seeds[0])
    return [replace(short, model=model, lr=rate) for model in models_of(context) for rate in preset.rates]


def strong_of(context: Context) -> list[Recipe]:
    preset = PRESETS[context.preset]
    model = preset.strong
    while model.depth > 1 and min(context.data.in_shape[1:]) >> model.depth < 1:
        model = replace(model, depth=model.depth - 1)
    epochs = epochs_of(context, preset.strong_epochs)
    recipe = replace(
        context.base, model=model, epochs=epochs, lr=6e-3, schedule="onecycle", optimizer="adamw", weight_decay=1e-2, flip=True
    )
    return [replace(recipe, seed=seed) for seed in context.seeds[: preset.strong_seeds]]


def sweep_of(context: Context, rates: dict[ConvNet, float]) -> list[Recipe]:
    """Constant learning rate, no augmentation: nothing hides overfitting."""
    epochs = epochs_of(context, PRESETS[context.preset].epochs)
    base = replace(context.base, epochs=epochs, schedule="constant")
    return [replace(base, model=model, lr=rate, seed=seed) for model, rate in rates.items() for seed in context.seeds]


def forecast(context: Context) -> list[Recipe]:
    """The recipes that the chapter will ask for, for the estimate of its time; learning rates are not yet known and cost nothing."""
    rate = PRESETS[context.preset].rates[0]
    return pilots_of(context) + strong_of(context) + sweep_of(context, dict.fromkeys(models_of(context), rate))


def chapter(context: Context) -> Generator[list[Recipe], list[Run], Finding]:
    runs = yield pilots_of(context)
    for _ in range(MOST_EXTENSIONS):
        beyond = beyond_the_grid(pilots_among(runs))
        if not beyond:
            break
        runs = [*runs, *(yield beyond)]
    rates = chosen_rates(pilots_among(runs))
    missing = [model for model in models_of(context) if model not in rates]
    fallback = min(PRESETS[context.preset].rates)
    runs = [*runs, *(yield strong_of(context) + sweep_of(context, {m: rates.get(m, fallback) for m in models_of(context)}))]
    # told apart by what they are, so that a report on an older or damaged study never takes one kind for another
    whole = [run for run in runs if "test" in run.recipe.evaluate]
    sweep = [run for run in whole if run.recipe.schedule == "constant"]
    beside = [run for run in whole if run.recipe.schedule != "constant"]
    return finding(context, pilots_among(runs), sweep, beside, len(missing))


def pilots_among(runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if "test" not in run.recipe.evaluate]


def beyond_the_grid(pilots: Sequence[Run]) -> list[Recipe]:
    """For each network whose best rate so far is the lowest or highest one tried, the pilot at half or twice that rate."""
    tried: dict[ConvNet, list[float]] = {}
    recipes: dict[ConvNet, Recipe] = {}
    for run in pilots:
        assert isinstance(run.recipe.model, ConvNet)
        tried.setdefault(run.recipe.model, []).append(run.recipe.lr)
        recipes[run.recipe.model] = run.recipe
    more = []
    for model, best in chosen_rates(pilots).items():
        rate = best / 2 if best == min(tried[model]) else 2 * best if best == max(tried[model]) else None
        if rate is not None and LOWEST_RATE <= rate <= HIGHEST_RATE:
            more.append(replace(recipes[model], lr=rate))
    return more


def chosen_rates(pilots: Sequence[Run]) -> dict[ConvNet, float]:
    """For each network the learning rate with the lowest validation loss of its pilots."""
    best: dict[ConvNet, tuple[float, float]] = {}
    for run in pilots:
        if run.status != "finished":
            continue
        model, loss = run.recipe.model, run.best["val_loss"]
        assert isinstance(model, ConvNet)
        if model not in best or loss < best[model][0]:
            best[model] = (loss, run.recipe.lr)
    return {model: rate for model, (_, rate) in best.items()}


def finding(context: Context, pilots: Sequence[Run], sweep: Sequence[Run], strong: Sequence[Run], no_pilot: int) -> Finding:
    data = context.data
    networks, beside = curves.networks(sweep, strong, data)
    if not networks:
        broken = ", ".join(sorted({run.status for run in sweep})) or "none has been trained yet"
        sentence = f"On {one_line(data.name)} no network of the sweep finished ({broken}), so nothing can be said about capacity."
        return Finding("capacity", TITLE, QUESTION, "cannot tell", sentence, {"networks": []}, [rates_table(pilots)])
    loss = {n.model: n.val_best for n in networks}
    best_model, small_model = smallest_within_one_se(loss, {n.model: n.parameters for n in networks})
    by_model = {n.model: n for n in networks}
    best, small = by_model[best_model], by_model[small_model]
    by_depth = {depth: [n for n in networks if n.model.depth == depth] for depth in sorted({n.model.depth for n in networks})}
    sweeps = {depth: sweep_verdict([n.val_best for n in members]) for depth, members in by_depth.items()}
    depth_words = {depth: words_of_sweep(by_depth[depth], *sweeps[depth]) for depth in by_depth}
    verdict = depth_words[best.model.depth]
    every = networks + beside
    top = max(every, key=lambda n: -n.val_best.mean)
    numbers = {
        "verdict_by_depth": {str(depth): words for depth, words in depth_words.items()},
        "best": best.numbers(),
        "smallest_within_one_se": small.numbers(),
        "best_of_all": top.numbers(),
        "networks": [n.numbers() for n in networks],
        "beside": [n.numbers() for n in beside],
        "seeds": len(context.seeds),
    }
    sentence = sentence_of(data.name, best, small, beside, networks, verdict)
    return Finding(
        "capacity",
        TITLE,
        QUESTION,
        verdict,
        sentence,
        numbers,
        tables=[networks_table(every), rates_table(pilots)],
        charts=charts_of(networks, beside, small),
        paragraphs=paragraphs_of(context, networks, beside, depth_words, pilots, no_pilot),
    )


def words_of_sweep(members: Sequence[Network], verdict: str, index: int | None) -> str:
    """The verdict on the networks of one depth, with the width it names."""
    if verdict == "plateau" and index is not None:
        return f"plateau from width {members[index].model.width}"
    if verdict == "non-monotone" and index is not None:
        return f"non-monotone at width {members[index].model.width}"
    if verdict == "still improving":
        return f"still improving at width {members[-1].model.width}"
    if len(members) < 3:
        return f"cannot tell from {len(members)} width{'s' if len(members) > 1 else ''}"
    seeds = min(n.val_best.n for n in members)
    return f"cannot tell from {seeds} seed{'s' if seeds > 1 else ''}"


def clause_of_sweep(verdict: str) -> str:
    """The verdict as the predicate of 'the validation loss …'."""
    kind, _, rest = verdict.partition(" width ")
    return {
        "plateau from": f"stops falling from width {rest} on",
        "non-monotone at": f"is not monotone: width {rest} is worse than a smaller one",
        "still improving at": f"is still falling at the largest width, {rest}",
    }.get(kind, f"allows no verdict on the sweep ({verdict})")


def percent(estimate: Estimate) -> str:
    return f"{100 * estimate.mean:.1f} % ± {100 * (estimate.high - estimate.mean):.1f}"


def sentence_of(name: str, best: Network, small: Network, beside: list[Network], networks: list[Network], verdict: str) -> str:
    parts = [
        f"On {one_line(name)} the validation loss at depth {best.model.depth} {clause_of_sweep(verdict)}; the best of {len(networks)} networks is {best.label} "
        f"({best.parameters:,} parameters, test accuracy {percent(best.accuracy)})"
    ]
    if small.model == best.model:
        parts.append("no smaller one is within one standard error of it")
    else:
        parts.append(
            f"the smallest within one standard error of it is {small.label} ({small.parameters:,} parameters, {percent(small.accuracy)})"
        )
    under = [n for n in networks if n.verdict == "underfits"]
    over = [n for n in networks if n.verdict.startswith("overfits")]
    parts.append(counted(under, "underfit", max(under, key=lambda n: n.parameters) if under else None, "largest"))
    parts.append(counted(over, "overfit", min(over, key=lambda n: n.parameters) if over else None, "smallest"))
    if beside:
        parts.append(f"beside the sweep {beside[0].label} reaches {percent(beside[0].accuracy)}")
    return "; ".join(parts) + "."


def counted(found: Sequence[Network], verb: str, extreme: Network | None, which: str) -> str:
    """How many networks underfit or overfit, and the one at the border."""
    if extreme is None:
        return f"none was found to {verb}"
    when = extreme.verdict.removeprefix(f"{verb}s").strip()
    named = f"{extreme.label}{f', {when}' if when else ''}"
    return f"one {verb}s ({named})" if len(found) == 1 else f"{len(found)} {verb}, the {which} of them {named}"


def networks_table(networks: Sequence[Network]) -> Table:
    columns = (
        ("network", "network", "text"),
        ("verdict", "verdict", "text"),
        ("filters", "filters", "int"),
        ("parameters", "learnable parameters", "int"),
        ("flops", "FLOPs", "int"),
        ("lr", "learning rate", "float"),
        ("train_loss", "train loss", "loss"),
        ("val_loss", "val loss", "loss"),
        ("test_loss", "test loss", "loss"),
        ("test_accuracy", "test accuracy", "percent"),
        ("interval", "±", "percent"),
        ("gap", "gap at end", "loss"),
        ("best_epoch", "best epoch", "text"),
        ("seeds", "seeds", "int"),
    )
    rows = [
        {
            "network": n.label,
            "filters": n.filters,
            "parameters": n.parameters,
            "flops": n.flops,
            "lr": n.rate,
            "train_loss": n.train_best.mean,
            "val_loss": n.val_best.mean,
            "test_loss": n.test_best.mean,
            "test_accuracy": n.accuracy.mean,
            "interval": n.accuracy.high - n.accuracy.mean,
            "gap": n.gap_last,
            "best_epoch": n.best_epochs,
            "seeds": n.val_best.n,
            "verdict": n.verdict,
        }
        for n in networks
    ]
    caption = "Means over seeds at each run's best epoch (lowest validation loss). ± is half of the 95 % interval of the accuracy. The gap is validation − training loss after the last epoch."
    return Table("networks", "The networks, their size and what became of them", columns, rows, caption)


def rates_table(pilots: Sequence[Run]) -> Table:
    rates = sorted({run.recipe.lr for run in pilots})
    tried: dict[object, list[float]] = {}
    columns = (
        ("network", "network", "text"),
        *((f"{rate:g}", f"{rate:g}", "loss") for rate in rates),
        ("chosen", "chosen", "float"),
    )
    rows: dict[ConvNet, dict[str, object]] = {}
    chosen = chosen_rates(pilots)
    for run in pilots:
        model = run.recipe.model
        assert isinstance(model, ConvNet)
        row = rows.setdefault(model, {"network": curves.label_of(model), "chosen": chosen.get(model)})
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


def charts_of(networks: Sequence[Network], beside: Sequence[Network], small: Network) -> list[Chart]:
    losses, gaps, accuracies = [], [], []
    for n in networks:
        size = {
            "filters": n.filters,
            "parameters": n.parameters,
            "flops": n.flops,
            "network": n.label,
            "depth": str(n.model.depth),
        }
        for split, when, e in (
            ("train", "best epoch", n.train_best),
            ("test", "best epoch", n.test_best),
            ("train", "last epoch", n.train_last),
            ("test", "last epoch", n.test_last),
        ):
            losses.append({**size, "split": split, "when": when, "loss": e.mean, "low": max(0.0, e.low), "high": e.high})
        gaps += [{**size, "when": "best epoch", "gap": n.gap_best}, {**size, "when": "last epoch", "gap": n.gap_last}]
    for n in [*networks, *beside]:
        depth = "beside the sweep" if n in beside else f"depth {n.model.depth}"
        e = n.accuracy
        accuracies.append(
            {
                "parameters": n.parameters,
                "depth": depth,
                "sweep": n not in beside,
                "network": n.label,
                "accuracy": e.mean,
                "low": max(0.0, e.low),
                "high": min(1.0, e.high),
            }
        )
    low = min(networks, key=lambda n: n.test_best.mean)
    high = max(networks, key=lambda n: n.test_best.mean)
    span = f"Test loss at the best epoch goes from {high.test_best.mean:.2f} ({high.label}) to {low.test_best.mean:.2f} ({low.label})."
    out = [
        Chart(
            f"loss_{field}",
            f"Loss against {title}",
            charts.loss_against_size(losses, field, title),
            f"Training and test loss of {len(networks)} networks against {title}, with 95 % intervals over seeds, at the best epoch and at the last. {span}",
            "Solid: test, dashed: training. Bars are 95 % intervals, from seeds and the finite evaluated set together.",
        )
        for field, title in (
            ("filters", "filters (all convolutions)"),
            ("parameters", "learnable parameters"),
            ("flops", "FLOPs of one image"),
        )
    ]
    mark = {"parameters": small.parameters, "accuracy": small.accuracy.mean}
    best = max([*networks, *beside], key=lambda n: n.accuracy.mean)
    out.append(
        Chart(
            "accuracy",
            "Test accuracy against parameters",
            charts.accuracy_against_size(accuracies, mark),
            f"Test accuracy against parameters with 95 % intervals; the highest is {percent(best.accuracy)} ({best.label}), and the smallest network of the "
            f"sweep within one standard error of its best is {small.label}.",
        )
    )
    widest = max(networks, key=lambda n: n.gap_last)
    out.append(
        Chart(
            "gap",
            "Generalisation gap",
            charts.gap_against_size(gaps),
            f"Validation minus training loss against parameters; after the last epoch it is largest for {widest.label}, {widest.gap_last:.2f} nats.",
        )
    )
    rows = [row for n in [*networks, *beside] for row in n.curve_rows()]
    counts = {
        v: sum(1 for n in networks if n.verdict.split(" ")[0] == v) for v in ("underfits", "undertrained", "overfits", "fits")
    }
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    out.append(
        Chart(
            "learning_curves",
            "Learning curves",
            charts.learning_curves(rows, [n.label for n in [*networks, *beside]]),
            f"Loss of every network on training, validation and test images after each epoch, mean over seeds. Verdicts in the sweep: {told}.",
            "Dashed: the epoch of lowest mean validation loss.",
        )
    )
    return out


def paragraphs_of(
    context: Context,
    networks: Sequence[Network],
    beside: Sequence[Network],
    depth_words: dict[int, str],
    pilots: Sequence[Run],
    no_pilot: int,
) -> list[str]:
    recipe = networks[0].runs[0].recipe
    pilot = pilots[0].recipe
    model = networks[0].model
    hidden = " and ".join(map(str, model.hidden))
    seen = f"{pilot.limit:,} training images" if pilot.limit else "all training images"
    depths = "; ".join(f"depth {depth}: {words}" for depth, words in depth_words.items())
    out = [
        f"The sweep. Each block is one 3×3 convolution, ReLU and 2×2 max pooling, and doubles the filters of the one before; width is the number of filters in the "
        f"first block. Then flatten, a fully connected layer of {hidden} units with ReLU, and the classifier. By depth: {depths}.",
        f"Training. {recipe.epochs} epochs on all {len(context.data.train):,} training images, {recipe.optimizer}, batches of {recipe.batch}, a constant learning rate and no "
        f"augmentation, so that nothing hides overfitting; {len(context.seeds)} seeds. The learning rate was chosen for each network by "
        f"itself: of {', '.join(f'{r:g}' for r in PRESETS[context.preset].rates)} (and rates beyond, where the best lay at an end) the one with the lowest validation loss after {pilot.epochs} "
        f"epoch{'s' if pilot.epochs > 1 else ''} on {seen} (seed {pilot.seed}). A short pilot favours rates that learn fast at first.",
        "Verdicts. A network overfits from epoch e if from there on its validation loss stays more than 2 standard errors above its minimum while its training loss "
        f"falls; it is undertrained if its training loss still falls by more than {100 * curves.FALL:g} % an epoch; it underfits if it has converged with a small gap and a "
        "training loss more than 2 standard errors above that of the best network; otherwise it fits. The standard error joins the seeds' variance, pooled "
        "over the networks, with the sampling error of the evaluated set.",
    ]
    if beside:
        b = beside[0].runs[0].recipe
        m = beside[0].model
        out.append(
            f"Beside the sweep. One network of another kind, trained otherwise: {m.depth} blocks of {m.block_depth} convolutions with batch normalisation and a skip connection, "
            f"{b.epochs} epochs of {b.optimizer} with a one-cycle learning rate (peak {b.lr:g}, weight decay {b.weight_decay:g}) and random flips; "
            f"{len(beside[0].runs)} seed{'s' if len(beside[0].runs) > 1 else ''}. It is there for comparison and takes no part in the verdicts on the sweep."
        )
    if no_pilot:
        out.append(f"For {no_pilot} networks no pilot finished; they were trained at the lowest rate of the grid.")
    return out
