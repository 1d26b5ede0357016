"""What people name for a comparison becomes runs: a run, a folder of runs, a study, a list."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from convscope.errors import UserError, one_line
from convscope.files import parse_json
from convscope.recipe import Recipe, label_of
from convscope.training.run_folder import list_runs, read_run
from convscope.training.runs import Run
from convscope.words import listed

MOST_LISTED = 6  # configurations in a message


@dataclass(frozen=True)
class NamedRuns:
    """The runs of one configuration that a name stands for.

    kind: "run", "runs" (a folder or a list) or "study".
    """

    kind: str
    runs: tuple[Run, ...]


def runs_named(given: str) -> NamedRuns:
    """The runs of one configuration, by what a user gives.

    given: a run's folder; a folder that holds runs at any depth; a study's folder, which stands for
        its winner; or several of the first two, joined by commas, each perhaps with *.

    Raises UserError where there is no finished run, where one was altered, and where there are
    several configurations, which it lists.
    """
    path = Path(given)
    shown = one_line(given)
    if (path / "study.json").is_file():
        return NamedRuns("study", winner_of(path))
    if (path / "result.json").is_file():
        return NamedRuns("run", (read_run(path),))
    if (path / "recipe.json").is_file():
        raise UserError(
            f"{shown!r}: this run is not finished; go on with: convscope train "
            f"--recipe {one_line(path / 'recipe.json')} --out {one_line(path.parent)}"
        )
    folders = [path] if path.is_dir() else parts_of(given)
    runs = {run.path.absolute(): run for folder in folders for run in runs_below(folder)}
    if not runs:
        raise UserError(
            f"{shown!r}: no finished run below it; "
            "convscope train --out FOLDER, or a recipe file in its place, makes some"
        )
    check_one_configuration(shown, list(runs.values()))
    return NamedRuns("runs", tuple(sorted(runs.values(), key=lambda run: run.recipe.seed)))


def parts_of(given: str) -> list[Path]:
    """The folders of a list such as runs/0a1b2c,runs/3d*; UserError where one is not there."""
    folders: list[Path] = []
    for part in given.split(","):
        found = sorted(glob.glob(part)) if glob.has_magic(part) else [part]  # noqa: PTH207
        there = [Path(one) for one in found if one and Path(one).is_dir()]
        if not there:
            raise UserError(
                f"{one_line(part)!r}: no such folder; name a run, a folder of runs, a study, "
                "a recipe file or a named recipe"
            )
        folders += there
    return folders


def runs_below(folder: Path) -> Iterable[Run]:
    for run in list_runs(folder):
        if isinstance(run, UserError):
            raise UserError(f"{run}; move it away or train it again")
        yield run


def check_one_configuration(shown: str, runs: Sequence[Run]) -> None:
    """UserError that lists the configurations where the runs are of several."""
    groups: dict[Recipe, list[Run]] = {}
    for run in runs:
        groups.setdefault(replace(run.recipe, seed=0), []).append(run)
    if len(groups) == 1:
        return
    told = [
        f"{label_of(recipe.model)} as {','.join(one_line(run.path) for run in some)}"
        for recipe, some in groups.items()
    ]
    more = len(told) - MOST_LISTED
    rest = [f"{more} more"] if more > 0 else []
    raise UserError(
        f"{shown!r}: holds {len(told)} configurations; name one by its runs, joined by commas: "
        f"{'; '.join([*told[:MOST_LISTED], *rest])}"
    )


def winner_of(study: Path) -> tuple[Run, ...]:
    """The runs of a study's winner: of seeds that chose nothing, where there are such."""
    shown = f"study {one_line(study)}"
    file = study / "results.json"
    try:
        numbers = parse_json(file.read_bytes())["chapters"]["best"]["numbers"]
        ids = winning_ids(numbers)
    except (OSError, UserError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise UserError(
            f"{shown}: results.json: {why}; convscope report {one_line(study)} writes it again"
        ) from None
    except (KeyError, TypeError, AttributeError):
        ids = []
    if not ids:
        raise UserError(
            f"{shown}: it has no winner, which the chapter best names; name runs below "
            f"{one_line(study / 'runs')}"
        )
    return tuple(read_run(study / "runs" / key) for key in ids)


def winning_ids(numbers: dict[str, Any]) -> list[str]:
    """The ids of the winner's runs; [] without a winner."""
    winner = numbers["winner"]
    if winner is None:
        return []
    same = (one["runs"] for one in numbers["configurations"] if winner in one["runs"])
    ids = numbers.get("runs") or next(same, [winner])
    if not all(isinstance(key, str) and key.isalnum() for key in ids):
        raise UserError(f"{listed(map(one_line, ids))}: no ids of runs")
    return ids
