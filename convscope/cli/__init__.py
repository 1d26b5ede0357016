"""The command line: parse, call, print. Results go to standard output, all else to standard error.

Exit codes: 0 done; 1 some runs failed (named); 2 the input is wrong (one line that repeats it);
130 interrupted, resumable. Nothing heavy is imported before a command runs.
"""

from __future__ import annotations

from convscope.cli.application import app
from convscope.cli.entry import main

__all__ = ["app", "main"]
