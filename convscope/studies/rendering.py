"""A study's report written again from what is on disk."""

from __future__ import annotations

from pathlib import Path

from convscope.data import loading as datasets
from convscope.errors import UserError, one_line
from convscope.planning import Context, Fit, Search
from convscope.recipe import recipe_from_json
from convscope.report import Drawings
from convscope.studies.driver import Driver
from convscope.studies.folder import read_study, study_lock
from convscope.studies.plan import PRESETS, chosen_chapters
from convscope.studies.watcher import Watcher
from convscope.studies.writing import Study, save

ABOUT = (
    "data",
    "data_hash",
    "source",
    "licence",
    "notes",
    "fallback",
    "preset",
    "chapters",
    "seeds",
    "val",
    "split_seed",
    "images",
    "in_shape",
    "classes",
    "command",
    "machine",
    "choice",
    "complete",
)


def render(root: Path) -> Study:
    """Write the report of a study's folder again, from the runs that are there; nothing is trained or measured. Raises UserError."""
    if not (root / "study.json").exists():
        raise UserError(f"study {one_line(root)}: no study.json there; name a study's folder")
    known = read_study(root)
    try:
        about, kept = known["about"], known["context"]
        base = recipe_from_json(kept["base"])
        names, preset = chosen_chapters(about["chapters"]), about["preset"]
        if preset not in PRESETS or not set(ABOUT) <= set(about):
            raise UserError("its description is not whole")
        seeds = tuple(int(seed) for seed in kept["seeds"])
        fit, search = Fit(**kept.get("fit", {})), Search(**kept.get("search", {}))
        measured = dict(known.get("measured", {}))
        asked = {
            name: [[str(key) for key in step] for step in steps if step]
            for name, steps in known["requests"].items()
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        why = f"lacks {error}" if isinstance(error, KeyError) else one_line(error)
        raise UserError(
            f"study {one_line(root)}: study.json {why}; the study's own command writes it again"
        ) from None
    with Drawings() as drawings:
        drawings.start()  # while the data are read
        loaded = datasets.load(base.data, val=base.val, size=base.size)
        if loaded.hash != base.data_hash:
            raise UserError(
                f"study {one_line(root)}: the data {one_line(base.data)!r} have changed since it was trained"
            )
        context = Context(
            loaded,
            preset,
            seeds,
            base,
            tuple(names),
            folder=root,
            search=search,
            fit=fit,
            measured=measured,
            live=False,
        )
        with study_lock(root):
            driver = Driver(None, root / "runs", None, Watcher(), asked, drawings.add)
            findings = driver.collect(context)
            return save(root, about, findings, driver, 0.0, about["complete"], context, drawings)
