"""Flatten orders and permuted pixels: equal logits under permuted columns, ids that stay."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from convscope.errors import UserError
from convscope.models import orders
from convscope.models.building import build
from convscope.models.convnet import ConvNetModule
from convscope.models.sizes import size_of
from convscope.recipe.json_form import to_json
from convscope.recipe.networks import ConvNet, Custom, SoftmaxRegression
from convscope.recipe.reading import recipe_from_json
from convscope.recipe.recipe import Recipe

ORDERS: tuple[Any, ...] = ("reversed", "random", "channel-last")


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("hidden", [(), (7,)])
def test_another_order_with_permuted_columns_gives_the_same_logits(
    order: Any, hidden: tuple[int, ...]
) -> None:
    spec, shape = ConvNet(5, 2, hidden=hidden), (3, 12, 8)
    natural, other = (
        build(replace(spec, order=name), shape, 4).double() for name in ("natural", order)
    )
    assert isinstance(natural, ConvNetModule) and isinstance(other, ConvNetModule)
    for a, b in zip(natural.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)  # the same seed, the same weights: only the order differs
    x = torch.randn(6, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert not torch.allclose(natural(x), other(x))
    columns = orders.ORDERS[order]((10, 3, 2), torch.Generator().manual_seed(0))
    assert not torch.equal(columns, torch.arange(60)) and torch.equal(
        columns.sort().values, torch.arange(60)
    )
    first = other.fc[0]
    assert isinstance(first, torch.nn.Linear)
    with torch.no_grad():
        first.weight.copy_(first.weight[:, columns])
    assert torch.allclose(natural(x), other(x), rtol=1e-12, atol=1e-14)


def test_channel_last_is_numpys_transposition() -> None:
    order = orders.ORDERS["channel-last"]((3, 4, 5), torch.Generator())
    assert (order.numpy() == np.arange(60).reshape(3, 4, 5).transpose(1, 2, 0).ravel()).all()
    assert (
        orders.ORDERS["reversed"]((3, 4, 5), torch.Generator()).numpy() == np.arange(60)[::-1]
    ).all()


def test_another_order_for_every_image_keeps_its_values_and_repeats_itself_in_evaluation() -> None:
    shuffle = orders.ShuffleEach()
    x = torch.arange(40.0).expand(9, 40)
    torch.manual_seed(0)
    first, second = shuffle.train()(x), shuffle(x)
    assert torch.equal(first.sort(1).values, x) and not torch.equal(first, second)
    assert len({tuple(row.tolist()) for row in first}) == 9
    first = shuffle.eval()(x)
    state = torch.random.get_rng_state()
    assert torch.equal(first, shuffle(x)) and torch.equal(first[:4], shuffle(x[:4]))
    assert (
        torch.equal(state, torch.random.get_rng_state())
        and len({tuple(row.tolist()) for row in first}) == 9
    )
    net = build(ConvNet(4, 1, order="per-sample"), (1, 8, 8), 3).eval()
    images = torch.randn(5, 1, 8, 8)
    assert torch.equal(net(images), net(images)) and torch.equal(net(images)[:2], net(images[:2]))


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 6, 9)])
def test_permuted_pixels_move_together_and_come_back(shape: tuple[int, int, int]) -> None:
    layer = orders.PermutePixels(*shape[1:])
    x = torch.randn(2, *shape)
    moved = layer(x)
    for image, other in zip(x, moved, strict=True):  # the same for all images and channels
        assert torch.equal(image.flatten(1)[:, layer.order], other.flatten(1))
    back = torch.empty_like(x).flatten(2)
    back[..., layer.order] = moved.flatten(2)
    assert torch.equal(back.reshape(x.shape), x) and not torch.equal(moved, x)
    last = layer(x.to(memory_format=torch.channels_last))
    assert torch.equal(last, moved)
    plain, pixels = ConvNet(3, 1), ConvNet(3, 1, pixels="random")
    assert size_of(plain, shape, 4).parameters == size_of(pixels, shape, 4).parameters
    assert size_of(plain, shape, 4).flops == size_of(replace(plain, order="random"), shape, 4).flops
    nets = [build(spec, shape, 4) for spec in (plain, pixels)]
    assert torch.equal(nets[0](moved), nets[1](x))


def test_ids_of_recipes_have_not_changed_since_before_orders_were_known() -> None:
    """The ids that these recipes had before `order`, `pixels` and norm "affine" (94389bd)."""
    strong = ConvNet(16, 2, hidden=(64,), norm="batch", skip=True, block_depth=2)
    recipes = {
        "d3a0bf58b252": Recipe(),
        "b6cd7ebc0de5": Recipe(model=SoftmaxRegression(), seed=3),
        "5f3b086685e8": Recipe(
            data="shapes",
            data_hash="ab",
            model=strong,
            epochs=3,
            lr=2e-3,
            schedule="onecycle",
            optimizer="adamw",
            weight_decay=1e-2,
            flip=True,
            crop=2,
            limit=500,
        ),
        "6953d723e55d": Recipe(
            model=ConvNet(6, 1, pool="none", head="gap", activation="identity"),
            evaluate=("val",),
            precision="bfloat16",
        ),
        "b5722e1dbb44": Recipe(model=Custom("a.b:c", {"x": 1})),
    }
    for key, recipe in recipes.items():
        assert recipe.id == key
        assert recipe_from_json(json.loads(json.dumps(to_json(recipe)))) == recipe
    new = [replace(strong, order=order) for order in (*ORDERS, "per-sample")] + [
        replace(strong, pixels="random"),
        replace(strong, norm="affine"),
    ]
    assert len({Recipe(model=model).id for model in [strong, *new]}) == 7
    for model in new:
        assert recipe_from_json(json.loads(json.dumps(to_json(Recipe(model=model))))).model == model
    with pytest.raises(UserError, match="head = gap has no order"):
        ConvNet(head="gap", order="reversed")
