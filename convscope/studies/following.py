"""What goes on in a study's folder, read while another process works there; nothing is written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convscope.errors import UserError, one_line
from convscope.files import parse_json
from convscope.recipe import Recipe, label_of, read_recipe

SHOWN = ("epoch", "train_loss", "val_loss", "test_loss", "val_accuracy", "test_accuracy")

MOST_BYTES = 4_000_000  # of a run's new epochs, read at once

Event = tuple[str, dict[str, Any]]  # its kind and what it says


@dataclass
class Followed:
    """A run of which epochs have been read.

    place: in bytes of metrics.jsonl, behind the last whole line that was read.
    ended: when result.json was written, in nanoseconds; 0: not yet.
    """

    recipe: Recipe
    begun: int
    place: int = 0
    ended: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)


class Follower:
    """Follows a study: `news` tells what is new since it was last called.

    root: the study's folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.runs: dict[str, Followed] = {}
        self.stamps: dict[str, int] = {}

    def news(self) -> Iterator[Event]:
        """Events "study", "run" (a whole run), "epoch", "ended" and "report", oldest first."""
        if self._changed("study.json"):
            yield "study", study_of(self.root)
        try:
            folders = sorted(path for path in (self.root / "runs").iterdir() if path.is_dir())
        except OSError:  # none yet
            folders = []
        for folder in folders:
            if "." not in folder.name:  # what was set aside
                yield from self._of_run(folder)
        if self._changed("report.html"):
            yield "report", {"written": self.stamps["report.html"]}

    def _changed(self, name: str) -> bool:
        stamp = time_of(self.root / name)
        before = self.stamps.get(name, 0)
        self.stamps[name] = stamp
        return stamp not in (0, before)

    def _of_run(self, folder: Path) -> Iterator[Event]:
        key, begun = folder.name, time_of(folder / "recipe.json")
        known = self.runs.get(key)
        if known is None or begun != known.begun or size_of(folder) < known.place:
            try:
                recipe = read_recipe(folder / "recipe.json")
            except (UserError, OSError):  # not yet, or a stranger's folder
                return
            known = self.runs[key] = Followed(recipe, begun)
            known.rows = list(self._epochs(folder, known))
            yield "run", run_of(key, known)
        else:
            for row in self._epochs(folder, known):
                known.rows.append(row)
                yield "epoch", {"id": key, "row": row}
        ended = time_of(folder / "result.json")
        if ended != known.ended:
            known.ended = ended
            yield "ended", {"id": key, "status": status_of(folder)}

    @staticmethod
    def _epochs(folder: Path, known: Followed) -> Iterator[dict[str, Any]]:
        """The whole lines of metrics.jsonl that have not been read."""
        try:
            with (folder / "metrics.jsonl").open("rb") as file:
                file.seek(known.place)
                raw = file.read(MOST_BYTES)
        except OSError:
            return
        whole = raw[: raw.rfind(b"\n") + 1]
        known.place += len(whole)
        for line in whole.splitlines():
            try:
                row = parse_json(line)
                yield {name: row.get(name) for name in SHOWN}
            except (UserError, AttributeError):  # torn by a loss of power
                continue


def time_of(path: Path) -> int:
    """When a file was written, in nanoseconds; 0 where there is none."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def size_of(folder: Path) -> int:
    try:
        return (folder / "metrics.jsonl").stat().st_size
    except OSError:
        return 0


def status_of(folder: Path) -> str:
    try:
        return str(parse_json((folder / "result.json").read_bytes())["status"])
    except (OSError, UserError, KeyError, TypeError):
        return ""


def run_of(key: str, known: Followed) -> dict[str, Any]:
    """A run as an event tells it."""
    recipe = known.recipe
    return {
        "id": key,
        "network": one_line(label_of(recipe.model), 100),
        "seed": recipe.seed,
        "epochs": recipe.epochs,
        "judged": "test" in recipe.evaluate,  # else it is a pilot or a trial
        "rows": known.rows,
    }


def study_of(root: Path) -> dict[str, Any]:
    """What is said of the study; as much as its study.json holds by now."""
    try:
        about = parse_json((root / "study.json").read_bytes()).get("about") or {}
    except (OSError, UserError, AttributeError):
        about = {}
    known = {name: about.get(name) for name in ("data", "preset", "command", "complete")}
    return {**known, "chapters": list(about.get("chapters") or ()), "folder": root.name}


def as_text(event: Event) -> str:
    """An event as a stream of events has it."""
    kind, said = event
    return f"event: {kind}\ndata: {json.dumps(said, allow_nan=False)}\n\n"
