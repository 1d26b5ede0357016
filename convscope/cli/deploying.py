"""`convscope predict` and `convscope export`: a finished network in use."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convscope.cli.options import Json, Trust
from convscope.cli.printing import aside, print_csv, print_table, say, show
from convscope.cli.refusals import folder_of, refuse_images_named, refuse_run
from convscope.errors import UserError, one_line

if TYPE_CHECKING:
    from convscope.data import Dataset
    from convscope.deployment import Predictions

RunOrStudy = Annotated[
    str,
    typer.Argument(metavar="RUN|STUDY", help="A run's folder, or a study's: then its winner."),
]
Images = Annotated[
    list[str],
    typer.Argument(
        metavar="IMAGES…",
        help="Image files, folders, archives (.zip, .tar.gz), or - for standard input: an image, "
        "an archive, or a path on each line.",
    ),
]
Csv = Annotated[bool, typer.Option("--csv", help="Print CSV, with the probability of each class.")]
Ensemble = Annotated[
    bool,
    typer.Option("--ensemble", help="Take the mean probabilities of all seeds of the winner."),
]
Plain = Annotated[
    bool, typer.Option("--plain", help="Plain softmax: no temperature, no sets of classes.")
]
Coverage = Annotated[
    float, typer.Option(help="Percentage of images whose set of classes is to hold the true one.")
]
Where = Annotated[
    str | None,
    typer.Option(help="Where the run's own images are now.", show_default="where they were"),
]


def predict(
    run: RunOrStudy,
    images: Images,
    ensemble: Ensemble = False,
    plain: Plain = False,
    coverage: Coverage = 95.0,
    data: Where = None,
    trust: Trust = False,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Classes and probabilities of images.

    Images are read as the run's own were. Probabilities are made true by a temperature, and each
    set of classes holds the true one for 95 % of images; both use the run's validation images. The
    exit code is 1 where some of the images cannot be read.
    """
    if not 50 <= coverage < 100:
        raise UserError(f"coverage {coverage:g}: must be from 50 to below 100 %")
    if as_json and as_csv:
        raise UserError("--json and --csv: choose one of them")
    refuse_run(run)
    if not ensemble and data is None:  # what is wrong with these is said first
        refuse_images_named(images)
    from convscope import deployment
    from convscope.models import trusting
    from convscope.studies import Lines

    with trusting(trust), aside():
        found = deployment.predict(
            run,
            images,
            ensemble=ensemble,
            calibrate=not plain,
            level=coverage / 100,
            data=own_data(run, data),
            progress=Lines().step,
        )
    for note in found.notes:
        say(f"{note}.")
    printed(found, as_json, as_csv)
    for line in found.failures():
        say(line)
    if found.failed:
        raise typer.Exit(1)


To = Annotated[
    str, typer.Option("--to", help="A new folder, or that of an earlier export.", metavar="FOLDER")
]
Onnx = Annotated[
    bool, typer.Option("--onnx/--no-onnx", help="ONNX files; they need the extra export.")
]
Int8 = Annotated[bool, typer.Option("--int8/--no-int8", help="An ONNX file of 8 bits, too.")]


def export(
    run: RunOrStudy,
    to: To,
    onnx: Onnx = True,
    int8: Int8 = True,
    data: Where = None,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Write a network as files that need convscope no more, each judged on the test images.

    They are safetensors with config.json and a model card, one Python file for torch and
    safetensors, ONNX, and ONNX of 8 bits. The exit code is 1 where an exported network's accuracy
    differs from the original's, and where the test images are not there.
    """
    folder_of(to, "to")
    refuse_run(run)
    from convscope import deployment
    from convscope.models import trusting

    with trusting(trust), aside():
        found = deployment.export(
            run, to, onnx=onnx, int8=int8, data=own_data(run, data), say=lambda t: say(f"{t} …")
        )
    show(found, as_json, found.to_json())
    if not found.done:
        for fault in found.faults:
            say(f"not done: {fault}")
        raise typer.Exit(1)


def own_data(run: str, place: str | None) -> Dataset | None:
    """The run's own images at another place, split as they were; None where none is named."""
    if place is None:
        return None
    from convscope.data import Options, load
    from convscope.deployment import load_run

    recipe = load_run(run).recipe
    options = vars(Options.of(recipe))
    data = load(place, val=recipe.val, split_seed=recipe.split_seed, **options)
    if recipe.data_hash not in ("", data.hash):
        raise UserError(
            f"data {one_line(place)!r}: not the images of the run: "
            f"{recipe.data_hash[:12]} then, {data.hash[:12]} here"
        )
    return data


def printed(found: Predictions, as_json: bool, as_csv: bool) -> None:
    """The predictions on standard output."""
    if as_json:
        print(json.dumps(found.to_json()))
        return
    rows: list[dict[str, Any]] = found.rows()
    for row in rows:
        if "set" in row:
            row["set"] = "|".join(row["set"]) if as_csv else ", ".join(row["set"])
    if not as_csv:
        print_table(rows, tuple(rows[0]))
        return
    for row, values in zip(rows, found.probabilities.tolist(), strict=True):
        row |= {f"p({name})": p for name, p in zip(found.classes, values, strict=True)}
    print_csv(rows)
