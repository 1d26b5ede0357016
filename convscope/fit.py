"""The loop: fit(net, tensors, recipe, log). It knows neither disk nor screen.

Every random choice of an epoch comes from generators seeded by (recipe.seed, epoch), so an epoch depends on nothing but the state that
the one before left behind: resuming from a saved state continues to the bit.
"""

from __future__ import annotations

import functools
import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convscope import augment
from convscope.data import Dataset, Split
from convscope.evaluate import Views, autocast, logits_of, metrics_of, packed
from convscope.kernels import at_hand, using
from convscope.optim import learning_rate, optimiser, set_rate
from convscope.recipe import ConvNet, Custom, Recipe, UserError, one_line

EVAL_BATCH = {"cpu": 125, "cuda": 2000, "mps": 1000}
NARROW = 4  # filters
RIGHT = "right.test"  # the name of these booleans, eight to a byte, among a state's tensors
SMALL = 0.75  # of the side: images of the first epochs where recipe.small_share asks for them
Row = dict[str, float | int | None]


@dataclass(frozen=True)
class Tensors:
    """A data set on the device, ready for networks.

    rows: for each split that was asked for N×(H·W·C) values (N×(C·H·W) where the layout is contiguous), normalised in the recipe's precision; uint8
    where all splits' would take more than RESIDENT_BYTES, and normalised a batch at a time. waiting: the other splits' images, uint8 N×C×H×W.
    labels: int64 N. `mean` and `scale` are C×1×1 in float32: (image − mean) · scale has mean 0 and standard deviation 1 on the training split.
    """

    rows: dict[str, Tensor]
    waiting: dict[str, Tensor]
    fits: bool  # all splits, normalised
    labels: dict[str, Tensor]
    mean: Tensor
    scale: Tensor
    in_shape: tuple[int, int, int]
    num_classes: int
    dtype: torch.dtype
    channels_last: bool

    def count(self, split: str) -> int:
        return len(self.labels[split])

    def inputs(self, split: str, index: Tensor | slice) -> Tensor:
        """Network inputs N×C×H×W of a split's images, by their indices or a slice."""
        stored = self.stored(split)
        rows = stored[index] if isinstance(index, slice) else stored.index_select(0, index)
        images = self.unfold(rows)
        return images if images.dtype == self.dtype else self.normalise(images)

    def stored(self, split: str) -> Tensor:
        """The split's rows, laid out when first asked for."""
        if split in self.waiting:
            images = self.waiting[split]
            order = (0, 2, 3, 1) if self.channels_last else (0, 1, 2, 3)
            dtype = self.dtype if self.fits else torch.uint8
            rows = torch.empty((len(images), math.prod(self.in_shape)), dtype=dtype, device=self.mean.device)
            for start in range(0, len(images), 1000):
                part = images[start : start + 1000]
                rows[start : start + 1000] = (self.normalise(part) if self.fits else part).permute(order).flatten(1)
            self.rows[split] = rows
            del self.waiting[split]
        return self.rows[split]

    def bytes(self) -> int:
        """What the images take when all are laid out."""
        laid_out = sum(rows.numel() * rows.element_size() for rows in self.rows.values())
        return laid_out + sum(images.numel() * (self.dtype.itemsize if self.fits else 1) for images in self.waiting.values())

    def unfold(self, rows: Tensor) -> Tensor:
        channels, height, width = self.in_shape
        if self.channels_last:
            return rows.view(-1, height, width, channels).permute(0, 3, 1, 2)
        return rows.view(-1, channels, height, width)

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 images N×C×H×W as network inputs."""
        x = images.to(self.mean.device).float().sub_(self.mean).mul_(self.scale).to(self.dtype)
        return x.contiguous(memory_format=torch.channels_last if self.channels_last else torch.contiguous_format)


PREPARED = 5000  # images
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}
EXACT = 256  # squares of so many bytes have a sum that float32 holds exactly
RESIDENT_BYTES = 600_000_000  # of normalised images, in each process


def check_device(name: str) -> str:
    """The device's full name; UserError where this machine hasn't it. `auto` is the GPU where there is one."""
    gpus = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    have = ["cpu", *gpus, *(["mps"] if torch.backends.mps.is_available() else [])]
    if name == "auto":
        return have[1] if len(have) > 1 else "cpu"
    full = "cuda:0" if name == "cuda" else name
    if full not in have:
        raise UserError(f"device {one_line(name)!r}: this machine has {', '.join(have)}")
    return full


def check_fits(net: nn.Module, tensors: Tensors, recipe: Recipe) -> None:
    """UserError where batch, network and images don't go together; called before anything is written."""
    if recipe.batch > tensors.count("train"):
        raise UserError(f"batch = {recipe.batch}: larger than the {tensors.count('train'):,} training images")
    for shape in (tensors.in_shape, small_shape(tensors.in_shape)) if recipe.small_share else (tensors.in_shape,):
        check_answer(net, shape, tensors.num_classes, recipe)


def check_answer(net: nn.Module, in_shape: tuple[int, int, int], num_classes: int, recipe: Recipe) -> None:
    """UserError where the network does not answer images of this shape with so many logits."""
    name = recipe.model.factory if isinstance(recipe.model, Custom) else type(recipe.model).__name__
    training = {module: module.training for module in net.modules()}
    try:
        with torch.no_grad():
            out = net.eval()(torch.zeros(2, *in_shape))
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        if is_out_of_memory(error):
            raise
        raise UserError(f"model {name}: does not take {'×'.join(map(str, in_shape))} images: {one_line(error)}") from None
    finally:
        for module, mode in training.items():
            module.training = mode
    if not isinstance(out, Tensor) or out.shape != (2, num_classes):
        shape = "×".join(map(str, out.shape)) if isinstance(out, Tensor) else type(out).__name__
        raise UserError(f"model {name}: answers two images with {shape}, not with 2×{num_classes} logits")


def small_shape(in_shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """The shape of the first epochs' images where recipe.small_share asks for smaller ones."""
    channels, height, width = in_shape
    return channels, max(1, math.floor(SMALL * height)), max(1, math.floor(SMALL * width))


def is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(
        sign in str(error)
        for sign in ("can't allocate memory", "not enough memory", "out of memory", "could not create a memory object")
    )


def to_device(data: Dataset, recipe: Recipe) -> Tensors:
    """A data set for the recipe's device, to which each split is moved once: `limit` and `label_noise` applied, statistics taken from the training images."""
    check_device(recipe.device)
    train = data.train
    if recipe.limit is not None and recipe.limit < len(train):
        keep = stratified_subset(train.labels, recipe.limit, recipe.split_seed)
        train = Split(train.images[keep], train.labels[keep])
    if recipe.label_noise:
        train = Split(train.images, noisy(train.labels, data.num_classes, recipe))
    mean, sd = pixel_statistics(train.images)
    column = (data.in_shape[0], 1, 1)
    splits = {"train": train, "val": data.val, "test": data.test}
    dtype = DTYPES[recipe.precision]
    return Tensors(
        rows={},
        waiting={name: split.images for name, split in splits.items()},
        fits=sum(split.images.numel() for split in splits.values()) * dtype.itemsize <= RESIDENT_BYTES,
        labels={name: split.labels.to(recipe.device) for name, split in splits.items()},
        mean=mean.float().reshape(column).to(recipe.device),
        scale=(1 / sd.clamp(min=1e-3)).float().reshape(column).to(recipe.device),
        in_shape=data.in_shape,
        num_classes=data.num_classes,
        dtype=dtype,
        channels_last=recipe.layout == "channels_last",
    )


def tensors_key(recipe: Recipe) -> tuple[object, ...]:
    """What `to_device` depends on: runs with equal keys share their tensors."""
    noise = (recipe.label_noise, recipe.seed) if recipe.label_noise else ()
    data = (recipe.data, recipe.data_hash, recipe.size, recipe.val, recipe.split_seed, recipe.limit, noise)
    return (*data, recipe.device, recipe.precision, recipe.layout)


def pixel_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel on the scale 0 … 255, from exact sums. images: uint8 N×C×H×W."""
    channels = images.shape[1]
    total, squares = torch.zeros(2, channels, dtype=torch.float64)
    for part in images.split(250):
        pixels = part.flatten(2)
        values = F.pad(pixels, (0, -pixels.shape[2] % EXACT)).float().unflatten(2, (-1, EXACT))  # zeros add nothing
        total += values.sum(3).sum((0, 2), dtype=torch.float64)
        squares += values.square_().sum(3).sum((0, 2), dtype=torch.float64)
    count = images.numel() // channels
    mean = total / count
    return mean, (squares / count - mean.square()).clamp(min=0).sqrt()


def stratified_subset(labels: Tensor, count: int, seed: int) -> Tensor:
    """Indices of `count` images in their order, each class with its share (largest remainders), drawn by `seed`."""
    generator = torch.Generator().manual_seed(seed)
    num_classes = int(labels.max()) + 1
    totals = torch.bincount(labels, minlength=num_classes).double()
    exact = totals * count / len(labels)
    take = exact.floor()
    for c in torch.argsort(exact - take, descending=True, stable=True)[: count - int(take.sum())]:
        take[c] += 1
    chosen = []
    for c in range(num_classes):
        members = torch.nonzero(labels == c).flatten()
        chosen.append(members[torch.randperm(len(members), generator=generator)[: int(take[c])]])
    return torch.cat(chosen).sort().values


def noisy(labels: Tensor, num_classes: int, recipe: Recipe) -> Tensor:
    """A share of the labels replaced by classes drawn uniformly, once, by the recipe's seed."""
    generator = torch.Generator().manual_seed(derived_seed(recipe.seed, "label noise"))
    hit = torch.rand(len(labels), generator=generator) < recipe.label_noise
    drawn = torch.randint(0, num_classes, (len(labels),), generator=generator)
    return torch.where(hit, drawn, labels)


def derived_seed(*parts: object) -> int:
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:7], "big")


@dataclass
class State:
    """What an epoch leaves behind: everything that the next one needs, and which test images were right (`RIGHT`). Tensors are on the CPU, contiguous."""

    epoch: int
    tensors: dict[str, Tensor]


def fit(net: nn.Module, tensors: Tensors, recipe: Recipe, log: Callable[[Row, State], None], resume: State | None = None) -> str:
    """Train `net` in place for recipe.epochs epochs; after each, call log(row, state).

    A row has epoch (from 1), lr (of the last step), seconds, train_seconds, and for each split in recipe.evaluate its loss, accuracy and
    loss_sd (standard deviation of the images' losses) over the whole split in eval mode; of the training split over recipe.train_sample
    images, the same after every epoch. A number that is not finite is None and ends the run: the answer is "finished" or "diverged".
    Labels of the training split are the ones trained on (with label_noise, noisy).
    """
    count = tensors.count("train")
    if recipe.batch > count:
        raise UserError(f"batch = {recipe.batch}: larger than the {count:,} training images")
    place(net, recipe)
    optimizer = optimiser(net, recipe)
    labels = tensors.labels["train"]
    if resume is not None:
        load_state(net, optimizer, resume)
    else:
        prepare(net, tensors)
    num_batches = math.ceil(count / recipe.batch)
    steps = recipe.epochs * num_batches
    mirrored = first_mirrored(count, recipe)
    for split in ("train", *recipe.evaluate):
        tensors.stored(split)  # before the clock of the first epoch starts

    for epoch in range(resume.epoch + 1 if resume else 1, recipe.epochs + 1):
        started = time.perf_counter()
        seed = derived_seed(recipe.seed, epoch)
        torch.manual_seed(seed)  # for modules of the user that draw, as dropout does
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(count, generator=generator).to(recipe.device)
        net.train()
        lr = recipe.lr
        # nearly equal batches: every image once an epoch, no small last batch
        for i, index in enumerate(order.tensor_split(num_batches)):
            lr = learning_rate(recipe, (epoch - 1) * num_batches + i, steps)
            set_rate(optimizer, lr)
            turned = None if mirrored is None else mirrored[index.cpu()] ^ bool(epoch % 2)
            x = change(tensors.inputs("train", index), recipe, generator, turned)
            if epoch <= recipe.small_share * recipe.epochs:
                x = augment.shrink(x, *small_shape(tensors.in_shape)[1:])
            step(net, optimizer, x, labels[index], recipe)
        trained = time.perf_counter() - started
        row, right = evaluate_splits(net, tensors, recipe)
        if epoch == recipe.epochs and recipe.views != "one":
            row |= evaluate_views(net, tensors, recipe)
        whole = time.perf_counter() - started
        row = {"epoch": epoch, "lr": lr, **row, "train_seconds": round(trained, 4), "seconds": round(whole, 4)}
        state = state_of(net, optimizer, epoch)
        state.tensors |= right
        log(row, state)
        if any(value is None for value in row.values()):
            return "diverged"
    return "finished"


def place(net: nn.Module, recipe: Recipe) -> nn.Module:
    """Move a network to the recipe's device, weights' precision and layout, in place."""
    net.to(device=recipe.device, dtype=torch.float64 if recipe.precision == "float64" else torch.float32)
    if recipe.layout == "channels_last":
        net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] (torch's stubs lack this overload)
    return net


def prepare(net: nn.Module, tensors: Tensors) -> None:
    """Layers that take their first weights from images have a method `prepare(images)`: it gets the first training images, normalised."""
    for module in net.modules():
        take = getattr(module, "prepare", None)
        if isinstance(module, nn.Module) and callable(take):
            take(tensors.inputs("train", slice(0, PREPARED)))


def step(net: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, labels: Tensor, recipe: Recipe) -> Tensor:
    """One update on a prepared batch; the loss is computed from logits in float32 (float64 for float64). Answers with the (last part's) loss."""
    optimizer.zero_grad(set_to_none=True)
    parts = math.ceil(len(x) / recipe.micro_batch) if recipe.micro_batch else 1
    loss = torch.zeros(())
    for part, target in zip(x.tensor_split(parts), labels.tensor_split(parts), strict=True):
        with autocast(recipe.device, recipe.precision), using(recipe.kernels):
            out = net(part)
        out = out if out.dtype == torch.float64 else out.float()
        loss = F.cross_entropy(out, target, label_smoothing=recipe.label_smoothing)
        (loss if parts == 1 else loss * (len(part) / len(x))).backward()
    optimizer.step()
    return loss


def first_mirrored(count: int, recipe: Recipe) -> Tensor | None:
    """With alternating flips, which of the training images are mirrored in the even epochs; the others are in the odd ones."""
    if not (recipe.flip and recipe.alternate):
        return None
    generator = torch.Generator().manual_seed(derived_seed(recipe.seed, "mirrored"))
    return torch.rand(count, generator=generator) < 0.5


def change(x: Tensor, recipe: Recipe, generator: torch.Generator, mirrored: Tensor | None = None) -> Tensor:
    """The recipe's augmentation of a normalised batch; `mirrored` names the images that are, where that is not drawn here."""
    if recipe.crop:
        x = augment.crop(x, recipe.crop, generator)
    if recipe.flip:
        x = augment.flip(x, generator) if mirrored is None else augment.mirror(x, mirrored)
    return augment.cutout(x, recipe.cutout, generator) if recipe.cutout else x


def predict(net: nn.Module, tensors: Tensors, split: str, recipe: Recipe, index: Tensor | None = None) -> Tensor:
    """Logits N×K of a split's images, or of those that `index` names, in eval mode."""
    inputs = functools.partial(batch_of, tensors, split, index)
    count = tensors.count(split) if index is None else len(index)
    with using(at_hand(recipe.kernels, DTYPES[recipe.precision])):
        return logits_of(net, count, inputs, recipe.device, recipe.precision, eval_batch(recipe))


def eval_batch(recipe: Recipe) -> int:
    """Images evaluated at once: on a CPU as many as keep the activations in the cache, which is more for narrow networks (measured)."""
    batch = EVAL_BATCH[recipe.device.partition(":")[0]]
    narrow = isinstance(recipe.model, ConvNet) and recipe.model.width <= NARROW
    return 4 * batch if narrow else batch


def batch_of(tensors: Tensors, split: str, index: Tensor | None, start: int, stop: int) -> Tensor:
    return tensors.inputs(split, slice(start, stop) if index is None else index[start:stop])


def evaluated_images(tensors: Tensors, split: str, recipe: Recipe) -> Tensor | None:
    """Indices of the images of a split that are evaluated; None: all."""
    if split != "train" or recipe.train_sample is None or recipe.train_sample >= tensors.count("train"):
        return None
    return stratified_subset(tensors.labels["train"].cpu(), recipe.train_sample, recipe.split_seed).to(recipe.device)


def evaluate_splits(net: nn.Module, tensors: Tensors, recipe: Recipe) -> tuple[Row, dict[str, Tensor]]:
    """Metrics, and which test images the network gets right: networks are compared image by image."""
    row: Row = {}
    right: dict[str, Tensor] = {}
    for name in recipe.evaluate:
        if tensors.count(name) == 0:  # no validation split was asked for
            continue
        index = evaluated_images(tensors, name, recipe)
        labels = tensors.labels[name] if index is None else tensors.labels[name][index]
        logits = predict(net, tensors, name, recipe, index)
        metrics = metrics_of(logits, labels)
        if name == "test":
            right[RIGHT] = packed(logits.argmax(1) == labels)
        for key in ("loss", "accuracy", "loss_sd"):
            value = getattr(metrics, key)
            row[f"{name}_{key}"] = value if math.isfinite(value) else None
    return row, right


def evaluate_views(net: nn.Module, tensors: Tensors, recipe: Recipe) -> Row:
    """Loss and accuracy of logits averaged over views of each image, on the splits that are evaluated whole."""
    row: Row = {}
    for name in recipe.evaluate:
        if name != "train" and tensors.count(name):
            metrics = metrics_of(predict(Views(net, recipe.views), tensors, name, recipe), tensors.labels[name])
            row |= {f"{name}_views_loss": metrics.loss, f"{name}_views_accuracy": metrics.accuracy}
    return {key: value if value is not None and math.isfinite(value) else None for key, value in row.items()}


def state_of(net: nn.Module, optimizer: torch.optim.Optimizer, epoch: int) -> State:
    tensors = {f"net.{name}": value for name, value in net.state_dict().items()}
    for i, values in optimizer.state_dict()["state"].items():
        for key, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{i}.{key}"] = value
    return State(epoch, {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()})


def load_state(net: nn.Module, optimizer: torch.optim.Optimizer, state: State) -> None:
    net.load_state_dict({k.removeprefix("net."): v for k, v in state.tensors.items() if k.startswith("net.")})
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for name, value in state.tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "optimizer":
            index, _, key = rest.partition(".")
            parameter = parameters[int(index)]
            # fused kernels walk parameter and state in one order: the state takes the parameter's strides
            home = torch.empty_like(parameter, dtype=value.dtype) if value.shape == parameter.shape else torch.empty_like(value)
            optimizer.state[parameter][key] = home.copy_(value)
