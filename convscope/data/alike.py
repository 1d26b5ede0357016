"""Test images that are nearly among the training images: other crops, colours, compressions.

A search in two steps, in seconds for 10,000 against 50,000 images on one core.

1. Candidates. Each image is shrunk to 8×8 and described by its first principal components, each
   scaled to variance 1. Pairs whose descriptions have a cosine of at least CANDIDATE go on.
2. Details. Of both images in grey, details are kept: what a blur of 5×5 pixels takes away. The
   middle of one image is moved over the other one by up to an eighth of its side. The largest
   correlation is the pair's likeness, and from ALIKE on the pair counts.

CANDIDATE and ALIKE were chosen on CIFAR-10, where the pairs that Barz and Denzler found by eye are
known (2020, "Do we train on test data?", ciFAIR): 286 test images with a near-duplicate among the
training images. The search finds 275 test images, 179 of these and 96 others. Others were looked
at: the 60 most alike are near-duplicates, and of the next 48, down to a likeness of 0.74, 8 show
different ships at sea. What is missed is moved by more than a pixel, or zoomed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from convscope.data.dataset import Dataset
from convscope.words import texts_beside

COARSE, COMPONENTS = 8, 32
CANDIDATE = 0.8
SIDE, BLUR = 32, 5
ALIKE = 0.75
FLATTEST = 4.0  # grey levels
LEAST_SIDE = 16  # smaller images have too few details to be told apart by them
MOST_CANDIDATES = 8  # for each image
MOST_PAIRS = 1_000_000_000  # beyond, as many images are searched as keep to it
EXAMPLES = 20  # kept with the result
AT_ONCE = 1 << 24  # numbers of a block of cosines

Pixels = Tensor  # uint8, N×C×H×W


@dataclass(frozen=True)
class Pair:
    """Two images that are nearly the same, each by its split and its index there, from 0."""

    split: str
    index: int
    other_split: str
    other_index: int
    likeness: float


@dataclass(frozen=True)
class NearDuplicates:
    """The images of one split with a near-duplicate among those of others.

    split: whose images were searched for; among: the splits in which they were.
    images: how many were searched for; cut: whether these are only the first of very many.
    found: the number of them with a near-duplicate; examples: the most alike, best first.
    """

    split: str
    among: tuple[str, ...]
    images: int
    cut: bool
    found: int
    examples: tuple[Pair, ...]

    def __str__(self) -> str:
        return texts_beside(__file__).found(self, ALIKE)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` reads them."""
        return {
            **asdict(self),
            "among": list(self.among),
            "examples": [*map(asdict, self.examples)],
        }

    @staticmethod
    def from_json(tree: dict[str, Any]) -> NearDuplicates:
        """What `to_json` made."""
        examples = tuple(Pair(**pair) for pair in tree["examples"])
        return NearDuplicates(**{**tree, "among": tuple(tree["among"]), "examples": examples})


def near_duplicates(data: Dataset) -> tuple[NearDuplicates, ...]:
    """Test images that are nearly among training and validation images, and validation's likewise.

    Empty for images under 16 pixels a side, which have too few details. A split without images is
    left out. The same pixels twice are near-duplicates, too.
    """
    return tuple(search(*what) for what in searches(data))


def near_duplicate_rows(data: Dataset) -> dict[str, tuple[int, ...]]:
    """Split ("test", "val") -> the rows of its images with a near-duplicate, from 0.

    As `near_duplicates`, which counts them.
    """
    return {
        split: tuple(sorted(matches(splits, coarse, split, among)[1]))
        for splits, coarse, split, among in searches(data)
    }


def searches(
    data: Dataset,
) -> Iterator[tuple[dict[str, Pixels], dict[str, Tensor], str, tuple[str, ...]]]:
    """What is searched: all splits, their descriptions, one split, and those it is searched in."""
    if min(data.in_shape[1:]) < LEAST_SIDE:
        return
    splits = {"train": data.train.images, "val": data.val.images, "test": data.test.images}
    described = describer(splits["train"])
    coarse = {split: described(images) for split, images in splits.items()}
    for split, among in (("test", ("train", "val")), ("val", ("train",))):
        there = tuple(name for name in among if len(splits[name]))
        if len(splits[split]) and there:
            yield splits, coarse, split, there


def search(
    splits: dict[str, Pixels], coarse: dict[str, Tensor], split: str, among: tuple[str, ...]
) -> NearDuplicates:
    """One split against others; coarse: the description of each image."""
    images, best = matches(splits, coarse, split, among)
    ranked = sorted(best.values(), key=lambda pair: (-pair.likeness, pair.index))
    cut = images < len(splits[split])
    return NearDuplicates(split, among, images, cut, len(ranked), tuple(ranked[:EXAMPLES]))


def matches(
    splits: dict[str, Pixels], coarse: dict[str, Tensor], split: str, among: tuple[str, ...]
) -> tuple[int, dict[int, Pair]]:
    """How many images were searched for, and by row the most alike pair of those that have one."""
    images = min(len(splits[split]), max(1, MOST_PAIRS // sum(len(splits[a]) for a in among)))
    best: dict[int, Pair] = {}
    for other in among:
        pairs = candidates(coarse[split][:images], coarse[other])
        likeness = likenesses(splits[split], splits[other], pairs)
        for (a, b), value in zip(pairs.tolist(), likeness.tolist(), strict=True):
            if value >= ALIKE and (a not in best or value > best[a].likeness):
                best[a] = Pair(split, a, other, b, round(value, 3))
    return images, best


def describer(images: Pixels) -> Callable[[Pixels], Tensor]:
    """The function from images to their descriptions (N × components, of length 1).

    images: whose principal components it takes.
    """
    small = shrunk(images)
    mean = small.mean(0)
    centred = small - mean
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(small))
    values, vectors = values.flip(0), vectors.flip(1)
    kept = values[:COMPONENTS] > 1e-6 * values[0].clamp_min(1e-6)
    scaled = vectors[:, :COMPONENTS][:, kept] / values[:COMPONENTS][kept].sqrt()
    return lambda given: F.normalize((shrunk(given) - mean) @ scaled, dim=1)


def shrunk(images: Pixels) -> Tensor:
    """N × (C · 8 · 8) means of pixels, of each image with mean 0 and standard deviation 1.

    So neither brightness nor contrast counts; FLATTEST keeps the noise of flat images small.
    """
    if not len(images):
        return torch.zeros(0, images.shape[1] * COARSE**2)
    parts = images.split(2_000)
    means = [F.adaptive_avg_pool2d(part.float(), COARSE).flatten(1) for part in parts]
    small = torch.cat(means)
    small -= small.mean(1, keepdim=True)
    return small / small.std(1, keepdim=True).clamp_min(FLATTEST)


def candidates(a: Tensor, b: Tensor) -> Tensor:
    """Pairs (row of a, row of b) of cosine CANDIDATE and more, at most MOST_CANDIDATES a row of a.

    a, b: rows of length 1.
    """
    found = [torch.zeros(0, 2, dtype=torch.int64)]
    size = max(1, AT_ONCE // max(1, len(b)))
    for start in range(0, len(a), size):
        cosines = a[start : start + size] @ b.T
        pairs = (cosines >= CANDIDATE).nonzero()
        many = pairs[:, 0].bincount(minlength=len(cosines)) > MOST_CANDIDATES
        if bool(many.any()):
            rows = many.nonzero()[:, 0]
            top = cosines[rows].topk(MOST_CANDIDATES, dim=1).indices
            most = torch.stack([rows.repeat_interleave(MOST_CANDIDATES), top.flatten()], 1)
            pairs = torch.cat([pairs[~many[pairs[:, 0]]], most])
        found.append(pairs + torch.tensor([start, 0]))
    return torch.cat(found)


def likenesses(a: Pixels, b: Pixels, pairs: Tensor) -> Tensor:
    """For each pair the largest correlation of details over small shifts, from −1 to 1."""
    if not len(pairs):
        return torch.zeros(0)
    parts = pairs.split(1_000)
    return torch.cat([likeness(details(a[p[:, 0]]), details(b[p[:, 1]])) for p in parts])


def details(images: Pixels) -> Tensor:
    """N×H×W: grey pixels minus their blur, at 32 pixels a side where there are more."""
    grey = images.float().mean(1, keepdim=True)
    height, width = grey.shape[2:]
    grey = F.adaptive_avg_pool2d(grey, (min(height, SIDE), min(width, SIDE)))
    return (grey - F.avg_pool2d(F.pad(grey, (BLUR // 2,) * 4, mode="reflect"), BLUR, 1))[:, 0]


def likeness(x: Tensor, y: Tensor) -> Tensor:
    """The largest correlation of the middle of x with a window of y of the same size, N each."""
    margins = [side // 8 for side in x.shape[1:]]
    (up, left), (height, width) = margins, x.shape[1:]
    middle = x[:, up : height - up, left : width - left]
    middle = middle - middle.mean((1, 2), keepdim=True)
    size = tuple(middle.shape[1:])
    count = size[0] * size[1]
    # the windows start at 0 to 2 · margin: within the map, so that nothing goes around the circle
    spectrum = torch.fft.rfft2(y) * torch.fft.rfft2(middle, s=y.shape[1:]).conj()
    products = torch.fft.irfft2(spectrum, s=y.shape[1:])[:, : 2 * up + 1, : 2 * left + 1]
    sums = F.avg_pool2d(y[:, None], size, 1)[:, 0] * count
    squares = F.avg_pool2d((y * y)[:, None], size, 1)[:, 0] * count
    spread = (squares - sums**2 / count).clamp_min(1e-3).sqrt()
    own = middle.flatten(1).norm(dim=1).clamp_min(1e-3)[:, None, None]
    return (products / (own * spread)).flatten(1).amax(1)
