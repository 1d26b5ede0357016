"""What golden files hold: ids, networks, metrics and the figures of studies, as plain values.

`python tests/goldens.py` writes them anew; tests/test_golden.py compares, within a tolerance or, on
the machine that wrote them, to the last digit (CONVSCOPE_GOLDEN_EXACT).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from unpacking import unpack_old_study

from convscope import data, recipes
from convscope.chapters import best, capacity, nonlinearity, ordering, receptive_field
from convscope.machine.choice import Choice
from convscope.machine.choosing import resolve
from convscope.machine.costs import cost_kind
from convscope.models.building import build
from convscope.models.named import NAMED
from convscope.planning import reference as plans
from convscope.planning.context import BudgetFit, Context
from convscope.recipe.json_form import to_json
from convscope.recipe.networks import ConvNet, Custom, Model, SoftmaxRegression
from convscope.recipe.recipe import Recipe
from convscope.studies.folder import StudyFolder
from convscope.studies.main_path import study
from convscope.studies.plan import forecast
from convscope.studies.rendering import render
from convscope.studies.study_json import Asked, Fitted
from convscope.training.main_path import train

FOLDER = Path(__file__).parent / "golden"
STRONG = Custom("convscope.recipes.strong:network")
SHAPE, CLASSES = (3, 32, 32), 10
VARIANTS: dict[str, Model] = {
    "batch norm, skip": ConvNet(8, 2, block_depth=2, norm="batch", skip=True),
    "group norm, GAP": ConvNet(8, 2, norm="group", head="gap", pool="avg"),
    "affine, GELU": ConvNet(6, 2, norm="affine", activation="gelu"),
    "whitened, early pooling": ConvNet(
        8, 2, block_depth=2, norm="batch", stem="whiten", pool_at="first", head="gap"
    ),
    "hidden, random order": ConvNet(4, 3, hidden=(32, 16), order="random"),
    "permuted pixels, no pooling": ConvNet(
        4, 1, pool="none", pixels="random", kernel=15, head="gap"
    ),
    "strided, per sample": ConvNet(4, 2, pool="stride", order="per-sample", activation="tanh"),
    "linear": ConvNet(8, 2, activation="identity", pool="avg"),
    "recipes.strong": STRONG,
    "recipes.strong, narrow": replace(STRONG, arguments={"widths": [8, 16, 16]}),
}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# --- ids


def recipes_of_every_kind() -> list[Recipe]:
    models: list[Model] = [make() for make in NAMED.values()]
    models += [*VARIANTS.values(), Custom("package.module:factory", {"width": 3, "name": "a"})]
    out = [Recipe(model=model) for model in models]
    out += [recipes.named("strong", images) for images in (50_000, 2_000)]
    out += [
        Recipe(optimizer=name, schedule="onecycle") for name in ("sgd", "adam", "adamw", "muon")
    ]
    out += [Recipe(schedule=name, lr=0.01) for name in ("constant", "cosine", "linear")]
    out += [Recipe(precision=name, kernels="compiled") for name in ("float32", "bfloat16")]
    out += [
        Recipe(kernels="winograd", precision="bfloat16", threads=2),
        Recipe(precision="float64", layout="contiguous", device="cuda:0"),
        Recipe(data="some/folder", size=48, val=0.2, split_seed=3, limit=1000, label_noise=0.2),
        Recipe(crop=4, flip=True, alternate=True, cutout=8, label_smoothing=0.1),
        Recipe(micro_batch=32, small_share=0.25, views="flip", evaluate=("test",), val=0.0),
        Recipe(train_sample=5000, evaluate=("val",), seed=2**62, epochs=100),
        Recipe(data="shapes", data_hash="0" * 64, weight_decay=0.01, momentum=0.8),
        *(Recipe(model=ConvNet(width=w, depth=d, growth=1.5)) for w in (3, 64) for d in (1, 4)),
        Recipe(model=ConvNet(activation="leaky_relu", norm="group", skip=True, block_depth=3)),
        Recipe(model=ConvNet(pool_sizes=(1, 2, 4), activation="silu", head="gap", hidden=(64,))),
    ]
    return out


def ids() -> list[dict[str, Any]]:
    return [{"id": recipe.id, "recipe": to_json(recipe)} for recipe in recipes_of_every_kind()]


# --- networks


def sample(value: Tensor) -> list[float]:
    """Mean, norm and the first values of a tensor."""
    flat = value.detach().double().flatten()
    return [float(flat.mean()), float(flat.norm()), *map(float, flat[:4])]


def network_figures(model: Model) -> dict[str, Any]:
    net = build(model, SHAPE, CLASSES, seed=3)
    state = net.state_dict()
    digest = hashlib.sha256()
    for value in state.values():
        digest.update(value.contiguous().numpy().tobytes())
    net.eval()
    x = torch.linspace(-1, 1, 2 * 3 * 32 * 32).sin().reshape(2, *SHAPE)
    with torch.no_grad():
        logits = net.double()(x.double())
    return {
        "keys": {key: list(value.shape) for key, value in state.items()},
        "sample": {key: sample(value) for key, value in state.items()},
        "logits": logits.flatten().tolist(),
        "sha256": digest.hexdigest(),
    }


def networks() -> dict[str, Any]:
    named = {name: make() for name, make in NAMED.items()}
    return {name: network_figures(model) for name, model in {**named, **VARIANTS}.items()}


# --- metrics of short runs

SMALL = Recipe(
    data="shapes",
    model=ConvNet(4, 2),
    epochs=3,
    batch=50,
    limit=200,
    lr=4e-3,
    precision="float64",
    layout="contiguous",
    train_sample=100,
    evaluate=("train",),
)


def short_runs(exact: bool) -> dict[str, Recipe]:
    """Three epochs for each optimiser and normalisation.

    `exact`: also for each way to compute, whose figures hold on one kind of processor alone.
    """
    rates = {"sgd": 0.05, "adam": 4e-3, "adamw": 4e-3, "muon": 0.05}
    out = {
        f"{name}": replace(SMALL, optimizer=name, lr=rate, weight_decay=1e-3)
        for name, rate in rates.items()
    }
    for norm in ("batch", "group", "affine"):
        net = ConvNet(4, 2, block_depth=2, norm=norm, skip=True, head="gap")
        out[norm] = replace(SMALL, model=net, schedule="onecycle")
    out["augmented"] = replace(
        SMALL, flip=True, crop=2, cutout=4, label_smoothing=0.1, label_noise=0.2, schedule="cosine"
    )
    out["softmax"] = replace(SMALL, model=SoftmaxRegression(), lr=1e-3)
    out["all splits"] = replace(SMALL, evaluate=("train", "val", "test"))
    out["order"] = replace(SMALL, model=ConvNet(4, 2, order="per-sample"))
    strong = replace(
        recipes.named("strong", 200),
        model=VARIANTS["recipes.strong, narrow"],
        data="shapes",
        limit=200,
        epochs=3,
        val=0.02,
        evaluate=("val",),
    )
    out["strong"] = replace(strong, precision="float64", layout="contiguous", micro_batch=16)
    if not exact:
        return out
    nets = {
        "plain": ConvNet(8, 3),
        "narrow": ConvNet(3, 3),
        "mean": ConvNet(8, 2, pool="avg"),
        "wide": ConvNet(32, 2, block_depth=2, norm="batch", skip=True),
        "early": ConvNet(
            16,
            3,
            block_depth=2,
            norm="batch",
            skip=True,
            head="gap",
            stem="whiten",
            pool_at="first",
        ),
        "large kernel": ConvNet(5, 1, kernel=15, pool="none", head="gap"),
        "linear": ConvNet(16, 2, activation="identity", pool="avg"),
        "tanh": ConvNet(8, 2, activation="tanh", norm="group"),
    }
    for precision in ("float32", "bfloat16"):
        for kernels in ("library", "compiled"):
            way = replace(SMALL, precision=precision, kernels=kernels, layout="channels_last")
            out |= {
                f"{name}, {precision}, {kernels}": replace(way, model=net)
                for name, net in nets.items()
            }
            low = replace(strong, precision=precision, kernels=kernels, micro_batch=16)
            out[f"strong, {precision}, {kernels}"] = low
    return out


def metrics(exact: bool, names: set[str] | None = None) -> dict[str, Any]:
    timed = {"seconds", "train_seconds"}
    out, every = {}, short_runs(exact)
    loaded = {val: data.load("shapes", val=val) for val in (0.1, 0.02)}
    with tempfile.TemporaryDirectory() as folder:
        for name in names or every:
            run = train(every[name], folder, data=loaded[every[name].val])
            assert run.status == "finished", (name, run)
            rows = [
                {key: value for key, value in row.items() if key not in timed} for row in run.rows
            ]
            out[name] = {"id": run.id, "rows": rows, "size": run.size}
    return out


# --- a study of all chapters

CHOICE = {
    "device": "cpu",
    "precision": "float64",
    "layout": "contiguous",
    "threads": 1,
    "workers": 2,
    "measured": {},
    "kernels": "library",
}


@contextlib.contextmanager
def tiny() -> Iterator[None]:
    """The quick preset made small: three widths at depth 2, one at depth 1, two epochs."""
    strong = plans.Reference(replace(plans.reference_model(4), depth=2), 2)
    sweeps = (
        capacity.widths(capacity.first(1, (16,)), 4),
        capacity.widths(capacity.first(2, (16,)), 2, 4, 8),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(capacity.PRESETS, "quick", capacity.Preset(sweeps, 2, (1e-3, 4e-3), 1))
        patch.setitem(plans.REFERENCES, "quick", strong)
        patch.setitem(best.PRESETS, "quick", best.Preset(3, (1,), 1))
        patch.setitem(
            nonlinearity.PRESETS,
            "quick",
            nonlinearity.Preset(2, (1e-3, 4e-3), (2,), ConvNet(4, 2, hidden=(16,)), False),
        )
        patch.setitem(
            receptive_field.PRESETS,
            "quick",
            receptive_field.Preset(2, (4e-3,), (3, 5), ConvNet(2, 2, head="gap"), None),
        )
        patch.setitem(
            ordering.PRESETS, "quick", ordering.Preset(ConvNet(2, 2), 2, (4e-3,), 2, None)
        )
        patch.setattr("convscope.planning.epochs.MOST_EPOCHS", 2)
        yield


IMAGES = "shapes.npz"  # relative, so that ids of runs don't hold a folder of the machine


def make_images(folder: Path, side: int) -> None:
    """The middle pixels of the first images of `shapes`."""
    inside = slice(16 - side // 2, 16 + side // 2)
    whole = data.load("shapes", val=0)
    x, x_test = (
        split.images[:count, :, inside, inside].permute(0, 2, 3, 1).numpy()
        for split, count in ((whole.train, 500), (whole.test, 200))
    )
    np.savez_compressed(
        folder / IMAGES,
        x_train=x,
        y_train=whole.train.labels[:500].numpy(),
        x_test=x_test,
        y_test=whole.test.labels[:200].numpy(),
        classes=np.array(whole.classes),
    )


def train_study(folder: Path, side: int = 16, precision: str = "float64") -> Path:
    """A study of a few small images below this folder, by the library, with nothing measured."""
    root = folder / "study"
    root.mkdir(parents=True)
    make_images(folder, side)
    before = Path.cwd()
    os.chdir(folder)
    try:
        return folder / _train_study(Path("study"), {**CHOICE, "precision": precision})
    finally:
        os.chdir(before)


def _train_study(root: Path, choice: dict[str, Any]) -> Path:
    names = ["capacity", "best", "nonlinearity", "receptive_field", "convolution", "ordering"]
    fit = BudgetFit(seeds=2)
    with tiny():
        whole = data.load(IMAGES)
        base = resolve(Recipe(data=IMAGES, data_hash=whole.hash, batch=56), Choice(**choice))
        context = Context(whole, "quick", (0, 1), base, tuple(names), fit=fit)
        kinds = dict.fromkeys(cost_kind(recipe).id for recipe in forecast(context))
        StudyFolder(
            root,
            Asked("cpu", 2),
            Choice(**choice),
            dict.fromkeys(kinds, (1e-4, 1e-4)),
            Fitted(1e8, "quick", tuple(names), 2, fit),
        ).save()
        study(
            IMAGES,
            names,
            seeds=2,
            out=root,
            device="cpu",
            workers=2,
            budget=1e8,
            command=f"convscope study {IMAGES}",
        )
    return root


UNSTABLE = {"seconds", "machine", "convscope", "command", "images_second", "search_seconds"}
WORDS = {
    "sentence",
    "brief",
    "alt",
    "caption",
    "title",
    "paragraphs",
    "question",
    "columns",
    "proof",
    "galleries",
    "alts",
}


def stable(tree: Any) -> Any:
    """What the same study gives again: neither times, nor machines, nor wording."""
    if isinstance(tree, dict):
        gone = UNSTABLE | WORDS
        return {
            key: stable(value)
            for key, value in tree.items()
            if key not in gone and not key.startswith(("latency", "ms_"))
        }
    return [stable(item) for item in tree] if isinstance(tree, list) else tree


def results_of(root: Path) -> dict[str, Any]:
    tree = json.loads((root / "results.json").read_text(encoding="utf-8"))
    tree["study"].get("next", {})["time"] = ""  # of this machine
    for chapter in tree["chapters"].values():
        chapter["charts"] = [chart["name"] for chart in chapter["charts"]]
    tree["runs"].sort(key=lambda run: run["id"])  # they end in another order each time
    for run in tree["runs"]:
        run["chapters"].sort()  # as the chapter that asked first
    return stable(tree)


def study_results() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        return results_of(train_study(Path(folder)))


def old_study_results() -> Any:
    """Of the study that version 0.1.0 trained, rendered by today's code."""
    with tempfile.TemporaryDirectory() as folder:
        unpack_old_study(folder)
        with contextlib.chdir(folder), tiny():  # recipes name the images by a relative path
            render(Path("study"))
            return results_of(Path("study"))


def write(name: str, value: Any) -> None:
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.json").write_text(
        json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    write("ids", ids())
    write("networks", networks())
    write("metrics", metrics(exact=False))
    write("study", study_results())
    write("old-study", old_study_results())
    if len(sys.argv) > 1:  # a folder for what holds on this machine alone
        FOLDER = Path(sys.argv[1])
        write("metrics", metrics(exact=True))
