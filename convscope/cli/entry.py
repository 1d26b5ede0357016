"""Run the command: every error that is the user's ends in one line and an exit code."""

from __future__ import annotations

import os
import sys

import typer

from convscope.cli.application import app
from convscope.cli.errors import DISK_ERRORS, USAGE_ERROR, disk_message, usage_message
from convscope.cli.printing import say
from convscope.cli.start import INTERRUPTED
from convscope.errors import UserError, one_line


def run() -> None:
    """Run the command that sys.argv names, and exit; raises KeyboardInterrupt."""
    try:
        code = app(prog_name="convscope", standalone_mode=False)
        sys.stdout.flush()
        if code == INTERRUPTED:  # typer has caught it first
            raise KeyboardInterrupt
        sys.exit(code if isinstance(code, int) else 0)
    except USAGE_ERROR as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            print(error.format_message())
            sys.exit(0)
        say(f"convscope: {usage_message(error)}")
        sys.exit(2)
    except UserError as error:
        say(f"convscope: {one_line(error, 2000)}")
        sys.exit(2)
    except typer.Abort:
        raise KeyboardInterrupt from None
    except BrokenPipeError:  # the reader of a pipe has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        say(f"convscope: {disk_message(error)}")
        sys.exit(1)
