"""A run is complete in itself: its network takes images as they are, wherever the data are."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from deploying import STRONG, recipe_of, write_images
from unpacking import unpack_old_study

import convscope as cs
from convscope.errors import UserError
from convscope.training.resident_data import dataset_of
from convscope.training.run_folder import IMAGES, read_run
from convscope.training.runs import Run
from convscope.training.tensors import to_device
from convscope.training.trained import format_of
from convscope.training.trained import network as inner


@pytest.fixture(scope="module")
def trained(cifar_slice: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose images have gone since."""
    root = tmp_path_factory.mktemp("complete")
    write_images(cifar_slice, root / "animals")
    run = cs.train(recipe_of(root / "animals"), root / "runs")
    (root / "animals").rename(root / "moved")
    return run


def moved(run: Run) -> Path:
    return Path(run.recipe.data).with_name("moved")


def test_a_run_holds_what_images_its_network_takes(trained: Run) -> None:
    tree = json.loads((trained.path / IMAGES).read_text(encoding="utf-8"))
    data = dataset_of(replace(trained.recipe, data=str(moved(trained))))
    assert tuple(tree["classes"]) == data.classes and tree["in_shape"] == [3, 16, 16]
    assert tree["resize"] == "crop" and list(tree["scales"]) == ["grey"]
    pixels = data.train.images.double()
    assert tree["mean"] == pytest.approx(pixels.mean((0, 2, 3)).tolist())
    assert tree["std"] == pytest.approx(pixels.std((0, 2, 3), correction=0).tolist())
    assert IMAGES in trained.files and format_of(trained).classes == data.classes


def test_a_network_takes_images_as_they_are_where_its_data_are_gone(trained: Run) -> None:
    assert not Path(trained.recipe.data).exists()
    net = cs.network(trained)
    assert net.blocks is net.network.blocks and not hasattr(net, "no_such_thing")
    data = dataset_of(replace(trained.recipe, data=str(moved(trained))))
    tensors = to_device(data, trained.recipe)
    with torch.no_grad():
        expected = inner(trained)(tensors.inputs("test", slice(None)))
        assert torch.equal(net(data.test.images), expected)
        assert torch.equal(net(data.test.images.double() / 255), expected)
    assert net.classes == data.classes and not net.training
    same = cs.network(trained.path)
    assert torch.equal(
        same.network.state_dict()["stem.weight"], net.network.state_dict()["stem.weight"]
    )


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (torch.zeros(3, 16, 16, dtype=torch.uint8), "3×16×16: must be N×3×16×16"),
        (torch.zeros(1, 16, 16, 3, dtype=torch.uint8), "1×16×16×3: must be N×3×16×16"),
        (torch.zeros(1, 3, 16, 16, dtype=torch.int64), "int64: must be uint8"),
        (torch.full((1, 3, 16, 16), 200.0), "from 200 to 200: must be from 0 to 1"),
        (torch.full((1, 3, 16, 16), torch.nan), "must be from 0 to 1"),
    ],
    ids=["one image", "channels last", "int64", "0 to 255", "NaN"],
)
def test_other_images_are_refused(trained: Run, images: torch.Tensor, said: str) -> None:
    with pytest.raises(UserError, match=said):
        cs.network(trained)(images)


def test_runs_are_listed_and_loaded(trained: Run, tmp_path: Path) -> None:
    assert cs.runs(trained.path.parent) == [trained] and cs.load_run(trained.path) == trained
    copy = Path(shutil.copytree(trained.path, tmp_path / trained.id))
    (copy / IMAGES).write_text("{}", encoding="utf-8")
    with pytest.warns(UserWarning, match=r"images\.json was altered"):
        assert cs.runs(tmp_path) == []
    with pytest.raises(UserError, match=r"images\.json was altered"):
        cs.load_run(copy)
    with pytest.raises(UserError, match="no such folder"):
        cs.runs(tmp_path / "nowhere")


def test_a_run_of_an_earlier_version_takes_its_data_or_says_so(tmp_path: Path) -> None:
    unpack_old_study(tmp_path)
    path = next(p.parent for p in sorted((tmp_path / "study" / "runs").glob("*/best.safetensors")))
    run = read_run(path)
    assert IMAGES not in run.files
    with pytest.raises(UserError, match=f"run {path}: its images are not there: data") as error:
        cs.network(run)
    assert "\n" not in str(error.value)
    images = tmp_path / run.recipe.data
    with np.load(images) as file:
        pixels = torch.from_numpy(file["x_test"]).permute(0, 3, 1, 2)
    here = replace(run, recipe=replace(run.recipe, data=str(images)))
    with torch.no_grad():
        assert cs.network(here)(pixels).shape == (len(pixels), 10)
    other = dict(np.load(images))
    np.savez(images, **{**other, "x_test": 255 - other["x_test"]})
    with pytest.raises(UserError, match="changed since"):
        cs.network(here)


def test_the_strong_network_is_complete_too(cifar_slice: Path, tmp_path: Path) -> None:
    write_images(cifar_slice, tmp_path / "animals")
    run = cs.train(recipe_of(tmp_path / "animals", STRONG, epochs=1), tmp_path / "runs")
    shutil.rmtree(tmp_path / "animals")
    assert cs.network(run)(torch.rand(2, 3, 16, 16)).shape == (2, 3)
