"""`convscope runs`: what has been trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convscope.cli.options import Json
from convscope.cli.printing import print_csv, print_table, say
from convscope.cli.refusals import refuse_folder
from convscope.errors import one_line
from convscope.recipe import label_of

if TYPE_CHECKING:
    from convscope.training import Run

Root = Annotated[str, typer.Argument(help="A folder of runs, a study or a folder of studies.")]
Csv = Annotated[bool, typer.Option("--csv", help="Print CSV.")]
COLUMNS = (
    "id",
    "data",
    "model",
    "seed",
    "status",
    "parameters",
    "epochs",
    "val_loss",
    "test_accuracy",
)


def runs(root: Root = "runs", as_json: Json = False, as_csv: Csv = False) -> None:
    """The finished runs below a folder."""
    refuse_folder("root", root)
    from convscope.training import Run, list_runs

    rows = []
    for item in list_runs(Path(root)):
        if isinstance(item, Run):
            rows.append(row_of(item))
        else:
            say(f"left out: {item}")
    if as_json:
        print(json.dumps(rows))
    elif as_csv:
        print_csv(rows)
    elif rows:
        print_table(rows, COLUMNS)
    else:
        say(f"no finished runs below {one_line(root)}")


def row_of(run: Run) -> dict[str, Any]:
    """A run in one row, with the figures of its best epoch."""
    best = run.best if run.rows else {}
    return {
        "id": run.id,
        "data": run.recipe.data,
        "model": label_of(run.recipe.model),
        "seed": run.recipe.seed,
        "status": run.status,
        **run.size,
        "epochs": run.epochs,
        "val_loss": best.get("val_loss"),
        "test_accuracy": best.get("test_accuracy"),
        "path": str(run.path),
    }
