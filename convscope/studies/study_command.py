"""The command that asks for a study again."""

from __future__ import annotations

import shlex

from convscope.planning import Search
from convscope.studies.study_request import SEEDS, StudyRequest, chosen_chapters
from convscope.training import check_device


def command_of(asked: StudyRequest, data: str) -> str:
    """The command that asks for the same study, where nothing but defaults is left out."""
    search = Search()
    options: dict[str, tuple[object, object]] = {
        "--preset": (asked.preset, None),
        "--chapters": (",".join(asked.chapters), ",".join(chosen_chapters(None))),
        "--seeds": (asked.seeds, SEEDS[asked.preset]),
        "--first-seed": (asked.first_seed, 0),
        "--out": (asked.out, None),
        "--device": (asked.device, check_device("auto")),
        "--workers": (asked.workers, None),
        "--val": (asked.val, 0.1),
        "--size": (asked.size, None),
        "--columns": (asked.columns, None),
        "--group-by": (asked.group_by, None),
        "--resize": (asked.resize, "crop"),
        "--classes": (asked.classes, "folders"),
        "--budget": (None if asked.budget is None else f"{asked.budget:g}s", None),
        "--sampler": (asked.search.sampler, search.sampler),
        "--trials": (asked.search.trials, search.trials),
        "--minutes": (asked.search.minutes, search.minutes),
        "--ram": (asked.search.ram, search.ram),
        "--flash": (asked.search.flash, search.flash),
        "--macs": (asked.search.macs, search.macs),
        "--bits": (asked.search.bits, search.bits),
        "--engine": (asked.engine, "local"),
        "--address": (asked.address, None),
        "--track": (asked.track, None),
        "--silence": (None if asked.silence is None else f"{asked.silence:g}s", None),
    }
    given = [
        f"{name} {shlex.quote(str(value))}"
        for name, (value, usual) in options.items()
        if value is not None and value != usual
    ]
    for chapter, settings in asked.grids.items():
        for key, value in settings.items():
            numbers = ",".join(map(str, value)) if isinstance(value, list) else value
            given.append(f"--set {chapter}.{key}={numbers}")
    return " ".join(["convscope study", shlex.quote(data), *given])
