"""Exported networks: files that need convscope no more, judged on the test set."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from deploying import STRONG, recipe_of, write_images

import convscope as cs
from convscope.deployment import onnx_running
from convscope.deployment.onnx_files import normalising_nodes
from convscope.errors import UserError
from convscope.recipe.networks import Custom
from convscope.training.resident_data import dataset_of
from convscope.training.runs import Run

Cli = Callable[..., Any]

# runs where convscope cannot be imported; prints the logits of the network's files
WITHOUT = """
import sys
sys.modules["convscope"] = None
import numpy as np
images = np.load("images.npy")
if sys.argv[1] == "network.py":
    import torch, network
    example = open("README.md", encoding="utf-8").read().split("```python")[1].split("```")[0]
    exec(example, {})  # as the model card says
    net = network.load()
    with torch.no_grad():
        logits = [net(torch.from_numpy(images[:n])).numpy() for n in (1, 7)]
    assert (net(torch.from_numpy(images) / 255) - net(torch.from_numpy(images))).abs().max() < 1e-4
else:
    import onnxruntime
    session = onnxruntime.InferenceSession(sys.argv[1])
    logits = [session.run(["logits"], {"images": images[:n]})[0] for n in (1, 7)]
    assert "torch" not in sys.modules
np.save("logits.npy", logits[1])
assert np.allclose(logits[0], logits[1][:1], atol=float(sys.argv[2]))
"""


@pytest.fixture(scope="module")
def root(cifar_slice: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exporting")
    write_images(cifar_slice, folder / "animals")
    return folder


@pytest.fixture(scope="module")
def run(root: Path) -> Run:
    return cs.train(recipe_of(root / "animals", epochs=12), root / "runs")


@pytest.fixture(scope="module")
def whole(root: Path, run: Run) -> cs.Export:
    return cs.export(run, root / "whole")


def test_all_files_are_written_and_judged_on_the_whole_test_set(whole: cs.Export, run: Run) -> None:
    names = ["model.safetensors", "config.json", "README.md", "network.py"]
    assert list(whole.files) == [*names, "model.onnx", "model.int8.onnx"]
    assert sorted(p.name for p in whole.folder.iterdir()) == sorted(whole.files)
    assert whole.done and [score.images for score in whole.scores] == [60, 60, 60]
    alone, full, small = whole.scores
    assert alone.largest == 0 and full.largest < 1e-4 and full.agreement == 1
    assert alone.accuracy == pytest.approx(run.best["test_accuracy"])
    assert small.agreement > 0.8 and small.difference.low <= 0 <= small.difference.high
    config = json.loads((whole.folder / "config.json").read_text(encoding="utf-8"))
    assert config["onnx"]["opset"] == 18 and config["classes"] == ["cat", "dog", "ship"]
    assert [one["file"] for one in config["scores"]] == [score.file for score in whole.scores]
    for name in whole.files:
        assert str(run.path.parent.parent).encode() not in (whole.folder / name).read_bytes(), name


def test_the_model_card_tells_data_splits_metrics_limits_and_how_to_load(
    whole: cs.Export, run: Run
) -> None:
    card = (whole.folder / "README.md").read_text(encoding="utf-8")
    for said in (
        "96 training images",
        "24 validation images",
        "60 test images",
        f"{100 * run.best['test_accuracy']:.2f} % (95 % interval over images",
        "## Limits",
        "opset 18",
        "95 % sets hold",
        run.recipe.data_hash,
    ):
        assert said in card, said


@pytest.mark.parametrize("name", ["network.py", "model.onnx", "model.int8.onnx"])
def test_each_file_opens_where_convscope_cannot_be_imported(
    whole: cs.Export, run: Run, tmp_path: Path, name: str
) -> None:
    for file in whole.files:
        shutil.copy(whole.folder / file, tmp_path)
    images = dataset_of(run.recipe).test.images[:7].contiguous()
    np.save(tmp_path / "images.npy", images.numpy())
    slack = "0.2" if "int8" in name else "1e-4"
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, name, slack], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in ("", "cat", "dog", "ship")
    if "int8" in name:  # how far it is from the network is judged on the whole test set
        here = onnxruntime.InferenceSession(whole.folder / name)
        expected = here.run(None, {"images": images.numpy()})[0]
    else:
        with torch.no_grad():
            expected = cs.network(run)(images).numpy()
    assert np.allclose(np.load(tmp_path / "logits.npy"), expected, atol=1e-4)


def test_the_onnx_file_takes_bytes_and_any_batch(whole: cs.Export) -> None:
    model = onnx.load(whole.folder / "model.onnx")
    (given,), (answer,) = model.graph.input, model.graph.output
    assert (given.name, answer.name) == ("images", "logits")
    assert given.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    sizes = [d.dim_param or d.dim_value for d in given.type.tensor_type.shape.dim]
    assert sizes == ["N", 3, 16, 16]
    assert answer.type.tensor_type.shape.dim[0].dim_param == "N"
    assert {one.domain: one.version for one in model.opset_import}[""] == 18
    assert len(normalising_nodes(model)) == 3


def test_eight_bits_have_a_scale_for_each_channel(whole: cs.Export) -> None:
    model = onnx.load(whole.folder / "model.int8.onnx")
    arrays = {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}
    nodes = {value: node for node in model.graph.node for value in node.output}
    filters = [nodes[n.input[1]] for n in model.graph.node if n.op_type == "Conv"]
    assert len(filters) >= 5 and not any(n.op_type == "BatchNormal" for n in model.graph.node)
    for node in filters:
        weights, scales = (arrays[name] for name in node.input[:2])
        assert node.op_type == "DequantizeLinear" and weights.dtype == np.int8
        assert scales.shape == weights.shape[:1] and np.abs(weights).max() <= 64


@pytest.mark.slow
def test_an_export_whose_accuracy_differs_is_not_done(
    run: Run, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ranges are found on black images: the network of 8 bits sees next to nothing."""
    honest = onnx_running.quantised
    monkeypatch.setattr(onnx_running, "quantised", lambda m, images: honest(m, images * 0))
    answer = cli("export", run.path, "--to", tmp_path / "out")
    assert answer.code == 1 and "not done: model.int8.onnx: its accuracy differs" in answer.err
    assert "model.int8.onnx: accuracy" in answer.out and "differs" in answer.out
    config = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))
    assert [one["done"] for one in config["scores"]] == [True, True, False]


@pytest.mark.slow
def test_without_its_images_an_export_is_not_called_done(
    run: Run, root: Path, tmp_path: Path, cli: Cli
) -> None:
    moved = root / "moved"
    (root / "animals").rename(moved)
    try:
        found = cs.export(run, tmp_path / "out")
        assert not found.done and "its images are not there" in found.faults[0]
        assert "model.int8.onnx" not in found.files and "model.onnx" in found.files
        answer = cli("export", run.path, "--to", tmp_path / "out", "--no-onnx", "--data", moved)
        assert answer.code == 0 and "network.py: accuracy" in answer.out
        assert not (tmp_path / "out" / "model.onnx").exists()
    finally:
        moved.rename(root / "animals")


def test_other_folders_are_left_alone(run: Run, tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "README.md").write_text("mine", encoding="utf-8")
    answer = cli("export", run.path, "--to", tmp_path)
    assert answer.code == 2 and "holds other files (README.md)" in answer.err
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == "mine"
    answer = cli("export", tmp_path, "--to", tmp_path / "out")
    assert answer.code == 2 and "no finished run" in answer.err


def test_a_missing_extra_is_one_line(
    run: Run, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convscope.deployment.onnx_files.EXTRA", ("onnx", "no_such_module"))
    answer = cli("export", run.path, "--to", tmp_path / "out")
    assert answer.code == 2 and len(answer.err.strip().splitlines()) == 1
    assert "needs no_such_module: python -m pip install 'convscope[export]'" in answer.err
    assert not (tmp_path / "out").exists()
    assert cli("export", run.path, "--to", tmp_path / "out", "--no-onnx").code == 0


FACTORIES = """
import torch

class Branches(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a__b = torch.nn.Linear(768, 3)
    def forward(self, x):
        return self.a__b(x.flatten(1) if x.sum() > 0 else -x.flatten(1))

class Plain(Branches):
    def forward(self, x):
        return self.a__b(x.reshape(x.shape[0], -1) / 2)

def branches(in_shape, num_classes): return Branches()
def plain(in_shape, num_classes): return Plain()
"""


@pytest.mark.slow
def test_factories_export_as_far_as_the_exporter_takes_them(
    root: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "exported_nets.py").write_text(FACTORIES, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("plain", "branches"):
        recipe = recipe_of(root / "animals", Custom(f"exported_nets:{name}"), epochs=1)
        trained = cs.train(recipe, tmp_path / "runs")
        to = tmp_path / name
        assert cli("export", trained.path, "--to", to).code == 2  # its code is not run unasked
        answer = cli("export", trained.path, "--to", to, "--no-int8", "--trust")
        if name == "plain":
            assert answer.code == 0 and "largest difference" in answer.out, answer.err
        else:
            assert answer.code == 2 and "torch's exporter does not take it" in answer.err
            assert len(answer.err.strip().splitlines()) == 2 and not to.exists()


@pytest.mark.slow
def test_the_strong_network_is_exported(root: Path, tmp_path: Path) -> None:
    trained = cs.train(recipe_of(root / "animals", STRONG, epochs=2, val=0.0), tmp_path / "runs")
    found = cs.export(trained, tmp_path / "out")
    assert found.done and len(found.scores) == 3, found
    assert "0 validation images held out" in " ".join(found.notes)


def test_runs_that_have_no_network_are_refused(run: Run, tmp_path: Path) -> None:
    for status in ("diverged", "out_of_memory"):
        with pytest.raises(UserError, match=f"{status.replace('_', ' ')}.*finished run"):
            cs.export(replace(run, status=status), tmp_path / "out")
