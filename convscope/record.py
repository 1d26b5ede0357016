"""A run folder: write, read, list. The only file that knows its layout.

    recipe.json              what the run is; its hash is the folder's name
    metrics.jsonl            a row an epoch
    checkpoint.safetensors   weights, optimiser state and all rows so far; replaced atomically after each epoch
    best.safetensors         weights of the epoch with the lowest validation loss, and which test images it got right
    environment.json         versions and machine
    result.json              written last: its presence means finished; holds the hashes of recipe and metrics

Every file is written beside its place, synced, renamed into it, and the folder synced. The checkpoint is the truth of an unfinished run
(the log is trimmed to it), result.json is the truth of a finished one. What does not agree with its hash is set aside and named.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convscope.recipe import Recipe, UserError, one_line, parse_json, recipe_from_json, to_json

if TYPE_CHECKING:
    from torch import Tensor

    from convscope.fit import Row, State

BEST = "best.safetensors"
FINAL = ("finished", "diverged", "out_of_memory", "failed")


@dataclass(frozen=True)
class Run:
    """A finished run: its recipe, a row an epoch, the best epoch by validation loss (the last where nothing was held out), and its size."""

    path: Path
    recipe: Recipe
    rows: tuple[dict[str, Any], ...]
    status: str
    size: dict[str, int]  # filters, parameters, flops
    seconds: float
    message: str = ""

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def best(self) -> dict[str, Any]:
        return best_row(self.rows)

    @property
    def last(self) -> dict[str, Any]:
        return self.rows[-1]

    def __str__(self) -> str:
        head = (
            f"run {self.id}: {self.status}, {self.size['parameters']:,} parameters, {len(self.rows)} epochs, {self.seconds:.1f} s"
        )
        if self.status != "finished":
            return f"{head}\n{self.message}".strip()
        lines = [head]
        for name, row in (("best", self.best), ("last", self.last)):
            splits = [
                f"{split} loss {row[f'{split}_loss']:.4f} accuracy {100 * row[f'{split}_accuracy']:.2f} %"
                for split in ("train", "val", "test")
                if f"{split}_loss" in row
            ]
            lines.append(f"{name} epoch {row['epoch']}: " + ", ".join(splits))
        if self.last.get("test_views_accuracy") is not None:
            row = self.last
            lines.append(
                f"{self.recipe.views}: test loss {row['test_views_loss']:.4f} accuracy {100 * row['test_views_accuracy']:.2f} %"
            )
        return "\n".join([*lines, str(self.path)])


def best_row(rows: tuple[dict[str, Any], ...] | list[dict[str, Any]]) -> dict[str, Any]:
    """The row of lowest validation loss; the test columns are never looked at. Without validation: the last row."""
    judged = [row for row in rows if row.get("val_loss") is not None]
    return min(judged, key=lambda row: row["val_loss"]) if judged else rows[-1]


class RunFolder:
    """Reads and writes one run folder. Open it only under the lock of the folder that holds it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []

    def begin(self, recipe: Recipe) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.path / "recipe.json", to_json(recipe))
        write_json(self.path / "environment.json", environment())

    def resume(self) -> State | None:
        """The state of the last epoch on disk, the log trimmed to it; None where there is none to be trusted."""
        path = self.path / "checkpoint.safetensors"
        if not path.exists():
            self._write_rows()
            return None
        try:
            tensors, metadata = read_tensors(path)
            self.rows = json.loads(metadata["rows"])
            from convscope.fit import State

            state = State(int(metadata["epoch"]), tensors)
        except (UserError, KeyError, ValueError) as error:
            set_aside(path, f"checkpoint does not read: {error}")
            self.rows = []
            state = None
        self._write_rows()
        return state

    def _write_rows(self) -> None:
        write_bytes(self.path / "metrics.jsonl", b"".join(dump(row) + b"\n" for row in self.rows))

    def epoch(self, row: Row, state: State) -> None:
        """Record an epoch: best weights where it is the best so far, the checkpoint, then the row in the log."""
        self.rows.append(dict(row))
        if best_row(self.rows)["epoch"] == row["epoch"] and all(value is not None for value in row.values()):
            weights = {k: v for k, v in state.tensors.items() if not k.startswith("optimizer.")}
            write_tensors(self.path / BEST, weights, {"epoch": str(state.epoch)})
        metadata = {"epoch": str(state.epoch), "rows": json.dumps(self.rows)}
        write_tensors(self.path / "checkpoint.safetensors", state.tensors, metadata)
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
            "metrics_sha256": hashlib.sha256((self.path / "metrics.jsonl").read_bytes()).hexdigest(),
        }
        result["seal"] = seal(result)
        write_json(self.path / "result.json", result)
        return read_run(self.path)


def seal(result: dict[str, Any]) -> str:
    """Finds accidents and edits, not forgers."""
    return hashlib.sha256(dump({k: v for k, v in result.items() if k != "seal"})).hexdigest()


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
    return Run(path, recipe, rows, result["status"], result["size"], result["seconds"], result["message"])


def list_runs(root: Path) -> Iterator[Run | UserError]:
    """Every finished run below a folder of runs, a study or a folder of studies; an altered one as the error that names it."""
    for path in sorted(root.rglob("result.json")):
        try:
            yield read_run(path.parent)
        except UserError as error:
            yield error


def set_aside(path: Path, why: str) -> Path:
    """Rename what can't be trusted, so that it is never used and never lost."""
    aside = path.with_name(f"{path.name}.set-aside-{time.time_ns()}")
    path.rename(aside)
    write_bytes(aside.with_name(aside.name + ".why"), (one_line(why, 1000) + "\n").encode())
    return aside


def dump(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def write_json(path: Path, value: Any) -> None:
    write_bytes(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def write_bytes(path: Path, content: bytes, sync: bool = True) -> None:
    """Write beside, sync, rename, sync the folder: the old content or the new one, never a torn one. Without `sync` so only as long as the machine has power:
    for what can be made again."""
    part = path.with_name(f"{path.name}.part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        if sync:
            os.fsync(file.fileno())
    part.replace(path)
    if sync and os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    from safetensors.torch import save

    digest = tensors_digest(tensors, metadata)
    write_bytes(path, save(tensors, {**metadata, "sha256": digest}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file that we wrote; UserError where its content is not what was written."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise UserError(f"{one_line(path)}: {one_line(error)}") from None
    digest = metadata.pop("sha256", "")
    if digest != tensors_digest(tensors, metadata):
        raise UserError(f"{one_line(path)}: the content does not agree with its hash")
    return tensors, metadata


def tensors_digest(tensors: dict[str, Tensor], metadata: dict[str, str]) -> str:
    import torch

    digest = hashlib.sha256(dump(metadata))
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)};".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def environment() -> dict[str, Any]:
    import platform
    from importlib.metadata import version

    import torch

    from convscope.recipe import REVISION

    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "torch": torch.__version__,
        "convscope": version("convscope"),
        "revision": REVISION,
    }
