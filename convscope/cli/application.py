"""All commands in one place, in the order in which the help lists them."""

from __future__ import annotations

from typing import Annotated

import typer

from convscope import installed_version
from convscope.cli.comparing import compare
from convscope.cli.data_sets import data_fetch, data_info, data_list
from convscope.cli.deploying import export, predict
from convscope.cli.networks import inspect, probe
from convscope.cli.questions import doctor, explain
from convscope.cli.recorded import runs
from convscope.cli.sharing import merge, submit
from convscope.cli.studying import report, study
from convscope.cli.suspecting import data_suspects
from convscope.cli.sweeping import sweep
from convscope.cli.training import train
from convscope.cli.watching import watch

app = typer.Typer(
    name="convscope",
    help="How big a convolutional network do your images need, "
    "and what does each of its parts buy?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
data_app = typer.Typer(
    help="Data sets: bring them here, look at them.", no_args_is_help=True, rich_markup_mode=None
)


def version(wanted: bool) -> None:
    if wanted:
        print(f"convscope {installed_version()}")
        raise typer.Exit


@app.callback()
def root(
    _: Annotated[
        bool, typer.Option("--version", callback=version, is_eager=True, help="Print the version.")
    ] = False,
) -> None: ...


for command in (
    *(study, watch, report, merge, submit, sweep, train, compare, predict, export),
    *(inspect, probe, runs, doctor, explain),
):
    app.command()(command)
app.add_typer(data_app, name="data")
data_app.command("list")(data_list)
data_app.command("fetch")(data_fetch)
data_app.command("info")(data_info)
data_app.command("suspects")(data_suspects)
