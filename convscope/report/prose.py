"""Texts of the report as HTML: short names of networks, words of the glossary and works as links.

A word of the glossary is linked where it first stands in a chapter.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

from markupsafe import Markup, escape

from convscope.errors import one_line
from convscope.report.formulas import with_formulas
from convscope.report.glossary import Entry
from convscope.report.naming import Names

REFERENCES: dict[str, str] = tomllib.loads(
    Path(__file__).with_name("references.toml").read_text(encoding="utf-8")
)["links"]

# what belongs to a number stays on its line: 6e-16 has a minus that no line is broken behind
JOINED = (
    (re.compile(r"(?<=\de)-(?=\d)"), "−"),
    (re.compile(r"(?<=\d) (?=%)|(?<=±) (?=\d)"), "\u00a0"),
)

MINUS = re.compile(r"(?<![\w.)\]-])-(?=\d)")  # a hyphen that stands before a number for a minus


class Prose:
    """Makes a text's HTML, and remembers by chapter which words were linked.

    names: of the study's networks; entries: of the glossary on the page.
    """

    def __init__(self, names: Names, entries: Iterable[Entry]) -> None:
        self.names = names
        self.entries: dict[str, Entry] = {}
        for entry in entries:
            for word in words_of(entry):
                self.entries.setdefault(word.casefold(), entry)
        self.seen: dict[str, set[str]] = {}
        self.pattern = re.compile(
            "|".join(
                (
                    names.pattern,
                    rf"(?P<net>(?<!\w){alternatives(names.full)}(?: h\d+(?:\+\d+)*)?(?![\w×+]))",
                    rf"(?P<work>{alternatives(REFERENCES)})",
                    rf"(?i:(?<![\w-])(?P<word>{alternatives(self.entries)})(?![\w-]))",
                )
            )
        )

    def html(
        self, text: object, chapter: str = "", formulas: bool = False, links: bool = True
    ) -> Markup:
        """A text in one line.

        chapter: that the text stands in; words of the glossary are links where it is named.
        formulas: set as MathML.
        links: else words of the glossary show what they mean where one points at them: in what is
            itself pressed there may be no link.
        """
        line = MINUS.sub("−", one_line(text, 9000))
        out: list[Markup] = []
        place = 0
        set_in = with_formulas if formulas else escape

        def plain(part: str) -> Markup:
            return set_in(unbroken(part))

        for match in self.pattern.finditer(line):
            shown = self.shown(match, chapter, links)
            if shown is not None:
                out += [plain(line[place : match.start()]), shown]
                place = match.end()
        return Markup("").join([*out, plain(line[place:])])

    def shown(self, match: re.Match[str], chapter: str, links: bool) -> Markup | None:
        """The HTML of what was found; None where it stays as it is."""
        if match["full"]:
            return self.net(self.names.of(match))
        if match["net"]:
            return self.net(match["net"])
        if match["work"]:
            return Markup('<a href="{}" rel="noreferrer">{}</a>').format(
                REFERENCES[match["work"]], match["work"]
            )
        if not chapter:
            return None
        entry = self.entries[match["word"].casefold()]
        seen = self.seen.setdefault(chapter, set())
        if entry.key in seen:
            return None
        seen.add(entry.key)
        if not links:
            form = Markup('<abbr class="word" title="{}">{}</abbr>')
            return form.format(entry.definition, match["word"])
        return Markup('<a class="word" href="#glossary-{}" title="{}">{}</a>').format(
            entry.key, entry.definition, match["word"]
        )

    def net(self, short: str) -> Markup:
        title = self.names.title(short)
        if not title or title == short:
            return escape(short)
        return Markup('<span class="net" title="{}">{}</span>').format(title, short)


def unbroken(text: str) -> str:
    """A text whose numbers no line is broken in: 6e−16, 67.9 %, ± 3."""
    for pattern, joint in JOINED:
        text = pattern.sub(joint, text)
    return text


def alternatives(words: Iterable[str]) -> str:
    """A pattern of these words, longer ones first; of none, what is never found."""
    longest = sorted(words, key=len, reverse=True)
    return f"(?:{'|'.join(map(re.escape, longest))})" if longest else r"(?!)"


def words_of(entry: Entry) -> list[str]:
    """The words of a text that mean the entry."""
    return [entry.name.split(" (")[0].split(" from ")[0], *entry.words]
