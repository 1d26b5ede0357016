"""The chapters of a study, by name, in the order in which they are told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from convscope.chapters import (
    best,
    capacity,
    convolution,
    nonlinearity,
    ordering,
    receptive_field,
)

if TYPE_CHECKING:
    from convscope.planning import Chapter, Context
    from convscope.recipe import Recipe


class ChapterPackage(Protocol):
    """What a study asks of a chapter's package; `NEEDS` names the chapters that it builds on."""

    @property
    def TITLE(self) -> str: ...
    @property
    def QUESTION(self) -> str: ...
    @property
    def NEEDS(self) -> tuple[str, ...]: ...

    def forecast(self, context: Context) -> list[Recipe]:
        """The recipes that the chapter will ask for, as far as they are known before."""
        ...

    def chapter(self, context: Context) -> Chapter:
        """Asks for runs, waits, and returns the finding."""
        ...


CHAPTERS: dict[str, ChapterPackage] = {
    "capacity": capacity,
    "best": best,
    "nonlinearity": nonlinearity,
    "receptive_field": receptive_field,
    "convolution": convolution,
    "ordering": ordering,
}
