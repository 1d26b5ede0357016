"""A watcher that mirrors what goes by: the recipe and exact size of each run as its configuration,
a row for each epoch, the best epoch and the status at its end, what chapters found, the report.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from convscope.data import Dataset
from convscope.errors import one_line
from convscope.files import parse_json
from convscope.models import size_of, with_sources
from convscope.planning import SHORT_ROLES, Request, Role
from convscope.recipe import Model, Recipe, label_of, to_json
from convscope.report import Finding
from convscope.studies.trackers.mirror import Mirror
from convscope.studies.trackers.names import all_have, check_trackers
from convscope.studies.trackers.tracker import Begun, Found
from convscope.studies.watcher import Watcher
from convscope.training import Row, Run, dataset_of, finished_run, run_path, train

MEASURES = tuple(
    f"{split}_{what}" for split in ("train", "val", "test") for what in ("loss", "accuracy")
)

# files of a study or a sweep that make up its report, those that are there
REPORT_FILES = ("report.html", "results.json", "results.csv", "runs.csv", "study.toml")


class Tracking(Watcher):
    """A watcher that passes everything on to another one and mirrors the runs that are trained.

    Runs that were finished before go to the trackers that do not have them: to one that is added
    later, or to all where shards are merged. A run that goes on after an interruption sends its
    earlier epochs, too, so that what is mirrored is whole wherever it goes; a tracker that has them
    already is not told again.

    mirrors: where runs go.
    watcher: to whom everything is passed on.
    runs: the folder of run folders.
    in_shape, num_classes: of the images, from which exact sizes follow.
    """

    def __init__(
        self,
        mirrors: Sequence[Mirror],
        watcher: Watcher,
        runs: Path,
        in_shape: tuple[int, int, int],
        num_classes: int,
    ) -> None:
        self.mirrors, self.watcher, self.runs = mirrors, watcher, runs
        self.in_shape, self.num_classes = in_shape, num_classes
        # for each run's id the chapters that asked for it, the first in front, each with the role
        self.roles: dict[str, dict[str, Role]] = {}
        self.before: list[tuple[Recipe, Run]] = []  # finished, and not asked for by a chapter yet
        self.sent: dict[str, int] = {}  # open runs -> the last epoch that was sent
        self.sizes: dict[Model, dict[str, int]] = {}

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
        for recipe, run in self.before:
            self.mirror_finished(recipe, run)
        self.before.clear()

    def known(self, recipe: Recipe, run: Run) -> None:
        self.watcher.known(recipe, run)
        self.before.append((recipe, run))  # its chapter is told of in a moment

    def started(self, recipe: Recipe) -> None:
        self.watcher.started(recipe)
        if recipe.id not in self.sent:
            self.sent[recipe.id] = 0
            self.tell("started", recipe.id, asdict(self.begun(recipe)))

    def epoch(self, recipe: Recipe, row: dict[str, Any], cost: float) -> None:
        self.watcher.epoch(recipe, row, cost)
        run = recipe.id
        if run not in self.sent:
            return
        if row["epoch"] > self.sent[run] + 1:
            for earlier in rows_so_far(self.runs / run):
                if earlier["epoch"] < row["epoch"]:
                    self.send(run, earlier)
        self.send(run, row)

    def ended(self, recipe: Recipe, run: Run) -> None:
        self.watcher.ended(recipe, run)
        if recipe.id in self.sent:
            for row in run.rows:
                self.send(recipe.id, row)
            self.tell_end(recipe.id, run.status, summary_of(run))

    def reported(self, root: Path, sentence: str, findings: Mapping[str, Finding]) -> None:
        self.watcher.reported(root, sentence, findings)
        for finding in findings.values():
            self.tell("found", "", asdict(found_of(finding, root)))
        files = [str((root / name).resolve()) for name in REPORT_FILES if (root / name).is_file()]
        self.tell("report", "", {"sentence": sentence, "files": files})

    # what the trackers are told

    def begun(self, recipe: Recipe) -> Begun:
        label = label_of(recipe.model)
        asked = self.roles.get(recipe.id, {})
        return Begun(
            run=recipe.id,
            name=f"{label}, seed {recipe.seed}",
            configuration=f"{label} ({replace(recipe, seed=0).id})",
            seed=recipe.seed,
            asked={chapter: str(role) for chapter, role in asked.items()},
            pilot=any(role in SHORT_ROLES for role in asked.values()),
            config=to_json(recipe),
            size=self.size(recipe.model),
        )

    def size(self, model: Model) -> dict[str, int]:
        if model not in self.sizes:
            size = size_of(model, self.in_shape, self.num_classes)
            counts = {"filters": size.filters, "parameters": size.parameters, "flops": size.flops}
            self.sizes[model] = counts
        return self.sizes[model]

    def mirror_finished(self, recipe: Recipe, run: Run) -> None:
        """Tell the trackers that do not have it of a run that was finished before."""
        lacking = [mirror for mirror in self.mirrors if recipe.id not in mirror.had]
        if not lacking:
            return
        begun, key = asdict(self.begun(recipe)), recipe.id
        for mirror in lacking:
            mirror.tell("started", key, begun)
            for row in run.rows:
                mirror.tell("epoch", key, plain(row))
            mirror.tell("ended", key, {"status": run.status, "summary": summary_of(run)})
        self.name_failures()

    def send(self, run: str, row: Mapping[str, Any]) -> None:
        if row["epoch"] > self.sent[run]:
            self.tell("epoch", run, plain(row))
            self.sent[run] = row["epoch"]

    def tell_end(self, run: str, status: str, summary: Mapping[str, Any]) -> None:
        self.tell("ended", run, {"status": status, "summary": summary})
        self.sent.pop(run)

    def tell(self, call: str, run: str, given: Mapping[str, Any]) -> None:
        for mirror in self.mirrors:
            mirror.tell(call, run, given)
        self.name_failures()

    def name_failures(self) -> None:
        """Say what went wrong, once for each tracker; training never notices."""
        for mirror in self.mirrors:
            if line := mirror.to_say():
                self.watcher.say(line)

    def close(self) -> None:
        """Close what is still open, as interrupted, and the trackers."""
        try:
            for run in list(self.sent):
                self.tell_end(run, "interrupted", {})
            for mirror in self.mirrors:
                mirror.close(self.watcher.say)
            self.name_failures()
        finally:  # a second Ctrl-C ends the waiting
            for mirror in self.mirrors:
                mirror.end()


class Sayer(Watcher):
    """A watcher for a run alone: it only says what is said."""

    def __init__(self, say: Callable[[str], None] | None) -> None:
        self.say_it = say

    def say(self, text: str) -> None:
        if self.say_it is not None:
            self.say_it(text)


def plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a tracker is told of an epoch."""
    keys = (*MEASURES, "lr", "seconds")
    values = {key: row[key] for key in keys if row.get(key) is not None}  # None: not finite
    return {"epoch": row["epoch"], "values": values}


def summary_of(run: Run) -> dict[str, Any]:
    """Of a run that has ended: its best epoch, its time, and why it failed."""
    summary: dict[str, Any] = {"seconds_in_all": run.seconds}
    if run.message:
        summary["message"] = one_line(run.message)
    if run.rows:
        best = run.best
        figures = {f"best_{name}": best[name] for name in MEASURES if best.get(name) is not None}
        summary |= {"best_epoch": best["epoch"], **figures}
    return summary


def found_of(finding: Finding, root: Path) -> Found:
    """What a chapter found, with the pictures of its charts that were written."""
    pictures = [
        (chart.name, chart.title, (root / "charts" / f"{finding.name}-{chart.name}.png").resolve())
        for chart in finding.charts
    ]
    return Found(
        finding.name,
        finding.title,
        finding.question,
        finding.verdict,
        finding.sentence,
        [(name, title, str(path)) for name, title, path in pictures if path.is_file()],
    )


def rows_so_far(path: Path) -> list[dict[str, Any]]:
    """The epochs that an unfinished run has on disk; the last line may still be on its way."""
    lines = (path / "metrics.jsonl").read_bytes().split(b"\n")
    return [parse_json(line) for line in lines[:-1] if line]


@contextlib.contextmanager
def tracked(
    names: str | Sequence[str] | None,
    watcher: Watcher,
    folder: Path,
    in_shape: tuple[int, int, int],
    num_classes: int,
    runs: Path | None = None,
) -> Iterator[Watcher]:
    """A watcher that mirrors runs to trackers.

    names: "wandb", "wandb,mlflow" or a list; None: there is no tracker, and the watcher is the
        given one.
    watcher: to whom everything is passed on.
    folder: the study's, where files of the trackers go.
    in_shape, num_classes: of the images.
    runs: the folder of run folders; None: folder/runs.

    Raises UserError for an unknown name, and where a tracker is not installed or has no account;
    after that nothing of them is raised.
    """
    if not (asked := check_trackers(names)):
        yield watcher
        return
    folder.mkdir(parents=True, exist_ok=True)
    mirrors = [Mirror(name, folder) for name in asked]
    tracking = Tracking(mirrors, watcher, runs or folder / "runs", in_shape, num_classes)
    try:
        for mirror in mirrors:
            mirror.ready()
    except BaseException:
        for mirror in mirrors:
            mirror.end()
        raise
    try:
        yield tracking
    finally:
        tracking.close()


def train_tracked(
    recipe: Recipe,
    root: Path,
    names: str | Sequence[str] | None,
    *,
    data: Dataset | None = None,
    log: Callable[[Row], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> Run:
    """`training.train`, mirrored. A run that is finished already is read.

    recipe: what is trained.
    root: the run goes to root/ID, files of the trackers to root.
    names: of the trackers, as for `tracked`; None: there is none.
    data: the images, where they are loaded already.
    log: is told of each epoch.
    say: is told if a tracker fails, and of a run that was altered.

    Raises what `train` and `tracked` raise.
    """
    asked = check_trackers(names)
    data = data or dataset_of(recipe)
    recipe = replace(recipe, data_hash=data.hash, model=with_sources(recipe.model))
    finished = finished_run(run_path(recipe, root), say)
    if not asked or (finished and all_have(asked, root, recipe.id)):
        return train(recipe, root, data=data, log=log)
    with tracked(asked, Sayer(say), root, data.in_shape, data.num_classes, root) as tracking:

        def epoch(row: Row) -> None:
            if log is not None:
                log(row)
            tracking.epoch(recipe, dict(row), 0.0)

        if finished is not None:
            assert isinstance(tracking, Tracking)
            tracking.mirror_finished(recipe, finished)
            return train(recipe, root, data=data, log=log)
        tracking.started(recipe)
        run = train(recipe, root, data=data, log=epoch)
        tracking.ended(recipe, run)
        return run
