"""Predictions: what training saw, to the bit; files, folders, archives; calibrated, with sets."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from deploying import recipe_of, write_images
from PIL import Image

import convscope as cs
from convscope.deployment.answers import FILE
from convscope.errors import UserError
from convscope.training import resident
from convscope.training.evaluation import predict as evaluated
from convscope.training.resident_data import dataset_of
from convscope.training.runs import Run
from convscope.training.trained import network as inner

Cli = Callable[..., Any]


@pytest.fixture(scope="module")
def root(cifar_slice: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("predicting")
    write_images(cifar_slice, folder / "animals")
    return folder


@pytest.fixture(scope="module")
def seeds(root: Path) -> list[Run]:
    return [cs.train(recipe_of(root / "animals", seed=seed), root / "runs") for seed in (0, 1)]


def expected(run: Run) -> torch.Tensor:
    """The logits of the test split, as training computes them."""
    return evaluated(inner(run), resident(run.recipe), "test", run.recipe)


# --- what training saw


def test_files_are_read_as_the_test_split_was_to_the_bit(root: Path, seeds: list[Run]) -> None:
    """JPEG, sizes, 12 bits of grey, images on their side: logits are those of the test split."""
    found = cs.predict(seeds[0], root / "animals" / "test")
    assert torch.equal(found.logits, expected(seeds[0])) and len(found) == 60
    names = [Path(name).relative_to(root / "animals" / "test") for name in found.names]
    assert names == sorted(names) and {name.parts[0] for name in names} == set(found.classes)
    right = [name.parts[0] == row["class"] for name, row in zip(names, found.rows(), strict=True)]
    assert np.mean(right) == pytest.approx(seeds[0].best["test_accuracy"])


def test_pixels_need_no_files(seeds: list[Run]) -> None:
    images = dataset_of(seeds[0].recipe).test.images
    found = cs.predict(seeds[0], images, calibrate=False)
    assert torch.equal(found.logits, expected(seeds[0])) and found.sets is None
    assert found.probabilities.sum(1).tolist() == pytest.approx([1.0] * 60)
    again = cs.predict(seeds[0].path, images.numpy() / 255, calibrate=False)
    assert torch.equal(again.logits, found.logits) and again.names[:2] == ("0", "1")


def test_one_image_is_predicted_as_among_others(root: Path, seeds: list[Run]) -> None:
    whole = cs.predict(seeds[0], root / "animals" / "test")
    for i in (1, 2, 3):  # JPEG, 12 bits of grey, on its side
        one = cs.predict(seeds[0], whole.names[i])
        assert torch.allclose(one.logits[0], whole.logits[i], atol=1e-4)


def test_archives_and_standard_input_hold_the_same_images(
    root: Path, seeds: list[Run], tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = root / "animals" / "test"
    files = sorted(test.rglob("*.*"))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(files[0], "__MACOSX/x.png")
        archive.writestr("notes.txt", "none")
        for file in files:
            archive.write(file, file.relative_to(test))
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        archive.add(test, "test")
    whole = cs.predict(seeds[0], str(test), calibrate=False)
    for name in ("a.zip", "a.tar.gz"):
        found = cs.predict(seeds[0], tmp_path / name, calibrate=False)
        assert torch.equal(found.logits, whole.logits)
        assert found.names[0].startswith(f"{tmp_path / name}/")
    assert "skipped 1 hidden entry and 1 file that is no image" in " ".join(
        cs.predict(seeds[0], tmp_path / "a.zip", calibrate=False).notes
    )
    given = {
        "an archive": (tmp_path / "a.zip").read_bytes(),
        "an image": files[0].read_bytes(),
        "paths": b"".join(os.fsencode(file) + b"\n" for file in files[:3]),
    }
    count = {"an archive": 60, "an image": 1, "paths": 3}
    for kind, content in given.items():
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
            answer = cli("predict", seeds[0].path, "-", "--csv", "--plain")
        rows = list(csv.DictReader(io.StringIO(answer.out)))
        assert len(rows) == count[kind], kind
        first = whole.rows()[0]["probability"]
        assert float(rows[0]["probability"]) == pytest.approx(first, abs=1e-4)


# --- faults


def test_bad_images_among_good_ones_are_named(
    root: Path, seeds: list[Run], tmp_path: Path, cli: Cli
) -> None:
    good = next((root / "animals" / "test").rglob("*.jpg"))
    (tmp_path / "good.jpg").write_bytes(good.read_bytes())
    (tmp_path / "cut.jpg").write_bytes(good.read_bytes()[:200])
    (tmp_path / "text.png").write_text("no image", encoding="utf-8")
    (tmp_path / "empty.png").write_bytes(b"")
    found = cs.predict(seeds[0], tmp_path)
    assert [Path(name).name for name in found.names] == ["good.jpg"]
    assert sorted(Path(name).name for name in found.failed) == ["cut.jpg", "empty.png", "text.png"]
    answer = cli("predict", seeds[0].path, tmp_path, "--json")
    assert answer.code == 1 and "3 images could not be read" in answer.err
    assert [Path(row["image"]).name for row in json.loads(answer.out)["images"]] == ["good.jpg"]
    with pytest.raises(UserError, match="no image could be read"):
        cs.predict(seeds[0], tmp_path / "cut.jpg")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.png"], "'nowhere.png': no such file or folder"),
        (["{empty}"], "no images in this folder"),
        (["x.png", "--coverage", "nan"], "coverage nan: must be from 50"),
        (["x.png", "--json", "--csv"], "choose one of them"),
        (["{bomb}"], "member '../x.png' leads out of the archive"),
        (["x.png", "--ensemble"], "is one run"),
        (["x.png", "--data", "{other}"], "not the images of the run"),
    ],
    ids=["missing", "empty", "coverage", "two forms", "archive", "ensemble", "other data"],
)
def test_bad_input_is_one_line(
    root: Path, seeds: list[Run], tmp_path: Path, cli: Cli, arguments: list[str], said: str
) -> None:
    (tmp_path / "empty").mkdir()
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w") as archive:
        archive.writestr("../x.png", "x")
    places = {"empty": tmp_path / "empty", "bomb": tmp_path / "bomb.zip"}
    places["other"] = root / "animals" / "test"
    answer = cli("predict", seeds[0].path, *(one.format(**places) for one in arguments))
    assert answer.code == 2 and said in answer.err and len(answer.err.strip().splitlines()) == 1


def test_values_that_training_had_not_are_said(seeds: list[Run], tmp_path: Path) -> None:
    Image.fromarray(np.full((16, 16), 0.5, np.float32)).save(tmp_path / "f.tif")
    found = cs.predict(seeds[0], tmp_path / "f.tif", calibrate=False)
    assert "1 of the images have floating-point values" in found.notes[0]


# --- several seeds, probabilities, sets


def test_an_ensemble_takes_the_mean_probabilities(root: Path, seeds: list[Run]) -> None:
    test = root / "animals" / "test"
    found = cs.predict(seeds, test, calibrate=False)
    each = [cs.predict(run, test, calibrate=False).probabilities for run in seeds]
    assert torch.allclose(found.probabilities, (each[0] + each[1]) / 2, atol=1e-6)
    assert found.runs == tuple(run.id for run in seeds)
    same = cs.predict(root / "runs", test, ensemble=True)
    assert torch.equal(same.logits, found.logits) and same.calibration is not None
    (best,) = cs.predict(root / "runs", test).runs
    assert best == min(seeds, key=lambda run: run.best["val_loss"]).id


def test_calibration_is_told_and_outlives_the_data(
    root: Path, seeds: list[Run], cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, image = seeds[0], next((root / "animals" / "test").rglob("*.png"))
    answer = cli("predict", run.path, image)
    assert answer.code == 0 and "12 fit the temperature" in answer.err
    assert "95 % sets hold" in answer.err and "on the test images" in answer.err
    assert (run.path / FILE).exists() and cs.load_run(run.path) == run
    before = cs.predict(run, image)
    assert before.calibration is not None and before.calibration.tested == 60
    assert set(before.rows()[0]["set"]) <= set(before.classes)
    (root / "animals").rename(root / "gone")
    try:
        after = cs.predict(run, root / "gone" / image.relative_to(root / "animals"))
        assert after.calibration == before.calibration
        weights = (run.path / FILE).read_bytes()
        (run.path / FILE).write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
        plain = cs.predict(run, root / "gone" / image.relative_to(root / "animals"))
        assert plain.calibration is None and "are not calibrated" in " ".join(plain.notes)
        (run.path / FILE).write_bytes(weights)
    finally:
        (root / "gone").rename(root / "animals")
