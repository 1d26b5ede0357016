"""Everything that decides the outcome of a run, as one frozen dataclass with a stable id.

A run is a pure function of its recipe. The id is a hash of the recipe's canonical JSON together
with REVISION, the revision number of the training code: raise it whenever the same recipe would
give other numbers.
"""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass, field
from typing import Literal

from convscope.errors import UserError
from convscope.recipe.checks import check_range, check_types
from convscope.recipe.json_form import to_json
from convscope.recipe.networks import ADDED, ConvNet, Model

REVISION = 1
Precision = Literal["float32", "bfloat16", "float64"]
Layout = Literal["channels_last", "contiguous"]
Kernels = Literal["library", "compiled", "winograd"]
SPLITS = ("train", "val", "test")
RANGES: dict[str, tuple[float, float]] = {
    "epochs": (1, 1_000_000),
    "seed": (0, 2**63 - 1),
    "split_seed": (0, 2**63 - 1),
    "size": (1, 4096),
    "val": (0.0, 0.9),
    "limit": (1, 2**40),
    "subset_seed": (0, 2**63 - 1),
    "label_noise": (0.0, 1.0),
    "noise_seed": (0, 2**63 - 1),
    "evaluate_every": (1, 1_000_000),
    "train_sample": (1, 2**40),
    "micro_batch": (1, 1_000_000),
    "small_share": (0.0, 1.0),
    "batch": (1, 1_000_000),
    "lr": (1e-12, 1e3),
    "momentum": (0.0, 0.9999),
    "weight_decay": (0.0, 10.0),
    "label_smoothing": (0.0, 0.99),
    "crop": (0, 4096),
    "cutout": (0, 4096),
    "threads": (1, 4096),
}


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the outcome of a run, and nothing else.

    Raises UserError for a value of another type or out of range.

    data: a known data set's name, or a folder, table, archive or .npz file of images.
    model: the network.
    epochs: passes over the training images.
    seed: draws the initial weights, the order of the images, their augmentation and, without
        a noise_seed, the labels' noise.
    data_hash: SHA-256 of the data set's content; filled in when the data are loaded.
    size: side in pixels of the images of a folder; without it, chosen from the images.
    columns: columns of a table whose names are not the usual ones, as
        path=file,label=kind,split=part,group=patient.
    group_by: keep images together that belong together: by a column of the table, by parent
        (the image's folder) or by prefix (its name up to the last number).
    resize: what becomes of images of a folder that are not square: crop keeps the centre,
        squash changes the aspect ratio, pad adds black bars.
    classes: which folders of images are classes: with nested, each folder that holds images;
        else those of the root or of a split, with all images below.
    val: share of the training images held out for validation; with 0 the last epoch is the
        best.
    split_seed: draws the images that are held out for validation.
    limit: train on so many images, the same share of each class; without it, on all.
    subset_seed: draws the images of limit, so that a smaller limit takes a part of what a
        larger one takes; without it, split_seed draws them.
    label_noise: share of the training labels replaced, once, by a class drawn from all K, so
        that a share of label_noise · (1 − 1/K) is wrong; with noise_seed, by a wrong class.
    noise_seed: draws the labels' noise, from the wrong classes only, so that all of
        label_noise is wrong; an image has the same label in every subset.
    batch: images per optimiser step.
    optimizer: the optimiser.
    lr: learning rate, the highest of the schedule.
    momentum: Nesterov momentum of sgd; the other optimisers ignore it.
    weight_decay: decay of the weights, not of biases and normalisation: decoupled for adamw and
        muon, an L2 penalty otherwise.
    schedule: how the learning rate changes over the steps.
    label_smoothing: share of each label that is spread over all classes.
    crop: random translation by up to so many pixels, reflected at the border.
    flip: mirror each training image at random.
    cutout: side in pixels of a random square set to the mean; 0 is none.
    micro_batch: sum the gradients of a batch over parts of so many images; without it, whole
        batches.
    alternate: with flip, mirror each image in every other epoch instead of at random.
    small_share: share of the epochs, the first ones, on images of 3/4 of the side.
    evaluate: splits that are evaluated after each epoch.
    evaluate_every: evaluate after every epoch of so many, and after the last one; the best
        epoch is one of these.
    train_sample: evaluate so many of the training images, the same share of each class;
        without it, all.
    views: views of each image whose logits are averaged after the last epoch, beside the
        plain figures.
    device: where the network is trained: cpu, cuda:N or mps.
    precision: floating-point type of the network's arithmetic.
    layout: memory layout of the feature maps.
    threads: threads of the CPU.
    kernels: the library's operations, compiled kernels around the convolutions, or Winograd's
        convolutions too.
    """

    data: str = "cifar10"
    model: Model = field(default_factory=ConvNet)
    epochs: int = 8
    seed: int = 0
    # data
    data_hash: str = ""
    size: int | None = None
    columns: str | None = field(default=None, metadata=ADDED)
    group_by: str | None = field(default=None, metadata=ADDED)
    resize: Literal["crop", "squash", "pad"] = field(default="crop", metadata=ADDED)
    classes: Literal["folders", "nested"] = field(default="folders", metadata=ADDED)
    val: float = 0.1
    split_seed: int = 0
    limit: int | None = None
    subset_seed: int | None = field(default=None, metadata=ADDED)
    label_noise: float = 0.0
    noise_seed: int | None = field(default=None, metadata=ADDED)
    # training
    batch: int = 128
    optimizer: Literal["sgd", "adam", "adamw", "muon"] = "adam"
    lr: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: Literal["constant", "cosine", "onecycle", "linear"] = "constant"
    label_smoothing: float = 0.0
    crop: int = 0
    flip: bool = False
    cutout: int = 0
    micro_batch: int | None = field(default=None, metadata=ADDED)
    alternate: bool = field(default=False, metadata=ADDED)
    small_share: float = field(default=0.0, metadata=ADDED)
    # evaluation
    evaluate: tuple[str, ...] = SPLITS
    evaluate_every: int = field(default=1, metadata=ADDED)
    train_sample: int | None = field(default=None, metadata=ADDED)
    views: Literal["one", "flip", "flip and shift"] = field(default="one", metadata=ADDED)
    # machine: measured once a study
    device: str = "cpu"
    precision: Precision = "float32"
    layout: Layout = "channels_last"
    threads: int = 1
    kernels: Kernels = field(default="library", metadata=ADDED)

    def __post_init__(self) -> None:
        check_types(self)
        for name, (low, high) in RANGES.items():
            check_range(self, name, low, high)
        if not self.evaluate or not set(self.evaluate) <= set(SPLITS):
            found = f"evaluate = {list(self.evaluate)}"
            raise UserError(f"{found}: must name one or more of {', '.join(SPLITS)}")

    def with_seed(self, seed: int) -> Recipe:
        """The same recipe with another seed, for plans of thousands: only the seed is checked.

        Raises UserError where it is none.
        """
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__, seed=seed)
        other.__dict__.pop("id", None)
        if type(seed) is not int:
            check_types(other)
        check_range(other, "seed", *RANGES["seed"])
        return other

    @functools.cached_property
    def id(self) -> str:
        """Twelve hexadecimal digits: a hash of the canonical JSON and of REVISION."""
        canonical = json.dumps(
            [REVISION, to_json(self)], sort_keys=True, separators=(",", ":"), allow_nan=False
        )
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]
