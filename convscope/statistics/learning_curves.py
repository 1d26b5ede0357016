"""From the runs of one configuration to a network's figures and its verdict: undertrained, underfits, overfits, fits (docs/concepts.md)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from convscope.data import Dataset
from convscope.recipe import ConvNet, label_of
from convscope.statistics import pooled
from convscope.statistics.estimation import Estimate
from convscope.training import Run

FALL = 0.02  # training loss that falls by a larger share an epoch is not converged

SMALL_GAP = 0.10  # of the validation loss


@dataclass(frozen=True)
class Network:
    """One configuration over its seeds. Losses are estimates at each run's best epoch and at the last epoch."""

    model: ConvNet
    label: str
    runs: tuple[Run, ...]
    train_best: Estimate
    val_best: Estimate
    test_best: Estimate
    train_last: Estimate
    val_last: Estimate
    test_last: Estimate
    accuracy: Estimate  # test accuracy at the best epoch
    verdict: str = ""

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
        return self.runs[0].recipe.lr

    @property
    def gap_best(self) -> float:
        return self.val_best.mean - self.train_best.mean

    @property
    def gap_last(self) -> float:
        return self.val_last.mean - self.train_last.mean

    @property
    def best_epochs(self) -> str:
        epochs = sorted({run.best["epoch"] for run in self.runs})
        return ", ".join(map(str, epochs))

    def curve(self, split: str) -> list[float]:
        """Mean loss over seeds after each epoch."""
        return [
            math.fsum(values) / len(values)
            for values in zip(
                *([row[f"{split}_loss"] for row in run.rows] for run in self.runs), strict=True
            )
        ]

    def curve_rows(self) -> list[dict[str, Any]]:
        val = self.curve("val")
        best = val.index(min(val))
        return [
            {
                "network": self.label,
                "epoch": i + 1,
                "split": shown,
                "loss": loss,
                "best": split == "val" and i == best,
            }
            for split, shown in (("train", "train"), ("val", "validation"), ("test", "test"))
            for i, loss in enumerate(self.curve(split))
        ]

    def numbers(self) -> dict[str, Any]:
        def both(e: Estimate) -> dict[str, float]:
            return {"mean": e.mean, "se": e.se, "low": e.low, "high": e.high}

        return {
            "network": self.label,
            "width": self.model.width,
            "depth": self.model.depth,
            "block_depth": self.model.block_depth,
            "runs": [run.id for run in self.runs],
            "filters": self.filters,
            "parameters": self.parameters,
            "flops": self.flops,
            "lr": self.rate,
            "verdict": self.verdict,
            "best": {
                "train_loss": both(self.train_best),
                "val_loss": both(self.val_best),
                "test_loss": both(self.test_best),
                "test_accuracy": both(self.accuracy),
            },
            "last": {
                "train_loss": both(self.train_last),
                "val_loss": both(self.val_last),
                "test_loss": both(self.test_last),
            },
            "gap_best": self.gap_best,
            "gap_last": self.gap_last,
            "fall_per_epoch": fall_per_epoch(self.curve("train")),
        }


def networks(
    sweep: Sequence[Run], beside: Sequence[Run], data: Dataset
) -> tuple[list[Network], list[Network]]:
    """(sweep, beside): configurations with their estimates, all pooled together, and verdicts. Runs that did not finish are left out."""
    groups: dict[ConvNet, list[Run]] = {}
    for run in [*sweep, *beside]:
        if run.status == "finished":
            assert isinstance(run.recipe.model, ConvNet)
            groups.setdefault(run.recipe.model, []).append(run)
    accuracy = pooled.accuracies(groups, data, "test")
    splits: tuple[pooled.Split, ...] = ("train", "val", "test")
    table = {f"{split}_best": pooled.losses(groups, data, split) for split in splits}
    table |= {f"{split}_last": pooled.losses(groups, data, split, "last") for split in splits}
    losses: dict[ConvNet, dict[str, Any]] = {
        model: {name: found[model] for name, found in table.items()} for model in groups
    }
    found = {
        model: Network(
            model=model,
            label=label_of(model),
            runs=tuple(runs),
            accuracy=accuracy[model],
            **losses[model],
        )
        for model, runs in groups.items()
    }
    swept = [n for n in found.values() if any(run in sweep for run in n.runs)]
    if not swept:
        return [], []
    reference = min(swept, key=lambda n: n.val_best.mean)
    judged = {n.model: replace(n, verdict=verdict_of(n, reference)) for n in found.values()}
    return [judged[n.model] for n in swept], [
        judged[n.model] for n in found.values() if n not in swept
    ]


def verdict_of(network: Network, reference: Network) -> str:
    """The verdict on one network against the best of the sweep (docs/concepts.md, in this order)."""
    train, val = network.curve("train"), network.curve("val")
    epoch = overfits_from(train, val, network.val_best.se)
    if epoch is not None:
        return f"overfits from epoch {epoch}"
    if fall_per_epoch(train) > FALL:
        return "undertrained"
    above = network.train_last.mean - reference.train_last.mean
    small_gap = network.gap_last < SMALL_GAP * network.val_last.mean
    if small_gap and above > 2 * math.hypot(network.train_last.se, reference.train_last.se):
        return "underfits"
    return "fits"


def overfits_from(train: Sequence[float], val: Sequence[float], se: float) -> int | None:
    """The first epoch (from 1) from which to the end the validation loss stays more than 2 SE above its minimum, the training loss being lower than there."""
    low = val.index(min(val))
    first = None
    for i in range(len(val) - 1, low, -1):
        if val[i] <= val[low] + 2 * se or train[i] >= train[low]:
            break
        first = i + 1
    return first


def fall_per_epoch(train: Sequence[float]) -> float:
    """The share by which training loss falls in an epoch, over the last two epochs (the last one of two); infinite where there is one epoch."""
    back = min(2, len(train) - 1)
    if back == 0:
        return math.inf
    return 1 - (train[-1] / train[-1 - back]) ** (1 / back) if train[-1 - back] > 0 else 0.0
