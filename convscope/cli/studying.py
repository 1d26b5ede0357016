"""`convscope study` and `convscope report`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convscope.cli.options import (
    Classes,
    Columns,
    Data,
    Device,
    GroupBy,
    Json,
    Kernels,
    Resize,
    Size,
    Track,
    Trust,
    restrict_kernels,
)
from convscope.cli.printing import say
from convscope.cli.refusals import (
    folder_of,
    refuse_device,
    refuse_folder,
    refuse_splits,
    refuse_tracker,
)
from convscope.cli.start import typed
from convscope.errors import UserError, one_line

if TYPE_CHECKING:
    from convscope.studies import Study
    from convscope.studies.study_request import StudyRequest

Preset = Annotated[str, typer.Option(help="quick, standard or full.")]
Chapters = Annotated[str | None, typer.Option(help="Chapters joined by commas; all without it.")]
Seeds = Annotated[
    int | None, typer.Option(help="Seeds for each network.", show_default="2, 3 or 5 by preset")
]
FirstSeed = Annotated[
    int, typer.Option(help="The first of the seeds; another one repeats a study with new chance.")
]
Out = Annotated[
    str | None, typer.Option(help="The study's folder.", show_default="runs/DATA-PRESET")
]
Workers = Annotated[int | None, typer.Option(help="Processes that train.", show_default="measured")]
Val = Annotated[float, typer.Option(help="Share of the training images held out for validation.")]
Budget = Annotated[
    str | None, typer.Option(help="Make the preset fit into a time, as 90s, 10m or 1h30m.")
]
Sampler = Annotated[
    str, typer.Option(help="How the search proposes networks: tpe, random or grid.")
]
Trials = Annotated[int | None, typer.Option(help="Trials of the search.", show_default="by preset")]
Silence = Annotated[
    str | None,
    typer.Option(
        help="End a run that reports nothing for so long, as 10m.",
        show_default="50 times what an epoch takes, at least 15m",
    ),
]
Minutes = Annotated[float | None, typer.Option(help="Minutes of the search, at most.")]


def study(
    data: Data = None,
    preset: Preset = "quick",
    chapters: Chapters = None,
    seeds: Seeds = None,
    first_seed: FirstSeed = 0,
    out: Out = None,
    device: Device = "auto",
    workers: Workers = None,
    kernels: Kernels = None,
    val: Val = 0.1,
    size: Size = None,
    columns: Columns = None,
    group_by: GroupBy = None,
    resize: Resize = "crop",
    classes: Classes = "folders",
    budget: Budget = None,
    sampler: Sampler = "tpe",
    trials: Trials = None,
    minutes: Minutes = None,
    track: Track = None,
    silence: Silence = None,
    as_json: Json = False,
) -> None:
    """Train, judge and write one report on a data set.

    The same command goes on where it stopped.
    """
    restrict_kernels(kernels)
    named = [name.strip() for name in chapters.split(",")] if chapters is not None else None
    from convscope.data import Options
    from convscope.planning import Search, parse_budget
    from convscope.studies.study_request import SEEDS, StudyRequest, check, chosen_chapters

    refuse_device(device)
    refuse_tracker(track)
    asked = StudyRequest(
        data=data,
        chapters=tuple(chosen_chapters(named)),
        preset=preset,
        seeds=SEEDS.get(preset, 1) if seeds is None else seeds,
        first_seed=first_seed,
        out=out,
        device=device,
        workers=workers,
        val=val,
        **vars(Options(size, columns, group_by, resize, classes)),
        budget=None if budget is None else parse_budget(budget),
        search=Search(sampler, trials, minutes),
        track=track,
        command=typed(),
        silence=None if silence is None else parse_budget(silence, "silence"),
    )
    check(asked)
    folder_of("runs" if out is None else out)
    if data is not None:
        refuse_splits(data, Options.of(asked), val)
    _carry_out(asked, as_json)


def _carry_out(asked: StudyRequest, as_json: bool) -> None:
    """Conduct the study, show how far it is, and print what came out."""
    from convscope import studies
    from convscope.studies import progress
    from convscope.training import keep_freed_memory

    keep_freed_memory()
    watcher = progress.watcher()
    with watcher if isinstance(watcher, progress.Bar) else contextlib.nullcontext():
        result = studies.conduct(asked, watcher)
    _tell(result, as_json)


def _tell(result: Study, as_json: bool) -> None:
    """Print what came out; exit with 1 where a run failed."""
    for run in result.failed:
        say(f"failed: run {run.id}: {one_line(run.message)}")
    if as_json:
        print((result.path / "results.json").read_text(encoding="utf-8"), end="")
    conclude(result, say if as_json else print)
    if result.failed:
        raise typer.Exit(1)


def report(
    study: Annotated[str, typer.Argument(help="The folder of a study.")], trust: Trust = False
) -> None:
    """Write a study's report again, without training."""
    refuse_folder("study", study)
    if not (Path(study) / "study.json").exists():
        raise UserError(f"study {one_line(study)!r}: no study.json there; name a study's folder")
    from convscope.studies.sealed import read_sealed

    read_sealed(Path(study))  # one that is none is refused before torch is there
    from convscope import studies
    from convscope.studies.trackers import Sayer

    conclude(studies.render(Path(study), Sayer(say), trust), print)


def conclude(result: Study, state: Callable[[str], None]) -> None:
    """Name broken chapters, missing evidence and the report; `state` what was found.

    Exits with 1 if a chapter is broken.
    """
    for chapter, why in result.broken.items():
        say(f"failed: chapter {chapter}: {why}")
    for chapter, finding in result.items():
        if finding.missing:
            say(
                f"missing evidence: chapter {chapter}: {one_line('; '.join(finding.missing), 2000)}"
            )
    say(f"report: {result.path / 'report.html'}")
    state(result.sentence)
    if result.broken:
        raise typer.Exit(1)
