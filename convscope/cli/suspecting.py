"""`convscope data suspects`: labels that contradict the others."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from convscope.cli.options import Json, Trust
from convscope.cli.printing import print_csv, print_table, say
from convscope.cli.refusals import refuse_side
from convscope.errors import UserError, one_line

Named = Annotated[
    str,
    typer.Argument(
        metavar="RUNS",
        help="A run's folder, a folder of runs of one configuration, a study (its winner), or "
        "runs joined by commas.",
    ),
]
Most = Annotated[int, typer.Option(help="Images that are listed; 0 lists all.")]
Csv = Annotated[bool, typer.Option("--csv", help="Print CSV.")]
COLUMNS = ("split", "index", "label", "suggested", "margin")


def data_suspects(
    runs: Named, most: Most = 20, trust: Trust = False, as_json: Json = False, as_csv: Csv = False
) -> None:
    """Validation and test images whose labels may be wrong, the surest first.

    By confident learning (Northcutt et al. 2021): what the networks, which were not trained on
    these images, say against the labels. Nothing is trained or changed; look at the images.
    """
    if most < 0:
        raise UserError(f"most = {most}: must be 0 or more")
    refuse_side("runs", runs)

    from convscope.training import runs_named

    found = runs_named(runs).runs
    if unfinished := [run for run in found if run.status != "finished"]:
        raise UserError(
            f"runs {one_line(runs)!r}: run {unfinished[0].id} is {unfinished[0].status}, not "
            "finished; name finished ones"
        )
    from convscope.models import trusting
    from convscope.statistics import as_rows, shares_of, suspects_of
    from convscope.training import dataset_of

    data = dataset_of(found[0].recipe)
    with trusting(trust):
        suspects = suspects_of(found, data)
    rows, shares = as_rows(suspects, data), shares_of(suspects, data)
    listed = rows[: most or None]
    if as_json:
        print(json.dumps({"runs": [run.id for run in found], "shares": shares, "suspects": listed}))
        return
    if as_csv:
        print_csv(listed)
    elif listed:
        print_table(listed, COLUMNS)
    told = ", ".join(f"{share:.1%} of the {name} images" for name, share in shares.items())
    say(f"suspected wrong labels: {told}; {len(listed):,} of {len(rows):,} listed")
