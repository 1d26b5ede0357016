"""The command line: parse, call, print. Results go to standard output, progress and prose to standard error.

Exit codes: 0 done; 1 some runs failed (named); 2 the input is wrong (one line that repeats it); 130 interrupted, resumable.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shlex
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from convscope.errors import UserError, one_line
from convscope.recipe import Recipe, read_recipe, to_json
from convscope.recipes import NAMED, named

app = typer.Typer(
    name="convscope",
    help="How big a convolutional network do your images need, and what does each of its parts buy?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
data_app = typer.Typer(
    help="Data sets: bring them here, look at them.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(data_app, name="data")

# typer brings its own click; the base of its public BadParameter is the same class wherever it comes from
USAGE_ERROR: type[typer.BadParameter] = next(  # pyright: ignore[reportAssignmentType]
    cls for cls in typer.BadParameter.__mro__ if cls.__name__ == "ClickException"
)

INTERRUPTED = 130
DISK_ERRORS = {
    errno.ENOSPC,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
    getattr(errno, "EDQUOT", errno.ENOSPC),
}

Data = Annotated[
    str | None,
    typer.Argument(
        help="cifar10, fashion-mnist, shapes, a folder of images or an .npz file",
        show_default="cifar10",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


def version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"convscope {version('convscope')}")
        raise typer.Exit


@app.callback()
def root(
    _: Annotated[
        bool, typer.Option("--version", callback=version, is_eager=True, help="Print the version.")
    ] = False,
) -> None: ...


@app.command()
def study(
    data: Data = None,
    preset: Annotated[str, typer.Option(help="quick, standard or full")] = "quick",
    chapters: Annotated[
        str | None, typer.Option(help="Chapters joined by commas; all without it.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(help="Seeds for each network.", show_default="2, 3 or 5 by preset")
    ] = None,
    out: Annotated[
        str | None, typer.Option(help="The study's folder.", show_default="runs/DATA-PRESET")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps")] = "auto",
    workers: Annotated[
        int | None, typer.Option(help="Processes that train.", show_default="measured")
    ] = None,
    val: Annotated[
        float, typer.Option(help="Share of the training images held out for validation.")
    ] = 0.1,
    size: Annotated[
        int | None,
        typer.Option(help="Side of the images of a folder.", show_default="chosen from the images"),
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="Make the preset fit into a time, as 90s, 10m or 1h30m.")
    ] = None,
    sampler: Annotated[
        str, typer.Option(help="How the search proposes networks: tpe, random or grid")
    ] = "tpe",
    trials: Annotated[
        int | None, typer.Option(help="Trials of the search.", show_default="by preset")
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Or minutes of the search.")] = None,
    track: Annotated[str | None, typer.Option(help="Mirror every run in a tracker: wandb")] = None,
    as_json: Json = False,
) -> None:
    """Train, judge and write one report on a data set.

    The same command goes on where it stopped.
    """
    from convscope import studies
    from convscope.planning import Search
    from convscope.studies import progress as screen
    from convscope.training import keep_freed_memory

    keep_freed_memory()
    watcher = screen.watcher()
    names = [name.strip() for name in chapters.split(",")] if chapters is not None else None
    with watcher if isinstance(watcher, screen.Bar) else contextlib.nullcontext():
        result = studies.study(
            data,
            names,
            preset,
            seeds=seeds,
            out=out,
            device=device,
            workers=workers,
            val=val,
            size=size,
            budget=budget,
            search=Search(sampler, trials, minutes),
            track=track,
            watcher=watcher,
            command=typed(),
        )
    if as_json:
        print((result.path / "results.json").read_text(encoding="utf-8"), end="")
    for run in result.failed:
        print(f"failed: run {run.id}: {one_line(run.message)}", file=sys.stderr)
    for chapter, why in result.broken.items():
        print(f"failed: chapter {chapter}: {why}", file=sys.stderr)
    print(f"report: {result.path / 'report.html'}", file=sys.stderr)
    print(result.sentence, file=sys.stderr if as_json else sys.stdout)
    if result.failed or result.broken:
        raise typer.Exit(1)


@app.command()
def train(
    data: Data = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="A recipe file (JSON), or strong: made for accuracy in little time; flags change it."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="A known name, with changes: course-2,width=16; or package.module:factory"
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option()] = None,
    batch: Annotated[int | None, typer.Option()] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate.")] = None,
    optimizer: Annotated[str | None, typer.Option(help="sgd, adam, adamw or muon")] = None,
    schedule: Annotated[str | None, typer.Option(help="constant, cosine or onecycle")] = None,
    weight_decay: Annotated[float | None, typer.Option()] = None,
    label_smoothing: Annotated[
        float | None, typer.Option(help="The share of each label that is spread over all classes.")
    ] = None,
    seed: Annotated[int | None, typer.Option()] = None,
    limit: Annotated[int | None, typer.Option(help="Train on so many images.")] = None,
    flip: Annotated[
        bool | None, typer.Option("--flip/--no-flip", help="Random mirror images.")
    ] = None,
    crop: Annotated[
        int | None, typer.Option(help="Random translation by up to so many pixels.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps")] = "auto",
    precision: Annotated[
        str | None, typer.Option(help="float32, bfloat16 or float64", show_default="measured")
    ] = None,
    out: Annotated[Path, typer.Option(help="The run goes to OUT/ID.")] = Path("runs"),
    track: Annotated[str | None, typer.Option(help="Mirror the run in a tracker: wandb")] = None,
    as_json: Json = False,
) -> None:
    """Train one network."""
    loaded = None
    if recipe in NAMED and not Path(recipe).exists():
        from convscope.data import load

        loaded = load(data or Recipe().data, val=0.0)
        base = named(recipe, min(limit or len(loaded.train), len(loaded.train)))
    else:
        base = read_recipe(recipe) if recipe is not None else Recipe()
    measured_here = (
        recipe is None or loaded is not None
    )  # a recipe file says how the machine computes
    given: dict[str, Any] = {
        "data": data,
        "epochs": epochs,
        "batch": batch,
        "lr": lr,
        "optimizer": optimizer,
        "schedule": schedule,
        "weight_decay": weight_decay,
        "label_smoothing": label_smoothing,
        "seed": seed,
        "limit": limit,
        "flip": flip,
        "crop": crop,
        "precision": precision,
    }
    changed = replace(base, **{key: value for key, value in given.items() if value is not None})
    from convscope.machine import tuned
    from convscope.models import parse_model
    from convscope.studies import trackers
    from convscope.training import check_device, keep_freed_memory

    if model is not None:
        changed = replace(changed, model=parse_model(model))
    if measured_here or device != "auto":
        changed = replace(changed, device=check_device(device))
    keep_freed_memory()
    if measured_here and precision is None:
        changed = tuned(changed)
    check_writable(out)
    run = trackers.train_tracked(
        changed,
        out,
        track,
        data=loaded,
        log=print_row,
        say=lambda text: print(text, file=sys.stderr),
    )
    print(
        json.dumps(
            {
                "id": run.id,
                "path": str(run.path),
                "status": run.status,
                "size": run.size,
                "rows": run.rows,
            }
        )
        if as_json
        else run
    )
    if run.status in ("failed", "out_of_memory", "diverged"):
        raise typer.Exit(1)


def print_row(row: dict[str, Any]) -> None:
    figures = [
        f"{split} {row[f'{split}_loss']:.4f} {100 * row[f'{split}_accuracy']:.2f} %"
        for split in ("train", "val", "test")
        if row.get(f"{split}_loss") is not None
    ]
    if row.get("test_views_accuracy") is not None:
        figures.append(
            f"test by several views {row['test_views_loss']:.4f} {100 * row['test_views_accuracy']:.2f} %"
        )
    print(
        f"epoch {row['epoch']}: {', '.join(figures) or 'loss is not finite'} ({row['seconds']:.1f} s)",
        file=sys.stderr,
        flush=True,
    )


@app.command()
def inspect(
    model: Annotated[
        str,
        typer.Argument(
            help="A known name, with changes: course-2,width=16; or package.module:factory"
        ),
    ],
    input: Annotated[str, typer.Option(help="Channels × height × width.")] = "3x32x32",
    classes: Annotated[int, typer.Option()] = 10,
    as_json: Json = False,
) -> None:
    """Layers, parameters and FLOPs of a network."""
    from dataclasses import asdict

    parts = input.lower().replace("×", "x").split("x")
    if len(parts) != 3 or not all(part.isdecimal() and 0 < int(part) <= 65_536 for part in parts):
        raise UserError(f"input {one_line(input)!r}: write channels x height x width, as 3x32x32")
    if not 1 <= classes <= 1_000_000:
        raise UserError(f"classes = {classes}: from 1 to 1,000,000")
    from convscope.models import parse_model, size_of

    channels, height, width = map(int, parts)
    size = size_of(parse_model(model), (channels, height, width), classes)
    print(json.dumps(asdict(size)) if as_json else size)


@app.command()
def probe(
    target: Annotated[str, typer.Argument(help="A built-in operator's name, or module:attribute")],
    shape: Annotated[
        str | None,
        typer.Option(
            help="One sample's, channels first: 3x16x16 or 1x64.",
            show_default="1x16x16, or the operator's",
        ),
    ] = None,
    seed: Annotated[int, typer.Option()] = 0,
    as_json: Json = False,
) -> None:
    """Linear? Equivariant? A convolution? Measured."""
    from convscope import probes
    from convscope.probes.operators import operator_named

    if ":" in target:
        function, size = attribute_of(target), (1, 16, 16)
    else:
        function, size = operator_named(target)
    if shape is not None:
        parts = shape.lower().replace("×", "x").split("x")
        if len(parts) not in (2, 3) or not all(
            part.isdecimal() and 0 < int(part) <= 4096 for part in parts
        ):
            raise UserError(
                f"shape {one_line(shape)!r}: write channels x height x width or channels x length, as 3x16x16"
            )
        size = tuple(map(int, parts))
    found = probes.probe(function, size, seed=seed)
    print(json.dumps(found.to_json()) if as_json else found)


def attribute_of(target: str) -> Any:
    """What module:attribute names; a class of modules is called without arguments."""
    import importlib

    module_name, _, name = target.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(module_name), name)
        return found() if isinstance(found, type) else found
    except Exception as error:  # the user's code: whatever it raises is named
        raise UserError(
            f"target {one_line(target)!r}: {type(error).__name__}: {one_line(error)}"
        ) from error


@app.command()
def runs(
    root: Annotated[
        Path, typer.Argument(help="A folder of runs, a study or a folder of studies.")
    ] = Path("runs"),
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """The finished runs below a folder."""
    from convscope.training import Run, list_runs

    if not root.is_dir():
        raise UserError(f"root {one_line(root)!r}: no such folder")
    rows = []
    for item in list_runs(root):
        if isinstance(item, Run):
            best = item.best if item.rows else {}
            rows.append(
                {
                    "id": item.id,
                    "data": item.recipe.data,
                    "model": kind_of(item.recipe),
                    "seed": item.recipe.seed,
                    "status": item.status,
                    **item.size,
                    "epochs": len(item.rows),
                    "val_loss": best.get("val_loss"),
                    "test_accuracy": best.get("test_accuracy"),
                    "path": str(item.path),
                }
            )
        else:
            print(f"left out: {item}", file=sys.stderr)
    if as_json:
        print(json.dumps(rows))
    elif as_csv:
        import csv

        writer = csv.DictWriter(sys.stdout, list(rows[0]) if rows else ["id"])
        writer.writeheader()
        writer.writerows(rows)
    elif not rows:
        print(f"no finished runs below {one_line(root)}", file=sys.stderr)
    else:
        print_table(
            rows,
            [
                "id",
                "data",
                "model",
                "seed",
                "status",
                "parameters",
                "epochs",
                "val_loss",
                "test_accuracy",
            ],
        )


def kind_of(recipe: Recipe) -> str:
    tree = to_json(recipe.model)
    if tree["kind"] != "convnet":
        return tree.get("factory", tree["kind"])
    return f"width {tree['width']} depth {tree['depth']}" + (
        f"×{tree['block_depth']}" if tree["block_depth"] > 1 else ""
    )


def print_table(rows: list[dict[str, Any]], columns: list[str]) -> None:
    def text(value: Any) -> str:
        return (
            "–"
            if value is None
            else f"{value:.4f}"
            if isinstance(value, float)
            else f"{value:,}"
            if isinstance(value, int)
            else one_line(value, 40)
        )

    cells = [columns] + [[text(row[column]) for column in columns] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    for line in cells:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        )


@app.command()
def explain(
    key: Annotated[
        str | None,
        typer.Argument(help="A verdict or a measure of the report; without it, all are listed."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Definition, formula, caveat and source of a verdict or measure."""
    from dataclasses import asdict

    from convscope.report import glossary

    if key is None:
        entries = glossary.ENTRIES.values()
        if as_json:
            print(json.dumps([asdict(entry) for entry in entries]))
        else:
            print("\n".join(f"{entry.key:<34}  {entry.title}" for entry in entries))
        return
    entry = glossary.explain(key)
    print(json.dumps(asdict(entry)) if as_json else entry)


@app.command()
def report(study: Annotated[Path, typer.Argument(help="The folder of a study.")]) -> None:
    """Write a study's report again, without training."""
    from convscope import studies

    result = studies.render(study)
    for chapter, why in result.broken.items():
        print(f"failed: chapter {chapter}: {why}", file=sys.stderr)
    print(f"report: {result.path / 'report.html'}", file=sys.stderr)
    print(result.sentence)
    if result.broken:
        raise typer.Exit(1)


@data_app.command("list")
def data_list(as_json: Json = False) -> None:
    """The data sets known by name, and whether they are here."""
    from convscope.data import names

    known = names()
    if as_json:
        print(json.dumps(known))
        return
    for name, line in known.items():
        print(f"{name:<14}  {line}")


@data_app.command("fetch")
def data_fetch(
    data: Annotated[str, typer.Argument(help="A known name, a folder of images or an .npz file.")],
    size: Annotated[int | None, typer.Option()] = None,
) -> None:
    """Bring a data set into the cache, checked."""
    from convscope.data import fetch
    from convscope.studies import Lines

    print(fetch(data, size=size, progress=Lines().step))


@data_app.command("info")
def data_info(
    data: Annotated[str, typer.Argument(help="A known name, a folder of images or an .npz file.")],
    size: Annotated[int | None, typer.Option()] = None,
    as_json: Json = False,
) -> None:
    """Counts, class balance, duplicates, mean and standard deviation."""
    from convscope.data import info, load
    from convscope.studies import Lines

    loaded = load(data, size=size, progress=Lines().step)
    found = info(loaded)
    print(json.dumps(found.to_json()) if as_json else f"{loaded}\n\n{found}")


@app.command()
def doctor(as_json: Json = False) -> None:
    """What this machine can do, measured."""
    from convscope import machine as devices
    from convscope.data import cache_folder
    from convscope.training import check_device, keep_freed_memory

    keep_freed_memory()
    machine = devices.this_machine()
    name = check_device("auto")
    best = devices.best_numerics(name)
    if as_json:
        print(
            json.dumps(
                {
                    "machine": devices.as_dict(machine),
                    "device": name,
                    "precision": best.precision,
                    "layout": best.layout,
                    "kernels": best.kernels,
                    "no_compiled_kernels": best.why_not,
                    "images_per_second": best.measured,
                }
            )
        )
        return
    reason = f" ({best.why_not})" if best.why_not else ""
    print(f"machine    {machine}\ndevice     {name}\nprecision  {best.precision}, {best.layout}")
    print(f"kernels    {best.kernels}{reason}\ndata       {cache_folder()}")
    for what, rate in best.measured.items():
        print(
            f"measured   {what}: {rate:,.0f} images a second, one thread, whole training steps of a small network"
        )


def check_writable(out: Path) -> None:
    try:
        there = next(
            folder for folder in [out.absolute(), *out.absolute().parents] if folder.exists()
        )
    except OSError as error:
        raise UserError(f"out {one_line(out)!r}: {error.strerror}; name another folder") from None
    if not there.is_dir():
        raise UserError(f"out {one_line(out)!r}: {one_line(there)} is a file; name a folder")
    if not os.access(there, os.W_OK):
        raise UserError(f"out {one_line(out)!r}: read-only; name a folder that can be written")


def typed() -> str:
    """The command as it was typed, for the report and for going on after an interruption."""
    return shlex.join(["convscope", *sys.argv[1:]])


def main() -> None:
    """Entry point: every error that is the user's ends in one line."""
    signal.signal(signal.SIGTERM, interrupt)
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()
        if code == INTERRUPTED:  # typer has caught it first
            raise KeyboardInterrupt
        sys.exit(code if isinstance(code, int) else 0)
    except USAGE_ERROR as error:
        message = error.format_message()
        if type(error).__name__ == "NoArgsIsHelpError":
            print(message)
            sys.exit(0)
        print(
            f"convscope: {one_line(with_value(error, ' '.join(message.split())), 400)}",
            file=sys.stderr,
        )
        sys.exit(2)
    except UserError as error:
        print(f"convscope: {one_line(error, 2000)}", file=sys.stderr)
        sys.exit(2)
    except (KeyboardInterrupt, typer.Abort):
        print(
            f"convscope: interrupted; what is finished is kept, go on with: {typed()}",
            file=sys.stderr,
        )
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # the reader of a pipe has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        place = f" {one_line(error.filename)}" if error.filename else ""
        print(
            f"convscope:{place} {error.strerror}; what was written before is unchanged, go on with: {typed()}",
            file=sys.stderr,
        )
        sys.exit(1)


def with_value(error: Exception, message: str) -> str:
    """The message with the value that was given, where the parser leaves it out."""
    for option in getattr(getattr(error, "param", None), "opts", []):
        for word, following in zip(sys.argv, [*sys.argv[1:], ""], strict=True):
            value = (
                following
                if word == option
                else word.partition("=")[2]
                if word.startswith(f"{option}=")
                else ""
            )
            if value and value not in message:
                return f"{option} {value!r}: {message}"
    return message


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
