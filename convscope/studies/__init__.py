"""A study: plans, trains, collects, reports. Begin with main_path.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convscope import lazily

if TYPE_CHECKING:
    from convscope.studies.folder import StudyFolder as StudyFolder
    from convscope.studies.folder import study_path as study_path
    from convscope.studies.main_path import conduct as conduct
    from convscope.studies.main_path import study as study
    from convscope.studies.plan import fitted as fitted
    from convscope.studies.plan import forecast as forecast
    from convscope.studies.progress import Lines as Lines
    from convscope.studies.rendering import render as render
    from convscope.studies.run_queue import run_all as run_all
    from convscope.studies.sharding import plan_study as plan_study
    from convscope.studies.sweep_result import SweepResult as SweepResult
    from convscope.studies.sweeping import sweep as sweep
    from convscope.studies.watcher import Watcher as Watcher
    from convscope.studies.without_images import Without as Without
    from convscope.studies.without_images import verdicts_without as verdicts_without
    from convscope.studies.writing import Study as Study
    from convscope.studies.writing import sentence_of as sentence_of

_HOMES = {
    "Lines": "progress",
    "Study": "writing",
    "StudyFolder": "folder",
    "SweepResult": "sweep_result",
    "Watcher": "watcher",
    "Without": "without_images",
    "conduct": "main_path",
    "fitted": "plan",
    "forecast": "plan",
    "plan_study": "sharding",
    "render": "rendering",
    "run_all": "run_queue",
    "sentence_of": "writing",
    "study": "main_path",
    "study_path": "folder",
    "sweep": "sweeping",
    "verdicts_without": "without_images",
}
if not TYPE_CHECKING:  # else any name would pass for one of the face's
    __getattr__ = lazily(__name__, _HOMES)
