"""The loop: fit(net, tensors, recipe, log). It knows neither disk nor screen.

Every random choice of an epoch comes from generators seeded by (recipe.seed, epoch), so an epoch
depends on nothing but the state that the one before left behind: resuming continues to the bit.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from convscope.recipe import Recipe
from convscope.training import augmentation as augment
from convscope.training.acceleration import accelerate
from convscope.training.caller import seed_generators
from convscope.training.checks import batches_of, fewest_images, small_shape
from convscope.training.clock import seconds_now
from convscope.training.evaluation import evaluate_splits, evaluate_views
from convscope.training.fitting import check_batch
from convscope.training.optimisers import learning_rate, optimiser, set_rate
from convscope.training.state import Row, State, load_state, state_of
from convscope.training.steps import Steps, steps_of
from convscope.training.tensors import Tensors, derived_seed

PREPARED = 5000  # images


def fit(
    net: nn.Module,
    tensors: Tensors,
    recipe: Recipe,
    log: Callable[[Row, State], None],
    resume: State | None = None,
) -> str:
    """Train a network in place for recipe.epochs epochs; returns "finished" or "diverged".

    net: images N×C×H×W to logits N×K; it is moved to the recipe's device, precision and layout.
    tensors: the data on that device, as `to_device` returns them.
    recipe: optimiser, schedule, augmentation, batches and what is evaluated.
    log: called as log(row, state) after each epoch that is evaluated: every
        recipe.evaluate_every-th and the last. A row has epoch (from 1), lr (of the last step),
        train_seconds and seconds (with evaluation) since the row before, and for each split its
        loss, accuracy and loss_sd (standard deviation over images) in eval mode: over the whole
        split, of the training split over recipe.train_sample images, the same in every epoch.
        Training labels are the ones trained on (with label_noise, noisy). A number that is not
        finite is None and ends the run as "diverged".
    resume: the state of an earlier epoch, from which training goes on to the bit.

    A last batch of one image joins the one before where the network normalises over the batch's
    images and cannot do so over one.

    Raises UserError where a batch is larger than the training split or too small for the network,
    or where this machine lacks the kernels of the recipe.
    """
    check_batch(recipe, tensors.count("train"))
    least = fewest_images(net, tensors, recipe)
    place(net, recipe).train()
    net = accelerate(net, recipe)
    optimizer = optimiser(net, recipe)
    take_step = steps_of(net, optimizer, recipe)
    if resume is not None:
        load_state(net, optimizer, resume)
    else:
        prepare(net, tensors)
    for split in ("train", *recipe.evaluate):
        tensors.stored(split)  # before the clock of the first epoch starts

    started = seconds_now(recipe.device)
    for epoch in range(resume.epoch + 1 if resume else 1, recipe.epochs + 1):
        lr = train_epoch(net, optimizer, take_step, tensors, recipe, epoch, least)
        if epoch % recipe.evaluate_every and epoch < recipe.epochs:
            continue
        trained = seconds_now(recipe.device) - started
        row, by_image = evaluate_splits(net, tensors, recipe)
        if epoch == recipe.epochs and recipe.views != "one":
            row |= evaluate_views(net, tensors, recipe)
        whole = seconds_now(recipe.device) - started
        row = {"epoch": epoch, "lr": lr, **row}
        row |= {"train_seconds": round(trained, 4), "seconds": round(whole, 4)}
        state = state_of(net, optimizer, epoch)
        state.tensors |= by_image
        log(row, state)
        if any(value is None for value in row.values()):
            return "diverged"
        if epoch < recipe.epochs:
            started = seconds_now(recipe.device)
    return "finished"


def train_epoch(
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    take_step: Steps,
    tensors: Tensors,
    recipe: Recipe,
    epoch: int,
    least: int = 1,
) -> float:
    """Every training image once, in an order drawn for this epoch; returns the last step's rate.

    least: the fewest images of a batch.
    """
    count = tensors.count("train")
    num_batches = batches_of(count, recipe.batch, least)
    labels = tensors.labels["train"]
    seed = derived_seed(recipe.seed, epoch)
    seed_generators(recipe.device, seed)  # for modules of the user that draw, as dropout does
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(count, generator=generator)
    mirrored = first_mirrored(count, recipe)
    small = epoch <= recipe.small_share * recipe.epochs
    net.train()
    lr = recipe.lr
    # nearly equal batches: every image once an epoch, no small last batch
    batches = order.to(recipe.device).tensor_split(num_batches)
    for i, (index, on_cpu) in enumerate(zip(batches, order.tensor_split(num_batches), strict=True)):
        lr = learning_rate(recipe, (epoch - 1) * num_batches + i, recipe.epochs * num_batches)
        set_rate(optimizer, lr)
        turned = None if mirrored is None else mirrored[on_cpu] ^ bool(epoch % 2)
        x = change(tensors.inputs("train", index), recipe, generator, turned)
        if small:
            x = augment.shrink(x, *small_shape(tensors.in_shape)[1:])
        take_step(x, labels[index])
    return lr


def place(net: nn.Module, recipe: Recipe) -> nn.Module:
    """Move a network to the recipe's device, weights' precision and layout, in place.

    Complex weights stay complex: of two numbers of that precision.
    """
    dtype = torch.float64 if recipe.precision == "float64" else torch.float32
    if not any(value.is_complex() for value in (*net.parameters(), *net.buffers())):
        net.to(device=recipe.device, dtype=dtype)
    else:  # net.to(dtype) would leave their real parts alone
        net.to(device=recipe.device)
        net.double() if dtype == torch.float64 else net.float()
        for value in (*net.parameters(), *net.buffers()):
            if value.is_complex():
                value.data = value.data.to(dtype.to_complex())
    if recipe.layout == "channels_last":
        # torch's stubs lack this overload
        net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return net


def prepare(net: nn.Module, tensors: Tensors) -> None:
    """Hand the first training images, normalised, to layers that take first weights from them.

    Such a layer has a method `prepare(images)`.
    """
    for module in net.modules():
        take = getattr(module, "prepare", None)
        if isinstance(module, nn.Module) and callable(take):
            take(tensors.inputs("train", slice(0, PREPARED)))


def first_mirrored(count: int, recipe: Recipe) -> Tensor | None:
    """With alternating flips, which training images are mirrored in the even epochs (booleans).

    The others are mirrored in the odd epochs. None where each batch draws its own.
    """
    if not (recipe.flip and recipe.alternate):
        return None
    generator = torch.Generator().manual_seed(derived_seed(recipe.seed, "mirrored"))
    return torch.rand(count, generator=generator) < 0.5


def change(
    x: Tensor, recipe: Recipe, generator: torch.Generator, mirrored: Tensor | None = None
) -> Tensor:
    """The recipe's augmentation of a normalised batch.

    mirrored: which images are mirrored; None draws it here.
    """
    if recipe.crop:
        x = augment.crop(x, recipe.crop, generator)
    if recipe.flip:
        x = augment.flip(x, generator) if mirrored is None else augment.mirror(x, mirrored)
    return augment.cutout(x, recipe.cutout, generator) if recipe.cutout else x
