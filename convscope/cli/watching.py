"""`convscope watch`: a study's live page in a browser of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from convscope.cli.printing import say
from convscope.errors import UserError, one_line

EXTRA = ("starlette", "uvicorn", "anyio")  # the last comes with the first


def watch(
    study: Annotated[Path, typer.Argument(help="The folder of a study, which may be running.")],
    port: Annotated[
        int, typer.Option(help="Of 127.0.0.1; 0 takes one that is free.", show_default=True)
    ] = 0,
) -> None:
    """Show a study in a browser while it runs: new epochs appear without reloading.

    Only this machine sees it, and only who knows the address, which holds a random token. Nothing
    is changed in the study's folder. Ctrl-C ends it; the study goes on.
    """
    if not any((study / name).exists() for name in ("study.json", ".lock")):
        raise UserError(f"study {one_line(study)}: no study there; name a study's folder")
    try:
        from convscope.studies.serving import serve
    except ModuleNotFoundError as error:
        if error.name not in EXTRA:
            raise
        raise UserError(
            f"watch: needs {error.name}, which is not installed: pip install 'convscope[watch]'"
        ) from None

    def tell(address: str) -> None:
        say(f"watching {one_line(study)} until Ctrl-C; open this address:")
        print(address, flush=True)

    serve(study, port, tell)
