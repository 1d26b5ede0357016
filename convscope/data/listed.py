"""Listed image files become content: decoded, with their groups, and with a warning."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from convscope.data.columns import parse_columns
from convscope.data.content import Content, Progress
from convscope.data.decoding import read_images
from convscope.data.folders import Listing, scan
from convscope.data.groups import PARENT, PREFIX, check_groups, groups_by_place, numbered
from convscope.data.sequences import sign_of_sequences
from convscope.data.table_listing import Disk, Look, list_table
from convscope.data.tables import Table, is_table, read_table
from convscope.errors import UserError, one_line

OWN = "the user's own data"  # their licence


@dataclass(frozen=True)
class Options:
    """How own images are read.

    size: side in pixels; None chooses it from the images.
    columns: role=column of a table, joined by commas; None finds them by name.
    group_by: a column, "parent" or "prefix"; None takes a table's column of groups.
    """

    size: int | None = None
    columns: str | None = None
    group_by: str | None = None

    def check(self) -> None:
        """UserError for what is no option."""
        for name in ("columns", "group_by"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, str) or not value.strip()):
                raise UserError(f"{name} = {one_line(value)!r}: must be a text that is not empty")
        parse_columns(self.columns)

    def refuse_for(self, shown: str, what: str) -> None:
        """UserError where columns or groups are asked of data that have none."""
        for name in ("columns", "group_by"):
            if getattr(self, name) is not None:
                raise UserError(
                    f"{name} = {one_line(getattr(self, name))!r}: {shown} is {what}; "
                    f"{name} is for tables" + (" and folders" if name == "group_by" else "")
                )

    def place(self) -> str:
        """ "parent" or "prefix", which is all that folders can be grouped by; else a UserError."""
        if self.group_by in (PARENT, PREFIX):
            return self.group_by
        raise UserError(
            f"group_by = {one_line(self.group_by)!r}: a folder of images has no columns; "
            f"say {PARENT} (the folder) or {PREFIX} (the name up to its number)"
        )

    def keys(self) -> tuple[str, ...]:
        """What the cache's key needs beside the size; empty without options."""
        given = {"columns": self.columns, "group_by": self.group_by}
        return tuple(f"{name}={value}" for name, value in given.items() if value is not None)


@dataclass(frozen=True)
class Listed:
    """Image files, the group of each where there are groups, and what they are, in words."""

    listing: Listing
    groups: tuple[str, ...] | None
    source: str

    def content(self, shown: str, size: int | None, progress: Progress | None) -> Content:
        """Decode them. Raises UserError for bad files and for groups in two splits."""
        listing, groups = self.listing, self.groups
        if groups is not None:
            check_groups(listing, groups, shown)
        splits, notes = read_images(listing, size, progress)
        notes = (*listing.notes, *notes)
        train = [row for row, file in enumerate(listing.files) if file.split == "train"]
        if groups is not None:
            own = numbered([groups[row] for row in train])
            assert len(own) == len(splits["train"][1])
            return Content(splits, listing.classes, self.source, OWN, notes, own)
        if {"val", "test"} - set(splits):  # something is drawn at random
            files = [listing.files[row] for row in train]
            sign = sign_of_sequences(files, splits["train"][0])
            notes = (*notes, sign) if sign else notes
        return Content(splits, listing.classes, self.source, OWN, notes)


def list_folder(path: Path, options: Options) -> Listed:
    """A folder of class folders, or with `columns` the one table in it."""
    if options.columns is not None:
        tables = sorted(entry for entry in path.iterdir() if is_table(entry))
        if len(tables) != 1:
            found = f"{len(tables)} tables" if tables else "no table"
            raise UserError(f"{one_line(path)}: has {found}; give the path of one for columns")
        return list_file(tables[0], options)
    listing = scan(path)
    groups = None
    if options.group_by is not None:
        groups = groups_by_place(listing, options.place())
    return Listed(listing, groups, "a folder of images")


def list_file(path: Path, options: Options) -> Listed:
    """The images that a table names."""
    return list_rows(read_table(path, one_line(path)), path.parent, options)


def list_rows(table: Table, folder: Path, options: Options, look: Look | None = None) -> Listed:
    """The images that a table's rows name, relative to a folder; look: whether they are there;
    None looks on the disk.
    """
    asked, by = parse_columns(options.columns), options.group_by
    by_place = by in (PARENT, PREFIX) and by not in table.header
    if by is not None and not by_place:
        if by not in table.header:
            raise UserError(
                f"group_by = {one_line(by)!r}: {table.shown} has no such column; its columns are "
                f"{', '.join(map(one_line, table.header[:20]))}; or say {PARENT} or {PREFIX}"
            )
        if asked.setdefault("group", by) != by:
            raise UserError(f"group_by = {one_line(by)!r}: columns names another group; say one")
    elif by_place:
        asked["group"] = ""
    listing, groups = list_table(table, asked, folder, look or Disk())
    if by_place and by is not None:
        groups = groups_by_place(listing, by)
    return Listed(listing, groups, "a table of image files")
