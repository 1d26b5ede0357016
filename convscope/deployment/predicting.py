"""Classes and probabilities of images, by a finished run or several seeds of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from convscope.data import Dataset, read_unlabelled
from convscope.deployment.answers import Answers, answers_of, joined, logits_of_images
from convscope.deployment.calibration import LEVEL, Calibration, calibrated
from convscope.deployment.images import Found, image_files
from convscope.deployment.run_card import Named, all_runs, best_of
from convscope.errors import UserError, one_line
from convscope.training import ImageFormat, Run, format_of
from convscope.words import count, listed, share

if TYPE_CHECKING:
    from convscope.data.content import Progress

FILE_CHANNELS = (1, 3)  # of image files
MOST_SHOWN = 20  # images that are printed; all of them are in rows()
MOST_NAMED = 5  # bad files in a message


@dataclass(frozen=True, eq=False)
class Predictions:
    """What runs say of images; printing it shows the first ones.

    names: what the N images are called.
    classes: names of the K classes.
    probabilities: N×K, float64; calibrated where there is a calibration.
    logits: N×K, float32; of an ensemble the logarithms of the mean probabilities.
    runs: the ids of the runs.
    calibration: temperature and sets, with their figures; None where none could be had.
    failed: name of an image -> why it could not be read; these are in no row.
    notes: what is to be said, sentences without the full stop.
    """

    names: tuple[str, ...]
    classes: tuple[str, ...]
    probabilities: Tensor
    logits: Tensor
    runs: tuple[str, ...]
    calibration: Calibration | None = None
    failed: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    @property
    def labels(self) -> Tensor:
        """The number of the most probable class, N."""
        return self.probabilities.argmax(1)

    @property
    def sets(self) -> list[tuple[str, ...]] | None:
        """For each image the classes of its conformal set, the most probable one first."""
        if self.calibration is None:
            return None
        inside = self.calibration.sets(self.probabilities)
        order = self.probabilities.argsort(dim=1, descending=True, stable=True)
        ranked = zip(order.tolist(), inside.gather(1, order).sum(1).tolist(), strict=True)
        return [tuple(self.classes[k] for k in row[:size]) for row, size in ranked]

    def rows(self) -> list[dict[str, Any]]:
        """For each image its name, its class, the probability of that, and its set, if any."""
        sets = self.sets
        best, numbers = self.probabilities.max(1)
        pairs = zip(self.names, numbers.tolist(), best.tolist(), strict=True)
        found: list[dict[str, Any]] = [
            {"image": name, "class": self.classes[number], "probability": probability}
            for name, number, probability in pairs
        ]
        if sets is not None:
            for row, members in zip(found, sets, strict=True):
                row["set"] = members
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, with the probability of each class."""
        images = self.rows()
        for row, values in zip(images, self.probabilities.tolist(), strict=True):
            row["probabilities"] = values
            if "set" in row:
                row["set"] = list(row["set"])
        return {
            "runs": list(self.runs),
            "classes": list(self.classes),
            "calibration": self.calibration and self.calibration.numbers(),
            "notes": list(self.notes),
            "images": images,
            "failed": dict(self.failed),
        }

    def __str__(self) -> str:
        rows = self.rows()[:MOST_SHOWN]
        width = max((len(one_line(row["image"], 60)) for row in rows), default=0)
        lines = [
            f"{one_line(row['image'], 60):<{width}}  {one_line(row['class'], 40)} "
            f"{share(row['probability'])}"
            for row in rows
        ]
        if len(self) > MOST_SHOWN:
            lines.append(f"… {len(self) - MOST_SHOWN:,} more")
        return "\n".join([*lines, *(f"{note}." for note in self.notes), *self.failures()])

    def failures(self) -> list[str]:
        """A line that names the first bad files; none where all could be read."""
        if not self.failed:
            return []
        named = [f"{one_line(name, 80)!r} ({why})" for name, why in self.failed.items()]
        more = f" and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
        bad = count(len(named), "image")
        return [f"{bad} could not be read: {', '.join(named[:MOST_NAMED])}{more}"]


def predict(
    run: Named | Sequence[Named],
    images: Any,
    *,
    ensemble: bool = False,
    calibrate: bool = True,
    level: float = LEVEL,
    data: Dataset | None = None,
    progress: Progress | None = None,
) -> Predictions:
    """Classes and probabilities of images, decoded and normalised as the run's own were.

    run: a finished run, its folder, or a study's folder, which stands for its winner; of several
        seeds the one of lowest validation loss.
    images: N×C×H×W, a tensor or array, uint8 or floating point from 0 to 1; or a path or several
        of image files, folders and archives, "-" for standard input.
    ensemble: take the mean probabilities of all seeds of the winner, or of all runs given.
    calibrate: make probabilities true by a temperature and name conformal sets. Both need the
        run's validation images; where these are not there the predictions' notes say so.
    level: the share of images whose set is to hold their class.
    data: what run.recipe.data names, where it is loaded already.
    progress: called with what is done, how much of it, and of how much.

    Raises UserError where a run cannot be used, an image is not there, and where no image can be
    read; some bad files among good ones are named in `failed`.
    """
    if not 0.5 <= level < 1:
        raise UserError(f"level = {level:g}: must be from 0.5 to below 1")
    chosen = members(run, ensemble)
    form = shared_format(chosen, data)
    if not is_paths(images):
        values = as_tensor(images)
        names = tuple(map(str, range(len(values))))
        return answered(chosen, form, values, names, {}, [], calibrate, level, data)
    given = [images] if isinstance(images, str | Path) else list(images)
    check_channels(form)
    with image_files(given) as found:
        pixels, faults, notes = read_unlabelled(
            found.paths, form.in_shape, form.resize, form.ranges, progress
        )
        failed = {found.names[i]: fault for i, fault in faults.items()}
        kept = [i for i in range(len(found.names)) if i not in faults]
        check_readable(found, failed)
    values = torch.from_numpy(pixels if not faults else pixels[kept]).permute(0, 3, 1, 2)
    names = tuple(found.names[i] for i in kept)
    said = [*found.notes, *notes]
    return answered(chosen, form, values, names, failed, said, calibrate, level, data)


def members(run: Named | Sequence[Named], ensemble: bool) -> tuple[Run, ...]:
    """The runs that answer: one, or all for an ensemble."""
    found = all_runs(run)
    several = not isinstance(run, Run | str | Path)
    if not ensemble and not several:
        return (best_of(found),)
    if ensemble and len(found) == 1:
        raise UserError(
            f"ensemble: run {one_line(found[0].path)} is one run; name a study, or several runs"
        )
    return found


def shared_format(chosen: Sequence[Run], data: Dataset | None) -> ImageFormat:
    """The format of the runs' images; UserError where it is not one.

    Their mean may differ with what they were trained on: each run normalises by its own.
    """
    forms = [format_of(run, data) for run in chosen]
    first = forms[0]
    for run, form in zip(chosen, forms, strict=True):
        same = (form.classes, form.in_shape, form.resize, form.scales) == (
            first.classes,
            first.in_shape,
            first.resize,
            first.scales,
        )
        if not same:
            raise UserError(
                f"ensemble: runs {chosen[0].id} and {run.id} were trained on other classes or "
                "other images; name runs of one data set"
            )
    return first


def is_paths(images: Any) -> bool:
    """Whether these are names of files, and no pixels."""
    if isinstance(images, str | Path):
        return True
    is_list = isinstance(images, Sequence) and not isinstance(images, np.ndarray)
    return is_list and bool(images) and all(isinstance(one, str | Path) for one in images)


def as_tensor(images: Any) -> Tensor:
    """Images as a tensor; UserError for what is none."""
    try:
        return images if isinstance(images, Tensor) else torch.from_numpy(np.asarray(images))
    except (TypeError, ValueError) as error:
        raise UserError(
            f"images: {one_line(error)}; give paths, or N×C×H×W as uint8 or floats from 0 to 1"
        ) from None


def check_channels(form: ImageFormat) -> None:
    if form.in_shape[0] not in FILE_CHANNELS:
        raise UserError(
            f"the network takes images of {form.in_shape[0]} channels, which image files have not; "
            "give them as an array to convscope.predict"
        )


def check_readable(found: Found, failed: Mapping[str, str]) -> None:
    """UserError where no image could be read."""
    if len(failed) == len(found.names):
        named = [f"{one_line(name, 80)!r} ({why})" for name, why in failed.items()]
        more = f" and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
        raise UserError(
            f"no image could be read: {', '.join(named[:MOST_NAMED])}{more}; "
            "give images of a known format, as PNG or JPEG"
        )


def answered(
    chosen: Sequence[Run],
    form: ImageFormat,
    values: Tensor,
    names: tuple[str, ...],
    failed: Mapping[str, str],
    notes: Sequence[str],
    calibrate: bool,
    level: float,
    data: Dataset | None,
) -> Predictions:
    """The predictions for images as a tensor."""
    logits = joined([logits_of_images(run, values) for run in chosen])
    found, said = None, [*notes]
    if calibrate:
        try:
            found = calibration_of(chosen, level, data)
            said += found.sentences()
        except UserError as error:
            said.append(f"the probabilities are not calibrated: {error}")
    probabilities = found.probabilities(logits) if found else logits.double().softmax(1)
    ids = tuple(run.id for run in chosen)
    return Predictions(names, form.classes, probabilities, logits, ids, found, failed, tuple(said))


def calibration_of(
    chosen: Sequence[Run], level: float = LEVEL, data: Dataset | None = None
) -> Calibration:
    """The calibration of a run or of an ensemble.

    Raises UserError where the images are not there, or the runs held out different ones.
    """
    splits = {(run.recipe.val, run.recipe.split_seed) for run in chosen}
    if len(splits) > 1:
        raise UserError(f"the runs hold out different validation images: {listed(sorted(splits))}")
    each = [answers_of(run, data) for run in chosen]
    val, test = (
        Answers(joined([one[name].logits for one in each]), each[0][name].labels)
        for name in ("val", "test")
    )
    return calibrated(val, test, chosen[0].recipe.split_seed, level)
