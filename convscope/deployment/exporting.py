"""A run leaves the study as files: safetensors, one Python file, ONNX, int8, a model card."""

from __future__ import annotations

import json
import runpy
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from convscope.data import Dataset
from convscope.deployment.answers import checked
from convscope.deployment.calibration import Calibration
from convscope.deployment.graph import graph_of, weights_of
from convscope.deployment.image_network import ImageNetwork, network
from convscope.deployment.model_card import KIND, card_of, config_of
from convscope.deployment.predicting import calibration_of
from convscope.deployment.run_card import Named, all_runs, best_of
from convscope.deployment.scoring import Score, in_parts, scored
from convscope.deployment.standalone import source_of
from convscope.errors import UserError, one_line
from convscope.files import parse_json, write_bytes, write_json
from convscope.recipe import Custom, Recipe, label_of
from convscope.training import (
    ImageFormat,
    Run,
    accelerate,
    format_of,
    own_settings,
    stratified_subset,
    trained_on,
)

if TYPE_CHECKING:
    from convscope.data import Split

WEIGHTS, CONFIG, CARD, ALONE = "model.safetensors", "config.json", "README.md", "network.py"
ONNX, INT8 = "model.onnx", "model.int8.onnx"
NAMES = (WEIGHTS, CONFIG, CARD, ALONE, ONNX, INT8)
ALIKE = 1000  # test images for the file that calls the very operators of the network
RANGED = 512  # training images by which the ranges of 8 bits are found

Say = Callable[[str], None]


@dataclass(frozen=True)
class Export:
    """What was written, and what it is worth; printing it says so.

    folder: where the files are.
    files: their names.
    scores: of each exported network on the test images.
    faults: why the export is not done; empty where it is.
    notes: what else is to be said, sentences without the full stop.
    """

    folder: Path
    files: tuple[str, ...]
    scores: tuple[Score, ...]
    faults: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def done(self) -> bool:
        """Whether each network was judged on the test set and none is worse or better there."""
        return not self.faults

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "folder": str(self.folder),
            "files": list(self.files),
            "done": self.done,
            "faults": list(self.faults),
            "notes": list(self.notes),
            "scores": [score.numbers() for score in self.scores],
        }

    def __str__(self) -> str:
        lines = [f"{self.folder}: {', '.join(self.files)}", *map(str, self.scores)]
        lines += [f"{note}." for note in self.notes]
        return "\n".join([*lines, *(f"not done: {fault}" for fault in self.faults)])


@dataclass
class Made:
    """An export on its way."""

    content: dict[str, bytes] = field(default_factory=dict)
    scores: list[Score] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    opset: int | None = None


def export(
    run: Named,
    folder: Path | str,
    *,
    onnx: bool = True,
    int8: bool = True,
    data: Dataset | None = None,
    say: Say | None = None,
) -> Export:
    """Write a run's network as files that need convscope no more, each judged on the test images.

    They are model.safetensors, config.json, README.md, network.py (which needs torch and
    safetensors), model.onnx and model.int8.onnx.

    run: a finished run, its folder, or a study's folder, which stands for its winner; of several
        seeds the one of lowest validation loss.
    folder: where the files go: a new or empty folder, or that of an earlier export.
    onnx: whether ONNX files are written; they need the extra `export`.
    int8: whether one of them has 8 bits.
    data: what run.recipe.data names, where it is loaded already.
    say: called with what is being done.

    An export whose accuracy differs from torch's, or that could not be judged, is not `done`.
    Raises UserError where the run cannot be used, torch's exporter does not take the network, the
    folder holds other files, and where an extra is missing.
    """
    from convscope.deployment.onnx_files import check_installed

    seeds = all_runs(run)
    found = best_of(seeds)
    if onnx:
        check_installed()
    place = checked_folder(folder)
    tell = say or (lambda text: None)
    images = format_of(found, data)
    made = Made()
    known = known_data(found, data, made)
    name = found.recipe.model.factory if isinstance(found.recipe.model, Custom) else ""
    with own_settings(threads=None):
        net = network(found, data=known)
        tell("reading the network")
        program = graph_of(net, name or label_of(found.recipe.model))
        add_alone(made, found, images, net, program)
        if onnx:
            tell("writing ONNX")
            add_onnx(made, found, net, program, known, int8)
        if known is not None and len(known.test):
            tell(f"judging on {len(known.test):,} test images")
            judge(made, net, known.test, found.recipe)
    finish(made, found, images, known, seeds)
    return written(place, made)


def checked_folder(folder: Path | str) -> Path:
    """UserError where the folder holds what no export has written."""
    place, shown = Path(folder), f"folder {one_line(folder)!r}"
    try:
        there = sorted(one.name for one in place.iterdir()) if place.exists() else []
    except OSError as error:
        raise UserError(f"{shown}: {error.strerror}; name a folder") from None
    if there and not is_export(place):
        raise UserError(
            f"{shown}: holds other files ({one_line(', '.join(there), 80)}); "
            "name a new folder, or that of an earlier export"
        )
    return place


def is_export(place: Path) -> bool:
    try:
        return parse_json((place / CONFIG).read_bytes())["kind"] == KIND
    except (OSError, UserError, KeyError, TypeError):
        return False


def known_data(run: Run, data: Dataset | None, made: Made) -> Dataset | None:
    """The run's data; where they are not there the export says so and goes on."""
    if data is not None:
        return checked(run, data)
    try:
        return checked(run, None)
    except UserError as error:
        made.faults.append(f"not judged on the test images: {error}")
        return None


def add_alone(made: Made, run: Run, images: ImageFormat, net: ImageNetwork, program: Any) -> None:
    """The weights, and the file that needs torch and safetensors alone."""
    from safetensors.torch import save

    from convscope import installed_version

    weights = weights_of(net, program)
    if complex_ones := [name for name, value in weights.items() if value.is_complex()]:
        raise UserError(
            f"weight {one_line(complex_ones[0])!r} is complex: safetensors for others has no such "
            "type; export takes real weights"
        )
    made.content[WEIGHTS] = save(weights, {"format": "pt", "run": run.id})
    try:
        title = f"A network of {label_of(run.recipe.model)}, {run.size['parameters']:,} parameters."
        text = source_of(program, images, title, installed_version(), run.id)
        made.content[ALONE] = text.encode()
    except UserError as error:
        made.notes.append(str(error))


def add_onnx(
    made: Made, run: Run, net: ImageNetwork, program: Any, data: Dataset | None, int8: bool
) -> None:
    """The ONNX files."""
    from convscope.deployment.onnx_files import onnx_of, opset_of
    from convscope.deployment.onnx_running import quantised

    about = {"run": run.id, "classes": json.dumps(list(net.classes)), "pixels": "0 to 255"}
    model = onnx_of(program, net.in_shape, label_of(run.recipe.model), about)
    made.content[ONNX], made.opset = model.SerializeToString(), opset_of(model)
    if not int8:
        return
    if data is None:
        made.faults.append(f"no {INT8}: the ranges of 8 bits are found on training images")
        return
    train = trained_on(data, run.recipe)
    some = stratified_subset(train.labels, min(RANGED, len(train)), run.recipe.split_seed)
    made.content[INT8] = quantised(model, train.images[some])


def judge(made: Made, net: ImageNetwork, test: Split, recipe: Recipe) -> None:
    """Score each exported network on the whole test set; torch computes as the recipe says."""
    few = slice(ALIKE)
    exact = in_parts(net, test.images[few])  # by the very operators of the file that stands alone
    if not isinstance(recipe.model, Custom):  # a user's may rely on how its weights lie in memory
        net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        net.network = accelerate(net.network, replace(recipe, device="cpu"), or_library=True)
    truth = in_parts(net, test.images)
    for file, exported in exported_networks(made.content):
        some, known = (few, exact) if file == ALONE else (slice(None), truth)
        score = scored(file, exported, test.images[some], test.labels[some], known)
        made.scores.append(score)
        if score.differs:
            made.faults.append(f"{file}: its accuracy differs from torch's")
        if not score.batches:
            made.faults.append(f"{file}: batches of 1 or 7 images give other answers")


def exported_networks(
    content: dict[str, bytes],
) -> list[tuple[str, Callable[[Tensor], Tensor]]]:
    """The exported networks, as whoever gets the files would run them."""
    found: list[tuple[str, Callable[[Tensor], Tensor]]] = []
    if ALONE in content:
        found.append((ALONE, loaded_alone(content)))
    if ONNX in content:
        from convscope.deployment.onnx_running import OnnxNetwork

        names = (name for name in (ONNX, INT8) if name in content)
        found += [(name, OnnxNetwork(content[name])) for name in names]
    return found


def loaded_alone(content: dict[str, bytes]) -> Callable[[Tensor], Tensor]:
    """The network of the stand-alone file."""
    with tempfile.TemporaryDirectory(prefix="convscope-") as folder:
        for name in (WEIGHTS, ALONE):
            Path(folder, name).write_bytes(content[name])
        return runpy.run_path(str(Path(folder, ALONE)))["load"](folder)


def finish(
    made: Made, run: Run, images: ImageFormat, data: Dataset | None, seeds: Sequence[Run]
) -> None:
    """config.json and README.md, which tell of the others."""
    calibration: Calibration | None = None
    try:
        calibration = calibration_of((run,), data=data)
    except UserError as error:
        made.notes.append(f"the probabilities are not calibrated: {error}")
    config = config_of(run, images, made.opset, made.scores, calibration)
    made.content[CONFIG] = (json.dumps(config, indent=2, allow_nan=False) + "\n").encode()
    files = [name for name in NAMES if name in made.content]
    card = card_of(run, images, data, files, made.opset, made.scores, calibration, seeds)
    made.content[CARD] = card.encode()


def written(place: Path, made: Made) -> Export:
    """Write all files; those of an earlier export that this one lacks are removed."""
    try:
        place.mkdir(parents=True, exist_ok=True)
        write_json(place / CONFIG, {"kind": KIND, "unfinished": True})
        for name in NAMES:
            if name not in made.content:
                (place / name).unlink(missing_ok=True)
            elif name != CONFIG:
                write_bytes(place / name, made.content[name])
        write_bytes(place / CONFIG, made.content[CONFIG])
        shutil.rmtree(place / "__pycache__", ignore_errors=True)
    except OSError as error:
        raise UserError(
            f"folder {one_line(place)!r}: {error.strerror}; name a folder that can be written"
        ) from None
    files = tuple(name for name in NAMES if name in made.content)
    return Export(place, files, tuple(made.scores), tuple(made.faults), tuple(made.notes))
