"""What is known of images without torch, for refusals that come at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from convscope.data import shapes
from convscope.data.cache import GROUPS
from convscope.data.content import Progress
from convscope.data.fetching import in_cache
from convscope.data.known import KNOWN
from convscope.data.listed import Options
from convscope.data.resolving import look, names
from convscope.data.splitting import check_counts, counts_held


@dataclass(frozen=True)
class Outline:
    """The size of a data set.

    name: what it is called.
    stored: the number of images of its training split, before any is held out; None: not known.
    splits: the names of the splits that it has of its own.
    in_shape: channels, height and width of an image; the sides alone count for those with a name.
    classes: their names; () where the images of each class are not known.
    sizes: training images of each class; () where they are not known.
    remarks: what is to be said of a damaged copy in the cache.
    """

    name: str
    stored: int | None
    splits: frozenset[str]
    in_shape: tuple[int, int, int]
    classes: tuple[str, ...] = ()
    sizes: tuple[int, ...] = ()
    remarks: tuple[str, ...] = ()

    def held(self, val: float) -> int | None:
        """The number of training images that are held out for validation."""
        if self.stored is None or "val" in self.splits:
            return None if self.stored is None else 0
        if not self.sizes:
            return round(val * self.stored)
        return sum(counts_held(self.sizes, Fraction(str(val))))

    def train(self, val: float) -> int | None:
        """The number of training images that are left, where each class has several."""
        held = self.held(val)
        return None if self.stored is None or held is None else self.stored - held

    def check(self, val: float) -> None:
        """UserError where a class would have fewer than two training images."""
        if self.sizes and "val" not in self.splits:
            held = counts_held(self.sizes, Fraction(str(val)))
            left = [size - out for size, out in zip(self.sizes, held, strict=True)]
            check_counts(self.name, left, self.classes)


def check_there(
    name_or_path: str | Path,
    options: Options | None = None,
    val: float = 0.1,
    progress: Progress | None = None,
) -> Outline:
    """What is known of a data set without torch.

    Own images are read into the cache, where `load` finds them; a known data set is not fetched.

    name_or_path: as for `load`.
    options: how own images are read.
    val: share of the training images that will be held out, from 0 to 0.9.
    progress: as for `load`.

    Raises UserError where there is no such data set, and where it cannot be used, in the words of
    `load`.
    """
    options = options or Options()
    request = look(name_or_path, options)
    given, own = str(name_or_path), frozenset({"train", "test"})
    if given == "shapes":
        side = shapes.SIDE
        return Outline(given, shapes.NUM_TRAIN, own, (3, side, side))
    if given in names():
        side = KNOWN[given].side
        return Outline(given, None, own, (1, side, side))
    _, (meta, stored), remarks = in_cache(request, progress, verify=False)
    images, labels = stored["train"]
    height, width, channels = images.shape[1:]
    in_shape, classes = (channels, height, width), tuple(meta["classes"])
    found = Outline(request.shown, None, frozenset(stored), in_shape, remarks=tuple(remarks))
    if GROUPS not in meta["files"]:  # with groups, which images are held out is a search
        sizes = np.bincount(labels, minlength=len(classes)).tolist()
        found = replace(found, stored=len(labels), classes=classes, sizes=tuple(sizes))
    found.check(val)
    return found
