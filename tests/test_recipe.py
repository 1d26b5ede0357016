"""Recipes: JSON in and out, ids that stay, and bad files, each refused in one line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convscope.errors import UserError, one_line
from convscope.files import parse_json
from convscope.recipe import (
    ConvNet,
    Custom,
    Recipe,
    SoftmaxRegression,
    read_recipe,
    recipe_from_json,
    to_json,
)

# --- strategies


@st.composite
def convnets(draw: st.DrawFn) -> ConvNet:
    depth = draw(st.integers(1, 6))
    sizes = draw(st.just([]) | st.lists(st.integers(1, 4), min_size=depth, max_size=depth))
    return ConvNet(
        width=draw(st.integers(1, 64)),
        depth=depth,
        block_depth=draw(st.integers(1, 3)),
        growth=draw(st.floats(0.5, 2)),
        kernel=draw(st.sampled_from([1, 3, 5, 7])),
        activation=draw(
            st.sampled_from(["relu", "gelu", "silu", "tanh", "leaky_relu", "identity"])
        ),
        pool=draw(st.sampled_from(["max", "avg", "stride", "none"])),
        pool_sizes=tuple(sizes),
        norm=draw(st.sampled_from(["none", "batch", "group"])),
        skip=draw(st.booleans()),
        head=draw(st.sampled_from(["flatten", "gap"])),
        hidden=tuple(draw(st.lists(st.integers(1, 512), max_size=3))),
        dilations=tuple(
            draw(st.just([]) | st.lists(st.integers(1, 9), min_size=depth, max_size=depth))
        ),
    )


plain = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
trees = st.recursive(
    plain,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
customs = st.builds(
    Custom,
    st.from_regex(r"[a-z]{1,8}(\.[a-z]{1,8}){0,2}:[a-z]{1,8}", fullmatch=True),
    st.dictionaries(st.text(), trees, max_size=3),
)
recipes = st.builds(
    Recipe,
    data=st.text(),
    model=convnets() | st.just(SoftmaxRegression()) | customs,
    epochs=st.integers(1, 1_000_000),
    seed=st.integers(0, 2**63 - 1),
    size=st.none() | st.integers(1, 4096),
    resize=st.sampled_from(["crop", "squash", "pad"]),
    classes=st.sampled_from(["folders", "nested"]),
    val=st.floats(0.0, 0.9),
    limit=st.none() | st.integers(1, 2**40),
    label_noise=st.floats(0.0, 1.0),
    batch=st.integers(1, 1_000_000),
    optimizer=st.sampled_from(["sgd", "adam", "adamw", "muon"]),
    lr=st.floats(1e-12, 1e3),
    schedule=st.sampled_from(["constant", "cosine", "onecycle", "linear"]),
    flip=st.booleans(),
    evaluate=st.lists(st.sampled_from(["train", "val", "test"]), min_size=1, max_size=3).map(tuple),
    precision=st.sampled_from(["float32", "bfloat16", "float64"]),
)


def through_json(recipe: Recipe) -> Recipe:
    return recipe_from_json(parse_json(json.dumps(to_json(recipe)).encode()))


def refused(call: Any) -> str:
    """The message of the UserError, which must be one printable line."""
    with pytest.raises(UserError) as error:
        call()
    message = str(error.value)
    assert message and message.isprintable()
    return message


# --- JSON and ids


@given(recipes)
def test_json_gives_the_same_recipe_back(recipe: Recipe) -> None:
    again = through_json(recipe)
    assert again == recipe and hash(again) == hash(recipe) and again.id == recipe.id


@given(recipes, recipes)
def test_ids_are_equal_exactly_for_equal_json(a: Recipe, b: Recipe) -> None:
    assert len(a.id) == 12 and int(a.id, 16) >= 0
    assert (a.id == b.id) == (json.dumps(to_json(a)) == json.dumps(to_json(b)))


def test_ids_are_pinned() -> None:
    """These change with a field, a default or REVISION: then every finished run is trained again.

    Is that meant?
    """
    assert Recipe().id == "d3a0bf58b252"
    assert Recipe(model=SoftmaxRegression()).id == "c0a57fb127a2"
    assert (
        Recipe(model=Custom("package.module:factory", {"width": 8, "names": ["a", "b"]})).id
        == "d47202f3f021"
    )
    double_descent = ConvNet(width=64, depth=4, norm="batch", pool_sizes=(1, 2, 2, 8))
    other = Recipe(
        data="shapes",
        model=double_descent,
        epochs=30,
        seed=7,
        data_hash="ab",
        size=48,
        val=0.2,
        limit=1000,
        label_noise=0.1,
        optimizer="sgd",
        lr=0.1,
        weight_decay=5e-4,
        schedule="cosine",
        label_smoothing=0.1,
        crop=4,
        flip=True,
        cutout=8,
        evaluate=("val", "test"),
        device="cuda:0",
        precision="bfloat16",
        layout="contiguous",
        threads=2,
    )
    assert other.id == "d6fdc4352fa7"


def test_every_field_counts() -> None:
    changes: dict[str, Any] = {
        "data": "shapes",
        "model": ConvNet(31),
        "epochs": 9,
        "seed": 1,
        "data_hash": "a",
        "size": 32,
        "resize": "pad",
        "classes": "nested",
        "val": 0.2,
        "split_seed": 1,
        "limit": 10,
        "label_noise": 0.1,
        "batch": 64,
        "optimizer": "sgd",
        "lr": 0.1,
        "momentum": 0.8,
        "weight_decay": 0.1,
        "schedule": "cosine",
        "label_smoothing": 0.1,
        "crop": 4,
        "flip": True,
        "cutout": 8,
        "evaluate": ("val",),
        "device": "cuda:0",
        "precision": "bfloat16",
        "layout": "contiguous",
        "threads": 2,
        "kernels": "compiled",
        "train_sample": 9,
        "micro_batch": 32,
        "alternate": True,
        "small_share": 0.5,
        "views": "flip",
        "evaluate_every": 2,
        "subset_seed": 3,
        "noise_seed": 4,
        "columns": "path=file",
        "group_by": "parent",
    }
    assert set(changes) == set(vars(Recipe()))
    ids = {replace(Recipe(), **{name: value}).id for name, value in changes.items()}
    assert len(ids | {Recipe().id}) == len(changes) + 1


@pytest.mark.parametrize(
    ("one", "same"),
    [
        (Recipe(lr=1), Recipe(lr=1.0)),
        (Recipe(weight_decay=0), Recipe(weight_decay=0.0)),
        (Recipe(weight_decay=-0.0), Recipe(weight_decay=0.0)),
        (Recipe(evaluate=["val", "test"]), Recipe(evaluate=("val", "test"))),
        (Recipe(model=ConvNet(hidden=[64])), Recipe(model=ConvNet(hidden=(64,)))),
        (Recipe(model=ConvNet(growth=2)), Recipe(model=ConvNet(growth=2.0))),
        (Recipe(model=ConvNet(dilations=(1, 1, 1))), Recipe(model=ConvNet())),
    ],
)
def test_the_same_recipe_written_otherwise_is_the_same(one: Recipe, same: Recipe) -> None:
    assert one == same and hash(one) == hash(same) and one.id == same.id
    assert isinstance(one.lr, float) and isinstance(one.evaluate, tuple)


def test_a_recipe_file_needs_only_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    path.write_text('{"model": {"width": 8}, "epochs": 2}')
    assert read_recipe(path) == Recipe(model=ConvNet(width=8), epochs=2)
    path.write_text("{}")
    assert read_recipe(path) == Recipe()


# --- bad recipe files

HUGE = "1" + 400 * "0"
BAD = {
    "empty": (b"", ["empty"]),
    "blanks": (b" \n\t", ["empty"]),
    "truncated": (b'{\n "epochs": 3,\n "lr": ', ["line 3", "column 8"]),
    "comment": (b'{"epochs": 3} // yes', ["line 1", "column 15"]),
    "UTF-16": ('{"epochs": 3}'.encode("utf-16"), ["UTF-8", "byte 0"]),
    "UTF-16 without mark": ('{"epochs": 3}'.encode("utf-16-le"), ["line 1"]),
    "invalid UTF-8": (b'{"data": "\xff"}', ["UTF-8", "byte 10"]),
    "duplicate key": (b'{"epochs": 3, "epochs": 4}', ["'epochs'", "twice"]),
    "duplicate key of the model": (b'{"model": {"width": 3, "width": 4}}', ["'width'", "twice"]),
    "NaN": (b'{"lr": NaN}', ["NaN"]),
    "Infinity": (b'{"lr": -Infinity}', ["-Infinity"]),
    "1e999": (b'{"lr": 1e999}', ["1e999"]),
    "a number of 400 digits": (f'{{"lr": {HUGE}}}'.encode(), ["lr", HUGE[:20]]),
    "a number of 5,000 digits": (b'{"epochs": ' + 5000 * b"9" + b"}", []),
    "misspelt key": (b'{"epoch": 3}', ["'epoch'", "'epochs'"]),
    "misspelt key of the model": (b'{"model": {"widht": 3}}', ["'widht'", "'width'"]),
    "unknown key": (b'{"zzzz": 3}', ["'zzzz'", "epochs", "optimizer"]),
    "text for a number": (b'{"epochs": "10"}', ["epochs", "'10'", "whole number"]),
    "true for a count": (b'{"epochs": true}', ["epochs", "True", "whole number"]),
    "true for a rate": (b'{"lr": true}', ["lr", "True", "number"]),
    "1 for true": (b'{"flip": 1}', ["flip", "1", "true or false"]),
    "a fraction for a count": (b'{"epochs": 2.5}', ["epochs", "2.5", "whole number"]),
    "null for a count": (b'{"epochs": null}', ["epochs", "None"]),
    "text in a list": (b'{"model": {"hidden": [64, "x"]}}', ["hidden", "'x'"]),
    "a list in a list": (b'{"model": {"hidden": [[64]]}}', ["hidden", "64"]),
    "a text for a list": (b'{"evaluate": "val"}', ["evaluate", "'val'"]),
    "no split": (b'{"evaluate": []}', ["evaluate", "train, val, test"]),
    "unknown split": (b'{"evaluate": ["vall"]}', ["evaluate", "vall"]),
    "no epochs": (b'{"epochs": 0}', ["epochs = 0", "1"]),
    "negative rate": (b'{"lr": -0.001}', ["lr = -0.001"]),
    "seed beyond 63 bits": (b'{"seed": 36893488147419103232}', ["seed", "36893488147419103232"]),
    "depth 100,000": (b'{"model": {"depth": 100000}}', ["depth = 100000", "200"]),
    "too many channels": (b'{"model": {"width": 60000, "depth": 3}}', ["60000", "65536"]),
    "even kernel": (b'{"model": {"kernel": 4}}', ["kernel = 4"]),
    "pool sizes that are too few": (
        b'{"model": {"depth": 3, "pool_sizes": [2, 2]}}',
        ["[2, 2]", "3"],
    ),
    "dilations that are too few": (
        b'{"model": {"depth": 3, "dilations": [2, 2]}}',
        ["dilations", "[2, 2]", "3"],
    ),
    "dilation 0": (b'{"model": {"depth": 1, "dilations": [0]}}', ["dilations", "[0]"]),
    "pooling by 0": (b'{"model": {"depth": 1, "pool_sizes": [0]}}', ["[0]"]),
    "unknown activation": (b'{"model": {"activation": "relo"}}', ["'relo'", "relu"]),
    "unknown optimiser": (b'{"optimizer": "sgd\\nx"}', ["sgd\\nx", "adamw"]),
    "unknown kind": (b'{"model": {"kind": "resnet"}}', ["'resnet'", "convnet", "custom"]),
    "kind is a list": (b'{"model": {"kind": []}}', ["[]", "convnet"]),
    "model is a text": (b'{"model": "convnet"}', ["'convnet'", "kind"]),
    "custom without factory": (b'{"model": {"kind": "custom"}}', ["factory"]),
    "custom with a bad factory": (
        b'{"model": {"kind": "custom", "factory": "net.py"}}',
        ["'net.py'", "package.module:factory"],
    ),
    "a list": (b"[1]", ["list"]),
    "nested too deep": (100_000 * b"[", ["deep"]),
    "a key with a line feed": (b'{"a\\nb": 1}', ["\\nb'", "unknown"]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_in_one_line(name: str, tmp_path: Path) -> None:
    content, parts = BAD[name]
    path = tmp_path / "recipe.json"
    path.write_bytes(content)
    message = refused(lambda: read_recipe(path))
    assert str(path) in message
    assert [part for part in parts if part not in message] == []
    assert len(message) < 1000 + len(str(path))


def test_no_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert "nowhere.json" in refused(lambda: read_recipe(tmp_path / "nowhere.json"))
    assert str(tmp_path) in refused(lambda: read_recipe(tmp_path))


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.json"
    with path.open("wb") as file:
        file.truncate(2**30)  # sparse
    assert "1,073,741,824" in refused(lambda: read_recipe(path))
    path.write_bytes(b'{"epochs": 3}' + (1_000_000 - 13) * b" ")
    assert read_recipe(path).epochs == 3
    path.write_bytes(b'{"epochs": 3}' + (1_000_001 - 13) * b" ")
    assert "1,000,001" in refused(lambda: read_recipe(path))


def test_a_path_with_a_line_feed_is_shown_on_one_line(tmp_path: Path) -> None:
    assert "a\\nb.json" in refused(lambda: read_recipe(tmp_path / "a\nb.json"))


@given(
    st.binary(max_size=200)
    | st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass"))
)
def test_any_bytes_are_a_recipe_or_a_user_error(raw: bytes) -> None:
    try:
        assert isinstance(recipe_from_json(parse_json(raw)), Recipe)
    except UserError as error:
        assert one_line(error, 10_000) == str(error)


@given(recipes, st.sampled_from(["", "model"]), st.data())
def test_any_value_in_any_place_is_a_recipe_or_a_user_error(
    recipe: Recipe, place: str, pick: st.DataObject
) -> None:
    tree = to_json(recipe)
    part = tree[place] if place else tree
    part[pick.draw(st.sampled_from(sorted(part)) | st.text(max_size=5))] = pick.draw(trees)
    try:
        assert through_json(recipe_from_json(tree)) == recipe_from_json(tree)
    except UserError as error:
        assert str(error)


def test_custom_arguments_that_json_does_not_know_are_refused() -> None:
    assert "nan" in refused(lambda: Custom("a:b", {"x": float("nan")})).lower()
    assert "x" in refused(lambda: Custom("a:b", {"x": object()}))


def test_another_seed_is_another_recipe_as_by_replace() -> None:
    recipe = Recipe(model=ConvNet(4, 2), lr=0.01)
    assert recipe.id  # kept with the recipe, and not to be taken over
    for seed in (1, 2**63 - 1):
        made = recipe.with_seed(seed)
        assert made == replace(recipe, seed=seed) and made.id == replace(recipe, seed=seed).id
        assert made.id != recipe.id and recipe.seed == 0
    for wrong in (-1, 2**64, True, 1.5, "1"):
        with pytest.raises(UserError, match="seed"):
            recipe.with_seed(wrong)  # pyright: ignore[reportArgumentType]
