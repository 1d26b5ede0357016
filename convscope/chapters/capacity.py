"""How many filters, layers and parameters do these images need; where do networks underfit, where overfit?

Widths × depths × seeds are trained alike, each network with a learning rate of its own chosen on validation; the verdicts are those of
docs/concepts.md. A stronger network with blocks, batch normalisation and augmentation stands beside the sweep for comparison.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from convscope import planning as plans
from convscope.errors import UserError, one_line
from convscope.planning import Context
from convscope.recipe import ConvNet, Recipe, hidden_of, label_of
from convscope.report import Chart, Finding, Table, charts
from convscope.statistics import Estimate, Network, smallest_within_one_se, sweep_verdict
from convscope.statistics import learning_curves as curves
from convscope.training import Run

TITLE = "Capacity"
QUESTION = "How many filters, layers and parameters do these images need; where do networks underfit, where do they overfit?"


@dataclass(frozen=True)
class Preset:
    """A sweep is a series of networks that differ in width alone."""

    sweeps: tuple[tuple[ConvNet, ...], ...]
    epochs: int
    rates: tuple[float, ...]  # learning rates tried in the pilots
    strong_seeds: int
    looked_at: int | None = None  # training images evaluated after each epoch; None: all


def widths(model: ConvNet, *sizes: int) -> tuple[ConvNet, ...]:
    return tuple(replace(model, width=width) for width in sizes)


def first(
    depth: int, hidden: tuple[int, ...] = (256,), pool: Literal["max", "avg"] = "max"
) -> ConvNet:
    """The report's first architecture: each convolution with ReLU and pooling, then fully connected layers."""
    return ConvNet(1, depth, hidden=hidden, pool=pool)


def second(depth: int, block_depth: int) -> ConvNet:
    """Its second one: blocks of convolutions with one pooling each, a skip where a block is deep, one fully connected layer."""
    return ConvNet(1, depth, block_depth=block_depth, skip=block_depth > 1)


PRESETS: dict[str, Preset] = {
    "quick": Preset(
        sweeps=(widths(first(1), 8), widths(first(2), 8), widths(first(3), 1, 2, 4, 8, 16)),
        epochs=6,
        rates=(1e-3, 2e-3, 4e-3),
        strong_seeds=1,
        looked_at=15_000,
    ),
    "standard": Preset(
        sweeps=(
            widths(first(1), 2, 8, 24),
            widths(first(2), 2, 8, 16),
            widths(first(3), 2, 4, 8, 16, 24),
            widths(first(3, pool="avg"), 4, 8, 16),
            widths(second(1, 3), 2, 4, 8),
            widths(second(3, 3), 2, 4, 8),
        ),
        epochs=6,
        rates=(1e-3, 2e-3, 4e-3),
        strong_seeds=3,
    ),
    "full": Preset(
        sweeps=(
            *(
                widths(first(depth, hidden, pool), 2, 4, 8, 16, 32, 64, 128)
                for depth in (1, 2, 3, 4)
                for hidden in ((256,), (256, 64))
                for pool in ("max", "avg")
            ),
            *(
                widths(second(depth, blocks), 2, 4, 8, 16, 32, 64, 128)
                for depth in (1, 2, 3)
                for blocks in (1, 2, 3)
            ),
        ),
        epochs=30,
        rates=(2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3),
        strong_seeds=5,
    ),
}


def sweeps_of(context: Context) -> list[list[ConvNet]]:
    """The preset's sweeps, of the networks that fit the images."""
    sweeps = [
        [m for m in sweep if plans.fits(m, context.data.in_shape)]
        for sweep in PRESETS[context.preset].sweeps
    ]
    sweeps = [sweep for sweep in sweeps if sweep]
    if not sweeps:
        raise UserError(
            f"images of {context.data.in_shape[1]}×{context.data.in_shape[2]} pixels leave no room for a convolution with pooling"
        )
    return sweeps


def sweep_of(context: Context) -> list[Recipe]:
    """One recipe a network: a constant learning rate, no augmentation, so that nothing hides overfitting. Rate and seed are filled in later.

    Over- and underfitting are told from training losses, so these are taken over all training images, or over a larger sample than other chapters'.
    """
    preset = PRESETS[context.preset]
    base = replace(
        plans.base_of(context, sample=preset.looked_at),
        epochs=plans.epochs_of(context, preset.epochs),
        schedule="constant",
    )
    return [replace(base, model=model) for sweep in sweeps_of(context) for model in sweep]


def tuned_of(context: Context) -> list[Recipe]:
    """Those that get pilots: the narrowest and the widest network of each sweep."""
    chosen = {model for sweep in sweeps_of(context) for model in plans.ends(sweep)}
    return [recipe for recipe in sweep_of(context) if recipe.model in chosen]


def strong_of(context: Context) -> list[Recipe]:
    return [
        replace(plans.strong_of(context), seed=seed)
        for seed in context.seeds[: PRESETS[context.preset].strong_seeds]
    ]


def forecast(context: Context) -> list[Recipe]:
    """The recipes that the chapter will ask for, for the estimate of its time; learning rates are not yet known and cost nothing."""
    rates, sweep = PRESETS[context.preset].rates, sweep_of(context)
    whole = [replace(recipe, lr=rates[0], seed=seed) for recipe in sweep for seed in context.seeds]
    return plans.pilots_of(context, tuned_of(context), rates) + strong_of(context) + whole


def chapter(context: Context) -> Generator[list[Recipe], list[Run], Finding]:
    sweep = sweep_of(context)
    tuned = yield from plans.tuned(context, tuned_of(context), PRESETS[context.preset].rates)
    rates = {
        model: rate
        for members in sweeps_of(context)
        for model, rate in plans.transferred(tuned.rates, members).items()
    }
    missing = [recipe for recipe in sweep if recipe.model not in rates]
    tried = [
        replace(recipe, lr=rates.get(recipe.model, tuned.fallback), seed=seed)
        for recipe in sweep
        for seed in context.seeds
    ]
    runs = yield from plans.whole(context, strong_of(context) + tried, tuned.early)
    # told apart by what they are, so that a report on an older or damaged study never takes one kind for another
    swept = [run for run in runs if run.recipe.schedule == "constant"]
    beside = [run for run in runs if run.recipe.schedule != "constant"]
    return finding(context, tuned.pilots, swept, beside, len(missing))


def finding(
    context: Context,
    pilots: Sequence[Run],
    sweep: Sequence[Run],
    strong: Sequence[Run],
    no_pilot: int,
) -> Finding:
    data = context.data
    networks, beside = curves.networks(sweep, strong, data)
    if not networks:
        broken = ", ".join(sorted({run.status for run in sweep})) or "none has been trained yet"
        sentence = f"On {one_line(data.name)} no network of the sweep finished ({broken}), so nothing can be said about capacity."
        return Finding(
            "capacity",
            TITLE,
            QUESTION,
            "cannot tell",
            sentence,
            {"networks": []},
            [plans.rates_table(pilots)],
        )
    loss = {n.model: n.val_best for n in networks}
    best_model, small_model = smallest_within_one_se(
        loss, {n.model: n.parameters for n in networks}
    )
    by_model = {n.model: n for n in networks}
    best, small = by_model[best_model], by_model[small_model]
    groups = sweeps_among(networks)
    words = {
        kind: words_of_sweep(members, *sweep_verdict([n.val_best for n in members]))
        for kind, members in groups.items()
    }
    verdict = words[kind_of(best.model, networks)]
    every = networks + beside
    top = max(every, key=lambda n: -n.val_best.mean)
    numbers = {
        "verdicts": words,
        "best": best.numbers(),
        "smallest_within_one_se": small.numbers(),
        "best_of_all": top.numbers(),
        "networks": [n.numbers() for n in networks],
        "beside": [n.numbers() for n in beside],
        "seeds": len(context.seeds),
    }
    sentence = sentence_of(
        data.name, kind_of(best.model, networks), best, small, beside, networks, verdict
    )
    return Finding(
        "capacity",
        TITLE,
        QUESTION,
        verdict,
        sentence,
        numbers,
        tables=[networks_table(every), plans.rates_table(pilots)],
        charts=charts_of(networks, beside, small),
        paragraphs=paragraphs_of(context, networks, beside, words, pilots, no_pilot),
        runs={run.id: run for n in networks for run in n.runs},
        brief=f"{'the best of the sweep' if small.model == best.model else 'the smallest network as good as the best of the sweep'} is {small.label} ({small.parameters:,} parameters, {percent(small.accuracy)})",
    )


def kind_of(model: ConvNet, networks: Sequence[Network]) -> str:
    """The name of the sweep that a network belongs to: what it has beside its width, the fully connected layers where sweeps differ in them."""
    name = label_of(replace(model, width=1)).removeprefix("width 1, ")
    several = len({n.model.hidden for n in networks}) > 1
    return f"{name}, hidden {hidden_of(model)}" if several else name


def sweeps_among(networks: Sequence[Network]) -> dict[str, list[Network]]:
    """The networks of each sweep, ordered by width."""
    groups: dict[str, list[Network]] = {}
    for n in sorted(networks, key=lambda n: (n.model.depth, n.model.block_depth, n.model.width)):
        groups.setdefault(kind_of(n.model, networks), []).append(n)
    return groups


def words_of_sweep(members: Sequence[Network], verdict: str, index: int | None) -> str:
    """The verdict on the networks of one sweep, with the width it names."""
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


def sentence_of(
    name: str,
    kind: str,
    best: Network,
    small: Network,
    beside: list[Network],
    networks: list[Network],
    verdict: str,
) -> str:
    parts = [
        f"On {one_line(name)} the validation loss at {kind} {clause_of_sweep(verdict)}; the best of {len(networks)} networks is {best.label} "
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
    parts.append(
        counted(
            under, "underfit", max(under, key=lambda n: n.parameters) if under else None, "largest"
        )
    )
    parts.append(
        counted(
            over, "overfit", min(over, key=lambda n: n.parameters) if over else None, "smallest"
        )
    )
    if beside:
        parts.append(f"beside the sweep {beside[0].label} reaches {percent(beside[0].accuracy)}")
    return "; ".join(parts) + "."


def counted(found: Sequence[Network], verb: str, extreme: Network | None, which: str) -> str:
    """How many networks underfit or overfit, and the one at the border."""
    if extreme is None:
        return f"none was found to {verb}"
    when = extreme.verdict.removeprefix(f"{verb}s").strip()
    named = f"{extreme.label}{f', {when}' if when else ''}"
    return (
        f"one {verb}s ({named})"
        if len(found) == 1
        else f"{len(found)} {verb}, the {which} of them {named}"
    )


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
    return Table(
        "networks", "The networks, their size and what became of them", columns, rows, caption
    )


def charts_of(
    networks: Sequence[Network], beside: Sequence[Network], small: Network
) -> list[Chart]:
    losses, gaps, accuracies = [], [], []
    for n in networks:
        size = {
            "filters": n.filters,
            "parameters": n.parameters,
            "flops": n.flops,
            "network": n.label,
            "depth": kind_of(n.model, networks),
        }
        for split, when, e in (
            ("train", "best epoch", n.train_best),
            ("test", "best epoch", n.test_best),
            ("train", "last epoch", n.train_last),
            ("test", "last epoch", n.test_last),
        ):
            losses.append(
                {
                    **size,
                    "split": split,
                    "when": when,
                    "loss": e.mean,
                    "low": max(0.0, e.low),
                    "high": e.high,
                }
            )
        gaps += [
            {**size, "when": "best epoch", "gap": n.gap_best},
            {**size, "when": "last epoch", "gap": n.gap_last},
        ]
    for n in [*networks, *beside]:
        depth = "beside the sweep" if n in beside else kind_of(n.model, networks)
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
        v: sum(1 for n in networks if n.verdict.split(" ")[0] == v)
        for v in ("underfits", "undertrained", "overfits", "fits")
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


def pilots_told(pilots: Sequence[Run], networks: Sequence[Network]) -> str:
    """How learning rates were chosen, from the pilots that there are."""
    if not pilots:
        return "No pilot finished, so the learning rate is the lowest of the preset."
    pilot = pilots[0].recipe
    seen = f"{pilot.limit:,} training images" if pilot.limit else "all training images"
    rates = sorted({run.recipe.lr for run in pilots})
    tried = {run.recipe.model for run in pilots}
    between = any(n.model not in tried for n in networks)
    whose = (
        "the narrowest and the widest network of each sweep"
        if between
        else "each network by itself"
    )
    rest = (
        " Networks between them have a rate between theirs: log rate lies on a straight line over log width."
        if between
        else ""
    )
    return (
        f"The learning rate was chosen for {whose}, from rates between {rates[0]:g} and {rates[-1]:g} (the table lists all): the one with the lowest validation loss after {pilot.epochs} "
        f"epoch{'s' if pilot.epochs > 1 else ''} on {seen} (seed {pilot.seed}), the grid extended where the best lay at an end.{rest} A short pilot favours rates that learn fast at first."
    )


def paragraphs_of(
    context: Context,
    networks: Sequence[Network],
    beside: Sequence[Network],
    words: dict[str, str],
    pilots: Sequence[Run],
    no_pilot: int,
) -> list[str]:
    recipe = networks[0].runs[0].recipe
    told = "; ".join(f"{kind}: {verdict}" for kind, verdict in words.items())
    hidden = [n.model for n in networks if n.model.hidden]
    blocks = [n.model for n in networks if n.model.block_depth > 1]
    kernel = networks[0].model.kernel
    layers = ", or ".join(dict.fromkeys(hidden_of(m) for m in hidden))
    images = (
        f"{recipe.limit:,} of the {len(context.data.train):,}"
        if recipe.limit
        else f"all {len(context.data.train):,}"
    )
    out = [
        f"The sweep. A network has blocks of {kernel}×{kernel} convolutions with ReLU, each block closed by 2×2 pooling and with twice the filters of the one before; width is the number of filters in "
        "the first block, depth the number of blocks"
        + (", and depth×n means n convolutions a block, with a skip connection" if blocks else "")
        + ". Then flatten"
        + (
            f", fully connected layers of {layers} units with ReLU{' (the plain sweeps; none after blocks)' if any(not n.model.hidden for n in networks) else ''}"
            if hidden
            else ""
        )
        + f", and the classifier. Verdicts by sweep: {told}.",
        f"Training. {recipe.epochs} epochs on {images} training images, {recipe.optimizer}, batches of {recipe.batch}, a constant learning rate and no "
        f"augmentation, so that nothing hides overfitting; {len({run.recipe.seed for n in networks for run in n.runs})} seeds. {pilots_told(pilots, networks)}",
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
            f"{b.epochs} epochs of {plans.OPTIMIZERS[b.optimizer]} with {plans.RATES[b.schedule]} {b.lr:g}, weight decay {b.weight_decay:g} and random flips{f' and shifts of up to {b.crop} pixels' if b.crop else ''}; "
            f"{len(beside[0].runs)} seed{'s' if len(beside[0].runs) > 1 else ''}. It is there for comparison and takes no part in the verdicts on the sweep."
        )
    if no_pilot:
        out.append(
            f"For {no_pilot} networks no pilot finished; they were trained at the lowest rate of the grid."
        )
    return out
