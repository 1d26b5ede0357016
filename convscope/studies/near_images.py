"""Near-duplicates among a study's images, looked for beside its first runs and kept for the next.

To look takes longer than all else that comes before the first epoch, and nothing waits for it.
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import Any

import torch

from convscope.data import NearDuplicates, near_duplicates
from convscope.machine import keep, known_figures
from convscope.planning import Context

KEY = "near-duplicates"  # among the measured figures of study.json

NICER = 10  # than the processes that train


def notes_of(context: Context) -> tuple[str, ...]:
    """What is to be said of the images, as far as it is known."""
    found = context.measured.get(KEY) or ()
    return (*context.data.notes, *(str(NearDuplicates.from_json(tree)) for tree in found))


class Looking:
    """A look for near-duplicates that goes on beside the study.

    context: of the study; what is found becomes a figure of it. Where it is known, nothing is done.
    """

    def __init__(self, context: Context) -> None:
        base = context.base
        self.name = f"{KEY} {base.data_hash} {base.val:g} {base.split_seed}"
        self.context = context
        self.found: list[Any] | None = None
        self.fault: Exception | None = None
        self.thread = threading.Thread(target=self._look, daemon=True)
        if KEY not in context.measured:
            known = known_figures().get(self.name)
            if isinstance(known, list):
                context.measured[KEY] = known

    def begin(self) -> None:
        if KEY not in self.context.measured:
            self.thread.start()

    def _look(self) -> None:
        with contextlib.suppress(OSError, AttributeError):  # of this thread alone, on Linux
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICER)
        torch.set_num_threads(1)
        try:
            self.found = [near.to_json() for near in near_duplicates(self.context.data)]
        except Exception as error:
            self.fault = error

    def join(self) -> None:
        if self.thread.ident is not None:
            self.thread.join()

    def end(self, wait: bool) -> tuple[str, ...]:
        """What was found now, to be said; without `wait`, only what is there already."""
        if KEY in self.context.measured or self.thread.ident is None:
            return ()
        self.thread.join(None if wait else 0)
        if self.fault is not None:
            raise self.fault
        if self.found is None:
            return ()
        self.context.measured[KEY] = self.found
        keep({self.name: self.found})
        return notes_of(self.context)[len(self.context.data.notes) :]
