"""What a study is asked for, and whether that can work; nothing heavy is imported for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convscope.chapters import CHAPTERS
from convscope.data import Options
from convscope.errors import UserError, did_you_mean, one_line
from convscope.machine import cores
from convscope.planning import Search, check_budget, check_search
from convscope.studies.engines import checked_engine

if TYPE_CHECKING:
    from convscope.machine import Choice
    from convscope.planning import BudgetFit

PRESETS = ("quick", "standard", "full")

SEEDS = {"quick": 2, "standard": 3, "full": 5}

MOST_WORKERS = 4  # for each core

LONGEST_NAME = 255  # bytes of a part of a path


@dataclass(frozen=True)
class StudyRequest:
    """What a study is asked for, as it was found to be possible; `study` explains the fields.

    budget: in seconds, from `began` to the report; None: no limit.
    silence: in seconds; None: by the measured costs.
    began: what time.perf_counter said when the command began; None: the study is the beginning.
    fallback: why the built-in images stand in for others; empty where they do not.
    grids: by chapter what is set in the place of its preset.
    data_hash: of the images that are expected; empty: any.
    choice: how the study computes; None: as is measured.
    fit: what the budget takes away; None: as is measured.
    engine, address: where runs are trained: local or ray, and the cluster's address.
    """

    data: str | None
    chapters: tuple[str, ...]
    preset: str
    seeds: int
    first_seed: int
    out: str | Path | None
    device: str
    workers: int | None
    val: float
    size: int | None
    budget: float | None
    search: Search
    track: str | None
    command: str | None
    silence: float | None = None
    fallback: str = ""
    columns: str | None = None
    group_by: str | None = None
    resize: str = "crop"
    classes: str = "folders"
    began: float | None = None
    grids: dict[str, dict[str, Any]] = field(default_factory=dict)
    data_hash: str = ""
    choice: Choice | None = None
    fit: BudgetFit | None = None
    engine: str = "local"
    address: str | None = None


def check(asked: StudyRequest) -> None:
    """Raises UserError for what cannot work, before anything is written."""
    if asked.preset not in PRESETS:
        raise UserError(f"preset {one_line(asked.preset)!r}{did_you_mean(asked.preset, PRESETS)}")
    if not 1 <= asked.seeds <= 1000:
        raise UserError(f"seeds = {asked.seeds}: from 1 to 1000")
    if not 0 <= asked.first_seed < 10**9 - 1000:  # above are seeds that choose nothing
        raise UserError(f"first_seed = {asked.first_seed}: from 0 to 999,998,999")
    checked_engine(asked.engine, asked.address, asked.workers)
    if asked.silence is not None and not 1 <= asked.silence <= 1e8:
        raise UserError(f"silence = {asked.silence:g} s: from 1 second to 1,000 days")
    if not 0.01 <= asked.val <= 0.9:
        raise UserError(f"val = {asked.val}: from 0.01 to 0.9; a study chooses by validation")
    if asked.budget is not None:
        check_budget(asked.budget)
    Options.of(asked).check()
    check_search(asked.search)
    if asked.out is not None:
        checked_place(asked.out)


def checked_workers(workers: object) -> None:
    """UserError for a number of processes that this machine has no use for."""
    most = MOST_WORKERS * cores()
    if workers is not None and not (type(workers) is int and 1 <= workers <= most):
        shown = f"{workers:,}" if type(workers) is int else one_line(workers)
        raise UserError(
            f"workers = {shown}: from 1 to {most}, "
            f"{MOST_WORKERS} for each of this machine's {cores()} cores"
        )


def check_splits(name: str, train: int, val: int, test: int) -> None:
    """UserError where no image is left for validation or testing.

    name: what the data set is called.
    train: training images.
    val: validation images.
    test: test images.
    """
    for split, images in (("validation", val), ("test", test)):
        if images == 0:
            raise UserError(
                f"data {one_line(name)!r}: no {split} image is left of {train:,}; "
                "add images, or hold out more with --val"
            )


def chosen_chapters(chapters: Sequence[str] | None) -> list[str]:
    """The chapters of these names, or all of them. Raises UserError for an unknown name."""
    names = list(dict.fromkeys(chapters)) if chapters else list(CHAPTERS)
    for name in names:
        if name not in CHAPTERS:
            raise UserError(f"chapter {one_line(name)!r}{did_you_mean(name, CHAPTERS)}")
    return names


def checked_place(out: str | Path) -> Path:
    """The folder that a user names for a study.

    Raises UserError where it is a file, a folder that is no study, or no usable path.
    """
    path, text = Path(out), str(out)
    longest = max(len(name.encode("utf-8", "surrogateescape")) for name in (*path.parts, ""))
    if not text.isprintable() or longest > LONGEST_NAME:
        raise UserError(
            f"out {one_line(text)!r}: a path of printable characters, "
            f"each part at most {LONGEST_NAME} bytes"
        )
    if not text.strip():
        raise UserError(f"out {text!r}: empty; name a folder")
    try:
        is_file = path.exists() and not path.is_dir()
    except OSError as error:  # the path as a whole may be too long
        raise UserError(f"out {one_line(text)!r}: {error.strerror}; name another folder") from None
    if is_file:
        raise UserError(f"out {one_line(text)}: is a file; name a folder")
    is_study = (path / "study.json").exists() or (path / ".lock").exists()
    if path.is_dir() and any(path.iterdir()) and not is_study:
        raise UserError(
            f"out {one_line(text)}: not empty and not a study; name a new or empty folder"
        )
    return path
