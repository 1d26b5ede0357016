"""Twins share what the plain network holds; nothing depends on the annex that they live in."""

from __future__ import annotations

import copy
import math
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import convscope
from convscope.fast import accelerate
from convscope.fast.pooling import max_pool
from convscope.fast.twins import CompiledBlock, FastMaxPool
from convscope.models.block import Block
from convscope.models.building import build
from convscope.models.layers import MaxPool
from convscope.recipe.networks import ConvNet, Custom, Model
from convscope.recipe.recipe import Recipe
from convscope.training.optimisers import optimiser

MODELS: dict[str, Model] = {
    "family": ConvNet(4, 2, block_depth=2, norm="batch", skip=True, stem="whiten"),
    "linear": ConvNet(4, 2, activation="identity", pool="avg"),
    "strong": Custom("convscope.recipes.strong:network", {"widths": [8, 8]}),
}
KERNELS = ("library", "compiled", "winograd")


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("name", MODELS)
def test_twins_share_parameters_buffers_and_keys(name: str, kernels: str) -> None:
    net = build(MODELS[name], (3, 16, 16), 10)
    before = copy.deepcopy(net)
    twin = accelerate(net, Recipe(kernels=kernels))
    mine, plain = (dict(m.named_parameters()) | dict(m.named_buffers()) for m in (twin, net))
    assert list(mine) == list(plain) and all(mine[key] is plain[key] for key in mine)
    assert list(twin.state_dict()) == list(net.state_dict())
    assert str(net) == str(before)  # the plain network is left as it is
    assert isinstance(twin, type(net))
    assert (twin is net) == (kernels == "library" and name != "family")


@pytest.mark.parametrize("kernels", KERNELS)
def test_accelerating_twice_changes_nothing(kernels: str) -> None:
    recipe = Recipe(kernels=kernels)
    twin = accelerate(build(MODELS["family"], (3, 16, 16), 10), recipe)
    assert accelerate(twin, recipe) is twin


def test_training_a_twin_trains_the_plain_network() -> None:
    net = build(ConvNet(4, 2, norm="batch"), (3, 8, 8), 10)
    recipe = Recipe(kernels="compiled", optimizer="muon", lr=0.1)
    twin = accelerate(net, recipe).train()
    groups = [optimiser(one, recipe).param_groups for one in (twin, net)]
    ids = [[[id(p) for p in group["params"]] for group in found] for found in groups]
    assert ids[0] == ids[1] and any(group.get("scale_free") for group in groups[0])
    weight = net.get_parameter("blocks.0.convs.0.weight").clone()
    x = torch.randn(8, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    twin(x).square().sum().backward()
    optimiser(twin, recipe).step()
    assert not torch.equal(net.get_parameter("blocks.0.convs.0.weight"), weight)
    assert net.get_buffer("blocks.0.norms.0.running_mean").abs().max() > 0
    assert net.get_buffer("blocks.0.norms.0.num_batches_tracked") == 1
    torch.testing.assert_close(twin.eval()(x), net.eval()(x), rtol=1e-4, atol=1e-4)


def test_only_our_own_classes_have_twins() -> None:
    class Mine(Block):
        pass

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pool = MaxPool(2)

    spec, compiled = ConvNet(2, 1), Recipe(kernels="compiled")
    net = nn.Sequential(Block(spec, 3, 2, 2), Mine(spec, 2, 2, 2), Net(), MaxPool(2))
    twin = accelerate(net, compiled)
    assert isinstance(twin, nn.Sequential) and type(twin[0]) is CompiledBlock
    assert twin[1] is net[1] and twin[2] is net[2] and type(twin[3]) is FastMaxPool
    assert accelerate(net, replace(compiled, device="cuda:0")) is net


def test_models_know_nothing_of_kernels() -> None:
    for path in (Path(convscope.__file__).parent / "models").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        signs = ("convscope.fast", '"compiled"', "kernels")  # layers may be torch.compile's
        assert not [sign for sign in signs if sign in text], path.name


def test_one_file_imports_the_annex() -> None:
    root = Path(convscope.__file__).parent
    found = [
        str(path.relative_to(root))
        for path in root.rglob("*.py")
        if path.parent.name != "fast"
        and any(
            sign in path.read_text(encoding="utf-8")
            for sign in (
                "from convscope.fast",
                "import convscope.fast",
                "from convscope import fast",
            )
        )
    ]
    assert found == [str(Path("training") / "acceleration.py")]


WITHOUT = """
import sys
from pathlib import Path
import convscope as cs
from convscope.errors import UserError
from convscope.machine import best_numerics, measurement
from convscope.training import why_no_kernels

folder, images = Path(sys.argv[1]), sys.argv[2]
assert Path(cs.__file__).parent == folder / "convscope", cs.__file__
assert not (folder / "convscope" / "fast").exists()
assert why_no_kernels("float32") == "convscope.fast is not installed"
measurement.ROUNDS, measurement.WINDOW = 1, 0.001  # which way is fastest is not asked here
best = best_numerics("cpu")
assert (best.kernels, best.why_not) == ("library", "convscope.fast is not installed"), best
recipe = cs.Recipe(data=images, model=cs.ConvNet(width=2, depth=2), epochs=1, batch=30)
assert cs.train(recipe, folder / "runs").status == "finished"
try:
    cs.train(cs.Recipe(data=images, kernels="compiled"), folder / "runs")
except UserError as error:
    assert "convscope.fast is not installed" in str(error)
else:
    raise AssertionError("trained by kernels that are not there")
if sys.argv[3] == "no study":
    sys.exit()
study = cs.study(images, chapters=["convolution"], seeds=1, workers=1, out=folder / "study")
assert study["convolution"].verdict
"""


@pytest.mark.parametrize("what", ["no study", pytest.param("a study", marks=pytest.mark.slow)])
def test_without_the_annex_everything_else_works(micro: Path, tmp_path: Path, what: str) -> None:
    package = Path(convscope.__file__).parent
    leave = shutil.ignore_patterns("fast")
    shutil.copytree(package, tmp_path / "convscope", ignore=leave)
    # without site (-S), since an editable installation finds the source tree's annex
    paths = os.pathsep.join((str(tmp_path), str(Path(torch.__file__).parents[1])))
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-S", "-c", WITHOUT, str(tmp_path), str(micro), what]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# --- max pooling by faster operations of the library


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize(
    "shape", [(2, 3, 8, 8), (1, 1, 2, 6), (2, 5, 7, 8), (2, 4, 8, 10), (2, 8, 8, 6), (2, 4, 9, 9)]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_max_pooling_is_torchs(size: int, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    if min(shape[2:]) < size:
        return
    x = torch.randn(shape, generator=torch.Generator().manual_seed(2)).to(dtype)
    # an infinity and a tie; bfloat16 brings more ties
    x.view(-1)[0], x.view(-1)[5] = -math.inf, x.view(-1)[4]
    for memory in (torch.contiguous_format, torch.channels_last):
        x = x.contiguous(memory_format=memory)
        with torch.no_grad():
            assert torch.equal(max_pool(x, size), F.max_pool2d(x, size))
        assert torch.equal(max_pool(x, size), F.max_pool2d(x, size))
        a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
        ours, theirs = max_pool(a, size), F.max_pool2d(b, size)
        assert torch.equal(ours, theirs)
        for weights in (torch.randn_like(theirs), torch.ones((), dtype=dtype).expand_as(theirs)):
            a.grad = b.grad = None
            ours.backward(weights, retain_graph=True)
            theirs.backward(weights, retain_graph=True)
            assert a.grad is not None and b.grad is not None
            values, mine, other = (
                t.detach().unfold(2, size, size).unfold(3, size, size).flatten(4)
                for t in (x, a.grad, b.grad)
            )
            highest = values == values.amax(-1, keepdim=True)
            assert not mine[~highest].any() and torch.equal(mine.sum(-1), other.sum(-1))
            # in a tie one of the equal pixels has the gradient
            assert ((mine != 0).sum(-1) <= 1).all()
            alone = highest.sum(-1) == 1
            assert torch.equal(mine[alone], other[alone])
            rest = a.grad[..., shape[2] // size * size :, :], a.grad[..., shape[3] // size * size :]
            assert not rest[0].any() and not rest[1].any()


def test_max_pooling_passes_nan_on() -> None:
    x = torch.zeros(1, 1, 4, 4)
    x[0, 0, 1, 2] = math.nan
    with torch.no_grad():
        assert torch.equal(max_pool(x, 2).isnan(), F.max_pool2d(x, 2).isnan())
