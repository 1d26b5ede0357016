"""A study's report written again from what is on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from convscope.errors import UserError, one_line
from convscope.models import trusting
from convscope.planning import Context
from convscope.report import Drawings, Finding
from convscope.studies.driver import Driver
from convscope.studies.folder import StudyFolder
from convscope.studies.study_json import About, Plan
from convscope.studies.study_request import PRESETS, chosen_chapters
from convscope.studies.watcher import Watcher
from convscope.studies.writing import Study, save
from convscope.training import dataset_of


def render(root: Path, watcher: Watcher | None = None, trust: bool = False) -> Study:
    """Write the report of a study again, from the runs that are there; nothing is trained.

    root: the study's folder.
    watcher: is told of runs that are left out, because their files are not what was written.
    trust: import the factories of networks that the study names. Without it, what needs such a
        network is left out, and the report says so.
    Raises UserError where it is no study, where study.json cannot be used, where the images have
    changed, and where another process works in the folder.
    """
    if not (root / "study.json").exists():
        raise UserError(f"study {one_line(root)}: no study.json there; name a study's folder")
    folder = StudyFolder.open(root)
    about, plan = whole(folder)
    with Drawings() as drawings, trusting(trust):
        drawings.start()  # while the data are read
        context = context_of(folder, about, plan)
        with StudyFolder.lock(root):
            driver, findings = read_again(folder, context, watcher or Watcher(), drawings.add)
            complete = about.complete
            return save(folder, findings, driver, context, drawings, seconds=0.0, complete=complete)


def read_again(
    folder: StudyFolder,
    context: Context,
    watcher: Watcher,
    found: Callable[[Finding], None] | None = None,
) -> tuple[Driver, dict[str, Finding]]:
    """The findings of the runs that are on disk, and the driver that found them.

    folder: of the study.
    context: what its chapters planned with.
    watcher: is told of runs that are left out.
    found: is told of each finding.
    """
    recorded = {
        chapter: [step for step in steps if step] for chapter, steps in folder.requests.items()
    }
    driver = Driver(None, folder.runs, None, watcher, recorded, found)
    findings = driver.collect(context)
    if folder.about is not None and folder.about.complete:
        every = [ids for steps in recorded.values() for step in steps for ids in step.values()]
        for key in dict.fromkeys(key for ids in every for key in ids):
            if not (folder.runs / key / "result.json").exists():
                driver.left_out[key] = "it has no result.json"
                watcher.say(f"run {one_line(folder.runs / key)}: no result.json; it is left out")
    return driver, findings


def whole(folder: StudyFolder) -> tuple[About, Plan]:
    """What a study is about and what it planned with. Raises UserError where that is unknown."""
    why = "; ".join(folder.problems.values())
    about, plan = folder.about, folder.plan
    if about is not None and not why:
        try:
            chosen_chapters(about.chapters)
        except UserError as error:
            why = str(error)
        if about.preset not in PRESETS:
            why = f"preset {one_line(about.preset)!r}"
    if about is None or plan is None or why:
        raise UserError(
            f"study {one_line(folder.root)}: study.json {why}; "
            "the study's own command writes it again"
        )
    return about, plan


def context_of(folder: StudyFolder, about: About, plan: Plan) -> Context:
    """What the chapters planned with. Raises UserError where the images have changed."""
    base = plan.base
    loaded = dataset_of(base)
    if loaded.hash != base.data_hash:
        raise UserError(
            f"study {one_line(folder.root)}: the data {one_line(base.data)!r} "
            "have changed since it was trained"
        )
    return Context(
        loaded,
        about.preset,
        plan.seeds,
        base,
        about.chapters,
        folder=folder.root,
        search=plan.search,
        fit=plan.fit,
        measured=folder.measured,
        live=False,
        grids=plan.grids,
    )
