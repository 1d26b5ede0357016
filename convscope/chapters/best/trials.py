"""What the search did, from its records: numbers, tables and charts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from convscope.chapters.best.plan import budget_of
from convscope.planning import Context, Proposer, Tried, describe_configuration
from convscope.report import Chart, Table, search_charts
from convscope.words import texts_beside

TEXTS = texts_beside(__file__)
FEW = 10  # trials; of fewer the page shows no history and no settings at once
SETTINGS = {  # those whose name does not explain itself
    "lr": "learning rate",
    "pool": "pooling",
    "norm": "normalisation",
    "flip": "flips",
    "crop": "shifts",
}


def search_numbers(
    context: Context, search: Proposer, importance: dict[str, float] | None
) -> dict[str, Any]:
    states = Counter(tried.state for tried in search.tried)
    trials, seconds = budget_of(context)
    return {
        "sampler": search.sampler,
        "rungs": list(search.epochs),
        "budget": {"trials": trials, "seconds": seconds},
        "ended": search.ended or None,
        "trials": len(search.tried),
        **{
            state: states[state]
            for state in ("finished", "pruned", "stopped", "failed", "untrained")
        },
        "repeated": search.duplicates,
        "search_seconds": round(search.spent, 1),
        "importance": importance,
        "settings": search.space.settings(),
        "share_within_limits": search.space.share,
        "limits": asdict(search.space.limits()),
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
    rows = [trial_row(tried) for tried in search.tried]
    return [Table("trials", "Trials of the search", columns, rows, TEXTS.trials_caption())]


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


def trial_charts(search: Proposer, importance: Mapping[str, float] | None) -> list[Chart]:
    seen = [tried for tried in search.tried if tried.runs]
    if not seen:
        return []
    few = TEXTS.few_trials(len(seen)) if len(seen) < FEW else ""
    out = [replace(history_chart(seen), folded=few)]
    if importance:
        rows = [
            {"setting": setting_name(name), "share": share} for name, share in importance.items()
        ]
        first = max(importance, key=lambda name: importance[name])
        out.append(
            Chart(
                "importance",
                "Importance of the settings",
                search_charts.importances(rows),
                TEXTS.importance_alt(setting_name(first), importance[first]),
                TEXTS.importance_caption(),
            )
        )
    lowest = min(run.recipe.epochs for tried in seen for run in tried.runs)
    if lines := [tried for tried in seen if tried.runs[0].recipe.epochs == lowest]:
        out.append(replace(parallel_chart(search, lines, lowest), folded=few))
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
    return Chart(
        "history",
        "History of the search",
        search_charts.history(rows),
        TEXTS.history_alt(len(seen), sorted(lowest.items())),
        TEXTS.history_caption(),
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
                        "setting": setting_name(name),
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
        search_charts.parallel(rows, [setting_name(name) for name in axes]),
        TEXTS.settings_alt(
            len(seen), len(axes), epochs, best.number, describe_configuration(best.recipe)
        ),
        TEXTS.settings_caption(),
    )


def shown(value: Any) -> str:
    """A setting's value in words: yes and no, numbers without a tail."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def setting_name(setting: str) -> str:
    return SETTINGS.get(setting, setting.replace("_", " "))
