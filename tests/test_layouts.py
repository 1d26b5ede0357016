"""Which folders are splits, which are classes, and what is neither: by names and by contents."""

from __future__ import annotations

from pathlib import Path

import pytest
from pixels import image_file, refused

from convscope import data
from convscope.data.layout import split_of
from convscope.errors import UserError


def tree(root: Path, *folders: str, images: int = 3) -> Path:
    """A folder with so many images in each of the folders; one that ends with ! is left empty."""
    for folder in folders:
        (root / folder.rstrip("!")).mkdir(parents=True, exist_ok=True)
        for i in range(0 if folder.endswith("!") else images):
            image_file(root / folder / f"{i}.png", (8, 8))
    return root


def each(*splits: str) -> tuple[str, ...]:
    """Two class folders in each split."""
    return tuple(f"{split}/{name}" for split in splits for name in ("cat", "dog"))


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"),
        ("TRAINING", "train"),
        ("Val", "val"),
        ("valid", "val"),
        ("Validation", "val"),
        ("dev", "val"),
        ("TEST", "test"),
        ("Testing", "test"),
        ("eval", "test"),
        ("Holdout", "test"),
        ("hold-out", "test"),
        ("test_set", "test"),
        ("trainset", "train"),
        ("ValidationData", "val"),
    ],
)
def test_a_split_is_known_by_its_usual_names(name: str, split: str) -> None:
    assert split_of(name) == (split, "")


def test_other_words_in_a_name_are_kept_apart() -> None:
    assert split_of("seg_train") == ("train", "seg") and split_of("val2017") == ("val", "2017")
    assert split_of("restraining") is None and split_of("contest") is None
    assert split_of("train-test") is None


@pytest.mark.parametrize(
    ("names", "counts", "rule"),
    [
        (("Training", "Testing"), (6, 0, 6), "2 classes in Training/ (train) and Testing/ (test)"),
        (("TRAIN", "Valid", "TEST"), (6, 6, 6), "2 classes in TRAIN/, Valid/ (val) and TEST/"),
        (("training", "dev", "holdout"), (6, 6, 6), "dev/ (val) and holdout/ (test)"),
        (("seg_train", "seg_test"), (6, 0, 6), "seg_train/ (train) and seg_test/ (test)"),
        (("a_train/a_train", "a_test/a_test"), (6, 0, 6), "in a_train/a_train/ (train) and a_"),
        (("train2017", "val2017", "test2017"), (6, 6, 6), "train2017/ (train), val2017/ (val)"),
    ],
)
def test_splits_by_name(
    tmp_path: Path, cache: Path, names: tuple[str, ...], counts: tuple[int, ...], rule: str
) -> None:
    found = data.load(tree(tmp_path / "d", *each(*names)), val=0)
    assert found.classes == ("cat", "dog")
    assert (len(found.train), len(found.val), len(found.test)) == counts
    assert found.preview is not None and rule in found.preview.rule
    assert found.said[0] == f"read as {found.preview.rule}"


@pytest.mark.parametrize(
    ("beside", "why", "shown"),
    [
        ("runs/plots", "neither a split nor a class", "'runs'"),
        ("extra", "neither a split nor a class", "'extra'"),
        ("d/train/cat", "neither a split nor a class", "'d'"),
        ("__MACOSX/train/cat", "made by a system, such as thumbnails", "'__MACOSX'"),
        ("train/train/cat", "a copy of the folders beside it", "'train/train'"),
        (".venv/lib", "hidden", "'.venv'"),
        ("val!", "without images", "'val'"),
        ("val", "images without a class folder", "'val'"),
        ("valid/unknown", "images without a class folder", "'valid'"),
    ],
)
def test_what_stands_beside_splits_is_skipped_and_said(
    tmp_path: Path, cache: Path, beside: str, why: str, shown: str
) -> None:
    more = ("train/train/dog",) if beside.startswith("train") else ()
    found = data.load(tree(tmp_path / "d", *each("train", "test"), beside, *more), val=0)
    assert found.classes == ("cat", "dog") and (len(found.train), len(found.test)) == (6, 6)
    assert found.notes == (f"skipped 1 entry ({why}): {shown}",)
    assert found.preview is not None and found.preview.skipped[0].why == why


def test_an_unlabelled_test_folder_is_no_class(tmp_path: Path, cache: Path) -> None:
    root = tree(tmp_path / "d", *each("train"), "test", images=5)
    found = data.load(root, val=0)
    assert found.classes == ("cat", "dog") and (len(found.train), len(found.test)) == (8, 2)
    assert found.notes[0] == "skipped 1 entry (images without a class folder): 'test'"
    image_file(root / "train" / "loose.png")
    assert "'test', 'train/loose.png'" in data.load(root).notes[0]


@pytest.mark.parametrize(
    ("folders", "words"),
    [
        (("cat", "dog", "test"), "test/ beside class folders, with images that have no class"),
        (("train", "test"), "images in test/ and train/ without class folders"),
        (each("test", "val"), "test/ and val/ hold class folders but there is no train folder"),
        (("cat", "dog", *each("test")), "test/ holds class folders but there is no train folder"),
        (each("train", "val", "dev"), "dev and val are both val folders; keep one"),
        (each("Train", "train"), "Train and train are both train folders; keep one"),
        (each("d/train", "d/test"), "the splits are one folder further down, in d/; give"),
        ((*each("images/train"), "labels/x"), "one folder further down, in images/"),
        (("car", "train/steam", "train/diesel"), "train/ may be the training images or a class"),
        (each("fold1", "fold2"), "'fold1', 'fold2' are parts of the data, not classes"),
        (each("pets"), "one class alone, 'pets'; a classifier needs two or more class folders, or"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(
    tmp_path: Path, cache: Path, folders: tuple[str, ...], words: str
) -> None:
    refused(tree(tmp_path / "d", *folders), words, str(tmp_path / "d"))


def test_class_names_that_are_also_names_of_splits(tmp_path: Path, cache: Path) -> None:
    vehicles = data.load(tree(tmp_path / "v", "car", "train", "plane"))
    assert vehicles.classes == ("car", "plane", "train")
    assert "train/ is taken as a class" in vehicles.notes[0]
    assert data.load(tree(tmp_path / "f", "valid", "invalid")).classes == ("invalid", "valid")


def test_what_stands_beside_classes(tmp_path: Path, cache: Path) -> None:
    root = tree(tmp_path / "d", "cat", "dog", "d/cat", "d/dog", "runs/plots")
    found = data.load(root)
    assert found.classes == ("cat", "dog")
    assert found.notes[:2] == (
        "skipped 1 entry (neither a split nor a class): 'runs'",
        "skipped 1 entry (a copy of the folders beside it): 'd'",
    )


def test_thumbnails_and_files_of_systems_are_skipped(tmp_path: Path, cache: Path) -> None:
    root = tree(tmp_path / "nas", "cat", "dog", "cat/@eaDir/0.png", "dog/.thumbnails", "@Recycle/x")
    tree(root, "cat/thumbnails", "dog/.@__thumb", "dog/.ipynb_checkpoints", "dog/#recycle")
    for name in ("Thumbs.db", "desktop.ini", "._0.png", "SYNOPHOTO_THUMB_M.jpg"):
        (root / "cat" / name).write_bytes(b"\0\5\x16\7")
    (root / "dog" / "raw.HEIC").write_bytes(b"heic")
    found = data.load(root)
    assert found.classes == ("cat", "dog") and found.preview is not None
    assert sum(map(len, (found.train, found.val, found.test))) == 6
    counts = {skipped.why: skipped.count for skipped in found.preview.skipped}
    assert counts == {
        "made by a system, such as thumbnails": 11,
        "in a format that is not read": 1,
    }
    assert "(in a format that is not read): 'dog/raw.HEIC'" in str(found)


def test_nested_folders_become_classes_when_asked(tmp_path: Path, cache: Path) -> None:
    root = tree(tmp_path / "d", "cat", "cat/old", "dog/big", "dog/small", "empty!")
    refused(root, "no images in class 'empty'")
    nested = data.load(root, classes="nested")
    assert nested.classes == ("cat", "cat/old", "dog/big", "dog/small")
    assert "skipped 1 entry (without images): 'empty'" in nested.notes
    (root / "empty").rmdir()
    flat = data.load(root)
    assert flat.classes == ("cat", "dog") and "--classes nested makes" in flat.notes[0]
    assert flat.hash != nested.hash and data.load(root, classes="nested").hash == nested.hash
    splits = tree(tmp_path / "s", "train/a/x", "train/a/y", "test/a/x", "test/a/y")
    assert data.load(splits, classes="nested").classes == ("a/x", "a/y")
    tree(splits, "test/b/z")
    with pytest.raises(UserError, match="b/z"):
        data.load(splits, classes="nested")


def test_pooled_splits_and_sites_are_said(tmp_path: Path, cache: Path) -> None:
    inside = data.load(tree(tmp_path / "a", "cat/train", "cat/test", "dog/train", "dog/test"))
    assert "the splits 'test', 'train' inside class folders are not used" in inside.notes[0]
    sites = data.load(tree(tmp_path / "b", "site1/cat", "site1/dog", "site2/cat", "site2/dog"))
    assert "each class folder holds the same folders 'cat', 'dog'" in sites.notes[0]
