"""Where a run lies: its identity is the content of its images, whatever their path is called.

A recipe's id holds the name of the data. The same images under another name are the same data: a
run that was trained on them is found under the id that it has.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from convscope.errors import UserError
from convscope.files import dump, parse_json
from convscope.recipe import Recipe, recipe_from_json, to_json

RECIPE, RESULT = "recipe.json", "result.json"

# by folder of runs: name of a run's folder -> content of its recipe; a folder's never changes
_contents: dict[Path, dict[str, str]] = {}


def run_path(recipe: Recipe, root: Path | str) -> Path:
    """The folder of a recipe's run below `root`, where it is or will be: root/ID.

    It is another run's where that has all but the name of its data in common with the recipe,
    their content too; of several, one that is finished.
    """
    root = Path(root)
    path = root / recipe.id
    if not recipe.data_hash or path.exists():
        return path
    wanted = content_of(recipe)
    same = [root / name for name, content in contents_in(root).items() if content == wanted]
    there = [folder for folder in same if (folder / RECIPE).exists()]
    return min(there, key=lambda p: (not (p / RESULT).exists(), p.name), default=path)


def content_of(recipe: Recipe) -> str:
    """A hash of all of a recipe but what its data are called; empty where their hash is missing."""
    tree = to_json(recipe)
    del tree["data"]
    return hashlib.sha256(dump(tree)).hexdigest() if recipe.data_hash else ""


def contents_in(root: Path) -> dict[str, str]:
    """The contents of all runs below a folder; each recipe is read once."""
    known = _contents.setdefault(root.absolute(), {})
    try:
        names = sorted(path.name for path in root.iterdir())
    except OSError:  # no run yet
        return {}
    for name in names:
        if name in known or name.startswith(".") or "." in name:  # what was set aside
            continue
        try:
            raw = (root / name / RECIPE).read_bytes()
        except OSError:  # no run, or not yet
            continue
        try:
            known[name] = content_of(recipe_from_json(parse_json(raw)))
        except (UserError, json.JSONDecodeError):
            known[name] = ""
    return {name: known[name] for name in names if known.get(name)}
