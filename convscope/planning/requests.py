"""How a chapter and the study that drives it talk: requests, answers, waiting, giving results."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from convscope.recipe import Recipe
from convscope.report import BestResult, CapacityResult, Finding
from convscope.training import Run

# What a run is for. "pilot": a short run that chooses a learning rate. "trial": a rung of the
# search. "sweep": a network of the capacity sweep. "reference": the reference recipe beside the
# sweep. "final": any other run that is trained to the end and that a verdict rests on.
Role = Literal["pilot", "trial", "sweep", "reference", "final"]

# further requests wait for these, which are judged by validation alone
SHORT_ROLES: tuple[Role, ...] = ("pilot", "trial")


@dataclass(frozen=True)
class Request:
    """Recipes that a chapter wants to have trained, and what their runs are for."""

    recipes: Sequence[Recipe]
    role: Role


@dataclass(frozen=True)
class Answer:
    """The runs that a chapter asked for, by role; in a report written again some may be missing.

    There may also be runs of roles that were not asked for in this step: those of requests that an
    earlier process made and this one, whose pilots were lost or whose search is shorter, did not.
    """

    runs: Mapping[Role, Sequence[Run]] = field(default_factory=dict)

    def of(self, role: Role) -> list[Run]:
        """The runs of a role, in the order of the request."""
        return list(self.runs.get(role, ()))


@dataclass(frozen=True)
class Wait:
    """A chapter waits: for what other chapters give (`needs`), and with `quiet` until nothing is
    trained and no other chapter can go on, so that what it measures with a clock is not disturbed.
    """

    needs: tuple[str, ...] = ()
    quiet: bool = False


@dataclass(frozen=True)
class Give:
    """A chapter's result for those that build on it, before its finding is there."""

    result: CapacityResult | BestResult | None


Step = Sequence[Request] | Wait | Give

# A chapter is a generator: it yields steps, is sent an answer to each, and returns its finding.
Chapter = Generator[Step, Answer, Finding]
