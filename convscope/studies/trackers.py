"""Mirrors of runs in experiment trackers, as the runs go by.

A tracker only watches: if it fails, that is said once and the study goes on. A Tracking stands
between a study and its Watcher and gives each run of convscope a run of the tracker: the recipe and
the exact size as its configuration, a row for each epoch, the best epoch and the status at its end.
Further trackers get a class and a line in TRACKERS.
"""

from __future__ import annotations

import abc
import contextlib
import hashlib
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from convscope.data import Dataset
from convscope.errors import UserError, did_you_mean, one_line
from convscope.files import parse_json
from convscope.models import size_of, with_sources
from convscope.planning import SHORT_ROLES, Request, Role
from convscope.recipe import Recipe, label_of, to_json
from convscope.studies.watcher import Watcher
from convscope.training import Row, Run, dataset_of, finished_run, run_path, train

MEASURES = tuple(
    f"{split}_{what}" for split in ("train", "val", "test") for what in ("loss", "accuracy")
)

MOST_FAILURES = 3  # then nothing is mirrored any more: each attempt may cost the study a time-out


class Tracker(abc.ABC):
    """One tracker and its open runs, which are named by the ids of their recipes.

    Methods may raise whatever they like: Tracking catches it.
    """

    @abc.abstractmethod
    def __init__(self, folder: Path) -> None:
        """`folder` exists and is where files go.

        Raises UserError where this tracker cannot be used at all, before anything is trained.
        """

    @abc.abstractmethod
    def started(
        self, recipe: Recipe, run: str, asked: Mapping[str, Role], size: Mapping[str, int]
    ) -> None:
        """A run begins.

        recipe, run: what is trained, and its id.
        asked: the chapters that asked for it, the first one in front, each with what it asked for
            it for; empty where the run belongs to no study.
        size: counts of filters, parameters and flops.
        """

    @abc.abstractmethod
    def epoch(self, run: str, epoch: int, values: Mapping[str, float]) -> None:
        """Losses in nats, accuracies as fractions, rate and seconds of an epoch, counted from 1."""

    @abc.abstractmethod
    def ended(self, run: str, status: str, summary: Mapping[str, Any]) -> None:
        """`status` is one of training.run_folder.FINAL, or "interrupted"."""

    def close(self) -> None:  # noqa: B027 (most have nothing to close)
        """After the last run."""


class WandbTracker(Tracker):
    """Weights & Biases.

    With WANDB_MODE=offline nothing needs a network or an account: runs go to FOLDER/wandb, for
    `wandb sync` later. The project is WANDB_PROJECT, or "convscope". The id of a run depends on the
    name of the study's folder and on the recipe alone, so that a run that was interrupted goes on
    as the same run.
    """

    def __init__(self, folder: Path) -> None:
        try:
            import wandb
        except ImportError:
            raise UserError("track wandb: not installed; pip install 'convscope[wandb]'") from None
        self.wandb, self.folder, self.runs = wandb, folder, dict[str, Any]()
        self.prefix = hashlib.sha256(
            folder.resolve().name.encode("utf-8", "surrogateescape")
        ).hexdigest()[:8]
        try:  # without a key wandb.init would ask for one, in the middle of a study
            mode = os.environ.get("WANDB_MODE") or wandb.setup().settings.mode
            wandb.Settings(mode=mode)  # pyright: ignore[reportArgumentType] (checks it)
            needs_key = mode in ("online", "shared") and wandb.run is None
            with contextlib.redirect_stderr(io.StringIO()):  # it says where the key was found
                known = not needs_key or wandb.login(prompt=False, verify=False)
            # online, what cannot be uploaded within a minute stays in the files, for `wandb sync`;
            # offline there is nothing to wait for
            self.patience = 60 if mode in ("online", "shared") else 0
        except Exception as error:
            raise UserError(f"track wandb: {one_line(error)}") from None
        if not known:
            raise UserError(
                "track wandb: no API key; run `wandb login` first, "
                "or set WANDB_MODE=offline and `wandb sync` later"
            )

    def started(
        self, recipe: Recipe, run: str, asked: Mapping[str, Role], size: Mapping[str, int]
    ) -> None:
        pilot = any(role in SHORT_ROLES for role in asked.values())
        mode = os.environ.get("WANDB_MODE") or None
        self.runs[run] = self.wandb.init(
            project=os.environ.get("WANDB_PROJECT") or "convscope",
            dir=str(self.folder),
            id=f"{self.prefix}-{run}",
            name=f"{label_of(recipe.model)}, seed {recipe.seed}"[:128],
            group=next(iter(asked), None),
            tags=[*asked, *(["pilot"] if pilot else [])],
            config={**to_json(recipe), **size, "run": run},
            mode=mode,  # pyright: ignore[reportArgumentType] (wandb checks it)
            reinit="create_new",  # several runs of a study are open at a time
            resume="allow",
            settings=self.wandb.Settings(
                silent=True,
                console="off",
                init_timeout=20,
                finish_timeout=self.patience,
                finish_timeout_raises=True,
                disable_git=True,
                disable_code=True,
                x_disable_stats=True,
            ),
        )

    def epoch(self, run: str, epoch: int, values: Mapping[str, float]) -> None:
        self.runs[run].log(dict(values), step=epoch, commit=True)

    def ended(self, run: str, status: str, summary: Mapping[str, Any]) -> None:
        open_run = self.runs.pop(run)
        open_run.summary.update({"status": status, **summary})
        open_run.finish(exit_code=0 if status == "finished" else 1)

    def close(self) -> None:
        for open_run in self.runs.values():  # of which something failed
            open_run.finish(exit_code=1)


TRACKERS: dict[str, type[Tracker]] = {"wandb": WandbTracker}


class Tracking(Watcher):
    """A watcher that passes everything on to another one and mirrors the runs that are trained.

    Runs that were finished before are not mirrored again. A run that goes on after an interruption
    sends its earlier epochs, too, so that what is mirrored is whole wherever it goes; a tracker
    that has them already ignores them.

    tracker: where runs are mirrored.
    watcher: to whom everything is passed on.
    runs: the folder of run folders.
    in_shape, num_classes: of the images, from which exact sizes follow.
    """

    def __init__(
        self,
        tracker: Tracker,
        watcher: Watcher,
        runs: Path,
        in_shape: tuple[int, int, int],
        num_classes: int,
    ) -> None:
        self.tracker, self.watcher, self.runs = tracker, watcher, runs
        self.in_shape, self.num_classes = in_shape, num_classes
        # for each run's id the chapters that asked for it, the first in front, each with the role
        self.roles: dict[str, dict[str, Role]] = {}
        self.sent: dict[str, int] = {}  # open runs -> the last epoch that was sent
        self.failures = 0

    # what a study tells

    def say(self, text: str) -> None:
        self.watcher.say(text)

    def step(self, description: str, done: int, total: int | None) -> None:
        self.watcher.step(description, done, total)

    def plan(self, costs: Mapping[str, float], workers: int, after: float = 0.0) -> None:
        self.watcher.plan(costs, workers, after)

    def found(self, chapter: str) -> None:
        self.watcher.found(chapter)

    def asked(self, chapter: str, requests: Sequence[Request], cost: float, skipped: float) -> None:
        self.watcher.asked(chapter, requests, cost, skipped)
        for request in requests:
            for recipe in request.recipes:
                self.roles.setdefault(recipe.id, {}).setdefault(chapter, request.role)

    def started(self, recipe: Recipe) -> None:
        self.watcher.started(recipe)
        if recipe.id not in self.sent and self.failures < MOST_FAILURES:
            self.sent[recipe.id] = 0
            self.guarded(recipe.id, lambda: self.open(recipe))

    def epoch(self, recipe: Recipe, row: dict[str, Any], cost: float) -> None:
        self.watcher.epoch(recipe, row, cost)
        if recipe.id in self.sent:
            self.guarded(recipe.id, lambda: self.send(recipe.id, row))

    def ended(self, recipe: Recipe, run: Run) -> None:
        self.watcher.ended(recipe, run)
        if recipe.id in self.sent:
            self.guarded(recipe.id, lambda: self.finish(recipe.id, run))
            self.sent.pop(recipe.id, None)

    def close(self) -> None:
        """Close what is still open, as interrupted, and the tracker."""
        for run in list(self.sent):
            self.guarded(run, lambda run=run: self.tracker.ended(run, "interrupted", {}))
        self.sent.clear()
        self.guarded("", self.tracker.close)

    # what the tracker is told

    def open(self, recipe: Recipe) -> None:
        size = size_of(recipe.model, self.in_shape, self.num_classes)
        counts = {"filters": size.filters, "parameters": size.parameters, "flops": size.flops}
        self.tracker.started(recipe, recipe.id, self.roles.get(recipe.id, {}), counts)

    def send(self, run: str, row: Mapping[str, Any]) -> None:
        if row["epoch"] > self.sent[run] + 1:
            for earlier in rows_so_far(self.runs / run):
                if earlier["epoch"] < row["epoch"]:
                    self.send_one(run, earlier)
        self.send_one(run, row)

    def send_one(self, run: str, row: Mapping[str, Any]) -> None:
        if row["epoch"] > self.sent[run]:
            keys = (*MEASURES, "lr", "seconds")
            values = {key: row[key] for key in keys if row.get(key) is not None}  # None: not finite
            self.tracker.epoch(run, row["epoch"], values)
            self.sent[run] = row["epoch"]

    def finish(self, key: str, run: Run) -> None:
        for row in run.rows:
            self.send_one(key, row)
        summary: dict[str, Any] = {"seconds_in_all": run.seconds}
        if run.message:
            summary["message"] = one_line(run.message)
        if run.rows:
            best = run.best
            figures = {
                f"best_{name}": best[name] for name in MEASURES if best.get(name) is not None
            }
            summary |= {"best_epoch": best["epoch"], **figures}
        self.tracker.ended(key, run.status, summary)

    def guarded(self, run: str, call: Callable[[], None]) -> None:
        """Call a tracker, which loses the run where it fails, and all runs after MOST_FAILURES.

        That is said once; training never notices.
        """
        try:
            call()
        except Exception as error:
            self.sent.pop(run, None)
            self.failures += 1
            what = f"{type(error).__name__}: {one_line(error)}"
            why = f"{type(self.tracker).__name__} failed ({what})"
            if self.failures == 1:
                self.watcher.say(
                    f"{why}: this run is no longer mirrored; "
                    "training goes on, and its records are whole"
                )
            elif self.failures == MOST_FAILURES:
                self.sent.clear()
                self.watcher.say(
                    f"{why}, the last of {MOST_FAILURES} failures: nothing more is mirrored"
                )


class Sayer(Watcher):
    """A watcher for a run alone: it only says what is said."""

    def __init__(self, say: Callable[[str], None] | None) -> None:
        self.say_it = say

    def say(self, text: str) -> None:
        if self.say_it is not None:
            self.say_it(text)


def rows_so_far(path: Path) -> list[dict[str, Any]]:
    """The epochs that an unfinished run has on disk; the last line may still be on its way."""
    lines = (path / "metrics.jsonl").read_bytes().split(b"\n")
    return [parse_json(line) for line in lines[:-1] if line]


def check_tracker(name: str) -> None:
    """UserError for a name that is not in TRACKERS."""
    if name not in TRACKERS:
        raise UserError(f"track {one_line(name)!r}{did_you_mean(name, TRACKERS)}")


@contextlib.contextmanager
def tracked(
    name: str | None,
    watcher: Watcher,
    folder: Path,
    in_shape: tuple[int, int, int],
    num_classes: int,
    runs: Path | None = None,
) -> Iterator[Watcher]:
    """A watcher that mirrors runs to a tracker.

    name: of the tracker; None: there is none, and the watcher is the given one.
    watcher: to whom everything is passed on.
    folder: the study's, where files of the tracker go.
    in_shape, num_classes: of the images.
    runs: the folder of run folders; None: folder/runs.

    Raises UserError for an unknown name, and where the tracker is not installed or has no account;
    after that nothing of it is raised.
    """
    if name is None:
        yield watcher
        return
    check_tracker(name)
    folder.mkdir(parents=True, exist_ok=True)
    tracking = Tracking(
        TRACKERS[name](folder), watcher, runs or folder / "runs", in_shape, num_classes
    )
    try:
        yield tracking
    finally:
        tracking.close()


def train_tracked(
    recipe: Recipe,
    root: Path,
    name: str | None,
    *,
    data: Dataset | None = None,
    log: Callable[[Row], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> Run:
    """`training.train`, mirrored. A run that is finished already is read and not mirrored.

    recipe: what is trained.
    root: the run goes to root/ID, files of the tracker to root.
    name: of the tracker; None: there is none.
    data: the images, where they are loaded already.
    log: is told of each epoch.
    say: is told if the tracker fails, and of a run that was altered.

    Raises what `train` and `tracked` raise.
    """
    if name is not None:
        check_tracker(name)
    data = data or dataset_of(recipe)
    recipe = replace(recipe, data_hash=data.hash, model=with_sources(recipe.model))
    finished = finished_run(run_path(recipe, root), say)
    if name is None or finished is not None:
        return train(recipe, root, data=data, log=log)
    with tracked(name, Sayer(say), root, data.in_shape, data.num_classes, root) as tracking:

        def epoch(row: Row) -> None:
            if log is not None:
                log(row)
            tracking.epoch(recipe, dict(row), 0.0)

        tracking.started(recipe)
        run = train(recipe, root, data=data, log=epoch)
        tracking.ended(recipe, run)
        return run
