"""What a name or path means: which data set, under which key in the cache, and how it is made."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

from convscope.data import shapes
from convscope.data.archives import inside_archive, list_archive
from convscope.data.cache import expanded
from convscope.data.content import OWN, Content, Maker, Progress
from convscope.data.folders import survey
from convscope.data.hub import PREFIX, parse_hub_name, read_hub
from convscope.data.hugging_face import SUFFIXES as EMBEDDED
from convscope.data.hugging_face import Embedded, find_embedded, read_embedded
from convscope.data.known import KNOWN, get
from convscope.data.listed import Listed, Options, list_file, list_survey, table_of
from convscope.data.listing import Skipped
from convscope.data.npz import read_npz
from convscope.data.tables import is_table
from convscope.errors import UserError, did_you_mean, one_line

# known by name, and taken from a file of the user's: name -> the form of its images
BY_FILE = {"cifar100": "N×32×32×3", "svhn": "N×32×32×3"}


@dataclass(frozen=True)
class Request:
    """What the user asked for.

    key: the folder's name in the cache; it changes when the content does.
    name: what the data set is called in reports.
    make: makes the content.
    shown: what the user gave, printable.
    notes: what is known of the data, as sentences without the full stop.
    rule: how folders were read now, "" where the data are no folder.
    skipped: what was left out now.
    """

    key: str
    name: str
    make: Maker
    shown: str
    notes: tuple[str, ...] = ()
    rule: str = ""
    skipped: tuple[Skipped, ...] = ()


def names() -> dict[str, str]:
    """The known data sets: name -> a line that describes it."""
    known = {name: entry.description for name, entry in KNOWN.items()}
    return known | {
        "shapes": "generated figures on clutter, 10 classes, 32×32 RGB, made on the spot; "
        "needs depth, not much time"
    }


# what a command has looked at, for its own `load`: listing many files twice takes long
_looked_at: dict[tuple[str, Options], Request] = {}


def look(name_or_path: str | Path, options: Options) -> Request:
    """`resolve`, and the next `load` of the same in this process need not list files again."""
    _looked_at.clear()
    request = resolve(name_or_path, options)
    _looked_at[str(name_or_path), options] = request
    return request


def looked_at(name_or_path: str | Path, options: Options) -> Request:
    """What `look` found, once; else `resolve`."""
    found = _looked_at.pop((str(name_or_path), options), None)
    return found or resolve(name_or_path, options)


def resolve(name_or_path: str | Path, options: Options) -> Request:
    """What `load` was asked for. Raises UserError where there is no such thing.

    name_or_path: as for `load`.
    options: how the user's own images are read.
    """
    options.check()
    size = options.size
    given, shown = str(name_or_path), one_line(name_or_path)
    if not given.strip():
        raise UserError(
            f"data {shown!r}: empty, not a folder; give images, a table, an archive, an .npz file "
            f"or one of {', '.join(names())}"
        )
    if given in names():
        options.refuse_for(shown, "a known data set")
        return _known(given, size)
    if given.startswith(PREFIX):
        return _hub(given, options, shown)
    path = expanded(given)
    if (split := inside_archive(path)) is not None:
        return _archive(*split, options, shown)
    info = _existing(path, given, shown)
    resolved = path.resolve()
    name = os.fsencode(resolved.name or "/").decode("utf-8", "backslashreplace")
    if path.is_dir() or path.suffix.lower() in EMBEDDED:
        embedded = find_embedded(path, options)
        if embedded is not None:
            return _embedded(embedded, resolved, name, options, shown)
    if path.is_dir():
        if options.columns is not None:
            return _listed("folder", table_of(path, options), resolved, name, options, shown)
        return _folder(path, resolved, name, options, shown)
    if is_table(path) and path.is_file():
        return _listed("table", list_file(path, options), resolved, name, options, shown)
    if path.suffix.lower() != ".npz" or not path.is_file():
        raise UserError(
            f"data {shown!r}: not a folder; "
            "give a folder of images, a table (.csv, .tsv, .parquet), an archive (.zip, .tar, "
            f".tar.gz), an .npz file or one of {', '.join(names())}"
        )
    options.refuse_for(shown, "an .npz file")
    if size is not None:
        raise UserError(
            f"size = {size}: the images of an .npz file keep their size; "
            "size is for folders of images"
        )

    def make(workspace: Path, progress: Progress | None) -> Content:
        splits, named, notes = read_npz(path)
        return Content(splits, named, f"the file {one_line(name)}", OWN, notes)

    return Request(_key("npz", resolved, f"{info.st_size} {info.st_mtime_ns}"), name, make, shown)


def _existing(path: Path, given: str, shown: str) -> os.stat_result:
    """What the system knows of the path; UserError where it is not there or cannot be reached."""
    try:
        return path.stat()
    except (OSError, ValueError) as error:
        # os.path.islink is False for a name that is too long, where pathlib raises
        if isinstance(error, OSError) and os.path.islink(path):  # noqa: PTH114
            raise UserError(
                f"data {shown!r}: a link that leads nowhere or in a loop; give a folder of images"
            ) from None
        if isinstance(error, PermissionError):
            raise UserError(f"data {shown!r}: permission denied; make it readable") from None
        if (sides := BY_FILE.get(given.lower().replace("-", ""))) is not None:
            raise UserError(
                f"data {shown!r}: no source of it is known here; save it as {given.lower()}.npz "
                f"with the arrays x_train, y_train, x_test, y_test (images {sides}, uint8) and "
                "give the path of that file"
            ) from None
        if re.match(r"(?i)(https?|ftp|s3|gs|file)://", given):
            raise UserError(
                f"data {shown!r}: an address; download it and give the path of what you have"
            ) from None
        if set(given) & set("*?["):
            raise UserError(
                f"data {shown!r}: no such file or folder; a pattern is not read, give the folder "
                "that holds the class folders"
            ) from None
        hint = did_you_mean(given, names())
        raise UserError(
            f"data {shown!r}: no such file or folder, and no known data set{hint}"
        ) from None


def _known(name: str, size: int | None) -> Request:
    """A data set that has a name."""
    side = shapes.SIDE if name == "shapes" else KNOWN[name].side
    if size not in (None, side):
        raise UserError(
            f"size = {size}: {name} has images of {side}×{side}; size is for folders of images"
        )
    if name == "shapes":
        return Request(f"shapes-{shapes.REVISION}", name, _generated, name)

    def make(workspace: Path, progress: Progress | None) -> Content:
        splits, source = get(name, workspace, progress)
        return Content(splits, KNOWN[name].classes, source, KNOWN[name].licence)

    return Request(name, name, make, name, KNOWN[name].notes)


def _generated(workspace: Path, progress: Progress | None) -> Content:
    splits = {
        "train": shapes.generate(shapes.NUM_TRAIN),
        "test": shapes.generate(shapes.NUM_TEST, split=1),
    }
    licence = "none needed: generated, no one's work is in it"
    return Content(splits, shapes.CLASSES, "generated by convscope", licence)


def _listed(
    kind: str, listed: Listed, resolved: Path, name: str, options: Options, shown: str
) -> Request:
    """Image files that are listed now, and decoded when the content is made."""

    def make(workspace: Path, progress: Progress | None) -> Content:
        return listed.content(shown, options, progress)

    parts = (listed.listing.signature, str(options.size), *options.keys())
    return Request(_key(kind, resolved, *parts), name, make, shown)


def _embedded(found: Embedded, resolved: Path, name: str, options: Options, shown: str) -> Request:
    """Images in parquet or arrow files, read when the content is made."""

    def make(workspace: Path, progress: Progress | None) -> Content:
        return read_embedded(found, workspace, options, progress)

    parts = (found.signature, str(options.size), *options.keys())
    return Request(_key("embedded", resolved, *parts), name, make, shown)


def _hub(given: str, options: Options, shown: str) -> Request:
    """A data set of the Hugging Face Hub, fetched once and kept in the cache."""
    hub_name = parse_hub_name(given)

    def make(workspace: Path, progress: Progress | None) -> Content:
        return read_hub(hub_name, workspace, options, progress)

    key = _key("hub", Path(given.removeprefix(PREFIX)), str(options.size), *options.keys())
    return Request(key, given, make, shown)


def _archive(path: Path, inner: str, options: Options, shown: str) -> Request:
    """An archive, read when the content is made; inner: a path in it, or ""."""
    info, resolved = path.stat(), path.resolve()

    def make(workspace: Path, progress: Progress | None) -> Content:
        return list_archive(path, inner, workspace, options, progress)

    stamp = f"{info.st_size} {info.st_mtime_ns} {inner}"
    key = _key("archive", resolved, stamp, str(options.size), *options.keys())
    name = os.fsencode(resolved.name).decode("utf-8", "backslashreplace")
    return Request(key, f"{name}/{inner}" if inner else name, make, shown)


def _folder(path: Path, resolved: Path, name: str, options: Options, shown: str) -> Request:
    """A folder of images, listed now and decoded when it is made."""
    if options.group_by is not None:
        options.place()
    seen = survey(path, options.nesting)

    def make(workspace: Path, progress: Progress | None) -> Content:
        # what is skipped may change while the images stay: it is said anew each time
        listing = replace(seen.listing(), notes=())
        return list_survey(listing, options).content(shown, options, progress)

    key = _key("folder", resolved, seen.signature, str(options.size), *options.keys())
    return Request(key, name, make, shown, seen.notes, seen.rule, seen.skipped)


def _key(kind: str, path: Path, *parts: str) -> str:
    content = b"/".join([os.fsencode(path), *(part.encode() for part in parts)])
    return f"{kind}-{hashlib.sha256(content).hexdigest()[:20]}"
