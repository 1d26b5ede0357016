"""One short name for a network everywhere on the page; the name in full is its title."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from convscope.recipe import ConvNet, Model, label_of, short_label_of

HIDDEN = r"(?:, hidden (?P<hidden>\d+(?:(?: and |\+)\d+)*))?"


class Names:
    """Names in full that stand in texts, and the short ones that the page shows instead.

    models: those of the study's runs.
    """

    def __init__(self, models: Iterable[Model]) -> None:
        nets: dict[str, set[ConvNet]] = {}
        for model in models:
            if isinstance(model, ConvNet):
                nets.setdefault(label_of(model), set()).add(model)
        # hidden layers are in no name in full: they are known where all of that name agree
        self.short = {
            full: short_label_of(
                next(iter(alike)) if len(alike) == 1 else replace(next(iter(alike)), hidden=())
            )
            for full, alike in nets.items()
        }
        self.full = {short: full for full, short in self.short.items()}
        self.full |= {bare(short): full for short, full in self.full.items()}
        longest = sorted(self.short, key=len, reverse=True)
        # a chart's text may be broken into lines, and so between the words of a name
        spaced = [re.escape(name[1:]).replace(r"\ ", r"\s+") for name in longest]
        named = "|".join(f"[Ww]{name}" for name in spaced) or "(?!)"
        # nothing that goes on with a letter, a digit or × is that network
        self.pattern = rf"(?<!\w)(?P<full>{named})(?![\w×]){HIDDEN}"
        self.known = re.compile(self.pattern)

    def of(self, match: re.Match[str]) -> str:
        """The short name of what was found."""
        full = " ".join(match["full"].split())
        short = self.short[full[0].lower() + full[1:]]
        if not match["hidden"]:
            return short
        return f"{bare(short)} h{match['hidden'].replace(' and ', '+')}"

    def plain(self, text: str) -> str:
        """A text with short names."""
        return self.known.sub(self.of, text)

    def title(self, short: str) -> str:
        """The name in full of a short one that may name hidden layers; "" where it is none."""
        hidden = short[len(bare(short)) :].removeprefix(" h")
        full = self.full.get(short) or self.full.get(bare(short)) or ""
        return f"{full}, hidden {hidden}" if full and hidden else full

    def everywhere(self, value: Any) -> Any:
        """A JSON value, as a chart's specification, with short names in all of its texts."""
        if isinstance(value, str):
            return self.plain(value)
        if isinstance(value, list | tuple):
            return [self.everywhere(item) for item in value]
        if isinstance(value, dict):
            return {self.plain(key): self.everywhere(item) for key, item in value.items()}
        return value

    @property
    def key(self) -> list[tuple[str, str]]:
        """(short, in full) of every network, by width, depth and settings."""
        return sorted(((short, self.title(short)) for short in self.short.values()), key=natural)


def bare(short: str) -> str:
    """A short name without its hidden layers."""
    return re.sub(r" h\d+(?:\+\d+)*$", "", short)


def natural(pair: tuple[str, str]) -> list[tuple[int, int | str]]:
    """Numbers in a name are sorted as numbers."""
    parts = re.split(r"(\d+)", pair[0])
    return [(0, int(part)) if part.isdigit() else (1, part) for part in parts]
