"""Where a run lies: its identity is the content of its images, whatever their path is called.

A recipe's id holds the name of the data. The same images under another name are the same data: a
run that was trained on them is found under the id that it has.
"""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

from convscope.errors import UserError
from convscope.files import TICK, dump, parse_json
from convscope.recipe import Recipe, recipe_from_json, to_json

RECIPE, RESULT = "recipe.json", "result.json"

_listings: dict[Path, Listing] = {}  # by folder of runs


def run_path(recipe: Recipe, root: Path | str) -> Path:
    """The folder of a recipe's run below `root`, where it is or will be: root/ID.

    It is another run's where that has all but the name of its data in common with the recipe,
    their content too; of several, one that is finished.
    """
    root = Path(root)
    path = root / recipe.id
    if not recipe.data_hash or path.exists():
        return path
    same = same_as(content_of(recipe), root)
    there = [folder for folder in same if (folder / RECIPE).exists()]
    return min(there, key=lambda p: (not (p / RESULT).exists(), p.name), default=path)


def content_of(recipe: Recipe) -> str:
    """A hash of all of a recipe but what its data are called; empty where their hash is missing."""
    tree = to_json(recipe)
    del tree["data"]
    return hashlib.sha256(dump(tree)).hexdigest() if recipe.data_hash else ""


def same_as(wanted: str, root: Path) -> list[Path]:
    """The runs below a folder that have this content, by name."""
    listing = _listings.setdefault(root.absolute(), Listing())
    listing.look(root)
    return [root / name for name in sorted(listing.by_content.get(wanted, ()))]


class Listing:
    """The contents of all runs below a folder; each recipe is read once.

    The folder is listed again only where its time says that entries came or went, because a study
    asks for each of its runs, of which there may be thousands.
    """

    def __init__(self) -> None:
        self.changed = -1  # when the folder last changed, in nanoseconds
        self.names: dict[str, str] = {}  # -> content; empty where it cannot be known
        self.by_content: dict[str, set[str]] = {}
        self.begun: set[str] = set()  # folders without a recipe yet

    def look(self, root: Path) -> None:
        try:
            changed = root.stat().st_mtime_ns
            if changed != self.changed or abs(time.time_ns() - changed) <= TICK:
                self.list_again({path.name for path in root.iterdir()})
                self.changed = changed
        except OSError:  # no run yet
            self.list_again(set())
            self.changed = -1
        for name in sorted(self.begun):
            self.read(root, name)

    def list_again(self, there: set[str]) -> None:
        for name in self.names.keys() - there:
            self.by_content.get(self.names.pop(name), set()).discard(name)
        new = there - self.names.keys()
        self.begun = {name for name in new if "." not in name}  # with a dot: what was set aside

    def read(self, root: Path, name: str) -> None:
        try:
            raw = (root / name / RECIPE).read_bytes()
        except OSError:  # no run, or not yet
            return
        try:
            content = content_of(recipe_from_json(parse_json(raw)))
        except (UserError, json.JSONDecodeError):
            content = ""
        self.begun.discard(name)
        self.names[name] = content
        if content:
            self.by_content.setdefault(content, set()).add(name)
