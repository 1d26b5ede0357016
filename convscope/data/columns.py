"""Which columns of a table hold the paths, the labels, the splits and the groups."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass

from convscope.data.listing import quoted
from convscope.errors import UserError, one_line

USUAL = {  # role -> names, in lower case with _ between words, the most telling first
    "path": (
        *("path", "file_path", "filepath", "filepaths", "image_path", "img_path", "image_file"),
        *("file_name", "filename", "image_name", "img_name", "file", "image", "img", "image_id"),
        *("image_filename", "filenames", "files", "paths", "images", "name", "id"),
    ),
    "label": (
        *("label", "labels", "class", "classes", "class_name", "classname", "label_name"),
        *("category", "category_name", "target", "y", "species", "breed", "diagnosis", "dx"),
    ),
    "split": ("split", "splits", "set", "subset", "partition", "data_set", "usage"),
    "group": (
        *("group", "groups", "group_id", "patient", "patient_id", "patientid", "subject"),
        *("subject_id", "participant", "participant_id", "case_id", "person_id", "lesion_id"),
        *("video", "video_id", "clip", "clip_id", "sequence", "sequence_id", "seq_id", "scene"),
        *("scene_id", "session", "session_id", "camera", "camera_id", "site", "site_id"),
        *("location", "location_id", "hospital", "slide", "slide_id", "study_id", "track_id"),
    ),
}

FIELD = re.compile(r"\{([^{}]+)\}")  # of a path that is put together: images/{id}.jpg


@dataclass(frozen=True)
class Columns:
    """The columns in use, by their names in the table.

    path: the path's column, or a path with columns in braces, as images/{id}.jpg.
    label: the label's column.
    split: the split's column; None where the table has none.
    group: the group's column; None where the table has none.
    others: further columns that look like groups.
    found: the roles whose columns were found by name, not stated.
    """

    path: str
    label: str
    split: str | None
    group: str | None
    others: tuple[str, ...] = ()
    found: frozenset[str] = frozenset()

    def __str__(self) -> str:
        roles = {"path": self.path, "label": self.label, "split": self.split, "group": self.group}
        return ", ".join(f"{role} = {one_line(name, 60)}" for role, name in roles.items() if name)


def parse_columns(text: str | None) -> dict[str, str]:
    """Role -> column, from "path=file,label=class"; an empty column says that there is none.

    Raises UserError for another form.
    """
    if text is None:
        return {}
    shown = f"columns = {one_line(text)!r}"
    example = "write path=COLUMN,label=COLUMN and where there are such split=COLUMN,group=COLUMN"
    chosen: dict[str, str] = {}
    for part in next(csv.reader([text], skipinitialspace=True), []):
        role, equals, column = (piece.strip() for piece in part.partition("="))
        if not equals or role not in USUAL:
            raise UserError(f"{shown}: {one_line(part, 60)!r} is not ROLE=COLUMN; {example}")
        if role in chosen:
            raise UserError(f"{shown}: names {role} twice; {example}")
        if not column and role in ("path", "label"):
            raise UserError(f"{shown}: {role} is empty; {example}")
        chosen[role] = column
    if not chosen:
        raise UserError(f"{shown}: names no column; {example}")
    return chosen


def choose_columns(header: Sequence[str], asked: dict[str, str], shown: str) -> Columns:
    """The columns that were asked for, the others by their usual names.

    header: the names of the table's columns.
    asked: role -> column, as of `parse_columns`.
    shown: the table, printable.

    Raises UserError where a column is missing.
    """
    _check_asked(header, asked, shown)
    found: dict[str, str] = {}
    taken = {column for column in asked.values() if column}
    for role in USUAL:
        if role not in asked:
            candidates = [name for name in usual(header, role) if name not in taken]
            if candidates:
                found[role] = candidates[0]
                taken.add(candidates[0])
                _check_alone(header, candidates[0], shown)
    chosen = {**found, **asked}
    for role in ("path", "label"):
        if role not in chosen:
            raise UserError(
                f"{shown}: no column has a usual name of a {role} "
                f"({', '.join(USUAL[role][:4])}, …); its columns are {quoted(header)}; "
                f"say --columns {role}=COLUMN"
            )
    others = tuple(name for name in usual(header, "group") if name not in taken)
    group = chosen.get("group") or None
    return Columns(
        chosen["path"],
        chosen["label"],
        chosen.get("split") or None,
        group,
        others if group else (),
        frozenset(found),
    )


def usual(header: Sequence[str], role: str) -> list[str]:
    """The columns whose names are usual for a role, the most telling first."""
    by_name: dict[str, str] = {}
    for name in header:
        by_name.setdefault(plain(name), name)
    keys = dict.fromkeys(map(plain, USUAL[role]))
    return [by_name[key] for key in keys if key in by_name]


def plain(name: str) -> str:
    """A column's name without case and signs: patientId, Patient ID and patient_id are one."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _check_alone(header: Sequence[str], column: str, shown: str) -> None:
    """UserError where two columns have the name by which one was found."""
    same = [name for name in header if plain(name) == plain(column)]
    if len(same) > 1:
        raise UserError(f"{shown}: has two columns of one name, {quoted(same)}; rename one")


def _check_asked(header: Sequence[str], asked: dict[str, str], shown: str) -> None:
    """UserError for a column that was asked for and is missing or there twice."""
    for role, column in asked.items():
        fields = FIELD.findall(column) if role == "path" and column not in header else []
        for name in fields or ([column] if column else []):
            if name not in header:
                raise UserError(
                    f"{shown}: has no column {one_line(name, 60)!r} for the {role}; "
                    f"its columns are {quoted(header)}"
                )
            if list(header).count(name) > 1:
                raise UserError(f"{shown}: has the column {one_line(name, 60)!r} twice; rename one")
