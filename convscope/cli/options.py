"""Arguments and options that several commands share."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from convscope.errors import UserError, one_line

# what options of several commands say that differ in another thing, as in their default
OWN_IMAGES = (
    "own images: a folder, a table (.csv, .tsv, .parquet), an archive (.zip, .tar.gz), "
    "hf:OWNER/NAME or an .npz file."
)
DATA = f"cifar10, mnist, fashion-mnist, shapes, or {OWN_IMAGES}"
MODEL = "A known name, with changes: course-2,width=16; or package.module:factory."
RESIZE = (
    "What becomes of images of a folder that are not square: crop keeps the centre, "
    "squash changes the aspect ratio, pad adds black bars."
)
CLASSES = (
    "folders: a class is a folder of the root or of a split; "
    "nested: each folder that holds images is a class, as a/b."
)
WORKERS = "Processes that train."
SILENCE = "End a run that reports nothing for so long, as 10m."
SILENT = "50 times what an epoch takes, at least 15m"

Data = Annotated[str | None, typer.Argument(help=DATA, show_default="cifar10")]
NamedData = Annotated[str, typer.Argument(help=f"A known name, or {OWN_IMAGES}")]
Model = Annotated[str, typer.Argument(help=MODEL)]
Size = Annotated[
    int | None,
    typer.Option(
        help="Side in pixels of the images of a folder.", show_default="chosen from the images"
    ),
]
Columns = Annotated[
    str | None,
    typer.Option(
        help="Columns of a table whose names are not the usual ones: "
        "path=file,label=kind,split=part,group=patient.",
        show_default="found by their usual names",
    ),
]
GroupBy = Annotated[
    str | None,
    typer.Option(
        help="Keep images together that belong together: a column of the table, parent (the "
        "image's folder) or prefix (its name up to the last number).",
        show_default="a table's column of groups",
    ),
]
Resize = Annotated[str, typer.Option(help=RESIZE)]
Classes = Annotated[str, typer.Option(help=CLASSES)]
# where a file or the environment may say it, too
ResizeIfGiven = Annotated[str | None, typer.Option(help=RESIZE, show_default="crop")]
ClassesIfGiven = Annotated[str | None, typer.Option(help=CLASSES, show_default="folders")]
DeviceIfGiven = Annotated[
    str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps.", show_default="auto")
]
Kernels = Annotated[
    str | None,
    typer.Option(help="library: use no compiled kernels.", show_default="measured"),
]
Track = Annotated[
    str | None,
    typer.Option(
        help="Mirror every run in trackers: wandb, tensorboard, mlflow, trackio; several as a,b."
    ),
]
EngineName = Annotated[
    str | None,
    typer.Option(
        "--engine",
        help="Where runs are trained: local (this machine) or ray (a Ray cluster).",
        show_default="local",
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        help="Of a Ray cluster: auto on one of its nodes, or HOST:PORT of its head.",
        show_default="RAY_ADDRESS, else this machine alone",
    ),
]
Trust = Annotated[
    bool, typer.Option("--trust", help="Import the factories that runs name: their code runs.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


def restrict_kernels(given: str | None) -> None:
    """With "library", this process and those that it starts leave compiled kernels alone."""
    if given not in (None, "library"):
        raise UserError(
            f"kernels {one_line(given)!r}: must be library; without it, the fastest are measured"
        )
    if given:
        os.environ["CONVSCOPE_KERNELS"] = given
