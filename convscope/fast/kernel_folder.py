"""The user's private folder of compiled kernels: who may write there, what is whole, what is old.

    KEY.json      what a build is: the library's SHA-256, compiler, its version, flags
    SHA-256.so    the library, under the hash of its content

Nothing is loaded from here that another user owns or may write, nor a file that its hash does not
fit. Whoever loads a library holds a shared lock on it, so that it is not removed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from convscope.fast.reasons import NotAvailable

KEPT = 6  # builds, the newest

WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True)
class Build:
    """What a shared library was made by; `sha256` is of its content."""

    sha256: str
    compiler: str
    version: str
    flags: tuple[str, ...]


def kernel_folder() -> Path:
    """$CONVSCOPE_KERNELS_FOLDER, or a folder in the user's own cache: never a shared one.

    Raises NotAvailable where that is not known.
    """
    if chosen := os.environ.get("CONVSCOPE_KERNELS_FOLDER", ""):
        return Path(chosen)
    try:
        from platformdirs import user_cache_path
    except ImportError:  # bench/gpu.py runs where little is installed
        raise NotAvailable("platformdirs is not installed") from None
    try:
        usual = user_cache_path("convscope")
    except RuntimeError:
        raise NotAvailable("no home folder is known") from None
    if not usual.is_absolute():
        raise NotAvailable("no home folder is known")
    return usual / "kernels"


def opened() -> Path:
    """The folder, made with mode 0700 where it is missing. Raises NotAvailable where it can't be
    trusted or made."""
    folder = kernel_folder()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        check_private(folder.stat(), folder)
    except OSError as error:
        raise NotAvailable(f"the folder for kernels cannot be used: {error}") from None
    return folder


def check_private(found: os.stat_result, path: Path) -> None:
    """Raises NotAvailable where another user owns the file or folder, or others may write it."""
    if found.st_uid != os.geteuid():
        raise NotAvailable(f"{path} belongs to another user")
    if found.st_mode & WRITABLE_BY_OTHERS:
        raise NotAvailable(f"others may write to {path} (chmod go-w mends it)")


def content(path: Path) -> bytes:
    """A private, regular file's content. Raises NotAvailable, and OSError where it is missing."""
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise NotAvailable(f"{path} is not a file")
        check_private(found, path)
        return file.read()


def stored(folder: Path, key: str) -> Build | None:
    """The build of this key; None where there is none, or its files are torn or altered."""
    try:
        build = read(content(folder / f"{key}.json"))
        whole = hashlib.sha256(content(library_path(folder, build))).hexdigest() == build.sha256
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return build if whole else None


def read(record: bytes) -> Build:
    tree = json.loads(record)
    return Build(**{**tree, "flags": tuple(tree["flags"])})


def store(folder: Path, key: str, library: Path, build: Build) -> None:
    """Move a library that was just made into the folder, then its record, and remove old ones.

    Another process may have been first: its files are as good.
    """
    library.chmod(0o600)
    library.replace(library_path(folder, build))
    with tempfile.NamedTemporaryFile("w", dir=folder, suffix=".part", delete=False) as file:
        json.dump(asdict(build), file)
    Path(file.name).replace(folder / f"{key}.json")
    remove_old(folder)


def library_path(folder: Path, build: Build) -> Path:
    return folder / f"{build.sha256}.so"


def hold(library: Path) -> int:
    """A shared lock on a library, held by a file descriptor until the process ends.

    The library counts as new from now on.
    """
    import fcntl

    descriptor = os.open(library, os.O_RDONLY)
    with contextlib.suppress(OSError):  # where there are no locks nothing is removed either
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    with contextlib.suppress(OSError):
        os.utime(library)
    return descriptor


def remove_old(folder: Path) -> None:
    """Remove all but the newest libraries and those in use, and the records that have none."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        libraries = sorted(folder.glob("*.so"), key=lambda path: path.stat().st_mtime)
        for library in libraries[:-KEPT]:
            remove_unless_held(library)
        for record in folder.glob("*.json"):
            if not library_path(folder, read(record.read_bytes())).exists():
                record.unlink()


def remove_unless_held(library: Path) -> None:
    import fcntl

    with library.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # a process has loaded it
            return
        library.unlink(missing_ok=True)
