"""`convscope study` and `convscope report`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convscope.cli.options import (
    Address,
    Columns,
    EngineName,
    GroupBy,
    Json,
    Kernels,
    Size,
    Track,
    Trust,
    restrict_kernels,
)
from convscope.cli.printing import say
from convscope.cli.refusals import refuse_folder
from convscope.cli.sharing import train_shard
from convscope.cli.study_options import asked_for
from convscope.errors import UserError, one_line

if TYPE_CHECKING:
    from convscope.studies import Study
    from convscope.studies.study_request import StudyRequest

Preset = Annotated[
    str | None,
    typer.Option(help="quick, standard or full.", show_default="quick", envvar="CONVSCOPE_PRESET"),
]
Chapters = Annotated[
    str | None,
    typer.Option(help="Chapters joined by commas; all without it.", envvar="CONVSCOPE_CHAPTERS"),
]
Seeds = Annotated[
    int | None,
    typer.Option(
        help="Seeds for each network.",
        show_default="2, 3 or 5 by preset",
        envvar="CONVSCOPE_SEEDS",
    ),
]
FirstSeed = Annotated[
    int | None,
    typer.Option(
        help="The first of the seeds; another one repeats a study with new chance.",
        show_default="0",
        envvar="CONVSCOPE_FIRST_SEED",
    ),
]
Out = Annotated[
    str | None,
    typer.Option(
        help="The study's folder.", show_default="runs/DATA-PRESET", envvar="CONVSCOPE_OUT"
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(help="Processes that train.", show_default="measured", envvar="CONVSCOPE_WORKERS"),
]
Val = Annotated[
    float | None,
    typer.Option(
        help="Share of the training images held out for validation.",
        show_default="0.1",
        envvar="CONVSCOPE_VAL",
    ),
]
Budget = Annotated[
    str | None,
    typer.Option(
        help="Make the preset fit into a time, as 90s, 10m or 1h30m.", envvar="CONVSCOPE_BUDGET"
    ),
]
Sampler = Annotated[
    str | None,
    typer.Option(
        help="How the search proposes networks: tpe, random or grid.",
        show_default="tpe",
        envvar="CONVSCOPE_SAMPLER",
    ),
]
Trials = Annotated[
    int | None,
    typer.Option(help="Trials of the search.", show_default="by preset", envvar="CONVSCOPE_TRIALS"),
]
Silence = Annotated[
    str | None,
    typer.Option(
        help="End a run that reports nothing for so long, as 10m.",
        show_default="50 times what an epoch takes, at least 15m",
        envvar="CONVSCOPE_SILENCE",
    ),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", help="Show no progress, only what failed and what was found.")
]
Minutes = Annotated[
    float | None,
    typer.Option(help="Minutes of the search, at most.", envvar="CONVSCOPE_MINUTES"),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="A setting of a chapter in the place of its preset's, as capacity.widths=4,8,16 or "
        "ordering.epochs=5: widths, depths, epochs, seeds, images.",
        metavar="CHAPTER.KEY=VALUE",
    ),
]
PlanOnly = Annotated[
    bool,
    typer.Option("--plan-only", help="Measure and plan, write study.json, and train nothing."),
]
PlanFile = Annotated[
    Path | None, typer.Option("--plan", help="The study.json of a plan, for a shard of it.")
]
Shard = Annotated[
    str | None, typer.Option(help="Train a share of the plan's runs: 3/8 is the third of eight.")
]
OwnDevice = Annotated[
    str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps.", show_default="auto")
]
OwnResize = Annotated[
    str | None,
    typer.Option(
        help="What becomes of images of a folder that are not square: crop keeps the centre, "
        "squash changes the aspect ratio, pad adds black bars.",
        show_default="crop",
    ),
]
OwnClasses = Annotated[
    str | None,
    typer.Option(
        help="folders: a class is a folder of the root or of a split; "
        "nested: each folder that holds images is a class, as a/b.",
        show_default="folders",
    ),
]
NOT_KEYS = ("kernels", "settings", "plan_only", "plan", "shard", "quiet", "as_json")

Ram = Annotated[
    str | None,
    typer.Option(
        help="Memory of a device, as 256k or 62.5KiB: only networks are proposed whose feature "
        "maps fit."
    ),
]
Flash = Annotated[
    str | None,
    typer.Option(help="Room for weights on a device, as 1M: only networks are proposed that fit."),
]
Macs = Annotated[
    str | None, typer.Option(help="The most multiply-adds of one image on a device, as 20M.")
]
Bits = Annotated[
    int | None,
    typer.Option(
        help="Bits of weights and feature maps on the device: 2, 4, 8, 16 or 32.", show_default="8"
    ),
]


def study(
    data: Annotated[
        str | None,
        typer.Argument(
            help="A study's TOML file, or data: cifar10, fashion-mnist, shapes, or own images: a "
            "folder, a table (.csv, .tsv, .parquet), an archive (.zip, .tar.gz), hf:OWNER/NAME "
            "or an .npz file.",
            show_default="cifar10",
        ),
    ] = None,
    preset: Preset = None,
    chapters: Chapters = None,
    seeds: Seeds = None,
    first_seed: FirstSeed = None,
    out: Out = None,
    device: OwnDevice = None,
    workers: Workers = None,
    kernels: Kernels = None,
    val: Val = None,
    size: Size = None,
    columns: Columns = None,
    group_by: GroupBy = None,
    resize: OwnResize = None,
    classes: OwnClasses = None,
    budget: Budget = None,
    sampler: Sampler = None,
    trials: Trials = None,
    minutes: Minutes = None,
    ram: Ram = None,
    flash: Flash = None,
    macs: Macs = None,
    bits: Bits = None,
    settings: Settings = None,
    track: Track = None,
    silence: Silence = None,
    engine: EngineName = None,
    address: Address = None,
    plan_only: PlanOnly = False,
    plan: PlanFile = None,
    shard: Shard = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train, judge and write one report on a data set.

    The same command goes on where it stopped. Options go before the environment (CONVSCOPE_SEEDS
    and its like), that before a study's file, and the file before defaults.
    """
    flags = {key: value for key, value in locals().items() if key not in NOT_KEYS}
    restrict_kernels(kernels)
    file = data if data is not None and data.endswith(".toml") else None
    if file is not None:
        flags["data"] = None
    if shard is not None or plan is not None:
        train_shard(plan, shard, flags, settings, file)
        return
    asked = asked_for(flags, settings, file)
    carry_out(asked, as_json, plan_only, quiet)


def carry_out(
    asked: StudyRequest, as_json: bool, plan_only: bool = False, quiet: bool = False
) -> None:
    """Conduct the study, show how far it is, and print what came out."""
    from convscope import studies
    from convscope.studies import progress
    from convscope.training import keep_freed_memory

    keep_freed_memory()
    with progress.shown(quiet) as watcher:
        if plan_only:
            print(studies.plan_study(asked, watcher))
            return
        result = studies.conduct(asked, watcher)
    tell(result, as_json)


def tell(result: Study, as_json: bool) -> None:
    """Print what came out; exit with 1 where a run failed."""
    for run in result.failed:
        say(f"failed: run {run.id}: {one_line(run.message)}")
    if as_json:
        print((result.path / "results.json").read_text(encoding="utf-8"), end="")
    conclude(result, say if as_json else print)
    if result.failed:
        raise typer.Exit(1)


def report(
    study: Annotated[str, typer.Argument(help="The folder of a study.")],
    pdf: Annotated[
        bool, typer.Option("--pdf", help="Print report.pdf, too, by an installed browser.")
    ] = False,
    trust: Trust = False,
) -> None:
    """Write a study's report again, without training."""
    refuse_folder("study", study)
    if not (Path(study) / "study.json").exists():
        raise UserError(f"study {one_line(study)!r}: no study.json there; name a study's folder")
    from convscope.studies.sealed import read_sealed

    read_sealed(Path(study))  # one that is none is refused before torch is there
    from convscope import studies
    from convscope.report import check_browser, print_pdf
    from convscope.studies.trackers import Sayer

    page = Path(study) / "report.html"
    if pdf:
        check_browser(page)
    rendered = studies.render(Path(study), Sayer(say), trust)
    if pdf:
        print_pdf(page, page.with_suffix(".pdf"))
        say(f"pdf: {one_line(page.with_suffix('.pdf'))}")
    conclude(rendered, print)


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
