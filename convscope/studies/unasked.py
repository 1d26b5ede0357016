"""The questions that a study did not ask: why, the command that asks them, and its time."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from convscope.chapters import CHAPTERS
from convscope.errors import UserError
from convscope.machine import Costs
from convscope.planning import BudgetFit, Context, duration, levels, nested_subsets
from convscope.report import Finding
from convscope.studies.command_words import option, without
from convscope.studies.folder import StudyFolder, study_path
from convscope.studies.plan import costs_in, fixed, forecast, with_fit, workers_of
from convscope.words import count

SIZES = 3  # of training sets, that a forecast takes

ROOM = 1.1  # of the estimated seconds, that a proposed budget leaves


@dataclass(frozen=True)
class Unasked:
    """A question that the study did not ask.

    more: further questions that the same command answers.
    why: a sentence; command: asks it; time: how long that takes here, "" where it is not known.
    """

    chapter: str
    question: str
    more: tuple[str, ...]
    why: str
    command: str
    time: str


def unasked(
    context: Context,
    folder: StudyFolder,
    findings: Mapping[str, Finding],
    coming: Mapping[str, Any] | None,
) -> list[dict[str, Any]]:
    """Every question that has no answer because it was not asked, as plain JSON values.

    A chapter that was left out is one entry. coming: the next larger study, as `next_study` says.
    """
    assert folder.about is not None
    left = [name for name in CHAPTERS if name not in folder.about.chapters]
    parts = [
        (name, told.question)
        for name, finding in findings.items()
        for told in finding.headlines
        if told.sure == "not asked"
    ]
    if not left and not parts:
        return []
    asked = Asked.of(context, folder)
    out = [asked.chapter(name) for name in left]
    out += [asked.part(name, question, coming) for name, question in parts]
    return [asdict(one) | {"more": list(one.more)} for one in out]


@dataclass(frozen=True)
class Asked:
    """What the study was asked, as it was before a time budget took anything away.

    whole: its context; fit: what the budget left; costs: of runs on this machine, None: not known.
    """

    command: tuple[str, ...]
    whole: Context
    fit: BudgetFit
    budget: float | None
    costs: Costs | None
    workers: int

    @classmethod
    def of(cls, context: Context, folder: StudyFolder) -> Asked:
        fitted = folder.fitted
        if fitted is not None and fitted.fit != context.fit:
            fitted = None  # of an earlier request
        first = context.seeds[0] if context.seeds else 0
        seeds = range(first, first + fitted.seeds) if fitted is not None else context.seeds
        whole = replace(context, fit=BudgetFit(), seeds=tuple(seeds), folder=None, given={})
        every = replace(whole, chapters=tuple(CHAPTERS))
        assert folder.about is not None
        try:
            words = shlex.split(folder.about.command)
        except ValueError:
            words = []
        return cls(
            tuple(words if words[:2] == ["convscope", "study"] else ()),
            whole,
            context.fit,
            fitted.budget if fitted is not None else None,
            costs_in(folder, whole.data, forecast_in(every)),
            workers_of(context, folder),
        )

    def chapter(self, name: str) -> Unasked:
        """A chapter that the study left out."""
        first, *more = CHAPTERS[name].ASKS
        if self.fit.chapters is not None and self.budget is not None:
            why = f"Left out, so that the study keeps to {duration(self.budget)}."
        else:
            chapters = count(len(self.whole.chapters), "chapter")
            why = f"Left out: the command names {chapters} without it."
        if self.budget is not None:
            command, seconds = self.alone(name)
        else:
            wanted = {*self.whole.chapters, name}
            every = tuple(one for one in CHAPTERS if one in wanted)
            command = self.changed(() if len(every) == len(CHAPTERS) else every)
            known = set(forecast_in(self.whole))
            new = forecast_in(replace(self.whole, chapters=every))
            seconds = self.seconds([recipe for recipe in new if recipe not in known], (name,))
        return self.told(name, first, more, why, command, seconds)

    def part(self, name: str, question: str, coming: Mapping[str, Any] | None) -> Unasked:
        """A question that the study's plan left out of a chapter."""
        if self.budget is not None:
            why = f"What fits into {duration(self.budget)} leaves it out."
            return self.told(name, question, (), why, *self.alone(name))
        why = "The networks and images of this study leave it out."
        if self.whole.grids.get(name):
            own = replace(self.whole, chapters=(name,), grids={})
            seconds = self.seconds(forecast_in(own), (name,))
            command = self.changed((name,), out=self.place(name), sets=False)
            return self.told(name, question, (), why, command, seconds)
        command, time = (coming["command"], coming["time"]) if coming else ("", "")
        return Unasked(name, question, (), why, command, time)

    def alone(self, name: str) -> tuple[str, float | None]:
        """The command that asks a chapter alone, in a folder of its own, and its seconds.

        It has the study's budget where that is enough, else a budget that is; without costs none.
        """
        place = self.place(name)
        own = replace(self.whole, chapters=(name,))
        fits = list(levels(len(own.seeds)))
        enough = next((fit for fit in reversed(fits) if all_sizes(own, name, fit)), fits[0])

        def takes(fit: BudgetFit) -> float | None:
            return self.seconds(forecast_in(with_fit(own, fit)), (name,))

        least = takes(enough)
        if least is None or self.budget is None:
            return self.changed((name,), out=place), None
        if least > self.budget:
            minutes = math.ceil(ROOM * least / 60)
            return self.changed((name,), out=place, budget=f"{minutes}m"), least
        given = option(self.command, "--budget") or f"{self.budget:g}s"
        times = (time for fit in fits if (time := takes(fit)) is not None)
        most = next((time for time in times if time <= self.budget), least)  # as a study fits it
        return self.changed((name,), out=place, budget=given), most

    def place(self, name: str) -> str:
        """A folder beside the study's own."""
        given = option(self.command, "--out")
        return f"{given or study_path(self.whole.data, self.whole.preset, None)}-{name}"

    def changed(
        self, chapters: Sequence[str], out: str = "", budget: str = "", sets: bool = True
    ) -> str:
        """The study's command for other chapters; with a folder, without its time budget."""
        dropped = ["--chapters", *(("--out", "--budget") if out else ())]
        kept = without(self.command, [*dropped, *(() if sets else ("--set",))])
        kept += ["--chapters", ",".join(chapters)] if chapters else []
        kept += ["--out", out] if out else []
        kept += ["--budget", budget] if budget else []
        return shlex.join(kept) if self.command else ""

    def seconds(self, recipes: Sequence[Any], chapters: tuple[str, ...]) -> float | None:
        if self.costs is None:
            return None
        own = replace(self.whole, chapters=chapters)
        return fixed(own, BudgetFit()) + sum(map(self.costs.run, recipes)) / self.workers

    @staticmethod
    def told(
        chapter: str,
        question: str,
        more: Sequence[str],
        why: str,
        command: str,
        seconds: float | None,
    ) -> Unasked:
        time = duration(seconds) if seconds is not None and command else ""
        return Unasked(chapter, question, tuple(more), why, command, time)


def forecast_in(context: Context) -> list[Any]:
    """The recipes of a plan; none where no network fits, or one of the user's is not trusted."""
    try:
        return forecast(context)
    except UserError:
        return []


def all_sizes(context: Context, name: str, fit: BudgetFit) -> bool:
    """Whether the training sets are enough in number, where the chapter forecasts from them."""
    return name != "capacity" or len(nested_subsets(with_fit(context, fit))) >= SIZES
