"""Members of .zip and .tar files: listed, checked, unpacked under limits."""

from __future__ import annotations

import contextlib
import re
import shutil
import stat
import tarfile
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO

from convscope.data.content import Progress
from convscope.data.sniffing import what_it_is
from convscope.errors import UserError, one_line

MOST_RATIO = 100  # unpacked to packed bytes; photographs hardly shrink, plain bitmaps do

ALWAYS_ALLOWED = 256 * 2**20  # unpacked bytes, whatever the ratio

MOST_MEMBERS = 5_000_000

TABLE_BYTES = 2**30  # of a member that is read into memory


class Archive(ABC):
    """An archive whose members were listed and checked.

    path: the file.
    shown: the file, printable.
    sizes: name of each regular file, with / between folders -> bytes.
    folders: names of the folders, those that are only part of a name too.
    """

    kind: str  # its ending, for messages

    def __init__(self, path: Path) -> None:
        self.path, self.shown = path, one_line(path)
        self.sizes: dict[str, int] = {}
        self.folders: set[str] = set()
        self.most = max(ALWAYS_ALLOWED, MOST_RATIO * path.stat().st_size)
        with self.faults_told():
            self.list_members()
        for name in self.folders & set(self.sizes):
            raise self.refusal(name, "is a file and a folder")

    @abstractmethod
    def list_members(self) -> None:
        """Open the file and add its members."""

    @abstractmethod
    def streams(self, wanted: Mapping[str, Path]) -> Iterator[tuple[str, IO[bytes]]]:
        """The wanted members, each to be read before the next one."""

    @abstractmethod
    def close(self) -> None:
        """Close the file."""

    def add(self, raw: str, size: int, folder: bool) -> str:
        """Note a member, under its checked name. Raises UserError for one that is not safe."""
        name = self.checked(raw)
        parents = name.split("/")
        for count in range(1, len(parents) + (1 if folder else 0)):
            self.folders.add("/".join(parents[:count]))
        if not folder:
            if name in self.sizes:
                raise self.refusal(raw, "is there twice")
            self.sizes[name] = size
        if len(self.sizes) + len(self.folders) > MOST_MEMBERS:
            raise UserError(f"{self.shown}: over {MOST_MEMBERS:,} members; split the archive")
        return name

    def checked(self, raw: str) -> str:
        """The name with / between its parts. Raises UserError for one that leaves the archive."""
        name = raw.replace("\\", "/")
        if name.startswith("/") or re.match(r"[A-Za-z]:", name):
            raise self.refusal(raw, "has an absolute path")
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise self.refusal(raw, "leads out of the archive")
        if "\0" in name or any(len(part.encode("utf-8", "replace")) > 255 for part in parts):
            raise self.refusal(raw, "has a name that no file can have")
        return "/".join(parts)

    def refusal(self, raw: str, why: str) -> UserError:
        return UserError(
            f"{self.shown}: member {one_line(raw, 80)!r} {why}; "
            "pack the folder again, as plain files"
        )

    def check_size(self, size: int) -> None:
        """UserError where unpacking takes far more than the file."""
        if size > self.most:
            raise UserError(
                f"{self.shown}: would unpack to over {self.most / 1e6:,.0f} MB, more than "
                f"{MOST_RATIO} times its size; unpack it yourself and give the folder if you "
                "trust it"
            )

    def unpack(self, wanted: Mapping[str, Path], progress: Progress | None) -> None:
        """Write members to files of their own.

        wanted: name of a member -> the file that is written.
        progress: called with what is done, how much of it, and of how much.

        Raises UserError where the archive is damaged or the disk has no room.
        """
        total = sum(self.sizes[name] for name in wanted)
        self.check_size(total)
        if not wanted:
            return
        free = shutil.disk_usage(_there(wanted)).free
        if total > free:
            raise UserError(
                f"{self.shown}: unpacks to {total / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB of disk "
                "are free; set CONVSCOPE_CACHE to a folder with room"
            )
        done = 0
        with self.faults_told():
            for name, stream in self.streams(wanted):
                wanted[name].parent.mkdir(parents=True, exist_ok=True)
                with open(wanted[name], "xb") as file:
                    shutil.copyfileobj(stream, file, 1 << 20)
                    if file.tell() != self.sizes[name]:
                        raise EOFError(f"{name} is cut off")
                done += 1
                if progress is not None:
                    progress("unpacking", done, len(wanted))

    def read(self, name: str) -> bytes:
        """A member's bytes; those of a very large one are refused."""
        if self.sizes[name] > TABLE_BYTES:
            raise self.refusal(name, f"is over {TABLE_BYTES / 1e9:.0f} GB")
        self.check_size(self.sizes[name])
        with self.faults_told():
            return b"".join(stream.read() for _, stream in self.streams({name: self.path}))

    @contextlib.contextmanager
    def faults_told(self) -> Iterator[None]:
        """Whatever a damaged archive leads its reader to raise becomes one line."""
        try:
            yield
        except UserError:
            raise
        except OSError as error:
            if error.errno is None:  # gzip's and bz2's of their own
                raise self.damaged(error) from None
            raise UserError(f"{self.shown}: cannot be unpacked ({error.strerror})") from None
        except Exception as error:  # zipfile, tarfile, zlib and lzma raise many kinds
            raise self.damaged(error) from None

    def damaged(self, error: Exception) -> UserError:
        detail = one_line(error, 80) or type(error).__name__
        named = what_it_is(self.path)  # as a .tar file named .zip
        named = "" if self.kind.strip(".") in named or "gzip" in named else named
        return UserError(
            f"{self.shown}: not a whole {self.kind} archive{named} ({detail}); get or pack it again"
        )


def _there(wanted: Mapping[str, Path]) -> Path:
    """The nearest folder that is there, of the first file that is written."""
    first = next(iter(wanted.values()))
    return next(place for place in first.parents if place.exists())


class ZipArchive(Archive):
    """A .zip file."""

    kind = ".zip"

    def list_members(self) -> None:
        self.file = zipfile.ZipFile(self.path)
        self.infos: dict[str, zipfile.ZipInfo] = {}
        for info in self.file.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise self.refusal(info.filename, "is a link or no regular file")
            if info.flag_bits & 0x1:
                raise self.refusal(info.filename, "is encrypted")
            folder = info.is_dir() or info.filename.endswith("\\")
            self.infos[self.add(info.filename, info.file_size, folder)] = info

    def streams(self, wanted: Mapping[str, Path]) -> Iterator[tuple[str, IO[bytes]]]:
        for name in wanted:
            with self.file.open(self.infos[name]) as stream:
                yield name, stream

    def close(self) -> None:
        self.file.close()


class TarArchive(Archive):
    """A .tar file, compressed or not: read from its beginning each time."""

    kind = ".tar"

    def list_members(self) -> None:
        for raw, member, _ in self.walk():
            if not (member.isreg() or member.isdir()):
                raise self.refusal(raw, "is a link or no regular file")
            if raw.strip("./"):
                self.add(raw, member.size, member.isdir())

    def walk(
        self,
    ) -> Iterator[tuple[str, tarfile.TarInfo, Callable[[tarfile.TarInfo], IO[bytes] | None]]]:
        """The members in order, each with what opens it; a bomb is refused as it is met."""
        unpacked = 0
        with tarfile.open(self.path, "r:*") as tar:
            for member in tar:
                unpacked += member.size
                self.check_size(unpacked)
                yield member.name, member, tar.extractfile
                vars(tar)["members"].clear()  # else all of them are kept a second time

    def streams(self, wanted: Mapping[str, Path]) -> Iterator[tuple[str, IO[bytes]]]:
        left = set(wanted)
        for raw, member, opened in self.walk():
            name = self.checked(raw)
            if member.isreg() and name in left:
                left.remove(name)
                stream = opened(member)
                assert stream is not None
                yield name, stream
                if not left:
                    return

    def close(self) -> None:
        """Nothing stays open."""
