"""What the page's explorer shows: networks and the learning curves of their runs, compact JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from convscope.data import Dataset
from convscope.errors import UserError
from convscope.recipe import ConvNet, Model, label_of, model_from_json, to_json
from convscope.report.chart_style import COLOURS
from convscope.report.files import MEASURES
from convscope.report.size_charts import SPLIT_COLOURS
from convscope.training import Run, right_answers

DIGITS = 4  # of losses and accuracies
MOST_CLASSES = 100  # with more, accuracies by class are left out
# what differs between runs of one configuration
SEEDS = ("seed", "subset_seed", "noise_seed")
# how it is watched and computed: no part of a name
UNNAMED = (*SEEDS, "evaluate", "evaluate_every", "train_sample", "threads", "kernels", "layout")
PICKED = (3, 4, 5, 0, 1, 2, 6)  # colours of picked networks: those of the splits come late
FEW = 3  # networks that are picked at first


def explorer_of(
    tree: Mapping[str, Any],
    runs: Sequence[Run],
    data: Dataset,
    name: Callable[[Model], str] = label_of,
) -> dict[str, Any]:
    """The data of the explorer, without pilots and trials, which the test split never judges.

    tree: of results.json; its networks and their order are the page's.
    runs: the study's, for their epochs; of a run that is not among them no curve is shown.
    data: the study's images, for the accuracy by class.
    name: of a model, as the page names it everywhere.
    """
    entries = [entry for entry in tree["runs"] if not entry["pilot"]]
    by_id = {run.id: run for run in runs}
    groups: dict[tuple[str, bool], list[dict[str, Any]]] = {}
    own = set(tree["study"]["seeds"])
    keys = [(configuration(entry), entry["seed"] not in own) for entry in entries]
    for key, entry in zip(keys, entries, strict=True):
        groups.setdefault(key, []).append(entry)
    numbers = {key: i for i, key in enumerate(groups)}
    names = named([members[0] for members in groups.values()], name, [anew for _, anew in groups])
    networks = [
        network(members, names[i], by_id, data) for i, members in enumerate(groups.values())
    ]
    best = tree["chapters"].get("best", {}).get("numbers", {})
    of = [numbers[key] for key in keys]
    chosen = {entry["id"]: i for entry, i in zip(entries, of, strict=True)}
    return {
        "shape": list(data.in_shape),
        "classes": list(data.classes) if len(data.classes) <= MOST_CLASSES else [],
        "number": len(data.classes),
        "colours": [COLOURS[i] for i in PICKED],
        "splits": SPLIT_COLOURS,
        "networks": networks,
        "runs": [
            {"id": entry["id"], "of": i, "seed": entry["seed"]} | curves(by_id.get(entry["id"]))
            for entry, i in zip(entries, of, strict=True)
        ],
        "settings": settings(entries),
        "picked": picked(
            networks,
            entries,
            of,
            [chosen.get(best.get(key)) for key in ("smallest", "winner")],
        ),
    }


def configuration(entry: Mapping[str, Any]) -> str:
    """What runs that differ only in their seeds have in common."""
    recipe = {key: value for key, value in entry["recipe"].items() if key not in SEEDS}
    return json.dumps(recipe, sort_keys=True)


def network(
    members: Sequence[Mapping[str, Any]],
    names: tuple[str, str],
    by_id: Mapping[str, Run],
    data: Dataset,
) -> dict[str, Any]:
    """A configuration with its sizes; `members` are its runs."""
    first = members[0]
    limit = first["recipe"].get("limit")
    images = len(data.train)
    found: dict[str, Any] = {
        "name": names[0],
        "long": names[1],
        "size": [first["filters"], first["parameters"], first["flops"]],
        "images": min(limit, images) if limit else images,
        "chapters": list(dict.fromkeys(name for run in members for name in run["chapters"])),
    }
    if first["model"]["kind"] == "convnet":
        found["model"] = changed(first["model"])
    right = [by_class(by_id[run["id"]], data) for run in members if run["id"] in by_id]
    shown = [one for one in right if one]
    if shown:
        means = [sum(column) / len(column) for column in zip(*shown, strict=True)]
        found["by_class"] = [round(mean, 3) for mean in means]
    return found


def changed(model: Mapping[str, Any]) -> dict[str, Any]:
    """A ConvNet's settings that are not the default ones."""
    usual = to_json(ConvNet())
    return {key: value for key, value in model.items() if usual.get(key) != value}


def by_class(run: Run, data: Dataset) -> list[float] | None:
    """The accuracy on the test images of each class at the best epoch; None where unknown.

    Files that were altered or are missing are named by the chapters that use them.
    """
    labels = data.test.labels
    counts = labels.bincount(minlength=len(data.classes))
    if run.status != "finished" or len(data.classes) > MOST_CLASSES or int(counts.min()) == 0:
        return None
    try:
        right = right_answers(run, data)
    except (UserError, OSError):
        return None
    if right is None or len(right) != len(labels):
        return None
    hits = labels[right].bincount(minlength=len(data.classes))
    return (hits / counts).tolist()


def named(
    entries: Sequence[Mapping[str, Any]], name: Callable[[Model], str], anew: Sequence[bool]
) -> list[tuple[str, str]]:
    """For each configuration its name and its long name.

    Where configurations have the same network, the settings that tell them apart are added.

    anew: which of them were trained anew, with seeds that had no part in the choice. They are not
        averaged with the runs that had.
    """
    models = [model_from_json(entry["model"]) for entry in entries]
    flat = [flattened(entry["recipe"]) for entry in entries]
    alike: dict[str, list[int]] = {}
    for i, model in enumerate(models):
        alike.setdefault(name(model), []).append(i)
    added = [""] * len(entries)
    for members in alike.values():
        keys = dict.fromkeys(key for i in members for key in flat[i] if key not in UNNAMED)
        differing = [key for key in keys if len({repr(flat[i].get(key)) for i in members}) > 1]
        for i in members:
            parts = [told(key, flat[i].get(key)) for key in differing]
            parts += ["trained anew"] * (anew[i] and len(members) > 1)
            added[i] = "".join(f", {part}" for part in parts)
    return [
        (name(model) + more, label_of(model) + more)
        for model, more in zip(models, added, strict=True)
    ]


def told(key: str, value: Any) -> str:
    """A setting in few words."""
    if key == "limit":
        return f"{value:,} images" if value else "all images"
    words = "+".join(map(str, value)) if isinstance(value, list) else value
    words = "none" if value is None or value == [] else words
    return f"{key.removeprefix('model.')} {shown(words)}"


def flattened(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's fields, those of its model as model.width and so on."""
    flat: dict[str, Any] = {}
    for key, value in recipe.items():
        if isinstance(value, dict):
            flat |= {f"{key}.{inner}": one for inner, one in value.items()}
        else:
            flat[key] = value
    return flat


def curves(run: Run | None) -> dict[str, Any]:
    """Each split's losses and accuracies over the evaluated epochs, and which one is the best.

    epochs: their numbers, or how many there are where these are 1, 2, 3 …
    """
    if run is None or not run.rows:
        return {}
    epochs = [row["epoch"] for row in run.rows]
    found: dict[str, Any] = {
        "epochs": len(epochs) if epochs == list(range(1, len(epochs) + 1)) else epochs,
        "best": run.rows.index(run.best),
    }
    for key in MEASURES:
        values = [rounded(row.get(key), key.endswith("accuracy")) for row in run.rows]
        if any(value is not None for value in values):
            found[key] = values
    return found


def rounded(value: float | None, share: bool) -> float | None:
    """To six digits, whose mean over seeds rounds as the tables' does; a share to four decimals."""
    if value is None or not math.isfinite(value):
        return None
    return round(value, DIGITS) if share else float(f"{value:.6g}")


def settings(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The recipes' fields, those that all have alike and those that vary.

    {"same": {field: text}, "vary": {field: [texts, for each run the index of its text]}}
    """
    flat = [flattened(entry["recipe"]) for entry in entries]
    same: dict[str, Any] = {}
    vary: dict[str, Any] = {}
    for key in dict.fromkeys(key for one in flat for key in one):
        texts = ["" if one.get(key) is None else shown(one[key]) for one in flat]
        values = list(dict.fromkeys(texts))
        if len(values) == 1:
            same[key] = values[0]
        else:
            vary[key] = [values, [values.index(text) for text in texts]]
    return {"same": same, "vary": vary}


def shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def picked(
    networks: Sequence[Mapping[str, Any]],
    entries: Sequence[Mapping[str, Any]],
    numbers: Sequence[int],
    wanted: Sequence[int | None],
) -> list[int]:
    """The networks that are picked at first.

    Those that the study chose, or else that of the run of lowest validation loss; then the largest
    and the smallest one, of those with curves, which were evaluated more than once, before others.

    entries: the runs of results.json; numbers: for each the index of its network.
    wanted: what the study chose, as far as it did.
    """
    losses = [(entry["best"] or {}).get("val_loss") for entry in entries]
    known = [(loss, i) for loss, i in zip(losses, numbers, strict=True) if loss is not None]
    best = [min(known)[1]] if known else []
    curved = {
        i
        for entry, i in zip(entries, numbers, strict=True)
        if entry["epochs"] > entry["recipe"].get("evaluate_every", 1)
    }
    order = sorted(range(len(networks)), key=lambda i: networks[i]["size"][1])
    drawn = [i for i in order if i in curved]
    ends = [*drawn[-1:], *drawn[:1], *order[-1:], *order[:1]]
    several = [i for i in wanted if i is not None] + best + ends
    return list(dict.fromkeys(several))[:FEW]
