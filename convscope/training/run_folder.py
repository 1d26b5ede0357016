"""A run folder: write, read, list. The only file that knows its layout.

    recipe.json              what the run is; its hash is the folder's name, unless the run was
                             begun with the same images under another name
    metrics.jsonl            a row per evaluated epoch
    val_losses.f16           the validation images' losses after each of these epochs: a row of N
                             float16 (little-endian) for each row of metrics.jsonl; where the
                             validation images are evaluated
    checkpoint.safetensors   weights, optimiser state, all rows so far, and the losses and right
                             answers on the validation and test images; replaced after each
                             evaluated epoch
    best.safetensors         the same, without the optimiser's state, of the epoch with the lowest
                             validation loss
    environment.json         versions and machine
    images.json              what images the network takes: names of the classes, mean, standard
                             deviation, size, how files are resized
    result.json              written last: its presence means finished; holds the SHA-256 of all
                             the others, and its own

The logs grow by a row that is synced; every other file is written beside its place, synced, renamed
into it, and the folder synced. The checkpoint is the truth of an unfinished run: the logs are
trimmed to it, and where the losses or the best weights do not agree with it the run begins anew.
result.json is the truth of a finished one. What does not agree with its hash is set aside and
named.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convscope.errors import UserError, one_line
from convscope.files import (
    content_of,
    dump,
    parse_json,
    seal,
    set_aside,
    sha256_of,
    sync_folder,
    write_bytes,
    write_json,
)
from convscope.recipe import Custom, Recipe, recipe_from_json, to_json
from convscope.training.runs import Run, best_row
from convscope.training.tensor_files import read_tensors, write_tensors

if TYPE_CHECKING:
    from torch import Tensor

    from convscope.training.image_format import ImageFormat
    from convscope.training.state import Row, State


BEST, CHECKPOINT, METRICS = "best.safetensors", "checkpoint.safetensors", "metrics.jsonl"
VAL_LOSSES = "val_losses.f16"
IMAGES = "images.json"
FILES = ("recipe.json", METRICS, VAL_LOSSES, CHECKPOINT, BEST, "environment.json", IMAGES)

SEED = re.compile(rb'"seed": \d+')  # as recipe.json has it
MOST_KEPT = 1000  # recipes that are kept, for the next seed
_recipes: dict[bytes, Recipe] = {}  # by the file without its seed

FINAL = ("finished", "diverged", "out_of_memory", "failed")


class RunFolder:
    """Reads and writes one run folder. Open it only under the lock of the folder that holds it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.process = os.getpid()
        self.rows: list[dict[str, Any]] = []
        self.best_epoch: int | None = None  # whose weights are in BEST
        self.losses = hashlib.sha256()  # of VAL_LOSSES so far
        # a run that an earlier version began has no losses of its first epochs
        self.keeps_losses = True

    def begin(self, recipe: Recipe, images: ImageFormat | None = None) -> None:
        """Write what is known before the first epoch; images: None for a run that cannot begin."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.path / "recipe.json", to_json(recipe))
        if images is not None:
            write_json(self.path / IMAGES, images.to_json())
        write_json(self.path / "environment.json", environment(recipe))

    def resume(self) -> State | None:
        """The state of the last epoch on disk; None where there is none to be trusted.

        The logs are trimmed to that epoch.
        """
        path, state = self.path / CHECKPOINT, None
        if path.exists():
            try:
                state = self._checked_state(path)
            except (UserError, KeyError, ValueError) as error:
                self.begin_anew(error)
        if not self.rows:
            (self.path / VAL_LOSSES).unlink(missing_ok=True)
        write_bytes(self.path / METRICS, metrics_of(self.rows))
        return state

    @property
    def diverged(self) -> bool:
        """Whether the last epoch on disk has a figure that is not finite."""
        return bool(self.rows) and None in self.rows[-1].values()

    def begin_anew(self, why: object) -> None:
        """Set the checkpoint aside, and forget what it said."""
        set_aside(self.path / CHECKPOINT, f"the checkpoint cannot be used: {why}")
        self.rows, self.best_epoch, self.keeps_losses = [], None, True
        self.losses = hashlib.sha256()
        (self.path / VAL_LOSSES).unlink(missing_ok=True)
        write_bytes(self.path / METRICS, b"")

    def _checked_state(self, path: Path) -> State:
        """Raises UserError, KeyError or ValueError where the files do not agree with each other."""
        from convscope.training.state import State

        tensors, metadata = read_tensors(path)
        self.rows, epoch = json.loads(metadata["rows"]), int(metadata["epoch"])
        self.keeps_losses = VAL_LOSSES in metadata
        if self.keeps_losses:
            self._trim_losses(metadata[VAL_LOSSES], tensors)
        if metadata.get("best"):
            self.best_epoch = int(metadata["best"])
            self._check_best(self.best_epoch, epoch)
        return State(epoch, tensors)

    def _trim_losses(self, digest: str, tensors: dict[str, Tensor]) -> None:
        """Leave the rows of losses that the checkpoint knows; UserError where these differ."""
        row = row_of_losses(tensors)
        path = self.path / VAL_LOSSES
        content = path.read_bytes() if path.exists() else b""
        kept = content[: len(row) * len(self.rows)]
        self.losses = hashlib.sha256(kept)
        if self.losses.hexdigest() != digest:
            if content:
                set_aside(path, f"{VAL_LOSSES} does not agree with the checkpoint")
            raise UserError(f"{VAL_LOSSES} does not agree with it")
        if kept != content:
            write_bytes(path, kept)

    def _check_best(self, best: int, last: int) -> None:
        """UserError where BEST does not hold the weights of epoch `best`.

        Nor those of an epoch after `last`, which was broken off and will be trained again.
        """
        path = self.path / BEST
        try:
            _, metadata = read_tensors(path)
        except UserError as error:
            if path.exists():
                set_aside(path, str(error))
            raise UserError(f"{BEST} cannot be read") from None
        if int(metadata["epoch"]) != best and int(metadata["epoch"]) <= last:
            raise UserError(f"{BEST} is not that of epoch {best}")

    def epoch(self, row: Row, state: State) -> None:
        """Record an epoch: best weights if it is the best so far, losses, checkpoint, its row."""
        self._check_process()
        self.rows.append(dict(row))
        if best_row(self.rows)["epoch"] == row["epoch"] and all(
            value is not None for value in row.values()
        ):
            self.best_epoch = state.epoch
            weights = {k: v for k, v in state.tensors.items() if not k.startswith("optimizer.")}
            write_tensors(self.path / BEST, weights, {"epoch": str(state.epoch)})
        metadata = {"epoch": str(state.epoch), "rows": json.dumps(self.rows)}
        if self.best_epoch is not None:
            metadata["best"] = str(self.best_epoch)
        if self.keeps_losses:
            if losses := row_of_losses(state.tensors):
                append(self.path / VAL_LOSSES, losses)
            self.losses.update(losses)
            metadata[VAL_LOSSES] = self.losses.hexdigest()
        write_tensors(self.path / CHECKPOINT, state.tensors, metadata)
        append(self.path / METRICS, dump(row) + b"\n")

    def _check_process(self) -> None:
        """RuntimeError in a child that the user's module has forked: its parent goes on, too."""
        if os.getpid() != self.process:
            raise RuntimeError(f"process {self.process} trains the run in {one_line(self.path)}")

    def finish(self, recipe: Recipe, status: str, size: dict[str, int], message: str = "") -> Run:
        """Write result.json.

        Raises UserError where a file is not what was written, which would be sealed unseen.
        """
        assert status in FINAL
        self._check_process()
        self._check_recipe(recipe)
        if status == "failed" and not (self.path / METRICS).exists():
            write_bytes(self.path / METRICS, metrics_of(self.rows))
        if status != "failed":
            for name in (BEST, CHECKPOINT):
                if (self.path / name).exists():
                    read_tensors(self.path / name)
        names = [name for name in FILES if name != VAL_LOSSES or self.keeps_losses]
        there = [name for name in names if (self.path / name).exists()]
        result = {
            "status": status,
            "message": message,
            "size": size,
            "seconds": round(sum(row["seconds"] for row in self.rows), 3),
            "recipe_sha256": hashlib.sha256(dump(to_json(recipe))).hexdigest(),
            "metrics_sha256": hashlib.sha256(metrics_of(self.rows)).hexdigest(),
            "files": {name: sha256_of(self.path / name) for name in there},
        }
        if VAL_LOSSES in there:
            result["files"][VAL_LOSSES] = self.losses.hexdigest()
        result["seal"] = seal(result)
        write_json(self.path / "result.json", result)
        return read_run(self.path)

    def _check_recipe(self, recipe: Recipe) -> None:
        """UserError where recipe.json is not what was begun: sealed, it would name another run."""
        try:
            tree = parse_json((self.path / "recipe.json").read_bytes())
            same = digest_of(to_json(recipe)) in map(
                digest_of, forms_of(tree, recipe_from_json(tree))
            )
        except (OSError, UserError) as error:
            raise UserError(f"run {one_line(self.path)}: recipe.json: {one_line(error)}") from None
        if not same:
            raise UserError(f"run {one_line(self.path)}: recipe.json was altered while it trained")


def metrics_of(rows: list[dict[str, Any]]) -> bytes:
    """The content of metrics.jsonl."""
    return b"".join(dump(row) + b"\n" for row in rows)


def row_of_losses(tensors: dict[str, Tensor]) -> bytes:
    """The validation images' losses among a state's tensors, as VAL_LOSSES holds them."""
    losses = tensors.get("losses.val")
    return b"" if losses is None else losses.numpy().astype("<f2").tobytes()


def append(path: Path, content: bytes) -> None:
    """Append to a file, and wait until the disk has it."""
    is_new = not path.exists()
    with path.open("ab") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    if is_new:
        sync_folder(path.parent)


def is_finished(path: Path) -> bool:
    return (path / "result.json").exists()


def read_run(path: Path, asked: Recipe | None = None) -> Run:
    """A finished run; UserError that names the file where one is missing, torn or altered.

    asked: the recipe that it should have. Where it has, its own need not be made and checked.
    """
    place = f"{path}{os.sep}"
    try:
        result = parse_json(content_of(f"{place}result.json"))
        raw, metrics = content_of(f"{place}recipe.json"), content_of(place + METRICS)
        read = {"recipe.json": raw, METRICS: metrics}
        files = result.get("files", {}) if isinstance(result, dict) else {}
        whole = {n: files.get(n) == hashlib.sha256(read[n]).hexdigest() for n in read}
        # what is as it was written need not be read strictly: there are thousands of runs
        tree = json.loads(raw) if whole["recipe.json"] else parse_json(raw)
        if asked is not None and tree == to_json(asked):
            recipe = asked
        else:
            recipe = known_recipe(raw, tree) if whole["recipe.json"] else recipe_from_json(tree)
    except (OSError, UserError) as error:
        raise UserError(f"run {one_line(path)}: {one_line(error)}") from None
    if not isinstance(result, dict) or result.get("seal") != seal(result):
        raise UserError(f"run {one_line(path)}: result.json was altered")
    if not whole[METRICS] and result["metrics_sha256"] != hashlib.sha256(metrics).hexdigest():
        raise UserError(f"run {one_line(path)}: {METRICS} was altered")
    # the file's own form is today's, unless an earlier version or a person wrote it
    forms = forms_of(tree, recipe)
    if not whole["recipe.json"] and result["recipe_sha256"] not in map(digest_of, forms):
        raise UserError(f"run {one_line(path)}: recipe.json was altered")
    lines = b"[%s]" % b",".join(metrics.splitlines())
    rows = tuple(json.loads(lines) if whole[METRICS] else parse_json(lines))
    run = Run(
        path,
        recipe,
        rows,
        result["status"],
        result["size"],
        result["seconds"],
        result["message"],
        files,
    )
    for name in files:
        if name not in read:
            check_file(run, name)
        elif not whole[name]:
            raise UserError(f"run {one_line(path)}: {name} was altered")
    return run


def known_recipe(raw: bytes, tree: dict[str, Any]) -> Recipe:
    """The recipe in a file that is as it was written.

    Of runs that differ in their seed alone, which thousands do, it is checked once.
    """
    rest, seeds = SEED.subn(b"", raw)
    if seeds != 1:  # a user's factory may have a seed, too
        return recipe_from_json(tree)
    first = _recipes.get(rest)
    if first is not None:
        return first.with_seed(tree["seed"])
    recipe = recipe_from_json(tree)
    if not isinstance(recipe.model, Custom):  # whose arguments may be changed
        if len(_recipes) >= MOST_KEPT:
            _recipes.clear()
        _recipes[rest] = recipe
    return recipe


def forms_of(tree: Any, recipe: Recipe) -> Iterator[Any]:
    """A recipe as its file has it, and as it is written today."""
    yield tree
    yield to_json(recipe)


def digest_of(tree: Any) -> str:
    return hashlib.sha256(dump(tree)).hexdigest()


def check_file(run: Run, name: str) -> None:
    """UserError where a file of a finished run is missing or is not what was written.

    Nothing is known of the files of a run of an earlier version.
    """
    if name not in run.files:
        return
    try:
        found = sha256_of(f"{run.path}{os.sep}{name}")
    except FileNotFoundError:
        raise UserError(f"run {one_line(run.path)}: {name} is missing") from None
    except OSError as error:
        raise UserError(f"run {one_line(run.path)}: {name}: {error.strerror}") from None
    if found != run.files[name]:
        raise UserError(f"run {one_line(run.path)}: {name} was altered")


def list_runs(root: Path) -> Iterator[Run | UserError]:
    """Every finished run below a folder of runs, a study or a folder of studies.

    An altered run is returned as the error that names it.
    """
    for path in run_folders(root):
        try:
            yield read_run(path)
        except UserError as error:
            yield error


def run_folders(root: Path) -> Iterator[Path]:
    """The folders below `root` that hold a result, by name; nothing is looked for inside them."""
    if is_finished(root):
        yield root
        return
    try:
        with os.scandir(root) as entries:
            folders = sorted(one.name for one in entries if one.is_dir(follow_symlinks=False))
    except OSError:
        return
    for name in folders:
        yield from run_folders(root / name)


def environment(recipe: Recipe) -> dict[str, Any]:
    """Versions, machine, and what the kernels in use were built by."""
    import platform

    import torch

    from convscope import installed_version
    from convscope.recipe import REVISION
    from convscope.training.acceleration import kernels_in_use

    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "torch": torch.__version__,
        "convscope": installed_version(),
        "revision": REVISION,
        "kernels": kernels_in_use(recipe),
    }
