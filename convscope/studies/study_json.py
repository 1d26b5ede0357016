"""What study.json holds, as typed values, and how they are read from JSON and written to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from convscope.errors import UserError, one_line
from convscope.files import parse_json
from convscope.machine import Choice, Machine, resolve
from convscope.planning import BudgetFit, Role, Search, checked_grids
from convscope.recipe import Recipe, recipe_from_json, to_json

RunIds = dict[Role, list[str]]  # of one step of a chapter

T = TypeVar("T")


@dataclass(frozen=True)
class Asked:
    """How a study was asked to compute; with another answer its runs would have other ids."""

    device: str
    workers: int | None


@dataclass(frozen=True)
class Fitted:
    """A plan that was fitted into a time budget, and the request that it was fitted for."""

    budget: float  # seconds
    preset: str
    chapters: tuple[str, ...]
    seeds: int
    fit: BudgetFit


@dataclass(frozen=True)
class Plan:
    """What the chapters planned with, so that a report can be written again."""

    base: Recipe
    seeds: tuple[int, ...]
    fit: BudgetFit = field(default_factory=BudgetFit)
    search: Search = field(default_factory=Search)
    grids: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class About:
    """What a report says of its study; the form in results.json is an interface.

    fallback: why the built-in images stand in for others; empty where they do not.
    images: how many, by split.
    in_shape: channels, height and width.
    seconds: spent by all processes that worked on the study.
    complete: False after an interruption.
    """

    data: str
    data_hash: str
    source: str
    licence: str
    notes: tuple[str, ...]
    fallback: str
    preset: str
    chapters: tuple[str, ...]
    seeds: tuple[int, ...]
    val: float
    split_seed: int
    images: dict[str, int]
    in_shape: tuple[int, int, int]
    classes: tuple[str, ...]
    command: str
    machine: Machine
    choice: Choice
    complete: bool
    seconds: float = 0.0


def about_json(about: About) -> dict[str, Any]:
    """As plain JSON values."""
    return {key: listed(value) for key, value in asdict(about).items()}


def listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def about_from(tree: dict[str, Any]) -> About:
    known = {f.name: tree[f.name] for f in fields(About) if f.name != "seconds"}
    for key in ("notes", "chapters", "seeds", "in_shape", "classes"):
        known[key] = tuple(known[key])
    known["machine"], known["choice"] = Machine(**known["machine"]), Choice(**known["choice"])
    return About(**known, seconds=tree.get("seconds", 0.0))


def plan_json(plan: Plan) -> dict[str, Any]:
    return {
        "base": to_json(plan.base),
        "seeds": list(plan.seeds),
        "fit": asdict(plan.fit),
        "search": asdict(plan.search),
        **({"grids": plan.grids} if plan.grids else {}),
    }


def plan_from(tree: dict[str, Any]) -> Plan:
    return Plan(
        recipe_from_json(tree["base"]),
        tuple(int(seed) for seed in tree["seeds"]),
        fit_from(tree.get("fit", {})),
        Search(**tree.get("search", {})),
        checked_grids(tree.get("grids", {})),
    )


def fitted_json(fitted: Fitted) -> dict[str, Any]:
    return {**asdict(fitted), "chapters": list(fitted.chapters)}


def fitted_from(tree: dict[str, Any]) -> Fitted:
    known = {key: tree[key] for key in ("budget", "preset", "seeds")}
    return Fitted(**known, chapters=tuple(tree["chapters"]), fit=fit_from(tree["fit"]))


def fit_from(tree: dict[str, Any]) -> BudgetFit:
    chapters = tree.get("chapters")
    return BudgetFit(**{**tree, "chapters": None if chapters is None else tuple(chapters)})


def asked_from(tree: dict[str, Any]) -> Asked:
    return Asked(tree["device"], tree["workers"])


def choice_from(tree: dict[str, Any]) -> Choice:
    """Raises ValueError for a choice that no recipe could take."""
    choice = Choice(**tree)
    resolve(Recipe(), choice)
    if not isinstance(choice.workers, int) or choice.workers < 1:
        raise ValueError(f"workers = {one_line(choice.workers)}")
    if not all(isinstance(rate, int | float) for rate in choice.measured.values()):
        raise ValueError("the images per second are no numbers")
    return choice


def costs_from(tree: dict[str, Any]) -> dict[str, tuple[float, float]]:
    return {key: (float(train), float(evaluate)) for key, (train, evaluate) in tree.items()}


def part(tree: dict[str, Any], key: str, read: Callable[[Any], T]) -> tuple[T | None, str]:
    """A part of study.json, or None and why it cannot be read."""
    try:
        return read(tree[key]), ""
    except KeyError as error:
        return None, f"lacks {error}"
    except (TypeError, ValueError, AttributeError) as error:
        return None, one_line(error)


def requests_from(tree: dict[str, Any], runs: Path) -> dict[str, list[RunIds]]:
    """For each chapter and each of its steps the ids of the runs that it asked for, by role.

    tree: the content of study.json.
    runs: the folder of run folders, where recipes are read of runs without a recorded role.
    """
    roles = tree.get("roles", {})
    steps: dict[str, list[RunIds]] = {}
    for chapter, asked in tree.get("requests", {}).items():
        known = roles.get(chapter, {})
        steps[chapter] = []
        for ids in asked:
            by_role: RunIds = {}
            for key in ids:
                role = known.get(key) or inferred_role(chapter, runs / key)
                if role is not None:
                    by_role.setdefault(role, []).append(key)
            steps[chapter].append(by_role)
    return steps


def inferred_role(chapter: str, run: Path) -> Role | None:
    """The role of a run in a study of version 0.1.0, which recorded none; None without a recipe.

    In that version pilots and trials alone were evaluated without test images, and in the chapter
    on capacity the sweep alone had a constant learning rate.
    """
    try:
        recipe = recipe_from_json(parse_json((run / "recipe.json").read_bytes()))
    except (OSError, UserError):
        return None
    if "test" not in recipe.evaluate:
        return "trial" if chapter == "best" else "pilot"
    if chapter != "capacity":
        return "final"
    return "sweep" if recipe.schedule == "constant" else "reference"


def requests_json(requests: dict[str, list[RunIds]]) -> dict[str, Any]:
    """`requests` in the form that version 0.1.0 reads, too, and beside them `roles`."""
    ids = {
        chapter: [[key for keys in step.values() for key in keys] for step in steps]
        for chapter, steps in requests.items()
    }
    roles = {
        chapter: {key: role for step in steps for role, keys in step.items() for key in keys}
        for chapter, steps in requests.items()
    }
    return {"requests": ids, "roles": roles}
