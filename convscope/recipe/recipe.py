"""What a run is: frozen dataclasses, JSON in and out, a stable id. Standard library only, so that it imports in milliseconds.

A run is a pure function of its recipe. The id is a hash of the recipe's canonical JSON together with REVISION, the
revision number of the training code: raise it whenever the same recipe would give other numbers.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Literal

from convscope.errors import UserError
from convscope.recipe.checks import check_range, check_types
from convscope.recipe.json_form import to_json
from convscope.recipe.networks import ADDED, ConvNet, Model

REVISION = 1


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the outcome of a run, and nothing else."""

    data: str = "cifar10"
    model: Model = field(default_factory=ConvNet)
    epochs: int = 8
    seed: int = 0
    # data
    data_hash: str = ""  # content hash; filled in when the data are loaded
    size: int | None = None  # side of the images of a folder; None: chosen from the images
    val: float = 0.1  # the share of the training images held out for validation; 0: train on all, best is the last epoch
    split_seed: int = 0
    limit: int | None = None  # train on so many images of the training split, stratified; None: all
    label_noise: float = (
        0.0  # the share of training labels replaced by a uniformly drawn class, once
    )
    # training
    batch: int = 128
    optimizer: Literal["sgd", "adam", "adamw", "muon"] = "adam"
    lr: float = 1e-3
    momentum: float = 0.9  # sgd only; Nesterov
    weight_decay: float = 0.0
    schedule: Literal["constant", "cosine", "onecycle", "linear"] = "constant"
    label_smoothing: float = 0.0
    crop: int = 0  # pixels of random translation on each side, reflected at the border
    flip: bool = False
    cutout: int = 0  # side of the square set to the mean
    # gradients are summed over parts of a batch of so many images; None: whole batches
    micro_batch: int | None = field(default=None, metadata=ADDED)
    # with flip: each image is mirrored in every other epoch, drawn once whether from the first or the second on
    alternate: bool = field(default=False, metadata=ADDED)
    small_share: float = field(
        default=0.0, metadata=ADDED
    )  # of the epochs, the first ones: on images of 3/4 of the side
    # evaluation: which splits are evaluated after each epoch (a pilot looks at validation alone)
    evaluate: tuple[str, ...] = ("train", "val", "test")
    # evaluate so many of the training images, stratified; None: all
    train_sample: int | None = field(default=None, metadata=ADDED)
    # of each image, their logits averaged after the last epoch, beside the plain figures
    views: Literal["one", "flip", "flip and shift"] = field(default="one", metadata=ADDED)
    # machine: resolved once a study by measurement
    device: str = "cpu"
    precision: Literal["float32", "bfloat16", "float64"] = "float32"
    layout: Literal["channels_last", "contiguous"] = "channels_last"
    threads: int = 1
    kernels: Literal["library", "compiled", "winograd"] = field(default="library", metadata=ADDED)

    def __post_init__(self) -> None:
        check_types(self)
        check_range(self, "epochs", 1, 1_000_000)
        check_range(self, "seed", 0, 2**63 - 1)
        check_range(self, "split_seed", 0, 2**63 - 1)
        check_range(self, "size", 1, 4096)
        check_range(self, "val", 0.0, 0.9)
        check_range(self, "limit", 1, 2**40)
        check_range(self, "label_noise", 0.0, 1.0)
        check_range(self, "train_sample", 1, 2**40)
        check_range(self, "micro_batch", 1, 1_000_000)
        check_range(self, "small_share", 0.0, 1.0)
        check_range(self, "batch", 1, 1_000_000)
        check_range(self, "lr", 1e-12, 1e3)
        check_range(self, "momentum", 0.0, 0.9999)
        check_range(self, "weight_decay", 0.0, 10.0)
        check_range(self, "label_smoothing", 0.0, 0.99)
        check_range(self, "crop", 0, 4096)
        check_range(self, "cutout", 0, 4096)
        check_range(self, "threads", 1, 4096)
        if not self.evaluate or not set(self.evaluate) <= {"train", "val", "test"}:
            raise UserError(f"evaluate = {list(self.evaluate)}: name splits of train, val, test")

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits: the hash of the canonical JSON and of the training code's revision."""
        canonical = json.dumps(
            [REVISION, to_json(self)], sort_keys=True, separators=(",", ":"), allow_nan=False
        )
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]
