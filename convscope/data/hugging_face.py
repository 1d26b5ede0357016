"""Image data sets as the library `datasets` and the Hugging Face Hub keep them.

That is: parquet or arrow files with a column of images and one of labels; what the columns are is
in the files' own features. A folder may be a clone of a repository of the Hub, or what
`save_to_disk` wrote. The splits are read from the names of files and folders.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convscope.data.columns import parse_columns, usual
from convscope.data.content import Content, Progress
from convscope.data.layout import SPLITS
from convscope.data.listed import Listed, Options
from convscope.data.listing import File, Listing, quoted
from convscope.data.parquet import features_of, holds_images, rows_of, schema_of
from convscope.data.table_listing import NO_LABEL, Told, in_order
from convscope.errors import UserError, one_line

SUFFIXES = (".parquet", ".arrow")

CACHED = "cache-"  # begins the files in which `datasets` keeps results beside the rows


@dataclass(frozen=True)
class Embedded:
    """Files with images in them.

    root: the folder or file that was given.
    files: split -> files, in order of their names.
    image: the column of images.
    label: the column of labels.
    group: the column of groups, or None.
    names: the classes' names where the features tell them.
    skipped: files of no known split.
    signature: changes when a file's name, size or time of modification does.
    """

    root: Path
    files: dict[str, list[Path]]
    image: str
    label: str
    group: str | None
    names: tuple[str, ...]
    skipped: tuple[str, ...]
    signature: str


def find_embedded(path: Path, options: Options) -> Embedded | None:
    """The images in a parquet or arrow file, or in a folder of such; None where there are none.

    Raises UserError where it is not clear which columns or files are meant.
    """
    found = [path] if path.is_file() else files_below(path)
    files = [file for file in found if file.suffix.lower() in SUFFIXES]
    files = [file for file in files if not file.name.startswith(CACHED)] or files
    if not files:
        return None
    schema = schema_of(files[0])
    images = holds_images(schema)
    if not images:
        return None
    shown = one_line(path)
    features = features_of(schema)
    asked = parse_columns(options.columns)
    image = _image_column(images, features, asked, shown)
    label = _label_column(schema.names, features, asked, image, shown)
    group = options.group_by or asked.get("group", next(iter(usual(schema.names, "group")), None))
    for role, name in (("path", image), ("label", label), ("group", group)):
        if name and name not in schema.names:
            raise UserError(
                f"{shown}: has no column {one_line(name, 60)!r} for the {role}; "
                f"its columns are {quoted(schema.names)}"
            )
    by_split, skipped = _splits(path, files)
    names = features.get(label, {}).get("names")
    classes = tuple(map(str, names)) if isinstance(names, list) else ()
    used = [file for files in by_split.values() for file in files]
    return Embedded(
        path, by_split, image, label, group or None, classes, skipped, _signature(path, used)
    )


def files_below(folder: Path) -> list[Path]:
    """The parquet and arrow files of a folder that is a data set of such; [] for other folders."""
    tops = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    folders = [entry for entry in tops if entry.is_dir()]
    places = [entry for entry in folders if _is_place(entry.name)]
    here = [entry for entry in tops if entry.suffix.lower() in SUFFIXES and entry not in folders]
    if here and len(places) == len(folders):  # others may be class folders, with a table beside
        return here
    return sorted(
        file for place in places for file in place.iterdir() if file.suffix.lower() in SUFFIXES
    )


def _is_place(name: str) -> bool:
    """Whether a folder's name is one in which such files are kept."""
    return name.lower() in {"data", "default", "plain_text", *SPLITS}


def _image_column(
    images: Sequence[str], features: dict[str, Any], asked: dict[str, str], shown: str
) -> str:
    if "path" in asked:
        return asked["path"]
    told = [name for name in images if features.get(name, {}).get("_type") == "Image"] or images
    named = [*usual(told, "path"), *told]
    if len(told) > 1 and not usual(told, "path"):
        raise UserError(f"{shown}: images are in {quoted(told)}; say --columns path={told[0]}")
    return named[0]


def _label_column(
    names: Sequence[str], features: dict[str, Any], asked: dict[str, str], image: str, shown: str
) -> str:
    if "label" in asked:
        return asked["label"]
    told = [name for name in names if features.get(name, {}).get("_type") == "ClassLabel"]
    named = usual(told or [name for name in names if name != image], "label") or told
    if not named:
        raise UserError(
            f"{shown}: no column has a usual name of a label; its columns are {quoted(names)}; "
            "say --columns label=COLUMN"
        )
    if len(named) > 1 and named[0].lower() != "label":
        raise UserError(f"{shown}: labels are in {quoted(named)}; say --columns label={named[0]}")
    return named[0]


def _splits(root: Path, files: Iterable[Path]) -> tuple[dict[str, list[Path]], tuple[str, ...]]:
    """Split -> its files, and those of no known split; all are train where no name tells."""
    found: dict[str, list[Path]] = {}
    unknown: list[Path] = []
    places: set[str] = set()
    for file in files:
        relative = file.relative_to(root) if file != root else Path(file.name)
        words = [*re.split(r"[-_.]", relative.stem.lower()), *map(str.lower, relative.parts[:-1])]
        split = next((SPLITS[word] for word in words if word in SPLITS), "")
        if split:
            found.setdefault(split, []).append(file)
            places.add("/".join(p for p in relative.parts[:-1] if p.lower() not in SPLITS))
        else:
            unknown.append(file)
    if not found:
        return {"train": unknown}, ()
    if len(places) > 1:
        raise UserError(
            f"{one_line(root)}: has several sets of files, in {quoted(sorted(places))}; "
            "give the path of one of these folders"
        )
    if "train" not in found:
        raise UserError(
            f"{one_line(root)}: has files of {quoted(found)} and none of train; add those"
        )
    return found, tuple(os.path.relpath(file, root) for file in unknown)


def _signature(root: Path, files: Iterable[Path]) -> str:
    stamps = [(file, file.stat()) for file in files]
    rows = [
        f"{os.path.relpath(file, root)} {info.st_size} {info.st_mtime_ns}" for file, info in stamps
    ]
    return hashlib.sha256("\n".join(rows).encode("utf-8", "surrogateescape")).hexdigest()


@dataclass
class _Rows:
    """The rows that are kept, as they are read."""

    files: list[tuple[Path, str, str, str]] = field(default_factory=list)  # path, shown, split, …
    groups: list[str] = field(default_factory=list)


def read_embedded(
    found: Embedded, workspace: Path, options: Options, progress: Progress | None
) -> Content:
    """The content: images are written to files of the workspace, and decoded as others are.

    Raises UserError where a class is alone, and for bad images.
    """
    told, rows, shown = Told(), _Rows(), one_line(found.root)
    options.refuse_classes(shown, "parquet or arrow files")
    place = workspace / "rows"
    columns = [found.image, found.label, *([found.group] if found.group else [])]
    for split, files in found.files.items():
        (place / split).mkdir(parents=True)
        row = 0
        for file in files:
            for image, label, *group in rows_of(file, columns):
                row += 1
                _keep(found, place, split, row, (image, label, *group), rows, told)
            if progress is not None:
                progress(f"reading {split}", row, None)
    labels = {label for _, _, split, label in rows.files if split == "train"}
    if found.names:
        classes = tuple(name for name in dict.fromkeys(found.names) if name in labels)
    else:
        classes = in_order(labels)
    if len(classes) < 2:
        raise UserError(
            f"{shown}: the training images have {len(classes)} classes by column "
            f"{one_line(found.label)!r}; a classifier needs two or more"
            + "".join(f"; {said}" for said in told.sentences())
        )
    number = {name: label for label, name in enumerate(classes)}
    keep = [label in number for _, _, _, label in rows.files]
    for (_, name, _, label), kept in zip(rows.files, keep, strict=True):
        if not kept:
            told.out("whose class no training image has", f"{name}: {label}")
    listed = [
        File(str(path), name, split, number[label], "" if path.stat().st_size else "empty file")
        for (path, name, split, label), kept in zip(rows.files, keep, strict=True)
        if kept
    ]
    if found.names and (absent := [name for name in found.names if name not in number]):
        told.notes.append(f"no training image is of {quoted(absent)}: left out as a class")
    if found.skipped:
        told.notes.append(f"skipped files of no known split: {quoted(found.skipped)}")
    groups = None
    if found.group is not None:
        groups = tuple(g for g, kept in zip(rows.groups, keep, strict=True) if kept)
    read = f"read from columns: image = {one_line(found.image)}, label = {one_line(found.label)}"
    read += f", group = {one_line(found.group)}" if found.group else ""
    notes = (read, *told.sentences())
    listing = Listing(found.root, tuple(listed), classes, notes, "", skipped=told.skipped())
    return Listed(listing, groups, "images in parquet or arrow files").content(
        shown, options, progress
    )


def _keep(
    found: Embedded,
    place: Path,
    split: str,
    row: int,
    cells: tuple[Any, ...],
    rows: _Rows,
    told: Told,
) -> None:
    """Write one row's image to a file; a row without a label or an image is told."""
    image, label, *group = cells
    name = f"{split} row {row:,}"
    text = label_text(label, found.names)
    content = image.get("bytes") if isinstance(image, dict) else image
    if text is None:
        told.out("without a known label", name)
    elif content is None:
        told.out("without an image", name)
    else:
        path = place / split / f"{row:08d}"
        path.write_bytes(content)
        rows.files.append((path, name, split, text))
        if group:
            rows.groups.append(str(group[0]) if group[0] not in (None, "") else f"\0{name}")


def label_text(label: Any, names: Sequence[str]) -> str | None:
    """The class of a label; None where it is not known, which is written as -1 or left empty."""
    if label is None or isinstance(label, list | dict):
        return None
    if names and isinstance(label, int):
        return names[label] if 0 <= label < len(names) else None
    text = str(int(label)) if isinstance(label, float) and label.is_integer() else str(label)
    return None if text == "-1" or text.strip().lower() in NO_LABEL else text
