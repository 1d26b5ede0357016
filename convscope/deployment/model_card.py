"""README.md and config.json of an exported network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from convscope import installed_version
from convscope.data import Dataset
from convscope.deployment.calibration import Calibration, proportion
from convscope.deployment.scoring import Score
from convscope.recipe import label_of, to_json
from convscope.training import ImageFormat, Run
from convscope.words import module_of, share

FORMAT = 1  # of config.json
KIND = "convscope network"  # by which a folder of an earlier export is known

RESIZING = {
    "crop": "resized until they cover that size, the centre kept",
    "squash": "resized to that size, so that aspect ratios change",
    "pad": "resized until they fit, with black bars",
}
FILES = {
    "model.safetensors": "the weights, with the pixels' mean and scale",
    "config.json": "classes, images, recipe, figures",
    "network.py": "the network in one file, for torch and safetensors",
    "model.onnx": "the network for ONNX runtimes, in float32",
    "model.int8.onnx": "the same with weights and activations of 8 bits (QDQ)",
}


def config_of(
    run: Run,
    images: ImageFormat,
    opset: int | None,
    scores: Sequence[Score],
    calibration: Calibration | None,
) -> dict[str, Any]:
    """What config.json holds."""
    return {
        "kind": KIND,
        "format": FORMAT,
        "convscope": installed_version(),
        "run": run.id,
        **images.to_json(),
        "pixels": "0 to 255; the network takes them as they are",
        "label": label_of(run.recipe.model),
        "recipe": {**to_json(run.recipe), "data": data_name(run)},
        "size": run.size,
        "best": run.best,
        "onnx": None if opset is None else onnx_about(images, opset),
        "scores": [score.numbers() for score in scores],
        "calibration": calibration and calibration.numbers(),
    }


def onnx_about(images: ImageFormat, opset: int) -> dict[str, Any]:
    """How the ONNX files are called."""
    return {
        "opset": opset,
        "input": {"name": "images", "type": "uint8", "shape": ["N", *images.in_shape]},
        "output": {"name": "logits", "type": "float32", "shape": ["N", images.num_classes]},
    }


def card_of(
    run: Run,
    images: ImageFormat,
    data: Dataset | None,
    files: Sequence[str],
    opset: int | None,
    scores: Sequence[Score],
    calibration: Calibration | None,
    seeds: Sequence[Run] = (),
) -> str:
    """What README.md holds; seeds: all runs of this configuration that are known."""
    channels, height, width = images.in_shape
    counts = {
        name: len(getattr(data, name)) if data is not None else 0
        for name in ("train", "val", "test")
    }
    about: dict[str, Any] = {
        "title": f"{escaped(data_name(run))}: {label_of(run.recipe.model)}",
        "shape": f"{height}×{width}",
        "classes": [escaped(name) for name in images.classes],
        "files": described(files, opset),
        "data": escaped(data_name(run)),
        "counts": counts,
        "data_hash": run.recipe.data_hash,
        "data_notes": splits_said(run, data),
        "channels": "one channel (grey)" if channels == 1 else f"{channels} channels",
        "resizing": RESIZING[images.resize],
        "mean": numbers(images.mean),
        "std": numbers(images.std),
        "figures": [*figures_of(run, counts["test"], calibration), *seeds_said(seeds)],
        "scores": [str(score) for score in scores] or ["not judged: the test images are not there"],
        "limits": limits_of(run, images, calibration),
        "in_shape": images.in_shape,
        "onnx": opset is not None,
        "run": run.id,
        "version": installed_version(),
        "model": label_of(run.recipe.model),
        "parameters": run.size["parameters"],
        "epochs": run.epochs,
        "seed": run.recipe.seed,
    }
    text = str(module_of(Path(__file__).with_name("card.jinja")).card(about))
    return text.strip() + "\n"


def data_name(run: Run) -> str:
    """What the data are called, without where they were."""
    return Path(run.recipe.data).name or run.recipe.data


def described(files: Sequence[str], opset: int | None) -> dict[str, str]:
    more = {} if opset is None else {"model.onnx": f"{FILES['model.onnx']}, opset {opset}"}
    return {name: more.get(name, FILES[name]) for name in files if name in FILES}


def escaped(text: str) -> str:
    """A name from outside as Markdown shows it: on one line, without markup."""
    line = " ".join(text.split())
    return "".join(f"\\{sign}" if sign in "\\`*_{}[]<>#|!" else sign for sign in line)


def numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.2f}" for value in values)


def splits_said(run: Run, data: Dataset | None) -> list[str]:
    """How the splits were made."""
    if data is None:
        return ["The images are not there any more: their numbers are not known"]
    recipe, said = run.recipe, []
    if len(data.val):
        said.append(
            f"Of each class {share(recipe.val)} of the training images are held out for "
            f"validation, by seed {recipe.split_seed}, unless the data bring validation images"
        )
    if recipe.limit is not None and recipe.limit < len(data.train):
        said.append(f"The network was trained on {recipe.limit:,} of the training images")
    return said


def figures_of(run: Run, tested: int, calibration: Calibration | None) -> list[str]:
    """The figures of the best epoch, with intervals."""
    best: Mapping[str, Any] = run.best
    found = []
    if (accuracy := best.get("test_accuracy")) is not None:
        interval = f" ({share(accuracy, 2)})"
        if tested:
            bounded = proportion(round(accuracy * tested), tested)
            low, high = 100 * bounded.low, 100 * bounded.high
            interval = f" {share(accuracy, 2)} (95 % interval over images {low:.2f} to {high:.2f})"
        found.append(f"test accuracy{interval}, of one seed; another seed gives another figure")
        found.append(f"test loss {best['test_loss']:.4f} nats")
    if best.get("val_accuracy") is not None:
        found.append(
            f"validation accuracy {share(best['val_accuracy'], 2)}, by whose loss epoch "
            f"{best['epoch']} of {run.epochs} was chosen"
        )
    if run.last.get("test_views_accuracy") is not None:
        found.append(
            f"averaged over views ({run.recipe.views}), which these files do not do: test accuracy "
            f"{share(run.last['test_views_accuracy'], 2)}"
        )
    return [*found, *(calibration.sentences() if calibration else ())]


def seeds_said(seeds: Sequence[Run]) -> list[str]:
    """The accuracies of all seeds; nothing of one."""
    found = [run.best["test_accuracy"] for run in seeds if run.best.get("test_accuracy")]
    if len(found) < 2:
        return []
    mean = share(sum(found) / len(found), 2)
    ends = f"from {share(min(found), 2)} to {share(max(found), 2)}"
    return [f"test accuracy of {len(found)} seeds of this network: mean {mean}, {ends}"]


def limits_of(run: Run, images: ImageFormat, calibration: Calibration | None) -> list[str]:
    """What the network is not for."""
    found = [
        "it names one of its classes for every image, also for one that shows none of them",
        "the figures hold for images as those of the data; for images from elsewhere nothing was "
        "measured",
    ]
    if calibration is None:
        found.append("its probabilities (softmax of the logits) are not calibrated")
    else:
        found.append(
            f"the softmax of the logits is calibrated where they are divided by "
            f"{calibration.temperature:.4g} first"
        )
    if run.recipe.label_noise:
        found.append(f"{share(run.recipe.label_noise)} of its training labels were made wrong")
    return found
