"""A study's folder: where it lies, its lock, and its study.json, read once into typed values."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from convscope.errors import UserError, one_line
from convscope.files import seal, set_aside, write_bytes, write_json
from convscope.machine import Choice, cores
from convscope.studies.sealed import read_sealed
from convscope.studies.study_json import (
    About,
    Asked,
    Fitted,
    Plan,
    RunIds,
    about_from,
    about_json,
    asked_from,
    choice_from,
    costs_from,
    fitted_from,
    fitted_json,
    part,
    plan_from,
    plan_json,
    requests_from,
    requests_json,
)
from convscope.studies.study_request import checked_place
from convscope.training import Busy, Run, held, list_runs

if TYPE_CHECKING:
    from convscope.data import Dataset


@dataclass
class StudyFolder:
    """A study's folder and what its study.json holds; change the values, then `save`.

    root: the folder.
    asked: device and workers as asked for.
    choice: how the study computes on this machine, as measured when it began.
    costs: by kind of run the seconds of one image's training and of its evaluation.
    fitted: the plan that fits the time budget; None without one.
    plan: what the chapters plan with.
    about: what the report says of the study.
    seconds: spent by all processes that worked on it.
    requests: for each chapter and each of its steps the ids of the runs, by role.
    measured: figures that are measured once, by key.
    problems: why parts of study.json could not be read, by key.
    """

    FILE: ClassVar[str] = "study.json"

    root: Path
    asked: Asked | None = None
    choice: Choice | None = None
    costs: dict[str, tuple[float, float]] = field(default_factory=dict)
    fitted: Fitted | None = None
    plan: Plan | None = None
    about: About | None = None
    seconds: float = 0.0
    requests: dict[str, list[RunIds]] = field(default_factory=dict)
    measured: dict[str, Any] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    @property
    def runs(self) -> Path:
        """The folder of run folders."""
        return self.root / "runs"

    @staticmethod
    @contextlib.contextmanager
    def lock(root: Path) -> Iterator[None]:
        """The right to work in a study, for one process at a time; it dies with its owner.

        root: the study's folder, which is made where it is missing.
        Raises UserError where another process holds it or the folder cannot be made.
        """
        with contextlib.ExitStack() as stack:
            try:
                root.mkdir(parents=True, exist_ok=True)
                stack.enter_context(held(root / ".lock"))
            except Busy as error:
                raise UserError(
                    f"study {one_line(root)}: another convscope is working there; "
                    "wait for it, or name another folder with --out"
                    f"{f' ({error})' if str(error) else ''}"
                ) from None
            except OSError as error:
                raise UserError(unwritable(root, error)) from None
            yield

    @classmethod
    def create(cls, root: Path, asked: Asked, say: Callable[[str], None]) -> StudyFolder:
        """A new study's folder, or the one that is there; hold its lock.

        root: the study's folder.
        asked: device and workers, for a study whose study.json was altered: that is set aside, and
            the choice that its runs were trained with is read from one of them.
        say: is told of it.
        Raises UserError where nothing can be written.
        """
        try:
            (root / "runs").mkdir(exist_ok=True)
            if not (root / ".gitignore").exists():
                write_bytes(root / ".gitignore", b"*\n")
        except OSError as error:
            raise UserError(unwritable(root, error)) from None
        try:
            return cls.open(root)
        except UserError as error:
            aside = set_aside(root / cls.FILE, str(error))
            say(f"{error}; set aside as {aside.name}")
        folder = cls(root)
        choice = choice_of_runs(folder.runs)
        if choice is not None:
            folder.begin(asked, choice)
        return folder

    @classmethod
    def open(cls, root: Path) -> StudyFolder:
        """What study.json holds; an empty one where there is none.

        Raises UserError where it cannot be read or was altered. A part that this version cannot
        read is left out and named in `problems`.
        """
        tree = read_sealed(root, cls.FILE)
        if tree is None:
            return cls(root)
        return cls._read(root, tree)

    @classmethod
    def _read(cls, root: Path, tree: dict[str, Any]) -> StudyFolder:
        asked, _ = part(tree, "asked", asked_from)
        choice, _ = part(tree, "choice", choice_from)
        costs, _ = part(tree, "costs", costs_from)
        fitted, _ = part(tree, "fitted", fitted_from)
        plan, no_plan = part(tree, "context", plan_from)
        about, no_about = part(tree, "about", about_from)
        seconds, _ = part(tree, "seconds", float)
        requests, no_requests = part(tree, "requests", lambda _: requests_from(tree, root / "runs"))
        measured, _ = part(tree, "measured", dict)
        problems = {"about": no_about, "context": no_plan, "requests": no_requests}
        return cls(
            root,
            asked,
            choice,
            costs or {},
            fitted,
            plan,
            about,
            seconds or 0.0,
            requests or {},
            measured or {},
            {key: why for key, why in problems.items() if why},
        )

    def begin(self, asked: Asked, choice: Choice) -> None:
        """A study that computes in this way; what is known of another way is dropped. Saves."""
        fresh = type(self)(self.root, asked, choice)
        vars(self).update(vars(fresh))
        self.save()

    def save(self) -> None:
        """Write study.json, with a seal by which alterations are noticed."""
        tree: dict[str, Any] = {
            "asked": asdict(self.asked) if self.asked is not None else None,
            "choice": asdict(self.choice) if self.choice is not None else None,
            "costs": {key: list(pair) for key, pair in self.costs.items()},
            "fitted": fitted_json(self.fitted) if self.fitted is not None else None,
            "context": plan_json(self.plan) if self.plan is not None else None,
            "about": about_json(self.about) if self.about is not None else None,
            "seconds": self.seconds or None,
            **(requests_json(self.requests) if self.requests else {}),
            "measured": self.measured or None,
        }
        content = {key: value for key, value in tree.items() if value is not None}
        write_json(self.root / self.FILE, {**content, "seal": seal(content)})


def study_path(data: Dataset, preset: str, out: str | Path | None) -> Path:
    """Where a study goes.

    data: its images, after which the folder is named.
    preset: the other part of the name.
    out: the folder, where the user names one.
    Raises UserError where `out` is a file, a folder that is no study, or no usable path.
    """
    if out is None:
        letters = (c if c.isalnum() or c in "-_." else "-" for c in data.name)
        safe = "".join(letters)[:80].strip(".-") or "data"
        return Path("runs") / f"{safe}-{preset}"
    return checked_place(out)


def choice_of_runs(runs: Path) -> Choice | None:
    """How the runs of a folder were computed, from the first of them; None where there is none."""
    for run in list_runs(runs):
        if isinstance(run, Run):
            r = run.recipe
            workers = max(1, cores() // r.threads) if r.device == "cpu" else 1
            return Choice(r.device, r.precision, r.layout, r.threads, workers, {}, r.kernels)
    return None


def unwritable(root: Path, error: OSError) -> str:
    return f"study {one_line(root)}: {error.strerror}; name another folder with --out"
