"""A folder of images or a table inside an archive: .zip, .tar, and .tar compressed.

The members are listed and checked first. What is needed is unpacked to a workspace: the images of
the folder, or those that the table names, and nothing else. An archive is refused as a whole where
a member leads out of it, is a link or no regular file, is encrypted, or where it unpacks to far
more than it takes.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

from convscope.data.content import Content, Progress
from convscope.data.folders import survey
from convscope.data.layout import SPLITS
from convscope.data.listed import Listed, Options, list_rows, list_survey
from convscope.data.listing import (
    ARCHIVE_SUFFIXES,
    HIDDEN,
    SUFFIXES,
    TABLE_SUFFIXES,
    Skips,
    quoted,
    why_loose,
)
from convscope.data.members import Archive, TarArchive, ZipArchive
from convscope.data.tables import parse_table, read_table
from convscope.errors import UserError, one_line


def is_archive(path: Path) -> bool:
    """Whether a file's name ends as an archive's does."""
    return path.name.lower().endswith(ARCHIVE_SUFFIXES)


def inside_archive(path: Path) -> tuple[Path, str] | None:
    """The archive and the path in it ("" for all of it), where a path leads into an archive."""
    for place in (path, *path.parents):
        if is_archive(place) and os.path.isfile(place):  # noqa: PTH113
            inner = path.relative_to(place).as_posix()
            return place, "" if inner == "." else inner
    return None


def list_archive(
    path: Path, inner: str, workspace: Path, options: Options, progress: Progress | None
) -> Content:
    """The content of an archive.

    path: the archive.
    inner: a folder or a table in it; "" finds what is there.
    workspace: a folder that is the caller's to delete.
    options: how the images are read.
    progress: called with what is done, how much of it, and of how much.

    Raises UserError for an archive that is damaged or not safe, and what a folder raises.
    """
    shown = one_line(path)
    folder = workspace / "unpacked"
    folder.mkdir()
    with _named(folder, shown), opened_archive(path) as archive:
        root, table = _found(archive, inner, options, shown)
        if table:
            listed, notes = _from_table(archive, table, folder, options, progress)
        else:
            listed, notes = _from_folder(archive, root, folder, options, progress)
        listing = replace(listed.listing, root=path, notes=(*listed.listing.notes, *notes))
        source = listed.source.replace("a ", "an archive with a ", 1)
        return Listed(listing, listed.groups, source).content(shown, options, progress)


@contextlib.contextmanager
def opened_archive(path: Path) -> Iterator[Archive]:
    """An archive, its members listed and checked; UserError for one that is damaged or not safe."""
    archive = ZipArchive(path) if path.name.lower().endswith(".zip") else TarArchive(path)
    try:
        yield archive
    finally:
        archive.close()


@contextlib.contextmanager
def _named(folder: Path, shown: str) -> Iterator[None]:
    """Messages on the folder to which an archive is unpacked name the archive."""
    try:
        yield
    except UserError as error:
        raise UserError(str(error).replace(one_line(folder), shown)) from None


def _found(archive: Archive, inner: str, options: Options, shown: str) -> tuple[str, str]:
    """The folder in the archive that holds the data, and the table, or ""."""
    names = archive.sizes
    inner = posixpath.normpath(inner) if inner else ""
    if inner in names:
        if PurePosixPath(inner).suffix.lower() in TABLE_SUFFIXES:
            return posixpath.dirname(inner), inner
        raise UserError(f"{shown}: {one_line(inner)!r} is no table and no folder; name one of both")
    if inner and inner not in archive.folders:
        tops = sorted({name.partition("/")[0] for name in names})
        raise UserError(f"{shown}: has no {one_line(inner)!r}; it holds {quoted(tops)}")
    root = inner or _top(archive)
    tables = [
        name
        for name in _files_of(archive, root)
        if PurePosixPath(name).suffix.lower() in TABLE_SUFFIXES
    ]
    if options.columns is not None and len(tables) != 1:
        raise UserError(
            f"{shown}: has {len(tables)} tables ({quoted(tables) or 'none'}); "
            f"write {shown}/TABLE.csv for columns"
        )
    fitting = [name for name in tables if options.columns or _names_members(archive, name)]
    if len(fitting) > 1:
        raise UserError(
            f"{shown}: has {len(fitting)} tables of images ({quoted(fitting)}); "
            f"write {shown}/{one_line(fitting[0], 80)} for one"
        )
    return root, fitting[0] if fitting else ""


def _top(archive: Archive) -> str:
    """The folder that holds the data: below folders that hold one folder and nothing else."""
    root = ""
    while True:
        inside = [name for name in archive.folders if posixpath.dirname(name) == root and name]
        inside = [name for name in inside if not is_hidden(posixpath.basename(name))]
        known = (*SUFFIXES, *TABLE_SUFFIXES)
        files = [
            name for name in _files_of(archive, root) if PurePosixPath(name).suffix.lower() in known
        ]
        if len(inside) != 1 or files or posixpath.basename(inside[0]).lower() in SPLITS:
            return root
        below = [name for name in archive.folders if posixpath.dirname(name) == inside[0]]
        tables = [
            name
            for name in _files_of(archive, inside[0])
            if PurePosixPath(name).suffix.lower() in TABLE_SUFFIXES
        ]
        if not below and not tables:
            return root
        root = inside[0]


def _files_of(archive: Archive, folder: str) -> list[str]:
    """The members that lie directly in a folder and are not hidden."""
    return [
        name
        for name in archive.sizes
        if posixpath.dirname(name) == folder and not is_hidden(posixpath.basename(name))
    ]


def is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _names_members(archive: Archive, name: str) -> bool:
    """Whether a cell of a table's first rows is the path of a member."""
    if PurePosixPath(name).suffix.lower() == ".parquet":
        return True
    try:
        table = parse_table(archive.read(name), PurePosixPath(name).suffix.lower(), name)
    except UserError:
        return False
    cells = (cell for column in table.columns for cell in column[:50])
    paths = (posixpath.normpath(posixpath.join(posixpath.dirname(name), c)) for c in cells)
    return any(path in archive.sizes and path != name for path in paths)


def _from_table(
    archive: Archive, name: str, folder: Path, options: Options, progress: Progress | None
) -> tuple[Listed, tuple[str, ...]]:
    """The images that a table in the archive names, unpacked."""
    archive.unpack({name: folder / name}, None)
    table = read_table(folder / name, f"{one_line(folder)}/{one_line(name)}")

    def look(place: str, name: str) -> tuple[str, str] | None:
        member = _member_of(Path(place, name), folder)
        if member not in archive.sizes:
            return None
        size = archive.sizes[member]
        return ("" if size else "empty file"), str(size)

    place = folder / posixpath.dirname(name)
    listed = list_rows(table, place, options, look)
    wanted = {_member_of(file.place, folder): file.path for file in listed.listing.files}
    archive.unpack(wanted, progress)
    return listed, ()


def _member_of(path: str | Path, folder: Path) -> str:
    """The member that a path below the folder stands for; "" for a path elsewhere."""
    place, start = os.fspath(path), os.fspath(folder) + os.sep
    return place[len(start) :].replace(os.sep, "/") if place.startswith(start) else ""


def _from_folder(
    archive: Archive, root: str, folder: Path, options: Options, progress: Progress | None
) -> tuple[Listed, tuple[str, ...]]:
    """The images below a folder of the archive, unpacked; folders without images stay empty."""
    inside = f"{root}/" if root else ""
    wanted: dict[str, Path] = {}
    skips = Skips(os.fspath(folder))
    for name in archive.sizes:
        if not name.startswith(inside):
            continue
        relative = PurePosixPath(name[len(inside) :])
        if any(map(is_hidden, relative.parts)):
            skips.add(os.fspath(folder / relative), HIDDEN)
        elif relative.suffix.lower() in SUFFIXES:
            wanted[name] = folder / relative
        else:
            skips.add(os.fspath(folder / relative), why_loose(name))
    for name in archive.folders:
        relative = PurePosixPath(name[len(inside) :])
        if name.startswith(inside) and not any(map(is_hidden, relative.parts)):
            (folder / relative).mkdir(parents=True, exist_ok=True)
    archive.unpack(wanted, progress)
    try:
        listing = survey(folder, options.nesting).listing()
    except UserError as error:
        said = str(error).replace("is empty: no class", "holds no images and no class")
        raise UserError(f"{said}{_also_there(archive, root)}") from None
    skipped = skips.summary()
    listing = replace(listing, skipped=(*listing.skipped, *skipped))
    return list_survey(listing, options), tuple(f"of the archive, {one}" for one in skipped)


def _also_there(archive: Archive, root: str) -> str:
    """What may be meant in an archive without two class folders, as the end of a remedy."""
    inside = f"{root}/" if root else ""
    images = [n for n in archive.sizes if PurePosixPath(n).suffix.lower() in SUFFIXES]
    if len({n[len(inside) :].partition("/")[0] for n in images if n.startswith(inside)}) > 1:
        return ""
    found = [name for name in archive.sizes if not is_hidden(posixpath.basename(name))]
    packed = [name for name in found if name.lower().endswith((*ARCHIVE_SUFFIXES, ".npz"))]
    tables = [name for name in found if PurePosixPath(name).suffix.lower() in TABLE_SUFFIXES]
    if packed:
        return f", or unpack {quoted(packed[:1])} and give its path"
    if not tables:
        return ""
    place = f"{one_line(archive.shown)}/{one_line(tables[0], 80)}"
    return (
        f", or give the table {place}, with --columns 'path=FOLDER/{{COLUMN}}.jpg' where it holds "
        "ids alone"
    )
