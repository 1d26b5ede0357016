"""Arguments and options that several commands share."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from convscope.errors import UserError, one_line

Data = Annotated[
    str | None,
    typer.Argument(
        help="cifar10, fashion-mnist, shapes, a folder of images or an .npz file.",
        show_default="cifar10",
    ),
]
NamedData = Annotated[str, typer.Argument(help="A known name, a folder of images or an .npz file.")]
Model = Annotated[
    str,
    typer.Argument(
        help="A known name, with changes: course-2,width=16; or package.module:factory."
    ),
]
Size = Annotated[
    int | None,
    typer.Option(
        help="Side in pixels of the images of a folder.", show_default="chosen from the images"
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Kernels = Annotated[
    str | None,
    typer.Option(help="library: use no compiled kernels.", show_default="measured"),
]
Track = Annotated[str | None, typer.Option(help="Mirror every run in a tracker: wandb.")]
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
