"""A grid or a list of recipes × seeds as configurations, each with a name that tells it apart."""

from __future__ import annotations

import functools
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from convscope.errors import UserError, did_you_mean, one_line
from convscope.models import parse_model
from convscope.recipe import ConvNet, Custom, Model, Recipe, label_of, model_from_json

MOST_RUNS = 100_000
MOST_COMPARISONS = 100
FEW = 10  # comparisons that are made unasked

RECIPE_FIELDS = tuple(field.name for field in fields(Recipe))
MODEL_FIELDS = tuple(field.name for field in fields(ConvNet))


@dataclass(frozen=True)
class Swept:
    """One configuration of a sweep.

    name: unlike that of any other.
    recipe: of seed 0.
    seeds: those that it is trained with.
    settings: by name, those in which the sweep's configurations differ.
    """

    name: str
    recipe: Recipe
    seeds: tuple[int, ...]
    settings: dict[str, Any]

    @functools.cached_property
    def recipes(self) -> list[Recipe]:
        return [self.recipe.with_seed(seed) for seed in self.seeds]


def seeds_from(given: Any) -> tuple[int, ...]:
    """5 is 0 to 4; a list is itself. Raises UserError."""
    seeds: Any = given
    if isinstance(given, int) and not isinstance(given, bool):
        seeds = range(min(given, MOST_RUNS + 1))
    listed = isinstance(seeds, Sequence) and not isinstance(seeds, str)
    if not listed or not seeds or any(type(seed) is not int for seed in seeds):
        raise UserError(
            f"seeds = {one_line(given)}: a number from 1, or a list of whole numbers, is expected"
        )
    if len(set(seeds)) < len(seeds):
        raise UserError(f"seeds = {one_line(given)}: a seed stands there twice")
    return tuple(seeds)


def model_of(given: Any) -> Model:
    """A model from a name, as on the command line, or from a table, as in a recipe file."""
    if isinstance(given, str):
        return parse_model(given)
    if isinstance(given, Mapping):
        tree = dict(given)
        return model_from_json({"kind": "custom", **tree} if "factory" in tree else tree)
    if isinstance(given, Model):
        return given
    raise UserError(f"model = {one_line(given)}: a name or a table is expected")


def with_settings(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """The recipe with other values of its own fields and of its network's.

    settings: by name: a field of the recipe; else one of the network, or an argument of a user's
        factory, which may be written as model.NAME, too.
    Raises UserError for a name of neither, and for a value that does not fit.
    """
    if "model" in settings:
        recipe = replace(recipe, model=model_of(settings["model"]))
    own: dict[str, Any] = {}
    inner: dict[str, Any] = {}
    for key, value in settings.items():
        if key in RECIPE_FIELDS:
            if key != "model":
                own[key] = tuple(value) if isinstance(value, list) else value
        else:
            inner[key.removeprefix("model.")] = value
    return replace(recipe, model=with_model_settings(recipe.model, inner), **own)


def with_model_settings(model: Model, settings: Mapping[str, Any]) -> Model:
    if not settings:
        return model
    if isinstance(model, Custom):
        # a misspelt field of a recipe is no argument: it would be refused late, and by other words
        for key in settings:
            if not key.isidentifier():
                raise UserError(f"setting {one_line(key)!r}: a name of an argument is expected")
        return replace(model, arguments={**model.arguments, **settings})
    known = MODEL_FIELDS if isinstance(model, ConvNet) else ()
    for key in settings:
        if key not in known:
            raise UserError(
                f"setting {one_line(key)!r}{did_you_mean(key, (*RECIPE_FIELDS, *known))}"
            )
    changed = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
    assert isinstance(model, ConvNet)
    return replace(model, **changed)


def grid_points(grid: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every combination of the grid's values; the last setting changes fastest.

    Raises UserError for what is no list, an empty one, and one with a value twice.
    """
    for key, values in grid.items():
        if isinstance(values, str | Mapping) or not isinstance(values, Sequence) or not values:
            raise UserError(f"grid: {key} = {one_line(values)}: a list of values is expected")
        texts = [json.dumps(value, default=str) for value in values]
        twice = [text for text in texts if texts.count(text) > 1]
        if twice:
            raise UserError(f"grid: {key}: the value {one_line(twice[0])} stands there twice")
    count = math.prod(len(values) for values in grid.values())
    if count > MOST_RUNS:
        raise UserError(f"grid: {count:,} configurations; at most {MOST_RUNS:,} are expected")
    for values in itertools.product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def configurations_of(
    starts: Sequence[tuple[str, Recipe]], grid: Mapping[str, Any], seeds: tuple[int, ...] | None
) -> tuple[Swept, ...]:
    """The sweep's configurations: each start with each point of the grid.

    starts: a name of the user's, or an empty text, and a recipe; without `seeds`, recipes that
        differ in their seed alone are one configuration.
    grid: setting -> its values; they take the place of the recipe's.
    seeds: of each configuration; None: those of the recipes.
    Raises UserError for a configuration that stands there twice, and for more than MOST_RUNS runs.
    """
    found: dict[Recipe, tuple[str, dict[str, Any], list[int]]] = {}
    points = list(grid_points(grid))
    for name, start in starts:
        for point in points:
            recipe = with_settings(start, point)
            key = replace(recipe, seed=0)
            if key not in found:
                found[key] = name, point, []
            elif seeds is not None or recipe.seed in found[key][2]:
                told = ", ".join(f"{k}={shown(v)}" for k, v in point.items())
                raise UserError(
                    f"recipes: {one_line(name or told or label_of(recipe.model))} stands there "
                    "twice; each configuration is trained once with a seed"
                )
            found[key][2].append(recipe.seed)
    if not found:
        raise UserError("recipes: an empty list; a recipe, a list or a grid is expected")
    runs = sum(len(seeds or own) for _, _, own in found.values())
    if runs > MOST_RUNS:
        raise UserError(f"sweep: {runs:,} runs; at most {MOST_RUNS:,} are expected")
    return tuple(named(found, list(grid), seeds))


def named(
    found: Mapping[Recipe, tuple[str, dict[str, Any], list[int]]],
    grid: Sequence[str],
    seeds: tuple[int, ...] | None,
) -> Iterator[Swept]:
    """The configurations with their names, which say in what they differ."""
    flat = {recipe: flattened(recipe) for recipe in found}
    keys = list(dict.fromkeys(key for tree in flat.values() for key in tree))
    differ = [
        key
        for key in keys
        if len({json.dumps(tree.get(key), default=str) for tree in flat.values()}) > 1
    ]
    order = [key.removeprefix("model.") for key in grid]
    differ.sort(key=lambda key: order.index(key) if key in order else len(order))
    taken: set[str] = set()
    for recipe, (given, _, own) in found.items():
        settings = {key: flat[recipe][key] for key in differ if key in flat[recipe]}
        told = ", ".join(f"{key}={shown(value)}" for key, value in settings.items())
        inner = ", ".join(
            f"{key.removeprefix('model.')}={shown(settings[key])}"
            for key in order
            if key in settings
        )
        name = ", ".join(filter(None, (given, inner if given else told)))
        name = name or label_of(recipe.model)
        if name in taken:  # names of the user's that are the same
            name = f"{name}, {told}"
        if name in taken:
            raise UserError(f"name {one_line(name)!r}: stands there twice")
        taken.add(name)
        yield Swept(name, recipe, seeds or tuple(own), settings)


def flattened(recipe: Recipe) -> dict[str, Any]:
    """All settings of a recipe but its seed by name, those of its network among them."""
    tree = {name: getattr(recipe, name) for name in RECIPE_FIELDS if name not in ("seed", "model")}
    model = recipe.model
    if isinstance(model, Custom):
        arguments = model.arguments.items()
        return {
            "model": model.factory,
            **tree,
            **{k if k not in RECIPE_FIELDS else f"model.{k}": v for k, v in arguments},
        }
    kind = "convnet" if isinstance(model, ConvNet) else "softmax"
    return {"model": kind, **tree, **asdict(model)}


def shown(value: Any) -> str:
    """A value in a configuration's name."""
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple) and all(isinstance(v, int | float) for v in value):
        return "+".join(map(str, value)) or "none"
    if isinstance(value, float):
        return f"{value:g}"
    return json.dumps(value, default=str)


# --- which are compared with which


def pairs_of(
    configurations: Sequence[Swept], asked: Sequence[Sequence[str]] | None
) -> tuple[tuple[str, str], ...]:
    """The names of the configurations that are compared, A and B.

    configurations: of the sweep.
    asked: pairs of names, or of settings as "width=32": that which they leave open is the same
        in A and B. None: every pair, where that makes at most ten; else each configuration
        against the first; where that makes more than a hundred, none.
    Raises UserError for what names no configuration, and for more than a hundred comparisons.
    """
    if asked is None:
        names = [one.name for one in configurations]
        few = names[: FEW + 1]  # of more names there are more than ten pairs
        every = [(b, a) for a, b in itertools.combinations(few, 2)]
        found = every if len(every) <= FEW else [(name, names[0]) for name in names[1:]]
        return tuple(found) if len(found) <= MOST_COMPARISONS else ()
    found = list(dict.fromkeys(pair for one in asked for pair in matching(configurations, one)))
    if len(found) > MOST_COMPARISONS:
        raise UserError(
            f"compare: {len(found):,} comparisons; at most {MOST_COMPARISONS} are expected, "
            "because the error is split over them"
        )
    return tuple(found)


def matching(configurations: Sequence[Swept], asked: Any) -> Iterator[tuple[str, str]]:
    """The pairs of configurations that two names, or two lists of settings, stand for."""
    texts = isinstance(asked, Sequence) and not isinstance(asked, str) and len(asked) == 2
    if not texts or not all(isinstance(side, str) for side in asked):
        raise UserError(
            f"compare: {one_line(asked)}: two names or settings are expected, "
            'as ["width=32", "width=16"]'
        )
    sides = [list(those_named(configurations, side)) for side in asked]
    found = [
        (a.name, b.name)
        for a, keys in sides[0]
        for b, others in sides[1]
        if a is not b and left_open(a, keys | others) == left_open(b, keys | others)
    ]
    if not found:
        raise UserError(
            f"compare: {one_line(asked[0])!r} and {one_line(asked[1])!r}: two configurations are "
            "expected that are the same in all that these leave open"
        )
    yield from found


def left_open(one: Swept, keys: frozenset[str]) -> dict[str, str]:
    if "" in keys:  # a whole name leaves nothing open
        return {}
    return {key: shown(value) for key, value in one.settings.items() if key not in keys}


def those_named(
    configurations: Sequence[Swept], side: str
) -> Iterable[tuple[Swept, frozenset[str]]]:
    """The configurations that a side of a pair stands for, and the settings that it names."""
    by_name = [(one, frozenset({""})) for one in configurations if one.name == side]
    if by_name:
        return by_name
    parts = [part.strip().partition("=") for part in side.split(",")]
    wanted = {key.strip().removeprefix("model."): value.strip() for key, _, value in parts}
    found = [
        (one, frozenset(wanted))
        for one in configurations
        if all(key in one.settings and is_value(one.settings[key], wanted[key]) for key in wanted)
    ]
    if not found:
        names = [one.name for one in configurations]
        shorter = names if len(names) <= FEW else [*names[:FEW], "…"]
        raise UserError(f"compare: {one_line(side)!r}{did_you_mean(side, shorter)}")
    return found


def is_value(value: Any, text: str) -> bool:
    """Whether a text, as a user writes it, stands for a setting's value."""
    if shown(value) == text:
        return True
    try:
        return json.loads(text) == (list(value) if isinstance(value, tuple) else value)
    except ValueError:
        return False
