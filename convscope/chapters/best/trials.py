"""What the search did, from its records: in numbers, tables, charts and words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from convscope.chapters.best.plan import BATCH, budget_of
from convscope.planning import (
    IMPORTANCE_TRIALS,
    JOURNAL,
    Context,
    Proposer,
    Tried,
    describe_configuration,
)
from convscope.planning import reference as plans
from convscope.recipe import ConvNet, Recipe
from convscope.report import Chart, Table
from convscope.report import search_charts as charts_search


def search_numbers(
    context: Context, search: Proposer, importance: dict[str, float] | None
) -> dict[str, Any]:
    states = Counter(tried.state for tried in search.trained)
    trials, seconds = budget_of(context)
    return {
        "sampler": search.sampler,
        "rungs": list(search.epochs),
        "budget": {"trials": trials, "seconds": seconds},
        "ended": search.ended or None,
        "trials": len(search.trained),
        **{
            state: states[state]
            for state in ("finished", "pruned", "stopped", "failed", "untrained")
        },
        "skipped": len(search.skipped),
        "repeated": search.duplicates,
        "search_seconds": round(search.spent, 1),
        "importance": importance,
    }


# tables


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
        Table(
            "trials",
            "Trials of the search",
            columns,
            [trial_row(tried) for tried in search.trained],
            "Losses after different numbers of epochs are not comparable. Trials that are missing were too large or repeated an earlier one.",
        )
    ]
    if search.skipped:
        rows = [
            {"number": t.number, "network": describe_configuration(t.recipe), "reason": t.reason}
            for t in search.skipped
        ]
        columns = (
            ("number", "trial", "int"),
            ("network", "configuration", "text"),
            ("reason", "why it was not trained", "text"),
        )
        tables.append(Table("skipped", "Proposals that were too large", columns, rows))
    return tables


def trial_row(tried: Tried) -> dict[str, Any]:
    last = tried.runs[-1] if tried.runs else None
    return {
        "number": tried.number,
        "network": describe_configuration(tried.recipe),
        "lr": tried.recipe.lr,
        "weight_decay": tried.recipe.weight_decay,
        "parameters": last.size["parameters"] if last else None,
        "epochs": last.recipe.epochs if last else None,
        "val_loss": tried.loss,
        "state": f"{tried.state} ({tried.reason})" if tried.reason else tried.state,
    }


# charts


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
                {
                    "number": tried.number,
                    "epochs": epochs,
                    "loss": loss,
                    "lowest": lowest[epochs],
                    "state": tried.state,
                    "network": describe_configuration(tried.recipe),
                }
            )
    told = ", ".join(
        f"{loss:.3f} after {epochs} epoch{'s' if epochs > 1 else ''}"
        for epochs, loss in sorted(lowest.items())
    )
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
                place = min(1.0, max(0.0, axes[name](value)))
                rows.append(
                    {
                        "number": tried.number,
                        "setting": words(name),
                        "place": place,
                        "shown": shown(value),
                        "loss": tried.runs[0].best["val_loss"],
                        "network": describe_configuration(tried.recipe),
                    }
                )
    best = min(seen, key=lambda tried: tried.runs[0].best["val_loss"])
    return Chart(
        "parallel",
        "Settings of the trials",
        charts_search.parallel(rows, [words(name) for name in axes]),
        f"A line for each of {len(seen)} trials through its {len(axes)} settings, coloured by validation loss after {epochs} epoch{'s' if epochs > 1 else ''}; "
        f"the lowest is that of trial {best.number}, {describe_configuration(best.recipe)}.",
        "Each axis goes from the lowest (or first) value that is searched to the highest (or last); point at a line for its values.",
    )


def shown(value: Any) -> str:
    """A setting's value in words: yes and no, numbers without a tail."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def words(setting: str) -> str:
    known = {
        "lr": "learning rate",
        "pool": "pooling",
        "norm": "normalisation",
        "flip": "flips",
        "crop": "shifts",
    }
    return known.get(setting, setting.replace("_", " "))


# words


def counted(count: int, one: str, more: str) -> str:
    return f"{count} {one if count == 1 else more}"


def strategy_of(
    context: Context, search: Proposer, importance: Mapping[str, float] | None
) -> list[str]:
    """What the search did, and what limits it: two paragraphs."""
    told = [proposed_words(search), *became_words(search), held_words(search.space.reference)]
    if search.ended:
        told.append(f"The search ended because {search.ended}.")
    if search.journal.problem:
        told.append(f"{JOURNAL} could not be written ({search.journal.problem}).")
    elif context.folder is not None and (context.folder / JOURNAL).exists():
        told.append(
            f"optuna-dashboard opens the trials: optuna-dashboard {JOURNAL} in the study's folder."
        )
    return ["Search. " + " ".join(told), limits_words(search, importance)]


def proposed_words(search: Proposer) -> str:
    sampler = {
        "tpe": f"Optuna's TPE sampler (Bergstra et al. 2011; seed {search.seed})",
        "random": f"Optuna's random sampler (seed {search.seed})",
        "grid": f"A coarse grid in random order (seed {search.seed}; augmentation, weight decay and activation as in the strong recipe)",
    }[search.sampler]
    first = counted(search.epochs[0], "epoch", "epochs")
    if len(search.epochs) > 1:
        rungs = (
            f"each began with a run of {first} whose rate fell to 0, and those that Hyperband (Li et al. 2018) kept were trained "
            f"anew at the next rung (rungs of {' and '.join(map(str, search.epochs))} epochs, seed {search.seed}, judged by validation loss)"
        )
    else:
        rungs = f"each was a run of {first} whose rate fell to 0, judged by validation loss; there was nothing to prune"
    return (
        f"{sampler} proposed configurations, {BATCH} at a time, after the strong recipe, which was enqueued first: "
        f"{counted(len(search.trained), 'configuration was', 'configurations were')} sent to be trained; {rungs}."
    )


def held_words(strong: Recipe) -> str:
    """What all configurations have from the strong recipe."""
    model = strong.model
    held = [
        plans.OPTIMIZERS[strong.optimizer],
        f"batches of {strong.batch}",
    ]
    held += [f"label smoothing of {strong.label_smoothing:g}"] if strong.label_smoothing else []
    if isinstance(model, ConvNet):
        held += ["a whitening stem"] if model.stem == "whiten" else []
        held += (
            ["early pooling, behind a block's first convolution"]
            if model.pool_at == "first"
            else []
        )
    return f"Not searched, but as in the strong recipe: {', '.join(held)}."


def became_words(search: Proposer) -> list[str]:
    """What became of the trials, and of the proposals that were not trained."""
    told = Counter(tried.state for tried in search.trained)
    at = Counter(
        tried.runs[-1].recipe.epochs
        for tried in search.trained
        if tried.state == "pruned" and tried.runs
    )
    places = ", ".join(
        f"{count} after {counted(epochs, 'epoch', 'epochs')}"
        for epochs, count in sorted(at.items())
    )
    facts = [
        f"{told['finished']} reached the highest rung",
        f"{told['pruned']} {'was' if told['pruned'] == 1 else 'were'} pruned"
        + (f" ({places})" if places else ""),
        f"{told['failed']} failed, diverged or did not fit into memory",
    ]
    if told["stopped"]:
        facts.append(f"{told['stopped']} waited for the next rung when the budget was spent")
    if told["untrained"]:
        facts.append(f"of {told['untrained']} there is no run")
    return [
        f"Of these, {'; '.join(facts)}.",
        f"{counted(len(search.skipped), 'further proposal was', 'further proposals were')} too large and left out, and "
        f"{counted(search.duplicates, 'repeated a known configuration and was', 'repeated known configurations and were')} not trained again.",
    ]


def limits_words(search: Proposer, importance: Mapping[str, float] | None) -> str:
    told = (
        f"Limits of the search. It judges by runs of at most {counted(search.epochs[-1], 'epoch', 'epochs')} with one seed, which favours configurations that learn fast, "
        f"and networks of at most {search.space.ranges.flops / 1e6:g} million FLOPs for a 32×32 image beside the strong recipe."
    )
    count = len([tried for tried in search.trained if tried.runs])
    if importance is None and count < IMPORTANCE_TRIALS:
        told += (
            f" The importance of settings is not shown: with fewer than {IMPORTANCE_TRIALS} trials, the best quarter holds fewer than five; "
            f"here {counted(count, 'trial finished', 'trials finished')} a rung."
        )
    return told
