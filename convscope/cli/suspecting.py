"""`convscope data suspects`: labels that contradict the others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convscope.cli.options import Json, Trust
from convscope.cli.printing import print_csv, print_table, say
from convscope.cli.refusals import refuse_side
from convscope.errors import UserError, one_line

if TYPE_CHECKING:
    from convscope.data import Dataset
    from convscope.statistics import Suspect
    from convscope.studies import Without

Named = Annotated[
    str,
    typer.Argument(
        metavar="RUNS",
        help="A run's folder, a folder of runs of one configuration, a study (its winner), or "
        "runs joined by commas.",
    ),
]
Most = Annotated[int, typer.Option(help="Images that are listed; 0 lists all.")]
Verdicts = Annotated[
    bool,
    typer.Option(
        "--verdicts",
        help="For a study: which verdicts are another word without these images, and which without "
        "near-duplicates. Takes minutes.",
    ),
]
Csv = Annotated[bool, typer.Option("--csv", help="Print CSV.")]
COLUMNS = ("split", "index", "label", "suggested", "margin")


def data_suspects(
    runs: Named,
    most: Most = 20,
    verdicts: Verdicts = False,
    trust: Trust = False,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Validation and test images whose labels may be wrong, the surest first.

    By confident learning (Northcutt et al. 2021): what the networks, which were not trained on
    these images, say against the labels. Nothing is trained or changed; look at the images.
    """
    if most < 0:
        raise UserError(f"most = {most}: must be 0 or more")
    refuse_side("runs", runs)
    if verdicts and not (Path(runs) / "study.json").is_file():
        raise UserError(f"runs {one_line(runs)!r}: --verdicts asks for a study's folder")
    if verdicts and as_csv:
        raise UserError("--verdicts has no CSV; --json has all of it")

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
    without = rethought(Path(runs), suspects, data, trust) if verdicts else []
    if as_json:
        tree = {"runs": [run.id for run in found], "shares": shares, "suspects": listed}
        if verdicts:
            tree["without"] = [one.to_json() for one in without]
        print(json.dumps(tree))
        return
    if as_csv:
        print_csv(listed)
    elif listed:
        print_table(listed, COLUMNS)
    told = ", ".join(f"{share:.1%} of the {name} images" for name, share in shares.items())
    say(f"suspected wrong labels: {told}; {len(listed):,} of {len(rows):,} listed")
    for one in without:
        tell(one)


def rethought(study: Path, suspects: list[Suspect], data: Dataset, trust: bool) -> list[Without]:
    """A study's verdicts without suspected labels, and without near-duplicates."""
    from convscope.data import near_duplicate_rows
    from convscope.studies import verdicts_without

    labels: dict[str, list[int]] = {"val": [], "test": []}
    for suspect in suspects:
        labels[suspect.split].append(suspect.index)
    asked = {"suspected labels": labels, "near-duplicates": near_duplicate_rows(data)}
    return verdicts_without(study, asked, trust)


def tell(without: Without) -> None:
    """A study's verdicts without some images, in words."""
    pairs, changed = without.verdicts, without.changed
    images = ", ".join(f"{count:,} {split}" for split, count in without.images.items())
    say(
        f"without {without.reason} ({images} images): "
        f"{len(pairs) - len(changed)} of {len(pairs)} verdicts are the same words"
    )
    for name in changed:
        before, after = map(one_line, pairs[name])
        say(f"  {name}: {before!r} becomes {after!r}")
