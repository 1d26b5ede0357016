"""Groups never cross splits, and the split is stratified as well as they allow."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from frames import frames_of_sequences
from hypothesis import given
from hypothesis import strategies as st
from pixels import arrays, image_file, refused
from test_tables import table

import convscope as cs
from convscope import data
from convscope.data.groups import hold_out_groups
from convscope.errors import UserError

SPLITS = ("train", "val", "test")


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30)), min_size=1, max_size=200),
    st.integers(0, 5),
    st.sampled_from([Fraction(1, 10), Fraction(1, 5), Fraction(1, 2)]),
)
def test_no_group_is_on_both_sides_and_no_class_is_emptied(
    rows: list[tuple[int, int]], seed: int, share: Fraction
) -> None:
    labels, groups = (np.array(column, np.int64) for column in zip(*rows, strict=True))
    kept, held = hold_out_groups(labels, groups, share, seed, 4)
    assert sorted([*kept.tolist(), *held.tolist()]) == list(range(len(rows)))
    assert not set(groups[kept].tolist()) & set(groups[held].tolist())
    before, after = (np.bincount(found, minlength=4) for found in (labels, labels[kept]))
    assert all(a == b or a >= 2 for a, b in zip(after, before, strict=True))
    able = [
        g
        for g in set(groups.tolist())
        if all(
            before[c] - (labels[groups == g] == c).sum() >= 2
            for c in set(labels[groups == g].tolist())
        )
    ]
    assert bool(len(held)) == bool(able)


def test_the_held_out_classes_are_near_their_share() -> None:
    draw = np.random.default_rng(0)
    sizes = draw.integers(1, 60, 120)
    groups = np.repeat(np.arange(120), sizes)
    labels = np.concatenate([draw.choice(5, n, p=draw.dirichlet(np.full(5, 0.3))) for n in sizes])
    parts = [hold_out_groups(labels, groups, Fraction(1, 5), seed, 5)[1] for seed in range(4)]
    for held in parts:
        shares = np.bincount(labels[held], minlength=5) / np.bincount(labels, minlength=5)
        assert np.abs(shares - 0.2).max() < 0.01
    assert len({tuple(held) for held in parts}) == 4  # the seed draws them
    again = hold_out_groups(labels, groups, Fraction(1, 5), 0, 5)[1]
    assert np.array_equal(again, parts[0])


def test_a_hundred_thousand_groups_of_one_are_split_as_well(tmp_path: Path) -> None:
    labels = np.arange(20_000) % 7
    kept, held = hold_out_groups(labels, np.arange(20_000), Fraction(1, 10), 0, 7)
    assert len(kept) + len(held) == 20_000
    assert np.abs(np.bincount(labels[held]) - 20_000 / 70).max() <= 1


@pytest.fixture
def patients(tmp_path: Path, cache: Path) -> Path:
    """Ten patients with two images of each class, one colour each, and their table."""
    rows = []
    for i in range(40):
        name = f"{i}.png"
        image_file(tmp_path / name, colour=(6 * (i // 4), 100 * (i % 2), i))
        rows.append((name, "ill" if i % 2 else "well", f"p{i // 4}", f"s{i // 20}"))
    table(tmp_path / "t.csv", "path label patient site", rows)
    return tmp_path


def people(loaded: data.Dataset, split: str) -> set[int]:
    """The patients of a split, by the colour of their images."""
    return set((arrays(getattr(loaded, split))[0][:, 0, 0, 0] // 6).tolist())


def test_a_table_with_patients_keeps_each_in_one_split(patients: Path) -> None:
    loaded = data.load(patients / "t.csv", val=0.2)
    found = [people(loaded, split) for split in SPLITS]
    assert sum(map(len, found)) == 10 and set.union(*found) == set(range(10))
    assert [len(getattr(loaded, split)) for split in SPLITS] == [24, 8, 8]
    assert "2 of 10 groups (8 images, 20.0%) are held out whole as one" in str(loaded)
    assert "2 of 8 groups (8 images, 25.0%) are held out whole as the validation set" in str(loaded)
    assert "'site' could be groups, too" in str(loaded)
    again = data.load(patients / "t.csv", val=0.2)
    assert [people(again, split) for split in SPLITS] == found and again.hash == loaded.hash
    others = [people(data.load(patients / "t.csv", val=0.2, split_seed=s), "val") for s in range(5)]
    assert len(set(map(frozenset, others))) > 1


def test_other_groups_are_other_data(patients: Path) -> None:
    by_patient = data.load(patients / "t.csv")
    without = data.load(patients / "t.csv", columns="group=")
    assert sum(len(people(without, split)) for split in SPLITS) > 10
    assert len({by_patient.hash, without.hash}) == 2
    refusal = "no group can be held out as a validation set"
    with pytest.raises(UserError, match=refusal):
        data.load(patients / "t.csv", group_by="site")
    assert people(data.load(patients / "t.csv", group_by="site", val=0), "test") < set(range(10))
    with pytest.raises(UserError, match="has no such column; its columns are path, label"):
        data.load(patients / "t.csv", group_by="doctor")
    with pytest.raises(UserError, match="shapes is a known data set; group_by is for tables"):
        data.load("shapes", group_by="parent")


def test_groups_that_cross_the_own_splits_are_refused(patients: Path) -> None:
    rows = [(f"{i}.png", i % 2, i // 4, "test" if i < 10 else "train") for i in range(40)]
    path = table(patients / "s.csv", "path label patient split", rows)
    refused(path, "group '2' is in test and train", "keep each group in one split")
    assert len(data.load(path, columns="group=").test) == 10
    drawn = data.load(path, columns="split=")
    assert not people(drawn, "train") & people(drawn, "test")


def test_a_row_without_a_group_is_one_of_its_own(patients: Path) -> None:
    rows = [(f"{i}.png", i % 2, "" if i >= 36 else i // 4) for i in range(40)]
    loaded = data.load(table(patients / "e.csv", "path label patient", rows))
    assert "4 images have no patient: each is a group" in str(loaded)


def test_folders_are_grouped_by_parent_and_by_prefix(tmp_path: Path, cache: Path) -> None:
    for i in range(60):
        label, video, frame = ("a", "b")[i % 2], i // 10, i % 10
        image_file(
            tmp_path / "d" / label / f"v{video}" / f"{frame}.png",
            colour=(6 * video, i, 50 * (i % 2)),
        )
        image_file(
            tmp_path / "e" / label / f"v{video}_{frame:03}.png", colour=(6 * video, i, 50 * (i % 2))
        )
    for folder, by in (("d", "parent"), ("e", "prefix")):
        loaded = data.load(tmp_path / folder, group_by=by, val=0.2)
        found = [people(loaded, split) for split in SPLITS]
        assert sum(map(len, found)) == 6 and set.union(*found) == set(range(6)), by
    with pytest.raises(UserError, match="no group can be held out as a test set"):
        data.load(tmp_path / "e", group_by="parent")  # the class folders
    with pytest.raises(UserError, match="a folder of images has no columns; say parent"):
        data.load(tmp_path / "e", group_by="patient")
    with pytest.raises(UserError, match="group_by = '': must be a text"):
        data.load(tmp_path / "e", group_by="")


def test_names_and_near_duplicates_that_suggest_sequences_are_warned_of(
    tmp_path: Path, cache: Path
) -> None:
    for i in range(24):
        image_file(tmp_path / "named" / "ab"[i % 2] / f"frame_{i:04}.png")
        image_file(tmp_path / "plain" / "ab"[i % 2] / f"IMG_{i:04}.png")
    named = data.load(tmp_path / "named")
    assert "file names such as 'frame_0000.png' suggest sequences" in str(named)
    assert "suggest" not in str(data.load(tmp_path / "plain"))
    frames_of_sequences(tmp_path / "seen", sequences=8, frames=10, name="{frame:05}.png")
    seen = str(data.load(tmp_path / "seen"))
    assert "of images with numbers in a row that are nearly the same (0% of other pairs" in seen
    assert "--group-by" in seen


def test_the_command_line_takes_columns_and_groups(patients: Path, cli: Callable[..., Any]) -> None:
    for i, line in enumerate((patients / "t.csv").read_text().splitlines()):
        with open(patients / "u.csv", "a") as file:
            file.write(f"{'who,what,doctor' if i == 0 else ','.join(line.split(',')[:3])}\n")
    options = ("--columns", "path=who,label=what", "--group-by", "doctor")
    answer = cli("data", "info", patients / "u.csv", *options)
    assert answer.code == 0 and "2 of 10 groups" in answer.out, answer.err
    for command in (("data", "info"), ("data", "fetch"), ("study",), ("train",)):
        answer = cli(*command, patients / "u.csv", "--columns", "path=no,label=what")
        assert answer.code == 2 and answer.err.count("\n") == 1, answer.err
        assert "has no column 'no' for the path; its columns are 'who', 'what'" in answer.err


@pytest.mark.slow
def test_a_random_split_of_frames_is_optimistic(tmp_path: Path, cache: Path) -> None:
    """What docs/your-images.md shows: the images are new sequences or they are not."""
    frames_of_sequences(tmp_path / "clips", sequences=20, frames=8)
    accuracy = {}
    for by in (None, "parent"):
        recipe = cs.Recipe(
            str(tmp_path / "clips"),
            cs.ConvNet(width=16, depth=2),
            epochs=12,
            batch=32,
            lr=5e-3,
            evaluate_every=12,
            group_by=by,
        )
        run = cs.train(recipe, tmp_path / "runs")
        accuracy[by] = run.rows[-1]["test_accuracy"]
        torch.set_num_threads(1)
    assert accuracy[None] > 0.9 and accuracy["parent"] < 0.75, accuracy
