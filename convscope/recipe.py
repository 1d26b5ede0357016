"""What a run is: frozen dataclasses, JSON in and out, a stable id. Standard library only, so that it imports in milliseconds.

A run is a pure function of its recipe. The id is a hash of the recipe's canonical JSON together with REVISION, the
revision number of the training code: raise it whenever the same recipe would give other numbers.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import sys
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

REVISION = 1
MAX_RECIPE_BYTES = 1_000_000
MAX_DEPTH = 200
MAX_CHANNELS = 65_536
ADDED = {
    "added": True
}  # metadata of a field that came after the first release of a recipe's form: at its default it is left out of JSON, so that ids stay


class UserError(ValueError):
    """The user's input is wrong. The message is one line that repeats the input and says what would work."""


def one_line(text: object, limit: int = 200) -> str:
    """Printable on one line: control characters escaped, long values cut in the middle."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in str(text))
    return shown if len(shown) <= limit else f"{shown[: limit // 2]}…{shown[-limit // 3 :]}"


@dataclass(frozen=True)
class ConvNet:
    """The one family of networks: `depth` blocks of `block_depth` convolutions, each block closed by a pooling, then a head.

    Block d has round(width · growth^d) filters in each of its convolutions. Every convolution is followed by
    normalisation and activation; with `skip`, a block of two or more convolutions adds the output of its first
    activation to the input of its last one. The head is flatten or global average pooling ("gap"), fully
    connected layers of the `hidden` sizes with the activation between them, and the classifier. `norm` "affine" is batch normalisation's
    scale and bias without its statistics. `order` is that of the flattened vector ("per-sample": another random one for every image), `pixels` that
    of the input's pixels; random ones are drawn once, the same for all images. `stem` "whiten" puts a fixed 2×2 convolution before
    the blocks that decorrelates patches of the training images (`layers.Whiten`). `pool_at` "first" pools behind the first convolution of a block
    instead of at its end, so that the others work on the smaller map.
    """

    width: int = 32
    depth: int = 3
    block_depth: int = 1
    growth: float = 2.0
    kernel: int = 3
    activation: Literal["relu", "gelu", "silu", "tanh", "leaky_relu", "identity"] = "relu"
    pool: Literal["max", "avg", "stride", "none"] = "max"
    pool_sizes: tuple[int, ...] = ()  # one a block; empty: 2 everywhere (1 where pool is "none")
    norm: Literal["none", "batch", "group", "affine"] = "none"
    skip: bool = False
    head: Literal["flatten", "gap"] = "flatten"
    hidden: tuple[int, ...] = ()
    order: Literal["natural", "reversed", "random", "channel-last", "per-sample"] = field(default="natural", metadata=ADDED)
    pixels: Literal["natural", "random"] = field(default="natural", metadata=ADDED)
    stem: Literal["none", "whiten"] = field(default="none", metadata=ADDED)
    pool_at: Literal["end", "first"] = field(default="end", metadata=ADDED)

    def __post_init__(self) -> None:
        check_types(self)
        check_range(self, "width", 1, MAX_CHANNELS)
        check_range(self, "depth", 1, MAX_DEPTH)
        check_range(self, "block_depth", 1, MAX_DEPTH)
        check_range(self, "growth", 0.01, 16.0)
        check_range(self, "kernel", 1, 255)
        if self.kernel % 2 == 0:
            raise UserError(f"kernel = {self.kernel}: an odd size keeps the feature map's size (1, 3, 5, 7 …)")
        if self.pool_sizes and len(self.pool_sizes) != self.depth:
            raise UserError(f"pool_sizes = {list(self.pool_sizes)}: give one size a block, {self.depth} in all, or none")
        if any(not 1 <= size <= 255 for size in self.pool_sizes):
            raise UserError(f"pool_sizes = {list(self.pool_sizes)}: each from 1 to 255")
        if any(not 1 <= size <= MAX_CHANNELS for size in self.hidden):
            raise UserError(f"hidden = {list(self.hidden)}: each from 1 to {MAX_CHANNELS}")
        if self.order != "natural" and self.head != "flatten":
            raise UserError(f"order = {self.order}: of a flattened vector; head = {self.head} has none")
        if max(self.channels) > MAX_CHANNELS:
            raise UserError(f"width {self.width} grown by {self.growth} over {self.depth} blocks is over {MAX_CHANNELS} channels")

    @property
    def channels(self) -> tuple[int, ...]:
        """Filters of each convolution, block by block."""
        return tuple(max(1, round(self.width * min(self.growth**d, 1e9))) for d in range(self.depth))

    @property
    def pools(self) -> tuple[int, ...]:
        """Pooling size of each block; 1 is no pooling."""
        if self.pool == "none":
            return (1,) * self.depth
        return self.pool_sizes or (2,) * self.depth


@dataclass(frozen=True)
class SoftmaxRegression:
    """Flatten, one fully connected layer: the linear baseline."""


@dataclass(frozen=True)
class Custom:
    """The user's own network: `package.module:factory`, called as factory(in_shape, num_classes, **arguments)."""

    factory: str
    arguments: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_types(self)
        try:
            json.dumps(self.arguments, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise UserError(f"arguments = {one_line(self.arguments)}: JSON values only ({one_line(error)})") from None
        module, colon, name = self.factory.partition(":")
        if not colon or not name.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
            raise UserError(f"model {one_line(self.factory)!r}: write package.module:factory")

    def __hash__(self) -> int:
        return hash((self.factory, json.dumps(self.arguments, sort_keys=True)))


Model = ConvNet | SoftmaxRegression | Custom


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
    label_noise: float = 0.0  # the share of training labels replaced by a uniformly drawn class, once
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
    small_share: float = field(default=0.0, metadata=ADDED)  # of the epochs, the first ones: on images of 3/4 of the side
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
        canonical = json.dumps([REVISION, to_json(self)], sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]


MODELS: dict[str, type] = {"convnet": ConvNet, "softmax": SoftmaxRegression, "custom": Custom}


def to_json(value: Any) -> Any:
    """A recipe or one of its parts as plain JSON values; models carry their kind."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {
            f.name: to_json(getattr(value, f.name))
            for f in dataclasses.fields(value)
            if not (f.metadata.get("added") and getattr(value, f.name) == f.default)
        }
        kind = next((name for name, cls in MODELS.items() if type(value) is cls), None)
        return {"kind": kind, **fields} if kind else fields
    if isinstance(value, tuple | list):
        return [to_json(item) for item in value]
    return value


def recipe_from_json(tree: Any) -> Recipe:
    """The recipe that `to_json` wrote, or that a user wrote by hand; UserError names the key that is wrong."""
    if not isinstance(tree, dict):
        raise UserError(f"a recipe is a JSON object, not {type(tree).__name__}")
    tree = dict(tree)
    if "model" in tree:
        tree["model"] = model_from_json(tree["model"])
    return _build(Recipe, tree)


def model_from_json(tree: Any) -> Model:
    if not isinstance(tree, dict):
        raise UserError(f"model: an object with a kind of {', '.join(MODELS)}, not {one_line(tree)!r}")
    kind = tree.get("kind", "convnet")
    if not isinstance(kind, str) or kind not in MODELS:
        raise UserError(f"model.kind {one_line(kind)!r}: one of {', '.join(MODELS)}")
    return _build(MODELS[kind], {k: v for k, v in tree.items() if k != "kind"})


def _build(cls: type, tree: dict[str, Any]) -> Any:
    names = [f.name for f in dataclasses.fields(cls)]
    for key in tree:
        if key not in names:
            raise UserError(f"unknown key {one_line(key)!r} in {cls.__name__}{did_you_mean(key, names)}")
    required = [
        f.name for f in dataclasses.fields(cls) if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    for key in required:
        if key not in tree:
            raise UserError(f"{cls.__name__} lacks {key!r}")
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in tree.items()})


def read_recipe(path: Path | str) -> Recipe:
    """A recipe file: strict JSON in UTF-8, without duplicate keys, NaN or infinities; errors give line and column."""
    path = Path(path)
    if not path.exists():
        raise UserError(f"recipe {one_line(path)}: no such file")
    if not path.is_file():
        raise UserError(f"recipe {one_line(path)}: not a file")
    if path.stat().st_size > MAX_RECIPE_BYTES:
        raise UserError(f"recipe {one_line(path)}: {path.stat().st_size:,} bytes; a recipe has at most {MAX_RECIPE_BYTES:,}")
    try:
        return recipe_from_json(parse_json(path.read_bytes()))
    except UserError as error:
        raise UserError(f"recipe {one_line(path)}: {error}") from None


def parse_json(raw: bytes) -> Any:
    """Strict JSON: UserError with line and column for anything that JSON or a careful reader would not accept."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"not UTF-8 at byte {error.start}") from None
    if not text.strip():
        raise UserError("empty")

    def no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        tree: dict[str, Any] = {}
        for key, value in pairs:
            if key in tree:
                raise UserError(f"key {one_line(key)!r} stands twice")
            tree[key] = value
        return tree

    def refuse(token: str) -> Any:
        raise UserError(f"{token} is not a JSON number")

    def finite(token: str) -> float:
        if not math.isfinite(float(token)):
            raise UserError(f"{token} is beyond the range of numbers")
        return float(token)

    try:
        return json.loads(text, object_pairs_hook=no_duplicates, parse_constant=refuse, parse_float=finite)
    except json.JSONDecodeError as error:
        raise UserError(f"not JSON at line {error.lineno}, column {error.colno}: {error.msg}") from None
    except (RecursionError, ValueError) as error:
        raise error if isinstance(error, UserError) else UserError("not a recipe: nested or numbered too deep") from None


def did_you_mean(word: object, known: typing.Iterable[str]) -> str:
    """'; did you mean …?' with the nearest known name, or the list of names."""
    import difflib

    known = list(known)
    near = difflib.get_close_matches(str(word), known, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"


@functools.cache
def hints_of(cls: type) -> dict[str, Any]:
    """Annotations as types: evaluating them takes most of the time of making a recipe, and a plan makes thousands."""
    return typing.get_type_hints(cls)


def check_types(value: Any) -> None:
    """Each field has the type that its annotation says: "10" is not 10, and True is not a count."""
    hints = hints_of(type(value))
    for f in dataclasses.fields(value):
        given = getattr(value, f.name)
        if hints[f.name] is float and isinstance(given, int | float) and not isinstance(given, bool):
            if abs(given) > sys.float_info.max:
                raise UserError(f"{f.name} = {one_line(given, 60)}: {_expected(float)}")
            object.__setattr__(value, f.name, float(given) + 0.0)  # 1 and 1.0, -0.0 and 0.0 are the same recipe
        elif isinstance(given, list) and typing.get_origin(hints[f.name]) is tuple:
            object.__setattr__(value, f.name, tuple(given))
        given = getattr(value, f.name)
        if not _matches(given, hints[f.name]):
            raise UserError(f"{f.name} = {one_line(repr(given))}: {_expected(hints[f.name])}")


def _matches(value: Any, hint: Any) -> bool:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_matches(value, arg) for arg in args)
    if origin is Literal:
        return isinstance(value, str) and value in args
    if origin is tuple:
        return isinstance(value, tuple) and all(_matches(item, args[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(isinstance(key, str) for key in value)
    if hint in (int, float, bool, str):
        return type(value) is hint and not (isinstance(value, float) and not math.isfinite(value))
    return value is None if hint is type(None) else isinstance(value, hint)


def _expected(hint: Any) -> str:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(args)
    if origin is tuple:
        return f"a list of {_expected(args[0])}"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_expected(arg) for arg in args)
    plain = {int: "a whole number", float: "a finite number", bool: "true or false", str: "a text", type(None): "null"}
    return plain.get(hint, getattr(hint, "__name__", "an object"))


def check_range(value: Any, name: str, low: float, high: float) -> None:
    given = getattr(value, name)
    if given is not None and not low <= given <= high:
        raise UserError(f"{name} = {given}: from {low:,} to {high:,}")
