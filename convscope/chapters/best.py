"""Which configuration has the lowest error, and which is the smallest that is as good?

A search (search.py) proposes configurations, judged by validation after a few epochs; the strong recipe, which it begins with, and the best others are
trained to the end over all seeds. Winner and smallest are chosen by validation among these and the networks of the capacity chapter.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from convscope import charts_search, pictures, plans
from convscope.evaluate import autocast
from convscope.findings import Chart, Context, Finding, Gallery, Table
from convscope.fit import DTYPES, check_device, place, predict
from convscope.models import ConvNetModule, build
from convscope.recipe import ConvNet, Recipe, UserError, one_line
from convscope.record import Run
from convscope.search import IMPORTANCE_TRIALS, JOURNAL, Proposer, Tried, describe
from convscope.stats import Estimate, difference_se, estimates, smallest_within_one_se
from convscope.sweep import seconds_of
from convscope.training import network, resident

TITLE = "Best network"
QUESTION = "Which configuration has the lowest error, and which is the smallest that is as good?"
BATCH = 4  # proposals at a time; not the number of processes, so that every machine makes the same proposals
LATENCY_BATCH = 64
FEW = 10  # trials a setting below which a search is called small
MOST_MISTAKES, MOST_FILTERS, MOST_MAPS = 12, 32, 8


@dataclass(frozen=True)
class Preset:
    trials: int
    rungs: tuple[int, ...]  # epochs
    finals: int  # configurations trained to the end beside the strong recipe


PRESETS = {
    "quick": Preset(trials=9, rungs=(1, 3), finals=1),
    "standard": Preset(trials=40, rungs=(1, 3, 9), finals=3),
    "full": Preset(trials=200, rungs=(3, 9, 27), finals=5),
}


# what is trained


def rungs_of(context: Context) -> list[int]:
    """Epochs of the rungs; fewer rungs where a time budget makes them alike."""
    return sorted({plans.epochs_of(context, epochs) for epochs in PRESETS[context.preset].rungs})


def budget_of(context: Context) -> tuple[int | None, float | None]:
    """(trials, seconds): what was asked for, or the preset's trials fitted to the study's time."""
    asked = context.search
    if asked.trials is None and asked.minutes is None:
        return max(1, math.floor(PRESETS[context.preset].trials * context.fit.epochs)), None
    return asked.trials, None if asked.minutes is None else 60 * asked.minutes


def forecast(context: Context) -> list[Recipe]:
    """As many runs as the chapter will ask for, as far as known before the proposals are: a network of half the strong one's width stands for them."""
    strong = plans.strong_of(context)
    assert isinstance(strong.model, ConvNet)
    usual = replace(strong, model=replace(strong.model, width=max(1, round(0.5 * strong.model.width))))
    trials = budget_of(context)[0] or PRESETS[context.preset].trials
    out = [replace(strong, seed=seed) for seed in context.seeds]
    for i, epochs in enumerate(rungs_of(context)):  # Hyperband's brackets together promote about 0.6 of the trials
        short = replace(usual, epochs=epochs, evaluate=("val",))
        out += [replace(short, seed=1_000_000 + j) for j in range(math.ceil(trials * 0.6**i))]
    finals = min(PRESETS[context.preset].finals, trials - 1)
    return out + [replace(usual, seed=2_000_000 + j) for j in range(finals * len(context.seeds))]


def finals_of(context: Context, search: Proposer) -> list[Recipe]:
    """The strong recipe and the best others, to the end, over all seeds; chosen by validation at the highest rung they reached."""
    strong = plans.strong_of(context)
    others = [tried.recipe for tried in search.ranked() if tried.recipe != strong]
    chosen = [strong, *others[: PRESETS[context.preset].finals]]
    return [replace(recipe, seed=seed) for recipe in chosen for seed in context.seeds]


def is_final(run: Run) -> bool:
    return "test" in run.recipe.evaluate


def chapter(context: Context) -> Generator[list[Recipe], list[Run], Finding]:
    """Raises UserError where sampler or budget are wrong, or the images leave no room for a network."""
    search = Proposer(context, *budget_of(context), rungs_of(context))
    finals: list[Run] = []
    asked = search.ask(BATCH)
    while asked and not finals:
        runs = yield asked
        finals = [run for run in runs if is_final(run)]  # only where an older search was shorter
        search.tell([run for run in runs if not is_final(run)])
        asked = search.ask(BATCH) if runs else []  # nothing was sent: an interrupted study is told as far as it went
    search.close()
    while not finals:
        runs = yield finals_of(context, search)
        finals = [run for run in runs if is_final(run)]
        if len(finals) == len(runs):
            break
        search.tell([run for run in runs if not is_final(run)])  # only where an older search was longer
    while "capacity" in context.chapters and "capacity" not in context.findings:
        yield []
    capacity = context.findings.get("capacity")
    return finding(context, search, finals, list(capacity.runs.values()) if capacity else [])


# from runs to candidates


@dataclass(frozen=True)
class Candidate:
    """One configuration trained to the end, over its seeds; estimates at each run's best epoch. `chapters` says which one trained it."""

    recipe: Recipe  # of seed 0
    label: str
    chapters: str
    runs: tuple[Run, ...]
    val_loss: Estimate
    val_accuracy: Estimate
    test_loss: Estimate
    test_accuracy: Estimate

    @property
    def parameters(self) -> int:
        return self.runs[0].size["parameters"]

    @property
    def flops(self) -> int:
        return self.runs[0].size["flops"]

    @property
    def run(self) -> Run:
        """The seed with the lowest validation loss."""
        return min(self.runs, key=lambda run: (run.best["val_loss"], run.recipe.seed))


def candidates(finals: Sequence[Run], sweep: Sequence[Run], context: Context) -> list[Candidate]:
    """Configurations of both chapters with their estimates, seeds pooled together. What did not finish is left out."""
    groups: dict[Recipe, dict[str, Run]] = {}
    chapters: dict[Recipe, set[str]] = {}
    for name, runs in (("best", finals), ("capacity", sweep)):
        for run in runs:
            if run.status == "finished" and all(run.best.get(f"{split}_loss") is not None for split in ("val", "test")):
                key = replace(run.recipe, seed=0)
                groups.setdefault(key, {})[run.id] = run
                chapters.setdefault(key, set()).add(name)
    seen = {key: tuple(runs.values()) for key, runs in groups.items()}
    if not seen:
        return []
    counts = {"val": len(context.data.val), "test": len(context.data.test)}

    def losses(split: str) -> dict[Recipe, Estimate]:
        values = {key: [run.best[f"{split}_loss"] for run in runs] for key, runs in seen.items()}
        spread = {key: max(run.best[f"{split}_loss_sd"] for run in runs) / math.sqrt(counts[split]) for key, runs in seen.items()}
        return estimates(values, spread)

    def accuracies(split: str) -> dict[Recipe, Estimate]:
        values = {key: [run.best[f"{split}_accuracy"] for run in runs] for key, runs in seen.items()}
        binomial = {key: math.sqrt(max(v) * (1 - min(v)) / counts[split]) for key, v in values.items()}
        return {k: replace(e, low=max(0.0, e.low), high=min(1.0, e.high)) for k, e in estimates(values, binomial).items()}

    tables = losses("val"), accuracies("val"), losses("test"), accuracies("test")
    labels = labels_of(list(seen))
    return [
        Candidate(key, labels[key], " and ".join(sorted(chapters[key])), runs, *(table[key] for table in tables))
        for key, runs in seen.items()
    ]


def labels_of(recipes: Sequence[Recipe]) -> dict[Recipe, str]:
    """A name for each configuration, different for each: with its rate and its id where the networks are named alike."""
    names = {recipe: describe(recipe) for recipe in recipes}
    for more in (lambda recipe: f", rate {recipe.lr:g}", lambda recipe: f", {recipe.id}"):
        count = Counter(names.values())
        names = {recipe: name + more(recipe) if count[name] > 1 else name for recipe, name in names.items()}
    return names


def chosen(found: Sequence[Candidate]) -> tuple[Candidate, Candidate]:
    """(winner, smallest): by validation loss alone, docs/concepts.md's one-standard-error rule."""
    by = {candidate.recipe: candidate for candidate in found}
    best, small = smallest_within_one_se({k: c.val_loss for k, c in by.items()}, {k: c.parameters for k, c in by.items()})
    return by[best], by[small]


# latency


def latencies_of(context: Context, found: Sequence[Candidate]) -> dict[Recipe, dict[str, float] | None]:
    """Seconds of a forward pass of one image and of a batch, for each configuration; None where an older study has not measured them."""
    out: dict[Recipe, dict[str, float] | None] = {}
    for candidate in found:
        # what the time depends on: the network and the machine's settings
        recipe = replace(context.base, model=candidate.recipe.model, seed=0)
        value = context.measure(f"latency {recipe.id}", lambda recipe=recipe: latency(recipe, context))
        out[candidate.recipe] = value if isinstance(value, dict) and {"one", "batch"} <= set(value) else None
    return out


def latency(recipe: Recipe, context: Context) -> dict[str, float]:
    """Median seconds of a forward pass in eval mode with the recipe's precision and threads: `one` image, a `batch` of LATENCY_BATCH."""
    net = place(build(recipe.model, context.data.in_shape, context.data.num_classes), recipe).eval()
    layout = torch.channels_last if recipe.layout == "channels_last" else torch.contiguous_format

    def seconds(count: int, turns: int) -> float:
        x = torch.randn(count, *context.data.in_shape, generator=torch.Generator().manual_seed(0))
        x = x.to(recipe.device, DTYPES[recipe.precision]).contiguous(memory_format=layout)
        return seconds_of(lambda: net(x).float().sum().item(), turns)

    with threads(recipe), torch.no_grad(), autocast(recipe.device, recipe.precision):
        return {"one": seconds(1, 25), "batch": seconds(LATENCY_BATCH, 5)}


class threads:
    """Torch's threads as in the recipe, and afterwards as they were."""

    def __init__(self, recipe: Recipe) -> None:
        self.wanted = recipe.threads

    def __enter__(self) -> None:
        self.before = torch.get_num_threads()
        torch.set_num_threads(self.wanted)

    def __exit__(self, *_: object) -> None:
        torch.set_num_threads(self.before)


# the finding


def finding(context: Context, search: Proposer, finals: Sequence[Run], sweep: Sequence[Run]) -> Finding:
    found = candidates(finals, sweep, context)
    importance = search.importance()
    told = search_numbers(context, search, importance)
    tables, charts = search_tables(search), search_charts(search, importance)
    strategy = strategy_of(context, search, importance)
    name = one_line(context.data.name)
    if not found:
        states = sorted({run.status for run in finals})
        why = (
            f"of {len(finals)} runs to the end none finished ({', '.join(states)})"
            if finals
            else "no network has been trained to the end"
        )
        sentence = f"On {name} {why}, so nothing can be said about the best network."
        numbers = {**told, "winner": None, "smallest": None, "test_loss": None, "test_accuracy": None, "configurations": []}
        return Finding("best", TITLE, QUESTION, "cannot tell", sentence, numbers, tables, charts, strategy)
    winner, small = chosen(found)
    latencies = latencies_of(context, found)
    seen, missing = pictures_of(context, winner)
    numbers = {
        **told,
        "winner": winner.run.id,
        "smallest": small.run.id,
        "winner_label": winner.label,
        "smallest_label": small.label,
        **figures(winner, ""),
        **figures(small, "smallest_"),
        "configurations": [
            row | {"runs": [run.id for run in c.runs]} for c, row in zip(found, rows_of(found, latencies), strict=True)
        ],
        "not_told_apart": [c.label for c in near(winner, found)],
    }
    return Finding(
        "best",
        TITLE,
        QUESTION,
        verdict_of(winner, small, found),
        sentence_of(name, winner, small, found, search),
        numbers,
        tables=[candidates_table(found, latencies), *tables],
        charts=[*pareto_charts(found, latencies, winner, small), *charts, *seen.charts],
        paragraphs=[*strategy, *selection_of(context, winner, found, latencies), *missing],
        galleries=seen.galleries,
        runs={"winner": winner.run, "smallest": small.run},
        brief=brief_of(winner, small),
    )


def near(winner: Candidate, found: Sequence[Candidate]) -> list[Candidate]:
    """The others whose validation loss is within two standard errors of the difference from the winner's."""
    e = winner.val_loss
    others = [c for c in found if c is not winner]
    return [c for c in others if c.val_loss.mean - e.mean <= 2 * difference_se(e, c.val_loss)]


def verdict_of(winner: Candidate, small: Candidate, found: Sequence[Candidate]) -> str:
    if len(found) == 1:
        return "cannot tell from one configuration"
    others = len(near(winner, found))
    doubt = f" (not told apart from {others} other{'s' if others > 1 else ''})" if others else ""
    smallest = "" if small is winner else f"; smallest as good: {small.label}"
    return f"{winner.label}{doubt}{smallest}"


def brief_of(winner: Candidate, small: Candidate) -> str:
    a = winner.test_accuracy
    reached = f"the best network found is {winner.label} ({winner.parameters:,} parameters, test accuracy {100 * a.mean:.1f} % ± {50 * (a.high - a.low):.1f})"
    if small is winner:
        return reached
    return f"{reached}, the smallest as good {small.label} ({small.parameters:,} parameters)"


def figures(c: Candidate, prefix: str) -> dict[str, Any]:
    out: dict[str, Any] = {f"{prefix}parameters": c.parameters, f"{prefix}flops": c.flops, f"{prefix}seeds": c.val_loss.n}
    for name, e in (("val_loss", c.val_loss), ("test_loss", c.test_loss), ("test_accuracy", c.test_accuracy)):
        out |= {f"{prefix}{name}": e.mean, f"{prefix}{name}_interval": [e.low, e.high], f"{prefix}{name}_se": e.se}
    return out


def quoted(c: Candidate) -> str:
    """Size and test figures in words."""
    a, n = c.test_accuracy, c.val_loss.n
    interval = f"95 % interval {100 * a.low:.1f} to {100 * a.high:.1f} %"
    seeds = f"mean of {n} seeds" if n > 1 else "one seed"
    return (
        f"{c.parameters:,} parameters, test accuracy {100 * a.mean:.1f} % ({interval}), test loss {c.test_loss.mean:.3f}, {seeds}"
    )


def sentence_of(name: str, winner: Candidate, small: Candidate, found: Sequence[Candidate], search: Proposer) -> str:
    tried = len({t.recipe for t in search.trained} | {replace(c.recipe, seed=search.seed) for c in found})
    parts = [
        f"On {name}, {winner.label} has the lowest validation loss, {winner.val_loss.mean:.3f} ± {winner.val_loss.se:.3f} (standard error), "
        f"of {tried} configuration{'s' if tried > 1 else ''} tried, {len(found)} of them trained to the end ({quoted(winner)})"
    ]
    if small is winner:
        parts.append(
            "no smaller one is within one standard error of it" if len(found) > 1 else "there is none to compare it with"
        )
    else:
        parts.append(f"the smallest within one standard error of it is {small.label} ({quoted(small)})")
    count, settings = len(search.trained), len(search.space.axes())
    if count < FEW * settings:
        parts.append(
            f"{count} trial{'s' if count != 1 else ''} of {settings} settings {'are' if count != 1 else 'is'} far from a search of all there is"
        )
    return "; ".join(parts) + "."


# tables


def rows_of(found: Sequence[Candidate], latencies: Mapping[Recipe, dict[str, float] | None]) -> list[dict[str, Any]]:
    rows = []
    for c in found:
        seconds = latencies[c.recipe]
        rows.append(
            {
                "network": c.label,
                "chapter": c.chapters,
                "parameters": c.parameters,
                "flops": c.flops,
                "latency_one": seconds["one"] if seconds else None,
                "latency_batch": seconds["batch"] if seconds else None,
                "val_loss": c.val_loss.mean,
                "val_se": c.val_loss.se,
                "val_accuracy": c.val_accuracy.mean,
                "test_loss": c.test_loss.mean,
                "test_accuracy": c.test_accuracy.mean,
                "interval": (c.test_accuracy.high - c.test_accuracy.low) / 2,
                "lr": c.recipe.lr,
                "epochs": c.recipe.epochs,
                "seeds": c.val_loss.n,
            }
        )
    return rows


def candidates_table(found: Sequence[Candidate], latencies: Mapping[Recipe, dict[str, float] | None]) -> Table:
    ordered = sorted(found, key=lambda c: c.val_loss.mean)
    rows = rows_of(ordered, latencies)
    for row in rows:
        one = row["latency_one"]
        row["latency_ms"] = None if one is None else 1000 * one
        batch = row["latency_batch"]
        row["images_second"] = None if batch is None else round(LATENCY_BATCH / batch)
    columns = (
        ("network", "configuration", "text"),
        ("chapter", "trained for", "text"),
        ("parameters", "learnable parameters", "int"),
        ("flops", "FLOPs", "int"),
        ("latency_ms", "one image (ms)", "float"),
        ("images_second", f"images a second (batch {LATENCY_BATCH})", "int"),
        ("val_loss", "val loss", "loss"),
        ("val_se", "± SE", "loss"),
        ("test_loss", "test loss", "loss"),
        ("test_accuracy", "test accuracy", "percent"),
        ("interval", "±", "percent"),
        ("epochs", "epochs", "int"),
        ("seeds", "seeds", "int"),
    )
    caption = "Ordered by validation loss; means over seeds at each run's best epoch. ± behind the accuracy is half of its 95 % interval. Test figures are quoted, nothing is chosen by them."
    return Table("candidates", "Configurations trained to the end", columns, rows, caption)


def search_tables(search: Proposer) -> list[Table]:
    columns = (
        ("number", "trial", "int"),
        ("network", "configuration", "text"),
        ("lr", "learning rate", "float"),
        ("weight_decay", "weight decay", "float"),
        ("parameters", "learnable parameters", "int"),
        ("epochs", "epochs of the highest rung", "int"),
        ("val_loss", "val loss there", "loss"),
        ("state", "what became of it", "text"),
    )
    tables = [
        Table("trials", "Trials of the search", columns, [trial_row(tried) for tried in search.trained],
              "Losses after different numbers of epochs are not comparable. Trials that are missing were too large or repeated an earlier one.")
    ]  # fmt: skip
    if search.skipped:
        rows = [{"number": t.number, "network": describe(t.recipe), "reason": t.reason} for t in search.skipped]
        columns = (("number", "trial", "int"), ("network", "configuration", "text"), ("reason", "why it was not trained", "text"))
        tables.append(Table("skipped", "Proposals that were too large", columns, rows))
    return tables


def trial_row(tried: Tried) -> dict[str, Any]:
    last = tried.runs[-1] if tried.runs else None
    return {
        "number": tried.number,
        "network": describe(tried.recipe),
        "lr": tried.recipe.lr,
        "weight_decay": tried.recipe.weight_decay,
        "parameters": last.size["parameters"] if last else None,
        "epochs": last.recipe.epochs if last else None,
        "val_loss": tried.loss,
        "state": f"{tried.state} ({tried.reason})" if tried.reason else tried.state,
    }


# charts


def pareto_charts(
    found: Sequence[Candidate], latencies: Mapping[Recipe, dict[str, float] | None], winner: Candidate, small: Candidate
) -> list[Chart]:
    costs: dict[str, tuple[str, str, dict[Recipe, float]]] = {
        "parameters": ("learnable parameters", "~s", {c.recipe: c.parameters for c in found}),
        "flops": ("FLOPs of one image", "~s", {c.recipe: c.flops for c in found}),
        "latency": ("ms for one image", "~g", {k: 1000 * v["one"] for k, v in latencies.items() if v is not None}),
    }
    out = []
    for key, (title, form, cost) in costs.items():
        points = [c for c in found if cost.get(c.recipe, 0) > 0]
        if not points:
            continue
        front = front_of([(cost[c.recipe], 1 - c.val_accuracy.mean) for c in points])
        rows = []
        for i, c in enumerate(points):
            mark = "winner" if c is winner else "smallest within one SE" if c is small else ""
            e, value = c.val_accuracy, cost[c.recipe]
            shown = f"{value:.3g}" if key == "latency" else f"{value:,}"
            rows.append(
                {
                    "network": c.label, "chapter": c.chapters, "cost": value, "shown": shown, "error": 1 - e.mean,
                    "low": 1 - e.high, "high": 1 - e.low, "front": i in front, "mark": mark,
                }
            )  # fmt: skip
        on_it = "; ".join(points[i].label for i in front)
        out.append(
            Chart(
                f"pareto_{key}",
                f"Validation error against {title}",
                charts_search.pareto(rows, title, form),
                f"Validation error of {len(points)} configurations with 95 % intervals against {title}; none is both better and cheaper than these: {on_it}.",
                "Dashed: the front, with no configuration at once cheaper and of lower mean error. Winner and smallest are chosen by validation loss, not by error.",
            )
        )
    return out


def front_of(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points (cost, error) that no other one beats in one without being worse in the other, by rising cost."""
    front: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: points[i]):
        if not front or points[i][1] < points[front[-1]][1]:
            front.append(i)
    return front


def search_charts(search: Proposer, importance: Mapping[str, float] | None) -> list[Chart]:
    seen = [tried for tried in search.trained if tried.runs]
    if not seen:
        return []
    out = [history_chart(seen)]
    if importance:
        rows = [{"setting": words(name), "share": share} for name, share in importance.items()]
        first = max(importance, key=lambda name: importance[name])
        out.append(
            Chart(
                "importance",
                "Importance of the settings",
                charts_search.importances(rows),
                f"Share of each setting in what sets the best quarter of the trials apart, after the lowest rung; the largest is {words(first)}, {100 * importance[first]:.0f} %.",
                "PED-ANOVA (Watanabe, Bansal and Hutter 2023) on the validation loss after the lowest rung. A rough guide: it depends on the trials that were made.",
            )
        )
    lowest = min(run.recipe.epochs for tried in seen for run in tried.runs)
    if lines := [tried for tried in seen if tried.runs[0].recipe.epochs == lowest]:
        out.append(parallel_chart(search, lines, lowest))
    return out


def history_chart(seen: Sequence[Tried]) -> Chart:
    rows, lowest = [], {}
    for tried in seen:
        for run in tried.runs:
            epochs, loss = run.recipe.epochs, run.best["val_loss"]
            lowest[epochs] = min(loss, lowest.get(epochs, loss))
            rows.append(
                {"number": tried.number, "epochs": epochs, "loss": loss, "lowest": lowest[epochs], "state": tried.state, "network": describe(tried.recipe)}
            )  # fmt: skip
    told = ", ".join(f"{loss:.3f} after {epochs} epoch{'s' if epochs > 1 else ''}" for epochs, loss in sorted(lowest.items()))
    return Chart(
        "history",
        "History of the search",
        charts_search.history(rows),
        f"Validation loss of {len(seen)} trials at each rung that they reached. The lowest: {told}.",
        "A point a run; the lines show the lowest loss so far at each rung.",
    )


def parallel_chart(search: Proposer, seen: Sequence[Tried], epochs: int) -> Chart:
    axes, rows = search.space.axes(), []
    for tried in seen:
        for name, value in search.space.params(tried.recipe).items():
            if name in axes:
                shown = (
                    ("yes" if value else "no")
                    if isinstance(value, bool)
                    else f"{value:g}"
                    if isinstance(value, float)
                    else str(value)
                )
                place = min(1.0, max(0.0, axes[name](value)))
                rows.append(
                    {"number": tried.number, "setting": words(name), "place": place, "shown": shown, "loss": tried.runs[0].best["val_loss"],
                     "network": describe(tried.recipe)}
                )  # fmt: skip
    best = min(seen, key=lambda tried: tried.runs[0].best["val_loss"])
    return Chart(
        "parallel",
        "Settings of the trials",
        charts_search.parallel(rows, [words(name) for name in axes]),
        f"A line for each of {len(seen)} trials through its {len(axes)} settings, coloured by validation loss after {epochs} epoch{'s' if epochs > 1 else ''}; "
        f"the lowest is that of trial {best.number}, {describe(best.recipe)}.",
        "Each axis goes from the lowest (or first) value that is searched to the highest (or last); point at a line for its values.",
    )


def words(setting: str) -> str:
    return {"lr": "learning rate", "pool": "pooling", "norm": "normalisation", "flip": "flips", "crop": "shifts"}.get(
        setting, setting.replace("_", " ")
    )


# words


def search_numbers(context: Context, search: Proposer, importance: dict[str, float] | None) -> dict[str, Any]:
    states = Counter(tried.state for tried in search.trained)
    trials, seconds = budget_of(context)
    return {
        "sampler": search.sampler,
        "rungs": list(search.epochs),
        "budget": {"trials": trials, "seconds": seconds},
        "ended": search.ended or None,
        "trials": len(search.trained),
        **{state: states[state] for state in ("finished", "pruned", "stopped", "failed", "untrained")},
        "skipped": len(search.skipped),
        "repeated": search.duplicates,
        "search_seconds": round(search.spent, 1),
        "importance": importance,
    }


def counted(count: int, one: str, more: str) -> str:
    return f"{count} {one if count == 1 else more}"


def strategy_of(context: Context, search: Proposer, importance: Mapping[str, float] | None) -> list[str]:
    """What the search did, from its records."""
    sampler = {
        "tpe": f"Optuna's TPE sampler (Bergstra et al. 2011; seed {search.seed})",
        "random": f"Optuna's random sampler (seed {search.seed})",
        "grid": f"A coarse grid in random order (seed {search.seed}; augmentation, weight decay and activation as in the strong recipe)",
    }[search.sampler]
    told = Counter(tried.state for tried in search.trained)
    epochs = list(search.epochs)
    rungs = " and ".join(map(str, epochs))
    parts = [
        f"{sampler} proposed configurations, {BATCH} at a time, after the strong recipe, which was enqueued first: "
        f"{counted(len(search.trained), 'configuration was', 'configurations were')} sent to be trained"
    ]
    if len(epochs) > 1:
        parts.append(
            f"each began with a one-cycle run of {counted(epochs[0], 'epoch', 'epochs')}, and those that Hyperband (Li et al. 2018) kept were trained "
            f"anew at the next rung (rungs of {rungs} epochs, seed {search.seed}, judged by validation loss)"
        )
    else:
        parts.append(
            f"each was a one-cycle run of {counted(epochs[0], 'epoch', 'epochs')}, judged by validation loss; there was nothing to prune"
        )
    out = ["; ".join(parts) + "."]
    at = Counter(tried.runs[-1].recipe.epochs for tried in search.trained if tried.state == "pruned" and tried.runs)
    places = ", ".join(f"{count} after {counted(length, 'epoch', 'epochs')}" for length, count in sorted(at.items()))
    facts = [
        f"{told['finished']} reached the highest rung",
        f"{told['pruned']} {'was' if told['pruned'] == 1 else 'were'} pruned" + (f" ({places})" if places else ""),
        f"{told['failed']} failed, diverged or did not fit into memory",
    ]
    if told["stopped"]:
        facts.append(f"{told['stopped']} waited for the next rung when the budget was spent")
    if told["untrained"]:
        facts.append(f"of {told['untrained']} there is no run")
    out.append("Of these, " + "; ".join(facts) + ".")
    out.append(
        f"{counted(len(search.skipped), 'further proposal was', 'further proposals were')} too large and left out, and "
        f"{counted(search.duplicates, 'repeated a known configuration and was', 'repeated known configurations and were')} not trained again."
    )
    if search.ended:
        out.append(f"The search ended because {search.ended}.")
    if search.mirror.problem:
        out.append(f"{JOURNAL} could not be written ({search.mirror.problem}).")
    elif context.folder is not None and (context.folder / JOURNAL).exists():
        out.append(f"optuna-dashboard opens the trials: optuna-dashboard {JOURNAL} in the study's folder.")
    count = len([tried for tried in search.trained if tried.runs])
    few = (
        f" The importance of settings is not shown: with fewer than {IMPORTANCE_TRIALS} trials, the best quarter holds fewer than five; here {counted(count, 'trial finished', 'trials finished')} a rung."
        if importance is None and count < IMPORTANCE_TRIALS
        else ""
    )
    limits = (
        f"Limits of the search. It judges by runs of at most {counted(epochs[-1], 'epoch', 'epochs')} with one seed, which favours configurations that learn fast, "
        f"and networks of at most {search.space.ranges.flops / 1e6:g} million FLOPs for a 32×32 image beside the strong recipe.{few}"
    )
    return ["Search. " + " ".join(out), limits]


def selection_of(
    context: Context, winner: Candidate, found: Sequence[Candidate], latencies: Mapping[Recipe, dict[str, float] | None]
) -> list[str]:
    seeds = len(context.seeds)
    out = [
        f"Selection. The strong recipe and up to {PRESETS[context.preset].finals} of the others, those with the lowest validation loss at the highest rung reached, were "
        f"asked for over {counted(seeds, 'seed', 'seeds')} to the end"
        + (", and the networks of the capacity chapter compete with them" if any("capacity" in c.chapters for c in found) else "")
        + ". The winner has the lowest mean validation loss at the best epochs; the smallest is the one with the fewest parameters whose mean is within one standard error of it. "
        "The winner's validation loss is the lowest of several and so a little too good; its test figures are not chosen by and stand for new images of this kind."
    ]
    if winner.val_loss.n == 1 or max(c.val_loss.n for c in found) == 1:
        out.append(
            "One seed. The winner was trained with one seed; how far another seed would move it is not known from its own runs."
        )
    if others := near(winner, found):
        out.append(
            f"What it can't tell. The validation loss of {counted(len(others), 'other configuration is', 'other configurations are')} within two standard errors of the "
            f"difference from the winner's ({'; '.join(c.label for c in others)}): which of these is better on new images is not settled."
        )
    if any(latencies.values()):
        base = context.base
        out.append(
            f"Latency. Median time of a forward pass in evaluation mode on the study's machine ({base.device}, {base.precision}, {counted(base.threads, 'thread', 'threads')}), "
            f"for one image and for a batch of {LATENCY_BATCH}; reading and normalising images are not in it."
        )
    return out


# pictures of the winner


@dataclass(frozen=True)
class Seen:
    charts: list[Chart]
    galleries: list[Gallery]


def pictures_of(context: Context, winner: Candidate) -> tuple[Seen, list[str]]:
    """Confusion matrix, mistakes, filters and feature maps of the winner; a paragraph instead where its weights can't be read."""
    run = winner.run
    try:
        check_device(run.recipe.device)
        net = network(run, data=context.data)
        inputs = resident(run.recipe, data=context.data)
    except UserError as error:
        return Seen([], []), [f"Pictures. Those of the winner are left out: {one_line(error)}."]
    with threads(run.recipe):
        example = inputs.inputs("test", slice(0, 1)).float().cpu()
        looks = [g for g in (filters(net), feature_maps(net, example, context)) if g is not None]
        logits = predict(place(net, run.recipe), inputs, "test", run.recipe).double().cpu()
    labels = context.data.test.labels
    names = class_names(context)
    wrong = mistakes(logits, labels, names, context)
    return Seen([confusion_chart(logits.argmax(1), labels, names, winner)], [*([wrong] if wrong else []), *looks]), []


def class_names(context: Context) -> list[str]:
    """One line each, and different from each other."""
    names = [one_line(name, 40) for name in context.data.classes]
    count = Counter(names)
    return [f"{name} ({i})" if count[name] > 1 else name for i, name in enumerate(names)]


def confusion_chart(predicted: Tensor, labels: Tensor, names: Sequence[str], winner: Candidate) -> Chart:
    size = len(names)
    table = torch.bincount(labels * size + predicted, minlength=size * size).view(size, size)
    whole = table.sum(1).clamp(min=1)
    rows = [
        {"true": names[i], "predicted": names[j], "count": int(table[i, j]), "share": float(table[i, j] / whole[i])}
        for i in range(size)
        for j in range(size)
        if size <= charts_search.MOST_TEXT or table[i, j]  # of many classes only what occurs
    ]
    right = int(table.diagonal().sum())
    off = table.clone().fill_diagonal_(0)
    worst = divmod(int(off.argmax()), size)
    most = (
        f" The most frequent mistake: {names[worst[0]]} taken for {names[worst[1]]}, {int(off.max())} times." if off.any() else ""
    )
    return Chart(
        "confusion",
        "Confusion matrix of the winner on the test images",
        charts_search.confusion(rows, names),
        f"{right:,} of {len(labels):,} test images are classified right by {winner.label} (seed {winner.run.recipe.seed}).{most}",
        "A row a true class, a column a predicted one; counts of test images, colours are shares of the row.",
    )


def mistakes(logits: Tensor, labels: Tensor, names: Sequence[str], context: Context) -> Gallery | None:
    """The wrong predictions with the highest probability."""
    sure, predicted = logits.softmax(1).max(1)
    wrong = (predicted != labels).nonzero().flatten()
    if not len(wrong):
        return None
    chosen = wrong[sure[wrong].argsort(descending=True, stable=True)][:MOST_MISTAKES].tolist()
    items = tuple(
        (
            pictures.image(context.data.test.images[i]),
            f"{names[int(predicted[i])]} {100 * float(sure[i]):.0f} %; is {names[int(labels[i])]}",
        )
        for i in chosen
    )
    return Gallery(
        "mistakes",
        "The winner's most confident mistakes",
        items,
        f"The {len(items)} test images that the winner classifies wrongly with the highest probability: {'; '.join(text for _, text in items)}.",
        "Below each: the class predicted with its probability, and the class that the data set gives; now and then the label is at fault.",
    )


def filters(net: nn.Module) -> Gallery | None:
    """The kernels of the first convolution, on one scale."""
    conv = next((module for module in net.modules() if isinstance(module, nn.Conv2d)), None)
    if conv is None:
        return None
    weight = conv.weight.detach().float().cpu()  # filters × channels × rows × columns
    largest = float(weight.abs().max())
    items = tuple((pictures.signed(kernel, largest, side=48), str(i)) for i, kernel in enumerate(weight[:MOST_FILTERS], 1))
    rows, columns = weight.shape[2:]
    colour = (
        "in colour around grey"
        if weight.shape[1] == 3
        else "blue negative, orange positive" + ("" if weight.shape[1] == 1 else ", first channel only")
    )
    return Gallery(
        "filters",
        "First-layer filters",
        items,
        f"{len(items)} of {len(weight)} kernels of the winner's first convolution, {rows}×{columns} pixels each, {colour}.",
        f"Kernels of {rows}×{columns} pixels, {colour}; all on one scale.",
        width=48,
    )


def feature_maps(net: nn.Module, example: Tensor, context: Context) -> Gallery | None:
    """What the first and the last block make of the first test image."""
    if not isinstance(net, ConvNetModule):
        return None
    outputs: list[Tensor] = []
    with torch.no_grad():
        x = net.pixels(example)
        for block in net.blocks:
            x = block(x)
            outputs.append(x[0])
    shown = [(1, outputs[0])] + ([(len(outputs), outputs[-1])] if len(outputs) > 1 else [])
    items = [(pictures.image(context.data.test.images[0]), "the image")]
    for number, maps in shown:
        items += [(pictures.map_of(plane), f"block {number}, map {i}") for i, plane in enumerate(maps[:MOST_MAPS], 1)]
    sizes = " and ".join(f"{maps.shape[1]}×{maps.shape[2]} behind block {number}" for number, maps in shown)
    return Gallery(
        "feature_maps",
        "Feature maps of the first and the last block" if len(shown) > 1 else "Feature maps of the only block",
        tuple(items),
        f"The first test image and up to {MOST_MAPS} feature maps each, of {sizes} pixels, behind activation and pooling.",
        "Each map from black (its lowest value) to white (its highest).",
    )
