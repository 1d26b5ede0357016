"""Rows of a table become a list of image files: what is kept, what is left out and why."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from convscope.data.columns import Columns, choose_columns, usual
from convscope.data.label_doubts import refuse_one_each, several_labels
from convscope.data.layout import split_of
from convscope.data.listing import NUM_NAMED, File, Listing, Skipped, quoted
from convscope.data.table_paths import (
    TRIED,
    Look,
    full_path,
    paths_of,
    plain_path,
    remedy,
    start_elsewhere,
)
from convscope.data.tables import Table
from convscope.data.unused_columns import remedy_for_folds, unused_columns
from convscope.errors import UserError, one_line

NO_LABEL = {"", "nan", "<na>", "null", "?"}  # in lower case

ZERO_ONE = {"0", "1", "0.0", "1.0", " 0", " 1"}

MOST_SPLITS = 9  # different texts in a column of splits


class Row(NamedTuple):
    """A row of a table, as texts without spaces around them; split is train, val or test."""

    path: str
    label: str
    split: str
    group: str


@dataclass
class Told:
    """What was left out: why -> what, for the notes."""

    left_out: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def out(self, why: str, what: str) -> None:
        self.left_out.setdefault(why, []).append(what)

    def sentences(self) -> tuple[str, ...]:
        """The notes, and one on what was left out."""
        parts = [
            f"{len(items):,} {'row' if len(items) == 1 else 'rows'} {why} ({quoted(items)})"
            for why, items in self.left_out.items()
        ]
        return (*self.notes, f"left out {'; '.join(parts)}") if parts else tuple(self.notes)

    def skipped(self) -> tuple[Skipped, ...]:
        """What was left out, for the preview."""
        return tuple(
            Skipped(why, len(items), tuple(one_line(item, 80) for item in items[:NUM_NAMED]))
            for why, items in self.left_out.items()
        )


def list_table(
    table: Table, asked: dict[str, str], folder: Path, look: Look
) -> tuple[Listing, tuple[str, ...] | None]:
    """The image files that a table names, and the group of each where it has groups.

    table: the table.
    asked: role -> column, as of `parse_columns`; other columns are found by name.
    folder: where relative paths start.
    look: tells whether a file is there.

    Raises UserError where nothing is left, a class is alone, or a file is in two splits.
    """
    with _no_garbage_collection():
        return _list_table(table, asked, folder, look)


def _list_table(
    table: Table, asked: dict[str, str], folder: Path, look: Look
) -> tuple[Listing, tuple[str, ...] | None]:
    told = Told(notes=list(table.notes))
    columns = _choose(table, asked, folder, look)
    rows, columns = _rows(table, columns, told)
    val = any(row.split == "val" for row in rows)
    told.notes += unused_columns(table, columns, "split" in asked, val)
    if start := start_elsewhere([row.path for row in rows], folder, look):
        rows = [row._replace(path=row.path.removeprefix(start)) for row in rows]
        told.notes.append(
            f"paths begin with {one_line(start, 60)!r}, where none of the files is: they are read "
            "without it, from the folder of the table"
        )
    signs = {row.label for row in rows if row.label.lower() not in NO_LABEL} == {"-1", "1"}
    rows = [row for row in rows if _labelled(row, told, signs)]
    kept = _distinct(rows, folder, told, table.shown)
    files, stamps = _existing(kept, told, table, columns, look)
    rows = [row for row, _ in files]
    train = [row.label for row in rows if row.split == "train"]
    refuse_one_each(train, columns.label, table.shown)
    classes = _classes(train, table.shown)
    if doubt := several_labels(classes):
        told.notes.append(doubt)
    number = {name: label for label, name in enumerate(classes)}
    unknown = [row.label not in number for row in rows]
    for row in (row for row, strange in zip(rows, unknown, strict=True) if strange):
        told.out(f"of {row.split} images whose class no training image has", row.label)
    listed = [
        File(
            place,
            row.path if _is_short(row.path) else one_line(row.path, 80),
            row.split,
            number[row.label],
            status,
        )
        for (row, (place, status)), strange in zip(files, unknown, strict=True)
        if not strange
    ]
    known = [row for row in rows if row.label in number]
    groups = _groups(known, columns, told)
    read = f"read from the table {one_line(Path(table.shown).name)}: {columns}"
    notes = (read, *told.sentences())
    signature = _signature([(*row, stamp) for row, stamp in zip(rows, stamps, strict=True)])
    found = Listing(folder, tuple(listed), classes, notes, signature, skipped=told.skipped())
    return found, groups


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Many rows make no garbage; looking for it, again and again, takes longer than all else."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def _is_short(text: str) -> bool:
    return len(text) <= 80 and text.isprintable()


def _choose(table: Table, asked: dict[str, str], folder: Path, look: Look) -> Columns:
    """The columns; among usual names of the path, the first whose files are there."""
    try:
        columns = choose_columns(table.header, asked, table.shown)
    except UserError as error:
        told = _ones(table) if not usual(table.header, "label") else ""
        raise UserError(f"{error}{told or _pixels(table)}") from None
    if columns.split is None and "split" not in asked:
        columns = _with_split(table, columns)
    if "path" in columns.found:
        used = {columns.label, columns.split, columns.group}
        for name in usual(table.header, "path"):
            first = (full_path(plain_path(text), folder, {}) for text in table[name][:TRIED])
            if name not in used and any(look(*os.path.split(path)) is not None for path in first):
                columns = replace(columns, path=name)
                break
    if "label" in columns.found:
        _check_one_meaning(table, columns)
    return columns


def _with_split(table: Table, columns: Columns) -> Columns:
    """The columns, and a column whose cells name splits, whatever its own name."""
    used = {columns.path, columns.label, columns.group}
    for name in table.header:
        cells = {text.strip() for text in table[name]} - {""}
        if name not in used and len(cells) <= MOST_SPLITS:
            splits = set(map(_split_word, cells))
            if "" not in splits and "train" in splits and len(splits) > 1:
                return replace(columns, split=name, found=columns.found | {"split"})
    return columns


def _split_word(text: str) -> str:
    """The split that a cell names; "" where it names none."""
    said = split_of(text)
    return said[0] if said is not None and not said[1] else ""


def _ones(table: Table) -> str:
    """What is to be said where columns of zeros and ones stand for the label; "" elsewhere."""
    truth = {name: table[name] for name in table.header if set(table[name]) <= ZERO_ONE}
    if len(truth) < 2:
        return ""
    ones = [sum(float(cell) for cell in row) for row in zip(*truth.values(), strict=True)]
    if set(ones) == {1.0}:
        return (
            f"; {quoted(truth)} hold a single 1 in each row: write the name of that column into a "
            "column label"
        )
    return f"; {quoted(truth)} hold several labels for an image: a classifier needs one for each"


def _pixels(table: Table) -> str:
    """What is to be said of a table with the images themselves in its cells; "" of others."""
    named = [name for name in table.header if re.fullmatch(r"(?i)pixels?[ _]?\d*", name)]
    return (
        f"; pixels in a table ({quoted(named)}) are not read: write them to .npz" if named else ""
    )


def _check_one_meaning(table: Table, columns: Columns) -> None:
    """UserError where two columns look like labels and cut the images differently."""
    ours = table[columns.label]
    used = {columns.path, columns.split, columns.group, columns.label}
    for name in usual(table.header, "label"):
        if name in used:
            continue
        pairs = len(set(zip(ours, table[name], strict=True)))
        if not pairs == len(set(ours)) == len(set(table[name])):
            raise UserError(
                f"{table.shown}: {one_line(columns.label)!r} and {one_line(name)!r} both look "
                f"like the labels and differ; say --columns label={one_line(columns.label)} "
                "or the other one"
            )


def _rows(table: Table, columns: Columns, told: Told) -> tuple[list[Row], Columns]:
    """The rows with a split, and the columns without one of splits that has none."""
    paths = paths_of(table, columns.path)
    labels = _tidy_numbers([text.strip() for text in table[columns.label]])
    groups = [""] * len(table) if columns.group is None else map(str.strip, table[columns.group])
    if columns.split is None:
        splits: Iterable[str] = ["train"] * len(table)
    else:
        given = [text.strip() for text in table[columns.split]]
        known = {text: _split_word(text) for text in set(given)}
        splits = [known[text] for text in given]
        if not any(known.values()):
            if "split" not in columns.found:
                raise UserError(
                    f"{table.shown}: column {one_line(columns.split)!r} holds "
                    f"{quoted(sorted(known))}; a split is train, val or test"
                    f"{remedy_for_folds(columns.split, known)}"
                )
            told.notes.append(
                f"column {one_line(columns.split)!r} names no split (train, val, test) "
                f"and is not used{remedy_for_folds(columns.split, known)}"
            )
            return _rows(table, replace(columns, split=None), told)
        for text, split in zip(given, splits, strict=True):
            if not split:
                told.out("of no known split", text)
        if "train" not in known.values():
            raise UserError(
                f"{table.shown}: column {one_line(columns.split)!r} holds "
                f"{quoted(sorted(known))} and no train"
            )
    made = zip(paths, labels, splits, groups, strict=True)
    return [Row(*cells) for cells in made if cells[2]], columns


def _tidy_numbers(labels: list[str]) -> list[str]:
    """Whole numbers that pandas wrote as 3.0, beside an empty cell, become 3."""
    numbers = {text for text in labels if text.lower() not in NO_LABEL}
    if numbers and all(re.fullmatch(r"-?\d+\.0", text) for text in numbers):
        return [text.removesuffix(".0") for text in labels]
    return labels


def _labelled(row: Row, told: Told, signs: bool) -> bool:
    """Whether a row has a label; signs: -1 is one, the other being 1."""
    if row.label.lower() not in NO_LABEL and (signs or row.label != "-1"):
        return True
    told.out("without a label", row.path)
    return False


def _distinct(rows: list[Row], folder: Path, told: Told, shown: str) -> dict[str, Row]:
    """Full path -> its row, in the table's order; UserError for a file in two splits."""
    kept: dict[str, Row] = {}
    disagree: set[str] = set()
    folders: dict[str, str] = {}
    for row in rows:
        path = full_path(row.path, folder, folders)
        first = kept.setdefault(path, row)
        if first is row:
            continue
        if first.split != row.split:
            raise UserError(
                f"{shown}: {one_line(row.path, 80)!r} is in {first.split} and {row.split}; keep one"
            )
        if first.label != row.label or first.group != row.group:
            disagree.add(path)
            told.out("of files with two labels or groups", row.path)
        else:
            told.out("that repeat another one", row.path)
    for path in sorted(disagree):
        told.out("of files with two labels or groups", kept.pop(path).path)
    if "" in kept:
        told.out("without a path", "line")
        del kept[""]
    return kept


def _existing(
    kept: dict[str, Row], told: Told, table: Table, columns: Columns, look: Look
) -> tuple[list[tuple[Row, tuple[str, str]]], list[str]]:
    """Each row whose file is there with (place, what is wrong with it), and the files' stamps."""
    files: list[tuple[Row, tuple[str, str]]] = []
    stamps: list[str] = []
    for path, row in kept.items():
        folder, _, name = path.rpartition(os.sep)
        # os.path.split knows of roots and other separators, at four times the cost
        seen = look(folder, name) if folder and name else look(*os.path.split(path))
        if seen is None:
            told.out("whose files are missing", row.path)
        else:
            files.append((row, (path, seen[0])))
            stamps.append(seen[1])
    if files:
        return files, stamps
    if not told.left_out.get("whose files are missing"):
        why = "; ".join(told.sentences()) or "no rows"
        raise UserError(f"{table.shown}: no row is left: {why}")
    first = told.left_out["whose files are missing"][0]
    if re.match(r"[a-z0-9+]+://?", first.lower()):
        raise UserError(
            f"{table.shown}: none of its files is there, the first is {one_line(first, 80)!r}, an "
            "address; download the images and name the files"
        )
    raise UserError(
        f"{table.shown}: none of its files is there, the first is {one_line(first, 80)!r}; paths "
        f"are relative to the table and read from column {one_line(columns.path, 60)!r}; "
        f"{remedy(table, columns.path, first)}"
    )


def _classes(labels: Sequence[str], shown: str) -> tuple[str, ...]:
    """The labels of the training images: numbers by value, texts by their bytes."""
    found = set(labels)
    if len(found) < 2:
        raise UserError(
            f"{shown}: the training images have one class alone, {quoted(found)}; "
            "a classifier needs two or more"
            if found
            else f"{shown}: no training image is left; add rows of the split train"
        )
    seen: dict[str, str] = {}
    for name in sorted(found):
        key = unicodedata.normalize("NFC", name).casefold()
        if key in seen:
            raise UserError(
                f"{shown}: labels {one_line(seen[key])!r} and {one_line(name)!r} differ by case or "
                "accent encoding only; write them alike"
            )
        seen[key] = name
    return in_order(found)


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Whole numbers by their values, other names by their bytes."""
    names = list(names)
    if all(re.fullmatch(r"-?\d{1,18}", name) for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names, key=lambda name: name.encode("utf-8", "surrogatepass")))


def _groups(rows: Sequence[Row], columns: Columns, told: Told) -> tuple[str, ...] | None:
    """The group of each row; a row without one is a group of its own."""
    if columns.group is None:
        return None
    alone = sum(not row.group for row in rows)
    if alone == len(rows):
        return None
    if alone:
        told.notes.append(f"{alone:,} images have no {one_line(columns.group)}: each is a group")
    if columns.others:
        told.notes.append(
            f"groups are read from {one_line(columns.group)!r}; {quoted(columns.others)} "
            "could be groups, too: choose by --group-by"
        )
    return tuple(row.group or f"\0{place}" for place, row in enumerate(rows))


def _signature(rows: Iterable[tuple[str, ...]]) -> str:
    """A hash that changes when a row or a file's size or time of modification does."""
    content = "\n".join(map(repr, rows))
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()
