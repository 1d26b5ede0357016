"""Networks of users' own modules leave as files: each is judged on the test images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import convscope as cs
from convscope.recipe import Custom, Recipe

KINDS = ("lora", "lazy", "Shared", "Counting", "weight_norm", "spectral_norm", "Functional")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of 8×8 in four classes of different brightness."""
    draw, labels = np.random.default_rng(0), np.arange(80) % 4
    noise = draw.integers(0, 60, (80, 8, 8, 3))
    pixels = (noise + 45 * labels[:, None, None, None]).astype(np.uint8)
    path = tmp_path_factory.mktemp("exported") / "d.npz"
    kept, held = slice(60), slice(60, None)
    np.savez(
        path, x_train=pixels[kept], y_train=labels[kept], x_test=pixels[held], y_test=labels[held]
    )
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", [*KINDS, "upsampled"])
def test_a_module_of_the_user_leaves_as_files(name: str, images: Path, tmp_path: Path) -> None:
    model = Custom(f"own_modules:{name}")
    recipe = Recipe(data=str(images), model=model, epochs=2, batch=20, lr=1e-2)
    found = cs.export(cs.train(recipe, tmp_path / "runs"), tmp_path / "out", int8=False)
    assert found.done and {"network.py", "model.onnx"} <= set(found.files), found
    for score in found.scores:
        assert score.images == 20 and score.agreement == 1 and score.largest < 1e-4, score
