"""Thousands of runs: what is looked up for each of them costs no look at all of them."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from convscope.files import write_json
from convscope.recipe import Recipe, to_json
from convscope.training.run_folder import run_folders
from convscope.training.run_paths import Listing, run_path

HASH = "0" * 64


def begun(root: Path, recipe: Recipe) -> Path:
    (root / recipe.id).mkdir(parents=True)
    write_json(root / recipe.id / "recipe.json", to_json(recipe))
    return root / recipe.id


def old(root: Path) -> None:
    """As if the folder had last changed a minute ago."""
    then = time.time_ns() - 60 * 10**9
    os.utime(root, ns=(then, then))


def test_a_folder_is_listed_once_for_many_absent_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Recipe(data="here", data_hash=HASH)
    place = begun(tmp_path, here)
    old(tmp_path)
    listed = []
    list_again = Listing.list_again

    def counted(self: Listing, there: set[str]) -> None:
        listed.append(there)
        list_again(self, there)

    monkeypatch.setattr(Listing, "list_again", counted)
    for seed in range(1, 200):
        assert run_path(replace(here, seed=seed), tmp_path).name != place.name
    assert len(listed) == 1
    assert run_path(replace(here, data="there"), tmp_path) == place


def test_runs_that_come_begin_and_go_are_seen(tmp_path: Path) -> None:
    first = Recipe(data="a", data_hash=HASH)
    there = replace(first, data="b")
    assert run_path(there, tmp_path / "none") == tmp_path / "none" / there.id
    assert run_path(there, tmp_path) == tmp_path / there.id
    (tmp_path / first.id).mkdir()
    old(tmp_path)
    assert run_path(there, tmp_path) == tmp_path / there.id  # it has no recipe yet
    write_json(tmp_path / first.id / "recipe.json", to_json(first))
    old(tmp_path)
    assert run_path(there, tmp_path) == tmp_path / first.id
    (tmp_path / first.id).rename(tmp_path / f"{first.id}.set-aside-1")
    assert run_path(there, tmp_path) == tmp_path / there.id
    second = begun(tmp_path, replace(first, data="c"))
    assert run_path(there, tmp_path) == second


def test_run_folders_are_found_in_order_at_every_depth(tmp_path: Path) -> None:
    for place in ("b/runs/2", "b/runs/10", "a", "c/x/y"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "result.json").touch()
    (tmp_path / "c" / "empty").mkdir()
    (tmp_path / "c" / "link").symlink_to(tmp_path / "a")
    found = [path.relative_to(tmp_path).as_posix() for path in run_folders(tmp_path)]
    assert found == ["a", "b/runs/10", "b/runs/2", "c/x/y"]


def test_an_id_is_computed_once_and_not_taken_over_by_a_changed_recipe() -> None:
    recipe = Recipe()
    assert recipe.id is recipe.id
    assert replace(recipe, seed=1).id != recipe.id == Recipe().id
    assert recipe == Recipe() and hash(recipe) == hash(Recipe())
