"""A study as a TOML file: what it may hold, how it becomes a request, and the file that is saved.

Flags go before the environment, the environment before the file, the file before defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convscope.data import Options
from convscope.deployment import parse_count, parse_size
from convscope.errors import UserError, one_line
from convscope.planning import SETTINGS, Search, checked_grids, parse_budget
from convscope.studies.study_request import SEEDS, StudyRequest, chosen_chapters
from convscope.studies.toml_files import check_keys, read_toml, toml_of
from convscope.studies.trackers import joined_names

if TYPE_CHECKING:
    from convscope.machine import Choice
    from convscope.planning import BudgetFit
    from convscope.studies.folder import StudyFolder

# the keys of a study's file, with what they are; each is an option of `convscope study`, too, and
# CONVSCOPE_KEY in capitals in the environment
KEYS: dict[str, tuple[type | tuple[type, ...], str]] = {
    "data": (str, "A known data set's name, or a folder, table, archive or .npz file of images."),
    "preset": (str, "quick, standard or full."),
    "chapters": (list, "Names of chapters; all without it."),
    "seeds": (int, "Seeds for each network; without it, 2, 3 or 5 by preset."),
    "first_seed": (int, "The first of the seeds; another one repeats a study with new chance."),
    "out": (str, "The study's folder; without it, runs/DATA-PRESET."),
    "device": (str, "auto, cpu, cuda, cuda:N or mps."),
    "workers": (int, "Processes that train; measured without it."),
    "val": ((float, int), "Share of the training images held out for validation."),
    "size": (int, "Side in pixels of the images of a folder; chosen from the images without it."),
    "columns": (str, "Columns of a table whose names are not the usual ones."),
    "group_by": (str, "Keep images together: a column of the table, parent or prefix."),
    "resize": (str, "What becomes of images that are not square: crop, squash or pad."),
    "classes": (str, "Which folders are classes: folders or nested."),
    "budget": ((str, int, float), "Make the preset fit into a time, as 90s, 10m or 1h30m."),
    "sampler": (str, "How the search proposes networks: tpe, random or grid."),
    "trials": (int, "Trials of the search; by preset without it."),
    "minutes": ((float, int), "Minutes of the search, at most."),
    "ram": ((str, int), "Memory of a device, as 256k: only networks are proposed that fit."),
    "flash": ((str, int), "Room for weights on a device, as 1M: only networks that fit."),
    "macs": ((str, int), "The most multiply-adds of one image on a device, as 20M."),
    "bits": (int, "Bits of weights and feature maps on the device: 2, 4, 8, 16 or 32."),
    "track": ((str, list), "Mirror every run in trackers: wandb, tensorboard, mlflow, trackio."),
    "engine": (str, "Where runs are trained: local (this machine) or ray (a Ray cluster)."),
    "address": (str, "The Ray cluster's address, as auto or HOST:PORT."),
    "silence": ((str, int, float), "End a run that reports nothing for so long, as 10m."),
}

# what a saved file holds besides, so that it asks for the same runs on any machine of its kind
RESOLVED: dict[str, str] = {
    "data_hash": "SHA-256 of the images; the study is refused where they have changed.",
    "machine": "How the study computes, as it was measured; nothing is measured again.",
    "fit": "What a time budget has taken away.",
}
ON_DEVICE = {"ram": parse_size, "flash": parse_size, "macs": parse_count}
MACHINE = ("device", "precision", "layout", "threads", "workers", "kernels")
TYPES = {str: "a text", int: "a whole number", list: "a list", float: "a number"}


def read_study(path: Path | str) -> dict[str, Any]:
    """The keys of a study's file, checked by name and type. Raises UserError with its name."""
    tree = read_toml(path)
    try:
        check_keys(tree, (*KEYS, *RESOLVED, *SETTINGS))
        for key, value in tree.items():
            if key in KEYS:
                check_type(key, value, KEYS[key][0])
        checked_grids({key: tree[key] for key in SETTINGS if key in tree})
    except UserError as error:
        raise UserError(f"file {one_line(path)}: {error}") from None
    return tree


def check_type(key: str, value: Any, kinds: type | tuple[type, ...]) -> None:
    wanted = kinds if isinstance(kinds, tuple) else (kinds,)
    if isinstance(value, bool) or not isinstance(value, wanted):
        raise UserError(f"{key} = {one_line(repr(value))}: {TYPES[wanted[0]]} is expected")


def request_of(tree: Mapping[str, Any], command: str | None = None) -> StudyRequest:
    """The request of these keys; what is missing or None has its default.

    Raises UserError for what cannot be.
    """
    given = {key: value for key, value in tree.items() if value is not None}
    preset = given.get("preset", "quick")
    plainly = ("sampler", "trials", "minutes", "bits")
    search = {key: given[key] for key in plainly if key in given}
    search |= {key: read(given[key], key) for key, read in ON_DEVICE.items() if key in given}
    options = {field.name: given[field.name] for field in fields(Options) if field.name in given}
    plain = ("first_seed", "out", "device", "workers", "track", "engine", "address")
    usual = {"first_seed": 0, "out": None, "device": "auto", "workers": None, "track": None}
    usual |= {"engine": "local", "address": None}
    given["track"] = joined_names(given.get("track"))
    chapters = given.get("chapters")
    if chapters is not None and not all(isinstance(name, str) for name in chapters):
        raise UserError(f"chapters = {one_line(chapters)}: a list of names is expected")
    return StudyRequest(
        data=given.get("data"),
        chapters=tuple(chosen_chapters(chapters)),
        preset=preset,
        seeds=given.get("seeds", SEEDS.get(preset, 1)),
        **{key: given.get(key, usual[key]) for key in plain},
        val=float(given.get("val", 0.1)),
        **vars(Options(**options)),
        budget=parse_budget(given["budget"]) if "budget" in given else None,
        search=Search(**search),
        command=command,
        silence=parse_budget(given["silence"], "silence") if "silence" in given else None,
        grids=checked_grids({key: given[key] for key in SETTINGS if key in given}),
        data_hash=given.get("data_hash", ""),
        choice=choice_of(given["machine"]) if "machine" in given else None,
        fit=fit_of(given["fit"]) if "fit" in given else None,
    )


def choice_of(tree: Any) -> Choice:
    """How the study computes. Raises UserError for what no recipe could take."""
    from convscope.studies.study_json import choice_from  # it imports torch, which takes time

    if not isinstance(tree, Mapping):
        raise UserError(f"machine = {one_line(tree)}: a table [machine] is expected")
    check_keys(tree, MACHINE, "machine")
    try:
        return choice_from({"measured": {}, **tree})
    except (TypeError, ValueError) as error:
        raise UserError(f"[machine]: {one_line(error)}") from None


def fit_of(tree: Any) -> BudgetFit:
    """What a budget takes away. Raises UserError for other keys."""
    from convscope.planning import BudgetFit

    if not isinstance(tree, Mapping):
        raise UserError(f"fit = {one_line(tree)}: a table [fit] is expected")
    check_keys(tree, [field.name for field in fields(BudgetFit)], "fit")
    return BudgetFit(**tree)


def tree_of(asked: StudyRequest, folder: StudyFolder) -> dict[str, Any]:
    """All that was asked and resolved, as a file's content."""
    assert folder.plan is not None and folder.choice is not None
    base, options = folder.plan.base, vars(Options.of(asked))
    usual = vars(Options())
    tree: dict[str, Any] = {
        "data": base.data,
        "data_hash": base.data_hash,
        "preset": asked.preset,
        "chapters": list(asked.chapters),
        "seeds": asked.seeds,
        "first_seed": asked.first_seed,
        "out": str(folder.root),
        "device": asked.device,
        "workers": asked.workers,
        "val": asked.val,
        **{key: value for key, value in options.items() if value != usual[key]},
        "budget": None if asked.budget is None else f"{asked.budget:g}s",
        **asdict(asked.search),
        "track": asked.track,
        "engine": None if asked.engine == "local" else asked.engine,
        "address": asked.address,
        "silence": None if asked.silence is None else f"{asked.silence:g}s",
        **{chapter: dict(settings) for chapter, settings in asked.grids.items()},
        "machine": {key: getattr(folder.choice, key) for key in MACHINE},
    }
    if asked.budget is not None:
        fit = asdict(folder.plan.fit)
        tree["fit"] = {key: value for key, value in fit.items() if value is not None}
    return tree


def study_toml(asked: StudyRequest, folder: StudyFolder) -> bytes:
    """The content of study.toml in a study's folder."""
    said = "# What this study was asked for, and what was measured for it: convscope study FILE\n"
    return (said + toml_of(tree_of(asked, folder))).encode("utf-8", "backslashreplace")
