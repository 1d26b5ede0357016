"""The chapters of a study, by name, in the order in which they are told."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from convscope.planning import Chapter, Context
    from convscope.recipe import Recipe


class ChapterPackage(Protocol):
    """What a study asks of a chapter's package.

    NEEDS: the chapters that it builds on; ASKS: the questions that it answers by itself, in short.
    """

    @property
    def TITLE(self) -> str: ...
    @property
    def QUESTION(self) -> str: ...
    @property
    def NEEDS(self) -> tuple[str, ...]: ...
    @property
    def ASKS(self) -> tuple[str, ...]: ...

    def forecast(self, context: Context) -> list[Recipe]:
        """The recipes that the chapter will ask for, as far as they are known before."""
        ...

    def chapter(self, context: Context) -> Chapter:
        """Asks for runs, waits, and returns the finding."""
        ...


class Chapters(Mapping[str, ChapterPackage]):
    """The packages by name; each is imported when it is first asked for, the names are known."""

    NAMES = ("capacity", "best", "nonlinearity", "receptive_field", "convolution", "ordering")

    def __getitem__(self, name: str) -> ChapterPackage:
        if name not in self.NAMES:
            raise KeyError(name)
        return cast(ChapterPackage, importlib.import_module(f"{__name__}.{name}"))

    def __contains__(self, name: object) -> bool:  # without an import
        return name in self.NAMES

    def __iter__(self) -> Iterator[str]:
        return iter(self.NAMES)

    def __len__(self) -> int:
        return len(self.NAMES)


CHAPTERS = Chapters()
