"""What the runs of the sweep say: verdicts for each number of images, the best, the smallest.

And what more images or a larger network would buy.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convscope.chapters.capacity.plan import MARGIN
from convscope.data import Dataset
from convscope.models import size_of
from convscope.recipe import ConvNet, hidden_of, label_of
from convscope.report import sure_of
from convscope.statistics import (
    Cell,
    Configuration,
    Forecast,
    SweepVerdict,
    difference_se,
    forecast_of,
    judged,
    paired_difference,
    quantile,
    sweep_verdict,
)
from convscope.training import Run
from convscope.words import count


@dataclass(frozen=True)
class SeriesVerdict:
    """What the validation loss of a series does as its networks grow wider.

    word: plateau, non-monotone, still improving or cannot tell.
    width: that the word is about; without meaning for "cannot tell".
    widest: the largest.
    widths: how many there are.
    seeds: of the network that has fewest.
    found: what the tests say; None where there is too little for one.
    """

    word: str
    width: int
    widest: int
    widths: int
    seeds: int
    found: SweepVerdict | None = None

    def __str__(self) -> str:
        """As results.json has it: "plateau from width 8", "more than width 8"; without any word
        "cannot tell from 1 seed".
        """
        joint = {"plateau": "from", "non-monotone": "at", "still improving": "at"}.get(self.word)
        if joint:
            return f"{self.word} {joint} width {self.width}"
        if self.too_small is not None:
            return f"more than width {self.too_small}"
        few = count(self.widths, "width") if self.widths < 3 else count(self.seeds, "seed")
        return f"{self.word} from {few}"

    @property
    def too_small(self) -> int | None:
        """The largest width that is shown to be too small."""
        found = self.found
        return None if found is None or found.too_small is None else int(found.too_small)

    def numbers(self) -> dict[str, Any]:
        found = self.found
        return {
            "verdict": str(self),
            "replication": found.replication if found else None,
            "difference": found.difference.mean if found else None,
            "interval": list(found.interval) if found else None,
            "seeds_needed": found.seeds_needed if found else None,
            "images_needed": found.images_needed if found else None,
            "too_small": self.too_small,
            "shortfall": found.shortfall.numbers() if found and found.shortfall else None,
            **({"looks": found.looks, "seeds": self.seeds} if found and found.looks > 1 else {}),
        }


@dataclass(frozen=True)
class Judgement:
    """What validation losses say.

    networks: by number of training images, ascending, the configurations.
    beside: the reference recipe.
    best, small: of those on most images: the lowest loss, and the smallest that is shown to be
        within the margin of it.
    verdicts: by number of images those on each series.
    forecast: of what more would buy, from the series with most numbers of images.
    available: the training images that there are, of which a budget may leave some unused.
    """

    networks: dict[int, list[Configuration]]
    beside: list[Configuration]
    best: Configuration
    small: Configuration
    verdicts: dict[int, dict[str, SeriesVerdict]]
    forecast: Forecast
    available: int

    @property
    def images(self) -> int:
        """The most training images."""
        return max(self.networks)

    @property
    def unused(self) -> int:
        """The training images that no network was trained on."""
        return self.available - self.images

    @property
    def whole(self) -> list[Configuration]:
        """The networks on most images."""
        return self.networks[self.images]

    @property
    def all(self) -> list[tuple[int, Configuration]]:
        """(images, network), of all images first."""
        return [(n, one) for n in sorted(self.networks, reverse=True) for one in self.networks[n]]

    @property
    def verdict(self) -> SeriesVerdict:
        """On the main series: choosing that of the best network would favour what is lucky."""
        return self.verdicts[self.images][self.main]

    @property
    def main(self) -> str:
        """The series on most numbers of images, by its name among those on most images."""
        name = sweep_name(main_series(self.networks)[0][1].convnet, self.whole)
        found = self.verdicts[self.images]
        return name if name in found else next(iter(found))


def judgement_of(
    sweep: Sequence[Run],
    beside: Sequence[Run],
    data: Dataset,
    added: Sequence[Run] = (),
    looks: int = 1,
) -> Judgement | None:
    """None where no network of the sweep finished.

    added: runs of the main series with further seeds, of which its verdict alone takes notice:
        they came because of it.
    looks: how often that verdict may be asked for while seeds are added.
    """
    groups: dict[int, list[Run]] = {}
    for run in sweep:
        groups.setdefault(images_of(run, data), []).append(run)
    most = max(groups, default=0)
    networks: dict[int, list[Configuration]] = {}
    strong: list[Configuration] = []
    for n in sorted(groups):
        found, other = judged(groups[n], beside if n == most else [], data)
        networks |= {n: found} if found else {}
        strong += other
    if not networks:
        return None
    whole = networks[max(networks)]
    best = min(whole, key=lambda one: one.val_loss.mean)
    verdicts = {
        n: {name: verdict_on(members) for name, members in sweeps_among(found).items()}
        for n, found in networks.items()
    }
    found = Judgement(
        networks,
        strong,
        best,
        smallest_within(MARGIN, best, whole),
        verdicts,
        forecast_from(networks, best, data),
        len(data.train),
    )
    if looks > 1:
        main, members = found.main, sweeps_among(whole)[found.main]
        runs = [*(run for one in members for run in one.runs), *added]
        (more,) = sweeps_among(judged(runs, [], data)[0]).values()
        verdicts[found.images][main] = verdict_on(more, looks)
    return found


def settled(judgement: Judgement) -> bool:
    """Whether more seeds are not worth their time: the main series' word would come out again."""
    verdict = judgement.verdict
    again = verdict.found.replication if verdict.found else None
    return verdict.word != "cannot tell" and sure_of(again) == "sure"


def images_of(run: Run, data: Dataset) -> int:
    """The training images of a run."""
    return min(run.recipe.limit or len(data.train), len(data.train))


def sweep_name(model: ConvNet, networks: Iterable[Configuration]) -> str:
    """The sweep that a network belongs to: its label without the width.

    Fully connected layers are named where the sweeps of `networks` differ in them.
    """
    name = label_of(replace(model, width=1)).removeprefix("width 1, ")
    several = len({n.convnet.hidden for n in networks}) > 1
    return f"{name}, hidden {hidden_of(model)}" if several else name


def sweeps_among(networks: Sequence[Configuration]) -> dict[str, list[Configuration]]:
    """The networks of each sweep, ordered by width."""
    groups: dict[str, list[Configuration]] = {}
    for n in sorted(
        networks, key=lambda n: (n.convnet.depth, n.convnet.block_depth, n.convnet.width)
    ):
        groups.setdefault(sweep_name(n.convnet, networks), []).append(n)
    return groups


def verdict_on(members: Sequence[Configuration], looks: int = 1) -> SeriesVerdict:
    """On the networks of one sweep, ordered by width.

    looks: how often it may be asked for while seeds are added.

    Runs that recorded no losses by image allow no verdict.
    """
    losses = {one.convnet.width: by_image(one) for one in members}
    seeds, last = min(len(one.runs) for one in members), members[-1].convnet.width
    known = {width: values for width, values in losses.items() if values is not None}
    if len(members) < 3 or seeds < 2 or len(known) < len(members):
        return SeriesVerdict("cannot tell", last, last, len(members), seeds)
    found = sweep_verdict(known, MARGIN, looks)
    width = last if found.size is None else int(found.size)
    return SeriesVerdict(found.word, width, last, len(members), seeds, found)


def by_image(one: Configuration) -> NDArray[np.floating] | None:
    """The validation losses at the best epoch, seeds × images; None where a run has none."""
    losses = one.losses("val")
    return np.stack(losses) if all(len(values) for values in losses) else None


def smallest_within(
    margin: float, best: Configuration, networks: Sequence[Configuration]
) -> Configuration:
    """The smallest network that is shown to be no more than a margin worse than the best.

    Shown: the one-sided 95 % bound of how much higher its validation loss is lies below the
    margin. Smaller networks are tried from the largest downward, and the first that is not shown
    ends it: so the error of all together is 5 %. Where none is shown, it is the best itself.
    """
    smaller = sorted(
        (one for one in networks if one.parameters < best.parameters),
        key=lambda one: (-one.parameters, one.val_loss.mean),
    )
    near = itertools.takewhile(lambda one: within(margin, one, best, networks), smaller)
    return min([*near, best], key=lambda one: (one.parameters, one.val_loss.mean))


def within(
    margin: float, one: Configuration, best: Configuration, networks: Sequence[Configuration]
) -> bool:
    """Whether a network's validation loss is shown to be less than a margin above the best's.

    networks: all of them; their seeds tell about the variance between seeds.
    """
    a, b = by_image(one), by_image(best)
    if a is not None and b is not None:
        others = [n for n in networks if n is not one and n is not best]
        family = [[run.best["val_loss"] for run in n.runs] for n in others]
        return paired_difference(list(a), list(b), family).below(margin)
    degrees = sum(len(c.runs) - 1 for c in (best, one))
    gap = one.val_loss.mean - best.val_loss.mean
    se = difference_se(best.val_loss, one.val_loss)
    return degrees > 1 and gap + quantile(0.90, degrees) * se < margin


# --- what more would buy


def forecast_from(
    networks: dict[int, list[Configuration]], best: Configuration, data: Dataset
) -> Forecast:
    """From the series that was trained on most numbers of images.

    best: on most images. Where its loss still falls at the last epoch, nothing is forecast: with
    more images it has more steps, so what they buy cannot be told from what longer training buys.
    """
    found = law_of(networks, data)
    if not found.reason and all(run.best["epoch"] == run.last["epoch"] for run in best.runs):
        return Forecast("still training", found.cells, found.predicted, found.observed)
    return found


def law_of(networks: dict[int, list[Configuration]], data: Dataset) -> Forecast:
    """What the losses alone forecast."""
    members = main_series(networks)
    largest = max(members, key=lambda item: (item[0], item[1].parameters))[1].convnet
    wider = replace(largest, width=2 * largest.width)
    size = size_of(wider, data.in_shape, data.num_classes)
    losses = [val_losses(one) for _, one in members]
    if len({values.shape[1] for values in losses}) > 1:  # some runs recorded none by image
        losses = [values.mean(1, keepdims=True) for values in losses]
    cells = [
        Cell(n, one.parameters, values) for (n, one), values in zip(members, losses, strict=True)
    ]
    return forecast_of(cells, guessing(data), size.parameters, MARGIN)


def main_series(networks: dict[int, list[Configuration]]) -> list[tuple[int, Configuration]]:
    """(images, network) of the series on most numbers of images, then of most networks."""
    every = [one for found in networks.values() for one in found]
    groups: dict[str, list[tuple[int, Configuration]]] = {}
    for n, found in networks.items():
        for one in found:
            groups.setdefault(sweep_name(one.convnet, every), []).append((n, one))
    return max(groups.values(), key=lambda found: (len({n for n, _ in found}), len(found)))


def val_losses(one: Configuration) -> NDArray[np.floating]:
    """Seeds × validation images where all runs have recorded them, else seeds × 1, the means."""
    losses = by_image(one)
    return losses if losses is not None else np.array([[run.best["val_loss"]] for run in one.runs])


def guessing(data: Dataset) -> float:
    """The cross-entropy of the validation images for who knows the classes' shares alone."""
    shares = np.bincount(data.val.labels.numpy()) / len(data.val)
    return float(-(shares[shares > 0] * np.log(shares[shares > 0])).sum())
