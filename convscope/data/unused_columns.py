"""Columns that are not used and may be meant: truth values such as is_train, folds, boxes.

convscope holds one validation set out and does not cross-validate. The folds of a table can be its
groups, so that whole folds are held out; that is for the user to say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from convscope.data.columns import Columns, plain
from convscope.data.listing import quoted
from convscope.data.tables import Table
from convscope.errors import one_line

TRUTH = {"0", "1", "0.0", "1.0", "True", "False", "true", "false", "TRUE", "FALSE", ""}

OF_TRUTH = re.compile(  # is_train, in_test, valid
    r"(?i)((is|in|for)[ _-]?)?(train|training|val|valid|validation|test|testing|holdout)"
    r"([ _-]?(set|split|data))?"
)

BOXES = re.compile(r"(roi|b?box|bb|rect)?(x|y)(min|max|1|2)|(bn?d?|bounding)?box(es)?")

FOLDS = re.compile(  # names of such columns, in plain letters
    r"(k|cv|xval|crossval(idation)?|test|val(idation)?|outer|inner|strat(ified)?|group|my|data)*"
    r"folds?(id|ids|idx|index|ind|no|nr|num|number)?\d*"
    r"|cv(id|set|group|split|part|partition)?\d*|xval\d*|crossval(idation)?(set|split|group)?\d*"
)

FOLD = re.compile(r"(?i)((k-?)?folds?|cv|k)?[\s_-]*\d+(\.0)?|[a-z]")

NO_FOLD = {"", "-1", "-1.0", "nan", "NaN"}

MOST = 50  # folds


def unused_columns(table: Table, columns: Columns, asked: bool, val: bool) -> Iterator[str]:
    """What is to be said of columns that may be meant and are not in use.

    table: the table.
    columns: those in use.
    asked: whether the user said which column holds the splits, or that none does.
    val: whether the table has validation images of its own.
    """
    if not asked and columns.split is None and (name := _of_truth(table)):
        yield (
            f"column {one_line(name, 60)!r} is not used: a column of splits holds train, val and "
            "test"
        )
    boxes = [name for name in table.header if BOXES.fullmatch(plain(name))]
    if len(boxes) > 3 or "box" in "".join(map(plain, boxes)):
        yield f"boxes are not used ({quoted(boxes)}): each image is read whole"
    used = {columns.path, columns.label, columns.split, columns.group}
    for name in table.header:
        if name in used or not FOLDS.fullmatch(plain(name)):
            continue
        if (num := folds_in(table[name])) and not val:
            yield _of_folds(one_line(name, 60), num, columns)
            return


def folds_in(cells: Iterable[str]) -> int:
    """How many folds the cells number; 0 where they number none."""
    found = {cell.strip() for cell in cells} - NO_FOLD
    numbered = 2 <= len(found) <= MOST and all(FOLD.fullmatch(cell) for cell in found)
    return len(found) if numbered else 0


def remedy_for_folds(name: str, cells: Iterable[str]) -> str:
    """What else is to be said where cells of folds stand for splits; "" of others."""
    if folds_in(cells) < 3:  # two may be truth values
        return ""
    return f"; if these are folds, --group-by {one_line(name, 60)} holds whole folds out"


def _of_truth(table: Table) -> str:
    """The first column of truth values such as is_train; "" where there is none."""
    names = [name for name in table.header if OF_TRUTH.fullmatch(name)]
    return next((name for name in names if set(table[name]) <= TRUTH), "")


def _of_folds(name: str, num: int, columns: Columns) -> str:
    start = f"column {name!r} ({num} folds) is not used"
    if columns.split is not None:
        return f"{start}: to validate on a fold, write val for it into {columns.split!r}"
    if columns.group is not None:
        return f"{start}: groups are held out, across its folds"
    return (
        f"{start}: images are held out across its folds; --group-by {name} holds whole folds out, "
        "or write a column split with train, val and test"
    )
