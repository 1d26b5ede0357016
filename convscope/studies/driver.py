"""Drives chapters: each asks for recipes and is sent their runs, until it returns its finding."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path

import torch

from convscope.chapters import CHAPTERS
from convscope.engines import LocalEngine
from convscope.errors import UserError, one_line
from convscope.machine import Costs
from convscope.planning import Chapter, Context
from convscope.recipe import Recipe
from convscope.report import Finding
from convscope.studies.sweep import Sweep
from convscope.studies.watcher import Watcher
from convscope.training import Run, finished_run


class Driver:
    """Drives chapters: each asks for recipes and is sent their runs, until it returns its finding."""

    def __init__(
        self,
        engine: LocalEngine | None,
        root: Path,
        costs: Costs | None,
        watcher: Watcher,
        recorded: dict[str, list[list[str]]] | None = None,
        found: Callable[[Finding], None] | None = None,
    ) -> None:
        self.engine, self.root, self.costs, self.watcher = engine, root, costs, watcher
        self.runs: dict[str, Run] = {}
        self.used: dict[str, list[str]] = {}  # run id -> chapters
        self.asked: dict[
            str, list[list[str]]
        ] = {}  # chapter -> for each of its requests the ids of the runs
        self.recorded = recorded  # what an earlier process asked for: then that is read, whatever today's presets would ask for
        self.found = found  # told of each finding
        self.broken: dict[str, str] = {}  # chapters whose analysis failed, with the reason
        self.threads = torch.get_num_threads()
        self.only_finished = engine is None  # then runs on disk are read and the others left out

    def collect(self, context: Context) -> dict[str, Finding]:
        """What `drive` finds; torch's threads are left as they were."""
        self.threads = torch.get_num_threads()
        try:
            return self.drive(context)
        finally:
            torch.set_num_threads(self.threads)

    def drive(self, context: Context) -> dict[str, Finding]:
        """The findings of all chapters. Each goes on as soon as its own runs are there, so that no core idles while another chapter waits or thinks."""
        context.findings.clear()
        context.announced.clear()
        self.asked.clear()
        self.broken.clear()
        sweep = None
        if self.engine is not None and self.costs is not None and not self.only_finished:
            sweep = Sweep(self.engine, self.root, self.costs, self.watcher)
        chapters: dict[str, Chapter] = {
            name: CHAPTERS[name].chapter(context) for name in context.chapters
        }
        wanted = {name: next(chapter) for name, chapter in chapters.items()}
        known: dict[
            str, int
        ] = {}  # how many findings there were when a chapter that waits for one was asked last
        # chapter after chapter, so that all but the last are analysed beside runs
        rank = {name: i for i, name in enumerate(context.chapters)}
        for name in wanted:
            self.ask(name, wanted[name], sweep, rank[name])
        while wanted:
            moved = False
            for name in list(wanted):
                if not wanted[name] and known.get(name) == len(context.findings):
                    continue
                runs = self.answer(name, wanted[name], sweep)
                if runs is None:
                    continue
                moved = True
                known[name] = len(context.findings)
                # what chapters compute here runs beside the workers, or, where nothing is trained, beside the drawing of charts: then as many threads as
                # cores would fight these for every core
                torch.set_num_threads(self.threads if sweep is not None and sweep.idle else 1)
                try:
                    wanted[name] = chapters[name].send(runs)
                except StopIteration as end:
                    context.findings[name] = end.value
                except UserError:
                    raise
                except Exception as error:  # a fault of ours: the other chapters and what was trained are not lost by it
                    context.findings[name] = self.failed(name, error)
                else:
                    self.ask(name, wanted[name], sweep, rank[name])
                if name in context.findings:
                    del wanted[name]
                    self.watcher.found(name)
                    if self.found is not None:
                        self.found(context.findings[name])
            assert moved or (sweep is not None and sweep.wait()), (
                f"chapters wait for each other: {', '.join(wanted)}"
            )
        return {name: context.findings[name] for name in context.chapters}

    def failed(self, name: str, error: Exception) -> Finding:
        self.broken[name] = f"{type(error).__name__}: {one_line(error)}"
        self.watcher.say("".join(traceback.format_exception(error)).rstrip())
        chapter = CHAPTERS[name]
        sentence = f"The analysis of this chapter failed ({self.broken[name]}); its runs are on disk, and the same command analyses them again."
        return Finding(name, chapter.TITLE, chapter.QUESTION, "failed", sentence, {})

    def ask(self, name: str, recipes: list[Recipe], sweep: Sweep | None, rank: int) -> None:
        if recipes:
            self.asked.setdefault(name, []).append([recipe.id for recipe in recipes])
            self.watcher.asked(
                name, recipes, *(sweep.ask(recipes, rank) if sweep is not None else (0.0, 0.0))
            )

    def answer(self, name: str, recipes: list[Recipe], sweep: Sweep | None) -> list[Run] | None:
        """The runs that a chapter asked for; None as long as one is missing. Without a sweep those that are on disk, as an earlier process recorded the request, if one did."""
        if not recipes:
            return []
        if sweep is not None:
            runs = sweep.answer(recipes)
        elif self.recorded is None:
            runs = self.finished([recipe.id for recipe in recipes])
        else:
            steps, step = self.recorded.get(name, []), len(self.asked[name]) - 1
            runs = self.finished(steps[step]) if step < len(steps) else []
        for run in runs or ():
            self.runs[run.id] = run
            names = self.used.setdefault(run.id, [])
            names += [name] if name not in names else []
        return runs

    def finished(self, ids: list[str]) -> list[Run]:
        found = [finished_run(self.root / key, self.watcher.say) for key in dict.fromkeys(ids)]
        return [run for run in found if run is not None]
