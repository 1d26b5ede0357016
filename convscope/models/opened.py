"""Files that a user's factory opens while it is imported and called, seen by Python's audit events.

They check what `data_files` reads from the source: of a file of weights or settings that is not
part of what the run is, it is said once. Files that a library opens without Python, such as those
of safetensors, are not seen here.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import sysconfig
from collections.abc import Collection, Iterator
from contextvars import ContextVar
from pathlib import Path

from convscope.errors import UserError, one_line
from convscope.models.data_files import digest_of, is_data
from convscope.models.faults import INSTALLED
from convscope.models.sources import data_of, own_files
from convscope.recipe import Custom

PYTHON = Path(sysconfig.get_path("stdlib"))

_seen: ContextVar[set[Path] | None] = ContextVar("seen", default=None)

_hooked = False

_told: set[tuple[str, Path]] = set()

# factory -> what was opened while its module was imported: the modules' specs then, which a reload
# replaces, and the hash of each file
_at_import: dict[str, tuple[dict[str, object], dict[Path, str]]] = {}


@contextlib.contextmanager
def watched(seen: set[Path]) -> Iterator[None]:
    """Add the files of weights and settings that are opened inside, by this thread, to be read."""
    global _hooked
    if not _hooked:  # a hook stays for good: not where no user's code is run
        sys.addaudithook(_look)
        _hooked = True
    token = _seen.set(seen)
    try:
        yield
    finally:
        _seen.reset(token)


def _look(event: str, arguments: tuple[object, ...]) -> None:
    """Keep the path of a file that is opened to be read; called at each audit event."""
    if event != "open" or (seen := _seen.get()) is None:
        return
    path, mode, flags = arguments
    if not isinstance(path, str | os.PathLike) or is_written(mode, flags):
        return
    name = os.fspath(path)
    if isinstance(name, str) and is_data(name):
        place = Path(os.path.normpath(Path.cwd() / name))  # without a look at the disk
        strange = any(part in INSTALLED or part.startswith(".") for part in place.parts)
        if not strange and PYTHON not in place.parents:  # such as a library's cache in ~/.cache
            seen.add(place)


def is_written(mode: object, flags: object) -> bool:
    """Whether a file is opened to be written; by its mode, or by os.open's flags."""
    if isinstance(mode, str):
        return bool(set(mode) & set("wax"))
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR))


def keep_import(factory: str, seen: Collection[Path]) -> None:
    """Keep what was opened while a factory's module was imported for the first time."""
    hashes = {path: digest_of(path) for path in seen if path.is_file()}
    _at_import[factory] = specs_of(factory), hashes


def check_import(factory: str) -> None:
    """UserError where a file has changed since a factory's module read it in this process."""
    specs, hashes = _at_import.get(factory, ({}, {}))
    now = specs_of(factory)
    if any(now.get(name) is not spec for name, spec in specs.items()):  # reloaded: read anew
        _at_import.pop(factory, None)
        return
    for path, then in hashes.items():
        if not path.is_file() or digest_of(path) != then:
            raise UserError(
                f"model {factory!r}: {one_line(path.name)} changed since this process imported it; "
                "start Python anew, or importlib.reload the module that reads it"
            )


def specs_of(factory: str) -> dict[str, object]:
    """The specs of a factory's own modules that are imported."""
    there = {name: sys.modules.get(name) for name in own_files(factory).values()}
    return {name: module.__spec__ for name, module in there.items() if module is not None}


def say_what_is_missing(model: Custom, seen: Collection[Path]) -> None:
    """Say once, in the log, which files a factory has read that are not part of what it is."""
    missing = {path for path in seen if path.is_file()} - data_of(model)
    for path in sorted(path for path in missing if (model.factory, path) not in _told):
        _told.add((model.factory, path))
        logging.getLogger("convscope").warning(
            "model %s: it reads %s, whose content is not part of the run's id: where it changes, "
            "the finished run is found again; keep the file below the factory's folder and write "
            "its name in the source",
            model.factory,
            one_line(path.name),
        )
