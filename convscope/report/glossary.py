"""What the report's words mean, from glossary.toml. The standard library only: it must be instant.

docs/concepts.md is the same as a page: python -m convscope.report.concepts > docs/concepts.md
"""

from __future__ import annotations

import textwrap
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convscope.errors import UserError, did_you_mean, one_line
from convscope.report.constants import constant, filled

if TYPE_CHECKING:
    from convscope.report.findings import Finding

COLUMNS = 100
GLOSSARY = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
NUMBERS = {name: constant(where) for name, where in GLOSSARY["constants"].items()}


@dataclass(frozen=True)
class Entry:
    """One word: `computed` is what computes it in convscope (module.name; empty: nothing does).

    `words` are further words of the report that mean it, beside its title.
    """

    key: str
    title: str
    definition: str
    formula: str
    caveat: str
    source: str
    computed: str
    words: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The title as it stands in a sentence: "plateau from width w" of "Verdict: plateau …"."""
        return self.title.removeprefix("Verdict: ")

    def __str__(self) -> str:
        """At most 100 columns wide."""
        parts = {
            "": self.definition,
            "formula": self.formula,
            "misleads": self.caveat,
            "source": self.source,
            "computed by": f"convscope.{self.computed}" if self.computed else "",
        }
        lines = [self.title]
        for head, text in ((head, text) for head, text in parts.items() if text):
            first = f"  {head + ':':<13}" if head else "  "
            lines += textwrap.wrap(
                text,
                COLUMNS,
                initial_indent=first,
                subsequent_indent=" " * len(first),
                break_on_hyphens=False,
            )
        return "\n".join(lines)


def entries_of(section: dict[str, Any]) -> list[Entry]:
    """The entries of one section of the file, their texts in one line each."""
    found = []
    for key, fields in section.get("entry", {}).items():
        texts = {k: " ".join(filled(v, NUMBERS).split()) for k, v in fields.items() if k != "words"}
        found.append(Entry(key=key, words=tuple(fields.get("words", ())), **texts))
    return found


ENTRIES = {entry.key: entry for section in GLOSSARY["section"] for entry in entries_of(section)}


def explain(key: str) -> Entry:
    """The entry of a key, a title or a word of the report, whatever its case and hyphens.

    Raises UserError, with the nearest word, where there is none.
    """
    wanted = _plain(key)
    names: dict[str, Entry] = {}
    for entry in ENTRIES.values():
        for name in (
            entry.key,
            entry.name,
            *(entry.name.split(cut)[0] for cut in (" (", " from ")),
        ):
            names.setdefault(_plain(name), entry)
    for entry in ENTRIES.values():  # a word can be part of another entry's title, which comes first
        for word in entry.words:
            names.setdefault(_plain(word), entry)
    if wanted not in names:
        hint = did_you_mean(wanted, names)
        known = hint if "did you mean" in hint else did_you_mean(wanted, ENTRIES)
        raise UserError(f"explain {one_line(key)!r}{known}")
    return names[wanted]


def used(findings: Iterable[Finding], keys: Iterable[str] = ()) -> list[Entry]:
    """The entries whose words stand in a report: its sentences, tables and charts.

    keys: of entries that are used anyhow.
    """
    anyhow = set(keys)
    text = " ".join(f" {_plain(part)} " for finding in findings for part in finding.texts())
    return [
        e
        for e in ENTRIES.values()
        if e.key in anyhow or any(f" {_plain(word)} " in text for word in _words(e))
    ]


def _plain(text: str) -> str:
    """Lower case, one space where spaces, hyphens, underscores and the like were."""
    return " ".join("".join(c if c.isalnum() else " " for c in text.casefold()).split())


def _words(entry: Entry) -> Iterator[str]:
    yield entry.name.split(" (")[0].split(" from ")[0]
    yield from entry.words
