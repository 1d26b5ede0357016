"""One configuration over its seeds, with the estimates that reports and verdicts rest on."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from convscope.data import Dataset
from convscope.recipe import ConvNet, Model, Recipe
from convscope.statistics import pooled
from convscope.statistics.answers import history_of, losses_by_image, right_by_image
from convscope.statistics.by_class import balanced_accuracy, is_unequal
from convscope.statistics.crossed_factors import Difference
from convscope.statistics.estimation import Estimate
from convscope.training import Run

K = TypeVar("K")

SPLITS: tuple[pooled.Split, ...] = ("train", "val", "test")


@dataclass(frozen=True, eq=False)
class Configuration:
    """One configuration over its seeds. Losses are in nats, accuracies are fractions.

    A figure is that at each run's best epoch (lowest validation loss), or after the last epoch
    where its name ends in `_last`. `verdict`, `rise` (of the validation loss from its minimum to
    the last epoch) and `replication` (how often the same word comes out again) are those of
    network_verdicts.py, `chapters` names the chapters that trained the runs; they are empty where
    nobody has filled them in.
    """

    label: str
    runs: tuple[Run, ...]
    data: Dataset = field(repr=False)
    train_loss: Estimate
    val_loss: Estimate
    test_loss: Estimate
    train_last: Estimate  # loss after the last epoch, as the two below
    val_last: Estimate
    test_last: Estimate
    train_accuracy: float
    val_accuracy: Estimate
    test_accuracy: Estimate
    verdict: str = ""
    rise: Difference | None = None
    replication: float | None = None
    chapters: str = ""

    @property
    def recipe(self) -> Recipe:
        """That of the first seed."""
        return self.runs[0].recipe

    @property
    def model(self) -> Model:
        return self.recipe.model

    @property
    def convnet(self) -> ConvNet:
        """The model, where the caller knows that it is one of the ConvNet family."""
        assert isinstance(self.model, ConvNet), self.model
        return self.model

    @property
    def filters(self) -> int:
        return self.runs[0].size["filters"]

    @property
    def parameters(self) -> int:
        return self.runs[0].size["parameters"]

    @property
    def flops(self) -> int:
        return self.runs[0].size["flops"]

    @property
    def rate(self) -> float:
        """The learning rate."""
        return self.recipe.lr

    @property
    def run(self) -> Run:
        """The seed of lowest validation loss, for pictures and probes."""
        return min(self.runs, key=lambda run: (run.best["val_loss"], run.recipe.seed))

    @functools.cached_property
    def right(self) -> tuple[NDArray[np.floating], ...]:
        """For each seed 1 for each test image that it classifies right, else 0.

        The array of a seed is empty where its weights cannot be read. Read when first used.
        """
        return tuple(right_by_image(run, self.data) for run in self.runs)

    @functools.cached_property
    def balanced_accuracy(self) -> Estimate | None:
        """On the test images, where classes are so unequal that it says more than accuracy.

        None where they are not, and where answers cannot be read.
        """
        labels = self.data.test.labels.numpy()
        return balanced_accuracy(self.right, labels) if is_unequal(self.data) else None

    @functools.cached_property
    def histories(self) -> list[NDArray[np.floating]] | None:
        """For each seed the validation losses by evaluated epoch and image.

        None where a run has not recorded them. Read when first used.
        """
        found = [history_of(run) for run in self.runs]
        known = [one for one in found if one is not None]
        return known if len(known) == len(found) else None

    def losses(
        self, split: Literal["val", "test"], when: Literal["best", "last"] = "best"
    ) -> tuple[NDArray[np.floating], ...]:
        """For each seed the losses by image; the array of a seed is empty where there are none."""
        return tuple(losses_by_image(run, split, when) for run in self.runs)

    @property
    def gap(self) -> float:
        """Validation loss minus training loss."""
        return self.val_loss.mean - self.train_loss.mean

    @property
    def gap_last(self) -> float:
        return self.val_last.mean - self.train_last.mean

    @property
    def best_epochs(self) -> str:
        """As "2, 3": the best epochs of the runs, each once."""
        return ", ".join(map(str, sorted({run.best["epoch"] for run in self.runs})))

    def curve(self, split: pooled.Split) -> list[float]:
        """Mean loss over seeds after each evaluated epoch."""
        losses = ([row[f"{split}_loss"] for row in run.rows] for run in self.runs)
        return [math.fsum(values) / len(values) for values in zip(*losses, strict=True)]

    def curve_rows(self) -> list[dict[str, Any]]:
        """For charts: a row per split and epoch; `best` marks the lowest validation loss."""
        val = self.curve("val")
        best = val.index(min(val))
        epochs = [row["epoch"] for row in self.runs[0].rows]
        return [
            {
                "network": self.label,
                "epoch": epochs[i],
                "split": "validation" if split == "val" else split,
                "loss": loss,
                "best": split == "val" and i == best,
            }
            for split in SPLITS
            for i, loss in enumerate(self.curve(split))
        ]

    def point(self) -> dict[str, Any]:
        """For charts: test accuracy with its interval."""
        e = self.test_accuracy
        return {
            "network": self.label,
            "parameters": self.parameters,
            "accuracy": e.mean,
            "low": e.low,
            "high": e.high,
            "seeds": e.n,
        }

    def row(self) -> dict[str, Any]:
        """For tables (report/configurations.py): means over seeds."""
        e = self.test_accuracy
        return {
            "network": self.label,
            "parameters": self.parameters,
            "flops": self.flops,
            "lr": self.rate,
            "train_accuracy": self.train_accuracy,
            "val_loss": self.val_loss.mean,
            "test_loss": self.test_loss.mean,
            "test_accuracy": e.mean,
            "interval": e.high - e.mean,
            "seeds": e.n,
            **self.balanced_row(),
        }

    def balanced_row(self) -> dict[str, Any]:
        """Balanced accuracy for tables; nothing where it is not known."""
        found = self.balanced_accuracy
        if found is None:
            return {}
        return {"balanced_accuracy": found.mean, "balanced_interval": found.high - found.mean}

    def numbers(self) -> dict[str, Any]:
        """For results.json: the row, with the interval's ends and the ids of the runs."""
        e = self.test_accuracy
        return {
            **self.row(),
            "test_accuracy_interval": [e.low, e.high],
            "runs": [run.id for run in self.runs],
        }


def grouped(runs: Iterable[Run], key: Callable[[Run], K]) -> dict[K, list[Run]]:
    """The finished runs that have figures of all three splits, by key, in their order."""
    groups: dict[K, list[Run]] = {}
    for run in runs:
        if run.status == "finished" and all(
            run.best.get(f"{split}_loss") is not None for split in SPLITS
        ):
            groups.setdefault(key(run), []).append(run)
    return groups


def configurations(
    groups: Mapping[K, Sequence[Run]], data: Dataset, label: Callable[[K], str]
) -> dict[K, Configuration]:
    """A configuration per group, the seeds' variance pooled over all groups.

    groups: finished runs that differ in their seed alone, as `grouped` returns them.
    data: what they were trained and evaluated on.
    label: the name of a group in tables, charts and texts, from its key.
    """
    best = {split: pooled.losses(groups, data, split) for split in SPLITS}
    last = {split: pooled.losses(groups, data, split, "last") for split in SPLITS}
    val_accuracy = pooled.accuracies(groups, data, "val")
    test_accuracy = pooled.accuracies(groups, data, "test")
    return {
        key: Configuration(
            label=label(key),
            runs=tuple(runs),
            data=data,
            train_loss=best["train"][key],
            val_loss=best["val"][key],
            test_loss=best["test"][key],
            train_last=last["train"][key],
            val_last=last["val"][key],
            test_last=last["test"][key],
            train_accuracy=math.fsum(run.best["train_accuracy"] for run in runs) / len(runs),
            val_accuracy=val_accuracy[key],
            test_accuracy=test_accuracy[key],
        )
        for key, runs in groups.items()
    }
