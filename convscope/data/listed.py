"""Listed image files become content: decoded, with their groups, and with a warning."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import cast, get_args

from convscope.data.columns import parse_columns
from convscope.data.content import OWN, Content, Progress
from convscope.data.decoding import READING, read_images
from convscope.data.folders import Classes
from convscope.data.groups import PARENT, PREFIX, check_groups, groups_by_place, numbered
from convscope.data.listing import Listing
from convscope.data.pixels import Resize
from convscope.data.splitting import check_test
from convscope.data.table_listing import list_table
from convscope.data.table_paths import Disk, Look
from convscope.data.tables import Table, is_table, read_table
from convscope.errors import UserError, one_line
from convscope.words import listed


@dataclass(frozen=True)
class Options:
    """How own images are read.

    size: side in pixels; None chooses it from the images.
    columns: role=column of a table, joined by commas; None finds them by name.
    group_by: a column, "parent" or "prefix"; None takes a table's column of groups.
    resize: what becomes of images that are not square: crop, squash or pad.
    classes: which folders are classes: folders or nested.
    """

    size: int | None = None
    columns: str | None = None
    group_by: str | None = None
    resize: str = "crop"
    classes: str = "folders"

    @classmethod
    def of(cls, asked: object) -> Options:
        """The options of what has them as fields: a recipe, a study that is asked for."""
        return cls(**{field.name: getattr(asked, field.name) for field in fields(cls)})

    def check(self) -> None:
        """UserError for what is no option."""
        for name in ("columns", "group_by"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, str) or not value.strip()):
                raise UserError(f"{name} = {one_line(value)!r}: must be a text that is not empty")
        parse_columns(self.columns)
        for name, known in (("resize", get_args(Resize)), ("classes", get_args(Classes))):
            given = getattr(self, name)
            if given not in known:
                raise UserError(f"{name} = {one_line(given)!r}: must be {listed(known, 'or')}")
        size = self.size
        whole = isinstance(size, int) and not isinstance(size, bool)
        if size is not None and (not whole or not 1 <= size <= 4096):
            raise UserError(
                f"size = {one_line(size)}: must be a whole number from 1 to 4,096 pixels"
            )

    @property
    def resizing(self) -> Resize:
        """`resize`, which `check` knows to be one of its values."""
        return cast(Resize, self.resize)

    @property
    def nesting(self) -> Classes:
        """`classes`, which `check` knows to be one of its values."""
        return cast(Classes, self.classes)

    def refuse_for(self, shown: str, what: str) -> None:
        """UserError where an option is given that these data have no use for."""
        self.refuse_classes(shown, what)
        if self.resize != "crop":
            raise UserError(
                f"resize = {self.resize}: {shown} has no use for it, being {what}; "
                "resize is for image files"
            )
        for name in ("columns", "group_by"):
            if getattr(self, name) is not None:
                raise UserError(
                    f"{name} = {one_line(getattr(self, name))!r}: {shown} is {what}; "
                    f"{name} is for tables" + (" and folders" if name == "group_by" else "")
                )

    def refuse_classes(self, shown: str, what: str) -> None:
        """UserError where nested classes are asked of data that are no folders of images."""
        if self.classes != "folders":
            raise UserError(
                f"classes = {self.classes}: {shown} has no use for it, being {what}; "
                "classes is for folders of images"
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
        """What the cache's key needs beside the size: how files are read, and the options."""
        given = {"columns": self.columns, "group_by": self.group_by}
        options = (f"{name}={value}" for name, value in given.items() if value is not None)
        return (str(READING), self.resize, self.classes, *options)


@dataclass(frozen=True)
class Listed:
    """Image files, the group of each where there are groups, and what they are, in words."""

    listing: Listing
    groups: tuple[str, ...] | None
    source: str

    def content(self, shown: str, options: Options, progress: Progress | None) -> Content:
        """Decode them. Raises UserError for bad files and for groups in two splits."""
        listing, groups = self.listing, self.groups
        listing = replace(listing, rule=listing.rule or self.source)
        told = Path(shown)  # of what was given messages speak
        if groups is not None:
            check_groups(listing, groups, shown)
        found = read_images(replace(listing, root=told), options.size, progress, options.resizing)
        splits, notes, own = found.splits, (*listing.notes, *found.notes), None
        train = [row for row, file in enumerate(listing.files) if file.split == "train"]
        if groups is not None:
            own = numbered([groups[row] for row in train])
            assert len(own) == len(splits["train"][1])
        elif {"val", "test"} - set(splits):  # something is drawn at random
            files = [listing.files[row] for row in train]
            if "test" not in splits:  # before torch is needed
                with _with_what_was_left_out(listing):
                    check_test(splits["train"][1], listing.classes, shown)
            from convscope.data.sequences import sign_of_sequences

            sign = sign_of_sequences(files, splits["train"][0])
            notes = (*notes, sign) if sign else notes
        return Content(
            splits, listing.classes, self.source, OWN, notes, own, found.preview, found.scales
        )


@contextlib.contextmanager
def _with_what_was_left_out(listing: Listing) -> Iterator[None]:
    """A refusal for too few images says, too, which were left out of a table."""
    try:
        yield
    except UserError as error:
        out = [note for note in listing.notes if note.startswith("left out")]
        raise UserError("; ".join([str(error), *out])) from None


def table_of(path: Path, options: Options) -> Listed:
    """The images that the one table of a folder names, for `columns`."""
    tables = sorted(entry for entry in path.iterdir() if is_table(entry))
    if len(tables) != 1:
        found = f"{len(tables)} tables" if tables else "no table"
        raise UserError(f"{one_line(path)}: has {found}; give the path of one for columns")
    return list_file(tables[0], options)


def list_survey(listing: Listing, options: Options) -> Listed:
    """The images of class folders, grouped by their places where that is asked."""
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
    options.refuse_classes(table.shown, "a table")
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
