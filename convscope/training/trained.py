"""What finished runs hold: their networks, and how each image came out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from convscope.data import Dataset
from convscope.errors import UserError, one_line
from convscope.files import parse_json
from convscope.models import build
from convscope.recipe import Recipe
from convscope.training.caller import own_settings
from convscope.training.checks import check_logits, is_ours, name_of
from convscope.training.extra_state import state_dict_from
from convscope.training.image_format import ImageFormat, image_format_of
from convscope.training.left_out_images import (
    HeldOut,
    PartialRun,
    is_whole,
    kept,
    number_left_out,
)
from convscope.training.metrics import metrics_by_image, unpacked
from convscope.training.resident_data import dataset_of
from convscope.training.run_folder import (
    BEST,
    CHECKPOINT,
    IMAGES,
    VAL_LOSSES,
    check_file,
    is_finished,
    read_run,
)
from convscope.training.run_paths import content_of, run_path
from convscope.training.runs import Run
from convscope.training.soundness import load_weights
from convscope.training.state import LOSSES, RIGHT
from convscope.training.tensor_files import read_tensor, read_tensors
from convscope.training.tensors import pixel_statistics, trained_on

When = Literal["best", "last"]
HELD_OUT: tuple[HeldOut, ...] = ("val", "test")
WEIGHTS: dict[When, str] = {"best": BEST, "last": CHECKPOINT}


def finished_run(path: Path, say: Callable[[str], None] | None = None) -> Run | None:
    """The run in this folder; None where there is none, where it failed and where it was altered.

    say: is told of an altered run.
    """
    try:
        run = read_finished(path)
    except UserError as error:
        if say is not None:
            say(f"{error}; it is set aside and trained again")
        return None
    return None if run is None or run.status == "failed" else run


def find_run(recipe: Recipe, root: Path | str) -> Run | None:
    """A recipe's run below `root`, a failed one too; None where none has ended.

    It may have been trained on the same images at another path: then it has another id, and its
    recipe here is the one that was given. Raises as `read_run`, and UserError where the run in this
    place was another recipe's.
    """
    run = read_finished(run_path(recipe, root), recipe)
    if run is None or run.recipe is recipe:
        return run
    check_recipe_of(run, recipe)
    return replace(run, recipe=recipe)


def check_recipe_of(run: Run, asked: Recipe | None) -> None:
    """UserError where the run in a recipe's place is another recipe's.

    asked: the recipe that a study asks for, without which it may be any of convscope's networks:
        no study asks for a user's factory.
    """
    found = run.recipe
    if asked == found:
        return
    shown = f"run {one_line(run.path)}: recipe.json"
    if asked is not None and asked.data_hash and content_of(found) != content_of(asked):
        raise UserError(f"{shown} is that of another run")
    if asked is None and not is_ours(found.model):
        raise UserError(
            f"{shown} names the factory {name_of(found)!r}, for which no study asks; it is not "
            "imported"
        )


def read_finished(path: Path, asked: Recipe | None = None) -> Run | None:
    """The run in this folder, a failed one too; None where none has ended. Raises as `read_run`."""
    if not is_finished(path):
        return None
    run = read_run(path, asked)
    return run if is_whole() or not run.rows else partial_run(run)


def partial_run(run: Run) -> Run:
    """The run with the figures of the images that are not left out (`without_images`).

    Rows of other epochs than the best and the last have the figures of all test images: those of
    each image are not recorded. Raises as `image_losses`.
    """
    rows = {row["epoch"]: dict(row) for row in run.rows}
    if (history := validation_history(run)) is not None:
        for row, losses in zip(rows.values(), history, strict=True):
            row["val_loss"] = float(losses.double().mean())
    for when in WEIGHTS:
        row = getattr(run, when)
        for split in HELD_OUT:
            losses = image_losses(run, split, when)
            right = None
            if losses is not None:
                right = right_answers(run, len(losses), split, when)
            if losses is None or right is None:
                continue
            told = metrics_by_image(losses, right)
            rows[row["epoch"]] |= {
                f"{split}_loss": told.loss,
                f"{split}_accuracy": told.accuracy,
                f"{split}_loss_sd": told.loss_sd,
            }
    kept = {one.name: getattr(run, one.name) for one in fields(Run)}
    return PartialRun(**{**kept, "rows": tuple(rows.values())}, best_epoch=run.best["epoch"])


def image_losses(run: Run, split: HeldOut, when: When = "best") -> Tensor | None:
    """The cross-entropy in nats of each image of a split: N values, float32.

    They were recorded as float16: each is within 2^-11 (5e-4) of itself, or within 3e-8 where it is
    below 6e-5, and is 65,504 where it is larger.

    run: a finished run.
    split: "val" or "test".
    when: after the best epoch or after the last one.

    None where the split was not evaluated, and for runs of an earlier version. Raises UserError
    where the file is missing or altered.
    """
    found = recorded(run, f"{LOSSES}.{split}", when)
    if found is None:
        return None
    if run.status == "finished" and not torch.isfinite(found).all():
        raise UserError(f"run {one_line(run.path)}: {WEIGHTS[when]}: its losses hold NaN")
    return kept(found.float(), split)


def right_answers(
    run: Run, data: Dataset | int, split: HeldOut = "test", when: When = "best"
) -> Tensor | None:
    """Which images of a split a run's weights get right: N booleans.

    run: a finished run.
    data: what it was trained and evaluated on, or the number of images of the split that are not
        left out.
    split: "val" or "test".
    when: after the best epoch or after the last one.

    They are read from the run, None where it did not record them. Raises UserError where the
    file is missing or altered.
    """
    found = recorded(run, f"{RIGHT}.{split}", when)
    if found is None:
        return None
    images = data if isinstance(data, int) else len(getattr(data, split))
    try:
        return kept(unpacked(found, images + number_left_out(split)), split)
    except ValueError as error:
        raise UserError(f"run {one_line(run.path)}: {error}") from None


def recorded(run: Run, name: str, when: When) -> Tensor | None:
    """A tensor of a run's files, checked; None where there is none of this name."""
    if not run.files and name != f"{RIGHT}.test":
        return None  # earlier versions recorded nothing else by image
    file = WEIGHTS[when]
    if file in run.files:  # the hash of the whole file vouches for each tensor
        check_file(run, file)
        return read_tensor(run.path / file, name)
    tensors, _ = read_tensors(run.path / file)
    return tensors.get(name)


def validation_history(run: Run) -> Tensor | None:
    """The cross-entropy of each validation image after each evaluated epoch: epochs×N, float32.

    Row i belongs to run.rows[i]; the rounding is that of `image_losses`. None where the validation
    images were not evaluated, and for runs of an earlier version. Raises UserError where the file
    is missing or altered.
    """
    if VAL_LOSSES not in run.files:
        return None
    check_file(run, VAL_LOSSES)
    values = np.fromfile(run.path / VAL_LOSSES, dtype="<f2").astype(np.float32)
    if len(values) % max(1, len(run.rows)) or np.isnan(values).any():
        raise UserError(
            f"run {one_line(run.path)}: {VAL_LOSSES}: {len(values):,} values that are no losses of "
            f"{len(run.rows):,} epochs"
        )
    return kept(torch.from_numpy(values.reshape(len(run.rows), -1)), "val")


def format_of(run: Run, data: Dataset | None = None) -> ImageFormat:
    """What images a run's network takes, and what its classes are called.

    run: a finished run.
    data: what run.recipe.data names, where it is loaded already; only asked of runs of earlier
        versions, which do not hold it themselves.

    Raises UserError where the file is missing or altered, and where a run of an earlier version
    was trained on images that are not there today.
    """
    if IMAGES in run.files:
        check_file(run, IMAGES)
        try:
            return ImageFormat.from_json(parse_json((run.path / IMAGES).read_bytes()))
        except UserError as error:
            raise UserError(f"run {one_line(run.path)}: {IMAGES}: {error}") from None
    data = data or data_of(run)
    train = trained_on(data, run.recipe)
    return image_format_of(data, run.recipe.resize, *pixel_statistics(train.images))


def data_of(run: Run) -> Dataset:
    """The data set that a run was trained on.

    Raises UserError where it is not there, and where it changed since.
    """
    recipe, shown = run.recipe, f"run {one_line(run.path)}"
    try:
        data = dataset_of(recipe, verify=False)
    except UserError as error:
        raise UserError(f"{shown}: its images are not there: {error}") from None
    if recipe.data_hash not in ("", data.hash):
        raise UserError(
            f"{shown}: its data {one_line(recipe.data)!r} changed since: "
            f"{recipe.data_hash[:12]} then, {data.hash[:12]} now"
        )
    return data


def network(run: Run, which: When = "best", *, data: Dataset | None = None) -> nn.Module:
    """The trained network of a run, float32, on the CPU, in eval mode.

    It takes normalised images N×C×H×W (`Tensors.inputs`) and returns logits N×K.

    run: a finished run.
    which: weights of the best epoch or of the last one.
    data: what run.recipe.data names, where it is loaded already; only asked of runs of earlier
        versions.

    Raises UserError where the weights are missing or altered, where they hold NaN, and where they
    do not fit the network, as what a user's factory gives today.
    """
    about = format_of(run) if data is None or IMAGES in run.files else data
    check_file(run, WEIGHTS[which])
    recipe = run.recipe
    with own_settings():
        net = build(recipe.model, about.in_shape, about.num_classes, recipe.seed)
        tensors, _ = read_tensors(run.path / WEIGHTS[which])
        state = state_dict_from(tensors)
        if set(state) - set(net.state_dict()):  # a module may make its weights in its first call
            check_logits(net, about.in_shape, about.num_classes, recipe)
        try:
            load_weights(net, tensors)
        except UserError as error:
            raise UserError(f"run {one_line(run.path)}: {WEIGHTS[which]}: {error}") from error
    net.eval()
    return net
