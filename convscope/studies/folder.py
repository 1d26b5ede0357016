"""A study's folder and its study.json."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from convscope import machine as devices
from convscope.data import dataset as datasets
from convscope.errors import UserError, one_line
from convscope.files import parse_json, seal, set_aside, write_bytes, write_json
from convscope.studies.watcher import Watcher
from convscope.training import Run, list_runs


def study_folder(data: datasets.Dataset, preset: str, out: str | Path | None) -> Path:
    if out is None:
        safe = (
            "".join(c if c.isalnum() or c in "-_." else "-" for c in data.name)[:80].strip(".-")
            or "data"
        )
        return Path("runs") / f"{safe}-{preset}"
    path = Path(out)
    text = str(out)
    if any(not c.isprintable() for c in text) or any(
        len(part.encode("utf-8", "surrogateescape")) > 255 for part in path.parts
    ):
        raise UserError(
            f"out {one_line(text)!r}: a path of printable characters, each part at most 255 bytes"
        )
    if path.exists() and not path.is_dir():
        raise UserError(f"out {one_line(text)}: a file stands there; name a folder")
    if (
        path.is_dir()
        and any(path.iterdir())
        and not (path / "study.json").exists()
        and not (path / ".lock").exists()
    ):
        raise UserError(
            f"out {one_line(text)}: not empty and not a study; name a new or empty folder"
        )
    return path


def study_lock(root: Path) -> AbstractContextManager[object]:
    """One process at a time works in a study; the lock dies with its owner."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        return FileLock(root / ".lock").acquire(timeout=0)
    except Timeout:
        raise UserError(
            f"study {one_line(root)}: another convscope is working there; wait for it, or name another folder with --out"
        ) from None
    except OSError as error:
        raise UserError(
            f"study {one_line(root)}: {error.strerror}; name another folder with --out"
        ) from None


def prepare_folder(root: Path) -> None:
    try:
        (root / "runs").mkdir(exist_ok=True)
        if not (root / ".gitignore").exists():
            write_bytes(root / ".gitignore", b"*\n")
    except OSError as error:
        raise UserError(
            f"study {one_line(root)}: {error.strerror}; name another folder with --out"
        ) from None


def write_study(root: Path, tree: dict[str, Any]) -> None:
    content = {key: value for key, value in tree.items() if key != "seal"}
    write_json(root / "study.json", {**content, "seal": seal(content)})


def read_study(root: Path) -> dict[str, Any]:
    """What study.json holds; nothing where there is none. UserError where it does not read or was altered."""
    path = root / "study.json"
    if not path.exists():
        return {}
    try:
        tree = parse_json(path.read_bytes())
    except (UserError, OSError) as error:
        raise UserError(
            f"study {one_line(root)}: study.json does not read: {one_line(error)}"
        ) from None
    if not isinstance(tree, dict) or tree.get("seal") != seal(tree):
        raise UserError(f"study {one_line(root)}: study.json was altered")
    return tree


def mend_study(root: Path, asked: dict[str, Any], watcher: Watcher) -> None:
    """Set an altered study.json aside; the choice that the study's runs were trained with is read from one of them."""
    try:
        read_study(root)
        return
    except UserError as error:
        aside = set_aside(root / "study.json", str(error))
        watcher.say(f"{error}; set aside as {aside.name}")
    for run in list_runs(root / "runs"):
        if isinstance(run, Run):
            recipe = run.recipe
            workers = max(1, devices.cores() // recipe.threads) if recipe.device == "cpu" else 1
            choice = devices.Choice(
                recipe.device,
                recipe.precision,
                recipe.layout,
                recipe.threads,
                workers,
                {},
                recipe.kernels,
            )
            write_study(root, {"asked": asked, "choice": devices.as_dict(choice), "costs": {}})
            return
