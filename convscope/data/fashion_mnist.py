"""Fashion-MNIST from its project's server, or from Debian's package of the same bytes."""

from __future__ import annotations

from pathlib import Path

from convscope.data.content import Progress, Splits
from convscope.data.downloads import SourceFailed, download
from convscope.data.idx import Files, splits_of

URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"

# Debian compressed them anew: their MD5 is another, and the pixels' SHA-256 decides
FILES: Files = {
    "train": (
        ("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        ("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"),
    ),
    "test": (
        ("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"),
        ("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"),
    ),
}

DEBIAN = (Path("/usr/share/datasets/fashion-mnist"), Path("/usr/share/dataset-fashion-mnist"))


def from_debian(workspace: Path, progress: Progress | None) -> Splits:
    """The files of the package dataset-fashion-mnist. Raises SourceFailed where it lacks."""
    folder = next((folder for folder in DEBIAN if folder.is_dir()), None)
    if folder is None:
        raise SourceFailed(f"no {DEBIAN[0]}")
    return splits_of(FILES, lambda name, md5: folder / name)


def from_project(workspace: Path, progress: Progress | None) -> Splits:
    """The files of the project's server. Raises SourceFailed and what requests raises."""
    return splits_of(FILES, lambda name, md5: download(f"{URL}/{name}", md5, workspace, progress))
