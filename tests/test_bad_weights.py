"""A run's weights that hold NaN or have another shape: one line, and never used."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from commands import Cli
from recording import assert_same, blink, interrupted
from refusing import refused
from studying import is_pilot, runs_of
from torch import Tensor

from convscope import data
from convscope.chapters.nonlinearity.collapses import map_of
from convscope.chapters.receptive_field.fields import effective
from convscope.files import dump, seal, sha256_of, write_json
from convscope.recipe import Custom, to_json
from convscope.recipe.networks import ConvNet
from convscope.training.evidence import missing_evidence
from convscope.training.main_path import train
from convscope.training.run_folder import read_run
from convscope.training.runs import Run
from convscope.training.tensor_files import read_tensors, write_tensors
from convscope.training.trained import image_losses, network

Damage = Callable[[dict[str, Tensor]], None]


def some_nan(tensors: dict[str, Tensor]) -> None:
    name = next(name for name in tensors if name.startswith("net.") and "weight" in name)
    tensors[name].view(-1)[3] = float("nan")


def wider(tensors: dict[str, Tensor]) -> None:
    name = next(name for name in tensors if name.startswith("net.") and "weight" in name)
    tensors[name] = torch.cat([tensors[name], tensors[name]])


def one_less(tensors: dict[str, Tensor]) -> None:
    del tensors[next(name for name in tensors if name.startswith("net.") and "bias" in name)]


DAMAGE: dict[str, tuple[Damage, str]] = {
    "NaN": (some_nan, "its weights hold NaN or infinity, in "),
    "wider": (wider, "its weights do not fit the network: RuntimeError: "),
    "one less": (one_less, "its weights do not fit the network: RuntimeError: "),
}


def change(path: Path, damage: Damage) -> None:
    """Rewrite a file of tensors with a hash that agrees with it."""
    tensors, metadata = read_tensors(path)
    damage(tensors)
    write_tensors(path, tensors, metadata)


def forged(run: Run, damage: Damage, names: tuple[str, ...] = ("best", "checkpoint")) -> None:
    """Change a finished run's weights, and seal its result anew."""
    result = json.loads((run.path / "result.json").read_text())
    for name in names:
        path = run.path / f"{name}.safetensors"
        change(path, damage)
        result["files"][path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    result["seal"] = seal(result)
    write_json(run.path / "result.json", result)


@pytest.fixture(scope="module")
def whole(micro: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(blink(micro), tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_network_is_not_made_of_them(kind: str, whole: Run, tmp_path: Path) -> None:
    damage, words = DAMAGE[kind]
    path = Path(shutil.copytree(whole.path, tmp_path / "run"))
    forged(read_run(path), damage)
    run = read_run(path)  # its hashes agree
    assert f"run {path}: best.safetensors: {words}" in refused(lambda: network(run))
    assert f"run {path}: checkpoint.safetensors: {words}" in refused(lambda: network(run, "last"))


@pytest.mark.parametrize("kind", [*DAMAGE, "optimiser NaN", "optimiser wider"])
def test_training_does_not_go_on_from_them(kind: str, whole: Run, tmp_path: Path) -> None:
    path = interrupted(whole.recipe, tmp_path, 2)

    def of_optimiser(tensors: dict[str, Tensor]) -> None:
        name = next(n for n in tensors if n.startswith("optimizer.") and tensors[n].dim() > 1)
        tensors[name] = tensors[name] / 0 if kind.endswith("NaN") else tensors[name][:1, :1]

    change(path / "checkpoint.safetensors", DAMAGE.get(kind, (of_optimiser, ""))[0])
    assert_same(train(whole.recipe, tmp_path), whole)  # from its first epoch
    (why,) = path.glob("checkpoint.safetensors.set-aside-*.why")
    expected = "its optimiser's state" if "optimiser" in kind else DAMAGE[kind][1]
    assert expected in why.read_text()


def test_a_diverged_run_that_was_broken_off_is_still_diverged(micro: Path, tmp_path: Path) -> None:
    recipe = replace(blink(micro), lr=900.0, optimizer="sgd", momentum=0.9)
    assert train(recipe, tmp_path).status == "diverged"
    (path,) = tmp_path.iterdir()
    (path / "result.json").unlink()
    assert train(recipe, tmp_path).status == "diverged" and not list(path.glob("*.set-aside*"))


def test_losses_by_image_that_are_no_numbers(whole: Run, tmp_path: Path) -> None:
    def no_loss(tensors: dict[str, Tensor]) -> None:
        tensors["losses.test"][0] = float("nan")

    path = Path(shutil.copytree(whole.path, tmp_path / "run"))
    forged(read_run(path), no_loss)
    assert "best.safetensors: its losses hold NaN" in refused(
        lambda: image_losses(read_run(path), "test")
    )


def test_compare_says_so_in_one_line(cli: Cli, whole: Run, micro: Path, tmp_path: Path) -> None:
    def fewer(tensors: dict[str, Tensor]) -> None:
        tensors["losses.test"] = tensors["losses.test"][:9]
        tensors["right.test"] = tensors["right.test"][:2]

    def of_nan(tensors: dict[str, Tensor]) -> None:
        tensors["losses.test"] *= float("nan")

    other = train(replace(blink(micro), model=ConvNet(width=3, depth=1)), tmp_path / "other")
    for name, damage in (("values of 9 test images", fewer), ("hold NaN", of_nan)):
        path = Path(shutil.copytree(whole.path, tmp_path / damage.__name__))
        forged(read_run(path), damage)
        for measure in ("loss", "accuracy"):
            answer = cli("compare", other.path, path, "--measure", measure)
            assert answer.code == 2 and len(answer.err.splitlines()) == 1, answer.err
            assert name in answer.err and str(path) in answer.err


@pytest.mark.usefixtures("tiny_preset")
@pytest.mark.parametrize("kind", ["NaN", pytest.param("wider", marks=pytest.mark.slow)])
def test_a_report_says_what_it_goes_without(
    kind: str, cli: Cli, finished_study: Path, small_images: Path
) -> None:
    damage, words = DAMAGE[kind]
    for run in runs_of(finished_study).values():
        forged(run, damage, ("best",))
    answer = cli("report", finished_study)  # its one chapter reads answers and losses alone
    assert answer.code == 0 and "Traceback" not in answer.err, answer.err
    run, loaded = next(iter(runs_of(finished_study).values())), data.load(small_images)
    with missing_evidence() as notes:
        assert map_of(run, loaded) is None and effective(run, loaded) is None
    why = f"of run {run.id}: best.safetensors: {words}"
    assert notes[0].startswith(f"the affine map {why}")
    assert notes[1].startswith(f"the effective field {why}")


@pytest.mark.usefixtures("tiny_preset")
def test_a_report_on_a_strangers_study_imports_no_factory(
    cli: Cli, finished_study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run and the study itself name a factory, in files whose seals agree."""
    monkeypatch.chdir(finished_study)
    monkeypatch.syspath_prepend(str(finished_study))
    Path("theirs.py").write_text("from pathlib import Path\nPath('it-ran').touch()\n")
    model = {"kind": "custom", "factory": "theirs:net"}
    run = next(run for run in runs_of(finished_study).values() if not is_pilot(run))
    recipe = replace(run.recipe, model=Custom("theirs:net"))
    write_json(run.path / "recipe.json", to_json(recipe))
    result = json.loads((run.path / "result.json").read_text())
    result["recipe_sha256"] = hashlib.sha256(dump(to_json(recipe))).hexdigest()
    result["files"]["recipe.json"] = sha256_of(run.path / "recipe.json")
    write_json(run.path / "result.json", result | {"seal": seal(result)})
    tree = json.loads(Path("study.json").read_text())
    tree["context"]["base"]["model"] = model
    write_json(Path("study.json"), tree | {"seal": seal(tree)})
    answer = cli("report", finished_study)
    assert answer.code == 0 and not Path("it-ran").exists(), answer.err
    assert "theirs" not in sys.modules and cli("runs", finished_study).code == 0
    page = Path("report.html").read_text(encoding="utf-8")
    assert f"run {run.id} is left out: recipe.json is that of another run" in page, answer.err
    assert not Path("it-ran").exists()
