"""Two folders of one run, compared to the bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from convscope.training.run_folder import read_run
from convscope.training.tensor_files import read_tensors

CLOCK = ("seconds", "train_seconds")  # what another machine need not have in common


def same_run(one: Path, other: Path) -> None:
    """Recipe, rows but for their seconds, losses, weights and answers are the same."""
    a, b = read_run(one), read_run(other)
    assert (a.id, a.recipe, a.status, a.size) == (b.id, b.recipe, b.status, b.size)
    assert [without_clock(row) for row in a.rows] == [without_clock(row) for row in b.rows]
    assert set(a.files) == set(b.files)
    for name in ("val_losses.f16", "images.json", "recipe.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    for name in ("best.safetensors", "checkpoint.safetensors"):
        (x, _), (y, _) = read_tensors(one / name), read_tensors(other / name)
        assert set(x) == set(y)
        assert all(x[key].equal(y[key]) for key in x), name


def without_clock(row: dict[str, Any]) -> str:
    return json.dumps({key: value for key, value in row.items() if key not in CLOCK})
