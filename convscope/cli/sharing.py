"""`convscope merge`, `convscope submit`, and shards of a study."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from convscope.cli.options import Json, Track
from convscope.cli.printing import say
from convscope.cli.refusals import folder_of, refuse_tracker
from convscope.cli.start import typed
from convscope.errors import UserError, did_you_mean, one_line

SYSTEMS = ("slurm",)


def train_shard(
    plan: Path | None, shard: str | None, flags: Mapping[str, Any], more: object, file: object
) -> None:
    """Train a share of a plan; `flags`: the options of `convscope study` that were given."""
    given = {key for key, value in flags.items() if value is not None}
    if plan is None or shard is None:
        raise UserError(
            "--shard and --plan go together, as --plan plan/study.json --shard 3/8; "
            "--plan-only writes the plan"
        )
    if more or file or given - {"out", "data", "workers", "silence"}:
        raise UserError(
            f"--plan {one_line(plan)}: the plan says what is trained; "
            "only --out, --workers, --silence and DATA go with it"
        )
    if "out" not in given:
        raise UserError("--shard: name the shard's own folder with --out")
    folder_of(flags["out"])
    from convscope.studies.shares import Share

    share = Share.named(shard)
    from convscope.studies import progress
    from convscope.studies.sharding import conduct_shard
    from convscope.training import keep_freed_memory

    keep_freed_memory()
    with progress.shown() as watcher:
        done = conduct_shard(plan, share, flags, watcher)
    print(done)
    if done.failed:
        raise typer.Exit(1)


def merge(
    shards: Annotated[list[Path], typer.Argument(help="The folders of the shards.")],
    out: Annotated[str, typer.Option(help="The folder of the whole study.")],
    join_only: Annotated[
        bool,
        typer.Option("--join-only", help="Join the runs, and train and report nothing."),
    ] = False,
    track: Track = None,
    as_json: Json = False,
) -> None:
    """Join the shards of a study, train what is missing, and report.

    With --join-only OUT/study.json is the plan of another round of shards.
    """
    folder_of(out)
    refuse_tracker(track)
    from convscope import studies
    from convscope.cli.studying import tell
    from convscope.studies import progress
    from convscope.studies.sharding import joined
    from convscope.studies.trackers import joined_names
    from convscope.training import keep_freed_memory

    keep_freed_memory()
    with progress.shown() as watcher:
        asked = joined(shards, Path(out), watcher, typed())
        if join_only:
            print(Path(out) / "study.json")
            return
        result = studies.conduct(replace(asked, track=joined_names(track)), watcher)
    tell(result, as_json)


def submit(
    system: Annotated[str, typer.Argument(help="slurm.")],
    plan: Annotated[Path, typer.Option(help="The study.json of a plan.")],
    shards: Annotated[int, typer.Option(help="Into how many shards the study is divided.")],
    cpus: Annotated[
        int | None, typer.Option(help="Cores of each shard.", show_default="as planned")
    ] = None,
    gpus: Annotated[int, typer.Option(help="GPUs of each shard.")] = 0,
    time: Annotated[
        str | None, typer.Option(help="The longest time of a shard, as 4:00:00.")
    ] = None,
    partition: Annotated[str | None, typer.Option(help="The partition.")] = None,
) -> None:
    """Print a script that trains a plan's shards as an array job.

    convscope submit slurm --plan plan/study.json --shards 8 | sbatch
    """
    if system not in SYSTEMS:
        raise UserError(f"system {one_line(system)!r}{did_you_mean(system, SYSTEMS)}")
    if not 1 <= shards <= 10_000:
        raise UserError(f"shards = {shards:,}: from 1 to 10,000")
    for name, number, low in (("cpus", cpus, 1), ("gpus", gpus, 0)):
        if number is not None and not low <= number <= 1024:
            raise UserError(f"{name} = {number}: from {low} to 1,024")
    for name, text in (("time", time), ("partition", partition)):
        if text is not None and not (text.isprintable() and text and " " not in text):
            raise UserError(f"{name} {one_line(text)!r}: a word without blanks is expected")
    from convscope.studies.sharding import plan_folder
    from convscope.studies.shares import slurm_script

    folder = plan_folder(plan)
    assert folder.choice is not None
    wanted = folder.choice.workers * folder.choice.threads
    options = {"cpus-per-task": cpus or wanted, "time": time, "partition": partition}
    options["gpus-per-task"] = gpus or None
    command = [sys.executable, "-m", "convscope.cli", "study"]
    print(slurm_script(command, folder.root, shards, options, Path.cwd()), end="")
    shown = shlex.quote(str(folder.root / "shards"))
    say(f"afterwards: convscope merge {shown}/* --out {shlex.quote(str(folder.root / 'whole'))}")
