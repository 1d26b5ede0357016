"""What a sweep is asked for, from TOML or Python, and whether that can work."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convscope.errors import UserError, one_line
from convscope.planning import parse_budget
from convscope.recipe import Recipe, read_recipe, to_json
from convscope.studies.engines import checked_engine
from convscope.studies.study_request import checked_place
from convscope.studies.sweep_grid import (
    RECIPE_FIELDS,
    Swept,
    configurations_of,
    model_of,
    pairs_of,
    seeds_from,
    with_settings,
)
from convscope.studies.toml_files import check_keys, read_toml
from convscope.studies.trackers import joined_names

MACHINE = ("precision", "layout", "threads", "kernels")  # measured where a file leaves them open
ASKED = ("compare", "margin", "measure", "split", "out", "workers", "track", "silence", "seeds")
ENGINE = ("engine", "address")
ASKED += ENGINE
TABLES = ("grid", "recipes")
START_FIELDS = tuple(name for name in RECIPE_FIELDS if name != "seed")


@dataclass(frozen=True)
class SweepRequest:
    """What a sweep is asked for; `sweep` explains the fields.

    starts: a name of the user's, or an empty text, and a recipe each.
    free: the machine's fields of the recipes that are to be measured.
    device: as it was given, where `free` is not empty; the recipes' own stands otherwise.
    silence: in seconds.
    """

    starts: tuple[tuple[str, Recipe], ...]
    grid: dict[str, list[Any]]
    seeds: tuple[int, ...] | None
    compare: tuple[tuple[str, str], ...] | None = None
    margin: float | None = None
    measure: str = "accuracy"
    split: str = "test"
    out: str | Path = "runs/sweep"
    workers: int | None = None
    track: str | None = None
    silence: float | None = None
    device: str = "auto"
    free: tuple[str, ...] = ()
    engine: str = "local"
    address: str | None = None

    def configurations(self) -> tuple[Swept, ...]:
        """All of them; UserError for one that cannot be."""
        return configurations_of(self.starts, self.grid, self.seeds)

    def pairs(self, configurations: Sequence[Swept]) -> tuple[tuple[str, str], ...]:
        return pairs_of(configurations, self.compare)

    def tree(self) -> dict[str, Any]:
        """As a TOML file that asks for the same; without fields that are at their defaults."""
        usual = SweepRequest((), {}, None)
        asked = {
            name: getattr(self, name)
            for name in ("compare", "margin", "measure", "split", "workers", "track", *ENGINE)
            if getattr(self, name) != getattr(usual, name)
        }
        if self.margin is not None and self.measure == "accuracy":
            asked["margin"] = 100 * self.margin
        if self.silence is not None:
            asked["silence"] = f"{self.silence:g}s"
        if self.seeds is not None:
            asked["seeds"] = list(self.seeds)
        recipes = [start_tree(name, one, self.seeds is None) for name, one in self.starts]
        alone = len(recipes) == 1 and self.seeds is not None and not self.starts[0][0]
        own = recipes[0] if alone else {"recipes": recipes}
        grid = {"grid": self.grid} if self.grid else {}
        return {**asked, "out": str(self.out), **own, **grid}


def start_tree(name: str, recipe: Recipe, with_seed: bool) -> dict[str, Any]:
    """All of a recipe's fields, those of the machine too, as a table of a file."""
    machine = {name: getattr(recipe, name) for name in MACHINE}  # left open, it is measured anew
    fields = {**to_json(recipe), **machine}
    tree = {key: value for key, value in fields.items() if value not in (None, "")}
    if not with_seed:
        del tree["seed"]
    model = {key: value for key, value in tree.pop("model").items() if value is not None}
    return {**({"name": name} if name else {}), **tree, "model": model}


def request_from(tree: Mapping[str, Any], name: str = "sweep") -> SweepRequest:
    """The request of a file's content.

    tree: the keys of the file.
    name: of the sweep, after which its folder is called where the file names none.
    Raises UserError for an unknown key, and for what cannot work.
    """
    check_keys(tree, (*START_FIELDS, *ASKED, *TABLES))
    base = {key: value for key, value in tree.items() if key in START_FIELDS}
    grid = tree.get("grid", {})
    if not isinstance(grid, Mapping):
        raise UserError(f"grid = {one_line(grid)}: a table [grid] of lists is expected")
    listed = tree.get("recipes", [{}])
    if not isinstance(listed, list) or not listed:
        raise UserError(f"recipes = {one_line(listed)}: a list of tables or files is expected")
    starts = tuple(start_of(one, base, grid) for one in listed)
    own_seeds = "seeds" not in tree and any("seed" in one for one in listed)
    given = {*base, *grid, *(key for one in listed if isinstance(one, Mapping) for key in one)}
    files = any(isinstance(one, str) for one in listed)
    measure = tree.get("measure", "accuracy")
    return SweepRequest(
        starts,
        {key: list(value) if isinstance(value, list) else value for key, value in grid.items()},
        None if own_seeds else seeds_from(tree.get("seeds", 3)),
        compare=pairs_from(tree.get("compare")),
        margin=margin_from(tree.get("margin"), measure),
        measure=measure,
        split=tree.get("split", "test"),
        out=tree.get("out", f"runs/{name}"),
        workers=tree.get("workers"),
        track=joined_names(tree.get("track")),
        silence=silence_from(tree.get("silence")),
        engine=tree.get("engine", "local"),
        address=tree.get("address"),
        device=str(base.get("device", "auto")),
        free=() if files else tuple(key for key in MACHINE if key not in given),
    )


def start_of(one: Any, base: Mapping[str, Any], grid: Collection[str]) -> tuple[str, Recipe]:
    """A recipe of a file's list: a table, or a recipe's file, with `base` changed."""
    changes = {key: value for key, value in base.items() if key != "device" or value != "auto"}
    if isinstance(one, str):
        return one, with_settings(read_recipe(one), changes)
    if not isinstance(one, Mapping):
        raise UserError(f"recipes: {one_line(one)}: a table or a recipe's file is expected")
    own = {key: value for key, value in one.items() if key != "name"}
    merged = {**changes, **own}
    recipe = Recipe(model=model_of(merged.pop("model"))) if "model" in merged else Recipe()
    return str(one.get("name", "")), with_settings(recipe, merged)


def pairs_from(given: Any) -> tuple[tuple[str, str], ...] | None:
    if given is None:
        return None
    if not isinstance(given, list | tuple):
        raise UserError(f"compare = {one_line(given)}: a list of pairs is expected")
    return tuple(tuple(pair) if isinstance(pair, list | tuple) else pair for pair in given)


def margin_from(given: Any, measure: Any) -> float | None:
    """In a file the margin is in percentage points of accuracy, or in nats."""
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given < 100:
        raise UserError(f"margin = {one_line(given)}: above 0 points or nats is expected, as 0.5")
    return given / 100 if measure == "accuracy" else float(given)


def silence_from(given: Any) -> float | None:
    return None if given is None else parse_budget(given, "silence")


def read_request(path: Path | str, changes: Mapping[str, Any]) -> SweepRequest:
    """The request of a file, with keys that the command line gives in the place of the file's.

    Raises UserError with the file's name.
    """
    tree = read_toml(path)
    try:
        return request_from({**tree, **changes}, Path(path).stem)
    except UserError as error:
        raise UserError(f"file {one_line(path)}: {error}") from None


def check_request(asked: SweepRequest) -> tuple[tuple[Swept, ...], tuple[tuple[str, str], ...]]:
    """The configurations and pairs; UserError for what cannot work, before anything is written."""
    from convscope.statistics import check_question

    for name in ("measure", "split", "out"):
        if not isinstance(getattr(asked, name), str | Path):
            raise UserError(f"{name} = {one_line(getattr(asked, name))}: a text is expected")
    check_question(asked.margin, asked.measure, asked.split, 1)
    checked_engine(asked.engine, asked.address, asked.workers)
    checked_place(asked.out)
    configurations = asked.configurations()
    pairs = asked.pairs(configurations)
    for one in configurations:
        if pairs and asked.split not in one.recipe.evaluate:
            raise UserError(
                f"split {asked.split!r}: {one_line(one.name)} is not evaluated on these images "
                f"(evaluate = {','.join(one.recipe.evaluate)})"
            )
    return configurations, pairs
