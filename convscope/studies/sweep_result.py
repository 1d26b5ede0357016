"""What a sweep found: a row for each configuration, and a verdict for each comparison."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convscope.errors import UserError, one_line
from convscope.report import Table
from convscope.statistics import Comparison, compare
from convscope.studies.sweep_grid import Swept, matching
from convscope.training import Run
from convscope.words import count

if TYPE_CHECKING:
    from convscope.studies.sweep_request import SweepRequest

FIGURES = ("train_loss", "val_loss", "test_loss", "train_accuracy", "val_accuracy", "test_accuracy")

SPOKEN = {
    "better": "is better than",
    "worse": "is worse than",
    "equivalent": "is equivalent to",
}


@dataclass(frozen=True)
class Compared:
    """One comparison of a sweep, of configurations a and b by their names.

    found: None where it could not be made; then `why` says why.
    """

    a: str
    b: str
    found: Comparison | None
    why: str = ""

    def __str__(self) -> str:
        """As "width=32 is better than width=16: test accuracy by +1.20 points (0.31 to 2.09)"."""
        a, b = one_line(self.a), one_line(self.b)
        if self.found is None:
            return f"{a} against {b}: not compared, because {self.why}"
        found, (low, high) = self.found, self.found.interval
        unit, times, digits = ("points", 100, 2) if found.measure == "accuracy" else ("nats", 1, 4)
        gap = f"{times * found.difference.mean:+.{digits}f} {unit}"
        ends = f"({times * low:+.{digits}f} to {times * high:+.{digits}f})"
        split = {"val": "validation"}.get(found.split, found.split)
        words = SPOKEN.get(found.word)
        said = f"{a} {words} {b}" if words else f"{a} against {b}: cannot tell"
        return f"{said}; {split} {found.measure} {gap} {ends}"

    def numbers(self) -> dict[str, Any]:
        """As plain JSON values; `a` and `b` are the means, `names` the configurations."""
        if self.found is None:
            return {"names": [self.a, self.b], "verdict": None, "why": self.why}
        return {"names": [self.a, self.b], **self.found.numbers()}


@dataclass(frozen=True)
class SweepResult:
    """What a sweep found; printing it shows its two tables.

    path: the sweep's folder.
    configurations: in the order of the request.
    runs: by configuration's name, those that have ended.
    comparisons: with the error of 5 % split over all of them.
    complete: False after an interruption.
    altered: runs that were set aside and trained again: id -> why.
    """

    path: Path
    configurations: tuple[Swept, ...]
    runs: dict[str, tuple[Run, ...]]
    comparisons: tuple[Compared, ...]
    complete: bool
    altered: dict[str, str] = field(default_factory=dict)

    @property
    def failed(self) -> list[Run]:
        """The runs that failed."""
        return [run for runs in self.runs.values() for run in runs if run.status == "failed"]

    @property
    def sentence(self) -> str:
        """All verdicts in one text."""
        told = [f"{one}." for one in self.comparisons]
        return " ".join(told) or "Nothing is compared."

    def compare(self, a: str, b: str, **options: Any) -> Comparison:
        """One more comparison, by itself: nothing is split for it.

        a, b: names of configurations, or settings as "width=32" that name one each.
        options: those of `compare`.
        Raises UserError where they name no two configurations, or several.
        """
        found = list(matching(self.configurations, (a, b)))
        if len(found) > 1:
            raise UserError(
                f"compare: {one_line(a)!r} and {one_line(b)!r} stand for {len(found)} pairs; "
                "name all settings"
            )
        one, other = found[0]
        return compare(self.runs[one], self.runs[other], **options)

    def table(self) -> Table:
        """A row for each configuration."""
        rows = [row_of(one, self.runs[one.name]) for one in self.configurations]
        columns = [
            ("name", "configuration", "text"),
            ("parameters", "learnable parameters", "int"),
            ("epochs", "epochs", "int"),
            ("lr", "learning rate", "float"),
            *((key, key.replace("_", " "), form_of(key)) for key in FIGURES if has(rows, key)),
            ("seed_sd", "seeds' standard deviation of test accuracy", "percent"),
            ("seeds", "seeds", "int"),
            ("missing", "not finished", "int"),
        ]
        caption = (
            "Means over seeds at each run's best epoch (lowest validation loss). "
            "Runs that did not finish are left out of the means and counted."
        )
        kept = tuple(
            one for one in columns if one[0] not in ("seed_sd", "missing") or has(rows, one[0])
        )
        return Table("configurations", "Configurations", kept, rows, caption)

    def comparisons_table(self) -> Table:
        """A row for each comparison."""
        accuracy = all(
            one.found is None or one.found.measure == "accuracy" for one in self.comparisons
        )
        form = "percent" if accuracy else "loss"
        columns = (
            ("a", "A", "text"),
            ("b", "B", "text"),
            ("verdict", "A is", "text"),
            ("mean_a", "A's mean", form),
            ("mean_b", "B's mean", form),
            ("difference", "difference", form),
            ("low", "from", form),
            ("high", "to", form),
            ("replication", "same verdict again", "percent"),
        )
        rows = [comparison_row(one) for one in self.comparisons]
        return Table("comparisons", "Comparisons", columns, rows, self.on_error())

    def on_error(self) -> str:
        """How the error is split."""
        made = len(self.comparisons)
        rule = "A against B on the same images, seeds as chance."
        if made < 2:
            return f"{rule} Intervals are of 95 %; a word is false in at most 5 % of sweeps."
        return (
            f"{rule} The error of 5 % is split over {made} comparisons: intervals are of "
            f"{100 * (1 - 0.05 / made):.4g} %, and at most 5 % of sweeps have a false word."
        )

    def numbers(self) -> dict[str, Any]:
        """All figures, as plain JSON values."""
        rows = self.table().rows
        return {
            "complete": self.complete,
            "path": str(self.path),
            "configurations": [
                {**row, "settings": one.settings, "runs": [run.id for run in self.runs[one.name]]}
                for one, row in zip(self.configurations, rows, strict=True)
            ],
            "comparisons": [one.numbers() for one in self.comparisons],
            "damaged": self.altered,
        }

    def __str__(self) -> str:
        from convscope.report import table_text  # which draws charts, too: that takes a second

        told = [table_text(self.table())]
        if self.comparisons:
            told += ["", *map(str, self.comparisons), self.on_error()]
        return "\n".join([*told, str(self.path / "report.html")])


def has(rows: Sequence[Mapping[str, Any]], key: str) -> bool:
    return any(row[key] for row in rows)


def form_of(key: str) -> str:
    return "percent" if key.endswith("accuracy") else "loss"


def row_of(one: Swept, runs: Sequence[Run]) -> dict[str, Any]:
    """A configuration in one row, with means over its finished runs."""
    done = [run for run in runs if run.status == "finished"]
    accuracies = [run.best["test_accuracy"] for run in done if "test_accuracy" in run.best]
    mean = sum(accuracies) / max(1, len(accuracies))
    several = len(accuracies) > 1
    squares = math.fsum((value - mean) ** 2 for value in accuracies)
    return {
        "name": one.name,
        "parameters": done[0].size["parameters"] if done else None,
        "flops": done[0].size["flops"] if done else None,
        "epochs": one.recipe.epochs,
        "lr": one.recipe.lr,
        **{key: mean_of(done, key) for key in FIGURES},
        "seed_sd": math.sqrt(squares / (len(accuracies) - 1)) if several else None,
        "seeds": len(done),
        "missing": len(one.seeds) - len(done),
    }


def mean_of(runs: Sequence[Run], key: str) -> float | None:
    values = [run.best.get(key) for run in runs]
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known and len(known) == len(values) else None


def comparison_row(one: Compared) -> dict[str, Any]:
    if one.found is None:
        named = {"a": one.a, "b": one.b, "verdict": f"not compared: {one.why}"}
        rest = ("mean_a", "mean_b", "difference", "low", "high", "replication")
        return {**named, **dict.fromkeys(rest)}
    found = one.found
    return {
        "a": one.a,
        "b": one.b,
        "verdict": found.word,
        "mean_a": found.a,
        "mean_b": found.b,
        "difference": found.difference.mean,
        "low": found.interval[0],
        "high": found.interval[1],
        "replication": found.replication,
    }


def compared(
    a: str,
    b: str,
    runs: Mapping[str, Sequence[Run]],
    asked: SweepRequest,
    configurations: Sequence[Swept],
    made: int,
) -> Compared:
    """One comparison by the rules of `compare`, with its share of the error.

    made: how many comparisons the sweep makes; each has a `made`th of the error, as if each were
        one of so many looks.
    """
    wanted = {one.name: len(one.seeds) for one in configurations}
    for name in (a, b):
        ended = [run for run in runs[name] if run.status == "finished"]
        if len(ended) < wanted[name]:
            why = f"{len(ended)} of {count(wanted[name], 'run')} of {one_line(name)} finished"
            return Compared(a, b, None, why)
    try:
        found = compare(
            runs[a],
            runs[b],
            asked.margin,
            measure=asked.measure,  # pyright: ignore[reportArgumentType] (checked)
            split=asked.split,  # pyright: ignore[reportArgumentType] (checked)
            looks=made,
        )
    except UserError as error:  # other images, or values by image that are missing
        return Compared(a, b, None, one_line(error, 500))
    return Compared(a, b, found)
