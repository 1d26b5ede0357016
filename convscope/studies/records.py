"""Runs that are on disk, as an earlier process asked for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from convscope.planning import Request
from convscope.studies.study_json import RunIds
from convscope.training import run_path


class RecordedRequests:
    """What the chapters asked for when the study was trained, in that order.

    Today's chapters may go another way, because runs were lost or because presets have changed.
    So a request takes the next recorded step that has one of its roles. What was recorded before
    that step and is not asked for now comes with it, each run under its own role.
    """

    def __init__(self, requests: dict[str, list[RunIds]]) -> None:
        self.left = {chapter: list(steps) for chapter, steps in requests.items()}

    def take(self, chapter: str, requests: Sequence[Request]) -> RunIds:
        """The ids of the runs that answer these requests, by role."""
        roles = {request.role for request in requests}
        steps = self.left.get(chapter, [])
        place = next((i for i, step in enumerate(steps) if roles & set(step)), None)
        if place is None:
            return {}
        self.left[chapter] = steps[place + 1 :]
        found: RunIds = {}
        for step in steps[: place + 1]:
            for role, ids in step.items():
                found.setdefault(role, []).extend(ids)
        return found


def ids_of(requests: Sequence[Request], root: Path) -> RunIds:
    """The ids of the runs of these requests below `root`, by role."""
    found: RunIds = {}
    for request in requests:
        ids = [run_path(recipe, root).name for recipe in request.recipes]
        found.setdefault(request.role, []).extend(ids)
    return found
