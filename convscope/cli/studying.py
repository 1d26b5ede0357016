"""`convscope study` and `convscope report`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convscope.cli.options import (
    DATA,
    SILENCE,
    SILENT,
    WORKERS,
    Address,
    ClassesIfGiven,
    Columns,
    DeviceIfGiven,
    EngineName,
    GroupBy,
    Json,
    Kernels,
    ResizeIfGiven,
    Size,
    Track,
    Trust,
    restrict_kernels,
)
from convscope.cli.printing import say, say_failed
from convscope.cli.refusals import refuse_folder
from convscope.cli.sharing import train_shard
from convscope.cli.study_options import PREFIX, asked_for
from convscope.errors import UserError, one_line

if TYPE_CHECKING:
    from convscope.studies import Study
    from convscope.studies.study_request import StudyRequest


def option(key: str, text: str, default: str | bool = True) -> Any:
    """An option that CONVSCOPE_KEY can give, too.

    key: the name of the variable behind CONVSCOPE_.
    text: its help.
    default: what holds without it, where that is not the parameter's own default.
    """
    return typer.Option(help=text, show_default=default, envvar=f"{PREFIX}{key}")


FIRST = "The first of the seeds; another one repeats a study with new chance."
HELD_OUT = "Share of the training images held out for validation."
BUDGET = "Make the preset fit into a time, as 90s, 10m or 1h30m."
SAMPLER = "How the search proposes networks: tpe, random or grid."

Preset = Annotated[str | None, option("PRESET", "quick, standard or full.", "quick")]
Chapters = Annotated[str | None, option("CHAPTERS", "Chapters joined by commas; all without it.")]
Seeds = Annotated[int | None, option("SEEDS", "Seeds for each network.", "2, 3 or 5 by preset")]
FirstSeed = Annotated[int | None, option("FIRST_SEED", FIRST, "0")]
Out = Annotated[str | None, option("OUT", "The study's folder.", "runs/DATA-PRESET")]
Workers = Annotated[int | None, option("WORKERS", WORKERS, "measured")]
Val = Annotated[float | None, option("VAL", HELD_OUT, "0.1")]
Budget = Annotated[str | None, option("BUDGET", BUDGET)]
Sampler = Annotated[str | None, option("SAMPLER", SAMPLER, "tpe")]
Trials = Annotated[int | None, option("TRIALS", "Trials of the search.", "by preset")]
Minutes = Annotated[float | None, option("MINUTES", "Minutes of the search, at most.")]
Silence = Annotated[str | None, option("SILENCE", SILENCE, SILENT)]
Quiet = Annotated[
    bool, typer.Option("--quiet", help="Show no progress, only what failed and what was found.")
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
NOT_KEYS = ("kernels", "settings", "plan_only", "plan", "shard", "quiet", "as_json")


def study(
    data: Annotated[
        str | None,
        typer.Argument(help=f"A study's TOML file, or data: {DATA}", show_default="cifar10"),
    ] = None,
    preset: Preset = None,
    chapters: Chapters = None,
    seeds: Seeds = None,
    first_seed: FirstSeed = None,
    out: Out = None,
    device: DeviceIfGiven = None,
    workers: Workers = None,
    kernels: Kernels = None,
    val: Val = None,
    size: Size = None,
    columns: Columns = None,
    group_by: GroupBy = None,
    resize: ResizeIfGiven = None,
    classes: ClassesIfGiven = None,
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
    say_failed(result.failed)
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
