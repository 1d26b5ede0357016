"""A table as columns of texts: CSV and the like, and parquet.

The delimiter is the one that cuts the first line into most fields. A table whose first line names
an image has no header: its columns are called 1, 2, … and may be named so in `--columns`.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from convscope.data.listing import SUFFIXES, TABLE_SUFFIXES
from convscope.data.memory import refuse_what_does_not_fit
from convscope.errors import UserError, one_line

DELIMITERS = ",;\t|"

BYTES_IN_MEMORY = 8  # of the columns, for each byte of the file


@dataclass(frozen=True)
class Table:
    """Columns of texts, all of one length.

    shown: the file, printable.
    header: the names of the columns.
    columns: their texts, in the order of the header.
    notes: what is to be said of how it was read.
    """

    shown: str
    header: tuple[str, ...]
    columns: tuple[tuple[str, ...], ...] = field(repr=False)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.columns[0])

    def __getitem__(self, name: str) -> tuple[str, ...]:
        return self.columns[self.header.index(name)]


def is_table(name: str | Path) -> bool:
    """Whether a file's name ends as a table's does."""
    return PurePosixPath(str(name)).suffix.lower() in TABLE_SUFFIXES


def read_table(path: Path, shown: str) -> Table:
    """The table in a file.

    path: a .csv, .tsv or .parquet file.
    shown: what messages call it.

    Raises UserError where it is not a table.
    """
    try:
        size = path.stat().st_size
        refuse_what_does_not_fit(
            size * BYTES_IN_MEMORY, f"{shown}: its rows take", "split the table"
        )
        if path.suffix.lower() == ".parquet":
            from convscope.data.parquet import read_parquet_table

            return read_parquet_table(path, shown)
        return parse_table(path.read_bytes(), path.suffix.lower(), shown)
    except OSError as error:
        raise UserError(f"{shown}: cannot be read ({error.strerror}); make it readable") from None


def parse_table(content: bytes, suffix: str, shown: str) -> Table:
    """The table in a text file's bytes. Raises UserError where it is not a table.

    content: the bytes, UTF-8, UTF-16 with a byte-order mark, or Windows-1252.
    suffix: .tsv has tabs between the fields, .csv whatever its first line shows.
    shown: what messages call it.
    """
    text, notes = decoded(content, shown)
    text, comments = without_comments(text)
    notes += comments
    first = next((line for line in text.splitlines() if line.strip()), "")
    if stated := re.fullmatch(r'"?sep=(.)"?', first.strip("\r\n ")):  # a line for Excel
        delimiter, text = stated[1], text.partition(first)[2].lstrip("\r\n")
    else:
        delimiter = "\t" if suffix == ".tsv" and "\t" in first else delimiter_of(first)
    rows: list[list[str]] = []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=False)
    try:
        for row in reader:
            if row and any(map(str.strip, row)):
                rows.append(row)
                if len(row) != len(rows[0]):
                    raise UserError(
                        f"{shown}: line {reader.line_num} has {len(row)} fields and the first "
                        f"{len(rows[0])}; put fields that hold {delimiter!r} in quotes"
                    )
    except csv.Error as error:
        raise UserError(f"{shown}: line {reader.line_num}: {one_line(error, 80)}") from None
    if not rows:
        raise UserError(f"{shown}: empty; needs a line of column names and a line for each image")
    header = tuple(name.strip() for name in rows[0])
    if any(PurePosixPath(name).suffix.lower() in SUFFIXES for name in header):
        header = ("path", "label") if len(header) == 2 else tuple(numbered(header))
        notes = (*notes, f"no line of column names: the columns are called {', '.join(header)}")
        if header[0] == "path" and not is_image_name(rows[0][0]):
            header = header[::-1]
    else:
        rows = rows[1:]
    if not rows:
        raise UserError(f"{shown}: has column names and no rows; add a line for each image")
    return Table(shown, header, tuple(zip(*rows, strict=True)), notes)


def without_comments(text: str) -> tuple[str, tuple[str, ...]]:
    """The text without lines of comment at its top, and what is to be said of them.

    A first line that begins with # and is cut like the next one holds the names of the columns.
    """
    lines = text.splitlines(keepends=True)
    top = 0
    while top + 1 < len(lines) and (not lines[top].strip() or lines[top].startswith("#")):
        top += 1
    dropped = [line for line in lines[:top] if line.startswith("#")]
    mark = delimiter_of(lines[top]) if dropped else ""
    if not dropped or dropped[-1].count(mark) == lines[top].count(mark):
        return text, ()
    some = "1 line" if len(dropped) == 1 else f"{len(dropped)} lines"
    return "".join(lines[top:]), (f"{some} of comment at the top of the table",)


def numbered(header: Iterable[str]) -> Iterable[str]:
    """Names of columns that have none: 1, 2, …"""
    return (str(number) for number, _ in enumerate(header, 1))


def is_image_name(text: str) -> bool:
    return PurePosixPath(text.strip()).suffix.lower() in SUFFIXES


def delimiter_of(line: str) -> str:
    """What cuts a line into most fields; the first of DELIMITERS where several do."""
    return max(DELIMITERS, key=lambda d: len(next(csv.reader([line], delimiter=d), [])))


def decoded(content: bytes, shown: str) -> tuple[str, tuple[str, ...]]:
    """The text, and what is to be said of its encoding. Raises UserError for what is no text."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        names = ["utf-16"]
    elif b"\0" in content:
        raise UserError(f"{shown}: not a text file; save it as CSV in UTF-8")
    else:
        names = ["utf-8-sig", "cp1252"]
    for name in names:
        try:
            text = content.decode(name)
        except UnicodeError:
            continue
        other = name == "cp1252"
        return text, ("the table is not UTF-8; it was read as Windows-1252",) if other else ()
    raise UserError(f"{shown}: neither UTF-8 nor Windows-1252; save it as CSV in UTF-8")
