"""What the page computes in the browser is what Python computes on the real network."""

from __future__ import annotations

import json
import random
from dataclasses import asdict
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from convscope.errors import UserError
from convscope.models import Block, build, check_sides, size_of
from convscope.probes import receptive_field
from convscope.recipe import ConvNet
from convscope.report.page import part

COUNT, PARTS = 200, 8
WRONG: tuple[dict[str, Any], ...] = (
    {"width": 0},
    {"width": 65_537},
    {"depth": 0},
    {"depth": 201},
    {"block_depth": 0},
    {"growth": 0.0},
    {"growth": 17.0},
    {"growth": 16.0, "depth": 6},
    {"kernel": 4},
    {"kernel": 257},
    {"pool_sizes": [2, 2, 2, 2, 2, 2]},
    {"pool_sizes": [0], "depth": 1},
    {"dilations": [0], "depth": 1},
    {"hidden": [0]},
    {"order": "random", "head": "gap"},
    {"width": 60_000, "growth": 1.0, "depth": 3, "kernel": 7},
)


def drawn(draw: random.Random) -> tuple[dict[str, Any], tuple[int, int, int], int]:
    """Settings of a network, the images' shape and the number of classes; one in six is wrong."""
    depth = draw.choice([1, 1, 2, 2, 3, 4])
    head = draw.choice(["flatten", "gap"])
    model: dict[str, Any] = {
        "width": draw.randint(1, 9),
        "depth": depth,
        "block_depth": draw.choice([1, 1, 2, 3, 4]),
        "growth": draw.choice([0.5, 1.0, 1.25, 1.5, 2.0, 2.3]),
        "kernel": draw.choice([1, 3, 3, 5, 7]),
        "activation": draw.choice(["relu", "gelu", "tanh", "identity", "leaky_relu", "silu"]),
        "pool": draw.choice(["max", "avg", "stride", "none"]),
        "pool_sizes": draw.choice([[], [], [draw.randint(1, 3) for _ in range(depth)]]),
        "norm": draw.choice(["none", "batch", "group", "affine"]),
        "skip": draw.random() < 0.5,
        "head": head,
        "hidden": draw.choice([[], [], [7], [9, 5]]),
        "order": draw.choice(["natural", "random", "per-sample"])
        if head == "flatten"
        else "natural",
        "pixels": draw.choice(["natural", "natural", "random"]),
        "stem": draw.choice(["none", "none", "whiten"]),
        "pool_at": draw.choice(["end", "first"]),
        "dilations": draw.choice([[], [], [draw.randint(1, 3) for _ in range(depth)]]),
    }
    if draw.random() < 1 / 6:
        model |= draw.choice(WRONG)
    # of permuted images one pixel wide, each sees its whole row: stride None on that axis alone
    least = 1 if model["pixels"] == "natural" else 2
    shape = (draw.choice([1, 3]), draw.randint(least, 24), draw.randint(least, 24))
    return model, shape, draw.randint(1, 12)


def expected(
    model: dict[str, Any], shape: tuple[int, int, int], classes: int, with_fields: bool
) -> dict[str, Any]:
    """Sizes and fields of the network that convscope builds, or its refusal."""
    try:
        spec = ConvNet(**model)
        check_sides(spec, shape)
        size = size_of(spec, shape, classes)
    except UserError as error:
        return {"error": str(error)}
    net = build(spec, shape, classes)
    tree = json.loads(json.dumps(asdict(size)))
    fields = receptive_field(net, shape) if with_fields else ()
    for row, field in zip(tree["layers"], fields, strict=with_fields):
        stride = None if field.whole else field.stride
        row |= {"field": list(field.sizes), "stride": stride, "start": field.start}
        if not row["name"].startswith(("pixels", "stem", "blocks")):
            # a flattened map of one row and channel is that row still; the page says "all"
            row |= {"field": list(shape[1:]), "stride": None, "start": 0}
    return {**tree, "peak": peak_of(net, shape)}


def peak_of(net: nn.Module, shape: tuple[int, int, int]) -> int:
    """Bytes of the largest set of tensors that a layer of a real pass needs, by hooks.

    Convolutions, poolings, fully connected layers and permutations need their input and output
    and, from a block's third convolution on, the first activation's output. Others work in place.
    """
    most = 0
    held: list[Tensor] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal most
        alive = {id(t): t.numel() for t in (*inputs, output, *held)}
        most = max(most, 4 * sum(alive.values()))
        keep.extend((*inputs, output))

    keep: list[Tensor] = []
    placed = {"Act", "BatchNorm2d", "GroupNorm", "ChannelAffine", "Flatten"}
    for module in net.modules():
        leaf = next(module.children(), None) is None and not isinstance(module, nn.Identity)
        if leaf and type(module).__name__ not in placed:
            module.register_forward_hook(note)
    for module in net.modules():  # later, so that the last convolution is noted before it lets go
        if isinstance(module, Block) and module.skip:
            hold_skip(module, held)
    with torch.no_grad():
        net.eval()(torch.rand(1, *shape))
    return most


def hold_skip(block: Block, held: list[Tensor]) -> None:
    """While a block runs, `held` has what its skip adds, from the convolution that follows on."""
    calls: list[Any] = []
    block.register_forward_pre_hook(lambda *_: calls.clear())
    block.act.register_forward_hook(lambda _m, _i, out: calls.append(out))
    for conv in block.convs[1:]:
        conv.register_forward_pre_hook(lambda *_: held.append(calls[0]) if not held else None)
    block.convs[-1].register_forward_hook(lambda *_: held.clear())


def found(page: Any, cases: list[Any]) -> list[dict[str, Any]]:
    return page.evaluate(
        """(cases) => cases.map(([model, shape, classes]) => {
          try { return convscope.network(model, shape, classes); }
          catch (error) {
            if (!(error instanceof RangeError)) throw error;
            return { error: error.message };
          }
        })""",
        cases,
    )


@pytest.mark.parametrize(
    "part_of", [0, 1, *(pytest.param(i, marks=pytest.mark.slow) for i in range(2, PARTS))]
)
def test_the_browser_computes_what_python_computes(browser: Any, part_of: int) -> None:
    draw = random.Random(part_of)
    cases = [drawn(draw) for _ in range(COUNT // PARTS)]
    page = browser.new_page()
    page.evaluate(part("playground_sizes.js"))
    refused = 0
    for i, (case, tree) in enumerate(zip(cases, found(page, cases), strict=True)):
        wanted = expected(*case, with_fields=i % 3 == 0)  # the slowest part
        if "error" in wanted:
            refused += 1
            assert tree == wanted, case
            continue
        assert "error" not in tree, (case, tree)
        for key in ("parameters", "flops", "filters", "peak"):
            assert tree[key] == wanted[key], (key, case)
        rows = [{key: row[key] for key in wanted["layers"][0]} for row in tree["layers"]]
        assert rows == wanted["layers"], case
    page.close()
    assert 2 <= refused <= 20
