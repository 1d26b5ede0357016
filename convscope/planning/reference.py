"""The study's reference recipe: a whitening stem, early pooling, batch normalisation, Muon."""

from __future__ import annotations

from dataclasses import dataclass, replace

from convscope.planning.context import Context
from convscope.planning.device_limits import within_limits
from convscope.planning.epochs import base_recipe, epochs_of, shallower
from convscope.recipe import ConvNet, Recipe

# A whitening stem and pooling behind each block's first convolution (Page 2019; Jordan 2024, arXiv
# 2404.00498), batch normalisation, skips, Muon with a rate that falls linearly (Jordan et al.
# 2024), label smoothing (Szegedy et al. 2016), flips and shifts.

SMALLEST_WHITENED = 4  # pixels a side: the stem makes a map one smaller


@dataclass(frozen=True)
class Reference:
    """The reference recipe of a preset: network, epochs, pixels of shift."""

    model: ConvNet
    epochs: int
    crop: int = 0


def reference_model(width: int, block_depth: int = 2) -> ConvNet:
    return ConvNet(
        width, 3, block_depth, norm="batch", skip=True, head="gap", stem="whiten", pool_at="first"
    )


REFERENCES = {
    "quick": Reference(reference_model(16), 4, crop=2),
    "standard": Reference(reference_model(64), 7, crop=2),
    "full": Reference(reference_model(128, block_depth=3), 40, crop=4),
}

OPTIMIZERS = {"muon": "Muon", "adamw": "AdamW", "adam": "Adam", "sgd": "SGD with Nesterov momentum"}

RATES = {
    "constant": "a learning rate of",
    "linear": "a learning rate that falls linearly from",
    "cosine": "a learning rate that falls as a cosine from",
    "onecycle": "a one-cycle learning rate of at most",
}


def reference_recipe(context: Context) -> Recipe:
    """The reference recipe of the study's preset, with the study's first seed.

    The search begins with it, and the chapter on capacity shows it beside its sweep. Where a device
    is given, it is made to fit. Raises UserError where nothing does.
    """
    reference = REFERENCES[context.preset]
    model = within_limits(context, preset_model(context))
    return replace(
        base_recipe(context),
        model=model,
        epochs=epochs_of(context, reference.epochs),
        lr=0.12,
        schedule="linear",
        optimizer="muon",
        weight_decay=1e-2,
        label_smoothing=0.1,
        flip=True,
        crop=reference.crop,
        seed=context.seeds[0],
    )


def preset_model(context: Context) -> ConvNet:
    """The reference recipe's network as the images leave room for it, whatever a device holds."""
    reference = REFERENCES[context.preset]
    model = (
        reference.model
        if min(context.data.in_shape[1:]) >= SMALLEST_WHITENED
        else replace(reference.model, stem="none")
    )
    return shallower(model, context.data.in_shape)
