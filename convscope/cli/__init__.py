"""The command line: parse, call, print. Results go to standard output, all else to standard error.

Exit codes: 0 done; 1 some runs failed (named); 2 the input is wrong (one line that repeats it);
130 interrupted, resumable. Nothing heavy is imported before a command runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from convscope import lazily

if TYPE_CHECKING:
    from convscope.cli.application import app as app
    from convscope.cli.start import main as main

_HOMES = {"app": "application", "main": "start"}
if not TYPE_CHECKING:  # else any name would pass for one of the face's
    __getattr__ = lazily(__name__, _HOMES)
