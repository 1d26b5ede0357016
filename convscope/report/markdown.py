"""A study's summary as Markdown, for a pull request or a README; texts from outside are escaped."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from convscope.errors import one_line
from convscope.report.page import cell
from convscope.words import count

MARKS = re.compile(r"([\\`*_{}\[\]<>+!|~$&])")  # of Markdown and HTML

LINKED = re.compile(r"([@#]|:(?=//))")  # what GitHub takes for a name, an issue, an address

MOST_ROWS = 12  # of a table in the summary; all are in tables/

FIRST_TABLES = 1  # of each chapter


def markdown(text: object) -> str:
    """A text for Markdown, on one line: nothing in it is a mark."""
    shown = MARKS.sub(r"\\\1", one_line(text, 5000))
    shown = LINKED.sub(r"\1<!-- -->", shown)
    return re.sub(r"^(\d+)([.)])(?=\s|$)", r"\1\\\2", shown)


def rows_of(heading: Sequence[object], rows: Iterable[Sequence[object]], right: str) -> list[str]:
    """Lines of a Markdown table.

    heading: of each column; rows: of cells; right: for each column "r" where it stands right.
    """
    rule = ["--:" if side == "r" else "---" for side in right]
    lines = [heading, *rows]
    shown = [f"| {' | '.join(markdown(one) for one in line)} |" for line in lines]
    return [shown[0], f"| {' | '.join(rule)} |", *shown[1:]]


def markdown_table(table: Mapping[str, Any], most: int = MOST_ROWS) -> list[str]:
    """Lines of a table of results.json; of a long one the first rows, and how many more."""
    columns = table["columns"]
    rows = [[cell(row.get(key), form) for key, _, form in columns] for row in table["rows"][:most]]
    right = "".join("l" if form == "text" else "r" for _, _, form in columns)
    lines = [f"**{markdown(table['title'])}**", ""]
    lines += rows_of([heading for _, heading, _ in columns], rows, right)
    more = len(table["rows"]) - most
    return [*lines, "", f"{count(more, 'more row')} in `tables/`."] if more > 0 else lines


def summary(tree: Mapping[str, Any]) -> str:
    """What a study found, its first tables and how it was done.

    tree: of results.json.
    """
    about = tree["study"]
    images = about["images"]
    lines = [f"## convscope: {markdown(about['data'])}", "", markdown(tree["sentence"]), ""]
    if not about["complete"]:
        lines += ["**The study is not complete:** it was stopped before all runs had ended.", ""]
    chapters = tree["chapters"]
    words = [(one["question"], one["verdict"], one["sentence"]) for one in chapters.values()]
    lines += rows_of(("question", "answer", "why"), words, "lll")
    for name, chapter in chapters.items():
        if chapter.get("missing"):
            lines += ["", f"Missing evidence, {name}: {markdown('; '.join(chapter['missing']))}."]
        for table in chapter["tables"][:FIRST_TABLES]:
            lines += ["", *markdown_table(table)]
    done = sum(run["status"] == "finished" for run in tree["runs"])
    lines += [
        "",
        f"{images['train']:,} training, {images['val']:,} validation and {images['test']:,} test "
        f"images; {done:,} of {count(len(tree['runs']), 'run')} finished; seeds "
        f"{', '.join(map(str, about['seeds']))}; {about['seconds'] / 60:.1f} minutes. "
        f"convscope {markdown(tree['convscope'])}, torch {markdown(about['machine']['torch'])}.",
        "",
        "```",
        one_line(about["command"], 5000).replace("```", "'''"),
        "```",
        "",
    ]
    return "\n".join(lines)
