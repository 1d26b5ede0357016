"""`convscope compare`: two configurations, each over its seeds."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convscope.cli.errors import DISK_ERRORS, disk_message
from convscope.cli.options import Json, Trust
from convscope.cli.printing import aside, print_epoch, say, show
from convscope.cli.refusals import folder_of, looked_at, refuse_side
from convscope.cli.side_by_side import side_by_side
from convscope.cli.training import measured, starting_point
from convscope.errors import UserError, one_line
from convscope.recipe import Custom, Recipe, label_of, to_json
from convscope.recipes import NAMED

if TYPE_CHECKING:
    from convscope.data import Dataset
    from convscope.statistics import Comparison
    from convscope.training import Run

CODES = {"better": 0, "worse": 1, "equivalent": 3, "cannot tell": 4}
MOST_SEEDS = 1000

WAYS = (
    "A run's folder, a folder of runs of one configuration, a study (its winner), runs joined by "
    "commas, a recipe file, or a named recipe."
)


@dataclass(frozen=True)
class Compared:
    """A or B: what was given, what it is, and its runs; for a recipe those that it becomes."""

    name: str
    given: str
    kind: str
    runs: tuple[Run, ...] = ()
    recipe: Recipe | None = None
    data: Dataset | None = None

    @property
    def label(self) -> str:
        return f"{one_line(self.given)}: {one_line(label_of(self.example.model), 80)}"

    @property
    def example(self) -> Recipe:
        """The recipe of one of its seeds."""
        return self.recipe or self.runs[0].recipe

    def numbers(self) -> dict[str, Any]:
        return {
            "given": self.given,
            "kind": self.kind,
            "label": label_of(self.example.model),
            "recipe": to_json(replace(self.example, seed=0)),
            "runs": [
                {"id": run.id, "seed": run.recipe.seed, "path": str(run.path)} for run in self.runs
            ],
        }


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help=WAYS)],
    b: Annotated[str, typer.Argument(metavar="B", help="The same, to compare A with.")],
    margin: Annotated[
        float | None,
        typer.Option(
            help="The difference that does not matter: in percentage points of accuracy, in nats "
            "of loss.",
            show_default="0.5 points, 0.02 nats",
        ),
    ] = None,
    measure: Annotated[
        str, typer.Option(help="accuracy or loss, at the epoch of lowest validation loss.")
    ] = "accuracy",
    split: Annotated[
        str, typer.Option(help="test or val: choose by val, and quote test once.")
    ] = "test",
    seeds: Annotated[
        str | None,
        typer.Option(
            help="Seeds of a recipe: 5 is 0 to 4, 100-104 is these five.", show_default="3"
        ),
    ] = None,
    looks: Annotated[
        int,
        typer.Option(
            help="Looks at these two while seeds are added; the error is split over them."
        ),
    ] = 1,
    data: Annotated[
        str | None, typer.Option(help="Data for recipes, instead of what they name.")
    ] = None,
    out: Annotated[str, typer.Option(help="Runs of recipes go to OUT/ID.")] = "runs",
    page: Annotated[
        Path | None,
        typer.Option(help="Write a page of two studies side by side to this file (HTML)."),
    ] = None,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Is A better than B, worse, equivalent, or can it not be told?

    Seeds count as chance, and images are paired. Each verdict is false in at most 5 % of
    comparisons. Recipes are trained as needed, finished runs are read. The exit code is 0 for
    better, 1 for worse, 3 for equivalent, 4 for cannot tell, and 2 where there is no verdict.
    """
    from convscope.models import trusting

    # a recipe that is not a study's is the user's own, as for `convscope train`
    with no_false_verdict(), trusting(trust):
        place = folder_of(out)
        with side_by_side(page, a, b) as shown:
            found = compared(a, b, margin, measure, split, seeds, looks, data, place, as_json)
            shown.append(found)
    raise typer.Exit(CODES[found.word])


def compared(
    a: str,
    b: str,
    margin: float | None,
    measure: Any,
    split: Any,
    seeds: str | None,
    looks: int,
    data: str | None,
    out: Path,
    as_json: bool,
) -> Comparison:
    """Compare and print; the arguments are those of `compare`."""
    if a == b:
        raise UserError(f"A and B are both {one_line(a)!r}: name two that differ")
    numbers = range(3) if seeds is None else seeds_of(seeds)
    check_margin(margin, measure)
    from convscope.statistics import check_question

    check_question(None, measure, split, looks)
    for name, given in (("A", a), ("B", b)):
        refuse_side(name, given, data)
    if data is not None:
        from convscope.data import Options

        looked_at(data, Options())
    from convscope import statistics

    sides = [side("A", a, data), side("B", b, data)]
    recipes = [one for one in sides if one.recipe is not None]
    if not recipes:
        for name, value in (("seeds", seeds), ("data", data)):
            if value is not None:
                raise UserError(
                    f"{name} {one_line(value)}: neither A nor B is a recipe; their runs are there"
                )
    statistics.check_images(sides[0].example, sides[1].example, split)
    if recipes:
        for one in recipes:
            check_split(one, split)
    sides = [one if one.recipe is None else trained(one, numbers, out) for one in sides]
    found = statistics.compare(
        sides[0].runs,
        sides[1].runs,
        None if margin is None else margin / (100 if measure == "accuracy" else 1),
        measure=measure,
        split=split,
        looks=looks,
    )
    printed(found, sides, as_json)
    return found


@contextlib.contextmanager
def no_false_verdict() -> Iterator[None]:
    """What ends a command with exit code 1 elsewhere would say "worse" here: it becomes 2."""
    try:
        yield
    except (UserError, typer.Exit, typer.Abort):
        raise
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            traceback.print_exc()
        else:
            say(f"convscope: {disk_message(error)}")
        raise typer.Exit(2) from None
    except Exception:
        traceback.print_exc()
        raise typer.Exit(2) from None


def seeds_of(given: str) -> range:
    """The seeds of "5" (0 to 4) or "100-104"."""
    first, dash, last = given.partition("-")
    if not (first.isdecimal() and (last.isdecimal() if dash else not last)):
        raise UserError(f"seeds {one_line(given)!r}: write a number, as 5, or a range, as 100-104")
    start, stop = (int(first), int(last) + 1) if dash else (0, int(first))
    if not 1 <= stop - start <= MOST_SEEDS or stop > 2**63:
        raise UserError(
            f"seeds {one_line(given)!r}: must be 1 to {MOST_SEEDS:,} seeds, each below 2⁶³"
        )
    return range(start, stop)


def check_margin(margin: float | None, measure: str) -> None:
    """UserError, in the unit that was given."""
    unit, most = ("percentage points", 100.0) if measure == "accuracy" else ("nats", float("inf"))
    if margin is not None and not 0 < margin < most:
        raise UserError(f"margin {margin:g}: must be above 0 {unit}, as 0.5 points or 0.02 nats")


def side(name: str, given: str, data: str | None) -> Compared:
    """What A or B stands for; UserErrors begin with its name."""
    from convscope.training import runs_named

    try:
        there = Path(given).exists()
        if Path(given).is_file() or (given in NAMED and not there):
            return recipe_side(name, given, data)
        found = runs_named(given)
    except OSError as error:
        raise UserError(f"{name} {one_line(given)!r}: {error.strerror}") from None
    except UserError as error:
        raise UserError(f"{name}: {error}") from None
    return Compared(name, given, found.kind, found.runs)


def recipe_side(name: str, given: str, data: str | None) -> Compared:
    """A recipe with its data and their hash; a named one computes as this machine does fastest."""
    from convscope.training import check_device, dataset_of

    recipe, loaded = starting_point(given, {} if data is None else {"data": data})
    if data is not None:
        recipe = replace(recipe, data=data, data_hash="")
    if loaded is not None:  # a named one
        recipe = measured(replace(recipe, device=check_device("auto")), {})
    loaded = loaded or dataset_of(recipe)
    if recipe.data_hash not in ("", loaded.hash):
        raise UserError(
            f"{one_line(given)!r}: its data {one_line(recipe.data)!r} changed since: "
            f"{recipe.data_hash[:12]} then, {loaded.hash[:12]} now; --data takes today's"
        )
    return Compared(name, given, "recipe", (), replace(recipe, data_hash=loaded.hash), loaded)


def check_split(one: Compared, split: str) -> None:
    """UserError where a recipe's runs would not be evaluated on the split."""
    assert one.recipe is not None and one.data is not None
    if split not in one.recipe.evaluate or not len(getattr(one.data, split)):
        raise UserError(
            f"split {split!r}: {one.name}, {one_line(one.given)}, is not evaluated on these images "
            f"(evaluate = {','.join(one.recipe.evaluate)}, val = {one.recipe.val:g})"
        )


def trained(one: Compared, seeds: Sequence[int], out: Path) -> Compared:
    """The runs of a recipe's seeds: read where they are finished, else trained."""
    from convscope.models import check_trusted, trusting, with_sources
    from convscope.studies import trackers
    from convscope.training import finished_run, keep_freed_memory, run_path

    assert one.recipe is not None
    if isinstance(one.recipe.model, Custom) and is_of_study(Path(one.given)):
        check_trusted(one.recipe.model.factory)
    keep_freed_memory()
    runs = []
    for seed in seeds:
        recipe = replace(one.recipe, seed=seed, model=with_sources(one.recipe.model))
        if finished_run(run_path(recipe, out)) is None:
            say(f"{one.name}: {one_line(one.given)}, seed {seed}")
        with trusting(True), aside():
            run = trackers.train_tracked(recipe, out, None, data=one.data, log=print_epoch, say=say)
        runs.append(run)
    return replace(one, runs=tuple(runs))


def is_of_study(recipe: Path) -> bool:
    """Whether a recipe file lies in the folder of a study, which anyone may have written."""
    return any((folder / "study.json").exists() for folder in recipe.absolute().parents)


def printed(found: Comparison, sides: Sequence[Compared], as_json: bool) -> None:
    """The result on standard output; a reader that has gone does not change the exit code."""
    rows = found.rows()
    for one in sides:
        place = next(i for i, row in enumerate(rows) if row[0] == one.name)
        rows.insert(place + 1, ("", one.label))
    width = max(len(name) for name, _ in rows)
    table = "\n".join(f"{name:<{width}}  {text}" for name, text in rows)
    about = {one.name.lower(): one.numbers() for one in sides}
    try:
        show(table, as_json, {**found.numbers(), "compared": about})
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
