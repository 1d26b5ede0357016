"""Constants of the code in a text, so that the two cannot disagree. Nothing is imported for it."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def constant(where: str) -> float:
    """The number `module.NAME` of convscope, from the module's source.

    To import the module instead would load torch, a second or more. Raises LookupError where the
    module has no such line.
    """
    module, _, name = where.rpartition(".")
    path = PACKAGE / f"{module.replace('.', '/')}.py"
    source = path.read_text(encoding="utf-8") if path.exists() else ""
    found = re.search(rf"^ *{name}(?:: \w+)? = ([^#\n]+)", source, re.MULTILINE)
    if found is None:
        raise LookupError(f"glossary.toml names {where}: convscope.{module} has no {name} = number")
    return ast.literal_eval(found[1].strip())


def filled(text: str, numbers: Mapping[str, float]) -> str:
    """The text with {name} filled in, {name:%} as "2 %" and {name:points} as "3 points".

    Other braces, as those of a set in a formula, stay. Raises KeyError for an unknown name.
    """

    def number(match: re.Match[str]) -> str:
        value, form = numbers[match[1]], match[2]
        if form:
            return f"{100 * value:.10g} {form[1:]}"
        return f"{value:,}" if isinstance(value, int) else f"{value:g}".replace("e-0", "e-")

    return re.sub(r"\{([a-z_]+)(:%|:points)?\}", number, text)
