"""`convscope sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from convscope.cli.options import (
    SILENCE,
    SILENT,
    WORKERS,
    Address,
    DeviceIfGiven,
    EngineName,
    Json,
    Track,
)
from convscope.cli.printing import say_failed
from convscope.cli.refusals import folder_of, refuse, refuse_device, refuse_tracker
from convscope.errors import UserError, one_line

Seeds = Annotated[
    int | None, typer.Option(help="Seeds of each configuration.", show_default="as the file says")
]
Out = Annotated[
    str | None, typer.Option(help="The sweep's folder.", show_default="runs/NAME of the file")
]
Workers = Annotated[int | None, typer.Option(help=WORKERS, show_default="measured")]
Data = Annotated[str | None, typer.Option(help="Data, instead of what the file names.")]
Silence = Annotated[str | None, typer.Option(help=SILENCE, show_default=SILENT)]


def sweep(
    file: Annotated[
        Path, typer.Argument(metavar="SWEEP.toml", help="What is trained and compared.")
    ],
    data: Data = None,
    seeds: Seeds = None,
    out: Out = None,
    device: DeviceIfGiven = None,
    workers: Workers = None,
    track: Track = None,
    silence: Silence = None,
    engine: EngineName = None,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Train a grid or a list of recipes over seeds, and compare.

    The same command goes on where it stopped. Options take the place of the file's keys.
    """
    from convscope.studies.sweep_request import check_request, read_request

    given = {"data": data, "seeds": seeds, "out": out, "device": device}
    given |= {"workers": workers, "track": track, "silence": silence}
    given |= {"engine": engine, "address": address}
    asked = read_request(file, {key: value for key, value in given.items() if value is not None})
    refuse_tracker(asked.track)
    refuse_device(asked.device)
    try:
        configurations, _ = check_request(asked)
        folder_of(str(asked.out))
        for one in {(c.recipe.data, c.recipe.model): c for c in configurations}.values():
            refuse(one.recipe)
    except UserError as error:
        raise UserError(f"file {one_line(file)}: {error}") from None
    from convscope.studies import progress
    from convscope.studies.sweeping import carry_out
    from convscope.training import keep_freed_memory

    keep_freed_memory()
    with progress.shown() as watcher:
        result = carry_out(asked, watcher)
    say_failed(result.failed)
    if as_json:
        print((result.path / "results.json").read_text(encoding="utf-8"), end="")
    else:
        print(result)
    if result.failed:
        raise typer.Exit(1)
