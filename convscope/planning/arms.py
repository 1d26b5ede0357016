"""Arms of an experiment: one configuration each, trained over seeds, compared image by image on the same test set."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from convscope.data import Dataset
from convscope.errors import UserError
from convscope.planning.context import Context
from convscope.recipe import Model, label_of
from convscope.report import Table
from convscope.statistics import Difference, Estimate, paired_difference, pooled, pooled_sd
from convscope.training import Run, network, place, predict, resident, right_answers


@dataclass(frozen=True, eq=False)
class Arm:
    """One configuration over its seeds, at each run's best epoch (by validation loss). `right`: for each seed which test images it got right."""

    model: Model
    label: str
    runs: tuple[Run, ...]
    accuracy: Estimate  # on the test images
    val_loss: Estimate
    test_loss: Estimate
    train_accuracy: float
    right: tuple[NDArray[np.floating], ...]

    @property
    def parameters(self) -> int:
        return self.runs[0].size["parameters"]

    @property
    def flops(self) -> int:
        return self.runs[0].size["flops"]

    @property
    def run(self) -> Run:
        """The seed of lowest validation loss, for pictures and probes."""
        return min(self.runs, key=lambda run: run.best["val_loss"])

    def row(self) -> dict[str, Any]:
        return {
            "network": self.label,
            "parameters": self.parameters,
            "flops": self.flops,
            "lr": self.runs[0].recipe.lr,
            "train_accuracy": self.train_accuracy,
            "val_loss": self.val_loss.mean,
            "test_loss": self.test_loss.mean,
            "test_accuracy": self.accuracy.mean,
            "interval": self.accuracy.high - self.accuracy.mean,
            "seeds": self.accuracy.n,
        }

    def point(self) -> dict[str, Any]:
        """For charts: accuracy with its interval."""
        e = self.accuracy
        return {
            "network": self.label,
            "parameters": self.parameters,
            "accuracy": e.mean,
            "low": max(0.0, e.low),
            "high": min(1.0, e.high),
            "seeds": e.n,
        }

    def numbers(self) -> dict[str, Any]:
        e = self.accuracy
        return {
            **self.row(),
            "test_accuracy_interval": [e.low, e.high],
            "runs": [run.id for run in self.runs],
        }


COLUMNS = (
    ("network", "network", "text"),
    ("parameters", "learnable parameters", "int"),
    ("flops", "FLOPs", "int"),
    ("lr", "learning rate", "float"),
    ("train_accuracy", "train accuracy", "percent"),
    ("val_loss", "val loss", "loss"),
    ("test_loss", "test loss", "loss"),
    ("test_accuracy", "test accuracy", "percent"),
    ("interval", "±", "percent"),
    ("seeds", "seeds", "int"),
)

CAPTION = "Means over seeds at each run's best epoch (lowest validation loss). ± is half of the 95 % interval of the accuracy."


def table(
    name: str,
    title: str,
    arms: Iterable[Arm],
    more: Sequence[tuple[str, str, str]] = (),
    extra: Callable[[Arm], dict[str, Any]] | None = None,
    caption: str = "",
) -> Table:
    """A row an arm; `more` are further columns (after the network's name), whose values `extra` gives."""
    rows = [{**arm.row(), **(extra(arm) if extra else {})} for arm in arms]
    return Table(
        name, title, (COLUMNS[0], *more, *COLUMNS[1:]), rows, f"{caption} {CAPTION}".strip()
    )


def arms_of(
    context: Context, runs: Sequence[Run], label: Callable[[Model], str] = label_of
) -> dict[Model, Arm]:
    """The finished runs that saw all splits, by model, in their order. Runs whose weights can't be read count with their recorded figures alone."""
    groups: dict[Model, list[Run]] = {}
    for run in runs:
        if run.status == "finished" and "test" in run.recipe.evaluate:
            groups.setdefault(run.recipe.model, []).append(run)
    if not groups:
        return {}
    accuracy = pooled.accuracies(groups, context.data, "test")
    val_loss, test_loss = (pooled.losses(groups, context.data, split) for split in ("val", "test"))
    return {
        model: Arm(
            model,
            label(model),
            tuple(seen),
            accuracy[model],
            val_loss[model],
            test_loss[model],
            math.fsum(run.best["train_accuracy"] for run in seen) / len(seen),
            tuple(right(run, context.data) for run in seen),
        )
        for model, seen in groups.items()
    }


def right(run: Run, data: Dataset) -> NDArray[np.floating]:
    """1 for each test image that the run's best weights get right, else 0; an empty array where they can't be read."""
    try:
        if (recorded := right_answers(run, data)) is not None:
            return recorded.double().numpy()
        net, tensors = (
            network(run, data=data),
            resident(run.recipe, data),
        )  # a run of an earlier version
    except UserError:  # or the report is written again on a machine without the device
        return np.zeros(0)
    with torch.no_grad():
        answers = predict(place(net, run.recipe), tensors, "test", run.recipe).argmax(1)
    return (answers == tensors.labels["test"]).double().cpu().numpy()


def compare(a: Arm, b: Arm, arms: Iterable[Arm]) -> Difference:
    """Test accuracy of a minus that of b: image by image, with the seeds' standard deviation pooled over all arms."""
    seed_sd, degrees = pooled_sd([[run.best["test_accuracy"] for run in arm.runs] for arm in arms])
    if all(len(values) for values in (*a.right, *b.right)):
        return paired_difference(a.right, b.right, seed_sd, degrees)
    # weights are missing: the shared images are ignored, which errs on the careful side
    mean, se = a.accuracy.mean - b.accuracy.mean, math.hypot(a.accuracy.se, b.accuracy.se)
    found = Difference(mean, se, 0.0, 0.0, degrees, (len(a.runs), len(b.runs)))
    low, high = found.within(0.95)
    return replace(found, low=low, high=high)


def points(difference: Difference) -> str:
    """As "27.3 points (26.1 to 28.5)"."""
    mean, low, high = (
        round(100 * value, 1) + 0.0 for value in (difference.mean, difference.low, difference.high)
    )  # 0.0 has no sign
    return f"{mean:.1f} points ({low:.1f} to {high:.1f})"


def buys(difference: Difference) -> str:
    """As "buys 27.3 points (26.1 to 28.5)"; "costs" where it is negative."""
    if difference.mean >= 0:
        return f"buys {points(difference)}"
    turned = replace(difference, mean=-difference.mean, low=-difference.high, high=-difference.low)
    return f"costs {points(turned)}"


def caveat(difference: Difference) -> str:
    """What has to be said of a difference when no arm has two seeds; else nothing."""
    return (
        ""
        if difference.degrees
        else " (one seed an arm: the intervals leave out how much runs differ by chance)"
    )


def counted(count: int, what: str) -> str:
    """As "1 seed", "2 seeds"."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def numbers(difference: Difference) -> dict[str, Any]:
    return {
        "difference": difference.mean,
        "interval": [difference.low, difference.high],
        "se": difference.se,
        "seeds": list(difference.n),
    }


def percent(estimate: Estimate) -> str:
    return f"{100 * estimate.mean:.1f} % ± {100 * (estimate.high - estimate.mean):.1f}"
