"""A run folder: write, read, list. The only file that knows its layout.

    recipe.json              what the run is; its hash is the folder's name
    metrics.jsonl            a row per epoch
    checkpoint.safetensors   weights, optimiser state and all rows so far; replaced after each epoch
    best.safetensors         weights of the epoch with the lowest validation loss, and which test
                             images they get right
    environment.json         versions and machine
    result.json              written last: its presence means finished; holds the hashes of recipe
                             and metrics

Every file is written beside its place, synced, renamed into it, and the folder synced. The
checkpoint is the truth of an unfinished run (the log is trimmed to it), result.json is the truth of
a finished one. What does not agree with its hash is set aside and named.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convscope.errors import UserError, one_line
from convscope.files import dump, parse_json, seal, set_aside, write_bytes, write_json
from convscope.recipe import Recipe, recipe_from_json, to_json
from convscope.training.runs import Run, best_row
from convscope.training.tensor_files import read_tensors, write_tensors

if TYPE_CHECKING:
    from convscope.training.state import Row, State


BEST, CHECKPOINT = "best.safetensors", "checkpoint.safetensors"

FINAL = ("finished", "diverged", "out_of_memory", "failed")


class RunFolder:
    """Reads and writes one run folder. Open it only under the lock of the folder that holds it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []

    def begin(self, recipe: Recipe) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.path / "recipe.json", to_json(recipe))
        write_json(self.path / "environment.json", environment(recipe))

    def resume(self) -> State | None:
        """The state of the last epoch on disk; None where there is none to be trusted.

        The log is trimmed to that epoch.
        """
        path = self.path / CHECKPOINT
        if not path.exists():
            self._write_rows()
            return None
        try:
            tensors, metadata = read_tensors(path)
            self.rows = json.loads(metadata["rows"])
            from convscope.training.state import State

            state = State(int(metadata["epoch"]), tensors)
        except (UserError, KeyError, ValueError) as error:
            set_aside(path, f"the checkpoint cannot be read: {error}")
            self.rows = []
            state = None
        self._write_rows()
        return state

    def _write_rows(self) -> None:
        write_bytes(self.path / "metrics.jsonl", b"".join(dump(row) + b"\n" for row in self.rows))

    def epoch(self, row: Row, state: State) -> None:
        """Record an epoch: best weights if it is the best so far, the checkpoint, then its row."""
        self.rows.append(dict(row))
        if best_row(self.rows)["epoch"] == row["epoch"] and all(
            value is not None for value in row.values()
        ):
            weights = {k: v for k, v in state.tensors.items() if not k.startswith("optimizer.")}
            write_tensors(self.path / BEST, weights, {"epoch": str(state.epoch)})
        metadata = {"epoch": str(state.epoch), "rows": json.dumps(self.rows)}
        write_tensors(self.path / CHECKPOINT, state.tensors, metadata)
        with (self.path / "metrics.jsonl").open("ab") as log:
            log.write(dump(row) + b"\n")
            log.flush()
            os.fsync(log.fileno())

    def finish(self, recipe: Recipe, status: str, size: dict[str, int], message: str = "") -> Run:
        assert status in FINAL
        if status == "failed" and not (self.path / "metrics.jsonl").exists():
            self._write_rows()
        result = {
            "status": status,
            "message": message,
            "size": size,
            "seconds": round(sum(row["seconds"] for row in self.rows), 3),
            "recipe_sha256": hashlib.sha256(dump(to_json(recipe))).hexdigest(),
            "metrics_sha256": hashlib.sha256(
                (self.path / "metrics.jsonl").read_bytes()
            ).hexdigest(),
        }
        result["seal"] = seal(result)
        write_json(self.path / "result.json", result)
        return read_run(self.path)


def is_finished(path: Path) -> bool:
    return (path / "result.json").exists()


def read_run(path: Path) -> Run:
    """A finished run; UserError that names the file where one is missing, torn or altered."""
    try:
        result = parse_json((path / "result.json").read_bytes())
        recipe = recipe_from_json(parse_json((path / "recipe.json").read_bytes()))
        metrics = (path / "metrics.jsonl").read_bytes()
    except (OSError, UserError) as error:
        raise UserError(f"run {one_line(path)}: {one_line(error)}") from None
    if not isinstance(result, dict) or result.get("seal") != seal(result):
        raise UserError(f"run {one_line(path)}: result.json was altered")
    if result["metrics_sha256"] != hashlib.sha256(metrics).hexdigest():
        raise UserError(f"run {one_line(path)}: metrics.jsonl was altered")
    if result["recipe_sha256"] != hashlib.sha256(dump(to_json(recipe))).hexdigest():
        raise UserError(f"run {one_line(path)}: recipe.json was altered")
    rows = tuple(parse_json(line) for line in metrics.splitlines())
    return Run(
        path, recipe, rows, result["status"], result["size"], result["seconds"], result["message"]
    )


def list_runs(root: Path) -> Iterator[Run | UserError]:
    """Every finished run below a folder of runs, a study or a folder of studies.

    An altered run is returned as the error that names it.
    """
    for path in sorted(root.rglob("result.json")):
        try:
            yield read_run(path.parent)
        except UserError as error:
            yield error


def environment(recipe: Recipe) -> dict[str, Any]:
    """Versions, machine, and what the kernels in use were built by."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    import torch

    from convscope.recipe import REVISION
    from convscope.training.acceleration import kernels_in_use

    try:
        convscope = version("convscope")
    except PackageNotFoundError:  # run from a source tree
        convscope = "not installed"
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "torch": torch.__version__,
        "convscope": convscope,
        "revision": REVISION,
        "kernels": kernels_in_use(recipe),
    }
