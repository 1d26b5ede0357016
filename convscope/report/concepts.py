"""The glossary as a page: python -m convscope.report.concepts > docs/concepts.md"""

from __future__ import annotations

import textwrap
from pathlib import Path

from convscope.report.constants import filled
from convscope.report.glossary import COLUMNS, GLOSSARY, NUMBERS, Entry, entries_of

# written by `make calibrate ARGS=--write`
CALIBRATION = [
    Path(__file__).with_name(name) for name in ("calibration.md", "calibration_chapters.md")
]

HEAD = """\
<!-- Written by `python -m convscope.report.concepts > docs/concepts.md` from glossary.toml. -->

# Concepts

The words of the report, as the code uses them: what each means, its formula, when it misleads, its
source, and the function that computes it. `convscope explain WORD` prints one of them.
"""


def markdown() -> str:
    """The whole page: a heading and an introduction per section, then its entries as a list."""
    parts = [HEAD]
    for section in GLOSSARY["section"]:
        parts.append(f"## {section['title']}\n")
        if section["text"]:
            paragraphs = filled(section["text"], NUMBERS).strip().split("\n\n")
            parts += [f"{wrapped(' '.join(text.split()))}\n" for text in paragraphs]
        items = [wrapped(item(entry), first="- ") for entry in entries_of(section)]
        parts += ["\n".join(items) + "\n"] if items else []
    tables = [path.read_text(encoding="utf-8") for path in CALIBRATION]
    parts += ["## How often a verdict is false\n", *tables]
    return "\n".join(parts)


def item(entry: Entry) -> str:
    source = f"Source: {entry.source.replace('docs/theory.md', '[theory.md](theory.md)')}."
    computed = f"Computed by `convscope.{entry.computed}`." if entry.computed else ""
    formula = f"Formula: `{entry.formula}`."
    text = (f"**{entry.name}**: {entry.definition}", formula, entry.caveat, source, computed)
    return " ".join(part for part in text if part)


def wrapped(text: str, first: str = "") -> str:
    return textwrap.fill(
        text,
        COLUMNS,
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_on_hyphens=False,
        break_long_words=False,
    )


if __name__ == "__main__":
    print(markdown(), end="")
