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
        nets = [replace(m, hidden=()) for m in models if isinstance(m, ConvNet)]
        self.short = {label_of(net): short_label_of(net) for net in nets}
        self.full = {short: full for full, short in self.short.items()}
        longest = sorted(self.short, key=len, reverse=True)
        named = "|".join(f"[Ww]{re.escape(name[1:])}" for name in longest)
        # nothing that goes on with a letter, a digit or × is that network
        self.pattern = rf"(?<!\w)(?P<full>{named})(?![\w×]){HIDDEN}" if named else r"(?!)"
        self.known = re.compile(self.pattern)

    def of(self, match: re.Match[str]) -> str:
        """The short name of what was found."""
        full = match["full"]
        short = self.short[full[0].lower() + full[1:]]
        return f"{short} h{match['hidden'].replace(' and ', '+')}" if match["hidden"] else short

    def plain(self, text: str) -> str:
        """A text with short names."""
        return self.known.sub(self.of, text)

    def title(self, short: str) -> str:
        """The name in full of a short one that may name hidden layers; "" where it is none."""
        name, _, hidden = short.partition(" h")
        full = self.full.get(name, "")
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
        return sorted(((short, full) for full, short in self.short.items()), key=natural)


def natural(pair: tuple[str, str]) -> list[tuple[int, int | str]]:
    """Numbers in a name are sorted as numbers."""
    parts = re.split(r"(\d+)", pair[0])
    return [(0, int(part)) if part.isdigit() else (1, part) for part in parts]
