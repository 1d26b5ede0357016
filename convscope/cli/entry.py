"""Run the command: every error that is the user's ends in one line and an exit code."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import typer

from convscope.cli.application import app
from convscope.cli.errors import (
    DISK_ERRORS,
    USAGE_ERROR,
    disk_message,
    output_lost,
    unloadable,
    usage_message,
)
from convscope.cli.printing import say
from convscope.cli.start import INTERRUPTED
from convscope.errors import UserError, one_line


def run() -> None:
    """Run the command that sys.argv names, and exit; raises KeyboardInterrupt."""
    try:
        check_current_folder()
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
        lost = not error.filename and not can_be_written()
        say(f"convscope: {output_lost(error) if lost else disk_message(error)}")
        sys.exit(1)
    except ImportError as error:
        if not (message := unloadable(error)):
            raise
        say(f"convscope: {message}")
        sys.exit(1)


def check_current_folder() -> None:
    """UserError where the folder in which the command was started is gone; libraries need one."""
    if set(sys.argv[1:]) & {"--help", "--version"}:
        return
    try:
        Path.cwd()
    except OSError as error:
        raise UserError(
            f"the current folder is gone ({error.strerror}); go to one that is there"
        ) from None


def can_be_written() -> bool:
    """Whether what was printed reaches standard output."""
    try:
        sys.stdout.flush()
        os.write(sys.stdout.fileno(), b"")  # which tells of some full devices
    except (OSError, ValueError):
        return False
    return True
